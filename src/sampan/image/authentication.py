"""Getting in to a registry: anonymous, basic, or a bearer token per scope.

Source: distribution's token authentication specification; RFC 7617 (basic).
"""

import re
import time
from base64 import b64encode
from collections.abc import Iterable

import aiohttp
import msgspec
from yarl import URL

from sampan.model.errors import FailureKind, ImageFailed
from sampan.model.image import RegistryAuth

_PARAMETER = re.compile(r'([A-Za-z]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^",\s]+))')
_TOKEN_LIFE = 60.0  # seconds, where the answer names none (the specification's default)
_TOKEN_MARGIN = 5.0  # seconds before its end that a token is renewed
_LARGEST_ANSWER = 1 << 20  # bytes


class Challenge(msgspec.Struct, frozen=True):
    scheme: str  # lower case
    realm: str = ""
    service: str = ""


class _Token(msgspec.Struct, frozen=True):
    token: str = ""
    access_token: str = ""
    expires_in: float = _TOKEN_LIFE


def challenges(values: Iterable[str]) -> list[Challenge]:
    """What the WWW-Authenticate headers offer. Source: RFC 9110 §11.6.1."""
    found = []
    for value in values:
        scheme, _, rest = value.strip().partition(" ")
        given = {name.lower(): quoted or bare for name, quoted, bare in _PARAMETER.findall(rest)}
        found.append(Challenge(scheme.lower(), given.get("realm", ""), given.get("service", "")))
    return found


class Gate:
    """Knows which Authorization header one registry wants for a scope."""

    def __init__(self, session: aiohttp.ClientSession, auth: RegistryAuth, plain_is_fine: bool) -> None:
        self._session, self._auth, self._plain_is_fine = session, auth, plain_is_fine
        self._wants_basic = False
        self._tokens: dict[str, tuple[str, float]] = {}  # scope → (header, monotonic seconds of its end)

    def header(self, scope: str) -> str:
        """What to send; empty: nothing, as far as is known."""
        if self._wants_basic:
            return basic(self._auth)
        header, end = self._tokens.get(scope, ("", 0.0))
        return header if time.monotonic() < end else ""

    async def admit(self, offered: list[Challenge], scope: str) -> bool:
        """After a 401: whether another try, with a new header, makes sense.

        Raises: ImageFailed, aiohttp.ClientError.
        """
        for challenge in offered:
            if challenge.scheme == "bearer" and challenge.realm:
                self._tokens[scope] = await self._token(challenge, scope)
                return True
        if any(challenge.scheme == "basic" for challenge in offered):
            first = not self._wants_basic
            self._wants_basic = True
            return first and bool(self._auth.username)
        return False

    async def _token(self, challenge: Challenge, scope: str) -> tuple[str, float]:
        realm = URL(challenge.realm)
        headers = {"Authorization": basic(self._auth)} if self._auth.username else {}
        if headers and realm.scheme != "https" and not self._plain_is_fine:
            raise ImageFailed(
                FailureKind.IMAGE_DENIED,
                f"the registry sends its logins to {realm.host} without TLS; "
                "set registryConfig.certConfig.insecure if that is meant",
            )
        query = {"scope": scope, **({"service": challenge.service} if challenge.service else {})}
        async with self._session.get(realm.update_query(query), headers=headers) as answer:
            if answer.status in {400, 401, 403}:
                raise ImageFailed(FailureKind.IMAGE_DENIED, denied(self._auth, f"the login at {realm.host} failed"))
            answer.raise_for_status()
            body = await answer.content.read(_LARGEST_ANSWER)
        try:
            given = msgspec.json.decode(body, type=_Token)
        except msgspec.MsgspecError as error:
            raise ImageFailed(
                FailureKind.IMAGE_PULL_FAILED, f"{realm.host} answered the login with no token"
            ) from error
        life = max(given.expires_in - _TOKEN_MARGIN, 1.0)
        return f"Bearer {given.token or given.access_token}", time.monotonic() + life


def basic(auth: RegistryAuth) -> str:
    """The Authorization value; empty without credentials."""
    if not auth.username:
        return ""
    return "Basic " + b64encode(f"{auth.username}:{auth.password}".encode()).decode()


def denied(auth: RegistryAuth, why: str) -> str:
    """A sentence with the next step."""
    if auth.username:
        return (
            f"{why}: the credentials of user '{auth.username}' were refused or do not suffice; "
            "check registryConfig.authConfig"
        )
    return (
        f"{why}: no such image, or it needs a login; "
        "give credentials with registryConfig.authConfig (userName, password)"
    )

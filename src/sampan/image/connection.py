"""One connection to one registry: requests with the right login, trust, patience, and errors as sentences.

Every wait is bounded: connecting, silence on a connection, and the tries without progress (`Patience`).
"""

import asyncio
import ipaddress
import random
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from io import BytesIO
from types import TracebackType
from typing import TypeVar

import aiohttp
import msgspec
from yarl import URL

from sampan.image.authentication import Gate, challenges, denied
from sampan.image.manifest import LARGEST, invalid
from sampan.model.errors import FailureKind, ImageFailed
from sampan.model.image import RegistryAuth

_READ_BUFFER = 1 << 20  # bytes; with the default of 64 KiB a transfer pauses for every piece
_LONGEST_REASON = 300  # characters of a registry's own words that are passed on
_REFUSED = frozenset((401, 403))
_SPENT = frozenset((408, 425, 429, 500, 502, 503, 504))

T = TypeVar("T")


class Patience(msgspec.Struct, frozen=True):
    """How long to wait for a registry, in seconds."""

    connect: float = 10.0
    silence: float = 30.0  # no byte received
    tries: int = 6  # in a row without a byte of progress
    backoff: float = 0.25  # doubles with each try
    backoff_max: float = 4.0

    def delay(self, tries: int) -> float:
        """Before the next try, `tries` having failed in a row."""
        return min(self.backoff_max, self.backoff * 2.0 ** (tries - 1)) * random.uniform(0.5, 1.0)


class _Reason(msgspec.Struct, frozen=True):
    code: str = ""
    message: str = ""


class _Reasons(msgspec.Struct, frozen=True):
    errors: tuple[_Reason, ...] = ()


class Passing(Exception):
    """The registry could not answer now but may soon."""


TRANSIENT = (Passing, aiohttp.ClientError, TimeoutError)
"""Worth another try; how many is `Connection.wait`'s to say."""

_UNTRUSTED = (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError)


class Connection:
    """Requests to one registry. Use as an async context manager."""

    def __init__(self, host: str, auth: RegistryAuth, patience: Patience) -> None:
        self.host, self.patience = host, patience
        self._auth = auth
        self._local = _is_local(host)
        self._base = URL(f"{'http' if self._local and not auth.ca_pem else 'https'}://{host}/")
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=_trust(host, auth)),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=patience.connect, sock_read=patience.silence),
            headers={"Accept-Encoding": "identity"},
            auto_decompress=False,
            read_bufsize=_READ_BUFFER,
        )
        self._gate = Gate(self._session, auth, plain_is_fine=self._local or auth.insecure)

    async def __aenter__(self) -> "Connection":
        if self._auth.insecure and not self._local:
            await self._try_tls()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def _try_tls(self) -> None:
        """An insecure registry is asked in plain http only if it does not speak TLS at all."""
        try:
            async with self._session.get(self._base.join(URL("v2/"))):
                pass
        except (aiohttp.ClientConnectionError, TimeoutError):
            self._base = self._base.with_scheme("http")

    # ── one request ──────────────────────────────────────────────────────────────────────────────────

    def url(self, path: str) -> URL:
        return self._base.join(URL(f"v2/{path}"))

    @asynccontextmanager
    async def ask(
        self, method: str, url: URL, scope: str, headers: dict[str, str] | None = None, body: bytes | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One request, and once more when the registry first wants a login.

        A place elsewhere that the registry names never sees the login. Raises: ImageFailed, TRANSIENT.
        """
        ours = url.origin() == self._base.origin()
        for last in (False, True):
            login = self._gate.header(scope) if ours else ""
            sent = {**(headers or {}), **({"Authorization": login} if login else {})}
            async with self._session.request(
                method,
                url,
                headers=sent,
                data=BytesIO(body) if body else None,
                allow_redirects=method in {"GET", "HEAD"},
            ) as answer:
                if answer.status == 401 and ours and not last:
                    offered = challenges(answer.headers.getall("WWW-Authenticate", []))
                    if await self._gate.admit(offered, scope):
                        continue
                yield answer
                return

    # ── what an answer or its absence means ──────────────────────────────────────────────────────────

    async def patiently(self, doing: str, attempt: Callable[[], Awaitable[T]]) -> T:
        """`attempt` until it does not fail for a passing reason. Raises: ImageFailed."""
        tries = 0
        while True:
            try:
                return await attempt()
            except TRANSIENT as error:
                tries += 1
                await self.wait(tries, doing, error)

    async def wait(self, tries: int, doing: str, error: Exception) -> None:
        """Before the next try, `tries` having failed in a row. Raises: ImageFailed, when there is to be none."""
        if isinstance(error, _UNTRUSTED):
            raise self._untrusted(error) from error
        if tries >= self.patience.tries:
            raise self._failed(doing, error) from error
        await asyncio.sleep(self.patience.delay(tries))

    async def expect(self, answer: aiohttp.ClientResponse, good: set[int], what: str) -> None:
        """Raises: ImageFailed, Passing, unless the answer is one of the `good`."""
        if answer.status in good:
            return
        reason = await _reason(answer)
        if answer.status in _REFUSED:
            raise ImageFailed(FailureKind.IMAGE_DENIED, denied(self._auth, f"{self.host} refused access to {what}"))
        if answer.status == 404:
            raise ImageFailed(
                FailureKind.IMAGE_NOT_FOUND,
                f"{self.host} has no {what}{reason}; check the name and the tag, or push it first",
            )
        if answer.status in _SPENT:
            raise Passing(f"it answered {answer.status}{reason}")
        raise ImageFailed(FailureKind.IMAGE_PULL_FAILED, f"{self.host} answered {answer.status} for {what}{reason}")

    def _failed(self, doing: str, error: Exception) -> ImageFailed:
        why = str(error) or type(error).__name__
        if isinstance(error, TimeoutError):
            why = f"no answer for {self.patience.silence:g} s"
        return ImageFailed(
            FailureKind.IMAGE_PULL_FAILED,
            f"{doing} failed at {self.host}: {why}; "
            "check that the registry runs and can be reached from this machine",
        )

    def _untrusted(self, error: Exception) -> ImageFailed:
        return ImageFailed(
            FailureKind.IMAGE_PULL_FAILED,
            f"the TLS certificate of {self.host} is not trusted ({error}); give its CA with "
            "registryConfig.certConfig.rootCaCertBase64, or set registryConfig.certConfig.insecure",
        )


def _is_local(host: str) -> bool:
    name = URL(f"http://{host}").host or ""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def _trust(host: str, auth: RegistryAuth) -> ssl.SSLContext | bool:
    """A context only where a CA is given: loading the machine's takes 20 ms, and aiohttp has them loaded once."""
    if auth.insecure or not auth.ca_pem:
        return not auth.insecure
    context = ssl.create_default_context()
    try:
        context.load_verify_locations(cadata=auth.ca_pem)
    except (ssl.SSLError, ValueError) as error:
        raise ImageFailed(
            FailureKind.IMAGE_PULL_FAILED,
            f"the CA certificate given for {host} cannot be read ({error}); "
            "check registryConfig.certConfig.rootCaCertBase64",
        ) from error
    return context


async def whole(answer: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for piece in answer.content.iter_any():
        body += piece
        if len(body) > LARGEST:
            raise invalid(f"a document of more than {LARGEST} bytes")
    return bytes(body)


async def _reason(answer: aiohttp.ClientResponse) -> str:
    """The registry's own words, if it has any."""
    try:
        given = msgspec.json.decode(await whole(answer), type=_Reasons)
    except (msgspec.MsgspecError, ImageFailed, aiohttp.ClientError, UnicodeDecodeError):
        return ""
    words = "; ".join(f"{reason.code} {reason.message}".strip() for reason in given.errors)
    return f" ({words[:_LONGEST_REASON]})" if words else ""

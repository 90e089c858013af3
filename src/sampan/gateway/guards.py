"""Whether a caller may call: passwords, fixed tokens and signed ones, beside what a trigger or a domain asks for.

A guard is prepared when its route is told and parses nothing but the request afterwards. It refuses whenever it
is not sure. Source: triggers.md §3.
"""

import base64
import hashlib
import hmac
import math
from typing import Any, Protocol
from urllib.parse import quote, unquote_to_bytes

import msgspec

from sampan.gateway.exchange import Exchange
from sampan.gateway.paths import Paths
from sampan.model.errors import Denied, PasswordRefused, TokenRefused
from sampan.model.trigger import AuthType, Basic, Bearer, Check, ClaimPass, Jwt, TokenLookup
from sampan.wire.tokens import read_keys

MAX_FORM = 64 << 10  # bytes of a form that are kept while its token is looked for
_FORM = b"application/x-www-form-urlencoded"
_GUARDED = frozenset((AuthType.JWT, AuthType.BASIC, AuthType.BEARER))


class Guard(Protocol):
    """Lets a caller in, or does not."""

    async def admit(self, exchange: Exchange, path: bytes) -> bytes:
        """The path and query that the function is to see; headers may have been changed in `exchange`.

        path: path and query as they would be without us.  Raises: Denied.
        """
        ...


def prepare(auth: AuthType, check: Check | None, of_domain: bool = False) -> Guard | None:
    """The guard of an auth type; None where it asks for none of these checks.

    of_domain: the paths it names are those that callers ask a domain for, before any rule rewrites them.
    """
    if auth not in _GUARDED:
        return None
    try:
        match check:
            case Jwt() if auth is AuthType.JWT:
                return TokenGuard(check, of_domain)
            case Basic() if auth is AuthType.BASIC:
                return PasswordGuard(check)
            case Bearer() if auth is AuthType.BEARER:
                return BearerGuard(check)
            case _:
                return Closed()
    except Exception:  # told by a control of another version: this function is closed, the others go on
        return Closed()


class Closed:
    """A check that this gateway does not understand lets nobody in."""

    async def admit(self, exchange: Exchange, path: bytes) -> bytes:
        raise Denied("access denied: this gateway cannot read what callers are checked against; deploy it anew")


class BearerGuard:
    """One of a few fixed tokens."""

    def __init__(self, check: Bearer) -> None:
        self._digests = [_digest(token.encode()) for token in check.tokens]

    async def admit(self, exchange: Exchange, path: bytes) -> bytes:
        if not exchange.authorization:
            raise Denied("Authorization header is expected but missing")
        scheme, _, token = _header(exchange, b"authorization").partition(b" ")
        if not _among(token.strip(), self._digests) or scheme.lower() != b"bearer":
            raise Denied("access denied due to invalid bearer token")
        return path


class PasswordGuard:
    """A user's name and password. Source: RFC 7617."""

    def __init__(self, check: Basic) -> None:
        self._digests = [_digest(f"{name}:{password}".encode()) for name, password in check.users]

    async def admit(self, exchange: Exchange, path: bytes) -> bytes:
        scheme, _, given = _header(exchange, b"authorization").partition(b" ")
        try:
            pair = base64.b64decode(given.strip(), validate=True)
        except ValueError:
            pair = b""
        if not _among(pair, self._digests) or scheme.lower() != b"basic":
            raise PasswordRefused
        return path


class TokenGuard:
    """A JSON web token of somebody else's, and what of it the function is told."""

    def __init__(self, check: Jwt, of_domain: bool) -> None:
        self._keys = read_keys(msgspec.json.decode(check.jwks), "jwks")
        self._lookups = check.lookups
        self._missing = " and ".join(f"{one.place} {one.name}" for one in check.lookups)
        self._paths, self._of_domain = Paths(check.paths, check.only_paths), of_domain
        self._headers = tuple(claim for claim in check.claims if claim.place == "header")
        self._query = tuple(claim for claim in check.claims if claim.place == "query")
        self._header_names = frozenset(_plain(claim.name.encode()) for claim in self._headers)
        self._query_names = frozenset(claim.name.lower().encode() for claim in self._query)

    async def admit(self, exchange: Exchange, path: bytes) -> bytes:
        asked = exchange.target if self._of_domain else path
        exempt = self._paths.exempt(asked.partition(b"?")[0])
        claims = {} if exempt else await self._claims(exchange, path)
        if self._headers:
            self._tell_headers(exchange, claims)
        return self._tell_query(path, claims) if self._query else path

    async def _claims(self, exchange: Exchange, path: bytes) -> dict[str, Any]:
        """Of the first token that is good; each lookup has one try, so that no request costs many."""
        found = False
        for lookup in self._lookups:
            token = await _find(exchange, path, lookup)
            if not token:
                continue
            found = True
            try:
                return self._keys.claims(token)
            except TokenRefused:
                continue
        raise TokenRefused("" if found else self._missing)

    def _tell_headers(self, exchange: Exchange, claims: dict[str, Any]) -> None:
        """Whatever the caller sent by these names is dropped, and `Connection` cannot take ours away again."""
        names = self._header_names
        kept = [one for one in exchange.headers if _plain(one[0]) not in names]
        for claim in self._headers:
            if (value := _text(claims.get(claim.claim))) is not None:
                name = claim.name.encode()
                kept.append((name.lower(), name, _header_value(value)))
        exchange.headers, exchange.passed = kept, None  # what was read of them does not count any more
        exchange.connection_names = frozenset(n for n in exchange.connection_names if _plain(n) not in names)

    def _tell_query(self, path: bytes, claims: dict[str, Any]) -> bytes:
        plain, _, query = path.partition(b"#")[0].partition(b"?")
        parts = [part for part in query.split(b"&") if part and not self._claimed(part)]
        parts += [pair for claim in self._query if (pair := _pair(claim, claims)) is not None]
        return plain + b"?" + b"&".join(parts) if parts else plain

    def _claimed(self, part: bytes) -> bool:
        """Whether some reader of queries takes this for one of ours: `;` may separate, `[…]` make lists."""
        decoded = unquote_to_bytes(part.replace(b"+", b" ")).lower()
        raw = (unquote_to_bytes(one.partition(b"=")[0].replace(b"+", b" ")) for one in part.split(b";"))
        names = {name.lower() for name in raw} | {one.partition(b"=")[0] for one in decoded.split(b";")}
        return any(name.partition(b"[")[0].strip() in self._query_names for name in names)


async def _find(exchange: Exchange, path: bytes, lookup: TokenLookup) -> bytes:
    """The token that a lookup points at; b"" where there is none."""
    name = lookup.name.encode()
    match lookup.place:
        case "header":
            found = _header(exchange, name.lower())
        case "cookie":
            found = _cookie(exchange, name)
        case "query":
            found = _field(path.partition(b"?")[2], name)
        case _:
            found = _field(await _form(exchange), name)
    prefix = lookup.prefix.encode()
    if found[: len(prefix)].lower() != prefix.lower():
        return b""
    return found[len(prefix) :].strip()


def _header(exchange: Exchange, name: bytes) -> bytes:
    """Its value; b"" where there are several: the function might read another one than we."""
    found = [value for lower, _, value in exchange.headers if lower == name]
    return found[0] if len(found) == 1 else b""


def _cookie(exchange: Exchange, name: bytes) -> bytes:
    for lower, _, value in exchange.headers:
        if lower == b"cookie":
            for part in value.split(b";"):
                given, _, token = part.strip().partition(b"=")
                if given == name:
                    return token.strip(b'"')
    return b""


def _field(query: bytes, name: bytes) -> bytes:
    """A field's value in a query or a form; b"" where there are several, as with headers."""
    found: list[bytes] = []
    for part in query.split(b"&"):
        given, _, value = part.partition(b"=")
        if unquote_to_bytes(given.replace(b"+", b" ")) == name:
            found.append(unquote_to_bytes(value.replace(b"+", b" ")))
    return found[0] if len(found) == 1 else b""


async def _form(exchange: Exchange) -> bytes:
    """The body of a form: kept whole, it still goes to the function. Raises: EntityTooLarge."""
    kind = (exchange.header(b"content-type") or b"").partition(b";")[0].strip().lower()
    if kind != _FORM or exchange.body is None:
        return b""
    exchange.let_body_come()
    return await exchange.body.collect(MAX_FORM)


def _plain(name: bytes) -> bytes:
    """Many servers make no difference between `_` and `-`."""
    return name.lower().replace(b"_", b"-")


def _text(value: Any) -> str | None:
    """A claim as text: strings as they are, all else as JSON."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, float) and not math.isfinite(value):
        raise TokenRefused
    return msgspec.json.encode(value).decode()


def _header_value(text: str) -> bytes:
    """UTF-8; what would not arrive as it is, is refused. Source: RFC 9110 §5.5."""
    try:
        value = text.encode()
    except UnicodeEncodeError:
        raise TokenRefused from None
    if value != value.strip() or any(byte < 0x20 or byte == 0x7F for byte in value):
        raise TokenRefused
    return value


def _pair(claim: ClaimPass, claims: dict[str, Any]) -> bytes | None:
    value = _text(claims.get(claim.claim))
    if value is None:
        return None
    try:
        return f"{quote(claim.name, safe='')}={quote(value, safe='')}".encode()
    except UnicodeEncodeError:
        raise TokenRefused from None


def _digest(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()


def _among(given: bytes, digests: list[bytes]) -> bool:
    """In a time that depends on neither what was given nor which one it is."""
    digest, found = _digest(given), False
    for one in digests:
        found |= hmac.compare_digest(digest, one)
    return found

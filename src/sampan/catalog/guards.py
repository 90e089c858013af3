"""Who may call by plain HTTP, and from which pages: what the configurations mean, and what they may say.

Triggers and custom domains say it alike, so each check takes the prefix of the field names for its errors. No error
repeats a password, a token or a key. Source: triggers.md §3.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from sampan.model.errors import FieldNotSupported, InvalidArgument
from sampan.model.trigger import AuthType, Basic, Bearer, Check, ClaimPass, Cors, Jwt, TokenLookup
from sampan.wire.shapes import CorsConfig
from sampan.wire.tokens import public_part, read_keys

METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS")
MAX_USERS, MAX_TOKENS = 20, 20
TOKEN_LENGTH = (32, 128)  # characters
MAX_PASSWORD = 128
MAX_LOOKUPS, MAX_CLAIMS, MAX_PATHS = 10, 20, 100
MAX_AGE = 86400  # seconds
DEFAULT_LOOKUP = "header:Authorization:Bearer"
PLACES = ("header", "cookie", "query", "form")

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")  # RFC 9110 §5.6.2
_VISIBLE = re.compile(r"[!-~]+\Z")
_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://([a-z0-9._-]+|\[[0-9a-f:]+\])(:\d{1,5})?\Z")
_PORTS = {"http": ":80", "https": ":443"}
_EMPTY = frozenset((None, "", "{}", "null"))
# Set by the gateway itself, or about the connection: nobody's claim.
_RESERVED = frozenset(
    (
        "connection", "keep-alive", "proxy-connection", "proxy-authorization", "te", "trailer", "transfer-encoding",
        "upgrade", "expect", "http2-settings", "content-length", "host", "traceparent", "tracestate", "forwarded",
    )
)  # fmt: skip


def guard(
    auth_type: str | None, auth_config: str | None, where: str, member: str = "authConfig"
) -> tuple[AuthType, Check | None]:
    """What an auth type and its configuration mean.

    where: prefix of field names in errors.  member: what the configuration is called there; with custom domains,
    `authInfo`.  Raises: InvalidArgument, FieldNotSupported.
    """
    try:
        auth = AuthType(auth_type or AuthType.FUNCTION.value)
    except ValueError:
        allowed = ", ".join(one.value for one in AuthType)
        raise InvalidArgument(f"{where}.authType", auth_type, allowed) from None
    field = f"{where}.{member}"
    reader = _READERS.get(auth)
    if reader is None:
        if auth_config not in _EMPTY:
            raise InvalidArgument(field, "a configuration", f"none with authType {auth.value}")
        return auth, None
    return auth, reader(_members(auth_config, field), field)


def cors(given: CorsConfig | None, where: str) -> Cors | None:
    """Raises: InvalidArgument."""
    if given is None:
        return None
    origins = _origins(given.allow_origins or (), f"{where}.allowOrigins")
    credentials = bool(given.allow_credentials)
    if credentials and "*" in origins:
        raise InvalidArgument(f"{where}.allowCredentials", True, "false where allowOrigins has '*'")
    max_age = 3600 if given.max_age is None else given.max_age
    if not 0 <= max_age <= MAX_AGE:
        raise InvalidArgument(f"{where}.maxAge", max_age, f"0–{MAX_AGE} seconds")
    return Cors(
        origins=origins,
        methods=_cors_methods(given.allow_methods or (), f"{where}.allowMethods"),
        headers=_header_names(given.allow_headers or (), f"{where}.allowHeaders"),
        exposed=_header_names(given.expose_headers or (), f"{where}.exposeHeaders"),
        credentials=credentials,
        max_age=max_age,
    )


# ── the three checks ──


def _jwt(given: Mapping[str, Any], field: str) -> Jwt:
    _known(given, field, ("jwks", "tokenlookup", "claimpassby", "whitelist", "blacklist"))
    jwks = given.get("jwks")
    read_keys(jwks, f"{field}.jwks")
    free, bound = (_paths(given.get(name), f"{field}.{name}") for name in ("whitelist", "blacklist"))
    if free and bound:
        raise InvalidArgument(f"{field}.blacklist", "both whitelist and blacklist", "one of them")
    lookups = _parts(given.get("tokenlookup") or DEFAULT_LOOKUP, f"{field}.tokenLookup", MAX_LOOKUPS)
    claims = _parts(given.get("claimpassby") or "", f"{field}.claimPassBy", MAX_CLAIMS)
    assert isinstance(jwks, Mapping)  # `read_keys` has seen to it
    return Jwt(
        jwks=public_part(jwks),
        lookups=tuple(_lookup(one, f"{field}.tokenLookup") for one in lookups),
        claims=tuple(_claim(one, f"{field}.claimPassBy") for one in claims),
        paths=bound or free,
        only_paths=bool(bound),
    )


def _basic(given: Mapping[str, Any], field: str) -> Basic:
    """`{"users": [{"username": "…", "password": "…"}]}`. Our own choice: FC documents no form."""
    _known(given, field, ("users",))
    found: dict[str, str] = {}
    for index, one in enumerate(_list(given, "users", field, MAX_USERS)):
        _known(one, f"{field}.users[{index}]", ("username", "password"))
        name, password = one.get("username"), one.get("password")
        if not isinstance(name, str) or not 1 <= len(name) <= 128 or ":" in name or _controls(name):
            allowed = "1–128 characters without ':' and control characters"
            raise InvalidArgument(f"{field}.users[{index}].username", _size(name), allowed)
        if not isinstance(password, str) or not 1 <= len(password) <= MAX_PASSWORD or _controls(password):
            allowed = f"1–{MAX_PASSWORD} characters, none of them a control character"
            raise InvalidArgument(f"{field}.users[{index}].password", _size(password), allowed)
        if name in found:
            raise InvalidArgument(f"{field}.users[{index}].username", name, "each name once")
        found[name] = password
    return Basic(tuple(found.items()))


def _bearer(given: Mapping[str, Any], field: str) -> Bearer:
    _known(given, field, ("tokens",))
    low, high = TOKEN_LENGTH
    enabled: list[str] = []
    for index, one in enumerate(_list(given, "tokens", field, MAX_TOKENS)):
        _known(one, f"{field}.tokens[{index}]", ("enable", "tokendata", "tokenname"))
        token = one.get("tokendata")
        if not isinstance(token, str) or not low <= len(token) <= high or not _VISIBLE.match(token):
            allowed = f"{low}–{high} printable ASCII characters without blanks"
            raise InvalidArgument(f"{field}.tokens[{index}].tokenData", _size(token), allowed)
        if not isinstance(one.get("enable", True), bool):
            raise InvalidArgument(f"{field}.tokens[{index}].enable", _kind(one["enable"]), "true or false")
        if one.get("enable", True):
            enabled.append(token)
    return Bearer(tuple(dict.fromkeys(enabled)))


_READERS: dict[AuthType, Callable[[Mapping[str, Any], str], Check]] = {
    AuthType.JWT: _jwt,
    AuthType.BASIC: _basic,
    AuthType.BEARER: _bearer,
}


def _lookup(text: str, field: str) -> TokenLookup:
    place, _, rest = text.partition(":")
    name, _, prefix = rest.partition(":")
    place, name, prefix = place.strip().lower(), name.strip(), prefix.strip()
    if place not in PLACES or not _TOKEN.match(name) or (prefix and not _VISIBLE.match(prefix)):
        allowed = "PLACE:NAME or PLACE:NAME:PREFIX, the place one of " + ", ".join(PLACES)
        raise InvalidArgument(field, text[:120], allowed)
    return TokenLookup(place, name, prefix)


def _claim(text: str, field: str) -> ClaimPass:
    place, _, rest = text.partition(":")
    claim, _, name = rest.partition(":")
    place, claim, name = place.strip().lower(), claim.strip(), name.strip()
    if place in ("cookie", "form"):
        raise FieldNotSupported(field, text[:120], "pass the claim by header or by query")
    if place not in ("header", "query") or not claim or not _TOKEN.match(name):
        raise InvalidArgument(field, text[:120], "PLACE:CLAIM:NAME, the place header or query")
    plain = name.lower().replace("_", "-")
    if place == "header" and (plain in _RESERVED or plain.startswith(("x-fc-", "x-forwarded-"))):
        raise InvalidArgument(field, text[:120], "a header that the platform does not set itself")
    return ClaimPass(place, claim, name)


def _paths(given: Any, field: str) -> tuple[str, ...]:
    if given is None:
        return ()
    if not isinstance(given, list) or len(given) > MAX_PATHS:
        raise InvalidArgument(field, _kind(given), f"a list of at most {MAX_PATHS} paths")
    for path in given:
        if not isinstance(path, str) or not path.startswith("/") or not _VISIBLE.match(path) or "*" in path[:-1]:
            allowed = "a path such as /login, or with a '*' at its end: /public/*"
            raise InvalidArgument(field, path[:120] if isinstance(path, str) else _kind(path), allowed)
    return tuple(dict.fromkeys(given))


# ── CORS ──


def _origins(given: tuple[str, ...], field: str) -> tuple[str, ...]:
    if not given:
        raise InvalidArgument(field, "nothing", "'*', 'https://*' or origins such as https://app.example.org")
    return tuple(dict.fromkeys(one if one in ("*", "https://*") else _origin(one, field) for one in given))


def _origin(given: str, field: str) -> str:
    """As browsers write it: lower case, without the port that goes without saying. Source: RFC 6454 §6.2."""
    found = _ORIGIN.match(given.lower())
    if found is None:
        allowed = "'*', 'https://*' or a whole origin: https://app.example.org, no path, no other '*'"
        raise InvalidArgument(field, given[:120], allowed)
    scheme, host, port = found.groups()
    return f"{scheme}://{host}{'' if port == _PORTS.get(scheme) else port or ''}"


def _cors_methods(given: tuple[str, ...], field: str) -> tuple[str, ...]:
    methods = tuple(dict.fromkeys(one.upper() for one in given))
    if methods == ("*",):
        return ()
    for one in methods:
        if one == "OPTIONS" or one not in METHODS:
            allowed = f"{', '.join(METHODS[:-1])}; OPTIONS is how a browser asks, and goes without saying"
            raise InvalidArgument(field, one[:40], allowed)
    return methods


def _header_names(given: tuple[str, ...], field: str) -> tuple[str, ...]:
    for one in given:
        if not _TOKEN.match(one):
            raise InvalidArgument(field, one[:120], "names of headers, or '*'")
    return tuple(dict.fromkeys(given))


# ── JSON ──


def _members(text: str | None, field: str) -> dict[str, Any]:
    """An object in a string, its members' names in lower case: both capitalisations occur."""
    try:
        given = msgspec.json.decode(text or "")
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise InvalidArgument(field, "nothing" if not text else "something else", "a JSON object in a string")
    return _lower(given, field)


def _lower(given: dict[str, Any], field: str) -> dict[str, Any]:
    lower = {name.lower(): value for name, value in given.items()}
    if len(lower) != len(given):
        raise InvalidArgument(field, "a member twice, in different capitals", "each member once")
    return lower


def _known(given: Mapping[str, Any], field: str, names: tuple[str, ...]) -> None:
    for name in given:
        if name not in names:
            raise InvalidArgument(f"{field}.{name[:64]}", "a member", f"of {', '.join(names)} (in any capitals)")


def _list(given: Mapping[str, Any], name: str, field: str, most: int) -> list[dict[str, Any]]:
    found = given.get(name)
    if not isinstance(found, list) or not 1 <= len(found) <= most:
        told = f"{len(found)} of them" if isinstance(found, list) else _kind(found)
        raise InvalidArgument(f"{field}.{name}", told, f"a list of 1–{most}")
    for index, one in enumerate(found):
        if not isinstance(one, dict):
            raise InvalidArgument(f"{field}.{name}[{index}]", _kind(one), "an object")
    return [_lower(one, f"{field}.{name}[{index}]") for index, one in enumerate(found)]


def _parts(given: Any, field: str, most: int) -> list[str]:
    if not isinstance(given, str):
        raise InvalidArgument(field, _kind(given), "a string, its parts joined by ','")
    parts = [part.strip() for part in given.split(",") if part.strip()]
    if len(parts) > most:
        raise InvalidArgument(field, f"{len(parts)} parts", f"at most {most}")
    return parts


def _kind(value: object) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"


def _size(value: object) -> str:
    return f"{len(value)} characters" if isinstance(value, str) else _kind(value)


def _controls(text: str) -> bool:
    return any(character < " " or character == "\x7f" for character in text) or not _encodes(text)


def _encodes(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)

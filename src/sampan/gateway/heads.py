"""What the gateway reads from a request's head, and what it refuses about one.

The parser splits the bytes into lines; here is what RFC 9110 and 9112 ask of those lines beyond that. A head that
another reader could read in another way is refused, never mended.
"""

import re
from collections.abc import Callable
from typing import Final

from sampan.gateway.exchange import Exchange
from sampan.gateway.route import API_PATHS
from sampan.model.errors import (
    BodyTooLarge,
    EntityTooLarge,
    ExpectationFailed,
    HeadersTooLarge,
    HttpVersionNotSupported,
    InvalidArgument,
    NotImplementedHere,
    SampanError,
    TargetTooLong,
)
from sampan.settings import Gateway as Limits
from sampan.telemetry.context import TRACE_HEADERS

# Source: RFC 9110 §7.2, RFC 3986 §3.2.2; of the characters that a registered name may have only harmless ones.
_HOST = re.compile(
    rb"(?:[A-Za-z0-9._~%-]*|\[[A-Za-z0-9:.%-]+\])"
    rb"(?::(?:[0-9]{0,4}|[0-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?"
).fullmatch
_ABSOLUTE = re.compile(rb"https?://([^/?]+)(.*)", re.IGNORECASE | re.DOTALL).fullmatch
_HOSTS: Final[set[bytes]] = set()  # seen before, and well-formed
_MOST_HOSTS: Final = 4096
_UNKNOWN_VERSION = "Invalid HTTP version"  # what the parser says of one that does not exist, such as 1.2

# Names that `Connection` cannot take from a request: they say where it came from, or how it is told apart.
_NEVER_HOP_BY_HOP = frozenset(
    (b"close", b"keep-alive", b"upgrade", b"host", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-for")
)


def fault(exchange: Exchange, version: str, size: int, limits: Limits) -> SampanError | None:
    """What is wrong with the head, if anything. size: bytes of its header lines."""
    wrong = fault_of_any(exchange, version, size, limits)
    if wrong is None and exchange.target.find(b"#") >= 0:  # RFC 9112 §3.2: no form of a target has one
        return InvalidArgument(
            "target", exchange.target.decode("latin-1"), "a path and a query, without a fragment"
        )
    return wrong


def fault_of_any(exchange: Exchange, version: str, size: int, limits: Limits) -> SampanError | None:
    """As `fault`, of a target whose characters have been looked at."""
    if size > limits.max_request_header or len(exchange.target) > limits.max_target:
        return too_long(exchange.target, size, limits)
    if version not in ("1.1", "1.0"):
        return HttpVersionNotSupported(version)
    if exchange.method == b"CONNECT":
        return NotImplementedHere("method", "CONNECT", "send the request to the function's URL itself")
    if exchange.http10:
        exchange.expects_continue = False  # RFC 9110 §10.1.1
        if exchange.chunked:
            return InvalidArgument("transfer-encoding", "chunked", "HTTP/1.1 to send it with")  # RFC 9112 §6.1
    if exchange.hosts != 1 and not (exchange.http10 and not exchange.hosts):
        return InvalidArgument("host", exchange.hosts, "one Host header")
    if exchange.host not in _HOSTS and (wrong := _not_a_host(exchange)) is not None:
        return wrong
    if not exchange.target.startswith(b"/") and (wrong := _not_a_path(exchange)) is not None:
        return wrong
    if exchange.upgrade and (exchange.content_length or exchange.chunked):
        return InvalidArgument("upgrade", "with a body", "no body")
    if exchange.content_length and limits.max_body and exchange.content_length > limits.max_body:
        return body_too_large(exchange, limits.max_body)
    return None


def too_long(target: bytes, size: int, limits: Limits) -> InvalidArgument:
    """The head is over a limit. What FC knows is refused as FC does. Source: function-compute-api.md §3.2."""
    ours = target.startswith(API_PATHS)
    if len(target) > limits.max_target:
        kind = InvalidArgument if ours else TargetTooLong
        return kind("path and query", len(target), f"at most {limits.max_target} bytes")
    kind = InvalidArgument if ours else HeadersTooLarge
    return kind("headers", size, f"at most {limits.max_request_header} bytes")


def body_too_large(exchange: Exchange, limit: int) -> EntityTooLarge:
    """As `too_long`, for the body."""
    return EntityTooLarge(limit) if exchange.target.startswith(API_PATHS) else BodyTooLarge(limit)


def unreadable(reason: str) -> SampanError:
    """The parser gave up. reason: its own words."""
    if reason == _UNKNOWN_VERSION:
        return HttpVersionNotSupported()
    return InvalidArgument("request", reason, "a well-formed HTTP/1.1 request")


def _not_a_host(exchange: Exchange) -> SampanError | None:
    if _HOST(exchange.host) is None and _HOST(_without_scheme(exchange)) is None:
        return InvalidArgument("host", exchange.host.decode("latin-1"), "a host name and a port")
    if len(_HOSTS) >= _MOST_HOSTS:
        _HOSTS.clear()
    _HOSTS.add(exchange.host)
    return None


def _without_scheme(exchange: Exchange) -> bytes:
    """Clients of FC whose endpoint is told as a URL send all of that URL as the host."""
    exchange.host = exchange.host.removeprefix(b"http://").removeprefix(b"https://").removesuffix(b"/")
    return exchange.host


def _not_a_path(exchange: Exchange) -> SampanError | None:
    """`GET http://host/path`, `OPTIONS *`. Source: RFC 9112 §3.2.2: the target's host counts, not the header's."""
    if exchange.target == b"*" and exchange.method == b"OPTIONS":
        return None
    parts = _ABSOLUTE(exchange.target)
    if parts is None or not parts[1] or _HOST(parts[1]) is None:
        return InvalidArgument("target", exchange.target.decode("latin-1"), "a path that begins with /")
    exchange.host = host = parts[1]
    # So it is in what is signed, and in what goes on: a signature for one host must not open another.
    exchange.headers = [(low, name, host if low == b"host" else value) for low, name, value in exchange.headers]
    exchange.target = parts[2] if parts[2].startswith(b"/") else b"/" + parts[2]
    return None


def _take_host(exchange: Exchange, value: bytes) -> None:
    exchange.hosts += 1
    exchange.host = value.strip()


def _take_length(exchange: Exchange, value: bytes) -> None:
    exchange.content_length = int(value if len(value) < 20 else value.strip().lstrip(b"0") or b"0")  # is a number


def _take_coding(exchange: Exchange, value: bytes) -> None:
    """Source: RFC 9112 §6.1 and §6.3: chunked has to be the last; what comes before it is understood or not."""
    told = value.strip().lower()
    if told != b"chunked" or exchange.chunked:
        if told.rpartition(b",")[2].strip() == b"chunked":
            exchange.refusal = NotImplementedHere("transfer-encoding", value.decode("latin-1"), "chunked alone is")
        else:
            exchange.refusal = InvalidArgument("transfer-encoding", value.decode("latin-1"), "chunked")
    exchange.chunked = True


def _take_connection(exchange: Exchange, value: bytes) -> None:
    names = frozenset(token.strip() for token in value.lower().split(b","))
    exchange.connection_names |= names - _NEVER_HOP_BY_HOP


def _take_upgrade(exchange: Exchange, value: bytes) -> None:
    if b"h2c" not in value.lower():  # would let a client speak past us
        exchange.upgrade = value.strip()


def _take_expect(exchange: Exchange, value: bytes) -> None:
    if value.strip().lower() == b"100-continue":
        exchange.expects_continue = True
    elif exchange.refusal is None:
        exchange.refusal = ExpectationFailed(value.decode("latin-1"))


def _take_authorization(exchange: Exchange, value: bytes) -> None:
    exchange.authorization = value.strip()


def _take_origin(exchange: Exchange, value: bytes) -> None:
    exchange.origin = value.strip()


def _take_traceparent(exchange: Exchange, value: bytes) -> None:
    if exchange.traceparent:
        exchange.context_told = True  # there are two
    exchange.traceparent = value.strip()


def _take_context(exchange: Exchange, value: bytes) -> None:
    exchange.context_told = True


def _take_forwarded(exchange: Exchange, value: bytes) -> None:
    exchange.forwarded += value + b", "


def _take_forwarded_for(exchange: Exchange, value: bytes) -> None:
    exchange.forwarded_for += value + b", "


def _take_proto(exchange: Exchange, value: bytes) -> None:
    exchange.proto_told = True


def _take_forwarded_host(exchange: Exchange, value: bytes) -> None:
    exchange.host_told = True


def _take_invocation_type(exchange: Exchange, value: bytes) -> None:
    exchange.asynchronous = value.strip().lower() == b"async"


Take = Callable[[Exchange, bytes], None]

TAKES: dict[bytes, Take] = {
    **dict.fromkeys(TRACE_HEADERS, _take_context),
    b"host": _take_host,
    b"content-length": _take_length,
    b"transfer-encoding": _take_coding,
    b"connection": _take_connection,
    b"upgrade": _take_upgrade,
    b"expect": _take_expect,
    b"authorization": _take_authorization,
    b"origin": _take_origin,
    b"traceparent": _take_traceparent,
    b"forwarded": _take_forwarded,
    b"x-forwarded-for": _take_forwarded_for,
    b"x-forwarded-proto": _take_proto,
    b"x-forwarded-host": _take_forwarded_host,
    b"x-fc-invocation-type": _take_invocation_type,
}

"""What the gateway reads from a request's head, and what it refuses about one.

The parser splits the bytes into lines; here is what RFC 9110 and 9112 ask of those lines beyond that. A head that
another reader could read in another way is refused, never mended.
"""

from collections.abc import Callable

from sampan.gateway.container import is_traceparent
from sampan.gateway.exchange import Exchange
from sampan.model.errors import EntityTooLarge, InvalidArgument, NotSupported, SampanError
from sampan.settings import Gateway as Limits

_HOST = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_:[]%~")


def fault(exchange: Exchange, version: str, size: int, upgrading: bool, limits: Limits) -> SampanError | None:
    """What is wrong with the head, if anything. size: bytes of its header lines."""
    if size > limits.max_request_header:
        return InvalidArgument("headers", size, f"at most {limits.max_request_header} bytes")
    if len(exchange.target) > limits.max_target:
        return InvalidArgument("path and query", len(exchange.target), f"at most {limits.max_target} bytes")
    if version not in ("1.1", "1.0"):
        return InvalidArgument("HTTP version", version, "1.1 and 1.0")
    if exchange.method == b"CONNECT":
        return NotSupported("CONNECT")
    if not exchange.target.startswith(b"/") and (wrong := _absolute(exchange)) is not None:
        return wrong
    if exchange.hosts != 1 and not (exchange.http10 and not exchange.hosts):
        return InvalidArgument("host", exchange.hosts, "one Host header")
    if not _HOST.issuperset(exchange.host):
        exchange.host = _without_scheme(exchange.host)
    if not _HOST.issuperset(exchange.host):
        return InvalidArgument("host", exchange.host.decode("latin-1"), "a host name and a port")
    if upgrading and exchange.upgrade and (exchange.content_length or exchange.chunked):
        return InvalidArgument("upgrade", "with a body", "no body")
    if exchange.content_length and limits.max_body and exchange.content_length > limits.max_body:
        return EntityTooLarge(limits.max_body)
    return None


def _without_scheme(host: bytes) -> bytes:
    """Clients of FC whose endpoint is told as a URL send all of that URL as the host."""
    return host.removeprefix(b"http://").removeprefix(b"https://").removesuffix(b"/")


def _absolute(exchange: Exchange) -> SampanError | None:
    """`GET http://host/path`. Source: RFC 9112 §3.2.2: the target's host counts."""
    scheme, found, rest = exchange.target.partition(b"://")
    if not found or scheme.lower() not in (b"http", b"https"):
        return InvalidArgument("target", exchange.target.decode("latin-1"), "a path that begins with /")
    host, _, path = rest.partition(b"/")
    exchange.host, exchange.target = host, b"/" + path
    return None


def _take_host(exchange: Exchange, value: bytes) -> None:
    exchange.hosts += 1
    exchange.host = value


def _take_length(exchange: Exchange, value: bytes) -> None:
    exchange.content_length = int(value)  # the parser has checked it


def _take_coding(exchange: Exchange, value: bytes) -> None:
    exchange.chunked = True
    if value.lower() != b"chunked":
        exchange.refusal = InvalidArgument("transfer-encoding", value.decode("latin-1"), "chunked")


def _take_connection(exchange: Exchange, value: bytes) -> None:
    names = frozenset(token.strip() for token in value.lower().split(b","))
    exchange.connection_names |= names - {b"close", b"keep-alive", b"upgrade", b"host"}


def _take_upgrade(exchange: Exchange, value: bytes) -> None:
    if not value.lower().startswith(b"h2c"):  # would let a client speak past us
        exchange.upgrade = value


def _take_expect(exchange: Exchange, value: bytes) -> None:
    exchange.expects_continue = value.lower() == b"100-continue"


def _take_authorization(exchange: Exchange, value: bytes) -> None:
    exchange.authorization = value


def _take_traceparent(exchange: Exchange, value: bytes) -> None:
    if is_traceparent(value):
        exchange.traceparent = value


def _take_forwarded(exchange: Exchange, value: bytes) -> None:
    exchange.forwarded += value + b", "


def _take_forwarded_for(exchange: Exchange, value: bytes) -> None:
    exchange.forwarded_for += value + b", "


def _take_proto(exchange: Exchange, value: bytes) -> None:
    exchange.proto_told = True


def _take_forwarded_host(exchange: Exchange, value: bytes) -> None:
    exchange.host_told = True


def _take_invocation_type(exchange: Exchange, value: bytes) -> None:
    exchange.asynchronous = value.lower() == b"async"


TAKES: dict[bytes, Callable[[Exchange, bytes], None]] = {
    b"host": _take_host,
    b"content-length": _take_length,
    b"transfer-encoding": _take_coding,
    b"connection": _take_connection,
    b"upgrade": _take_upgrade,
    b"expect": _take_expect,
    b"authorization": _take_authorization,
    b"traceparent": _take_traceparent,
    b"forwarded": _take_forwarded,
    b"x-forwarded-for": _take_forwarded_for,
    b"x-forwarded-proto": _take_proto,
    b"x-forwarded-host": _take_forwarded_host,
    b"x-fc-invocation-type": _take_invocation_type,
}

"""Heads of HTTP/2 and how they become the heads of HTTP/1 that the house speaks, and back. Pure.

h2 has checked the pseudo-headers and refused connection headers; what could break a line of HTTP/1 is checked
here. Source: RFC 9113 §8.2, §8.3, §10.3.
"""

import re

from sampan.gateway.exchange import Exchange
from sampan.gateway.heads import TAKES
from sampan.gateway.http2_link import Headers
from sampan.model.errors import EntityTooLarge, InvalidArgument, NotSupported, SampanError
from sampan.settings import Gateway as Limits

_METHOD = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}\Z")
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+\Z")
_VALUE = re.compile(rb"[^\x00-\x08\x0a-\x1f\x7f]*\Z")
_TARGET = re.compile(rb"/[\x21\x22\x24-\x7e]*\Z")  # no fragment: RFC 9113 §8.3.1
_HOST = re.compile(rb"[A-Za-z0-9\-._:\[\]%~]+\Z")
_LENGTH = re.compile(rb"[0-9]{1,18}\Z")
_SET_BY_HTTP2 = frozenset((b"host", b"transfer-encoding", b"connection", b"upgrade"))
_CONNECTION = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade", b"te")
)


def read_request(exchange: Exchange, headers: Headers, limits: Limits) -> None:
    """Fill the request in, whose `body` is there if one comes. A fault becomes its `refusal`, to be answered."""
    size = 0
    cookies: list[bytes] = []
    fault: SampanError | None = None
    for name, value in headers:
        size += len(name) + len(value) + 4
        if name[:1] == b":":
            size -= len(name) + len(value) + 4
            _take_pseudo(exchange, name, value)
        elif _NAME.match(name) is None or _VALUE.match(value) is None:
            fault = InvalidArgument("header", name.decode("latin-1"), "visible characters")
        elif name == b"cookie":
            cookies.append(value)  # may come in crumbs: RFC 9113 §8.2.3
        elif name == b"host":
            exchange.host = exchange.host or value
        else:
            exchange.headers.append((name, name, value))
            if name == b"content-length" and (exchange.content_length is not None or _LENGTH.match(value) is None):
                fault = InvalidArgument("content-length", value.decode("latin-1"), "one number")
            elif (take := TAKES.get(name)) is not None and name not in _SET_BY_HTTP2:
                take(exchange, value)
    if cookies:
        exchange.headers.append((b"cookie", b"cookie", b"; ".join(cookies)))
    exchange.hosts = 1
    exchange.headers.append((b"host", b"host", exchange.host))
    exchange.refusal = fault or exchange.refusal or _fault(exchange, size, limits)


def _take_pseudo(exchange: Exchange, name: bytes, value: bytes) -> None:
    if name == b":method":
        exchange.method = value
    elif name == b":path":
        exchange.target = value
    elif name == b":authority":
        exchange.host = value


def _fault(exchange: Exchange, size: int, limits: Limits) -> SampanError | None:
    if size > limits.max_request_header:
        return InvalidArgument("headers", size, f"at most {limits.max_request_header} bytes")
    if len(exchange.target) > limits.max_target:
        return InvalidArgument("path and query", len(exchange.target), f"at most {limits.max_target} bytes")
    if exchange.method == b"CONNECT":
        return NotSupported("CONNECT")
    if _METHOD.match(exchange.method) is None:
        return InvalidArgument("method", exchange.method.decode("latin-1"), "a name like GET")
    if _TARGET.match(exchange.target) is None:
        return InvalidArgument(
            "path", exchange.target.decode("latin-1"), "visible ASCII that begins with /, without a fragment"
        )
    if _HOST.match(exchange.host) is None:
        return InvalidArgument("host", exchange.host.decode("latin-1"), "a host name and a port")
    if exchange.content_length and exchange.body is None:  # h2 looks at this only when there is DATA
        return InvalidArgument("content-length", exchange.content_length, "0 where there is no body")
    if exchange.content_length and limits.max_body and exchange.content_length > limits.max_body:
        return EntityTooLarge(limits.max_body)
    return None


def headers_of(lines: bytes) -> Headers:
    """Header lines of HTTP/1 as HTTP/2 has them: lower case, without what is about the connection."""
    found: Headers = []
    for line in lines.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        lower = name.lower()
        if colon and lower not in _CONNECTION:
            found.append((lower, value.strip(b" \t")))
    return found


def request_headers(head: bytes, scheme: bytes) -> Headers:
    """A request's whole head of HTTP/1, as HTTP/2 has it."""
    first, _, lines = head.partition(b"\r\n")
    method, target, _ = first.split(b" ", 2)
    rest = headers_of(lines)
    host = next(value for name, value in rest if name == b"host")
    pseudo = [(b":method", method), (b":scheme", scheme), (b":authority", host), (b":path", target)]
    return pseudo + [header for header in rest if header[0] != b"host"]

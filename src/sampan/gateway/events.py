"""InvokeFunction's answers. Source: function-compute-api.md §6."""

import base64
import math
import time

import msgspec

from sampan.gateway.exchange import Exchange
from sampan.gateway.instance import Instance
from sampan.link.messages import ServedVersion, Tail
from sampan.model.errors import FailureKind, FunctionFailed, FunctionTimedOut, SampanError, StartFailed
from sampan.model.names import LATEST
from sampan.wire.errors import message_of

TAIL = 4 << 10  # bytes of log in the answer
_UNHANDLED = b"UnhandledInvocationError"
_INITIALIZATION = b"InitializationError"
_FAILED = b"x-fc-error-type: %b\r\n"


class _ErrorBody(msgspec.Struct, rename="camel"):
    error_message: str
    error_type: str


_encode = msgspec.json.Encoder().encode


def succeed(
    exchange: Exchange, version: ServedVersion, instance: Instance, body: bytes, failed: bool, log: bytes
) -> None:
    """The function answered. failed: it said itself that it failed.  log: as `log_line` makes it."""
    lines = _lines(exchange, version, instance) + log
    if failed:
        lines += _FAILED % _UNHANDLED
    exchange.answer(200, lines, body)


def fail(exchange: Exchange, version: ServedVersion, instance: Instance | None, error: SampanError) -> bool:
    """Answer 200 with an error header, if that is how this error is told to a caller of InvokeFunction."""
    if isinstance(error, FunctionFailed):
        kind = _UNHANDLED
        name = "FunctionTimedOut" if isinstance(error, FunctionTimedOut) else type(error).__name__
    elif isinstance(error, StartFailed) and error.failure.kind is FailureKind.INITIALIZER_FAILED:
        kind, name = _INITIALIZATION, "InitializationError"
    else:
        return False
    body = _encode(_ErrorBody(message_of(error), name))
    exchange.answer(200, _lines(exchange, version, instance) + _FAILED % kind, body)
    return True


def log_line(exchange: Exchange, version: ServedVersion, tail: Tail) -> bytes:
    """`x-fc-log-result`. The peak of memory is not known here and left out rather than made up."""
    duration = (time.time_ns() - exchange.leased) / 1e6
    text = tail.text.replace("\r\n", "\n").replace("\n", "\r\n")
    summary = (
        f"\nDuration: {duration:.2f} ms, Billed Duration: {math.ceil(duration)} ms, "
        f"Memory Size: {version.memory_mb} MB"
    )
    shown = text.encode()[-(TAIL - len(summary)) :] + summary.encode()
    return b"x-fc-log-result: %b\r\n" % base64.b64encode(shown)


def _lines(exchange: Exchange, version: ServedVersion, instance: Instance | None) -> bytes:
    told = "latest" if version.version == LATEST else version.version
    lines = (
        f"Content-Type: application/octet-stream\r\nx-fc-request-id: {exchange.request}\r\n"
        f"x-fc-invocation-function-version: {told}\r\nx-fc-invocation-code-version: {told}\r\n"
    )
    if exchange.leased:
        lines += f"x-fc-invocation-duration: {math.ceil((time.time_ns() - exchange.leased) / 1e6)}\r\n"
    if instance is not None:
        lines += f"x-fc-instance-id: {instance.grant.instance}\r\n"
    return lines.encode("latin-1", "replace")

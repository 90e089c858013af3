"""What gRPC's callers are told, and what they tell. Source: "gRPC over HTTP/2" and its status codes."""

import re
from enum import IntEnum

from sampan.model import errors as e
from sampan.wire.errors import message_of


class Status(IntEnum):
    """The codes that the platform answers with itself."""

    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


STATUSES: dict[type[BaseException], Status] = {
    e.CallerMistake: Status.INVALID_ARGUMENT,
    e.NotSupported: Status.UNIMPLEMENTED,
    e.EntityTooLarge: Status.RESOURCE_EXHAUSTED,
    e.LimitExceeded: Status.RESOURCE_EXHAUSTED,
    e.MethodNotAllowed: Status.UNIMPLEMENTED,
    e.NotFound: Status.UNIMPLEMENTED,  # what was called is not implemented here
    e.Conflict: Status.UNAVAILABLE,  # not active yet
    e.Denied: Status.PERMISSION_DENIED,
    e.TokenRefused: Status.UNAUTHENTICATED,
    e.PasswordRefused: Status.UNAUTHENTICATED,
    e.MissingHeader: Status.UNAUTHENTICATED,
    e.InvalidAccessKey: Status.UNAUTHENTICATED,
    e.SignatureMismatch: Status.UNAUTHENTICATED,
    e.RequestTimeSkewed: Status.UNAUTHENTICATED,
    e.NonceReplayed: Status.UNAUTHENTICATED,
    e.Throttled: Status.RESOURCE_EXHAUSTED,
    e.NoCapacity: Status.UNAVAILABLE,
    e.StartFailed: Status.UNAVAILABLE,
    e.FunctionExited: Status.UNAVAILABLE,
    e.ConnectionClosed: Status.UNAVAILABLE,
    e.FunctionTimedOut: Status.DEADLINE_EXCEEDED,
    e.SampanError: Status.INTERNAL,
}

_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])\Z")
_SECONDS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_LONGEST = 2000  # bytes of a message, so that it passes everybody's limit on headers


def is_grpc(content_type: bytes) -> bool:
    """Not gRPC-Web, which is HTTP like any other."""
    kind = content_type.lower()
    return kind.startswith(b"application/grpc") and kind[16:17] in (b"", b"+", b";", b" ")


def seconds(timeout: bytes) -> float:
    """A `grpc-timeout`; one that cannot be understood bounds nothing."""
    found = _TIMEOUT.match(timeout)
    return float("inf") if found is None else int(found[1]) * _SECONDS[found[2]]


def timeout(left: float) -> bytes:
    """Seconds as a `grpc-timeout` has them."""
    return b"%dm" % min(99_999_999, max(1, int(left * 1000)))


def trailers(error: BaseException, late: bool) -> list[tuple[bytes, bytes]]:
    """late: the caller's own deadline is past, whatever the error says."""
    code = Status.DEADLINE_EXCEEDED if late else status_of(error)
    said = message_of(error) if isinstance(error, e.SampanError) else "internal error; see the platform's log"
    return [(b"grpc-status", b"%d" % code), (b"grpc-message", _escaped(said))]


def status_of(error: BaseException) -> Status:
    for kind in type(error).__mro__:
        if kind in STATUSES:
            return STATUSES[kind]
    return Status.INTERNAL


def _escaped(message: str) -> bytes:
    """Percent-encoded, but for printable ASCII. Source: gRPC over HTTP/2, "Status-Message"."""
    raw = message.encode()[:_LONGEST]
    return b"".join(b"%c" % c if 0x20 <= c <= 0x7E and c != 0x25 else b"%%%02X" % c for c in raw)[: 3 * _LONGEST]

"""How long a gRPC back-end asks to wait: `google.rpc.RetryInfo` among the details of its status.

Source: OTLP 1.x, "OTLP/gRPC Throttling"; google/rpc/status.proto and error_details.proto. Three fields of two small
messages are all that is needed, so they are read as they are on the wire.
"""

from collections.abc import Iterator

TRAILER = "grpc-status-details-bin"
_TYPE = b"/google.rpc.RetryInfo"


def retry_delay(status: bytes) -> float | None:
    """Seconds; None: it does not say, or in bytes that are no message."""
    try:
        for detail in _messages(status, 3):
            if any(name.endswith(_TYPE) for name in _messages(detail, 1)):
                delays = [delay for info in _messages(detail, 2) for delay in _messages(info, 1)]
                return sum(_number(delay, 1) + _number(delay, 2) / 1e9 for delay in delays[-1:])  # none: at once
    except (IndexError, ValueError):
        return None
    return None


def _messages(message: bytes, wanted: int) -> Iterator[bytes]:
    return (value for field, value in _fields(message) if field == wanted and isinstance(value, bytes))


def _number(message: bytes, wanted: int) -> float:
    found = [value for field, value in _fields(message) if field == wanted and isinstance(value, int)]
    value = found[-1] if found else 0
    return 0.0 if value >= 1 << 63 else float(value)  # negative


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        match tag & 7:
            case 0:
                value, at = _varint(message, at)
                yield tag >> 3, value
            case 2:
                length, at = _varint(message, at)
                if at + length > len(message):
                    raise ValueError("cut off")
                yield tag >> 3, message[at : at + length]
                at += length
            case 1:
                at += 8
            case 5:
                at += 4
            case _:
                raise ValueError("a group")


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
    raise ValueError("a number of more than ten bytes")

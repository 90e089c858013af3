"""Protobuf before and beside the messages' own code: a look at foreign bytes, and the few we write by hand."""

from collections.abc import Mapping
from dataclasses import dataclass

from sampan.model.errors import Malformed

SMALL = 64 << 10  # bytes that are parsed unseen: what they become stays below 6 MiB (measured: 90 times as much)


@dataclass(frozen=True, slots=True)
class Nested:
    """Which fields of a message are messages to look into."""

    fields: "Mapping[int, Nested]"


LEAF = Nested({})


def count_messages(data: bytes, root: Nested, most: int) -> None:
    """See that there are at most `most` messages in a large body, before memory is taken for any of them.

    An empty message is two bytes on the wire and some hundred in memory. Raises: Malformed.
    """
    if len(data) > SMALL:
        try:
            _count(data, 0, len(data), root, most)
        except IndexError:
            raise Malformed("protobuf", "the message ends in the middle of a field") from None


def _count(data: bytes, at: int, end: int, nested: Nested, left: int) -> int:
    """How many more there may be."""
    while at < end:
        tag, at = _varint(data, at)
        wire = tag & 7
        if wire == 2:
            size, at = _varint(data, at)
            if size > end - at:
                raise Malformed("protobuf", f"a field of {size} bytes is announced where {end - at} are left")
            inner = nested.fields.get(tag >> 3)
            if inner is not None:
                left -= 1
                if left < 0:
                    raise Malformed("protobuf", "there are too many messages in it; send smaller batches")
                if inner.fields:
                    left = _count(data, at, at + size, inner, left)
            at += size
        elif wire == 0:
            _, at = _varint(data, at)
        elif wire in _FIXED:
            at += _FIXED[wire]
        else:
            raise Malformed("protobuf", f"there is no wire type {wire} here (byte {at})")
    return left


_FIXED = {1: 8, 5: 4}


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The number, and where the next begins."""
    byte = data[at]
    value, shift = byte & 0x7F, 7
    while byte & 0x80:
        at += 1
        byte = data[at]
        value |= (byte & 0x7F) << shift
        shift += 7
        if shift > 70:
            raise Malformed("protobuf", f"a number longer than 64 bits ends at byte {at}")
    return value, at + 1


# ── google.rpc.Status ──


def status(code: int, message: str, retry_after: int = 0) -> bytes:
    """google.rpc.Status, with a RetryInfo where it helps to try again. retry_after: seconds, 0: it does not.

    Source: google/rpc/status.proto, error_details.proto; OTLP specification, "OTLP/gRPC Throttling".
    """
    fields = _number(1, code) + _bytes(2, message.encode())
    if retry_after:
        delay = _bytes(1, _number(1, retry_after))  # RetryInfo.retry_delay.seconds
        fields += _bytes(3, _bytes(1, b"type.googleapis.com/google.rpc.RetryInfo") + _bytes(2, delay))
    return fields


def _number(field: int, value: int) -> bytes:
    return _encoded(field << 3) + _encoded(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _encoded(field << 3 | 2) + _encoded(len(value)) + value


def _encoded(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)

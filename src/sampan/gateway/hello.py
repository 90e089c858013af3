"""What a TLS client says first: the name it wants. Pure. Source: RFC 8446 §4.1.2, §5.1; RFC 6066 §3."""

HEADER = 5  # bytes of a record before its content
MOST = 16 << 10  # bytes of a record's content
_HANDSHAKE, _CLIENT_HELLO, _SERVER_NAME, _HOST_NAME = 22, 1, 0, 0


def length(header: bytes) -> int | None:
    """Bytes of the first record, its header included; None: this is no TLS."""
    if len(header) < HEADER or header[0] != _HANDSHAKE or header[1] != 3:
        return None
    size = int.from_bytes(header[3:5], "big")
    return HEADER + size if 0 < size <= MOST else None


def server_name(record: bytes) -> str:
    """The name asked for, in lower case; "" where there is none, or none that can be understood."""
    try:
        return _server_name(record)
    except (IndexError, UnicodeDecodeError):
        return ""


def _server_name(record: bytes) -> str:
    if record[HEADER] != _CLIENT_HELLO:
        return ""
    at = HEADER + 4 + 2 + 32  # the message's own header, version, random
    at += 1 + record[at]  # session
    at += 2 + _two(record, at)  # cipher suites
    at += 1 + record[at]  # compressions
    end = at + 2 + _two(record, at)
    at += 2
    while at + 4 <= end:
        kind, size = _two(record, at), _two(record, at + 2)
        if kind == _SERVER_NAME and record[at + 6] == _HOST_NAME:
            name = record[at + 9 : at + 9 + _two(record, at + 7)]
            return name.decode("ascii").lower().removesuffix(".")
        at += 4 + size
    return ""


def _two(record: bytes, at: int) -> int:
    return record[at] << 8 | record[at + 1]

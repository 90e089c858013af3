"""Heads that were seen before, read without the parser.

Nearly all heads of a connection, and most lines of all connections, are the same from request to request. A head
that lies whole in one piece of data is looked up; a new one is split into lines, and each line is looked up; a new
line is held against the grammar of RFC 9112 §5. Anything that is not plain (another framing than a length, a switch
of protocols, a line that the grammar does not know) is left to the parser, which sees the same bytes from their
beginning: so there is one judge of whatever is unusual, and what is read here is less than what it would accept.
"""

import re
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from sampan.gateway.headers import to_caller, to_function
from sampan.telemetry.context import TRACE_HEADERS

_LINES = 4096  # lines remembered per direction; then the table is begun anew
_LONGEST_LINE = 512  # bytes of a line that is remembered
_HEADS = 1024
_LONGEST_HEAD = 2048
_MOST_LINES = 48  # of a head that is remembered; a line takes some 300 bytes, however short it is
_SECRET = re.compile(rb"auth|cookie|token|secret|passw|credential|session|signature|jwt|key").search  # in a name
_UNUSUAL = frozenset(
    (b"transfer-encoding", b"upgrade", b"expect", b"te", b"trailer", b"http2-settings", b"proxy-connection")
)
_LINE = re.compile(
    rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)[ \t]*"
)
_DIGITS = re.compile(rb"[0-9]{1,18}")

Take = TypeVar("Take")


class _Line(NamedTuple, Generic[Take]):
    """A header line and all that is to be known of it."""

    header: tuple[bytes, bytes, bytes]  # lower-case name, name as sent, value
    passed: bytes  # as it goes on to the other side; empty: it does not
    take: Take | None  # what else the line means
    length: int  # of a Content-Length; -1: it is none
    fleeting: bool  # secret, or new with every request: not kept in memory for longer than that


class Head(NamedTuple, Generic[Take]):
    """All lines of a head. Shared between requests: not to be changed."""

    headers: list[tuple[bytes, bytes, bytes]]
    passed: bytes  # the lines that go on to the other side
    takes: tuple[tuple[Take, bytes], ...]  # what lines mean, with their values
    length: int  # the Content-Length; -1: there is none


class Heads(Generic[Take]):
    """The heads of one direction."""

    def __init__(
        self,
        takes: dict[bytes, Take],
        passes: Callable[[bytes], bool],
        unusual: frozenset[bytes] = frozenset(),
    ) -> None:
        """takes: what a name means.  passes: whether a name goes on.  unusual: more names that are the parser's."""
        self._takes, self._passes, self._unusual = takes, passes, _UNUSUAL | unusual
        self._lines: dict[bytes, _Line[Take]] = {}
        self._heads: dict[bytes, Head[Take]] = {}

    def read(self, lines: bytes) -> Head[Take] | None:
        """All lines, each but the last with its end; None: one of them is unusual, or is no header line."""
        return self._heads.get(lines) or self._read(lines)

    def _read(self, lines: bytes) -> Head[Take] | None:
        found = []
        for raw in lines.split(b"\r\n"):
            line = self._lines.get(raw) or self._learn(raw)
            if line is None:
                return None
            found.append(line)
        lengths = [line.length for line in found if line.length >= 0]
        if len(lengths) > 1:
            return None
        head = Head(
            [line.header for line in found],
            b"".join([line.passed for line in found]),
            tuple([(line.take, line.header[2]) for line in found if line.take is not None]),
            lengths[0] if lengths else -1,
        )
        small = len(lines) <= _LONGEST_HEAD and len(found) <= _MOST_LINES
        if small and not any(line.fleeting for line in found):
            if len(self._heads) >= _HEADS:
                self._heads.clear()
            self._heads[lines] = head
        return head

    def _learn(self, raw: bytes) -> _Line[Take] | None:
        match = _LINE.fullmatch(raw)
        if match is None:
            return None
        name, value = match.groups()
        lower = name.lower()
        if lower in self._unusual or (lower == b"connection" and value.lower() != b"keep-alive"):
            return None
        length = -1
        if lower == b"content-length":
            if _DIGITS.fullmatch(value) is None:
                return None
            length = int(value)
        passed = b"%b: %b\r\n" % (name, value) if self._passes(lower) else b""
        take = None if lower == b"connection" else self._takes.get(lower)
        fleeting = lower in TRACE_HEADERS or _SECRET(lower) is not None
        line = _Line((lower, name, value), passed, take, length, fleeting)
        if len(raw) <= _LONGEST_LINE and not fleeting:
            if len(self._lines) >= _LINES:
                self._lines.clear()
            self._lines[raw] = line
        return line


def request_heads(takes: dict[bytes, Take]) -> Heads[Take]:
    return Heads(takes, to_function)


def answer_heads() -> Heads[None]:
    """Of functions: what they say with `x-fc-status` is heard where the parser's answers are."""
    return Heads({}, to_caller, frozenset((b"x-fc-status",)))

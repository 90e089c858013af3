"""From stretches of a stream to whole lines with their times. Pure."""

from typing import NamedTuple

from sampan.output.lines import MAX_LINE

Marks = tuple[tuple[int, int], ...]  # (position, Unix ns): what is before the position was there by then


class Piece(NamedTuple):
    """One line, or a piece of one longer than MAX_LINE."""

    text: str
    time: int  # Unix nanoseconds


class Splitter:
    """One stream. `read`: position up to which it was taken in; `done`: up to which it has been given out."""

    __slots__ = ("_begun", "_time", "done", "read")

    def __init__(self, position: int, time: int = 0) -> None:
        """time: no line is earlier; a clock that was set back does not change the order of lines."""
        self.read = self.done = position
        self._begun = b""
        self._time = time

    def feed(self, data: bytes, marks: Marks, now: int, most: int) -> list[Piece]:
        """The lines that have ended, at most about `most`; what is behind them has to be fed again from `read`."""
        pieces: list[Piece] = []
        *whole, begun = data.split(b"\n", most)
        if len(whole) == most:
            begun = b""
        pending = list(reversed(marks))
        for line in whole:
            self.read += len(line) + 1
            self._clock(pending, self.read, now)
            if self._begun or len(line) > MAX_LINE:
                self._long(self._begun + line, pieces, ended=True)
                self._begun = b""
            else:
                pieces.append(self._piece(line.removesuffix(b"\r")))
            self.done = self.read
        self.read += len(begun)
        self._clock(pending, self.read, now)
        self._begun = self._long(self._begun + begun, pieces, ended=False)
        self.done = self.read - len(self._begun)
        return pieces

    def rest(self) -> list[Piece]:
        """What was begun and will not be ended."""
        begun, self._begun, self.done = self._begun, b"", self.read
        return [self._piece(begun)] if begun else []

    def jump(self, position: int, time: int) -> int:
        """Go on there, with output that is not older than `time`. What was begun is to be taken by `rest` before.
        The time of the jump, which no line before it is later than, and none behind it earlier."""
        self.read = self.done = position
        self._begun, self._time = b"", max(self._time, time)
        return self._time

    def _long(self, line: bytes, pieces: list[Piece], ended: bool) -> bytes:
        """Takes full pieces off; the remainder of a line that has ended is a piece, too."""
        while len(line) > MAX_LINE:
            cut = _boundary(line, MAX_LINE)
            pieces.append(self._piece(line[:cut]))
            line = line[cut:]
        if ended:
            pieces.append(self._piece(line.removesuffix(b"\r")))
        return line

    def _piece(self, data: bytes) -> Piece:
        return Piece(data.decode(errors="replace"), self._time)

    def _clock(self, pending: list[tuple[int, int]], position: int, now: int) -> None:
        """The time by which everything before `position` was there: that of the first mark at or behind it."""
        while pending and pending[-1][0] < position:
            self._time = max(self._time, pending.pop()[1])
        self._time = max(self._time, pending[-1][1] if pending else self._time or now)


def _boundary(data: bytes, at: int) -> int:
    """Where to cut at or before `at` without cutting a character of UTF-8 in two."""
    for back in range(4):
        if data[at - back] & 0xC0 != 0x80:
            return at - back
    return at  # no UTF-8

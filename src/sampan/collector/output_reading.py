"""One instance's two streams, read on from where they were kept: bytes in, lines and the place behind them out."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from sampan.engine.engine import LogChunk, Stream
from sampan.model.errors import FailureKind, StartFailed
from sampan.model.names import InstanceId
from sampan.output.levels import Level, level_of
from sampan.output.lines import Line
from sampan.output.requests import Requests
from sampan.output.splitting import Piece, Splitter
from sampan.output.store import Place

CHUNK = 256 << 10  # bytes asked for at once
LEAST = 4 << 10
MOST = 4096  # lines taken from one answer: about 10 ms of work
JUMP = 4 << 20  # bytes before the end where reading goes on when it cannot keep up

Logs = Callable[[InstanceId, Stream, int, int], Awaitable[LogChunk]]


class Taken(NamedTuple):
    """What one look at a stream gave."""

    lines: list[Line]
    size: int  # bytes read
    lost: int  # bytes that were dropped before they were read
    more: bool  # there is more to be had at once


NOTHING = Taken([], 0, 0, False)


class _Side:
    """One stream."""

    __slots__ = ("ask", "behind", "ended", "splitter", "stream")

    def __init__(self, stream: Stream, position: int) -> None:
        self.stream = stream
        self.splitter = Splitter(position)
        self.ask = CHUNK
        self.behind = False  # overrun, and the end has not been reached since
        self.ended = False


class Reading:
    """State of one instance. `alive`: None while nobody has said; False: gone, so what the engine has is all."""

    def __init__(self, place: Place, concurrency: int, rate: float) -> None:
        """rate: MB per second, told where output is lost."""
        self.place = place  # as handed over to be kept
        self.alive: bool | None = None
        self.frozen = False
        self.stale = False  # another reading has taken its place
        self.due = 0.0
        self.interval = 0.0
        self._rate = rate
        self.concurrency = concurrency
        self._requests = Requests(place.open, concurrency)
        self._sides = (_Side(Stream.STDOUT, place.stdout), _Side(Stream.STDERR, place.stderr))

    @property
    def id(self) -> InstanceId:
        return InstanceId(self.place.instance)

    @property
    def done(self) -> bool:
        return all(side.ended for side in self._sides)

    def limit(self, concurrency: int) -> None:
        """So many requests it has at once: found out after it began to print."""
        self.concurrency = concurrency
        self._requests = Requests(self._requests.open, concurrency)

    def now_at(self) -> Place:
        """Behind the last whole line of either stream."""
        out, err = self._sides
        return Place(
            instance=self.place.instance,
            version=self.place.version,
            stdout=out.splitter.done,
            stderr=err.splitter.done,
            open=() if self.done else self._requests.open,
            done=self.done,
        )

    async def look(self, logs: Logs, now: int) -> Taken:
        """Some of both streams; stdout first, for it tells whose request stderr is about. now: Unix ns.

        Raises: StartFailed when the engine cannot answer now.
        """
        out, err = [await self._take(side, logs, now) for side in self._sides]
        return Taken(out.lines + err.lines, out.size + err.size, out.lost + err.lost, out.more or err.more)

    async def _take(self, side: _Side, logs: Logs, now: int) -> Taken:
        if side.ended:
            return NOTHING
        try:
            chunk, lost = await self._chunk(side, logs)
        except StartFailed as error:
            if error.failure.kind is not FailureKind.NO_SUCH_SANDBOX or self.alive is not False:
                raise
            side.ended = True
            return Taken(self._lines(side, side.splitter.rest()), 0, 0, False)
        lines = self._gap(side, chunk, lost, now) if chunk.begin != side.splitter.read else []
        before = side.splitter.read
        lines += self._lines(side, side.splitter.feed(chunk.data, chunk.marks, now, MOST))
        size = side.splitter.read - before
        whole, asked = side.splitter.read == chunk.end, side.ask
        side.ask = min(CHUNK, side.ask * 2) if whole else max(LEAST, size)
        side.ended = chunk.ended and whole
        if side.ended:
            lines += self._lines(side, side.splitter.rest())
        more = not whole or len(chunk.data) >= asked
        side.behind = side.behind and more
        return Taken(lines, size, lost, more and not side.ended)

    async def _chunk(self, side: _Side, logs: Logs) -> tuple[LogChunk, int]:
        """What comes next, and the bytes missing before it."""
        wanted = side.splitter.read
        chunk = await logs(self.id, side.stream, wanted, side.ask)
        if chunk.begin > wanted and side.behind:
            # Once more, and not caught up yet: from the oldest on, it would be overrun again after every answer.
            ahead = await logs(self.id, side.stream, -JUMP, side.ask)
            chunk = ahead if ahead.begin > chunk.begin else chunk
        side.behind = side.behind or chunk.begin > wanted
        return chunk, max(0, chunk.begin - wanted)

    def _gap(self, side: _Side, chunk: LogChunk, lost: int, now: int) -> list[Line]:
        """Ends what was begun and says what is missing."""
        lines = self._lines(side, side.splitter.rest())
        at = side.splitter.jump(chunk.begin, chunk.marks[0][1] if chunk.marks else now)
        if not lost:  # the positions began anew: a sandboxd that was restarted does not know of a truncated file
            return lines
        if side.stream is Stream.STDOUT:
            self._requests.lost()
        told = (
            f"… {lost:,} bytes were not kept: more was printed than is read "
            f"(telemetry.log_rate: {self._rate:g} MB/s)"
        )
        return [*lines, self._line(side, told, at, "", Level.WARNING)]

    def _lines(self, side: _Side, pieces: list[Piece]) -> list[Line]:
        if side.stream is Stream.STDOUT:
            whose = self._requests.stdout
            return [self._line(side, text, at, whose(text, at), level_of(text)) for text, at in pieces]
        return [self._line(side, text, at, self._requests.stderr(at), level_of(text)) for text, at in pieces]

    def _line(self, side: _Side, text: str, at: int, request: str, level: Level) -> Line:
        return Line(at, self.place.instance, self.place.version, side.stream.value, request, level, text)

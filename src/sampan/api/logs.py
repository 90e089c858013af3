"""A function's output as lines, oldest first, from all its instances; followed into instances to come.

Output is kept by the engine as two streams of bytes per instance, with marks that say what was there by when. The
lines that frame an invocation in stdout (`FC Invoke Start RequestId: X` … `FC Invoke End RequestId: X`) tell whose
output is between them, as long as one invocation at a time is under way.
"""

import asyncio
import re
import time
from datetime import UTC, datetime
from operator import itemgetter

import msgspec

from sampan.api.call import Call, Lines, LogSource, Reply
from sampan.engine.engine import LogChunk, Stream
from sampan.model.errors import FailureKind, InstanceNotFound, StartFailed
from sampan.model.names import InstanceId, split_version_key

INTERVAL = 0.25  # seconds between looks for more output; what a person at a terminal does not notice
CHUNK = 256 << 10  # bytes asked for at once
HISTORY = 1 << 20  # bytes of each stream from before, at most
MAX_LINE = 64 << 10  # bytes; a longer one is told in pieces
MAX_TAIL = 100_000  # lines

_FRAME = re.compile(r"FC Invoke (Start|End) RequestId: (\S+)\s*\Z")


class LogLine(msgspec.Struct, frozen=True, rename="camel"):
    time: str
    instance: str
    version: str
    stream: str
    request_id: str
    text: str


Timed = tuple[int, LogLine]  # Unix nanoseconds by which the line was there


async def logs(call: Call) -> Reply:
    """Query: follow, tail (lines), instance. What is there already is checked before the answer begins."""
    await call.catalog.functions.get(call.function)
    source, only = call.platform.logs, call.query.get("instance") or None
    tail = call.number("tail", -1, 0, MAX_TAIL)
    if only is not None and only not in [id_ for id_, _ in source.instances(call.function)]:
        raise InstanceNotFound(only)
    return _lines(Follower(source, call.function, only), tail, call.flag("follow"))


async def _lines(follower: "Follower", tail: int, follow: bool) -> Lines:
    first = await follower.more()
    for _, line in first[len(first) - tail :] if 0 <= tail < len(first) else first:
        yield _encode(line)
    while follow:
        await asyncio.sleep(INTERVAL)
        for _, line in await follower.more():
            yield _encode(line)
    for _, line in follower.rest():
        yield _encode(line)


class Follower:
    """Reads on, in all instances of a function, from where the last reading ended."""

    def __init__(self, source: LogSource, function: str, only: str | None) -> None:
        self._source = source
        self._function = function
        self._only = only
        self._outputs: dict[tuple[InstanceId, Stream], Output] = {}
        self._began = False

    async def more(self) -> list[Timed]:
        """Whole lines since the last time, by time; from instances that are new, from their beginning."""
        for instance, key in self._source.instances(self._function):
            if self._only in (None, instance):
                _, version, _ = split_version_key(key)
                for stream in Stream:
                    if (instance, stream) not in self._outputs:
                        start = 0 if self._began else -HISTORY
                        self._outputs[instance, stream] = Output(instance, version, stream, start)
        self._began = True
        lines: list[Timed] = []
        for output in self._outputs.values():
            lines += await output.read(self._source)
        return sorted(lines, key=itemgetter(0))

    def rest(self) -> list[Timed]:
        """What was begun and has no end of line yet."""
        return [line for output in self._outputs.values() for line in output.rest()]


class Output:
    """One stream of one instance, read up to a position."""

    def __init__(self, instance: InstanceId, version: str, stream: Stream, position: int) -> None:
        self._instance, self._version, self._stream = instance, version, stream
        self._position = position
        self._cut = position < 0  # the first line may have lost its beginning
        self._begun = b""
        self._time = time.time_ns()  # of the newest mark; where there is none, when it was read
        self._invocations: dict[str, None] = {}
        self._ended = False

    async def read(self, source: LogSource) -> list[Timed]:
        """The lines that have ended since the last time."""
        lines: list[Timed] = []
        while not self._ended:
            try:
                chunk = await source.read(self._instance, self._stream, self._position, CHUNK)
            except StartFailed as error:
                # Where the engine is away, what is there is read when it is back.
                self._ended = error.failure.kind is FailureKind.NO_SUCH_SANDBOX
                break
            if self._position < 0 and self._cut and chunk.begin == 0:
                self._cut = False
            lines += self._split(chunk)
            self._position = chunk.end
            self._ended = chunk.ended
            if not chunk.data:
                break
        return lines + self.rest() if self._ended else lines

    def rest(self) -> list[Timed]:
        begun, self._begun = self._begun, b""
        return [self._line(begun, self._time)] if begun else []

    def _split(self, chunk: LogChunk) -> list[Timed]:
        lines: list[Timed] = []
        marks, at = list(chunk.marks), chunk.begin
        *whole, begun = chunk.data.split(b"\n")
        for piece in whole:
            at += len(piece) + 1
            self._take(marks, at)
            if not self._cut:
                lines.append(self._line(self._begun + piece, self._time))
            self._begun, self._cut = b"", False
        self._begun += begun
        self._take(marks, chunk.end)
        if len(self._begun) > MAX_LINE:
            lines += self.rest()
        return lines

    def _take(self, marks: list[tuple[int, int]], position: int) -> None:
        """The time by which everything before `position` was there: that of the first mark at or behind it."""
        while marks and marks[0][0] < position:
            self._time = marks.pop(0)[1]
        if marks:
            self._time = marks[0][1]

    def _line(self, data: bytes, at: int) -> Timed:
        text = data.rstrip(b"\r").decode(errors="replace")
        frame = _FRAME.match(text) if self._stream is Stream.STDOUT else None
        if frame is not None and frame[1] == "Start":
            self._invocations[frame[2]] = None
        request = frame[2] if frame else next(iter(self._invocations)) if len(self._invocations) == 1 else ""
        if frame is not None and frame[1] == "End":
            self._invocations.pop(frame[2], None)
        line = LogLine(_moment(at), self._instance, self._version, self._stream.value, request, text)
        return at, line


def _moment(nanoseconds: int) -> str:
    moment = datetime.fromtimestamp(nanoseconds / 1e9, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


_encoder = msgspec.json.Encoder()


def _encode(line: LogLine) -> bytes:
    return _encoder.encode(line) + b"\n"

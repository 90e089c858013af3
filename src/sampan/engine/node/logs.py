"""What sandboxes write: a file per stream, bounded, with marks of time, readable for a while after the end.

The program writes to the file itself, opened for appending: nothing of ours is on its way, nothing is lost while
we are away, and the platform's user may append lines in between. The size is bounded by punching a hole at the
head, which moves no position. A program that truncates its own output (`> /dev/stdout`) loses what was there,
but positions grow on. One inotify descriptor tells which files grew; while many do, it is asked every 20 ms.
"""

import asyncio
import errno
import os
import struct
import time
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from sampan.engine.engine import LogChunk, Past, Stream
from sampan.engine.node import kernel
from sampan.model.names import InstanceId

_PAUSE = 0.02  # seconds between looks while files grow: the resolution of the marks
_MARKS = 512  # kept per stream; when full, every second one of the older half goes
_BLOCK = 4096  # bytes; holes begin and end at file system blocks
_KEPT_COUNT = 500  # logs of ended sandboxes
_KEPT_BYTES = 512 << 20  # of ended sandboxes, all together
_TAIL = 2048  # bytes of output that a failure carries
_SUFFIX = {Stream.STDOUT: ".out", Stream.STDERR: ".err"}


@dataclass(slots=True)
class _Output:
    """One stream. A position is `base` plus the offset in the file."""

    path: Path
    limit: int  # bytes kept
    base: int = 0
    size: int = 0  # of the file when last looked at
    head: int = 0  # offset of the oldest byte kept
    watch: int = -1
    marks: deque[tuple[int, int]] = field(default_factory=deque)

    @property
    def end(self) -> int:
        return self.base + self.size

    def look(self, now: int) -> None:
        """Note how far the file has come, and drop the oldest output beyond the limit."""
        size = self.path.stat().st_size
        if size < self.size:  # truncated by its writer
            self.base, self.size, self.head = self.base + self.size, 0, 0
        if size > self.size:
            self.size = size
            self.marks.append((self.end, now))
            if len(self.marks) > _MARKS:
                marks = list(self.marks)
                self.marks = deque(marks[: _MARKS // 2 : 2] + marks[_MARKS // 2 :])
        if self.size - self.head > self.limit + max(_BLOCK, self.limit // 8):
            self._drop((self.size - self.limit) // _BLOCK * _BLOCK)

    def _drop(self, head: int) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            kernel.punch_hole(descriptor, 0, head)
        finally:
            os.close(descriptor)
        self.head = head
        while self.marks and self.marks[0][0] <= self.base + head:
            self.marks.popleft()

    def recall(self) -> None:
        """After a restart: the file itself tells how much of it was dropped."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.head = os.lseek(descriptor, 0, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:  # nothing in it
                raise
        finally:
            os.close(descriptor)

    def read(self, position: int, limit: int, ended: bool) -> LogChunk:
        first = self.base + self.head
        begin = max(first, self.end + position if position < 0 else position)
        begin = min(begin, self.end)
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = os.pread(descriptor, max(0, min(limit, self.end - begin)), begin - self.base)
        finally:
            os.close(descriptor)
        end = begin + len(data)
        marks = tuple(mark for mark in self.marks if begin < mark[0])
        within = sum(mark[0] < end for mark in marks) + 1  # the first one beyond covers the last bytes
        return LogChunk(data, begin, end, ended and end == self.end, marks[:within])


class Logs:
    """The logs of all sandboxes of a realm, in one directory."""

    def __init__(self, directory: Path, group: int | None) -> None:
        """group: of the platform's user, who may read and append."""
        self._directory = directory
        self._group = -1 if group is None else group
        self._inotify = -1
        self._live: dict[str, dict[Stream, _Output]] = {}
        self._ended: OrderedDict[str, dict[Stream, _Output]] = OrderedDict()
        self._watched: dict[int, _Output] = {}
        self._pause: asyncio.TimerHandle | None = None

    def open(self) -> None:
        """Find the logs of sandboxes that ended before; `resume` takes those that live."""
        self._directory.mkdir(parents=True, exist_ok=True)
        os.chown(self._directory, -1, self._group)
        self._directory.chmod(0o750)
        self._inotify = kernel.new_inotify()
        found = sorted(self._directory.glob("*.out"), key=lambda path: path.stat().st_mtime)
        for path in found:
            self._ended[path.stem] = self._outputs(path.stem, limit=1 << 62)
        asyncio.get_running_loop().add_reader(self._inotify, self._grew)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._inotify)
        if self._pause is not None:
            self._pause.cancel()
        os.close(self._inotify)

    def begin(self, sandbox: str, limit: int, labels: Mapping[str, str]) -> tuple[int, int]:
        """Start the log of a new sandbox, `limit` bytes a stream; descriptors of stdout and stderr to close.

        labels: told with it once the sandbox has ended, and all else of it is gone.
        """
        self._labels(sandbox).write_bytes(msgspec.json.encode(labels))
        descriptors = []
        for stream in Stream:
            path = self._path(sandbox, stream)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
            descriptor = os.open(path, flags, 0o660)
            os.fchown(descriptor, -1, self._group)
            os.fchmod(descriptor, 0o660)
            descriptors.append(descriptor)
        self._ended.pop(sandbox, None)
        self._watch(sandbox, self._outputs(sandbox, limit))
        return descriptors[0], descriptors[1]

    def resume(self, sandbox: str, limit: int) -> None:
        """Go on with the log of a sandbox that lived on while we were away."""
        outputs = self._ended.pop(sandbox, None) or self._outputs(sandbox, limit)
        for output in outputs.values():
            output.limit = limit
        self._watch(sandbox, outputs)

    def end(self, sandbox: str) -> None:
        """Nothing more will be written; keep it for a while."""
        outputs = self._live.pop(sandbox, None)
        if outputs is None:
            return
        for output in outputs.values():
            self._look(output)
            self._unwatch(output)
        self._ended[sandbox] = outputs
        self._trim()

    def drop(self, sandbox: str) -> None:
        """The sandbox never came to be."""
        for output in (self._live.pop(sandbox, None) or {}).values():
            self._unwatch(output)
            output.path.unlink(missing_ok=True)
        self._labels(sandbox).unlink(missing_ok=True)

    def ended(self) -> Iterator[Past]:
        """Those that are kept, the longest gone first; but for any that nobody labelled."""
        for sandbox, outputs in self._ended.items():
            with suppress(FileNotFoundError, msgspec.MsgspecError):
                labels = msgspec.json.decode(self._labels(sandbox).read_bytes(), type=dict[str, str])
                written = max(output.path.stat().st_mtime_ns for output in outputs.values())
                yield Past(InstanceId(sandbox), labels, written)

    def path(self, sandbox: str) -> str:
        """The file behind stdout."""
        return str(self._path(sandbox, Stream.STDOUT))

    def read(self, sandbox: str, stream: Stream, position: int, limit: int) -> LogChunk | None:
        """At most `limit` bytes from `position`, negative from the end; None: nothing is known of the sandbox."""
        live = sandbox in self._live
        outputs = self._live.get(sandbox) or self._ended.get(sandbox)
        if outputs is None:
            return None
        if live:
            self._look(outputs[stream])
        try:
            return outputs[stream].read(position, limit, ended=not live)
        except FileNotFoundError:
            return None

    def tail(self, sandbox: str) -> str:
        """The last output, what it said on stderr at the end."""
        said = self.read(sandbox, Stream.STDERR, -_TAIL, _TAIL)
        errors = said.data if said else b""
        more = self.read(sandbox, Stream.STDOUT, -_TAIL, _TAIL) if len(errors) < _TAIL else None
        output = more.data[len(errors) - _TAIL :] if more else b""
        return (output + errors).decode("utf-8", "replace")

    def _path(self, sandbox: str, stream: Stream) -> Path:
        return self._directory / (sandbox + _SUFFIX[stream])

    def _labels(self, sandbox: str) -> Path:
        return self._directory / f"{sandbox}.labels"

    def _outputs(self, sandbox: str, limit: int) -> dict[Stream, _Output]:
        outputs = {}
        for stream in Stream:
            output = _Output(self._path(sandbox, stream), limit)
            with suppress(FileNotFoundError):
                output.recall()
                output.look(time.time_ns())
            outputs[stream] = output
        return outputs

    def _watch(self, sandbox: str, outputs: dict[Stream, _Output]) -> None:
        for output in outputs.values():
            output.watch = kernel.watch_writes(self._inotify, str(output.path))
            self._watched[output.watch] = output
        self._live[sandbox] = outputs

    def _unwatch(self, output: _Output) -> None:
        self._watched.pop(output.watch, None)
        with suppress(OSError):
            kernel.unwatch(self._inotify, output.watch)

    def _grew(self) -> None:
        """Some files grew. Source: inotify(7)."""
        events = os.read(self._inotify, 1 << 16)
        touched, at = set(), 0
        while at < len(events):
            watch, _, _, length = struct.unpack_from("=iIII", events, at)
            touched.add(watch)
            at += 16 + length
        # A watch of -1 says that events were lost: then look at all.
        for output in list(self._watched.values()) if -1 in touched else map(self._watched.get, touched):
            if output is not None:
                self._look(output)
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._inotify)
        self._pause = loop.call_later(_PAUSE, loop.add_reader, self._inotify, self._grew)

    @staticmethod
    def _look(output: _Output) -> None:
        with suppress(FileNotFoundError):
            output.look(time.time_ns())

    def _trim(self) -> None:
        while self._ended and (len(self._ended) > _KEPT_COUNT or self._weight() > _KEPT_BYTES):
            sandbox, outputs = self._ended.popitem(last=False)
            for output in outputs.values():
                output.path.unlink(missing_ok=True)
            self._labels(sandbox).unlink(missing_ok=True)

    def _weight(self) -> int:
        return sum(o.size - o.head for outputs in self._ended.values() for o in outputs.values())

"""An engine without a machine, for the tests of whoever uses one. Keeps the seam's promises, in memory.

What happens is scripted: `engine.create_delay`, `start_delay`, `engine.fail_start(failure)`, `engine.exit(id, 1)`,
`engine.say(id, b"…")`. Time is the event loop's, so that a virtual clock works. A sandbox gets an address that
nobody listens on, unless `address` is given: a coroutine that returns where a real server was started for it.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import msgspec

from sampan.engine.engine import (
    ExecResult,
    Gone,
    LogChunk,
    Past,
    Sandbox,
    SandboxEvent,
    SandboxSpec,
    Seen,
    Stats,
    Stream,
    Synced,
)
from sampan.model.errors import Failure, FailureKind, StartFailed
from sampan.model.image import Image, ImageConfig, PullProgress, RegistryAuth
from sampan.model.instance import InstanceState, Stage
from sampan.model.names import InstanceId

Address = Callable[[SandboxSpec], Awaitable[tuple[str, int]]]


class FakeImages:
    """Every reference is an image, but those in `missing`."""

    def __init__(self) -> None:
        self.configs: dict[str, ImageConfig] = {}
        self.missing: dict[str, Failure] = {}
        self.pull_delay = 0.0  # seconds
        self.away = False  # what is behind them does not answer
        self.pulled: list[str] = []
        self.retained: frozenset[str] = frozenset()
        self._local: dict[str, Image] = {}

    async def pull(
        self,
        reference: str,
        auth: RegistryAuth | None,
        progress: Callable[[PullProgress], None] | None = None,
    ) -> Image:
        self.pulled.append(reference)
        if self.pull_delay:
            await asyncio.sleep(self.pull_delay)
        if reference in self.missing:
            raise StartFailed(self.missing[reference])
        image = Image(reference, f"sha256:{reference}", self.configs.get(reference, ImageConfig()))
        if progress is not None:
            progress(PullProgress(image.digest, 1, 1, "done"))
        self._local[reference] = image
        return image

    async def list(self) -> list[Image]:
        return list(self._local.values())

    async def check(self) -> None:
        if self.away:
            raise StartFailed(Failure(FailureKind.ENGINE_FAILED, "the images' store does not answer"))

    async def retain(self, digests: frozenset[str]) -> None:
        self.retained = digests
        self._local = {name: image for name, image in self._local.items() if image.digest in digests}


@dataclass(slots=True)
class _Box:
    spec: SandboxSpec
    sandbox: Sandbox
    stats: Stats = field(default_factory=lambda: Stats(0, 0, 0))
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    failure: Failure | None = None


@dataclass(slots=True)
class _Log:
    limit: int
    data: dict[Stream, bytes] = field(default_factory=lambda: dict.fromkeys(Stream, b""))
    begin: dict[Stream, int] = field(default_factory=lambda: dict.fromkeys(Stream, 0))
    marks: dict[Stream, list[tuple[int, int]]] = field(default_factory=lambda: {s: [] for s in Stream})
    labels: dict[str, str] = field(default_factory=dict)
    ended: bool = False

    @property
    def last(self) -> int:
        """When it was last added to, Unix nanoseconds."""
        return max((at for marks in self.marks.values() for _, at in marks), default=0)


class FakeEngine:
    """`Engine` in memory."""

    def __init__(self, address: Address | None = None) -> None:
        self.images = FakeImages()
        self.create_delay = self.start_delay = self.stop_delay = 0.0  # seconds
        self.calls: list[tuple[str, InstanceId]] = []
        self.execs: Callable[[InstanceId, tuple[str, ...], bytes], ExecResult] = lambda *_: ExecResult(0, b"", b"")
        self._address = address
        self._create_failures: deque[Failure] = deque()
        self._start_failures: deque[Failure] = deque()
        self._boxes: dict[InstanceId, _Box] = {}
        self._logs: dict[InstanceId, _Log] = {}
        self._turns: dict[InstanceId, asyncio.Lock] = {}
        self._watchers: set[asyncio.Queue[SandboxEvent]] = set()
        self._count = 0

    # the script

    def fail_create(self, failure: Failure, times: int = 1) -> None:
        """The next `times` creations fail."""
        self._create_failures.extend([failure] * times)

    def fail_start(self, failure: Failure, times: int = 1) -> None:
        """The next `times` starts fail, after their delay."""
        self._start_failures.extend([failure] * times)

    def exit(self, sandbox: InstanceId, code: int, kind: FailureKind = FailureKind.EXITED) -> None:
        """Its program ends by itself."""
        tail = self._tail(sandbox)
        self._end(sandbox, Failure(kind, f"the program exited with code {code}", tail, code))

    def say(self, sandbox: InstanceId, data: bytes, stream: Stream = Stream.STDOUT) -> None:
        """Its program writes."""
        log = self._logs[sandbox]
        whole = log.data[stream] + data
        log.begin[stream] += max(0, len(whole) - log.limit)
        log.data[stream] = whole[-log.limit :]
        log.marks[stream].append((log.begin[stream] + len(log.data[stream]), time.time_ns()))

    def use(self, sandbox: InstanceId, stats: Stats) -> None:
        """From now on it has used this."""
        self._box(sandbox).stats = stats

    @property
    def sandboxes(self) -> dict[InstanceId, Sandbox]:
        """Those there are."""
        return {id_: box.sandbox for id_, box in self._boxes.items()}

    # the seam

    async def create(self, spec: SandboxSpec) -> Sandbox:
        async with self._turn("create", spec.id):
            if spec.id in self._boxes:
                raise StartFailed(Failure(FailureKind.ENGINE_FAILED, f"there is a sandbox '{spec.id}' already"))
            begin = time.time_ns()
            await self._delay(self.create_delay)
            if self._create_failures:
                raise StartFailed(self._create_failures.popleft())
            host, port = await self._place(spec)
            sandbox = Sandbox(
                id=spec.id,
                state=InstanceState.CREATED,
                host=host,
                port=port,
                image=spec.image.digest,
                created=begin,
                labels=spec.labels,
                stages=(Stage("prepare", begin, begin), Stage("create", begin, time.time_ns())),
            )
            self._boxes[spec.id] = _Box(spec, sandbox)
            self._logs[spec.id] = _Log(spec.log_mb << 20, labels=spec.labels)
            self._publish(Seen(sandbox))
            return sandbox

    async def start(self, sandbox: InstanceId, timeout: float) -> Sandbox:
        async with self._turn("start", sandbox):
            box = self._box(sandbox)
            if box.sandbox.state is not InstanceState.CREATED:
                message = f"sandbox '{sandbox}' has been started already"
                raise StartFailed(Failure(FailureKind.ENGINE_FAILED, message))
            begin = time.time_ns()
            try:
                await self._starting(box, timeout)
            except asyncio.CancelledError:
                self._end(sandbox, None)
                raise
            if box.failure is not None:
                raise StartFailed(box.failure)
            now = time.time_ns()
            self._change(box, InstanceState.READY, (Stage("start", begin, begin), Stage("ready", begin, now)))
            return box.sandbox

    async def freeze(self, sandbox: InstanceId, on: bool = True) -> None:
        async with self._turn("freeze" if on else "thaw", sandbox):
            box = self._box(sandbox)
            if box.sandbox.state is InstanceState.CREATED:
                message = f"sandbox '{sandbox}' has not been started"
                raise StartFailed(Failure(FailureKind.ENGINE_FAILED, message))
            state = InstanceState.FROZEN if on else InstanceState.READY
            if box.sandbox.state is not state:
                self._change(box, state)

    async def stop(self, sandbox: InstanceId, grace: float) -> None:
        async with self._turn("stop", sandbox):
            box = self._boxes.get(sandbox)
            if box is None:
                return
            try:
                await self._delay(min(self.stop_delay, grace))
            finally:
                self._end(sandbox, None)

    async def watch(self) -> AsyncIterator[SandboxEvent]:
        events: asyncio.Queue[SandboxEvent] = asyncio.Queue()
        for box in self._boxes.values():
            events.put_nowait(Seen(box.sandbox))
        for id_, log in self._logs.items():
            if log.ended:
                events.put_nowait(Past(id_, log.labels, log.last))
        events.put_nowait(Synced())
        self._watchers.add(events)
        try:
            while True:
                yield await events.get()
        finally:
            self._watchers.discard(events)

    async def exec(self, sandbox: InstanceId, argv: tuple[str, ...], stdin: bytes, timeout: float) -> ExecResult:
        if self._box(sandbox).sandbox.state is not InstanceState.READY:
            raise StartFailed(Failure(FailureKind.ENGINE_FAILED, "programs run only in a ready sandbox"))
        return self.execs(sandbox, argv, stdin)

    async def logs(self, sandbox: InstanceId, stream: Stream, position: int, limit: int) -> LogChunk:
        log = self._logs.get(sandbox)
        if log is None:
            raise _unknown(sandbox)
        first, data = log.begin[stream], log.data[stream]
        end = first + len(data)
        begin = min(end, max(first, end + position if position < 0 else position))
        piece = data[begin - first : begin - first + limit]
        marks = tuple(mark for mark in log.marks[stream] if begin < mark[0])
        within = sum(mark[0] < begin + len(piece) for mark in marks) + 1
        last = begin + len(piece)
        return LogChunk(piece, begin, last, log.ended and last == end, marks[:within])

    async def stats(self, sandbox: InstanceId) -> Stats:
        return self._box(sandbox).stats

    # inside

    @asynccontextmanager
    async def _turn(self, what: str, sandbox: InstanceId) -> AsyncIterator[None]:
        self.calls.append((what, sandbox))
        async with self._turns.setdefault(sandbox, asyncio.Lock()):
            yield

    async def _starting(self, box: _Box, timeout: float) -> None:
        """Until it is ready, or has failed: then `box.failure` says why and it is gone."""
        try:
            async with asyncio.timeout(min(timeout, self.start_delay)):
                await box.ended.wait()
        except TimeoutError:
            if self._start_failures:
                self._end(box.spec.id, self._start_failures.popleft())
            elif timeout < self.start_delay:
                message = f"port {box.spec.port} did not accept a connection within {timeout:g} s"
                self._end(box.spec.id, Failure(FailureKind.PORT_NEVER_OPENED, message, self._tail(box.spec.id)))

    @staticmethod
    async def _delay(seconds: float) -> None:
        if seconds:
            await asyncio.sleep(seconds)

    async def _place(self, spec: SandboxSpec) -> tuple[str, int]:
        if self._address is not None:
            return await self._address(spec)
        self._count += 1
        return f"192.0.2.{self._count % 250 + 1}", spec.port

    def _change(self, box: _Box, state: InstanceState, stages: tuple[Stage, ...] = ()) -> None:
        box.sandbox = _with(box.sandbox, state, stages)
        self._publish(Seen(_with(box.sandbox, state, ())))

    def _end(self, sandbox: InstanceId, failure: Failure | None) -> None:
        box = self._boxes.pop(sandbox, None)
        if box is None:
            return
        box.failure = failure
        self._logs[sandbox].ended = True
        self._publish(Gone(sandbox, failure, box.spec.labels))
        box.ended.set()

    def _publish(self, event: SandboxEvent) -> None:
        for watcher in self._watchers:
            watcher.put_nowait(event)

    def _tail(self, sandbox: InstanceId) -> str:
        data = self._logs[sandbox].data
        return (data[Stream.STDOUT] + data[Stream.STDERR])[-2048:].decode("utf-8", "replace")

    def _box(self, sandbox: InstanceId) -> _Box:
        box = self._boxes.get(sandbox)
        if box is None:
            raise _unknown(sandbox)
        return box


def _with(sandbox: Sandbox, state: InstanceState, stages: tuple[Stage, ...]) -> Sandbox:
    return msgspec.structs.replace(sandbox, state=state, stages=stages)


def _unknown(sandbox: str) -> StartFailed:
    return StartFailed(Failure(FailureKind.NO_SUCH_SANDBOX, f"there is no sandbox '{sandbox}'"))

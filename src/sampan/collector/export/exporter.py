"""One back-end's exporter: a bounded buffer, batches, tries with growing pauses, and what became of everything.

Nobody waits for it: `offer` takes what there is room for and says how much that was. When the buffer is full the
newest is dropped, not the oldest: what is held stays whole, what is held grows too old and makes room, and the one
who offers learns of it at once. Delivery is at least once: a request whose answer was lost is repeated.

Source: OTLP 1.x, "Retryable response codes", "Partial success"; tracing-contract.md §5.5.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Hashable, Sequence
from contextlib import suppress
from functools import partial
from typing import Generic, Protocol, TypeVar

import msgspec

from sampan.collector.export.buffer import Budget, Buffer, Held
from sampan.collector.export.notices import Notices
from sampan.collector.export.patience import Limits, pause
from sampan.collector.export.transport import Refused, TooLarge, Transport, Unavailable

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)

_LIMITS = Limits()
_TICK = 0.001  # seconds; no pause is shorter, so that none is below what the clock can tell
_CLOSE = 5.0  # seconds that are given for what is still held


class Weigh(Protocol[T_contra]):
    """Bytes that an item takes in memory, about."""

    def __call__(self, item: T_contra, /) -> int: ...


class ExportState(msgspec.Struct, frozen=True):
    """What became of what was offered, for metrics and health. `dropped` by reason: full, aged, refused, …"""

    target: str
    sent: int
    rejected: int  # of those sent, by a back-end that took the rest
    dropped: dict[str, int]
    held: int
    failing_since: float | None  # of the loop's clock
    last_error: str


class _Unforeseen(Exception):
    """Names the kind of another error; what that one says may hold headers or what a function reported."""

    def __init__(self, error: Exception) -> None:
        super().__init__(f"{type(error).__name__} in the exporter")


class Exporter(Generic[T]):
    """Sends items to one back-end. `run` does the work; `close` sends what is left, for a bounded time."""

    def __init__(
        self,
        target: str,
        transport: Transport[T],
        weigh: Weigh[T],
        limits: Limits = _LIMITS,
        budget: Budget | None = None,
    ) -> None:
        """target: for people, without secrets."""
        self.target = target
        self._transport, self._weigh, self._limits = transport, weigh, limits
        self._loop = asyncio.get_running_loop()
        self._buffer: Buffer[T] = Buffer(limits, budget)
        self._arrived = asyncio.Event()
        self._closing = asyncio.Event()
        self._settled = asyncio.Event()  # nothing is on its way
        self._settled.set()
        self._on_way = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._failures = 0  # in a row
        self._resume = 0.0  # of the loop's clock: no request before
        self._failing_since: float | None = None
        self._last_error = ""
        self._sent = self._rejected = 0
        self._dropped: Counter[str] = Counter()
        self._notices = Notices(target)

    # ── for those who have something ──

    def offer(self, items: Sequence[T]) -> int:
        """Take as many as there is room for, from the first on; returns how many. Never waits."""
        if self._closing.is_set():
            self._drop("closed", len(items))
            return 0
        until = self._loop.time() + self._limits.age
        taken = 0
        for item in items:
            if not self._buffer.admit(Held(item, self._weigh(item), until)):
                self._drop("full", len(items) - taken)
                break
            taken += 1
        if taken:
            self._arrived.set()
        return taken

    @property
    def full(self) -> bool:
        """Whether there is no room for anything just now."""
        return self._buffer.full

    def miss(self, count: int) -> None:
        """Count as dropped what was not even made, this being full."""
        self._drop("full", count)

    def state(self) -> ExportState:
        return ExportState(
            self.target,
            self._sent,
            self._rejected,
            dict(self._dropped),
            self._buffer.held,
            self._failing_since,
            self._last_error,
        )

    # ── the work ──

    async def run(self) -> None:
        """Send, until cancelled or closed. Cancelled, it puts back what was on its way, for `close`."""
        slots = asyncio.Semaphore(self._limits.in_flight)
        async with asyncio.TaskGroup() as group:
            while not self._closing.is_set():
                await slots.acquire()
                await self._batch_is_due()
                if self._closing.is_set():
                    break  # what is left is `close`'s
                parts = self._depart()
                task = group.create_task(self._deliver(parts))
                self._tasks.add(task)
                task.add_done_callback(partial(self._done, parts, slots))

    async def close(self, grace: float = _CLOSE) -> None:
        """Send what is held; what is not sent within `grace` seconds, or fails once, is dropped."""
        self._closing.set()
        self._arrived.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(grace):
                while self._buffer:
                    parts = self._depart()
                    try:
                        await self._deliver(parts)
                    finally:
                        self._arrive(parts)
                await self._settled.wait()
        for task in self._tasks:
            task.cancel()
        await self._settled.wait()
        self._lose(self._buffer.clear(), "closed")
        await self._transport.close()

    async def _batch_is_due(self) -> None:
        """Until a batch is full, its oldest has waited long enough, or the exporter is closed."""
        limits = self._limits
        while not self._closing.is_set():
            if self._buffer.has_batch():
                return
            self._arrived.clear()
            oldest = self._buffer.oldest()
            due = None if oldest is None else oldest.until - limits.age + limits.linger
            try:
                async with asyncio.timeout_at(due):
                    await self._arrived.wait()
            except TimeoutError:
                return

    def _depart(self) -> list[list[Held[T]]]:
        """A batch, in parts that may share a request. Whoever calls it calls `_arrive` in the end."""
        batch, aged = self._buffer.take(self._loop.time())
        self._lose(aged, "aged")
        groups: dict[Hashable, list[Held[T]]] = {}
        for held in batch:
            groups.setdefault(self._key(held.item), []).append(held)
        self._on_way += 1
        self._settled.clear()
        return list(groups.values())

    def _key(self, item: T) -> Hashable:
        try:
            return self._transport.key(item)
        except Exception:  # then `encode` fails, too, and counts it; alone, it costs no other
            return id(item)

    async def _deliver(self, parts: list[list[Held[T]]]) -> None:
        """Send or lose each of the parts; cancelled, it leaves in `parts` what is neither."""
        while parts:
            parts[-1:] = await self._settle(parts[-1])

    def _arrive(self, parts: list[list[Held[T]]]) -> None:
        for part in parts:
            self._buffer.put_back(part)
        self._on_way -= 1
        if not self._on_way:
            self._settled.set()

    def _done(self, parts: list[list[Held[T]]], slots: asyncio.Semaphore, task: asyncio.Task[None]) -> None:
        """Also of a task that was cancelled before it had begun."""
        self._tasks.discard(task)
        self._arrive(parts)
        slots.release()

    async def _settle(self, part: list[Held[T]]) -> list[list[Held[T]]]:
        """Send or lose it; returns what is to be tried instead, when it was too much at once."""
        try:
            body = self._transport.encode([held.item for held in part])
        except Exception as error:  # what functions report came as it came: one item must not cost the others
            return self._halves(part, "unencodable", _Unforeseen(error))
        until = min(held.until for held in part)
        while await self._may_send(until):
            try:
                answer = await self._transport.send(body)
            except TooLarge as error:
                if len(part) == 1:
                    self._failed(error, None)
                return self._halves(part, "too_large", error)
            except Refused as error:
                self._failed(error, None)
                self._lose(part, "refused")
                return []
            except Unavailable as error:
                self._failed(error, error.retry_after)
                if self._closing.is_set():
                    self._lose(part, "closed")
                    return []
            except Exception as error:  # a bug of a transport's must not end the process's other work
                self._failed(_Unforeseen(error), None)
                self._lose(part, "failed")
                return []
            else:
                self._succeeded(part, answer.rejected, answer.message)
                return []
        self._lose(part, "aged")
        return []

    async def _may_send(self, until: float) -> bool:
        """Wait for the pause to end; False if that is too late."""
        while (wait := self._resume - self._loop.time()) > 0 and not self._closing.is_set():
            if self._resume >= until:
                return False
            with suppress(TimeoutError):
                async with asyncio.timeout(max(wait, _TICK)):
                    await self._closing.wait()
        return self._loop.time() < until

    def _halves(self, part: list[Held[T]], reason: str, error: Exception) -> list[list[Held[T]]]:
        if len(part) > 1:
            middle = len(part) // 2
            return [part[middle:], part[:middle]]  # the last is sent first
        self._last_error = str(error)
        self._lose(part, reason)
        return []

    # ── what became of it ──

    def _succeeded(self, part: list[Held[T]], rejected: int, message: str) -> None:
        self._failures, self._resume = 0, 0.0
        self._failing_since = None
        self._buffer.release(part)
        rejected = min(max(rejected, 0), len(part))
        self._sent += len(part) - rejected
        self._rejected += rejected
        self._notices.works()
        if rejected or message:
            self._notices.partly(rejected, message)

    def _failed(self, error: Exception, asked: float | None) -> None:
        now = self._loop.time()
        self._failures += now >= self._resume  # those that were on their way together count once
        self._resume = max(self._resume, now + pause(self._limits, self._failures, asked, random.random()))
        self._failing_since = now if self._failing_since is None else self._failing_since
        self._last_error = str(error)
        self._notices.fails(self._last_error, self._resume - now)

    def _lose(self, part: Sequence[Held[T]], reason: str) -> None:
        self._buffer.release(part)
        self._drop(reason, len(part))

    def _drop(self, reason: str, count: int) -> None:
        if count:
            self._dropped[reason] += count
            self._notices.dropped(reason, count)

"""The store of traces: spans in without waiting, questions answered, a bounded past.

store = TraceStore(database, keep=7 * 86400, limit_mb=1024)
async with asyncio.TaskGroup() as group:
    group.create_task(store.run())
    store.add(spans)                       # returns at once; in the database some 0.2 s later
    found = await store.search(Query(function="web", errors=True))
    spans = await store.trace(found.traces[0].trace)
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace

from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as NoConnection

from sampan.model.trace import Span
from sampan.store.database import Database
from sampan.telemetry.logs import Log
from sampan.traces import forgetting, reading
from sampan.traces.query import Dependency, Found, Operation, Query
from sampan.traces.rows import Invoked
from sampan.traces.waiting import Invocation, Losses, Queue, Waiting, spans
from sampan.traces.writing import RENEWED, Writer

WINDOW = 0.2  # seconds in which spans gather for one transaction
BATCH = 4000  # spans, or invocations, in one transaction: the records wait up to 0.1 s for it
APART = 1.0  # seconds between two batches while what is more important waits
LOOK = 0.05  # seconds between looks whether it still does
SWEEP = 30.0  # seconds between looks for what is too old
ROOM = 0.98  # of the limit is left where it was passed, so that not every batch has to delete
TOLD = 60.0  # seconds between words about losses
BACKOFF = 1.0, 30.0  # seconds before a failed batch is tried again, at first and at most
FINAL = 5.0  # seconds for what still waits at the end

AWAY = (OperationalError, NoConnection, OSError)
"""The database cannot be had just now: locked, disk full. What waits is written when it can."""

_log = Log("traces")


class TraceStore:
    """keep: seconds; limit_mb: of all traces; clock: Unix seconds; busy: whether more important work waits, to
    which this gives way.

    `losses` counts what was not taken, or is not found.
    """

    def __init__(
        self,
        database: Database,
        keep: float,
        limit_mb: int,
        clock: Callable[[], float] = time.time,
        busy: Callable[[], bool] = lambda: False,
    ) -> None:
        self.losses = Losses()
        self._database = database
        self._keep = int(keep * 1e6)
        self._limit = limit_mb * 1_000_000
        self._clock, self._busy = clock, busy
        self._queue = Queue(self.losses)
        self._batch: list[Waiting | Invocation] = []  # being written; stays until it is
        self._writer = Writer(database, self.losses)
        self._came = asyncio.Event()
        self._swept = self._told = float("-inf")
        self._said = Losses()

    def add(self, some: Iterable[Span]) -> None:
        """Take spans, as far as there is room; never waits, never raises for what is in them."""
        self._queue.add(some)
        if self._queue:
            self._came.set()

    def add_invocations(self, invoked: Iterable[Invoked]) -> None:
        """Take the platform's spans of invocations, which are made when somebody reads them. As `add` otherwise."""
        self._queue.add_invocations(invoked)
        if self._queue:
            self._came.set()

    async def run(self) -> None:
        """Write what comes and forget what is too old, for ever."""
        pause = BACKOFF[0]
        while True:
            try:
                await self._turn()
                pause = BACKOFF[0]
            except AWAY as error:
                _log.error("spans cannot be written", error=str(error), waiting=len(self._queue), again_s=pause)
                await asyncio.sleep(pause)
                pause = min(2 * pause, BACKOFF[1])

    async def _turn(self) -> None:
        try:
            async with asyncio.timeout(SWEEP):
                await self._came.wait()
            if len(self._queue) < BATCH:
                await asyncio.sleep(WINDOW)
            await self._give_way()
        except TimeoutError:
            pass
        await self._write()
        await self._sweep()
        self._tell()

    async def _give_way(self) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + APART
        while self._busy() and loop.time() < until:  # noqa: ASYNC110  # that work does not say when it is done
            await asyncio.sleep(LOOK)

    async def _write(self) -> None:
        """A batch of what waits. Raises: those of `AWAY`; then it waits on."""
        self._batch = self._batch or self._queue.take(BATCH)
        if self._batch:
            try:
                await self._writer.write(self._batch, self._now())
            except AWAY:
                raise
            except Exception as error:  # of something in the batch: the next one shall not wait for it for ever
                self.losses.invalid += spans(self._batch)
                _log.failure("spans given up", error, spans=spans(self._batch))
            self._batch = []
        if not self._queue:
            self._came.clear()

    async def flush(self) -> None:
        """Write all that waits. Raises: those of `AWAY`; then it waits on."""
        while self._batch or self._queue:
            await self._write()

    async def _sweep(self) -> None:
        await self._writer.open()
        now = self._clock()
        due, full = now >= self._swept + SWEEP, self._writer.bytes > self._limit
        if not due and not full:
            return
        goal = int(self._limit * ROOM) if full else self._limit
        before, count = self._now() - self._keep, forgetting.AT_ONCE
        while count == forgetting.AT_ONCE:
            count, freed = await forgetting.forget(self._database, before, self._writer.bytes - goal)
            self._writer.bytes -= freed
        if not due:
            return
        self._swept = now
        await forgetting.forget_operations(self._database, before - RENEWED)
        self._writer.forget(before - RENEWED)

    def _now(self) -> int:
        return int(self._clock() * 1e6)

    def _tell(self) -> None:
        now = self._clock()
        if self.losses != self._said and now >= self._told + TOLD:
            self._told, self._said = now, replace(self.losses)
            _log.warning("spans lost or not found", **asdict(self.losses))

    async def close(self) -> None:
        """Write what still waits, as far as that is quick; `run` has ended."""
        try:
            async with asyncio.timeout(FINAL):
                await self.flush()
        except (*AWAY, TimeoutError) as error:
            left = len(self._queue) + spans(self._batch)
            _log.error("spans were not written at the end", spans=left, error=str(error) or "no time left")

    async def search(self, query: Query) -> Found:
        """Traces, newest first. Raises: InvalidArgument."""
        return await reading.search(self._database, query)

    async def trace(self, id: str) -> list[Span] | None:
        """All spans of a trace by its id, or by that of a request it served, by start; None: there is none."""
        return await reading.trace(self._database, id)

    async def several(self, ids: Sequence[str]) -> list[list[Span]]:
        """All spans of each of these traces, as search named them; of those that are still there."""
        return await reading.several(self._database, ids)

    async def services(self) -> list[str]:
        return await reading.services(self._database)

    async def operations(self, service: str) -> list[Operation]:
        return await reading.operations(self._database, service)

    async def dependencies(self, end: int, lookback: int) -> list[Dependency]:
        """Which services called which, in traces that began in the `lookback` before `end`. Nanoseconds."""
        return await reading.dependencies(self._database, end, lookback)

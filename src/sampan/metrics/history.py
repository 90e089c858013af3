"""The history by the minute, in the database.

**Exactly once.** What invocations add is appended to a journal in the very transaction in which the invocations
themselves are kept (`keep`): either both are durable or neither is, and nothing counted is held in memory. `settle`
adds the journal to the rows and empties it, again in one transaction. So a process may end between any two steps
and begin again within the same minute: the row holds what was settled, the journal what was not, none is in both.

What is looked at rather than counted (requests under way, instances, memory) is sampled, kept in memory for a few
seconds and added as maxima, which come to no harm when they are told twice; of CPU time the seconds not yet settled
are lost with the process.
"""

import asyncio
import time
from collections.abc import Callable, Iterable

import msgspec
from sqlalchemy import Delete, delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from sampan.metrics.instances import states
from sampan.metrics.minutes import ALL, Minute, Minutes, fold, merge, with_all
from sampan.metrics.registry import Registry
from sampan.metrics.series import Point, point, steps
from sampan.metrics.tables import history, journal
from sampan.model.invocation import InvocationRecord, VersionFacts
from sampan.model.names import VersionKey
from sampan.store.database import Database
from sampan.telemetry.logs import Log

SAMPLE = 1.0  # seconds between looks at what is under way
SETTLE = 10.0  # seconds between settlings; some hundred journal entries when busy
FORGET = 600.0  # seconds between looks for rows that are too old
ENTRIES = 500  # of the journal that are settled at once
ROWS = 500  # read or deleted before others get their turn

log = Log("history")

_encode = msgspec.msgpack.Encoder().encode
_numbers = msgspec.msgpack.Decoder(Minute)
_entry = msgspec.msgpack.Decoder(list[tuple[str, int, Minute]])


class History:
    """keep_for: seconds that minutes are kept. clock: Unix seconds."""

    def __init__(
        self, database: Database, registry: Registry, keep_for: float, clock: Callable[[], float] = time.time
    ) -> None:
        self._database, self._registry, self._keep_for, self._clock = database, registry, keep_for, clock
        self._seen: Minutes = {}
        self._cpu: dict[str, float] = {}
        self._settling = asyncio.Lock()

    async def keep(
        self,
        connection: AsyncConnection,
        records: Iterable[InvocationRecord],
        versions: dict[VersionKey, VersionFacts],
    ) -> None:
        """Count these invocations, in the transaction in which they are kept."""
        if minutes := fold(records, versions):
            entry = [(function, minute, numbers) for (function, minute), numbers in minutes.items()]
            await connection.execute(insert(journal).values(minutes=_encode(entry)))

    def sample(self) -> None:
        """Look at what is under way."""
        registry, minute = self._registry, int(self._clock() // 60)
        under_way, running = registry.under_way(), registry.instances.by_function()
        everything = Minute()
        for name in {*under_way, *running}:
            instances = running.get(name, [])
            here = Minute()
            here.look(*under_way.get(name, (0, 0)), sum(each.memory for each in instances), states(instances))
            everything.beside(here)
            self._saw(name, minute).plus(here)
        if under_way or running:
            self._saw(ALL, minute).plus(everything)
        spent = registry.cpu_seconds()
        for name, seconds in spent.items():
            if (more := round((seconds - self._cpu.get(name, 0.0)) * 1e9)) > 0:
                self._saw(name, minute).cpu_ns += more
                self._saw(ALL, minute).cpu_ns += more
        self._cpu = spent

    async def settle(self) -> None:
        """Bring the rows up to date with all that was told so far."""
        async with self._settling:
            settled = ENTRIES
            while settled == ENTRIES:
                settled = await self._settle_some()

    async def forget(self) -> None:
        """Rows older than they are kept go, in pieces."""
        oldest = int((self._clock() - self._keep_for) // 60)
        old = select(history.c.function, history.c.minute).where(history.c.minute < oldest).limit(ROWS)
        gone = ROWS
        while gone == ROWS:
            async with self._database.write() as connection:
                rows = (await connection.execute(old)).all()
                for function, minute in rows:
                    await connection.execute(_delete(function, minute))
            gone = len(rows)

    async def query(self, function: str | None, since: float, until: float, step: int) -> list[Point]:
        """The series from `since` to before `until` (Unix seconds), a point per `step` seconds, gaps as zeros.

        function None: all together. step: whole minutes; points begin at multiples of it. Raises: InvalidArgument.
        """
        begins = steps(since, until, step)
        await self.settle()
        found = {begin: Minute() for begin in begins}
        wanted = (
            select(history.c.minute, history.c.numbers)
            .where(history.c.function == (ALL if function is None else function), history.c.minute < begins.stop)
            .order_by(history.c.minute)
            .limit(ROWS)
        )
        after, rows = begins.start - 1, ROWS
        async with self._database.read() as connection:
            while rows == ROWS:
                page = (await connection.execute(wanted.where(history.c.minute > after))).all()
                for after, numbers in page:  # the last one is where the next page begins
                    found[after - after % begins.step].plus(_numbers.decode(numbers))
                rows = len(page)
        return [point(begin, numbers) for begin, numbers in found.items()]

    async def run(self) -> None:
        """Sample, settle and forget, for ever."""
        loop = asyncio.get_running_loop()
        settled = forgotten = loop.time()
        while True:
            await asyncio.sleep(SAMPLE)
            self.sample()
            try:
                if loop.time() - settled >= SETTLE:
                    settled = loop.time()
                    await self.settle()
                if loop.time() - forgotten >= FORGET:
                    forgotten = loop.time()
                    await self.forget()
            except Exception as error:  # a full disk, say: the journal stays, and all of it is tried again
                log.failure("the history could not be written", error)

    async def close(self) -> None:
        """Write what was seen and not yet written."""
        self.sample()
        await self.settle()

    def _saw(self, function: str, minute: int) -> Minute:
        return self._seen.setdefault((function, minute), Minute())

    async def _settle_some(self) -> int:
        """How many entries of the journal there were, at most `ENTRIES`."""
        seen, self._seen = self._seen, {}
        try:
            async with self._database.write() as connection:
                oldest = select(journal).order_by(journal.c.id).limit(ENTRIES)
                entries = (await connection.execute(oldest)).all()
                pending: Minutes = {}
                for entry in entries:
                    told = {(name, minute): numbers for name, minute, numbers in _entry.decode(entry.minutes)}
                    merge(pending, with_all(told))
                merge(pending, {key: _numbers.decode(_encode(numbers)) for key, numbers in seen.items()})
                await _add(connection, pending)
                if entries:
                    await connection.execute(delete(journal).where(journal.c.id <= entries[-1].id))
        except BaseException:
            merge(self._seen, seen)
            raise
        return len(entries)


async def _add(connection: AsyncConnection, pending: Minutes) -> None:
    rows: list[dict[str, object]] = []
    for (function, minute), numbers in pending.items():
        one = select(history.c.numbers).where(history.c.function == function, history.c.minute == minute)
        known = (await connection.execute(one)).scalar_one_or_none()
        if known is not None:
            numbers.plus(_numbers.decode(known))
            await connection.execute(_delete(function, minute))
        rows.append({"function": function, "minute": minute, "numbers": _encode(numbers)})
    if rows:
        await connection.execute(insert(history), rows)


def _delete(function: str, minute: int) -> Delete:
    return delete(history).where(history.c.function == function, history.c.minute == minute)

"""Keeps what is printed, together with how far it was read, so that no line is lost or kept twice.

`commit` writes the lines read since the last time and the positions they end at in one transaction. Whoever reads
begins at the positions kept; whatever ended the process in between, the rest is read anew. Positions are checked
before they are moved: lines that are in the database already, or that another process has read, are refused.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import attrgetter

import msgspec
from sqlalchemy import ColumnElement, insert, select, update
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from sampan.model.names import VersionKey, split_version_key
from sampan.output.blocks import Block, cut, pack
from sampan.output.lines import Line
from sampan.output.tables import blocks, functions, instances
from sampan.store.database import Database
from sampan.telemetry.logs import Log

log = Log("output")

Sink = Callable[[Sequence[Line]], None]

ROW = 150  # bytes of a block's row besides its data, indexes included


class Place(msgspec.Struct, frozen=True):
    """How far an instance has been read."""

    instance: str
    version: VersionKey
    stdout: int = 0
    stderr: int = 0
    open: tuple[str, ...] = ()  # requests under way at the position of stdout
    done: bool = False


@dataclass(slots=True)
class Batch:
    """What was read of a function's instances since the last commit."""

    function: str
    lines: list[Line] = field(default_factory=list)
    moves: dict[str, tuple[Place | None, Place]] = field(default_factory=dict)  # instance → from, to
    lost: int = 0  # bytes
    size: int = 0  # bytes of the lines

    def without(self, gone: frozenset[str]) -> "Batch":
        """The same without some instances."""
        lines = [line for line in self.lines if line.instance not in gone]
        moves = {instance: move for instance, move in self.moves.items() if instance not in gone}
        return Batch(self.function, lines, moves, self.lost, self.size)


class Counts(msgspec.Struct, frozen=True):
    """Of one function, ever."""

    function: str
    lines: int
    bytes: int
    lost: int  # bytes


class _Moved(Exception):
    """Some instances are not where their lines begin."""

    def __init__(self, gone: Iterable[str]) -> None:
        super().__init__()
        self.gone = frozenset(gone)


class OutputStore:
    """Writes and counts; `search.Search` reads."""

    def __init__(self, database: Database, clock: Callable[[], int], sink: Sink | None = None) -> None:
        """clock: Unix nanoseconds.  sink: told of lines once they are kept, their `seq` is 0; must be quick."""
        self.database = database
        self._clock = clock
        self._sink = sink
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self.on_follower: Callable[[str], None] = lambda function: None

    # places

    async def unfinished(self) -> list[Place]:
        """Instances whose output has not been read to its end."""
        return await self._places(instances.c.done == 0)

    async def place(self, instance: str) -> Place | None:
        """None: nothing of it was ever kept, or that is long ago."""
        found = await self._places(instances.c.instance == instance)
        return found[0] if found else None

    async def has(self, function: str) -> bool:
        """Whether anything was ever kept of the function."""
        async with self.database.read() as connection:
            query = select(functions.c.function).where(functions.c.function == function)
            return (await connection.execute(query)).first() is not None

    async def counts(self) -> list[Counts]:
        async with self.database.read() as connection:
            rows = await connection.execute(select(functions))
            return [Counts(row.function, row.next - 1, row.bytes, row.lost) for row in rows]

    # writing

    async def commit(self, batches: Sequence[Batch]) -> frozenset[str]:
        """All of it or, when it raises, nothing. Lines of one stream stay in order; else they are kept by time.

        The instances it returns were not where their lines begin; theirs were not kept. Raises: DBAPIError.
        """
        gone: frozenset[str] = frozenset()
        while True:
            packed = await asyncio.to_thread(_packed, batches)
            try:
                async with self.database.write() as connection:
                    await _check(connection, batches)
                    for batch, made in zip(batches, packed, strict=True):
                        await self._write(connection, batch, made)
                break
            except _Moved as moved:
                gone |= moved.gone
                batches = [batch.without(moved.gone) for batch in batches]
        for batch in batches:
            if batch.lines:
                self._tell(batch)
        return gone

    async def _write(self, connection: AsyncConnection, batch: Batch, made: list[Block]) -> None:
        now = self._clock()
        for before, after in batch.moves.values():
            await _put(connection, before, after, now)
        if not made and not batch.lost:
            return
        query = select(functions).where(functions.c.function == batch.function)
        row = (await connection.execute(query)).first()
        seq = row.next if row is not None else 1
        for block in made:
            await connection.execute(insert(blocks).values(row_of(batch.function, seq, block)))
            seq += block.lines
        printed = sum(block.raw + 1 for block in made)
        if row is None:
            values = {"function": batch.function, "next": seq, "bytes": printed, "lost": batch.lost}
            await connection.execute(insert(functions).values(values))
        else:
            changed = {"next": seq, "bytes": row.bytes + printed, "lost": row.lost + batch.lost}
            await connection.execute(
                update(functions).where(functions.c.function == batch.function).values(changed)
            )

    # readers who wait

    @contextmanager
    def follower(self, function: str) -> Iterator[asyncio.Event]:
        """Set whenever there are new lines of the function; whoever waits clears it."""
        event = asyncio.Event()
        self._waiting.setdefault(function, set()).add(event)
        self.on_follower(function)
        try:
            yield event
        finally:
            self._waiting[function].discard(event)
            if not self._waiting[function]:
                del self._waiting[function]

    def followed(self, function: str) -> bool:
        return function in self._waiting

    def _tell(self, batch: Batch) -> None:
        for event in self._waiting.get(batch.function, ()):
            event.set()
        if self._sink is not None:
            try:
                self._sink(batch.lines)
            except Exception as error:  # the lines are kept; who else wants them must not stop that
                log.failure("lines were not passed on", error, function=batch.function)

    async def _places(self, which: ColumnElement[bool]) -> list[Place]:
        async with self.database.read() as connection:
            rows = await connection.execute(select(instances).where(which))
            return [_place(row) for row in rows]


def row_of(function: str, seq: int, block: Block) -> dict[str, object]:
    """The row of a block whose first line is `seq`."""
    size = len(block.data) + len(block.requests) + len(block.sources) + ROW
    return {"function": function, "seq": seq, "size": size, **msgspec.structs.asdict(block)}


def _packed(batches: Sequence[Batch]) -> list[list[Block]]:
    """Sorting is stable and no stream's times fall, so lines of one stream stay in order."""
    return [[pack(some) for some in cut(sorted(batch.lines, key=attrgetter("time")))] for batch in batches]


async def _check(connection: AsyncConnection, batches: Sequence[Batch]) -> None:
    """Raises: _Moved."""
    moves = {instance: move for batch in batches for instance, move in batch.moves.items()}
    names = list(moves)
    there: dict[str, Place] = {}
    for low in range(0, len(names), 500):
        query = select(instances).where(instances.c.instance.in_(names[low : low + 500]))
        there |= {row.instance: _place(row) for row in await connection.execute(query)}
    if gone := [name for name, (before, _) in moves.items() if there.get(name) != before]:
        raise _Moved(gone)


async def _put(connection: AsyncConnection, before: Place | None, after: Place, now: int) -> None:
    values = {
        "version": after.version,
        "stdout": after.stdout,
        "stderr": after.stderr,
        "open": " ".join(after.open),
        "done": int(after.done),
        "changed": now,
    }
    if before is None:
        await connection.execute(insert(instances).values(instance=after.instance, **values))
    else:
        await connection.execute(update(instances).where(instances.c.instance == after.instance).values(values))


def _place(row: Row[tuple[object, ...]]) -> Place:
    return Place(
        instance=row.instance,
        version=VersionKey(row.version),
        stdout=row.stdout,
        stderr=row.stderr,
        open=tuple(row.open.split()),
        done=bool(row.done),
    )


def function_of(place: Place) -> str:
    return split_version_key(place.version)[0]

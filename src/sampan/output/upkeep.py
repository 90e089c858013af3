"""Keeps the number of blocks small and their size within bounds.

A function that prints little makes a small block every time it does; neighbours are merged until they are large.
Blocks go when all their lines are too old; when all blocks together are too large, the oldest ones go.
"""

import asyncio
from collections.abc import Callable

from sqlalchemy import delete, func, insert, select

from sampan.output.blocks import MOST_LINES, RAW, Block, lines_of, open_, pack
from sampan.output.store import row_of
from sampan.output.tables import blocks, instances
from sampan.store.database import Database

SMALL = RAW // 2  # bytes of text; blocks below are merged
ENOUGH = 32  # small neighbours, before they are merged
TOGETHER = 256  # blocks merged at once, at most
STEP = 64  # blocks dropped in one transaction
FORGET = 2000  # rows of ended instances dropped in one transaction
SECOND = 1_000_000_000


class Upkeep:
    """Of one store's blocks."""

    def __init__(self, database: Database, clock: Callable[[], int], keep: float, limit: int) -> None:
        """clock: Unix nanoseconds.  keep: seconds.  limit: bytes of all blocks, compressed."""
        self._database = database
        self._clock = clock
        self._keep = int(keep * SECOND)
        self._limit = limit

    async def once(self) -> None:
        """All that is due. Raises: DBAPIError."""
        while await self._drop_old():
            pass
        while await self._drop_over():
            pass
        while await self._forget():
            pass
        for function in await self._crowded():
            while await self._merge(function):
                pass

    def remembers(self, moment: int) -> bool:
        """Whether an instance that printed then may still be known. Unix nanoseconds."""
        return moment >= self._clock() - self._keep

    async def size(self) -> int:
        """Bytes of all blocks."""
        async with self._database.read() as connection:
            return (await connection.execute(select(func.sum(blocks.c.size)))).scalar() or 0

    async def _drop_old(self) -> bool:
        """Whether there may be more."""
        async with self._database.write() as connection:
            old = select(blocks.c.id).where(blocks.c.last < self._clock() - self._keep).limit(STEP)
            done = await connection.execute(delete(blocks).where(blocks.c.id.in_(old)))
        return done.rowcount == STEP

    async def _drop_over(self) -> bool:
        """Whether there may be more."""
        over = await self.size() - self._limit
        if over <= 0:
            return False
        async with self._database.write() as connection:
            query = select(blocks.c.id, blocks.c.size).order_by(blocks.c.last).limit(STEP)
            drop = []
            for row in await connection.execute(query):
                if over <= 0:
                    break
                drop.append(row.id)
                over -= row.size
            await connection.execute(delete(blocks).where(blocks.c.id.in_(drop)))
        return over > 0 and bool(drop)

    async def _forget(self) -> bool:
        """Instances of which nothing can be kept any more. Whether there may be more."""
        async with self._database.write() as connection:
            horizon = self._clock() - self._keep
            old = select(instances.c.instance).where(instances.c.done == 1, instances.c.changed < horizon)
            done = await connection.execute(delete(instances).where(instances.c.instance.in_(old.limit(FORGET))))
        return done.rowcount == FORGET

    async def _crowded(self) -> list[str]:
        async with self._database.read() as connection:
            small = select(blocks.c.function).where(blocks.c.raw < SMALL, blocks.c.lines < MOST_LINES // 2)
            query = small.group_by(blocks.c.function).having(func.count() >= ENOUGH)
            return list((await connection.execute(query)).scalars())

    async def _merge(self, function: str) -> bool:
        """One run of small neighbours becomes one block. Whether there was one."""
        async with self._database.read() as connection:
            columns = (blocks.c.id, blocks.c.seq, blocks.c.raw, blocks.c.lines)
            query = select(*columns).where(blocks.c.function == function).order_by(blocks.c.seq)
            ids = _run([tuple(row) for row in await connection.execute(query)])
            if not ids:
                return False
            kept = select(blocks.c.seq, blocks.c.data).where(blocks.c.id.in_(ids)).order_by(blocks.c.seq)
            parts = [(row.seq, row.data) for row in await connection.execute(kept)]
        merged = await asyncio.to_thread(_merged, parts)
        async with self._database.write() as connection:
            await connection.execute(delete(blocks).where(blocks.c.id.in_(ids)))
            await connection.execute(insert(blocks).values(row_of(function, parts[0][0], merged)))
        return True


def _run(rows: list[tuple[int, int, int, int]]) -> list[int]:
    """The first run of small neighbours (id, seq, raw, lines) that is worth merging: one that cannot grow any
    more, or, at the end of the output, one that is long."""
    run: list[int] = []
    raw = lines = behind = 0
    for id_, seq, bytes_, count in rows:
        small = bytes_ < SMALL and count < MOST_LINES // 2
        fits = raw + bytes_ <= RAW and lines + count <= MOST_LINES and len(run) < TOGETHER and seq == behind
        if run and not (small and fits):
            if len(run) > 1:
                return run
            run, raw, lines = [], 0, 0
        if small:
            run.append(id_)
            raw, lines, behind = raw + bytes_, lines + count, seq + count
    return run if len(run) >= ENOUGH else []


def _merged(parts: list[tuple[int, bytes]]) -> Block:
    found = []
    for seq, data in parts:
        columns = open_(data)
        found += lines_of(columns, seq, range(len(columns.times)))
    return pack(found)

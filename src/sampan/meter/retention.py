"""What is kept for how long: single records for a time and up to a number, sums by the minute for that time, and
after that by the day for ever.

Everything goes in small transactions: what is reported meanwhile waits for one of them at most.
"""

import asyncio
import time
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from msgspec.structs import asdict
from sqlalchemy import Select, Table, bindparam, delete, func, insert, or_, select

from sampan.meter import tables
from sampan.meter.blocks import MOST, order, pack, unpack
from sampan.meter.rows import add_sums, pieces
from sampan.meter.sums import Sums
from sampan.model.invocation import InvocationRecord
from sampan.model.names import VersionKey
from sampan.store.database import Database
from sampan.telemetry.logs import Log

EVERY = 60.0  # seconds between two looks
AT_ONCE = 5_000  # rows deleted in one transaction
BLOCKS = 500  # of records that are looked at before it is counted anew
SLACK = 3600.0  # seconds
SMALL, MANY = 500, 64  # records of a block that is small; so many small ones of a function are put together
FOLDED = 500  # days of versions folded in one transaction
LIVES = 366 * 86_400.0  # seconds a gateway process may say nothing and still be known
LATE = 86_400.0
"""Seconds after which a request's time is joined to no other's: one reported later is counted by itself."""

_DAY = 1440  # minutes

log = Log("meter")


class Retention:
    """Over a database with the schema "telemetry"."""

    def __init__(self, database: Database, keep: float, most: int) -> None:
        """keep: seconds of single records and of minutes.  most: single records."""
        self._database, self._keep, self._most = database, keep, most

    async def run(self) -> None:
        """For ever."""
        while True:
            try:
                await self.forget(time.time())
                await self.gather()
                await self.fold(time.time())
            except Exception as error:
                log.failure("old records could not be forgotten", error)
            await asyncio.sleep(EVERY)

    async def forget(self, now: float) -> int:
        """Delete single records that are too old or too many; how many. now: Unix seconds. Sums stay.

        Of what is too old, up to `SLACK` more stays: a block is not written anew for each of its records.
        """
        moment, blocks = int(now * 1e9), tables.blocks.c
        old = moment - int(self._keep * 1e9)
        upto = func.sum(blocks.records).over(order_by=[blocks.last.desc(), blocks.id.desc()])
        counted = select(blocks.id, blocks.records, upto.label("upto")).subquery()
        gone = 0
        while some := await self._read(select(counted).where(counted.c.upto > self._most).limit(BLOCKS)):
            for row in some:
                gone += await self._cut(row.id, row.records - max(0, self._most - (row.upto - row.records)))
        stale = or_(blocks.last < old, blocks.first < old - int(SLACK * 1e9))
        while some := await self._read(select(blocks.id).where(stale).limit(BLOCKS)):
            for row in some:
                gone += await self._cut(row.id, 0, old)
        ((oldest, kept),) = await self._read(select(func.min(blocks.first), func.sum(blocks.records)))
        horizon = max(moment - int(LATE * 1e9), oldest if kept is not None and kept >= self._most else 0)
        for table in (tables.stretches, tables.provisioned):
            while await self._delete_stretches(table, horizon) == AT_ONCE:
                continue
        async with self._database.write() as connection:
            unheard = tables.lives.c.seen < moment - int(LIVES * 1e9)
            await connection.execute(delete(tables.lives).where(unheard))
        return gone

    async def fold(self, now: float) -> int:
        """Put the minutes of days that are too old together in the day's first; how many days of versions."""
        first_kept = int(now - self._keep) // 60 // _DAY * _DAY
        folded = 0
        while some := await self._fold_some(first_kept):
            folded += some
        return folded

    async def _fold_some(self, until: int) -> int:
        usage = tables.usage
        day = (usage.c.minute - usage.c.minute % _DAY).label("day")
        later = usage.c.minute % _DAY != 0
        totals = [func.sum(usage.c[name]).label(name) for name in tables.SUMS]
        async with self._database.write() as connection:
            days = select(usage.c.version, day, *totals, func.max(usage.c.memory_peak).label("memory_peak"))
            days = days.where(usage.c.minute < until, later).group_by(usage.c.version, day).limit(FOLDED)
            rows = (await connection.execute(days)).all()
            sums = Sums()
            for row in rows:
                version = VersionKey(row.version)
                sums.add(version, row.day, **{name: int(getattr(row, name)) for name in tables.SUMS})
                sums.peak(version, row.day, row.memory_peak)
            await add_sums(connection, sums)
            if rows:
                this = (usage.c.version == bindparam("of")) & (usage.c.minute > bindparam("first"))
                this &= usage.c.minute < bindparam("first") + _DAY
                await connection.execute(
                    delete(usage).where(this), [{"of": row.version, "first": row.day} for row in rows]
                )
        return len(rows)

    async def gather(self) -> int:
        """Put the small blocks of functions with little traffic together; how many records were."""
        blocks, gathered = tables.blocks.c, 0
        small = blocks.records < SMALL
        many = select(blocks.function).where(small).group_by(blocks.function).having(func.count() >= MANY)
        while functions := await self._read(many):
            for row in functions:
                these = select(blocks.id, blocks.records).where(small, blocks.function == row.function)
                some = await self._read(these.order_by(blocks.last, blocks.id).limit(MOST))
                upto = accumulate(each.records for each in some)
                ids = [each.id for each, so_far in zip(some, upto, strict=True) if so_far <= MOST]
                gathered += await self._join(row.function, ids)
        return gathered

    async def _join(self, function: str, ids: list[int]) -> int:
        joined: list[InvocationRecord] = []
        async with self._database.write() as connection:
            for some in pieces(ids):
                rows = await connection.execute(select(tables.blocks.c.data).where(tables.blocks.c.id.in_(some)))
                for row in rows:
                    joined += unpack(row.data)
                await connection.execute(delete(tables.blocks).where(tables.blocks.c.id.in_(some)))
            await connection.execute(insert(tables.blocks), asdict(pack(function, joined)))
        return len(joined)

    async def _cut(self, id_: int, count: int, old: int = 0) -> int:
        """Delete the `count` oldest records of a block, and those that ended before `old`; how many."""
        this = tables.blocks.c.id == id_
        async with self._database.write() as connection:
            row = (await connection.execute(select(tables.blocks).where(this))).one()
            await connection.execute(delete(tables.blocks).where(this))
            if row.records <= count or row.last < old:
                return int(row.records)
            records = sorted(unpack(row.data), key=order)[count:]
            left = [record for record in records if record.ended >= old]
            await connection.execute(insert(tables.blocks), {"id": id_, **asdict(pack(row.function, left))})
        return int(row.records) - len(left)

    async def _read(self, asked: Select[Any]) -> Sequence[Any]:
        async with self._database.read() as connection:
            rows: Sequence[Any] = (await connection.execute(asked)).all()
        return rows

    async def _delete_stretches(self, table: Table, horizon: int) -> int:
        async with self._database.write() as connection:
            old = select(table.c.instance, table.c.end).where(table.c.end < horizon).limit(AT_ONCE)
            rows = (await connection.execute(old)).all()
            if rows:
                this = (table.c.instance == bindparam("of")) & (table.c.end == bindparam("until"))
                await connection.execute(
                    delete(table).where(this), [{"of": row.instance, "until": row.end} for row in rows]
                )
        return len(rows)

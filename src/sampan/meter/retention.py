"""What is kept for how long: single records for a time and up to a number, sums by the minute for that time, and
after that by the day for ever.

Everything goes in small transactions: what is reported meanwhile waits for one of them at most.
"""

import asyncio
import time
from typing import Any

from sqlalchemy import Table, bindparam, delete, func, select

from sampan.meter import tables
from sampan.meter.rows import add_sums
from sampan.meter.sums import Sums
from sampan.model.names import VersionKey
from sampan.store.database import Database
from sampan.telemetry.logs import Log

EVERY = 60.0  # seconds between two looks
AT_ONCE = 5_000  # rows deleted in one transaction
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
                await self.fold(time.time())
            except Exception as error:
                log.failure("old records could not be forgotten", error)
            await asyncio.sleep(EVERY)

    async def forget(self, now: float) -> int:
        """Delete single records that are too old or too many; how many. now: Unix seconds. Sums stay."""
        moment, invocations = int(now * 1e9), tables.invocations
        async with self._database.read() as connection:
            newest = (await connection.execute(select(func.max(invocations.c.id)))).scalar() or 0
        gone = await self._delete(invocations.c.id <= newest - self._most)
        gone += await self._delete(invocations.c.ended < moment - int(self._keep * 1e9))
        async with self._database.read() as connection:
            oldest = (await connection.execute(select(func.min(invocations.c.ended)))).scalar() or 0
        horizon = max(moment - int(LATE * 1e9), oldest if newest > self._most else 0)
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

    async def _delete(self, which: Any) -> int:
        id_, gone = tables.invocations.c.id, 0
        while True:
            async with self._database.write() as connection:
                some = select(id_).where(which).limit(AT_ONCE)
                result = await connection.execute(delete(tables.invocations).where(id_.in_(some)))
            gone += result.rowcount
            if result.rowcount < AT_ONCE:
                return gone

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

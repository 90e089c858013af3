"""What was used, read: the sums of a time, and single invocations."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import Select, func, select, tuple_

from sampan.meter import tables
from sampan.meter.prices import Prices
from sampan.meter.report import Bill, By, Size, Used, bill
from sampan.meter.stretches import MINUTE
from sampan.model.names import VersionKey, split_version_key
from sampan.store.database import Database

_DAY = 1440  # minutes


class Invocation(msgspec.Struct, frozen=True, rename="camel"):
    """One attempt. Times are Unix nanoseconds, as text: JSON readers may have no integers so large."""

    request_id: str
    function_name: str
    version_id: str
    qualifier: str
    instance_id: str
    outcome: str
    status: int
    error: str
    received: str
    leased: str
    first_byte: str
    ended: str
    duration_ms: float  # in the function; 0: it never was in one
    latency_ms: float  # from received to ended
    cold: bool
    bytes_in: int
    bytes_out: int
    method: str
    path: str
    client: str
    trace_id: str


class Wanted(msgspec.Struct, frozen=True):
    """Which invocations; what is empty does not matter. Times are Unix ns."""

    function: str = ""
    version: str = ""  # "LATEST" or a published id, of the function
    outcomes: tuple[str, ...] = ()
    request: str = ""
    instance: str = ""
    since: int = 0
    until: int = 0


class Statements:
    """Over a database with the schema "telemetry"."""

    def __init__(self, database: Database, prices: Prices) -> None:
        self._database, self._prices = database, prices

    async def bill(self, by: By, since: datetime, until: datetime, function: str | None = None) -> Bill:
        """Of the minutes that begin in this time."""
        first = -(-int(since.timestamp() * 1e9) // MINUTE)
        last = -(-int(until.timestamp() * 1e9) // MINUTE)
        month = since.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        span = (_shown(since), _shown(until))
        used = await self.used(first, last)
        before = await self.used(int(month.timestamp()) // 60, first)
        return bill(used, before, self._prices, by, span, function)

    async def used(self, first: int, last: int) -> list[Used]:
        """Sums by version and day of the minutes from `first` to before `last`."""
        usage, versions = tables.usage, tables.versions
        day = (usage.c.minute - usage.c.minute % _DAY).label("day")  # whole in every database
        sums = [func.sum(usage.c[name]).label(name) for name in tables.SUMS]
        of_days = (
            select(usage.c.version, day, *sums, func.max(usage.c.memory_peak).label("memory_peak"))
            .where(usage.c.minute >= first, usage.c.minute < last)
            .group_by(usage.c.version, day)
            .subquery()
        )
        asked = select(of_days, versions.c.memory_mb, versions.c.millicpu, versions.c.disk_mb).select_from(
            of_days.outerjoin(versions, versions.c.version == of_days.c.version)
        )
        async with self._database.read() as connection:
            return [_used(row) for row in await connection.execute(asked)]

    async def invocations(self, wanted: Wanted, limit: int, token: str = "") -> tuple[list[Invocation], str]:
        """At most `limit`, the newest first, and what asks for those that follow; "": there are none.

        Raises: ValueError: a token that is none of ours.
        """
        table = tables.invocations
        asked = _narrowed(select(table), wanted)
        if token:
            ended, _, id_ = token.partition(".")
            asked = asked.where(tuple_(table.c.ended, table.c.id) < tuple_(int(ended), int(id_)))
        asked = asked.order_by(table.c.ended.desc(), table.c.id.desc()).limit(limit + 1)
        async with self._database.read() as connection:
            rows: Sequence[Any] = (await connection.execute(asked)).all()
        more = f"{rows[limit - 1].ended}.{rows[limit - 1].id}" if len(rows) > limit else ""
        return [_invocation(row) for row in rows[:limit]], more


def _narrowed(asked: Select[Any], wanted: Wanted) -> Select[Any]:
    column = tables.invocations.c
    for name, value in ((column.function, wanted.function), (column.request, wanted.request)):
        if value:
            asked = asked.where(name == value)
    if wanted.instance:
        asked = asked.where(column.instance == wanted.instance)
    if wanted.version:
        asked = asked.where(column.version.startswith(f"{wanted.function}@{wanted.version}#", autoescape=True))
    if wanted.outcomes:
        asked = asked.where(column.outcome.in_(wanted.outcomes))
    if wanted.since:
        asked = asked.where(column.ended >= wanted.since)
    return asked.where(column.ended < wanted.until) if wanted.until else asked


def _used(row: Any) -> Used:
    size = None if row.memory_mb is None else Size(row.memory_mb, row.millicpu, row.disk_mb)
    sums = {name: int(getattr(row, name)) for name in tables.SUMS}
    return Used(VersionKey(row.version), row.day // _DAY, sums, row.memory_peak, size)


def _invocation(row: Any) -> Invocation:
    return Invocation(
        request_id=row.request,
        function_name=row.function,
        version_id=split_version_key(VersionKey(row.version))[1],
        qualifier=row.qualifier,
        instance_id=row.instance,
        outcome=row.outcome,
        status=row.status,
        error=row.error,
        received=str(row.received),
        leased=str(row.leased),
        first_byte=str(row.first_byte),
        ended=str(row.ended),
        duration_ms=(row.ended - row.leased) / 1e6 if row.leased else 0.0,
        latency_ms=(row.ended - row.received) / 1e6,
        cold=row.cold,
        bytes_in=row.bytes_in,
        bytes_out=row.bytes_out,
        method=row.method,
        path=row.path,
        client=row.client,
        trace_id=row.trace,
    )


def _shown(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

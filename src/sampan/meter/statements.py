"""What was used, read: the sums of a time, and single invocations."""

from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import func, select

from sampan.meter import tables
from sampan.meter.blocks import order
from sampan.meter.prices import Prices
from sampan.meter.report import Bill, By, Size, Used, bill
from sampan.meter.singles import Place, Wanted, newest
from sampan.meter.stretches import MINUTE
from sampan.model.invocation import InvocationRecord
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
        before = _place(token) if token else None
        found = await newest(self._database, wanted, limit + 1, before)
        more = ".".join(map(str, order(found[limit - 1]))) if len(found) > limit else ""
        return [_invocation(record) for record in found[:limit]], more


def _place(token: str) -> Place:
    ended, _, tie = token.partition(".")
    return int(ended), int(tie)


def _used(row: Any) -> Used:
    size = None if row.memory_mb is None else Size(row.memory_mb, row.millicpu, row.disk_mb)
    sums = {name: int(getattr(row, name)) for name in tables.SUMS}
    return Used(VersionKey(row.version), row.day // _DAY, sums, row.memory_peak, size)


def _invocation(record: InvocationRecord) -> Invocation:
    function, version, _ = split_version_key(record.version)
    return Invocation(
        request_id=record.request,
        function_name=function,
        version_id=version,
        qualifier=record.qualifier,
        instance_id=record.instance,
        outcome=record.outcome.value,
        status=record.status,
        error=record.error,
        received=str(record.received),
        leased=str(record.leased),
        first_byte=str(record.first_byte),
        ended=str(record.ended),
        duration_ms=(record.ended - record.leased) / 1e6 if record.leased else 0.0,
        latency_ms=(record.ended - record.received) / 1e6,
        cold=record.cold,
        bytes_in=record.bytes_in,
        bytes_out=record.bytes_out,
        method=record.method,
        path=record.path,
        client=record.client,
        trace_id=traced.trace if (traced := record.traced) is not None else "",
    )


def _shown(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

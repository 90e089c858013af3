"""The ledger: what was used, written down once.

One transaction takes in any number of batches: the records, the sums they add to, and how far their gateways are
confirmed. So there is no moment at which a record is in without being summed, and one that comes twice is known.
"""

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import asdict
from sqlalchemy import BigInteger, bindparam, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from sampan.meter import tables
from sampan.meter.blocks import by_version, packed
from sampan.meter.lifetimes import Changes, Life
from sampan.meter.rows import add_sums, charge_time, near, pieces, unite
from sampan.meter.stretches import common, nanoseconds
from sampan.meter.sums import Sums, times
from sampan.model.invocation import InvocationRecord, VersionFacts
from sampan.model.names import VersionKey
from sampan.store.database import Database

KNOWN = 10_000  # versions remembered to be in the database


class Batch(msgspec.Struct, frozen=True):
    """Records of one life, as a gateway reports them (`link/reports.py`)."""

    life: str
    seq: int  # number of the first record, from 1
    records: Sequence[InvocationRecord]
    versions: Mapping[VersionKey, VersionFacts] = {}


Beside = Callable[[AsyncConnection, Sequence[InvocationRecord], dict[VersionKey, VersionFacts]], Awaitable[None]]


class Ledger:
    """Over a database with the schema "telemetry"."""

    def __init__(self, database: Database, beside: Beside | None = None) -> None:
        """beside: writes what else is to be kept of new records, all of it in the same transaction or none."""
        self._database, self._beside = database, beside
        self._known: set[VersionKey] = set()

    async def add(self, batches: Iterable[Batch]) -> list[tuple[InvocationRecord, ...]]:
        """Write down what is new in each, and return it; all of it is durable then. Batches of a life in order.

        A gap in the numbers counts as missing. Raises: SQLAlchemyError; nothing is written then.
        """
        batches = list(batches)
        async with self._database.write() as connection:
            kept = await _kept(connection, {batch.life for batch in batches})
            progress = Progress(kept)
            fresh = [progress.take(batch) for batch in batches]
            records = [record for some in fresh for record in some]
            learned = await self._learn(connection, [batch.versions for batch in batches])
            if records:
                groups = by_version(records)
                await connection.execute(insert(tables.blocks), [asdict(block) for block in packed(groups)])
                sums = Sums()
                for version, some in groups.items():
                    sums.count(version, some)
                await charge_time(connection, times(groups), sums)
                await add_sums(connection, sums)
                if self._beside is not None:
                    versions = {key: facts for batch in batches for key, facts in batch.versions.items()}
                    await self._beside(connection, records, versions)
            await _confirm(connection, progress, kept)
        self._remember(learned)
        return fresh

    async def learn(self, versions: Mapping[VersionKey, VersionFacts]) -> None:
        """What versions are: they are charged by it, also for what was counted before it was known."""
        if versions.keys() <= self._known:
            return
        async with self._database.write() as connection:
            learned = await self._learn(connection, [versions])
        self._remember(learned)

    async def book(self, changes: Changes) -> None:
        """Instances' time, and how they are now. Raises: SQLAlchemyError; nothing is written then."""
        sums = Sums()
        sums.merge(changes.sums)
        async with self._database.write() as connection:
            united = await unite(connection, tables.provisioned, changes.provisioned)
            new = {instance: each.new for instance, each in united.items() if each.new}
            busy = await near(connection, tables.stretches, new)
            for instance, stretches in busy.items():
                for stretch in common(new[instance], stretches):
                    for minute, amount in nanoseconds(stretch):
                        sums.add(changes.versions[instance], minute, covered_ns=amount)
            await add_sums(connection, sums)
            await _write_lives(connection, changes)

    async def lives(self) -> dict[str, Life]:
        """The instances that lived when last heard of."""
        async with self._database.read() as connection:
            rows = await connection.execute(select(tables.instances))
            return {
                row.instance: Life(
                    VersionKey(row.version), row.since, row.booked, row.frozen, row.provisioned, row.cpu_ns
                )
                for row in rows
            }

    # ── inside ──

    async def _learn(
        self, connection: AsyncConnection, told: Iterable[Mapping[VersionKey, VersionFacts]]
    ) -> list[VersionKey]:
        facts = {key: fact for each in told for key, fact in each.items() if key not in self._known}
        column = tables.versions.c.version
        for keys in pieces(list(facts)):
            known = {row.version for row in await connection.execute(select(column).where(column.in_(keys)))}
            if new := [_facts(key, facts[key]) for key in keys if key not in known]:
                await connection.execute(insert(tables.versions), new)
        return list(facts)

    def _remember(self, versions: list[VersionKey]) -> None:
        if len(self._known) > KNOWN:
            self._known.clear()
        self._known.update(versions)


class Progress:
    """How far each life is written down, batch after batch. Pure."""

    def __init__(self, kept: Mapping[str, int]) -> None:
        self.kept = dict(kept)
        self.missing: dict[str, int] = {}

    def take(self, batch: Batch) -> tuple[InvocationRecord, ...]:
        """Those of its records that are new."""
        kept = self.kept.get(batch.life, 0)
        if batch.seq > kept + 1:
            self.missing[batch.life] = self.missing.get(batch.life, 0) + batch.seq - kept - 1
        last = batch.seq + len(batch.records) - 1
        self.kept[batch.life] = max(kept, last)
        return tuple(batch.records[max(0, kept + 1 - batch.seq) :])


async def _kept(connection: AsyncConnection, lives: set[str]) -> dict[str, int]:
    table = tables.lives
    found: dict[str, int] = {}
    for some in pieces(sorted(lives)):
        rows = await connection.execute(select(table.c.life, table.c.kept).where(table.c.life.in_(some)))
        found |= {row.life: row.kept for row in rows}
    return found


async def _confirm(connection: AsyncConnection, progress: Progress, before: Mapping[str, int]) -> None:
    table, now = tables.lives, time.time_ns()
    rows = [
        {"of": life, "upto": kept, "more": progress.missing.get(life, 0), "now": now}
        for life, kept in progress.kept.items()
    ]
    new = [{"life": row["of"], "kept": 0, "missing": 0, "seen": now} for row in rows if row["of"] not in before]
    if new:
        await connection.execute(insert(table), new)
    if rows:
        changed = update(table).where(table.c.life == bindparam("of"))
        counted = table.c.missing + bindparam("more", type_=BigInteger)
        await connection.execute(
            changed.values(kept=bindparam("upto"), missing=counted, seen=bindparam("now")), rows
        )


async def _write_lives(connection: AsyncConnection, changes: Changes) -> None:
    table = tables.instances
    gone = [{"of": instance} for instance in (*changes.ended, *changes.lives)]
    if gone:
        await connection.execute(delete(table).where(table.c.instance == bindparam("of")), gone)
    if changes.lives:
        rows = [{"instance": instance, **life.row()} for instance, life in changes.lives.items()]
        await connection.execute(insert(table), rows)


def _facts(key: VersionKey, facts: VersionFacts) -> dict[str, Any]:
    return {
        "version": key,
        "memory_mb": facts.memory_mb,
        "millicpu": round(facts.cpu * 1000),
        "disk_mb": facts.disk_mb,
        "concurrency": facts.concurrency,
        "timeout_ms": round(facts.timeout * 1000),
    }

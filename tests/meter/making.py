"""Records by hand and by chance, and the meter's sums computed from them in the plainest way."""

import functools
import sqlite3
import tempfile
from collections.abc import Iterable
from contextlib import closing
from itertools import pairwise
from pathlib import Path

from hypothesis import strategies as st
from sqlalchemy import select

from sampan.meter import tables
from sampan.meter.blocks import unpack
from sampan.meter.stretches import MINUTE
from sampan.model.instance import Stage
from sampan.model.invocation import InvocationRecord, Outcome, VersionFacts
from sampan.model.names import VersionKey
from sampan.store.database import Database, migrate, sqlite_url

WEB, JOB = VersionKey("web@LATEST#1"), VersionKey("job@3#7")
FACTS = {
    WEB: VersionFacts("web", "LATEST", 512, 0.35, 512, 10, 3.0),
    JOB: VersionFacts("job", "3", 1024, 1.0, 10240, 1, 60.0),
}
START = 29_000_000 * MINUTE  # Unix ns, the beginning of a minute
MS = 1_000_000
CHARGED = {"ok", "function_error", "timed_out", "client_gone", "refused"}
Sums = dict[tuple[str, int], dict[str, int]]


def record(
    number: int = 1,
    begin: int = 0,
    length: int = 5 * MS,
    version: VersionKey = WEB,
    instance: str = "c-1",
    outcome: Outcome = Outcome.OK,
    cold: bool = False,
    startup: tuple[Stage, ...] = (),
) -> InvocationRecord:
    """begin, length: ns; the request had its instance from START + begin on."""
    leased = START + begin if instance else 0
    return InvocationRecord(
        f"1-{number:08x}-{0:024x}", version, instance, outcome, 200, START + begin, leased,
        START + begin + length, cold, 3, 7, startup=startup,
    )  # fmt: skip


_INSTANCES = {WEB: ("c-1", "c-2"), JOB: ("c-3",)}


@st.composite
def records(draw: st.DrawFn, most: int = 12) -> list[InvocationRecord]:
    """Many touch, overlap, hold each other or cross the end of a minute."""
    time = st.one_of(st.integers(0, 40), st.integers(59_980, 60_020)).map(lambda tenth: tenth * MS // 4)
    time = st.one_of(time, st.integers(MINUTE - 3 * MS, MINUTE + 3 * MS))
    made = []
    for number in range(draw(st.integers(0, most))):
        version = draw(st.sampled_from([WEB, JOB]))
        instance = draw(st.sampled_from([*_INSTANCES[version], ""]))
        begin = draw(time)
        stage = Stage("initialize", START + begin - 2 * MS, START + begin - MS // 3)
        cold = bool(instance) and draw(st.booleans())
        made.append(
            record(
                number, begin, draw(st.one_of(st.integers(0, 3 * MS), st.integers(0, 2 * MINUTE))),
                version, instance, draw(st.sampled_from(list(Outcome))), cold, (stage,) if cold else (),
            )
        )  # fmt: skip
    return made


def recomputed(known: Iterable[InvocationRecord]) -> Sums:
    """All sums, from the set of records."""
    sums: Sums = {}
    busy: dict[tuple[str, str], list[tuple[int, int]]] = {}

    def add(version: str, minute: int, name: str, amount: int) -> None:
        if amount:
            row = sums.setdefault((version, minute), {})
            row[name] = row.get(name, 0) + amount

    for each in known:
        minute, charged = each.ended // MINUTE, bool(each.instance) and each.outcome.value in CHARGED
        for name, amount in (
            ("calls", 1), ("billed", int(charged)), ("cold", int(each.cold)),
            ("bytes_in", each.bytes_in), ("bytes_out", each.bytes_out),
        ):  # fmt: skip
            add(each.version, minute, name, amount)
        if each.outcome is not Outcome.OK:
            add(each.version, minute, each.outcome.value, 1)
        stretches = [(stage.begin, stage.end) for stage in each.startup]
        if charged:
            stretches.append((each.leased, each.ended))
        busy.setdefault((each.version, each.instance), []).extend(stretches)
    for (version, _), stretches in busy.items():
        for begin, end in swept(stretches):
            whole, counted = (end - begin + MS - 1) // MS, 0
            for minute in range(begin // MINUTE, end // MINUTE + 2):
                until = min(whole, max(0, (minute + 1) * MINUTE - begin) // MS)
                until = whole if (minute + 1) * MINUTE >= end else until
                add(version, minute, "active_ms", until - counted)
                counted = until
    return sums


def swept(stretches: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The union, by counting who is there at each point."""
    points = sorted({point for begin, end in stretches if begin < end for point in (begin, end)})
    cells = [
        (low, high)
        for low, high in pairwise(points)
        if any(begin <= low and high <= end for begin, end in stretches)
    ]
    merged: list[tuple[int, int]] = []
    for low, high in cells:
        if merged and merged[-1][1] == low:
            merged[-1] = merged[-1][0], high
        else:
            merged.append((low, high))
    return merged


def database(directory: Path) -> Database:
    """A new one, migrated."""
    return Database(database_url(directory))


def database_url(directory: Path) -> str:
    file = directory / "telemetry" / "telemetry.db"
    file.parent.mkdir(mode=0o700)
    file.write_bytes(_empty())
    return sqlite_url(file)


@functools.cache
def _empty() -> bytes:
    """Migrating takes longer than most tests."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "db" / "empty.db"
        migrate(sqlite_url(file), "telemetry")
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return file.read_bytes()


async def written(store: Database) -> Sums:
    """The sums as they are in the database, without what is 0."""
    async with store.read() as connection:
        rows = (await connection.execute(select(tables.usage))).mappings().all()
    found: Sums = {}
    for row in rows:
        amounts = {name: row[name] for name in (*tables.SUMS, "memory_peak") if row[name]}
        if amounts:
            found[row["version"], row["minute"]] = amounts
    return found


async def kept(store: Database) -> list[InvocationRecord]:
    """All single records."""
    async with store.read() as connection:
        rows = (await connection.execute(select(tables.blocks))).all()
    found = [unpack(row.data) for row in rows]
    assert [len(some) for some in found] == [row.records for row in rows]
    return [each for some in found for each in some]

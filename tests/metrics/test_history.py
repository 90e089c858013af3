"""The history by the minute: what is counted is counted once, whatever ends when."""

import asyncio
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine, event, func, select

from sampan.link.reports import Gauge, Gauges
from sampan.metrics import history as rooms
from sampan.metrics.history import History
from sampan.metrics.minutes import Minute, Minutes, fold, merge
from sampan.metrics.registry import Registry
from sampan.metrics.series import POINTS, Point
from sampan.metrics.tables import METADATA, history, journal
from sampan.model.errors import InvalidArgument
from sampan.model.instance import InstanceState
from sampan.model.invocation import InvocationRecord, Outcome
from sampan.model.names import InstanceId, version_key
from sampan.store.database import Database
from tests.metrics.making import MOMENT, SECOND, VERSIONS, Clock, facts, record

MINUTE = MOMENT - MOMENT % 60
KEEP = 31 * 86400.0


class Collector:
    """One life of the process that keeps the history."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.database, self.clock = database, clock
        self.registry = Registry(clock)
        self.history = History(database, self.registry, KEEP, clock.seconds)

    async def keep(self, *records: InvocationRecord) -> None:
        async with self.database.write() as connection:
            await self.history.keep(connection, records, VERSIONS)

    async def minute(self, at: float = MINUTE, function: str | None = "web") -> Point:
        [found] = await self.history.query(function, at, at + 1, 60)
        return found

    async def rows(self) -> tuple[int, int]:
        async with self.database.read() as connection:
            counts = [
                (await connection.execute(select(func.count()).select_from(table))).scalar_one()
                for table in (history, journal)
            ]
        return counts[0], counts[1]


@pytest.fixture
def clock() -> Clock:
    return Clock(MINUTE + 30)


@pytest.fixture
def collector(database: Database, clock: Clock) -> Collector:
    return Collector(database, clock)


def test_the_migration_makes_exactly_the_tables_that_are_declared(url: str) -> None:
    engine = create_engine(url)
    with engine.connect() as connection:
        ours = {
            "include_object": lambda thing, name, kind, *_: kind != "table" or name.startswith("history"),
        }
        assert compare_metadata(MigrationContext.configure(connection, opts=ours), METADATA) == []
    engine.dispose()


async def test_a_minute_tells_all_that_ended_in_it(collector: Collector) -> None:
    await collector.keep(
        record(0.5, 0.25, ended=MINUTE + 1, bytes_in=10, bytes_out=20),
        record(1.0, 0.75, ended=MINUTE + 59.9, cold=True),
        record(ended=MINUTE + 2, inside=None, outcome=Outcome.THROTTLED),
        record(ended=MINUTE + 2, outcome=Outcome.FUNCTION_ERROR),
        record(0.5, 0.25, ended=MINUTE + 2, status=500),
        record(ended=MINUTE + 60),
    )
    told = await collector.minute()
    assert (told.time, told.calls, told.cold) == (MINUTE, 5, 1)
    assert told.errors == {"throttled": 1, "function": 1, "5xx": 1}
    assert told.duration["p50"] == pytest.approx(0.25, rel=0.02)
    assert told.latency["p99"] == pytest.approx(1.0, rel=0.02)
    assert (told.seconds, told.bytes_in, told.bytes_out) == (1.26, 14, 28)
    assert (await collector.minute(MINUTE + 60)).calls == 1


async def test_a_restart_within_the_minute_loses_nothing_and_counts_nothing_twice(
    database: Database, clock: Clock
) -> None:
    first = Collector(database, clock)
    await first.keep(record(ended=MINUTE + 1), record(ended=MINUTE + 2))
    await first.history.settle()
    await first.keep(record(ended=MINUTE + 3))  # and is killed: not settled, nothing in memory to lose
    second = Collector(database, clock)
    await second.keep(record(ended=MINUTE + 4))
    assert (await second.minute()).calls == 4
    third = Collector(database, clock)
    await third.history.settle()
    await third.history.settle()
    assert (await third.minute()).calls == 4
    assert await third.rows() == (2, 0)  # the function's and that of all together


KEEPS_ON = """
import asyncio, sys
from sampan.store.database import Database
from tests.metrics.making import VERSIONS, Clock, record
from tests.metrics.test_history import MINUTE, Collector

async def main() -> None:
    collector = Collector(Database(sys.argv[1]), Clock(MINUTE))
    for kept in range(1, 100_000):
        await collector.keep(record(ended=MINUTE))
        print(kept, flush=True)
        if kept % 3 == 0:
            await collector.history.settle()

asyncio.run(main())
"""


@pytest.mark.parametrize("after", [1, 10, 33])
async def test_kill_9_takes_nothing_that_was_kept_and_repeats_nothing(url: str, clock: Clock, after: int) -> None:
    root = Path(__file__).parents[2]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KEEPS_ON, url, stdout=asyncio.subprocess.PIPE, cwd=root
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            while int(await process.stdout.readline()) < after:
                pass
    finally:
        process.kill()
    said = (await process.communicate())[0].split()
    kept = int(said[-1]) if said else after
    database = Database(url)
    assert (
        kept <= (await Collector(database, clock).minute()).calls <= kept + 1
    )  # the last one may not have been said
    await database.close()


async def test_what_is_rolled_back_was_never_counted(collector: Collector) -> None:
    async def half() -> None:
        async with collector.database.write() as connection:
            await collector.history.keep(connection, [record(ended=MINUTE)], VERSIONS)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await half()
    assert (await collector.minute()).calls == 0


@pytest.mark.parametrize("statement", ["INSERT INTO history ", "DELETE FROM history_journal"])
async def test_a_settling_that_breaks_off_leaves_all_as_it_was(collector: Collector, statement: str) -> None:
    await collector.keep(record(ended=MINUTE))
    await collector.history.settle()
    await collector.keep(record(ended=MINUTE + 1))
    collector.registry.gauges("g", Gauges((Gauge("web", 3, 1),)))
    collector.history.sample()
    broken = [True]
    engine = collector.database._engine.sync_engine

    @event.listens_for(engine, "before_cursor_execute")
    def fail(connection, cursor, sql, *rest):
        if broken[0] and sql.startswith(statement):
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        await collector.history.settle()
    broken[0] = False
    told = await collector.minute()
    assert (told.calls, told.active, told.waiting) == (2, 3, 1)


async def test_a_long_journal_is_settled_in_pieces(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms, "ENTRIES", 3)
    for _ in range(10):
        await collector.keep(record(ended=MINUTE))
    assert (await collector.minute()).calls == 10
    assert await collector.rows() == (2, 0)


async def test_settlings_at_once_count_once(collector: Collector) -> None:
    for at in range(20):
        await collector.keep(record(ended=MINUTE + at))
    told = await asyncio.gather(*(collector.minute() for _ in range(5)))
    assert [each.calls for each in told] == [20] * 5


async def test_all_together_are_the_sum_of_the_functions(collector: Collector) -> None:
    api = version_key("api", "1", 4)
    async with collector.database.write() as connection:
        records = [record(1.0, ended=MINUTE), record(3.0, ended=MINUTE, version=api)]
        await collector.history.keep(connection, records, {**VERSIONS, api: facts("api", "1")})
    collector.registry.gauges("g", Gauges((Gauge("web", 3, 1), Gauge("api", 2, 0))))
    collector.history.sample()
    told = await collector.minute(function=None)
    assert (told.calls, told.active, told.waiting) == (2, 5, 1)
    assert told.latency["p99"] == pytest.approx(3.0, rel=0.02)


async def test_most_at_once_is_the_most_of_any_moment(collector: Collector, clock: Clock) -> None:
    registry = collector.registry
    registry.instance(InstanceId("c-1"), "web", "LATEST", InstanceState.CREATED)
    registry.instance(InstanceId("c-1"), "web", "LATEST", InstanceState.READY)
    clock.forward(1)
    registry.stats(InstanceId("c-1"), SECOND, 1 << 20)
    for active, waiting in ((1, 9), (5, 0), (2, 2)):
        registry.gauges("g", Gauges((Gauge("web", active, waiting),)))
        collector.history.sample()
    await collector.history.settle()
    registry.gone(InstanceId("c-1"))
    collector.history.sample()
    told = await collector.minute()
    assert (told.active, told.waiting, told.memory, told.instances) == (5, 9, 1 << 20, {"ready": 1})
    assert told.cpu == 1.0
    assert (await collector.minute(function=None)).cpu == 1.0


async def test_a_series_has_a_point_per_step_and_zeros_where_nothing_was(collector: Collector) -> None:
    hour = MINUTE - MINUTE % 3600
    for at in (0, 59, 300, 3599):
        await collector.keep(record(at + 1, ended=hour + at))
    points = await collector.history.query("web", hour + 10, hour + 3600, 300)
    assert [point.time for point in points] == list(range(hour, hour + 3600, 300))
    assert [point.calls for point in points] == [2, 1, *[0] * 9, 1]
    assert points[0].latency["p50"] == pytest.approx(1, rel=0.02)
    assert points[0].latency["p99"] == pytest.approx(60, rel=0.02)
    assert points[2].latency == {"p50": None, "p95": None, "p99": None}


async def test_a_stretch_of_many_rows_is_read_in_pages(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rooms, "ROWS", 7)
    await collector.keep(*(record(ended=MINUTE + 60 * at) for at in range(40)))
    points = await collector.history.query("web", MINUTE, MINUTE + 60 * 40, 60)
    assert [point.calls for point in points] == [1] * 40


@pytest.mark.parametrize(
    ("since", "until", "step"),
    [
        (0, 60, 0),
        (0, 60, -60),
        (0, 60, 90),
        (60, 60, 60),
        (120, 60, 60),
        (-5, 60, 60),
        (0, 1e300, 60),
        (float("nan"), 60, 60),
        (0, 60 * (POINTS + 1), 60),
    ],
)
async def test_what_cannot_be_told_is_refused(collector: Collector, since: float, until: float, step: int) -> None:
    with pytest.raises(InvalidArgument):
        await collector.history.query("web", since, until, step)


async def test_the_step_that_a_refusal_names_is_taken(collector: Collector) -> None:
    with pytest.raises(InvalidArgument, match=r"at least 1800 seconds"):
        await collector.history.query("web", MOMENT - KEEP + 60, MOMENT, 60)
    assert await collector.history.query("web", MOMENT - KEEP + 60, MOMENT, 1800)


async def test_rows_go_when_they_are_too_old(
    collector: Collector, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rooms, "ROWS", 4)
    await collector.keep(*(record(ended=MINUTE - 60 * at) for at in range(10)))
    await collector.history.settle()
    clock.forward(KEEP - 60 * 3)
    await collector.history.forget()
    points = await collector.history.query("web", MINUTE - 600, MINUTE + 60, 60)
    assert [point.calls for point in points] == [0] * 7 + [1] * 4
    assert await collector.rows() == (8, 0)


@pytest.mark.looptime
async def test_running_it_settles_and_forgets_and_outlives_a_full_disk(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    registry = Registry(lambda: round((MINUTE + loop.time()) * SECOND))
    kept = History(database, registry, KEEP, lambda: MINUTE + loop.time())
    done: list[str] = []
    forgotten = asyncio.Event()

    async def settle() -> None:
        done.append("settle")
        if len(done) == 2:
            raise OSError("disk full")

    async def forget() -> None:
        done.append("forget")
        forgotten.set()

    monkeypatch.setattr(kept, "settle", settle)
    monkeypatch.setattr(kept, "forget", forget)
    running = asyncio.ensure_future(kept.run())
    await forgotten.wait()
    assert done == ["settle"] * 60 + ["forget"]
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_closing_writes_what_was_seen(database: Database, clock: Clock) -> None:
    first = Collector(database, clock)
    first.registry.gauges("g", Gauges((Gauge("web", 3, 1),)))
    await first.history.close()
    assert (await Collector(database, clock).minute()).active == 3


RECORDS = st.builds(
    record,
    st.floats(0, 100),
    st.none() | st.floats(0, 50),
    ended=st.floats(MINUTE, MINUTE + 180),
    outcome=st.sampled_from(list(Outcome)),
    cold=st.booleans(),
)


@given(st.lists(st.lists(RECORDS, max_size=8), max_size=6))
def test_however_records_are_cut_into_batches_the_minutes_are_the_same(
    batches: list[list[InvocationRecord]],
) -> None:
    pieces: Minutes = {}
    for batch in batches:
        merge(pieces, fold(batch, VERSIONS))
    whole = fold([each for batch in batches for each in batch], VERSIONS)
    assert pieces.keys() == whole.keys()
    for key, minute in whole.items():
        assert pieces[key].seconds == pytest.approx(minute.seconds)
        pieces[key].seconds = minute.seconds
        assert pieces[key] == minute


def test_no_two_minutes_share_what_they_count_in() -> None:
    one, other = Minute(), Minute()
    one.count([record(outcome=Outcome.FUNCTION_ERROR)])
    assert (other.errors, other.durations, other.instances) == ({}, {}, {})

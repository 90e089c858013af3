import asyncio
import tempfile
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, func, select

from sampan.meter import tables
from sampan.meter.ledger import Batch, Ledger
from sampan.model.instance import Stage
from sampan.model.invocation import InvocationRecord, Outcome
from sampan.store.database import migrate, sqlite_url
from tests.meter.making import FACTS, JOB, MS, START, WEB, database, kept, recomputed, record, records, written


def test_the_migrations_make_exactly_the_tables_that_the_meter_declares(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "db" / "telemetry.db")
    migrate(url, "telemetry")
    engine = create_engine(url)
    ours = set(tables.METADATA.tables)

    def include(_: object, name: str, kind: str, reflected: bool, other: object) -> bool:
        return kind != "table" or name in ours

    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_object": include})
        assert compare_metadata(context, tables.METADATA) == []
    engine.dispose()


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[list[list[InvocationRecord]], list[list[Batch]]]:
    """Gateways' records, and transactions in which they come: cut anywhere, mixed, some of it told again."""
    lives = draw(st.lists(records(), min_size=1, max_size=3))
    at = [0] * len(lives)
    sent: list[list[Batch]] = []
    while any(done < len(life) for done, life in zip(at, lives, strict=True)) and len(sent) < 40:
        group = []
        for _ in range(draw(st.integers(1, 3))):
            which = draw(st.integers(0, len(lives) - 1))
            begin = draw(st.integers(0, at[which]))  # a resend begins at what was not confirmed, or before
            end = draw(st.integers(at[which], len(lives[which])))
            group.append(Batch(f"life-{which}", begin + 1, lives[which][begin:end], FACTS))
            at[which] = end
        sent.append(group)
    sent += [[Batch(f"life-{which}", 1, life, FACTS) for which, life in enumerate(lives)]]
    return lives, sent


@settings(max_examples=60)
@given(deliveries(), st.booleans())
def test_however_records_come_the_sums_are_those_of_the_set_of_records(
    given: tuple[list[list[InvocationRecord]], list[list[Batch]]], anew: bool
) -> None:
    """anew: the process ends after every transaction, before anybody is told that it was committed."""
    lives, groups = given

    async def deliver(directory: Path) -> None:
        store = database(directory)
        ledger = Ledger(store)
        new: list[InvocationRecord] = []
        for group in groups:
            new += [each for some in await ledger.add(group) for each in some]
            if anew:
                ledger = Ledger(store)
        everything = [each for life in lives for each in life]
        assert await written(store) == recomputed(everything)
        assert sorted(new, key=repr) == sorted(everything, key=repr), "each is told as new once"
        async with store.read() as connection:
            missing = (await connection.execute(select(func.sum(tables.lives.c.missing)))).scalar()
        assert missing == 0
        assert sorted(await kept(store), key=repr) == sorted(everything, key=repr)
        await store.close()

    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(deliver(Path(directory)))


async def test_requests_at_once_share_their_instances_time(tmp_path: Path) -> None:
    store = database(tmp_path)
    ledger = Ledger(store)
    for number in range(3):
        await ledger.add([Batch("life", number + 1, [record(number, begin=number * MS, length=10_000 * MS)])])
    assert (await written(store))[WEB, START // 60_000_000_000]["active_ms"] == 10_002
    await store.close()


async def test_an_initializer_is_charged_once_and_is_no_call(tmp_path: Path) -> None:
    store = database(tmp_path)
    stage = Stage("initialize", START, START + 100 * MS)
    told = [record(number, 200 * MS, cold=True, startup=(stage,)) for number in range(2)]
    await Ledger(store).add([Batch("life", 1, told)])
    (row,) = (await written(store)).values()
    assert row["active_ms"] == 100 + 5
    assert row["billed"] == 2
    await store.close()


async def test_what_never_was_in_a_function_costs_nothing(tmp_path: Path) -> None:
    store = database(tmp_path)
    outcomes = (Outcome.THROTTLED, Outcome.PLATFORM_ERROR, Outcome.START_FAILED)
    told = [record(number, outcome=outcome, instance="") for number, outcome in enumerate(outcomes)]
    await Ledger(store).add([Batch("life", 1, told)])
    (row,) = (await written(store)).values()
    assert "active_ms" not in row
    assert "billed" not in row
    assert row["calls"] == row["throttled"] + row["platform_error"] + row["start_failed"] == 3
    await store.close()


async def test_a_clock_that_was_set_is_not_charged_as_use(tmp_path: Path) -> None:
    store = database(tmp_path)
    await Ledger(store).add([Batch("life", 1, [record(length=56 * 365 * 86_400_000 * MS)])])
    (row,) = (await written(store)).values()
    assert row["calls"] == 1
    assert "active_ms" not in row
    await store.close()


async def test_records_that_never_came_are_counted(tmp_path: Path) -> None:
    store = database(tmp_path)
    ledger = Ledger(store)
    await ledger.add([Batch("life", 1, [record(1)]), Batch("life", 11, [record(2), record(3)])])
    assert await ledger.add([Batch("life", 2, [record(4)])]) == [()], "a gap is never filled"
    async with store.read() as connection:
        (row,) = (await connection.execute(select(tables.lives))).all()
    assert (row.kept, row.missing) == (12, 9)
    await store.close()


async def test_what_a_version_is_may_be_told_later(tmp_path: Path) -> None:
    store = database(tmp_path)
    ledger = Ledger(store)
    await ledger.add([Batch("life", 1, [record()])])
    await ledger.learn(FACTS)
    await ledger.learn(FACTS)
    await Ledger(store).learn(FACTS)
    async with store.read() as connection:
        rows = (await connection.execute(select(tables.versions))).all()
    assert {(row.version, row.memory_mb, row.millicpu) for row in rows} == {(WEB, 512, 350), (JOB, 1024, 1000)}
    await store.close()


async def test_a_transaction_that_fails_leaves_nothing(tmp_path: Path) -> None:
    store = database(tmp_path)
    ledger = Ledger(store)
    broken = InvocationRecord("r", WEB, "c-1", Outcome.OK, 200, 1, 1, 2, False, 2**63, 0)
    with pytest.raises(OverflowError):
        await ledger.add([Batch("life", 1, [record(1), broken], FACTS)])
    assert await written(store) == {}
    assert await ledger.add([Batch("life", 1, [record(1)], FACTS)]) == [(record(1),)]
    await store.close()

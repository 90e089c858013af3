from pathlib import Path

from sqlalchemy import func, select

from sampan.meter import tables
from sampan.meter.ledger import Batch, Ledger
from sampan.meter.prices import FUNCTION_COMPUTE
from sampan.meter.retention import MANY, SLACK, Retention
from sampan.meter.statements import Statements
from tests.meter.making import FACTS, JOB, MS, START, WEB, database, kept, record, written

DAY = 1440  # minutes
MINUTE = 60_000 * MS


async def test_single_records_are_forgotten_and_sums_stay(tmp_path: Path) -> None:
    store = database(tmp_path)
    ledger = Ledger(store)
    told = [record(number, begin=number * 10 * MS) for number in range(30)]
    await ledger.add([Batch("life", 1, told, FACTS)])
    before = await written(store)
    assert await Retention(store, 86_400, most=10).forget(START / 1e9 + 60) == 20
    async with store.read() as connection:
        stretches = (await connection.execute(select(func.count()).select_from(tables.stretches))).scalar()
    assert await kept(store) == told[20:]
    assert stretches == 10
    assert await Retention(store, 3600, most=10).forget(START / 1e9 + 2 * 86_400) == 10
    assert await written(store) == before
    assert await ledger.add([Batch("life", 1, told)]) == [()], "what is forgotten is not counted once more"
    await store.close()


async def test_the_newest_records_stay_whatever_blocks_they_are_in(tmp_path: Path) -> None:
    store = database(tmp_path)
    ledger = Ledger(store)
    told = [record(number, begin=number * MS, version=(WEB, JOB)[number % 2]) for number in range(60)]
    for at in range(0, 60, 20):
        await ledger.add([Batch("life", at + 1, told[at : at + 20], FACTS)])
    assert await Retention(store, 86_400, most=25).forget(START / 1e9 + 60) == 35
    assert len(await kept(store)) == 25
    assert {each.request for each in told[40:]} < {each.request for each in await kept(store)}
    assert await Retention(store, 86_400, most=25).forget(START / 1e9 + 60) == 0
    await store.close()


async def test_a_block_that_is_old_in_part_is_cut_once_in_a_while(tmp_path: Path) -> None:
    store = database(tmp_path)
    told = [record(number, begin=number * 3_600_000 * MS) for number in range(10)]
    await Ledger(store).add([Batch("life", 1, told, FACTS)])
    retention = Retention(store, 86_400, most=1000)
    end_of_fourth = told[3].ended / 1e9 + 86_400 + 1
    assert await retention.forget(end_of_fourth) == 4
    assert await kept(store) == told[4:]
    assert await retention.forget(end_of_fourth + 3600 + SLACK - 10) == 0
    assert await retention.forget(end_of_fourth + 3600 + SLACK + 10) == 2
    await store.close()


async def test_small_blocks_are_put_together_and_hold_the_same_records(tmp_path: Path) -> None:
    store = database(tmp_path)
    ledger, retention = Ledger(store), Retention(store, 86_400, most=1000)
    told = [record(number, begin=number * MS) for number in range(2 * MANY)]
    for number, each in enumerate(told):
        await ledger.add([Batch("life", number + 1, [each], FACTS)])
    await ledger.add([Batch("life", 2 * MANY + 1, [record(version=JOB)])])
    assert await retention.gather() == 2 * MANY
    assert await retention.gather() == 0
    async with store.read() as connection:
        assert (await connection.execute(select(func.count()).select_from(tables.blocks))).scalar() == 2
    assert sorted(await kept(store), key=repr) == sorted([*told, record(version=JOB)], key=repr)
    await store.close()


async def test_old_minutes_are_put_together_by_the_day_and_add_up_as_before(tmp_path: Path) -> None:
    store = database(tmp_path)
    ledger, retention = Ledger(store), Retention(store, 86_400, most=1000)
    told = [
        record(number, begin=number * 97 * MINUTE, version=version, instance=f"c-{version}")
        for number in range(80)
        for version in (WEB, JOB)
    ]
    await ledger.add([Batch("life", 1, told, FACTS)])
    first = START // MINUTE
    statements = Statements(store, FUNCTION_COMPUTE)
    before = await statements.used(first // DAY * DAY, first + 10 * DAY)
    now = START / 1e9 + 4 * 86_400
    assert await retention.fold(now) > 0
    minutes = {minute for _, minute in await written(store)}
    kept_from = (first + 3 * DAY) // DAY * DAY
    assert all(minute % DAY == 0 for minute in minutes if minute < kept_from)
    assert any(minute % DAY for minute in minutes if minute >= kept_from)

    def in_order(rows: object) -> list[object]:
        return sorted(rows, key=repr)  # type: ignore[call-overload, no-any-return]

    assert in_order(await statements.used(first // DAY * DAY, first + 10 * DAY)) == in_order(before)
    assert await retention.fold(now) == 0
    late = [record(1000, begin=MINUTE, instance="c-late")]
    await ledger.add([Batch("late", 1, late, FACTS)])
    assert await retention.fold(now) == 1, "what comes late is put to its day"
    await store.close()

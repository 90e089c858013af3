"""The oldest goes first; small blocks become large ones."""

from sqlalchemy import func, select

from sampan.output.store import Batch, OutputStore, Place
from sampan.output.tables import blocks
from sampan.output.upkeep import ENOUGH, Upkeep
from sampan.store.database import Database
from tests.output.making import SECOND, START, WEB, batch, found, line, move, texts

DAY = 86400


async def count(database: Database) -> int:
    async with database.read() as connection:
        return (await connection.execute(select(func.count()).select_from(blocks))).scalar() or 0


def upkeep(database: Database, at: int = 0, limit: int = 1 << 30) -> Upkeep:
    """at: seconds after START."""
    return Upkeep(database, lambda: START + at * SECOND, DAY, limit)


async def test_lines_go_when_they_are_too_old(store: OutputStore, database: Database) -> None:
    for day in range(4):
        await store.commit([batch([line(f"day {day}", day * DAY)])])
    await upkeep(database, 2 * DAY + 1).once()
    assert texts(await found(store)) == ["day 2", "day 3"]


async def test_the_oldest_lines_go_when_there_are_too_many_whoever_wrote_them(
    store: OutputStore, database: Database
) -> None:
    for number in range(60):
        name = "web" if number % 2 else "api"
        await store.commit([batch([line(f"{number:04d}" * 50, number)], name)])
    size = await upkeep(database).size()
    await upkeep(database, limit=size // 3).once()
    assert await upkeep(database).size() <= size // 3
    left = [each.text[:4] for each in await found(store)]
    assert left == [f"{number:04d}" for number in range(60) if number % 2][-len(left) :]
    assert 8 <= len(left) <= 11


async def test_small_blocks_become_one_and_no_line_changes(store: OutputStore, database: Database) -> None:
    for number in range(ENOUGH * 2 + 5):
        await store.commit([batch([line(str(number), number, request=f"1-{number}")])])
    before = await found(store)
    await upkeep(database).once()
    assert await count(database) == 1
    assert await found(store) == before
    assert await upkeep(database).size() < 4000


async def test_few_small_blocks_are_left_alone(store: OutputStore, database: Database) -> None:
    for number in range(ENOUGH - 1):
        await store.commit([batch([line(str(number))])])
    await upkeep(database).once()
    assert await count(database) == ENOUGH - 1


async def test_merged_blocks_stay_within_their_size(store: OutputStore, database: Database) -> None:
    for number in range(40):
        await store.commit([batch([line(f"{number}" + "x" * 40_000), line("y")])])
    before = await found(store)
    await upkeep(database).once()
    assert 7 <= await count(database) <= 12
    assert await found(store) == before


async def test_ended_instances_are_forgotten_with_their_lines_and_living_ones_never(
    store: OutputStore, database: Database
) -> None:
    old = OutputStore(database, lambda: START)
    await old.commit(
        [Batch("web", [], move(None, Place("c-1", WEB, 5, done=True)) | move(None, Place("c-2", WEB, 5)))]
    )
    await upkeep(database, DAY - 1).once()
    assert await store.place("c-1") is not None
    await upkeep(database, DAY + 1).once()
    assert await store.place("c-1") is None
    assert await store.place("c-2") is not None

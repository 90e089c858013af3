"""A database's file becomes smaller when much of it is unused, and others write meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, LargeBinary, MetaData, Table, delete, func, insert, select

from sampan.collector import shrinking
from sampan.collector.shrinking import LEAST, once, surplus
from sampan.store.database import Database, sqlite_url

rows = Table("rows", MetaData(), Column("id", Integer, primary_key=True), Column("data", LargeBinary))
PAGE = 4096
COUNT = 2_000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "some.db"


@pytest.fixture
async def database(file: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    monkeypatch.setattr(shrinking, "PAUSE", 0.0)
    monkeypatch.setattr(shrinking, "LEAST", 100)
    opened = Database(sqlite_url(file))
    async with opened.write() as connection:
        await connection.run_sync(rows.create)
        await connection.execute(insert(rows), [{"data": bytes(PAGE)} for _ in range(COUNT)])
    yield opened
    await opened.close()


async def forget(database: Database, kept: int) -> None:
    async with database.write() as connection:
        await connection.execute(delete(rows).where(rows.c.id <= COUNT - kept))


async def test_room_that_is_not_used_is_given_back_but_for_a_reserve(database: Database, file: Path) -> None:
    await forget(database, 500)
    before, _ = await database.pages()
    await once(database)
    pages, unused = await database.pages()
    assert pages < before / 2
    assert surplus(pages, unused) == 0
    assert unused > 100
    async with database.read() as connection:
        assert (await connection.execute(select(func.sum(func.length(rows.c.data))))).scalar_one() == 500 * PAGE
    await database.close()  # SQLite cuts the file when it has taken over what was committed
    assert file.stat().st_size == pages * PAGE


async def test_writers_come_in_between(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    await forget(database, 10)
    monkeypatch.setattr(shrinking, "STEP", 8)
    steps, give_back, written = 0, database.give_back, asyncio.Event()

    async def write() -> None:
        async with database.write() as connection:
            await connection.execute(insert(rows), [{"data": b"x"}])
        written.set()

    async def watched(pages: int) -> None:
        nonlocal steps
        steps += 1
        if steps == 2:
            writing.append(asyncio.ensure_future(write()))
        if steps == 10:
            assert written.is_set(), "not only when all is done"
        await give_back(pages)

    writing: list[asyncio.Future[None]] = []
    monkeypatch.setattr(database, "give_back", watched)
    await once(database)
    assert steps > 80
    await asyncio.gather(*writing)


async def test_a_file_that_was_not_made_for_it_stays_as_it_is(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await forget(database, 10)

    async def nothing(pages: int) -> None:
        return None

    monkeypatch.setattr(database, "give_back", nothing)
    before = await database.pages()
    await once(database)
    assert await database.pages() == before


@pytest.mark.parametrize(
    ("pages", "unused", "wanted"),
    [
        (LEAST, LEAST, 0),  # a small file is not worth the work
        (100_000, 20_000, 0),  # a quarter of what is used
        (100_000, 80_000, 75_000),
        (100_000, 0, -25_000),
    ],
)
def test_a_reserve_stays(pages: int, unused: int, wanted: int) -> None:
    assert surplus(pages, unused) == wanted

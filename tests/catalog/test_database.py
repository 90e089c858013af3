import asyncio
import stat

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, insert, select

from sampan.catalog import tables
from sampan.store.database import Database, migrate, sqlite_url


def test_the_migrations_make_exactly_the_tables_that_the_catalog_declares(tmp_path):
    url = sqlite_url(tmp_path / "db" / "catalog.db")
    migrate(url)
    engine = create_engine(url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.METADATA) == []
    engine.dispose()


def test_migrating_twice_changes_nothing_and_keeps_rows(tmp_path):
    url = sqlite_url(tmp_path / "db" / "catalog.db")
    migrate(url)
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(insert(tables.access_keys).values(id="a", secret="s", account="1", created=0))
    migrate(url)
    with engine.connect() as connection:
        assert len(connection.execute(select(tables.access_keys)).all()) == 1
    engine.dispose()


def test_the_file_is_for_its_owner_alone(tmp_path):
    path = tmp_path / "db" / "catalog.db"
    migrate(sqlite_url(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_a_write_that_raises_leaves_nothing(tmp_path):
    url = sqlite_url(tmp_path / "db" / "catalog.db")
    migrate(url)
    database = Database(url)
    row = insert(tables.access_keys).values(id="a", secret="s", account="1", created=0)

    async def half() -> None:
        async with database.write() as connection:
            await connection.execute(row)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await half()
    async with database.read() as connection:
        assert (await connection.execute(select(tables.access_keys))).all() == []
    await database.close()


async def test_every_commit_is_synced(tmp_path):
    url = sqlite_url(tmp_path / "db" / "catalog.db")
    migrate(url)
    database = Database(url)
    async with database.write() as connection:
        assert (await connection.exec_driver_sql("PRAGMA synchronous")).scalar() == 2
        assert (await connection.exec_driver_sql("PRAGMA journal_mode")).scalar() == "wal"
    await database.close()


async def test_the_end_waits_for_what_was_cancelled_in_the_middle(tmp_path):
    """Else a connection's thread outlives the loop that it answers to."""
    opened = Database(sqlite_url(tmp_path / "one.db"))
    begun = asyncio.Event()

    long = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000000) SELECT max(i) FROM n"

    async def count():
        async with opened.read() as connection:
            begun.set()
            await connection.exec_driver_sql(long)

    counting = asyncio.ensure_future(count())
    await begun.wait()
    await asyncio.sleep(0.01)
    counting.cancel()
    await asyncio.gather(counting, return_exceptions=True)
    assert counting.cancelled()
    await opened.close()
    assert not any(thread.is_alive() for thread in opened._threads)

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

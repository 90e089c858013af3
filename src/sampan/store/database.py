"""The database: one URL, transactions for reading and for writing, and the way to its newest schema.

SQLite by default, in WAL mode, so readers never wait for the writer. `synchronous` is FULL: an answered API call
is a promise, and in WAL mode NORMAL may lose the last commits with the power. That is one fsync per commit on a
path where a person waits for the answer; work with many commits a second groups them.

Writers take turns inside the process (a lock) and begin IMMEDIATE, so a write transaction never finds out half way
that it may not write.
"""

import asyncio
import functools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Thread
from typing import Any
from weakref import WeakSet

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Dialect, Table, create_engine, event, insert, make_url
from sqlalchemy.engine import Engine
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

BUSY_TIMEOUT = 30  # seconds a writer waits for another one, whose disk may be slow to confirm, before it fails
MIGRATIONS = Path(__file__).parent / "migrations"

ENDING = 10.0  # seconds, at most, that the end waits for a connection that is at work
_DRIVERS = {"sqlite": "sqlite+aiosqlite"}  # the asynchronous driver per kind of database
_WRITES = "sampan_writes"


def sqlite_url(path: Path) -> str:
    """The URL of a database in a file. Keep it in a directory of its own: SQLite puts two more files beside it."""
    return f"sqlite:///{path}"


def migrate(url: str, schema: str = "catalog") -> None:
    """Bring a schema ("catalog" or "telemetry") to its newest version, making the database if there is none.
    Forward only.

    Blocks; meant to run before privileges are dropped. A file and its directory are made readable by their owner
    alone.
    """
    file = make_url(url).database
    assert file is not None
    path = Path(file)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.touch(mode=0o600)
    engine = create_engine(url)
    _prepare(engine)
    try:
        with engine.connect() as connection:
            upgrade(connection, schema)
            connection.commit()
    finally:
        engine.dispose()


def upgrade(connection: Connection, schema: str) -> None:
    """All migrations of `schema` that the database behind `connection` lacks."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("version_locations", str(MIGRATIONS / schema).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


class Database:
    """Connections to one database that has been migrated. Close it when done."""

    def __init__(self, url: str) -> None:
        parsed = make_url(url)
        self._engine = create_async_engine(parsed.set(drivername=_DRIVERS[parsed.get_backend_name()]))
        _prepare(self._engine.sync_engine)
        self._writing = asyncio.Lock()
        self._threads: WeakSet[Thread] = WeakSet()  # one per connection, in which the driver works

        @event.listens_for(self._engine.sync_engine, "connect")
        def connected(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
            self._threads.add(connection.driver_connection._thread)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """One consistent view."""
        async with self._engine.connect() as connection, connection.begin():
            yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """One transaction: all of it is durable after the block, or none of it if the block raised."""
        async with self._writing, self._engine.connect() as connection:
            await connection.execution_options(**{_WRITES: True})
            async with connection.begin():
                yield connection

    async def pages(self) -> tuple[int, int]:
        """How many the file has, and how many of them nothing uses."""
        async with self.read() as connection:
            counts = [
                (await connection.exec_driver_sql(f"PRAGMA {which}")).scalar_one()
                for which in ("page_count", "freelist_count")
            ]
        return counts[0], counts[1]

    async def give_back(self, pages: int) -> None:
        """Make the file smaller by as many unused pages, at most, in one transaction.

        Raises: sqlite3.OperationalError.
        """
        async with self._writing, self._engine.connect() as connection:
            raw: Any = (await connection.get_raw_connection()).driver_connection
            await raw.executescript(f"PRAGMA incremental_vacuum({pages})")  # `execute` ends after the first page

    async def close(self) -> None:
        """When what was cancelled in the middle has ended, too: its connection may still be at work."""
        await self._engine.dispose()
        for thread in list(self._threads):
            await asyncio.to_thread(thread.join, ENDING)


async def put(connection: AsyncConnection, table: Table, rows: Sequence[Sequence[object]]) -> None:
    """Insert rows as the driver takes them, with a value for each column in the table's order.

    SQLAlchemy's own way looks at every value, which for many rows costs more than the database itself.
    """
    if rows:
        await connection.exec_driver_sql(_insertion(table, connection.dialect), [tuple(row) for row in rows])


@functools.cache
def _insertion(table: Table, dialect: Dialect) -> str:
    return str(insert(table).compile(dialect=dialect))


def _prepare(engine: Engine) -> None:
    """Transactions as SQL means them: the driver's own idea of when to begin is switched off."""

    @event.listens_for(engine, "connect")
    def connect(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        raw: Any = connection
        raw.isolation_level = None
        cursor = connection.cursor()
        # The first one counts in a new file only: without it none can ever be made smaller.
        for pragma in ("auto_vacuum=INCREMENTAL", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT * 1000}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get(_WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

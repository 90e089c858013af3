"""What all parts of the catalog share: the database, the clock, and who hears of changes."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncConnection

from sampan.catalog import tables
from sampan.catalog.changes import Changes
from sampan.catalog.plans import Defaults
from sampan.catalog.records import Function, one
from sampan.store.database import Database


class Shelf:
    def __init__(self, database: Database, defaults: Defaults, clock: Callable[[], int] = time.time_ns) -> None:
        self.database = database
        self.defaults = defaults
        self.changes = Changes()
        self._clock = clock

    def now(self) -> int:
        """Unix microseconds."""
        return self._clock() // 1000

    async def get(self, name: str) -> Function:
        """Raises: FunctionNotFound."""
        async with self.database.read() as connection:
            return await one(connection, name)

    @asynccontextmanager
    async def change(self, name: str) -> AsyncIterator[tuple[AsyncConnection, Function]]:
        """A transaction on one function; when it is durable, everybody hears of it. Raises: FunctionNotFound."""
        async with self.database.write() as connection:
            yield connection, await one(connection, name)
        self.changes.tell(name)


async def alter(connection: AsyncConnection, function: str, **values: object) -> None:
    """Change columns of a function's own row."""
    await connection.execute(update(tables.functions).where(tables.functions.c.name == function).values(values))

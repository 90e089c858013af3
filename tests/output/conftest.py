import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sampan.output.store import OutputStore
from sampan.store.database import Database, migrate, sqlite_url


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    url = sqlite_url(tmp_path / "db" / "telemetry.db")
    migrate(url, "telemetry")
    database = Database(url)
    yield database
    await database.close()


@pytest.fixture
def store(database: Database) -> OutputStore:
    return OutputStore(database, time.time_ns)

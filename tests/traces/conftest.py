from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sampan.store.database import Database, migrate, sqlite_url
from sampan.traces.store import TraceStore
from tests.traces.samples import START


class Clock:
    """Stands where it is put. Unix seconds."""

    def __init__(self) -> None:
        self.now = START / 1e9 + 10

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    url = sqlite_url(tmp_path / "db" / "telemetry.db")
    migrate(url, "telemetry")
    opened = Database(url)
    yield opened
    await opened.close()


@pytest.fixture
def store(database: Database, clock: Clock) -> TraceStore:
    return TraceStore(database, keep=3600, limit_mb=100, clock=clock)

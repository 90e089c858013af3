from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sampan.store.database import Database, migrate, sqlite_url


@pytest.fixture
def url(tmp_path: Path) -> str:
    made = sqlite_url(tmp_path / "db" / "telemetry.db")
    migrate(made, "telemetry")
    return made


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    opened = Database(url)
    yield opened
    await opened.close()

import pytest

from sampan.catalog.catalog import Catalog
from sampan.catalog.plans import Defaults
from sampan.store.database import Database, migrate, sqlite_url


@pytest.fixture
async def catalog(tmp_path):
    url = sqlite_url(tmp_path / "db" / "catalog.db")
    migrate(url)
    database = Database(url)
    catalog = Catalog(database, Defaults(account="1", max_instances=100))
    yield catalog
    await database.close()

"""The migration makes the tables that are declared."""

from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from sampan.output.tables import METADATA
from sampan.store.database import migrate, sqlite_url


def test_the_migrated_tables_are_the_declared_ones(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "db" / "telemetry.db")
    migrate(url, "telemetry")
    engine = create_engine(url)

    def ours(table: object, name: str | None, kind: str, *_: object) -> bool:
        return kind != "table" or (name or "").startswith("output_")

    try:
        with engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"include_object": ours})
            assert compare_metadata(context, METADATA) == []
    finally:
        engine.dispose()

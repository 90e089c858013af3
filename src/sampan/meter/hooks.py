"""The time that hooks took, charged as a request's is, but for the count. Source: container-contract.md A3.

The initializer of an instance that a request waited for is in that request's record, too: an instance's time counts
once, whoever tells of it and however often.
"""

from collections.abc import Sequence

from sampan.link.reports import Ran
from sampan.meter.rows import add_sums, charge_time
from sampan.meter.stretches import Stretch
from sampan.meter.sums import LONGEST, Sums
from sampan.model.names import VersionKey
from sampan.store.database import Database


class Hooks:
    """Over a database with the schema "telemetry"."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, runs: Sequence[Ran]) -> None:
        """Write down what is not known yet. Raises: SQLAlchemyError; nothing is written then."""
        given: dict[str, tuple[VersionKey, list[Stretch]]] = {}
        for run in runs:
            if 0 < run.end - run.begin <= LONGEST:
                given.setdefault(run.instance, (run.version, []))[1].append((run.begin, run.end))
        sums = Sums()
        async with self._database.write() as connection:
            await charge_time(connection, given, sums)
            await add_sums(connection, sums)

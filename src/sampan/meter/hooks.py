"""The time that hooks took, charged as a request's is, but for the count. Source: container-contract.md A3.

The initializer of an instance that a request waited for is in that request's record, too: an instance's time counts
once, whoever tells of it and however often.
"""

from collections.abc import Sequence

from sampan.link.reports import Ran
from sampan.meter import tables
from sampan.meter.rows import add_sums, near, unite
from sampan.meter.stretches import Stretch, common, milliseconds, nanoseconds
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
            busy = {instance: stretches for instance, (_, stretches) in given.items()}
            united = await unite(connection, tables.stretches, busy)
            new = {instance: each.new for instance, each in united.items() if each.new}
            kept_ready = await near(connection, tables.provisioned, new)
            for instance, each in united.items():
                version = given[instance][0]
                for sign, stretches in ((1, each.inserted), (-1, each.removed)):
                    for stretch in stretches:
                        for minute, amount in milliseconds(stretch):
                            sums.add(version, minute, active_ms=sign * amount)
                for stretch in common(each.new, kept_ready.get(instance, [])):
                    for minute, amount in nanoseconds(stretch):
                        sums.add(version, minute, covered_ns=amount)
            await add_sums(connection, sums)

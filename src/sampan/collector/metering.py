"""The meter in this process: who tells it what, what it writes when, and who may ask.

metering = Metering(database, settings.telemetry)
await metering.load()
...                     # `Reports(metering.ledger, …)`; every event of engine.watch to `watched`; control's word
await metering.run()    # to `told` and `ran`; measurements to `measured`; `metering.routes()` into the app
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

from starlette.routing import Route

from sampan import settings
from sampan.collector.meter_api import routes
from sampan.engine.engine import Gone, SandboxEvent, Seen, Stats, Synced
from sampan.link.reports import Ran, Told
from sampan.meter.hooks import Hooks
from sampan.meter.instances import Instances
from sampan.meter.ledger import Beside, Ledger
from sampan.meter.prices import load
from sampan.meter.retention import Retention
from sampan.meter.statements import Statements
from sampan.model.instance import InstanceState
from sampan.model.invocation import VersionFacts
from sampan.model.names import InstanceId, VersionKey
from sampan.store.database import Database
from sampan.telemetry.logs import Log

AGAIN = 1.0  # seconds until what could not be written is tried again

log = Log("meter")


class Metering:
    """All of it."""

    def __init__(self, database: Database, given: settings.Telemetry, beside: Beside | None = None) -> None:
        """beside: as `meter.ledger.Ledger` has it.  Raises: BadPrices."""
        self.ledger = Ledger(database, beside)
        self.statements = Statements(database, load(given.prices))
        self._instances = Instances(self.ledger)
        self._retention = Retention(database, given.usage_keep, given.usage_records)
        self._facts: dict[VersionKey, VersionFacts] = {}  # told, to be written
        self._some = asyncio.Event()
        self._hooks = Hooks(database)
        self._ran: list[tuple[Ran, Callable[[], None]]] = []  # told, to be written
        self._any_ran = asyncio.Event()

    async def load(self) -> None:
        """Go on from what was written down. Before anything else."""
        await self._instances.load()

    def watched(self, event: SandboxEvent) -> None:
        """What the engine tells. A sandbox that is only created is no instance yet."""
        match event:
            case Seen(sandbox) if sandbox.state in (InstanceState.READY, InstanceState.FROZEN):
                frozen = sandbox.state is InstanceState.FROZEN
                version = VersionKey(sandbox.labels.get("version", ""))
                if version:
                    self._instances.instance_seen(sandbox.id, version, frozen)
            case Gone(id_):
                self._instances.instance_gone(id_)
            case Synced():
                self._instances.synced()

    def measured(self, instance: InstanceId, stats: Stats) -> None:
        """What an instance has used up to now."""
        self._instances.observe(instance, stats.cpu_ns, stats.memory_peak)

    def told(self, told: Told) -> None:
        """What functions there are, and how many instances of each version are kept."""
        self._instances.provision(dict(each for function in told.functions for each in function.provisioned))
        self._facts.update(each for function in told.functions for each in function.versions)
        self._some.set()

    def ran(self, run: Ran, kept: Callable[[], None]) -> None:
        """A hook's time. kept: called once it is written."""
        self._ran.append((run, kept))
        self._any_ran.set()

    def routes(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> list[Route]:
        return routes(self.statements, clock)

    async def run(self) -> None:
        """For ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._instances.run())
            group.create_task(self._retention.run())
            group.create_task(self._learn())
            group.create_task(self._book())

    async def close(self) -> None:
        await self._instances.close()

    async def _learn(self) -> None:
        while True:
            await self._some.wait()
            self._some.clear()
            facts, self._facts = self._facts, {}
            try:
                await self.ledger.learn(facts)
            except Exception as error:
                log.failure("what versions are could not be written; trying again", error)
                self._facts = facts | self._facts
                await asyncio.sleep(AGAIN)
                self._some.set()

    async def _book(self) -> None:
        while True:
            await self._any_ran.wait()
            self._any_ran.clear()
            ran, self._ran = self._ran, []
            try:
                await self._hooks.add([run for run, _ in ran])
            except Exception as error:
                log.failure("hooks' time could not be written; trying again", error)
                self._ran = ran + self._ran
                await asyncio.sleep(AGAIN)
                self._any_ran.set()
            else:
                for _, kept in ran:
                    kept()

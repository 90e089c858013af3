"""Instances' lives, written down once a second. The shell of `lifetimes`.

instances = Instances(ledger)
await instances.load()
...                                  # engine.watch: seen, gone, synced; control's word: provision
await instances.run()                # for ever
"""

import asyncio
import time
from collections.abc import Callable, Mapping

from sampan.meter.ledger import Ledger
from sampan.meter.lifetimes import Lifetimes
from sampan.model.names import InstanceId, VersionKey
from sampan.telemetry.logs import Log

EVERY = 1.0  # seconds between two writings: what a crash may take for what it was a second before

log = Log("meter")


class Instances:
    """Who watches the engine says here what happens; nothing waits."""

    def __init__(self, ledger: Ledger, clock: Callable[[], int] = time.time_ns) -> None:
        self._ledger, self._clock = ledger, clock
        self._lifetimes = Lifetimes({})

    async def load(self) -> None:
        """Go on from what was written down. Before anything else."""
        self._lifetimes = Lifetimes(await self._ledger.lives())

    def instance_seen(self, instance: InstanceId, version: VersionKey, frozen: bool) -> None:
        """It is ready, or frozen. From when it is ready: one that only was created takes no time."""
        self._lifetimes.seen(instance, version, frozen, self._clock())

    def instance_gone(self, instance: InstanceId) -> None:
        self._lifetimes.gone(instance, self._clock())

    def synced(self) -> None:
        """The engine has told all there are."""
        self._lifetimes.synced(self._clock())

    def provision(self, targets: Mapping[VersionKey, int]) -> None:
        """Instances of each version that are kept whether or not anybody asks. Replaces what was said before."""
        self._lifetimes.provision(targets, self._clock())

    def observe(self, instance: InstanceId, cpu_ns: int, memory_peak: int) -> None:
        """Measured: CPU time since it began, ns; the most memory it had, bytes."""
        self._lifetimes.observe(instance, cpu_ns, memory_peak, self._clock())

    async def run(self) -> None:
        """Write, for ever."""
        while True:
            await asyncio.sleep(EVERY)
            writing = asyncio.ensure_future(self.write())
            try:
                await asyncio.shield(writing)
            except asyncio.CancelledError:  # whether it is written must be known before anybody writes again
                await asyncio.wait([writing])
                raise
            except Exception as error:  # it is tried again with what comes meanwhile
                log.failure("instances' time could not be written", error)

    async def close(self) -> None:
        await self.write()

    async def write(self) -> None:
        """Raises: SQLAlchemyError; what was to be written waits for the next time."""
        self._lifetimes.tick(self._clock())
        changes = self._lifetimes.take()
        if not changes.any:
            return
        try:
            await self._ledger.book(changes)
        except Exception:
            self._lifetimes.put_back(changes)
            raise

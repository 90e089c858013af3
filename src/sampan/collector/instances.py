"""Which instance has which address, and what each uses: told by the engine, told on to those who want to know."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from sampan.collector.senders import Sender
from sampan.engine.engine import Engine, Gone, SandboxEvent, Seen, Stats
from sampan.model.errors import StartFailed
from sampan.model.instance import InstanceState
from sampan.model.names import InstanceId, VersionKey, split_version_key
from sampan.telemetry.logs import Log

MEASURE = 2.0  # seconds between two measurements of an instance
KNOWN = 10.0  # seconds that the address of an instance that ended is its own: what it sent last may come late
AGAIN = 1.0  # seconds until an engine that did not answer is watched again

log = Log("instances")


class Numbers(Protocol):
    """Where instances are counted: `metrics.registry.Registry`."""

    def instance(self, id_: InstanceId, function: str, version: str, state: InstanceState) -> None: ...
    def gone(self, id_: InstanceId) -> None: ...
    def stats(self, id_: InstanceId, cpu_ns: int, memory: int) -> None: ...


class Instances:
    """All there are now."""

    def __init__(
        self,
        engine: Engine,
        numbers: Numbers,
        watched: Callable[[SandboxEvent], None],
        measured: Callable[[InstanceId, Stats], None],
    ) -> None:
        """watched: hears every event of the engine.  measured: what an instance that is awake has used."""
        self._engine, self._numbers, self._watched, self._measured = engine, numbers, watched, measured
        self._at: dict[str, Sender] = {}
        self._addresses: dict[InstanceId, str] = {}
        self._versions: dict[InstanceId, VersionKey] = {}
        self._awake: set[InstanceId] = set()

    def who(self, address: str) -> Sender | None:
        """Whose an address is."""
        return self._at.get(address)

    def version(self, id_: InstanceId) -> VersionKey | None:
        """Of an instance that is there, or was a moment ago."""
        return self._versions.get(id_)

    async def run(self) -> None:
        """For ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch())
            group.create_task(self._measure())

    async def _watch(self) -> None:
        while True:
            try:
                async for event in self._engine.watch():
                    self._hear(event)
            except StartFailed as error:
                log.warning("the engine cannot be watched; trying again", why=error)
            await asyncio.sleep(AGAIN)

    def _hear(self, event: SandboxEvent) -> None:
        match event:
            case Seen(sandbox) if key := VersionKey(sandbox.labels.get("version", "")):
                function, published, _ = split_version_key(key)
                self._versions[sandbox.id] = key
                self._at[sandbox.host] = Sender(function, published, sandbox.id)
                self._addresses[sandbox.id] = sandbox.host
                self._numbers.instance(sandbox.id, function, published, sandbox.state)
                (self._awake.add if sandbox.state is InstanceState.READY else self._awake.discard)(sandbox.id)
            case Gone(id_):
                self._numbers.gone(id_)
                self._awake.discard(id_)
                address = self._addresses.pop(id_, "")
                asyncio.get_running_loop().call_later(KNOWN, self._forget, address, id_)
        self._watched(event)

    def _forget(self, address: str, id_: InstanceId) -> None:
        self._versions.pop(id_, None)
        if (sender := self._at.get(address)) is not None and sender.instance == id_:
            del self._at[address]

    async def _measure(self) -> None:
        """Those that are frozen use nothing."""
        while True:
            await asyncio.sleep(MEASURE)
            for id_ in list(self._awake):
                try:
                    stats = await self._engine.stats(id_)
                except (StartFailed, ConnectionError):
                    continue  # it ended meanwhile, or the engine is away
                self._numbers.stats(id_, stats.cpu_ns, stats.memory)
                self._measured(id_, stats)

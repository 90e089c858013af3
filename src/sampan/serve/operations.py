"""What the API asks of the rooms beside it: instances' logs, the images, how every part is."""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path

from sampan.engine.engine import Engine, LogChunk, Stream
from sampan.model.image import Image
from sampan.model.names import InstanceId, VersionKey
from sampan.scheduler.loop import Scheduler
from sampan.serve.layout import Layout
from sampan.settings import Settings

PROBE = 1.0  # seconds a part may take to accept a connection


class Operations:
    """`LogSource` and `Status` for the API."""

    def __init__(self, settings: Settings, engine: Engine, scheduler: Scheduler) -> None:
        self._settings = settings
        self._layout = Layout(settings)
        self._engine = engine
        self._scheduler = scheduler

    # LogSource

    def instances(self, function: str) -> Sequence[tuple[InstanceId, VersionKey]]:
        return self._scheduler.histories(function)

    async def read(self, instance: InstanceId, stream: Stream, position: int, limit: int) -> LogChunk:
        return await self._engine.logs(instance, stream, position, limit)

    # Status

    async def images(self) -> list[Image]:
        return await self._engine.images.list()

    async def status(self) -> Mapping[str, object]:
        """Every part, and what is promised of the machine."""
        cluster = self._scheduler.cluster
        memory, cpu = cluster.committed()
        parts = {"sandboxd": await _listens(self._layout.engine_socket)}
        if self._settings.registry.enabled:
            parts["registry"] = await _accepts(self._settings.registry.listen, self._settings.registry.port)
        return {
            "settled": cluster.settled,
            "parts": {name: "ok" if ok else "unreachable" for name, ok in parts.items()},
            "gateways": sorted(cluster.gateways),
            "instances": sum(fleet.live for fleet in cluster.fleets.values()),
            "memoryMb": memory,
            "memoryLimitMb": cluster.limits.memory_mb,
            "cpu": round(cpu, 2),
            "cpuLimit": cluster.limits.cpu,
        }


async def _listens(path: Path) -> bool:
    return await _opens(asyncio.open_unix_connection(str(path)))


async def _accepts(host: str, port: int) -> bool:
    return await _opens(asyncio.open_connection(host, port))


async def _opens(connection: Coroutine[object, None, tuple[asyncio.StreamReader, asyncio.StreamWriter]]) -> bool:
    try:
        async with asyncio.timeout(PROBE):
            _, writer = await connection
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True

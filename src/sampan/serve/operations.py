"""What the API asks of the rooms beside it: the images, how every part is."""

from collections.abc import Mapping

from sampan.engine.engine import Engine
from sampan.model.health import condition
from sampan.model.image import Image
from sampan.scheduler.loop import Scheduler
from sampan.serve.health import Health


class Operations:
    """`Status` for the API."""

    def __init__(self, engine: Engine, scheduler: Scheduler, health: Health) -> None:
        self._engine, self._scheduler, self._health = engine, scheduler, health

    async def images(self) -> list[Image]:
        return await self._engine.images.list()

    async def status(self) -> Mapping[str, object]:
        """Every part, and what is promised of the machine."""
        cluster = self._scheduler.cluster
        memory, cpu = cluster.committed()
        parts = await self._health.now()
        return {
            "condition": condition(parts).value,
            "settled": cluster.settled,
            "parts": {part.name: "ok" if part.ok else part.why for part in parts},
            "gateways": sorted(cluster.gateways),
            "instances": sum(fleet.live for fleet in cluster.fleets.values()),
            "memoryMb": memory,
            "memoryLimitMb": cluster.limits.memory_mb,
            "cpu": round(cpu, 2),
            "cpuLimit": cluster.limits.cpu,
        }

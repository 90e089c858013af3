"""Periodic health checks of running instances. Source: container-contract.md A4."""

import asyncio
from collections.abc import Callable, Coroutine

from sampan.model.names import InstanceId
from sampan.model.version import HealthCheck, Version
from sampan.scheduler.events import Event, Unhealthy
from sampan.scheduler.hooks import Hooks
from sampan.scheduler.state import Cluster, Phase

Spawn = Callable[[Coroutine[object, None, None]], "asyncio.Task[None]"]


class Health:
    """Checks the instances it is told of; of one that fails too often in a row it posts `Unhealthy`."""

    def __init__(self, cluster: Cluster, hooks: Hooks, post: Callable[[Event], None], spawn: Spawn) -> None:
        """spawn: starts a task of the scheduler's group."""
        self._cluster, self._hooks, self._post, self._spawn = cluster, hooks, post, spawn
        self._checking: dict[InstanceId, asyncio.Task[None]] = {}

    def begin(self, id_: InstanceId, version: Version) -> None:
        """From now on, if the function asked for it."""
        if version.health_check is None:
            return
        task = self._spawn(self._watch(id_, version.health_check))
        self._checking[id_] = task
        task.add_done_callback(lambda _: self._checking.pop(id_, None))

    def end(self, id_: InstanceId) -> None:
        if task := self._checking.pop(id_, None):
            task.cancel()

    async def _watch(self, id_: InstanceId, check: HealthCheck) -> None:
        failures = 0
        while (known := self._cluster.instance(id_)) is not None:
            await asyncio.sleep(check.period)
            _, instance = known
            if instance.phase is not Phase.READY:
                continue  # frozen: it could not answer
            why = await self._hooks.check(check, instance.host, instance.port)
            failures = failures + 1 if why and instance.phase is Phase.READY else 0
            if failures >= check.failures:
                self._post(Unhealthy(id_, f"check function health failed with {why}"))
                return

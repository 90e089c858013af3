"""Sessions under random histories of several gateways: nothing is oversold, nobody is forgotten, nobody strays."""

import asyncio
import random
from collections import Counter

import msgspec
import pytest

from sampan.model.errors import SampanError
from sampan.model.names import InstanceId
from tests.gateway.test_sessions import ASKED, Gateway, Town

pytestmark = pytest.mark.looptime


class Bustle:
    """A town in which anything happens, and what must hold of it whatever happens."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.slots = self.random.choice([1, 1, 2, 4])
        asked = msgspec.structs.replace(ASKED, per_instance=self.random.choice([1, 2, 20]), idle=200.0)
        most = self.random.choice([None, None, 3])
        self.town = Town(self.random.choice([1, 2, 3]), self.slots, asked, most)
        self.town.delay = self.random.choice([0.0, 0.001, 0.05])
        self.within: dict[InstanceId, int] = {}
        self.at: dict[str, list[InstanceId]] = {}
        self.dead: set[InstanceId] = set()
        self.ended = Counter[str]()

    async def request(self, gateway: Gateway, id_: str, seconds: float) -> None:
        try:
            with await gateway.slot(id_) as instance:
                here = instance.grant.instance
                self.within[here] = self.within.get(here, 0) + 1
                self.at.setdefault(id_, []).append(here)
                try:
                    self.look(id_)
                    await asyncio.sleep(seconds)
                    self.look(id_)
                finally:
                    self.within[here] -= 1
                    self.at[id_].remove(here)
                self.ended["served"] += 1
        except SampanError as error:
            self.ended[type(error).__name__] += 1

    def look(self, id_: str) -> None:
        there = {instance for instance in self.at[id_] if instance not in self.dead}
        assert len(there) <= 1, f"{id_} is in {there}"
        assert all(count <= self.slots for count in self.within.values()), "slots were oversold"

    def kill(self) -> None:
        instances = sorted(id_ for fleet in self.town.cluster.fleets.values() for id_ in fleet.instances)
        if instances:
            victim = self.random.choice(instances)
            self.dead.add(victim)
            self.town.kill(victim)

    async def run(self) -> None:
        tasks: list[asyncio.Task[None]] = []
        loop = asyncio.get_running_loop()
        for _ in range(150):
            gateway, id_ = self.random.choice(self.town.gateways), f"s{self.random.randrange(6)}"
            request = self.request(gateway, id_, self.random.choice([0.0, 0.01, 0.2, 1.5]))
            tasks.append(loop.create_task(request))
            if self.random.random() < 0.05:
                self.kill()
            if self.random.random() < 0.05:
                self.random.choice(tasks).cancel()
            await asyncio.sleep(self.random.choice([0.0, 0.0, 0.01, 0.3, 2.0]))
        results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 600)
        assert {type(result) for result in results} <= {type(None), asyncio.CancelledError}, results
        for gateway in self.town.gateways:
            assert not gateway.sessions._openings
            assert not gateway.sessions._reserved
            assert not gateway.sessions._busy
            assert not any(instance.busy for instance in gateway.leases._instances.values())
            for pool in gateway.leases._pools.values():
                assert not pool.waiters
                assert pool.picky is None or (not pool.picky.fits and not pool.picky.bound)


@pytest.mark.parametrize("seed", range(40))
async def test_sessions_never_stray(seed: int) -> None:
    bustle = Bustle(seed)
    await bustle.run()
    assert bustle.ended["served"] > 60, bustle.ended

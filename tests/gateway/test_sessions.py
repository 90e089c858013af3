"""Sessions keep to their instances: gateways and the scheduler's core, in virtual time."""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Callable

import msgspec
import pytest

from sampan.gateway.bindings import Bindings
from sampan.gateway.instance import Slot
from sampan.gateway.leases import Leases
from sampan.gateway.sessions import Sessions
from sampan.link import messages as m
from sampan.model.affinity import Affinity, AffinityKind
from sampan.model.errors import Failure, FailureKind, NoCapacity, Throttled
from sampan.model.names import InstanceId, VersionKey
from sampan.scheduler import decisions as d
from sampan.scheduler import events as e
from sampan.scheduler.core import step
from sampan.scheduler.state import Cluster, Limits
from tests.gateway.stage import orphan
from tests.scheduler.story import version

pytestmark = pytest.mark.looptime
ASKED = Affinity(AffinityKind.HEADER, ttl=600.0, idle=60.0, per_instance=20, header="my-session")
START = 0.05  # seconds


class Gateway:
    """One gateway's leases and sessions."""

    def __init__(self, town: "Town", name: str) -> None:
        self.town, self.name = town, name
        self.said: list[m.Up] = []
        self.leases = Leases(self._send, lambda: town.up, 1000, 8192)
        self.leases.learn({town.served.key: town.served.freeze_delay})
        self.sessions = Sessions(self.leases, self._send, lambda: town.up, 1000)

    def _send(self, message: m.Up) -> None:
        self.said.append(message)
        if self.town.up:
            asyncio.get_running_loop().call_later(self.town.delay, self.town.hear, self.name, message)

    async def slot(self, id_: str) -> Slot:
        return await self.sessions.slot(orphan(), self.town.served, id_)

    async def request(self, id_: str, seconds: float = 0.0) -> InstanceId:
        """Where a request of the caller's session ran."""
        with await self.slot(id_) as instance:
            await asyncio.sleep(seconds)
            return instance.grant.instance

    def begin(self, id_: str, seconds: float = 0.0) -> "asyncio.Task[InstanceId]":
        return asyncio.get_running_loop().create_task(self.request(id_, seconds))


class Town:
    """A control that decides as it does, an engine that obeys, and gateways."""

    def __init__(self, gateways: int = 1, slots: int = 1, asked: Affinity = ASKED, most: int | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        self.up, self.delay = True, 0.001
        runnable = version("web", concurrency=slots, affinity=asked, keepalive=300.0)
        self.served = m.ServedVersion(
            runnable.key, "web", "LATEST", slots, 3.0, 512, "", freeze_delay=1.0, queue_wait=10.0, affinity=asked
        )
        names = (InstanceId(f"i{n}") for n in itertools.count(1))
        self.cluster = Cluster(Limits(gateways=gateways, spares=0), names=names)
        self.post(e.Planned("web", (e.Target(runnable),), most))
        self.post(e.Settled())
        self.gateways = [Gateway(self, f"g{n}") for n in range(gateways)]
        for gateway in self.gateways:
            self.post(e.Joined(gateway.name, {}))
        self._tick()

    def join(self) -> Gateway:
        self.gateways.append(Gateway(self, f"g{len(self.gateways)}"))
        self.post(e.Joined(self.gateways[-1].name, {}))
        return self.gateways[-1]

    def _tick(self) -> None:
        self.post(e.Tick())
        self.loop.call_later(0.1, self._tick)

    def kill(self, instance: InstanceId) -> None:
        self.post(e.Ended(instance, Failure(FailureKind.EXITED, "exit 1")))

    def hear(self, gateway: str, message: m.Up) -> None:
        match message:
            case m.Want(key, waiting, _, seen, bound):
                self.post(e.Wanted(gateway, key, waiting, self.loop.time(), seen, bound))
            case m.GiveBack(instance):
                self.post(e.GivenBack(gateway, instance))
            case m.Lost(instance, why, replace):
                self.post(e.Lost(gateway, instance, why, replace))
            case m.Sessions(sessions):
                clock = time.time_ns()
                lasting = tuple((one, self.loop.time() + (one.until - clock) / 1e9) for one in sessions)
                self.post(e.Bound(gateway, lasting))

    def post(self, event: e.Event) -> None:
        for decision in step(self.cluster, event, self.loop.time()):
            self._obey(decision)

    def _obey(self, decision: d.Decision) -> None:
        later = lambda event, after=START: self.loop.call_later(after, self.post, event)  # noqa: E731
        match decision:
            case d.Start(instance):
                later(e.Started(instance, "127.0.0.1", 1))
            case d.Freeze(instance):
                later(e.Frozen(instance))
            case d.Thaw(instance):
                later(e.Thawed(instance))
            case d.Stop(instance):
                later(e.Ended(instance))
            case d.Grant(gateway, instance, key, slots):
                grant = m.Grant(instance, key, "127.0.0.1", 1, slots)
                self._tell(gateway, lambda it: it.leases.grant(grant))
            case d.Revoke(gateway, instance, for_good):
                self._tell(gateway, lambda it: it.leases.revoke(m.Revoke(instance, for_good)))
            case d.Forget(gateway, instance, failure):
                self._tell(gateway, lambda it: it.leases.gone(m.Gone(instance, failure)))
            case d.Tell(gateway, sessions):
                self._tell(gateway, lambda it: it.sessions.hear(m.Sessions(sessions)))
            case d.Refuse(gateway, key, failure):
                self._tell(gateway, lambda it: it.leases.refuse(m.Refuse(key, failure)))

    def _tell(self, gateway: str, what: Callable[[Gateway], None]) -> None:
        there = next(one for one in self.gateways if one.name == gateway)
        self.loop.call_later(self.delay, what, there)


async def test_a_session_keeps_to_its_instance_while_others_come_and_go() -> None:
    town = Town()
    (g,) = town.gateways
    first = await asyncio.gather(*(g.begin(f"s{n}", 0.5) for n in range(5)))
    assert len(set(first)) == 5, "five at once need five instances"
    for _ in range(3):
        again = await asyncio.gather(*(g.begin(f"s{n}", 0.1) for n in reversed(range(5))))
        assert again[::-1] == first


async def test_requests_of_a_new_session_that_come_at_once_go_to_one_instance() -> None:
    town = Town()
    (g,) = town.gateways
    assert len(set(await asyncio.gather(*(g.begin("s", 0.1) for _ in range(6))))) == 1
    assert len(town.cluster.fleets[town.served.key].instances) == 1


async def test_a_full_instance_is_waited_for_in_turn() -> None:
    town = Town(slots=2)
    (g,) = town.gateways
    home = await g.request("s")
    order: list[int] = []

    async def one(n: int) -> None:
        with await g.slot("s") as instance:
            assert instance.grant.instance == home
            order.append(n)
            await asyncio.sleep(1)

    await asyncio.gather(*(one(n) for n in range(8)))
    assert order == list(range(8))


async def test_waiting_for_a_full_instance_has_an_end() -> None:
    town = Town()
    (g,) = town.gateways
    holder = g.begin("s", 30.0)
    await asyncio.sleep(1)
    with pytest.raises(NoCapacity, match="10 seconds"):
        await g.request("s")
    assert await g.request("other") != await holder, "others do not wait for it"


async def test_older_waiters_go_first_whether_their_session_is_bound_or_not() -> None:
    town = Town(most=1)
    (g,) = town.gateways
    holder = g.begin("s", 2.0)
    await asyncio.sleep(1)
    order: list[str] = []

    async def one(id_: str) -> None:
        with await g.slot(id_):
            order.append(id_)

    waiting = []
    for id_ in ("s", "new", "s", "newer"):
        waiting.append(asyncio.ensure_future(one(id_)))
        await asyncio.sleep(0.01)
    await asyncio.gather(holder, *waiting)
    assert order == ["s", "new", "s", "newer"]


async def test_an_instance_takes_as_many_sessions_as_it_may() -> None:
    town = Town(slots=10, asked=msgspec.structs.replace(ASKED, per_instance=3))
    (g,) = town.gateways
    homes = await asyncio.gather(*(g.begin(f"s{n}") for n in range(7)))
    homes += [await g.request(f"t{n}") for n in range(5)]
    assert sorted(Counter(homes).values()) == [3, 3, 3, 3]


async def test_a_session_that_is_over_makes_room() -> None:
    asked = msgspec.structs.replace(ASKED, per_instance=1, idle=5.0)
    town = Town(slots=10, asked=asked, most=1)
    (g,) = town.gateways
    home = await g.request("s")
    assert await g.request("next") == home
    assert asyncio.get_running_loop().time() == pytest.approx(5.0, abs=1.0)


async def test_a_session_whose_instance_died_is_bound_anew_and_stays_there() -> None:
    town = Town()
    (g,) = town.gateways
    home = await g.request("s")
    town.kill(home)
    await asyncio.sleep(0.1)
    new = await g.request("s")
    assert new != home
    assert await g.request("s") == new


async def test_who_waits_for_an_instance_that_dies_is_served_elsewhere() -> None:
    town = Town()
    (g,) = town.gateways
    holder = g.begin("s", 5.0)
    await asyncio.sleep(1)
    waiting = [g.begin("s") for _ in range(3)]
    await asyncio.sleep(1)
    (home,) = town.cluster.fleets[town.served.key].instances
    town.kill(home)
    (new,) = set(await asyncio.gather(*waiting))
    assert new != home
    await holder


async def test_nobody_waits_to_come_back_to_an_instance_that_is_to_end() -> None:
    town = Town()
    (g,) = town.gateways
    draining = g.begin("s", 8.0)
    await asyncio.sleep(1)
    waiting = g.begin("s")
    await asyncio.sleep(1)
    (home,) = town.cluster.fleets[town.served.key].instances
    town.post(e.Unhealthy(home, "status code: 500"))
    assert await waiting != home
    assert await g.request("s") == await waiting
    assert not draining.done()
    assert await draining == home


async def test_a_lost_instance_is_left_at_once_even_while_control_is_away() -> None:
    town = Town(slots=2)
    (g,) = town.gateways
    await asyncio.gather(g.begin("a", 0.1), g.begin("b", 0.1), g.begin("c", 0.1))
    home = await g.request("a")
    town.up = False
    with await g.slot("a") as instance:
        g.leases.lose(instance, "it broke")
    assert await g.request("a") != home


async def test_an_instance_with_a_live_session_outlives_its_keepalive_frozen() -> None:
    town = Town(asked=msgspec.structs.replace(ASKED, idle=500.0))
    (g,) = town.gateways
    home = await g.request("s")
    await asyncio.sleep(450)
    assert await g.request("s") == home
    await asyncio.sleep(900)
    assert not town.cluster.fleets[town.served.key].instances


async def test_idle_sessions_are_over() -> None:
    town = Town(asked=msgspec.structs.replace(ASKED, idle=5.0))
    (g,) = town.gateways
    busy = g.begin("other", 100.0)
    await asyncio.sleep(0.5)
    home = await g.request("s")
    for _ in range(5):
        await asyncio.sleep(4)
        assert await g.request("s") == home
    assert g.sessions._bindings.live((town.served.key, "s"), town.loop.time())
    await asyncio.sleep(6)
    assert g.sessions._bindings.live((town.served.key, "s"), town.loop.time()) is None
    assert g.sessions._bindings.live((town.served.key, "other"), town.loop.time()), "it has a request under way"
    await busy


async def test_a_session_ends_with_its_time_however_much_it_is_used() -> None:
    town = Town(asked=msgspec.structs.replace(ASKED, ttl=30.0, idle=30.0))
    (g,) = town.gateways
    await g.request("s")
    key = (town.served.key, "s")
    first = g.sessions._bindings.live(key, town.loop.time())
    for _ in range(9):
        await asyncio.sleep(3)
        await g.request("s")
    assert g.sessions._bindings.live(key, town.loop.time()) is first
    await asyncio.sleep(4)
    await g.request("s")
    assert g.sessions._bindings.live(key, town.loop.time()) is not first


async def test_a_cancelled_first_request_leaves_the_session_to_the_next() -> None:
    town = Town(asked=msgspec.structs.replace(ASKED, per_instance=1))
    (g,) = town.gateways
    first, second = g.begin("s"), g.begin("s")
    await asyncio.sleep(0.01)
    first.cancel()
    home = await second
    assert await g.request("s") == home
    assert not g.sessions._openings
    assert not g.sessions._reserved


async def test_too_many_requests_of_one_new_session_are_refused() -> None:
    town = Town()
    (g,) = town.gateways
    g.sessions._queue_length = 2
    tasks = [g.begin("s") for _ in range(4)]
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [str, str, str, Throttled]


# ── several gateways ──


async def test_gateways_agree_where_a_session_is() -> None:
    town = Town(gateways=2, slots=4)
    g, h = town.gateways
    homes = {f"s{n}": await g.request(f"s{n}") for n in range(3)}
    await asyncio.gather(*(g.begin("busy", 3.0) for _ in range(4)))
    for id_, home in homes.items():
        assert await h.request(id_) == home
        assert await g.request(id_) == home


async def test_two_gateways_that_bind_a_session_at_once_end_up_with_one_instance() -> None:
    town = Town(gateways=2)
    g, h = town.gateways
    homes = await asyncio.gather(g.begin("s", 0.1), h.begin("s", 0.1), g.begin("s", 0.1), h.begin("s", 0.1))
    assert len(set(homes)) == 1
    assert await h.request("s") == await g.request("s") == homes[0]


async def test_an_instance_with_one_slot_goes_from_gateway_to_gateway() -> None:
    town = Town(gateways=2)
    g, h = town.gateways
    home = await g.request("s")
    both = [one.begin("s", 0.05) for one in (g, h) * 10]
    assert set(await asyncio.gather(*both)) == {home}


async def test_a_gateway_that_is_busy_with_a_session_lets_the_other_have_its_turn() -> None:
    town = Town(gateways=2)
    g, h = town.gateways
    home = await g.request("s")
    over = asyncio.Event()

    async def again_and_again() -> None:
        while not over.is_set():
            await g.request("s", 0.05)

    busy = [asyncio.ensure_future(again_and_again()) for _ in range(3)]
    await asyncio.sleep(1)
    begun = town.loop.time()
    assert [await h.request("s") for _ in range(3)] == [home] * 3
    assert town.loop.time() - begun < 3
    over.set()
    await asyncio.gather(*busy)


async def test_a_gateway_that_joins_hears_of_all_sessions() -> None:
    town = Town(slots=4)
    (g,) = town.gateways
    homes = {id_: await g.request(id_) for id_ in ("a", "b")}
    late = town.join()
    assert {id_: await late.request(id_) for id_ in homes} == homes


async def test_use_at_one_gateway_keeps_a_session_alive_at_the_other() -> None:
    town = Town(gateways=2, slots=4, asked=msgspec.structs.replace(ASKED, idle=10.0))
    g, h = town.gateways
    home = await g.request("s")
    key = (town.served.key, "s")
    for _ in range(10):
        await asyncio.sleep(3)
        await g.request("s")
    assert h.sessions._bindings.live(key, town.loop.time())
    long = g.begin("s", 60.0)
    await asyncio.sleep(50)
    assert h.sessions._bindings.live(key, town.loop.time()), "a request of it is under way at the other"
    assert await h.request("s") == home
    await long
    used = [message for message in g.said if isinstance(message, m.Sessions)]
    assert len(used) < 60


async def test_a_control_that_forgot_is_told_again() -> None:
    town = Town(slots=4)
    (g,) = town.gateways
    home = await g.request("s")
    town.cluster.sessions = Cluster().sessions
    g.sessions.reconnected()
    await asyncio.sleep(0.1)
    assert await town.join().request("s") == home


async def test_bindings_are_bounded_and_the_longest_unused_are_forgotten() -> None:
    bindings = Bindings(most=100)
    key = VersionKey("web@LATEST#1")
    for n in range(500):
        binding = bindings.bind((key, f"s{n}"), InstanceId(f"i{n % 7}"), now=0.0)
        binding.until = 50.0
        if "s0" in {id_ for _, id_ in bindings._all}:
            bindings.use(bindings._all[key, "s0"])
        assert len(bindings) <= 100
    assert bindings.live((key, "s0"), 1.0)
    assert bindings.live((key, "s499"), 1.0)
    assert bindings.live((key, "s300"), 1.0) is None
    assert sum(bindings.count(InstanceId(f"i{n}"), 1.0) for n in range(7)) == 100
    assert sum(bindings.count(InstanceId(f"i{n}"), 60.0) for n in range(7)) == 0

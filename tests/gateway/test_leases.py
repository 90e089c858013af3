"""Leases in virtual time: slots are never oversold, waiters are served in turn, every waiter ends."""

import asyncio
import socket

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from sampan.gateway.instance import Slot
from sampan.gateway.leases import REMEMBERED, Leases
from sampan.link.messages import GiveBack, Gone, Grant, Look, Lost, Refuse, Revoke, Seen, ServedVersion, Up, Want
from sampan.model.errors import Failure, FailureKind, NoCapacity, SampanError, Throttled
from sampan.model.names import InstanceId, version_key

KEY = version_key("web", "LATEST", 1)
VERSION = ServedVersion(KEY, "web", "LATEST", 1, 3.0, 512, "", 1.0, 10.0)
pytestmark = pytest.mark.looptime


class Desk:
    """Leases, and what they said."""

    def __init__(self, queue_length: int = 1000, flush_window: float = 0.0) -> None:
        self.said: list[Up] = []
        self.up = True
        self.leases = Leases(self.said.append, lambda: self.up, queue_length, 8192, flush_window=flush_window)
        self.leases.learn({KEY: VERSION.freeze_delay})

    def grant(self, name: str, slots: int = 1) -> None:
        self.leases.grant(Grant(InstanceId(name), KEY, "127.0.0.1", 1, slots))

    def wait(self) -> "asyncio.Task[Slot]":
        loop = asyncio.get_running_loop()
        return loop.create_task(self.leases.wait(VERSION, loop.time() + VERSION.queue_wait))

    def wants(self) -> list[int]:
        return [message.waiting for message in self.said if isinstance(message, Want)]

    def given_back(self) -> list[str]:
        return [message.instance for message in self.said if isinstance(message, GiveBack)]


async def test_the_instance_used_last_is_used_next() -> None:
    desk = Desk()
    desk.grant("a")
    desk.grant("b")
    first, second = desk.leases.take(VERSION.key), desk.leases.take(VERSION.key)
    assert first is not None
    assert second is not None
    assert desk.leases.take(VERSION.key) is None
    for slot in (first, second):
        with slot:
            pass
    again = desk.leases.take(VERSION.key)
    assert again is not None
    assert again.instance is second.instance


async def test_waiters_are_served_in_turn_and_wants_are_said_once_a_turn() -> None:
    desk = Desk()
    waiting = [desk.wait() for _ in range(3)]
    await asyncio.sleep(0.1)
    assert desk.wants() == [3]
    desk.grant("a")
    await asyncio.sleep(0.1)
    assert [task.done() for task in waiting] == [True, False, False]
    assert desk.wants() == [3, 2]
    for n in (0, 1, 2):
        with await waiting[n]:
            pass
        await asyncio.sleep(0.1)
    assert desk.wants() == [3, 2, 1, 0]


async def test_a_wait_has_an_end() -> None:
    desk = Desk()
    with pytest.raises(NoCapacity, match="10 seconds"):
        await desk.wait()
    assert asyncio.get_running_loop().time() == pytest.approx(10.0, abs=0.1)
    await asyncio.sleep(0.1)
    assert desk.wants() == [1, 0]


async def test_a_version_without_a_route_is_forgotten_once_nobody_can_come_for_it() -> None:
    desk = Desk()
    desk.grant("a")
    slot = desk.leases.take(VERSION.key)
    assert slot is not None
    desk.leases.learn({})
    await asyncio.sleep(REMEMBERED)
    with slot:
        desk.leases.learn({})
        assert KEY in desk.leases._pools, "an instance of it is in use"
    await asyncio.sleep(2 * VERSION.freeze_delay)  # it is given back
    late = desk.wait()
    await asyncio.sleep(0.1)
    desk.leases.learn({})
    assert desk.wants() == [1], "control has to hear of this one with the grants seen so far"
    late.cancel()
    await asyncio.sleep(0.1)
    desk.leases.learn({})
    assert KEY not in desk.leases._pools


async def test_a_queue_has_an_end() -> None:
    desk = Desk(queue_length=2)
    tasks = [desk.wait() for _ in range(3)]
    await asyncio.sleep(0.1)
    assert isinstance(tasks[2].exception(), Throttled)
    desk.leases.refuse(Refuse(KEY, throttled="enough"))
    results = await asyncio.gather(*tasks[:2], return_exceptions=True)
    assert all(isinstance(result, Throttled) for result in results)


async def test_an_idle_lease_is_given_back_after_the_freeze_delay() -> None:
    desk = Desk()
    desk.grant("a")
    await asyncio.sleep(0.9)
    slot = desk.leases.take(VERSION.key)
    assert slot is not None
    with slot:
        await asyncio.sleep(5)
    assert not desk.given_back()
    await asyncio.sleep(0.9)
    assert not desk.given_back()
    await asyncio.sleep(0.3)
    assert desk.given_back() == ["a"]
    assert desk.leases.take(VERSION.key) is None


@pytest.mark.parametrize(("reports", "after"), [(False, 1.0), (True, 3.0)])
async def test_an_instance_that_may_have_spans_to_report_stays_awake_for_that(reports: bool, after: float) -> None:
    desk = Desk(flush_window=3.0)
    desk.grant("a")
    slot = desk.leases.take(VERSION.key)
    assert slot is not None
    with slot as instance:
        instance.reports = reports
    await asyncio.sleep(after - 0.1)
    assert not desk.given_back()
    await asyncio.sleep(0.2)
    assert desk.given_back() == ["a"]


async def test_no_lease_is_given_back_while_nobody_could_grant_it_again() -> None:
    desk = Desk()
    desk.grant("a")
    desk.up = False
    await asyncio.sleep(30)
    assert not desk.given_back()
    desk.up = True
    await asyncio.sleep(2)
    assert desk.given_back() == ["a"]


async def test_a_slot_given_to_a_waiter_that_was_cancelled_in_that_turn_is_not_lost() -> None:
    desk = Desk()
    task = desk.wait()
    await asyncio.sleep(0.1)
    desk.grant("a")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert desk.leases.take(VERSION.key) is not None


async def test_a_lost_instance_is_told_once_even_if_control_was_away() -> None:
    desk = Desk()
    desk.grant("a", slots=2)
    desk.up = False
    slot = desk.leases.take(VERSION.key)
    assert slot is not None
    with slot as instance:
        desk.leases.lose(instance, "timed out", replace=True)
        desk.leases.lose(instance, "again")
    assert desk.leases.held() == ()
    assert not desk.said
    desk.up = True
    desk.leases.reconnected()
    assert desk.said == [Lost(InstanceId("a"), "timed out", True)]


async def test_a_regranted_instance_keeps_count_of_what_is_still_in_it() -> None:
    desk = Desk()
    desk.grant("a", slots=2)
    slot = desk.leases.take(VERSION.key)
    assert slot is not None
    with slot as instance:
        desk.leases.lose(instance, "broke a connection")
        desk.grant("a", slots=2)
        assert desk.leases.take(VERSION.key) is not None
        assert desk.leases.take(VERSION.key) is None
    assert desk.leases.take(VERSION.key) is not None


class Promises(RuleBasedStateMachine):
    """Any order of grants, waits, ends and losses."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.desk = self.run(self._desk())
        self.slots: dict[str, int] = {}
        self.held: list[Slot] = []
        self.waiting: list[asyncio.Task[Slot]] = []
        self.gone: set[str] = set()

    async def _desk(self) -> Desk:
        desk = Desk()
        desk.leases.learn({KEY: 3600.0})
        return desk

    def run(self, work):  # type: ignore[no-untyped-def]
        return self.runner.run(work)

    async def _turn(self) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
        served = [task for task in self.waiting if task.done() and not task.cancelled() and not task.exception()]
        assert served == self.waiting[: len(served)], "somebody was served out of turn"
        self.held += [task.result() for task in served]
        self.waiting = [task for task in self.waiting if not task.done()]

    @rule(name=st.sampled_from("abc"), slots=st.integers(1, 3))
    def grant(self, name: str, slots: int) -> None:
        async def act() -> None:
            self.desk.grant(name, slots)
            self.slots[name] = slots
            await self._turn()

        self.run(act())

    @rule()
    def take_or_wait(self) -> None:
        async def act() -> None:
            slot = self.desk.leases.take(VERSION.key)
            if slot is not None:
                assert not self.waiting, "somebody jumped the queue"
                self.held.append(slot)
            else:
                self.waiting.append(self.desk.wait())
            await self._turn()

        self.run(act())

    @rule(at=st.integers(0, 20))
    def end(self, at: int) -> None:
        async def act() -> None:
            if self.held:
                self.desk.leases.release(self.held.pop(at % len(self.held)).instance)
            await self._turn()

        self.run(act())

    @rule(at=st.integers(0, 20))
    def cancel(self, at: int) -> None:
        async def act() -> None:
            if self.waiting:
                task = self.waiting.pop(at % len(self.waiting))
                task.cancel()
                await asyncio.wait([task])
            await self._turn()

        self.run(act())

    @rule(name=st.sampled_from("abc"), how=st.sampled_from(["revoke", "gone", "lose"]))
    def leave(self, name: str, how: str) -> None:
        async def act() -> None:
            leases, id_ = self.desk.leases, InstanceId(name)
            match how:
                case "revoke":
                    leases.revoke(Revoke(id_))
                case "gone":
                    leases.gone(Gone(id_))
                case _:
                    for slot in self.held:
                        if slot.instance.grant.instance == id_:
                            leases.lose(slot.instance, "test")
            await self._turn()

        self.run(act())

    @rule()
    def refuse(self) -> None:
        async def act() -> None:
            self.desk.leases.refuse(Refuse(KEY, no_capacity="memory"))
            await asyncio.sleep(0)
            results = await asyncio.gather(*self.waiting, return_exceptions=True)
            assert all(isinstance(result, SampanError) for result in results)
            self.waiting = []
            await self._turn()

        self.run(act())

    @invariant()
    def a_free_slot_and_a_waiter_never_meet(self) -> None:
        pool = self.desk.leases._pools.get(KEY)
        assert pool is None or not (pool.free and pool.waiters)
        assert pool is None or len(pool.waiters) == len(self.waiting)

    @invariant()
    def nothing_is_oversold(self) -> None:
        busy: dict[int, int] = {}
        for slot in self.held:
            busy[id(slot.instance)] = busy.get(id(slot.instance), 0) + 1
            assert slot.instance.busy == sum(held.instance is slot.instance for held in self.held)
        pool = self.desk.leases._pools.get(KEY)
        for instance in pool.free.values() if pool else ():
            assert instance.busy < instance.slots
            assert not instance.leaving

    @invariant()
    def control_knows_how_many_wait(self) -> None:
        wants = self.desk.wants()
        assert (wants[-1] if wants else 0) == len(self.waiting)

    def teardown(self) -> None:
        async def act() -> None:
            for task in self.waiting:
                task.cancel()
            await asyncio.gather(*self.waiting, return_exceptions=True)
            self.desk.leases.close()

        self.run(act())
        self.runner.close()


TestPromises = Promises.TestCase
TestPromises.settings = hypothesis_settings(max_examples=60, stateful_step_count=40, deadline=None)
TestPromises.pytestmark = []


class Port:
    """A port of an instance that opens when it is told to, for real."""

    def __init__(self) -> None:
        self.taken = 0
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.number: int = probe.getsockname()[1]

    async def opens(self) -> asyncio.AbstractServer:
        return await asyncio.start_server(self._take, "127.0.0.1", self.number)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.taken += 1
        await reader.read()
        writer.close()

    def grant(self, name: str = "a", slots: int = 1) -> Grant:
        return Grant(InstanceId(name), KEY, "127.0.0.1", self.number, slots, cold=True, opening=True)


@pytest.mark.looptime(False)
async def test_an_instance_granted_while_it_starts_serves_once_its_port_accepts() -> None:
    desk, port = Desk(), Port()
    waiting = desk.wait()
    await asyncio.sleep(0)
    desk.leases.grant(port.grant())
    assert desk.leases.take(VERSION.key) is None
    await asyncio.sleep(0.02)
    assert not waiting.done()
    async with await port.opens():
        slot = await waiting
        assert slot.cold
        connection = slot.instance.upstream.take(False, asyncio.get_running_loop().time())
        assert connection is not None, "the connection that proved it carries the first request"
        assert not connection.stale
        connection.abort()
        await asyncio.sleep(0)
        assert [(m.waiting, m.seen) for m in desk.said if isinstance(m, Want)] == [(1, 0), (0, 1)]
        desk.leases.close()
        await asyncio.sleep(0.01)
    assert port.taken == 1


@pytest.mark.looptime(False)
async def test_an_instance_that_never_opens_counts_as_seen_when_it_is_gone_and_who_waits_asks_again() -> None:
    desk = Desk()
    waiting = desk.wait()
    await asyncio.sleep(0)
    desk.leases.grant(Port().grant())
    await asyncio.sleep(0.005)
    desk.leases.gone(Gone(InstanceId("a"), Failure(FailureKind.EXITED, "exit 1")))
    await asyncio.sleep(0)
    assert [(m.waiting, m.seen) for m in desk.said if isinstance(m, Want)] == [(1, 0), (1, 1)]
    desk.leases.refuse(Refuse(KEY, failure=Failure(FailureKind.EXITED, "exit 1")))
    with pytest.raises(SampanError, match="exit 1"):
        await waiting
    assert desk.given_back() == []
    assert len(asyncio.all_tasks()) == 1, "nobody looks at its port any more"


@pytest.mark.looptime(False)
async def test_whether_an_instance_has_opened_is_told_also_when_it_was_lost_since() -> None:
    desk, port = Desk(), Port()
    desk.leases.grant(port.grant())
    desk.leases.saw(Look(InstanceId("a")))
    async with await port.opens():
        with await desk.wait():
            desk.leases.saw(Look(InstanceId("a")))
            desk.leases.lose(desk.leases._instances[InstanceId("a")], "its connection broke")
        desk.leases.saw(Look(InstanceId("a")))
        assert [message.open for message in desk.said if isinstance(message, Seen)] == [False, True, True]
        desk.leases.close()
        await asyncio.sleep(0.01)


@pytest.mark.looptime(False)
async def test_a_revoked_instance_is_given_back_before_it_has_opened() -> None:
    desk = Desk()
    desk.leases.grant(Port().grant())
    desk.leases.revoke(Revoke(InstanceId("a")))
    await asyncio.sleep(0)
    assert desk.given_back() == ["a"]
    assert desk.leases.held() == ()


@pytest.mark.looptime(False)
async def test_slots_granted_on_a_lost_connection_are_not_counted_on_the_next() -> None:
    desk, port = Desk(), Port()
    waiting = desk.wait()
    await asyncio.sleep(0)
    desk.leases.grant(port.grant())
    desk.leases.reconnected()
    async with await port.opens():
        with await waiting:
            await asyncio.sleep(0)
        assert [(m.waiting, m.seen) for m in desk.said if isinstance(m, Want)][-1] == (0, 0)
        desk.leases.close()
        await asyncio.sleep(0.01)

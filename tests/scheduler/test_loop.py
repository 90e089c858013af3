"""The shell around the core, against an engine in memory and in virtual time."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager

import aiohttp
import msgspec
import pytest

from sampan.engine.fake import FakeEngine
from sampan.link.messages import Down, Gone, Grant, Opened, Refuse
from sampan.model.errors import Failure, FailureKind, StartFailed
from sampan.model.instance import FAILED, InstanceState
from sampan.model.names import InstanceId, VersionKey
from sampan.scheduler.events import Ended, GivenBack, Joined, Planned, Target, Wanted
from sampan.scheduler.hooks import Hooks
from sampan.scheduler.loop import Scheduler
from sampan.scheduler.state import Cluster, Limits
from tests.scheduler.story import version

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime]

WEB = version("web", keepalive=60.0)
EXITED = Failure(FailureKind.EXITED, "exited with code 3", log_tail="no such table", exit_code=3)


class World:
    """A scheduler, its engine, and one gateway that notes what it is told."""

    def __init__(self, scheduler: Scheduler, engine: FakeEngine, told: list[Down]) -> None:
        self.scheduler, self.engine, self.told = scheduler, engine, told
        self.failures: list[Failure] = []
        self.opened = False  # what gateways say they saw of a start that failed
        self.looked: list[str] = []

    async def was_open(self, instance: InstanceId, gateways: Collection[str]) -> bool:
        self.looked += gateways
        await asyncio.sleep(0.01)
        return self.opened

    def note_failure(self, function: str, key: VersionKey, failure: Failure) -> None:
        self.failures.append(failure)

    def want(self, waiting: int) -> None:
        seen = sum(isinstance(message, Grant) for message in self.told)
        self.scheduler.post(Wanted("g", WEB.key, waiting, asyncio.get_running_loop().time(), seen))

    async def until(self, done: Callable[[], object]) -> None:
        async with asyncio.timeout(600):
            while not done():  # noqa: ASYNC110 - whatever it is, in virtual time
                await asyncio.sleep(0.1)

    async def next_told(self, count: int, after: int) -> list[Down]:
        await self.until(lambda: len(self.told) >= after + count)
        return self.told[after : after + count]

    def states(self) -> list[InstanceState]:
        return sorted((view.state for view in self.scheduler.views("web")), key=str)


@asynccontextmanager
async def world(engine: FakeEngine | None = None, **limits: int) -> AsyncIterator[World]:
    engine = engine or FakeEngine()
    told: list[Down] = []
    async with aiohttp.ClientSession() as session:
        box: list[World] = []

        class Failures:
            def note_failure(self, function: str, key: VersionKey, failure: Failure) -> None:
                box[0].note_failure(function, key, failure)

        scheduler = Scheduler(
            engine,
            Hooks(engine, session, "1", "local"),
            Failures(),
            lambda gateway, message: told.append(message),
            Cluster(Limits(**{"spares": 0, **limits})),
            account="1",
            region="local",
            start_timeout=120.0,
            grace=10.0,
            clock=asyncio.get_running_loop().time,
            was_open=lambda instance, gateways: box[0].was_open(instance, gateways),
        )
        box.append(World(scheduler, engine, told))
        running = asyncio.ensure_future(scheduler.run())
        await asyncio.sleep(0)
        scheduler.post(Planned("web", (Target(WEB),)))
        await scheduler.settle(0, 1.0)
        scheduler.post(Joined("g", {}))
        try:
            yield box[0]
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def test_a_want_becomes_a_sandbox_and_then_a_grant() -> None:
    async with world() as it:
        it.engine.start_delay = 0.5
        it.want(1)
        await it.until(lambda: it.told)
        (grant,) = it.told
        assert isinstance(grant, Grant)
        assert grant.cold
        assert [name for name, _ in it.engine.calls] == ["create", "start"]


async def test_a_start_that_fails_answers_who_waits_and_is_kept_for_people() -> None:
    async with world() as it:
        it.engine.fail_start(EXITED)
        it.want(1)
        await it.until(lambda: it.told)
        await it.until(lambda: not it.engine.sandboxes)
        (told,) = (message.failure for message in it.told if isinstance(message, Refuse))
        assert told is not None
        assert [stage.name for stage in told.stages] == ["prepare", "create", FAILED], "what was done, and tried"
        assert msgspec.structs.replace(told, stages=()) == EXITED
        assert told in it.failures


async def test_an_idle_instance_is_frozen_and_ended_after_its_keepalive() -> None:
    async with world() as it:
        it.want(1)
        await it.until(lambda: it.told)
        it.want(0)
        grant = it.told[0]
        assert isinstance(grant, Grant)
        it.scheduler.post(GivenBack("g", grant.instance))
        await it.until(lambda: it.states() == [InstanceState.FROZEN])
        await it.until(lambda: not it.scheduler.views("web"))
        assert not it.engine.sandboxes


async def test_an_instance_that_dies_is_taken_from_its_gateway() -> None:
    async with world() as it:
        it.want(1)
        await it.until(lambda: it.told)
        grant = it.told[0]
        assert isinstance(grant, Grant)
        it.engine.exit(grant.instance, 9)
        await it.until(lambda: len(it.told) == 2)
        gone = it.told[1]
        assert isinstance(gone, Gone)
        assert gone.failure is not None
        assert gone.failure.exit_code == 9
        assert not it.scheduler.views("web")


async def test_a_collected_image_is_pulled_again_for_a_cold_start() -> None:
    async with world() as it:
        it.engine.fail_create(Failure(FailureKind.IMAGE_NOT_FOUND, "not local"))
        it.want(1)
        await it.until(lambda: it.told)
        assert isinstance(it.told[0], Grant)
        assert it.engine.images.pulled == ["web:1@sha256:00"]
        assert "pull" in {stage.name for stage in it.told[0].startup}


async def test_sandboxes_from_before_are_adopted_or_ended() -> None:
    engine = FakeEngine()
    async with world(engine) as before:
        before.want(1)
        await before.until(lambda: before.told)
    assert len(engine.sandboxes) == 1
    async with world(engine) as after:
        assert len(after.scheduler.views("web")) == 1
        after.want(1)
        await after.until(lambda: after.told)
        assert isinstance(after.told[0], Grant)
        assert len(engine.sandboxes) == 1


async def test_warming_returns_when_ready_and_fails_with_the_reason() -> None:
    async with world() as it:
        new = version("web@LATEST#2")
        await it.scheduler.warm(new, 2, 100.0)
        assert it.scheduler.counts(new.key) == 2
        it.engine.fail_start(EXITED)
        with pytest.raises(StartFailed, match="exited with code 3"):
            await it.scheduler.warm(version("web@LATEST#3"), 1, 100.0)


async def test_a_spare_is_made_for_what_was_used_and_serves_the_next_cold_start() -> None:
    async with world(spares=1) as it:
        it.want(1)
        await it.until(lambda: InstanceState.CREATED in it.states())
        it.engine.calls.clear()
        it.want(1)
        await it.until(lambda: len(it.told) == 2)
        await it.until(lambda: it.engine.calls)
        assert next(name for name, _ in it.engine.calls) == "start"


async def test_a_spare_is_granted_while_it_starts_and_how_it_came_up_is_told_after() -> None:
    async with world(spares=1) as it:
        it.want(1)
        await it.until(lambda: InstanceState.CREATED in it.states())
        it.want(1)
        await it.until(lambda: len(it.told) == 3)
        grant, opened = it.told[1:]
        assert isinstance(grant, Grant)
        assert isinstance(opened, Opened)
        assert (grant.opening, grant.cold, grant.startup) == (True, True, ())
        assert opened.instance == grant.instance
        assert [stage.name for stage in opened.startup] == ["start", "ready"]


@pytest.mark.parametrize("opened", [True, False])
async def test_an_instance_that_a_request_ended_before_it_was_seen_ready_is_no_failed_start(opened: bool) -> None:
    """So others who wait are not told of it; they get the next instance."""
    async with world(spares=1) as it:
        it.want(1)
        await it.until(lambda: InstanceState.CREATED in it.states())
        assert isinstance(it.told[0], Grant)
        it.scheduler.post(Ended(it.told[0].instance))
        it.opened = opened
        it.engine.fail_start(EXITED)
        it.want(1)
        grant, gone = await it.next_told(2, after=2)
        if opened:
            it.want(1)  # the gateway says that one still waits
        (after,) = await it.next_told(1, after=4)
        assert isinstance(grant, Grant)
        assert grant.opening
        assert isinstance(gone, Gone)
        assert gone.failure is not None
        assert gone.failure.kind is FailureKind.EXITED
        assert isinstance(after, Grant if opened else Refuse)
        assert it.looked == ["g"]


async def test_readying_a_version_for_which_there_is_no_room_fails_long_before_its_patience_ends() -> None:
    async with world(memory_mb=512) as it:
        it.want(1)
        await it.until(lambda: it.told)  # the only instance there is room for, and a gateway has it
        begun = asyncio.get_running_loop().time()
        with pytest.raises(StartFailed) as raised:
            await it.scheduler.warm(version("api"), 1, 150.0)
        assert raised.value.failure.kind is FailureKind.NO_ROOM
        assert asyncio.get_running_loop().time() - begun < 20.0


async def test_a_version_that_is_larger_than_the_machine_is_refused() -> None:
    async with world(memory_mb=256) as it:
        with pytest.raises(StartFailed) as raised:
            it.scheduler.check_size(WEB)
        assert raised.value.failure.kind is FailureKind.NO_ROOM
        assert "512 MB" in raised.value.failure.message


class Clumsy(FakeEngine):
    """An engine that cannot freeze for a while."""

    failing = 0

    async def freeze(self, sandbox: InstanceId, on: bool = True) -> None:
        if on and self.failing:
            self.failing -= 1
            raise StartFailed(Failure(FailureKind.ENGINE_FAILED, "the engine is away"))
        await super().freeze(sandbox, on)


@pytest.mark.parametrize(("failing", "after"), [(3, [InstanceState.FROZEN]), (10**6, [])])
async def test_what_cannot_be_frozen_is_not_left_on_its_way(failing: int, after: list[InstanceState]) -> None:
    engine = Clumsy()
    engine.failing = failing
    async with world(engine) as it:
        it.want(1)
        await it.until(lambda: it.told)
        it.want(0)
        grant = it.told[0]
        assert isinstance(grant, Grant)
        it.scheduler.post(GivenBack("g", grant.instance))
        await asyncio.sleep(30.0)
        assert it.states() == after
        it.want(1)
        await it.until(lambda: len(it.told) == 2)
        assert isinstance(it.told[1], Grant)

"""Whose an address is, and what instances use."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from sampan.collector import instances as room
from sampan.collector.instances import AGAIN, KNOWN, MEASURE, Instances
from sampan.collector.senders import Sender
from sampan.engine.engine import Gone, Sandbox, SandboxEvent, SandboxSpec, Seen, Stats, Synced
from sampan.engine.fake import FakeEngine
from sampan.model.errors import Failure, FailureKind, StartFailed
from sampan.model.image import Image, ImageConfig
from sampan.model.instance import InstanceState
from sampan.model.names import InstanceId, VersionKey, version_key

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime]

ONE, TWO = InstanceId("c-1"), InstanceId("c-2")
WEB = version_key("web", "3", 7)
FAILURE = Failure(FailureKind.ENGINE_FAILED, "away")


class Numbers:
    """What is counted."""

    def __init__(self) -> None:
        self.states: dict[str, tuple[str, str, InstanceState]] = {}
        self.used: list[tuple[str, int, int]] = []

    def instance(self, id_: InstanceId, function: str, version: str, state: InstanceState) -> None:
        self.states[id_] = function, version, state

    def gone(self, id_: InstanceId) -> None:
        self.states.pop(id_, None)

    def stats(self, id_: InstanceId, cpu_ns: int, memory: int) -> None:
        self.used.append((id_, cpu_ns, memory))


class Scene:
    """Instances over a fake engine; the addresses are those that `at` says."""

    def __init__(self) -> None:
        self.at = {"c-1": "10.64.0.5", "c-2": "10.64.0.6"}
        self.engine = FakeEngine(self._address)
        self.numbers = Numbers()
        self.watched: list[SandboxEvent] = []
        self.measured: list[tuple[str, Stats]] = []
        self.instances = Instances(
            self.engine, self.numbers, self.watched.append, lambda id_, stats: self.measured.append((id_, stats))
        )

    async def _address(self, spec: SandboxSpec) -> tuple[str, int]:
        return self.at[spec.id], spec.port

    async def create(self, id_: InstanceId, version: str = WEB) -> None:
        labels = {"version": version} if version else {}
        await self.engine.create(
            SandboxSpec(id_, Image("web", "sha256:1", ImageConfig()), ("/x",), 80, labels=labels)
        )

    async def start(self, id_: InstanceId, version: str = WEB) -> None:
        await self.create(id_, version)
        await self.engine.start(id_, 1)

    async def until(self, true: Callable[[], object]) -> None:
        async with asyncio.timeout(600):
            while not true():  # noqa: ASYNC110 - whatever it is, in virtual time
                await asyncio.sleep(0.01)


@asynccontextmanager
async def watching(made: Scene | None = None) -> AsyncIterator[Scene]:
    """Not a fixture: those have another clock."""
    made = made or Scene()
    running = asyncio.ensure_future(made.instances.run())
    try:
        await made.until(lambda: Synced() in made.watched)
        yield made
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_an_address_is_the_instances_from_its_creation_on() -> None:
    async with watching() as scene:
        assert scene.instances.who("10.64.0.5") is None
        await scene.create(ONE)
        await scene.until(lambda: scene.instances.who("10.64.0.5"))
        assert scene.instances.who("10.64.0.5") == Sender("web", "3", "c-1")
        assert scene.instances.who("10.64.0.6") is None
        assert scene.instances.version(ONE) == WEB
        assert scene.numbers.states == {"c-1": ("web", "3", InstanceState.CREATED)}
        await scene.engine.start(ONE, 1)
        await scene.until(lambda: scene.numbers.states["c-1"][2] is InstanceState.READY)


async def test_instances_from_before_are_known_once_the_engine_has_told() -> None:
    made = Scene()
    await made.start(ONE)
    async with watching(made):
        assert made.instances.who("10.64.0.5") == Sender("web", "3", "c-1")


async def test_what_was_sent_last_may_come_late_and_then_nobody_is_there() -> None:
    async with watching() as scene:
        await scene.start(ONE)
        await scene.until(lambda: scene.instances.who("10.64.0.5"))
        await scene.engine.stop(ONE, 0)
        await scene.until(lambda: not scene.numbers.states)
        await asyncio.sleep(KNOWN - 1)
        assert scene.instances.who("10.64.0.5") == Sender("web", "3", "c-1")
        assert scene.instances.version(ONE) == WEB
        await asyncio.sleep(2)
        assert scene.instances.who("10.64.0.5") is None
        assert scene.instances.version(ONE) is None


async def test_an_address_that_was_given_anew_is_the_new_ones_and_stays_so() -> None:
    async with watching() as scene:
        scene.at["c-2"] = scene.at["c-1"]
        await scene.start(ONE)
        await scene.engine.stop(ONE, 0)
        await scene.start(TWO, version_key("job", "LATEST", 1))
        await scene.until(lambda: scene.instances.version(TWO))
        assert scene.instances.who("10.64.0.5") == Sender("job", "LATEST", "c-2")
        await asyncio.sleep(2 * KNOWN)
        assert scene.instances.who("10.64.0.5") == Sender("job", "LATEST", "c-2")


async def test_a_sandbox_without_a_version_is_nobodys() -> None:
    async with watching() as scene:
        await scene.start(ONE, "")
        await scene.until(lambda: any(isinstance(event, Seen) for event in scene.watched))
        assert scene.instances.who("10.64.0.5") is None
        assert scene.numbers.states == {}


async def test_a_gone_of_whom_nobody_heard_is_told_on_and_harms_nothing() -> None:
    async with watching() as scene:
        scene.instances._hear(Gone(TWO, None))
        await asyncio.sleep(2 * KNOWN)
        assert scene.watched[-1] == Gone(TWO, None)
        await scene.start(ONE)
        await scene.until(lambda: scene.instances.who("10.64.0.5"))


async def test_only_who_is_awake_is_measured() -> None:
    async with watching() as scene:
        used = Stats(5_000_000, 1 << 20, 2 << 20)
        await scene.start(ONE)
        await scene.create(TWO)
        scene.engine.use(ONE, used)
        await asyncio.sleep(2 * MEASURE + 0.1)
        assert scene.measured == [("c-1", used)] * 2
        assert scene.numbers.used == [("c-1", 5_000_000, 1 << 20)] * 2
        await scene.engine.freeze(ONE)
        await asyncio.sleep(2 * MEASURE)
        assert len(scene.measured) == 2
        await scene.engine.freeze(ONE, on=False)
        await asyncio.sleep(2 * MEASURE)
        assert len(scene.measured) == 4
        await scene.engine.stop(ONE, 0)
        await asyncio.sleep(2 * MEASURE)
        assert len(scene.measured) == 4


async def test_an_instance_that_cannot_be_measured_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    async with watching() as scene:
        stats = scene.engine.stats

        async def failing(id_: InstanceId) -> Stats:
            if id_ == ONE:
                raise StartFailed(FAILURE)
            return await stats(id_)

        monkeypatch.setattr(scene.engine, "stats", failing)
        await scene.start(ONE)
        await scene.start(TWO)
        await asyncio.sleep(2 * MEASURE + 0.1)
        assert [id_ for id_, _ in scene.measured] == ["c-2"] * 2


async def test_an_engine_that_cannot_be_watched_is_watched_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = Scene()
    watch, failures = made.engine.watch, iter([StartFailed(FAILURE)] * 3)

    def failing() -> AsyncIterator[SandboxEvent]:
        for error in failures:
            raise error
        return watch()

    monkeypatch.setattr(made.engine, "watch", failing)
    monkeypatch.setattr(room, "MEASURE", 1000.0)
    await made.start(ONE)
    begin = asyncio.get_running_loop().time()
    async with watching(made):
        assert asyncio.get_running_loop().time() - begin == pytest.approx(3 * AGAIN, abs=0.1)
        assert made.instances.who("10.64.0.5") == Sender("web", "3", "c-1")
        assert len(caplog.records) == 3


async def test_a_sandbox_that_is_seen_often_is_one() -> None:
    async with watching() as scene:
        sandbox = Sandbox(ONE, InstanceState.READY, "10.64.0.5", 80, "sha256:1", 0, {"version": VersionKey(WEB)})
        for _ in range(3):
            scene.instances._hear(Seen(sandbox))
        assert len(scene.numbers.states) == 1
        assert scene.instances.who("10.64.0.5") == Sender("web", "3", "c-1")

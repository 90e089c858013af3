"""The engine's process may end at any time; whoever uses it and its sandboxes go on."""

import asyncio
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from sampan.engine.engine import Gone, Seen, Synced
from sampan.engine.fake import FakeEngine
from sampan.engine.remote import RemoteEngine, serve
from sampan.model.errors import FailureKind, StartFailed
from sampan.model.image import PullProgress
from sampan.model.instance import InstanceState
from tests.engine.contract import DEADLINE, Watch, fails, read_all
from tests.engine.machine import MachineBench, settled
from tests.engine.test_fake import FakeBench
from tests.engine.trees import build


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "engine.sock"


@pytest.fixture
async def remote(path: Path) -> AsyncIterator[RemoteEngine]:
    engine = RemoteEngine(path)
    yield engine
    engine.close()


async def test_a_call_waits_for_an_engine_that_is_being_started(path: Path, remote: RemoteEngine) -> None:
    bench = FakeBench(FakeEngine())
    create = asyncio.create_task(remote.create(bench.spec()))
    await asyncio.sleep(0.1)
    server = await serve(path, bench.fake)
    assert (await asyncio.wait_for(create, DEADLINE)).state is InstanceState.CREATED
    server.close()


async def test_a_call_under_way_fails_when_the_engine_s_process_ends(path: Path, remote: RemoteEngine) -> None:
    bench = FakeBench(FakeEngine())
    server = await serve(path, bench.fake)
    created = await remote.create(bench.never_opens())
    start = asyncio.create_task(remote.start(created.id, DEADLINE))
    await asyncio.sleep(0.05)
    server.close()
    await fails(start, FailureKind.ENGINE_FAILED)


async def test_a_watch_tells_everything_anew_after_a_restart(path: Path, remote: RemoteEngine) -> None:
    bench = FakeBench(FakeEngine())
    bench.engine = bench.fake
    server = await serve(path, bench.fake)
    stays, ends = await bench.ready(), await bench.ready()
    async with aclosing(remote.watch()) as events:  # type: ignore[type-var]
        watch = Watch(events)
        await watch.until(Synced)
        server.close()
        await bench.fake.stop(ends.id, 0)
        server = await serve(path, bench.fake)
        watch.seen.clear()
        await watch.until(Synced)
        assert [event.sandbox.id for event in watch.seen if isinstance(event, Seen)] == [stays.id]
        assert [event.id for event in watch.seen if isinstance(event, Gone)] == [ends.id]
    server.close()


async def test_progress_of_a_pull_travels(path: Path, remote: RemoteEngine) -> None:
    server = await serve(path, FakeEngine())
    told: list[PullProgress] = []
    image = await remote.images.pull("web:1", None, told.append)
    assert [progress.stage for progress in told] == ["done"]
    assert await remote.images.list() == [image]
    await remote.images.retain(frozenset())
    assert await remote.images.list() == []
    server.close()


# ── a process that is killed ──────────────────────────────────────────────────────────────────────────


class Alone:
    """An engine's process, to be killed and started anew."""

    def __init__(self, bench: MachineBench, tree: Path) -> None:
        self._command = [sys.executable, "-m", "tests.engine.alone", str(bench.directory), str(tree), bench.realm]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._command)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[MachineBench]:
    bench = MachineBench(build(tmp_path / "web"), tmp_path, secrets.token_hex(2))
    yield bench
    assert settled(bench) == []


@pytest.fixture
async def alone(bench: MachineBench, path: Path, remote: RemoteEngine, tmp_path: Path) -> AsyncIterator[Alone]:
    alone = Alone(bench, tmp_path / "web")
    bench.engine = remote
    alone.start()
    try:
        yield alone
    finally:
        alone.kill()
        async with bench.node() as engine:
            await engine.destroy_all()


@pytest.mark.root
async def test_sandboxes_survive_kill_9_of_the_engine(
    bench: MachineBench, alone: Alone, remote: RemoteEngine
) -> None:
    async with aclosing(remote.watch()) as events:  # type: ignore[type-var]
        watch = Watch(events)
        await watch.until(Synced)
        ready, created, lost = await bench.ready(), await remote.create(bench.spec()), await bench.ready()
        alone.kill()
        await bench.exit(lost, 5)
        assert await bench.get(ready, "/") == "hello\n"
        alone.start()
        await watch.until(Synced)
        watch.seen.clear()
        await remote.start(created.id, DEADLINE)
        assert await bench.get(created, "/") == "hello\n"
        await fails(remote.stats(lost.id), FailureKind.NO_SUCH_SANDBOX)
        await bench.say(ready, 5)
        assert (await read_all(remote, ready.id)).data.startswith(b"line 000000")
        await bench.exit(ready, 9)
        gone = await watch.until(Gone, ready.id)
        assert gone.failure.kind is FailureKind.EXITED
        assert gone.failure.exit_code in (9, None)  # None where the kernel or PID 1 does not tell
        await remote.stop(created.id, DEADLINE)
        await watch.until(Gone, created.id)


@pytest.mark.root
@pytest.mark.parametrize("after", [0.002, 0.01, 0.02, 0.03, 0.05])
async def test_a_kill_9_in_the_middle_of_starts_leaves_nothing(
    bench: MachineBench, alone: Alone, remote: RemoteEngine, after: float
) -> None:
    await bench.ready()
    begun = [asyncio.create_task(bench.ready()) for _ in range(4)]
    await asyncio.sleep(after)
    alone.kill()
    await asyncio.gather(*begun, return_exceptions=True)
    alone.start()
    async with aclosing(remote.watch()) as events:  # type: ignore[type-var]
        watch = Watch(events)
        await watch.until(Synced)
    for event in watch.seen:
        if isinstance(event, Seen):
            await remote.stop(event.sandbox.id, DEADLINE)


async def test_whether_images_can_be_had_travels(path: Path, remote: RemoteEngine) -> None:
    engine = FakeEngine()
    server = await serve(path, engine)
    await remote.images.check()
    engine.images.away = True
    with pytest.raises(StartFailed) as refused:
        await remote.images.check()
    assert refused.value.failure.kind is FailureKind.ENGINE_FAILED
    server.close()

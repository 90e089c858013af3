"""The fake keeps the contract, directly and across a socket."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sampan.engine.engine import Sandbox, SandboxSpec
from sampan.engine.fake import FakeEngine
from sampan.engine.remote import RemoteEngine, serve
from sampan.model.errors import Failure, FailureKind
from tests.engine.contract import Bench, Contract, fails


class FakeBench(Bench):
    def __init__(self, fake: FakeEngine) -> None:
        self.fake = self.engine = fake  # type: ignore[assignment]

    def never_opens(self) -> SandboxSpec:
        self.fake.start_delay = 3600.0
        return self.spec()

    async def exit(self, sandbox: Sandbox, code: int) -> None:
        self.fake.exit(sandbox.id, code)

    async def say(self, sandbox: Sandbox, lines: int) -> None:
        self.fake.say(sandbox.id, b"".join(b"line %06d %80s\n" % (n, b"") for n in range(lines)))


class TestFake(Contract):
    @pytest.fixture
    async def bench(self) -> FakeBench:
        return FakeBench(FakeEngine())


class TestRemoteFake(Contract):
    @pytest.fixture
    async def bench(self, tmp_path: Path) -> AsyncIterator[FakeBench]:
        bench = FakeBench(FakeEngine())
        server = await serve(tmp_path / "engine.sock", bench.fake)
        remote = RemoteEngine(tmp_path / "engine.sock")
        bench.engine = remote
        yield bench
        remote.close()
        server.close()


async def test_a_scripted_failure_fails_that_start_alone() -> None:
    bench = FakeBench(FakeEngine())
    bench.fake.fail_start(Failure(FailureKind.EXITED, "the program exited with code 1", exit_code=1))
    created = await bench.engine.create(bench.spec())
    assert (await fails(bench.engine.start(created.id, 1), FailureKind.EXITED)).exit_code == 1
    assert (await bench.ready()).id in bench.fake.sandboxes


@pytest.mark.looptime
async def test_delays_pass_on_the_loop_s_clock() -> None:
    bench = FakeBench(FakeEngine())
    bench.fake.create_delay, bench.fake.start_delay = 10.0, 20.0
    begin = asyncio.get_running_loop().time()
    await bench.ready()
    assert asyncio.get_running_loop().time() - begin == pytest.approx(30.0)

"""The calls a function asked for around its life, to a real server. Source: container-contract.md A2, A3, A4."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import aiohttp
import pytest
from aiohttp import web

from sampan.engine.engine import Sandbox
from sampan.engine.fake import FakeEngine
from sampan.model.errors import FailureKind, StartFailed
from sampan.model.instance import InstanceState
from sampan.model.names import InstanceId, VersionKey
from sampan.model.version import HealthCheck, Hook
from sampan.scheduler.events import Event, Unhealthy
from sampan.scheduler.health import Health
from sampan.scheduler.hooks import Hooks
from sampan.scheduler.state import Fleet, Instance, Phase
from tests.scheduler.story import cluster, version

WEB = version("web", handler="index.handler", initializer=Hook(5.0), pre_stop=Hook(5.0))


@asynccontextmanager
async def instance(
    status: int = 200, ran: Callable[[InstanceId, VersionKey, int, int], None] = lambda *_: None
) -> AsyncIterator[tuple[Hooks, Sandbox, list[web.BaseRequest]]]:
    """Hooks, an instance whose program answers every request with `status`, and the requests it saw."""
    seen: list[web.BaseRequest] = []

    async def answer(request: web.BaseRequest) -> web.Response:
        seen.append(request)
        return web.Response(status=status, text="said")

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        sandbox = Sandbox(InstanceId("i"), InstanceState.READY, "127.0.0.1", port, WEB.image.digest, created=0)
        async with aiohttp.ClientSession() as session:
            yield Hooks(FakeEngine(), session, "17", "local", ran), sandbox, seen
    finally:
        await runner.cleanup()


async def test_a_hook_is_told_what_it_runs_as() -> None:
    async with instance() as (hooks, sandbox, seen):
        await hooks.initialize(WEB, sandbox)
        await hooks.before_stop(WEB, sandbox.id, sandbox.host, sandbox.port, "")
    assert [(request.method, request.path) for request in seen] == [("POST", "/initialize"), ("GET", "/pre-stop")]
    for request in seen:
        assert request.headers["x-fc-control-path"] == request.path
        assert request.headers["x-fc-function-name"] == "web"
        assert request.headers["x-fc-function-handler"] == "index.handler"
        assert request.headers["x-fc-account-id"] == "17"
        assert request.headers["x-fc-qualifier"] == "LATEST"
        assert request.headers["x-fc-version-id"] == ""
    assert len({request.headers["x-fc-request-id"] for request in seen}) == 2


@pytest.mark.parametrize(("status", "told"), [(200, 2), (500, 1)])
async def test_the_time_of_a_hook_is_told_but_not_that_of_an_initializer_that_failed(
    status: int, told: int
) -> None:
    """Source: container-contract.md A3: hook runs are billed."""
    runs: list[tuple[InstanceId, VersionKey, int, int]] = []
    begin = time.time_ns()
    async with instance(status, lambda *run: runs.append(run)) as (hooks, sandbox, _):
        with suppress(StartFailed):
            await hooks.initialize(WEB, sandbox)
        await hooks.before_stop(WEB, sandbox.id, sandbox.host, sandbox.port, "")
    assert [run[:2] for run in runs] == [(sandbox.id, WEB.key)] * told
    moments = [begin, *(moment for run in runs for moment in run[2:]), time.time_ns()]
    assert moments == sorted(moments)


async def test_an_initializer_that_refuses_fails_the_start() -> None:
    async with instance(500) as (hooks, sandbox, _):
        with pytest.raises(StartFailed, match="answered 500, saying 'said'") as caught:
            await hooks.initialize(WEB, sandbox)
    assert caught.value.failure.kind is FailureKind.INITIALIZER_FAILED


CHECKED = version("web", health_check=HealthCheck("/alive", period=0.01, failures=3))


@asynccontextmanager
async def checked(status: int, phase: Phase) -> AsyncIterator[tuple[list[web.BaseRequest], asyncio.Queue[Event]]]:
    """Health checks of an instance in `phase` that answers with `status`; what it saw, what was posted."""
    posted: asyncio.Queue[Event] = asyncio.Queue()
    known = cluster()
    fleet = known.fleets[CHECKED.key] = Fleet(CHECKED)
    async with instance(status) as (hooks, sandbox, seen), asyncio.TaskGroup() as group:
        there = Instance(sandbox.id, CHECKED.key, phase, 0.0, host=sandbox.host, port=sandbox.port)
        fleet.instances[sandbox.id] = there
        health = Health(known, hooks, posted.put_nowait, group.create_task)
        health.begin(sandbox.id, CHECKED)
        yield seen, posted
        health.end(sandbox.id)


async def test_an_instance_that_fails_its_checks_in_a_row_is_reported_once() -> None:
    async with checked(500, Phase.READY) as (seen, posted):
        async with asyncio.timeout(10):
            event = await posted.get()
        assert event == Unhealthy(InstanceId("i"), "check function health failed with status code: 500")
        assert [request.path for request in seen] == ["/alive"] * 3
        assert posted.empty()


async def test_a_frozen_instance_is_not_asked() -> None:
    async with checked(500, Phase.FROZEN) as (seen, posted):
        await asyncio.sleep(0.1)
        assert not seen
        assert posted.empty()

"""A log followed with the SDK over HTTP, from the instances' first line to the client's screen."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from sampan.collector.output_api import routes
from sampan.link.reports import THERE
from sampan.model.names import version_key
from sampan.output.store import OutputStore
from sampan.sdk import AsyncClient, Retries, Unreachable
from tests.collector.output_platform import PATIENCE, Platform

V3 = version_key("web", "3", 7)


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncIterator[Platform]:
    platform = Platform(tmp_path)
    yield platform
    await platform.database.close()


class _There:
    """Says of every function that there is one, as control does."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        told = [*scope.get("headers", ()), (THERE.encode(), b"yes")]
        await self._app({**scope, "headers": told}, receive, send)


@asynccontextmanager
async def serving(store: OutputStore) -> AsyncIterator[str]:
    """The URL of the collector's app under the API's prefix; at the end every connection is cut."""
    app = Starlette(routes=[Mount("/sampan/v1", routes=routes(store, lambda: 0))], middleware=[Middleware(_There)])
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off", timeout_graceful_shutdown=0))
    running = asyncio.create_task(server.serve([listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = server.force_exit = True
        await running
        listener.close()


def client(url: str) -> AsyncClient:
    return AsyncClient(url, access_key_id="id", access_key_secret="s", retries=Retries(attempts=1))


class Screen:
    """What a client has seen."""

    def __init__(self) -> None:
        self.tokens = ["0"]
        self.texts: list[str] = []
        self._news = asyncio.Event()

    def show(self, token: str, text: str) -> None:
        self.tokens.append(token)
        self.texts.append(text)
        self._news.set()

    async def until(self, count: int) -> None:
        """Returns when so many lines have been seen."""
        async with asyncio.timeout(PATIENCE):
            while len(self.texts) < count:
                self._news.clear()
                await self._news.wait()


async def follow(url: str, screen: Screen, end: str) -> None:
    """On from the last token, until `end` or until the connection is cut."""
    async with client(url) as asking:
        with suppress(Unreachable):
            async with aclosing(asking.logs("web", follow=True, after=screen.tokens[-1])) as lines:  # type: ignore[type-var]
                async for line in lines:
                    screen.show(line.token, line.text)
                    if line.text == end:
                        return


async def test_a_log_is_followed_across_instances_versions_and_scale_to_zero_and_kills(platform: Platform) -> None:
    screen = Screen()
    printed: list[str] = []

    def say(instance: str, text: str) -> None:
        printed.append(text)
        platform.engine.say(platform.engine.sandboxes[instance].id, text.encode() + b"\n")  # type: ignore[index]

    for life in range(3):
        async with platform.collecting(), serving(platform.store) as url:
            following = asyncio.create_task(follow(url, screen, "never"))
            first = await platform.start(f"c-{life}")
            say(first, f"{life} first")
            await platform.engine.freeze(first)
            await screen.until(len(printed))
            await platform.engine.freeze(first, on=False)
            say(first, f"{life} again")
            await platform.engine.stop(first, 0)
            await screen.until(len(printed))
            second = await platform.start(f"c-v3-{life}", V3)
            say(second, f"{life} other version")
            await screen.until(len(printed))
            say(second, f"{life} unseen at the kill")
        await following
        await platform.engine.stop(second, 0)
    async with platform.collecting(), serving(platform.store) as url:
        await platform.ended("c-v3-2")
        last = await platform.start("c-9")
        say(last, "end")
        await asyncio.wait_for(follow(url, screen, "end"), PATIENCE)
    assert screen.texts == printed
    assert screen.tokens == [str(number) for number in range(len(printed) + 1)]


async def test_a_client_that_goes_away_is_forgotten(platform: Platform) -> None:
    async with platform.collecting(), serving(platform.store) as url:
        instance = await platform.start()
        platform.engine.say(instance, b"one\n")
        screen = Screen()
        await asyncio.wait_for(follow(url, screen, "one"), PATIENCE)
        async with asyncio.timeout(PATIENCE):
            while platform.store.followed("web"):  # noqa: ASYNC110 - the server says nothing when a client is gone
                await asyncio.sleep(0.01)
        assert screen.texts == ["one"]


async def test_a_large_log_goes_through_a_slow_reader(platform: Platform) -> None:
    async with platform.collecting(), serving(platform.store) as url:
        instance = await platform.start()
        platform.engine.say(instance, b"".join(b"%0999d\n" % number for number in range(20_000)))
        platform.engine.exit(instance, 0)
        await platform.ended(instance)
        count = 0
        async with client(url) as asking:
            async for line in asking.logs("web"):
                assert int(line.text) == count
                count += 1
                if count % 5000 == 0:
                    await asyncio.sleep(0.05)
        assert count == 20_000

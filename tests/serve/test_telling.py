"""What the collector hears of control, and when."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest
from sqlalchemy.exc import OperationalError

from sampan.catalog.catalog import Catalog
from sampan.catalog.plans import Defaults
from sampan.link import channel
from sampan.link.reports import Down, Hello, Kept, Ran, Told, Up
from sampan.model.names import InstanceId, VersionKey
from sampan.serve import telling as module
from sampan.serve.telling import Telling
from sampan.store.database import Database, migrate, sqlite_url
from sampan.wire.shapes import TracingConfig
from tests.catalog.making import active, function, roll_out

PATIENCE = 30.0


class Collecting:
    """The collector's end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.heard: asyncio.Queue[Up] = asyncio.Queue()
        self.connections: list[channel.Channel[Up, Down]] = []
        self._listener: asyncio.AbstractServer | None = None

    async def start(self) -> None:
        decoder = msgspec.msgpack.Decoder(Up)
        self._listener = await channel.serve(
            self.path,
            lambda: channel.Channel(
                decoder, lambda _, message: self.heard.put_nowait(message), lambda _: None, self.connections.append
            ),
        )

    async def stop(self) -> None:
        assert self._listener is not None
        self._listener.close()
        for connection in self.connections:
            connection.close()
        self.connections.clear()

    async def hear(self) -> Up:
        async with asyncio.timeout(PATIENCE):
            return await self.heard.get()

    async def told(self) -> Told:
        message = await self.hear()
        assert isinstance(message, Told)
        return message

    async def greeted(self) -> Told:
        """The first words of a connection."""
        hello = await self.hear()
        assert isinstance(hello, Hello)
        assert hello.name == "control"
        return await self.told()


class Stage:
    def __init__(self, catalog: Catalog, collecting: Collecting, telling: Telling) -> None:
        self.catalog, self.collecting, self.telling = catalog, collecting, telling

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not true():  # noqa: ASYNC110 - what came over a socket and tells nobody
                await asyncio.sleep(0.005)


@pytest.fixture
async def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    monkeypatch.setattr(module, "RETRY", 0.01)
    url = sqlite_url(tmp_path / "db" / "catalog.db")
    migrate(url)
    database = Database(url)
    catalog = Catalog(database, Defaults(account="7", region="here", max_instances=100))
    collecting = Collecting(tmp_path / "reports.sock")
    telling = Telling(collecting.path, catalog, catalog.changes.subscribe())
    running = asyncio.ensure_future(telling.run())
    await collecting.start()
    yield Stage(catalog, collecting, telling)
    assert not running.done(), "for ever"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await collecting.stop()
    await database.close()


def names(told: Told) -> list[str]:
    return [each.function for each in told.functions]


async def test_everything_is_said_at_first(stage: Stage) -> None:
    told = await stage.collecting.greeted()
    assert (told.account, told.region, names(told)) == ("7", "here", [])


async def test_everything_is_said_again_when_something_changes(stage: Stage) -> None:
    await stage.collecting.greeted()
    key, _ = await stage.catalog.ensure_key("7")
    tracing = TracingConfig(type="Jaeger", params={"endpoint": "http://192.0.2.1:14268/api/traces"})
    await active(stage.catalog, "web", tracing_config=tracing, memory_size=1024)
    while not (told := await stage.collecting.told()).functions or not told.functions[0].versions:
        continue
    [web] = told.functions
    assert (web.function, web.tracing_type, web.tracing_params) == ("web", "Jaeger", tracing.params)
    [(version, facts)] = web.versions
    assert version.startswith("web@LATEST#")
    assert (facts.function, facts.version, facts.memory_mb) == ("web", "LATEST", 1024)
    assert [each.id for each in told.keys] == [key.id]
    assert told.keys[0].secret == key.secret
    await stage.catalog.functions.delete("web")
    while names(told := await stage.collecting.told()):
        continue


async def test_changes_that_come_together_are_said_together(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GATHER", 5.0)
    await stage.collecting.greeted()
    for number in range(10):
        await stage.catalog.functions.create(function(f"web-{number}"))
    await roll_out(stage.catalog)
    assert len(names(await stage.collecting.told())) == 10
    assert stage.collecting.heard.empty()


async def test_a_collector_that_comes_back_is_told_all_again(stage: Stage) -> None:
    await stage.collecting.greeted()
    await active(stage.catalog, "web")
    for _ in range(3):
        await stage.collecting.stop()
        stage.collecting.heard = asyncio.Queue()
        await stage.collecting.start()
        assert names(await stage.collecting.greeted()) == ["web"]


async def test_what_changed_while_nobody_listened_is_said_on_return(stage: Stage) -> None:
    await stage.collecting.greeted()
    await stage.collecting.stop()
    await active(stage.catalog, "web")
    await active(stage.catalog, "job")
    stage.collecting.heard = asyncio.Queue()
    await stage.collecting.start()
    assert names(await stage.collecting.greeted()) == ["job", "web"]


async def test_a_catalog_that_cannot_be_read_for_a_while_is_told_when_it_can(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await stage.collecting.greeted()
    routes, refusals = stage.catalog.routes, iter([OperationalError("select", None, OSError("locked"))] * 2)

    async def failing() -> object:
        for error in refusals:
            raise error
        return await routes()

    monkeypatch.setattr(stage.catalog, "routes", failing)
    await active(stage.catalog, "web")
    async with asyncio.timeout(PATIENCE):
        while True:
            message = await stage.collecting.hear()
            if isinstance(message, Told) and names(message) == ["web"]:
                break
    assert "could not be told" in caplog.text


async def test_hooks_are_told_until_they_are_confirmed(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RAN", 3)
    collecting, version = stage.collecting, VersionKey("web@LATEST#1")
    await collecting.greeted()

    def run(number: int) -> None:
        stage.telling.ran(InstanceId(f"c-{number}"), version, number, number + 5)

    async def numbers(count: int) -> list[int]:
        heard: list[int] = []
        while len(heard) < count:
            if isinstance(message := await collecting.hear(), Ran):
                heard.append(message.seq)
        return heard

    run(1)
    run(2)
    assert await collecting.hear() == Ran(1, InstanceId("c-1"), version, 1, 6)
    assert await numbers(1) == [2]
    collecting.connections[-1].send(Kept(1))
    await stage.until(lambda: len(stage.telling._ran) == 1)
    await collecting.stop()
    await stage.until(lambda: stage.telling._link is None)
    run(3)
    await collecting.start()
    assert await numbers(2) == [2, 3], "in order, and not what is confirmed"
    await collecting.stop()
    await stage.until(lambda: stage.telling._link is None)
    run(4)
    run(5)
    await collecting.start()
    assert await numbers(3) == [3, 4, 5], "no more than there is room for"

"""How control finds out what is ill, whatever the parts do."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sampan.engine.fake import FakeEngine
from sampan.model.health import Condition, Part, condition
from sampan.serve import health as room
from sampan.serve.health import Health, Probe, probes
from sampan.serve.layout import Layout
from sampan.settings import Platform, Registry, Settings
from sampan.store.database import Database, migrate, sqlite_url


class Platformed:
    """Every part as a socket or a file, and all of them well."""

    def __init__(self, directory: Path, port: int) -> None:
        self.settings = Settings(
            platform=Platform(state=str(directory / "s"), run=str(directory / "r")), registry=Registry(port=port)
        )
        self.layout = Layout(self.settings)
        self.engine = FakeEngine()
        migrate(sqlite_url(self.layout.database))
        self.database = Database(sqlite_url(self.layout.database))
        self.answer = b"HTTP/1.1 404 Not Found\r\n\r\n"
        self.going = asyncio.Event()
        self.going.set()
        self.doors: dict[str, asyncio.AbstractServer] = {}
        self.told: list[tuple[Part, ...]] = []
        self.health = Health(probes(self.settings, self.engine, self.database), self.told.append)

    async def open(self) -> None:
        for name, path in (("sandboxd", self.layout.engine_socket), ("collector", self.layout.collector_socket)):
            path.parent.mkdir(parents=True)
            self.doors[name] = await asyncio.start_unix_server(self._answer, path)
        port = self.settings.registry.port
        self.doors["registry"] = await asyncio.start_server(self._answer, "127.0.0.1", port)

    async def ill(self) -> dict[str, str]:
        return {part.name: part.why for part in await self.health.look() if not part.ok}

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.readline():
            await self.going.wait()
            writer.write(self.answer)
        writer.close()


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncIterator[Platformed]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    made = Platformed(tmp_path, port)
    await made.open()
    yield made
    for door in made.doors.values():
        door.close()
    await made.database.close()


async def test_a_process_that_hangs_is_ill_though_connections_to_it_are_accepted(
    platform: Platformed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "PATIENCE", 0.1)
    platform.going.clear()
    assert set(await platform.ill()) == {"registry", "collector"}
    platform.going.set()
    assert await platform.ill() == {}
    platform.answer = b"SSH-2.0\r\n"
    assert set(await platform.ill()) == {"registry", "collector"}


async def test_all_parts_are_looked_at_and_well(platform: Platformed) -> None:
    parts = await platform.health.look()
    assert [part.name for part in parts] == ["sandboxd", "containerd", "database", "registry", "collector"]
    assert condition(parts) is Condition.OK


@pytest.mark.parametrize(
    ("name", "then"),
    [("sandboxd", Condition.ILL), ("registry", Condition.DEGRADED), ("collector", Condition.DEGRADED)],
)
async def test_a_process_that_is_away_is_ill(platform: Platformed, name: str, then: Condition) -> None:
    platform.doors[name].close()
    assert await platform.ill() == {name: "it accepts no connection"}
    assert condition(await platform.health.look()) is then


async def test_containerd_is_asked_through_sandboxd(platform: Platformed) -> None:
    platform.engine.images.away = True
    assert await platform.ill() == {"containerd": "it cannot be reached from sandboxd"}
    assert condition(await platform.health.look()) is Condition.ILL


async def test_a_disk_without_room_makes_the_database_ill(
    platform: Platformed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "LEAST_DISK", 1 << 62)
    ill = await platform.ill()
    assert list(ill) == ["database"]
    assert "MB left" in ill["database"]


async def test_a_database_that_cannot_be_written_is_ill(platform: Platformed) -> None:
    await platform.database.close()
    platform.layout.database.unlink()
    platform.layout.database.mkdir()
    assert await platform.ill() == {"database": "nothing can be written to it"}


@pytest.mark.looptime
async def test_a_part_that_never_answers_is_ill_in_time_and_not_asked_twice_at_once() -> None:
    loop, asked, goes_on = asyncio.get_running_loop(), [0], asyncio.Event()

    async def hang() -> str:
        asked[0] += 1
        await goes_on.wait()
        return ""

    async def well() -> str:
        return ""

    health = Health([Probe("stuck", hang), Probe("fine", well)], lambda parts: None)
    begin = loop.time()
    for _ in range(3):
        stuck, fine = await health.look()
        assert (stuck.ok, stuck.why, fine.ok) == (False, "it did not answer within 2 seconds", True)
    assert (loop.time() - begin, asked[0]) == (pytest.approx(6), 1)
    goes_on.set()
    await asyncio.sleep(0)
    assert all(part.ok for part in await health.look())


async def test_a_look_that_fails_tells_nothing_of_the_inside(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> str:
        raise RuntimeError("/var/lib/secret")

    [part] = await Health([Probe("odd", fail)], lambda parts: None).look()
    assert (part.ok, "secret" in part.why) == (False, False)
    assert "secret" in caplog.text


@pytest.mark.looptime
async def test_it_is_told_every_few_seconds_and_changes_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    why = ["", "gone", "gone", "", ""]
    told: list[tuple[Part, ...]] = []
    enough = asyncio.Event()

    async def check() -> str:
        return why[len(told)]

    def tell(parts: tuple[Part, ...]) -> None:
        told.append(parts)
        if len(told) == len(why):
            enough.set()

    running = asyncio.ensure_future(Health([Probe("part", check)], tell).run())
    await enough.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert [part.why for [part] in told] == why
    assert [line.getMessage() for line in caplog.records] == ["ill", "well again"]


@pytest.mark.looptime
async def test_what_is_ill_is_looked_at_again_soon_and_what_is_well_is_left_alone() -> None:
    loop, why, looks = asyncio.get_running_loop(), ["gone"], []

    async def check() -> str:
        looks.append(loop.time())
        return why[0]

    health = Health([Probe("part", check)], lambda parts: None)
    running = asyncio.ensure_future(health.run())
    await asyncio.sleep(4 * room.SOON + 0.01)
    assert [round(look, 2) for look in looks] == [n * room.SOON for n in range(5)]
    why[0] = ""
    await asyncio.sleep(room.SOON)
    count = len(looks)
    await asyncio.sleep(room.EVERY - 2 * room.SOON)
    assert (len(looks), health.parts[0].ok) == (count, True)
    await asyncio.sleep(2 * room.SOON)
    assert len(looks) == count + 1
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.mark.looptime
async def test_who_asks_is_told_how_an_ill_part_is_now() -> None:
    loop, why, looks = asyncio.get_running_loop(), ["gone"], [0]

    async def check() -> str:
        looks[0] += 1
        return why[0]

    health = Health([Probe("part", check)], lambda parts: None)
    running = asyncio.ensure_future(health.run())
    assert [part.ok for part in await health.now()] == [False], "the first look is waited for"
    why[0] = ""
    begin = loop.time()
    assert [part.ok for part in await health.now()] == [True]
    assert loop.time() == begin, "at once"
    count = looks[0]
    assert [part.ok for part in await health.now()] == [True]
    assert looks[0] == count, "what is well is not looked at for everybody who asks"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

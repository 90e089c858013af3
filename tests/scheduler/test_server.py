"""What control tells gateways of itself."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from sampan.engine.fake import FakeEngine
from sampan.link import channel
from sampan.link.messages import Down, Health, Hello, Look, Routes, Seen, Up
from sampan.model.health import Part
from sampan.model.names import InstanceId
from sampan.scheduler.events import Event
from sampan.scheduler.server import Gateways

WELL, ILL = (Part("database", ok=True),), (Part("database", ok=False, why="full"),)


class Nobody:
    def post(self, event: Event) -> None:
        """Events are not what is looked at here."""


async def no_routes() -> Routes:
    return Routes("1", "local", (), ())


async def gateway(path: Path, name: str) -> tuple[channel.Channel[Down, Up], "asyncio.Queue[Down]"]:
    heard: asyncio.Queue[Down] = asyncio.Queue()
    decoder = msgspec.msgpack.Decoder(Down)
    link: channel.Channel[Down, Up] = await channel.connect(
        path, lambda: channel.Channel(decoder, lambda _, message: heard.put_nowait(message), lambda _: None)
    )
    link.send(Hello(name, 1))
    assert isinstance(await heard.get(), Routes)
    return link, heard


async def test_who_saw_an_instance_open_is_believed_and_who_is_silent_has_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, one = tmp_path / "link.sock", InstanceId("c-1")
    gateways = Gateways(FakeEngine(), no_routes)
    await gateways.listen(path, Nobody())
    (first, heard), (second, too) = await gateway(path, "g-1"), await gateway(path, "g-2")

    async def asked(*answers: tuple[channel.Channel[Down, Up], bool]) -> bool:
        looking = asyncio.ensure_future(gateways.was_open(one, ("g-1", "g-2")))
        assert (await heard.get(), await too.get()) == (Look(one), Look(one))
        for link, answer in answers:
            link.send(Seen(one, answer))
        return await looking

    assert await asked((first, False), (second, True))
    assert not await asked((first, False), (second, False))
    monkeypatch.setattr("sampan.scheduler.server.LOOK", 0.05)
    assert not await asked((first, False))
    assert not await gateways.was_open(one, ("g-3",)), "of one that has left there is nothing to hear"
    first.send(Seen(one, open=True))  # too late: nobody asks
    first.close()
    second.close()
    assert gateways._listener is not None
    gateways._listener.close()


async def test_gateways_hear_how_the_parts_are_and_one_that_comes_later_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "link.sock"
    gateways = Gateways(FakeEngine(), no_routes)
    await gateways.listen(path, Nobody())
    first, heard = await gateway(path, "g-1")
    gateways.health(WELL)
    assert await heard.get() == Health(WELL)
    gateways.health(ILL)
    assert await heard.get() == Health(ILL)
    second, later = await gateway(path, "g-2")
    assert await later.get() == Health(ILL)
    first.close()
    second.close()
    assert gateways._listener is not None
    gateways._listener.close()

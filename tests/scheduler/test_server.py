"""What control tells gateways of itself."""

import asyncio
from pathlib import Path

import msgspec

from sampan.engine.fake import FakeEngine
from sampan.link import channel
from sampan.link.messages import Down, Health, Hello, Routes, Up
from sampan.model.health import Part
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

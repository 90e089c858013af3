"""An intake on loopback, as functions reach it."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from sampan.collector.intake.intake import Intake
from sampan.collector.intake.sockets import IntakeSockets, Ports, listen
from sampan.collector.senders import Sender
from sampan.model.trace import Span
from sampan.settings import Telemetry
from sampan.wire.otlp_logs import LogRecord

ANY = Ports(0, 0, 0, (0, 0))
THUMB = Sender("thumb", "3", "i-1")


@dataclass
class Store:
    """What was taken. room: spans and records it still takes."""

    spans: list[Span] = field(default_factory=list)
    records: list[LogRecord] = field(default_factory=list)
    room: int = 1 << 30
    woken: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, given: Sequence[Span]) -> int:
        return self._take(self.spans, given)

    def take_records(self, given: Sequence[LogRecord]) -> int:
        return self._take(self.records, given)

    def _take(self, kept: list[Any], given: Sequence[Any]) -> int:
        took = min(len(given), self.room)
        self.room -= took
        kept += given[:took]
        self.woken.set()
        return took

    async def until(self, enough: Callable[[], bool]) -> None:
        """Wait for something taken that is enough."""
        async with asyncio.timeout(30):
            while not enough():
                self.woken.clear()
                await self.woken.wait()


@dataclass
class Running:
    """An intake that serves. `who` may be changed as instances come and go."""

    intake: Intake
    store: Store
    who: dict[str, Sender]
    sockets: IntakeSockets
    sampling: dict[str, float]
    asked: list[str]

    def port(self, kind: str) -> int:
        """kind: compact, binary, grpc or http."""
        return int(self.ports[kind])

    @property
    def ports(self) -> dict[str, int]:
        return self._ports

    def __post_init__(self) -> None:
        kinds = ("compact", "binary", "grpc", "http")
        self._ports = {kind: getattr(self.sockets, kind)[0].getsockname()[1] for kind in kinds}

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port('http')}{path}"


@pytest.fixture
async def start() -> AsyncIterator[Callable[..., object]]:
    """Make intakes; they are ended after the test."""
    tasks: list[asyncio.Task[None]] = []

    async def make(address: str = "127.0.0.1", **settings: float) -> Running:
        store, who, sampling, asked = Store(), {"127.0.0.1": THUMB}, {}, []

        def share(name: str) -> float:
            asked.append(name)
            return sampling.get(name, 1.0)

        intake = Intake(who.get, store.take, store.take_records, share, Telemetry(**settings))
        running = Running(intake, store, who, listen(address, ANY), sampling, asked)
        tasks.append(asyncio.create_task(intake.serve(running.sockets)))
        async with asyncio.timeout(30):
            await intake.listening.wait()
        return running

    yield make
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture
async def running(start: Callable[..., object]) -> Running:
    return await start()  # type: ignore[misc]


def own_address() -> str:
    """An address of this machine that is not loopback; "": it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, suppress(OSError):
        probe.connect(("192.0.2.1", 9))  # RFC 5737: nobody's; nothing is sent
        return str(probe.getsockname()[0])
    return ""

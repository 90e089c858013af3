"""How every part of the platform is, looked at every few seconds. No look takes long, whatever a part does."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from sampan.engine.engine import Engine
from sampan.model.errors import StartFailed
from sampan.model.health import Part
from sampan.model.names import InstanceId
from sampan.serve.layout import Layout
from sampan.settings import Settings
from sampan.store.database import Database
from sampan.telemetry.logs import Log

EVERY = 5.0  # seconds between looks while all are well
SOON = 0.5  # seconds between looks while some are not: that they are well again is soon known
PATIENCE = 2.0  # seconds a part may take to answer
NOBODY = "it accepts no connection"
LEAST_DISK = 64 << 20  # bytes; SQLite's journal alone may take some

log = Log("health")

Check = Callable[[], Awaitable[str]]
"""Why the part is ill, in words for anybody; "": it is well."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One part and how to look at it."""

    name: str
    check: Check
    needed: bool = True


class Health:
    """Looks, and tells whoever wants to know."""

    def __init__(self, probes: Sequence[Probe], tell: Callable[[tuple[Part, ...]], None]) -> None:
        self._probes, self._tell = probes, tell
        self._looking: dict[str, asyncio.Task[str]] = {}
        self._asked, self._looked = asyncio.Event(), asyncio.Event()
        self.parts: tuple[Part, ...] = ()

    async def run(self) -> None:
        """For ever."""
        try:
            while True:
                self._note(await self.look())
                with suppress(TimeoutError):
                    async with asyncio.timeout(EVERY if all(part.ok for part in self.parts) else SOON):
                        await self._asked.wait()
                self._asked.clear()
        finally:
            for task in self._looking.values():
                task.cancel()

    async def now(self) -> tuple[Part, ...]:
        """The parts; looked at once more where some were ill. While it runs."""
        if not self.parts or not all(part.ok for part in self.parts):
            self._asked.set()
            await self._looked.wait()
        return self.parts

    async def look(self) -> tuple[Part, ...]:
        """At all parts at once, for `PATIENCE` at most."""
        for probe in self._probes:
            if probe.name not in self._looking:  # else the last look has not ended: one at a time
                self._looking[probe.name] = asyncio.ensure_future(probe.check())
        await asyncio.wait(self._looking.values(), timeout=PATIENCE)
        return tuple(self._part(probe) for probe in self._probes)

    def _part(self, probe: Probe) -> Part:
        task = self._looking[probe.name]
        if not task.done():
            why = f"it did not answer within {PATIENCE:g} seconds"
        else:
            del self._looking[probe.name]
            if (error := task.exception()) is not None:
                log.failure("could not be looked at", error, part=probe.name)
                why = "it could not be looked at; the platform's own log says why"
            else:
                why = task.result()
        return Part(probe.name, ok=not why, why=why, needed=probe.needed)

    def _note(self, parts: tuple[Part, ...]) -> None:
        before = {part.name: part.ok for part in self.parts}
        for part in parts:
            if part.ok and not before.get(part.name, True):
                log.info("well again", part=part.name)
            elif not part.ok and before.get(part.name, True):
                log.warning("ill", part=part.name, why=part.why)
        self.parts = parts
        self._looked.set()
        self._looked = asyncio.Event()
        self._tell(parts)


def probes(settings: Settings, engine: Engine, database: Database) -> list[Probe]:
    """Of all parts that control can look at. What every cold start needs is needed; the rest is missed later."""
    layout, registry = Layout(settings), settings.registry
    found = [
        Probe("sandboxd", lambda: _sandboxd(layout.engine_socket, engine)),
        Probe("containerd", lambda: _images(engine)),
        Probe("database", lambda: _database(database, layout.database.parent)),
    ]
    if registry.enabled:
        found.append(Probe("registry", lambda: _registry(registry.listen, registry.port), needed=False))
    found.append(Probe("collector", lambda: _collector(layout.collector_socket), needed=False))
    return found


async def _sandboxd(path: Path, engine: Engine) -> str:
    """Whether it answers at all: of a sandbox that there is not."""
    try:
        _, writer = await asyncio.open_unix_connection(str(path))
    except OSError:
        return NOBODY
    writer.close()
    with suppress(StartFailed):
        await engine.stats(InstanceId("none"))
    return ""


async def _registry(host: str, port: int) -> str:
    return await _speaks_http(asyncio.open_connection(host, port), b"/v2/")


async def _collector(path: Path) -> str:
    return await _speaks_http(asyncio.open_unix_connection(str(path)), b"/")


async def _speaks_http(
    connection: Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]], path: bytes
) -> str:
    """Whether a question is answered, whatever the answer: one that hangs still has connections accepted for it."""
    try:
        reader, writer = await connection
    except OSError:
        return NOBODY
    try:
        writer.write(b"HEAD %b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % path)
        told = await reader.read(5)
    except OSError:
        told = b""
    finally:
        writer.close()
    return "" if told == b"HTTP/" else "it does not answer as it should"


async def _images(engine: Engine) -> str:
    try:
        await engine.images.check()
    except StartFailed:
        return "it cannot be reached from sandboxd"
    return ""


async def _database(database: Database, directory: Path) -> str:
    """Whether something could be written: a turn as writer is had, and there is room."""
    try:
        async with database.write():
            pass
    except SQLAlchemyError:
        return "nothing can be written to it"
    room = await asyncio.to_thread(os.statvfs, directory)
    free = room.f_bavail * room.f_frsize
    return "" if free >= LEAST_DISK else f"its disk has {free >> 20} MB left, {LEAST_DISK >> 20} are needed"

"""A collector over the fake engine and a real database, which can be dropped and begun anew at any moment."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from sampan.collector.output import OutputCollector
from sampan.engine.engine import Engine, LogChunk, SandboxEvent, SandboxSpec, Stream
from sampan.engine.fake import FakeEngine
from sampan.model.image import Image, ImageConfig
from sampan.model.invocation import VersionFacts
from sampan.model.names import InstanceId, VersionKey, split_version_key, version_key
from sampan.output.lines import Line
from sampan.output.matching import Matcher, Wanted
from sampan.output.search import Search
from sampan.output.store import OutputStore
from sampan.output.upkeep import Upkeep
from sampan.store.database import Database, migrate, sqlite_url

WEB = version_key("web", "LATEST", 1)
IMAGE = Image("web", "sha256:web", ImageConfig())
PATIENCE = 60  # seconds a test waits for what must come


def facts(version: VersionKey) -> VersionFacts:
    """One request at a time."""
    function, id_, _ = split_version_key(version)
    return VersionFacts(function, id_, 512, 1.0, 512, 1, 60.0)


class Platform:
    """What outlives a collector: the engine and the database's file."""

    def __init__(self, directory: Path, engine: FakeEngine | None = None) -> None:
        self.engine = engine or FakeEngine()
        self.url = sqlite_url(directory / "db" / "telemetry.db")
        migrate(self.url, "telemetry")
        self.database = Database(self.url)
        self.store = OutputStore(self.database, time.time_ns)
        self.rate = 1000.0  # MB per second
        self.keep = 7 * 86400.0  # seconds
        self.died = asyncio.Event()

    @asynccontextmanager
    async def collecting(
        self,
        engine: Engine | None = None,
        prepare: Callable[[OutputStore], None] = lambda store: None,
    ) -> AsyncIterator[OutputCollector]:
        """A collector that is dropped without a word at the end: everything in its memory is gone."""
        database = Database(self.url)
        self.store = OutputStore(database, time.time_ns)
        prepare(self.store)
        upkeep = Upkeep(database, time.time_ns, self.keep, 1 << 30)
        collector = OutputCollector(engine or self.engine, self.store, upkeep, facts, self.rate)
        running = asyncio.create_task(collector.run())
        self.died.clear()
        running.add_done_callback(lambda _: self.died.set())
        await collector.synced.wait()
        try:
            yield collector
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await running
            await database.close()
            self.store = OutputStore(self.database, time.time_ns)

    async def start(self, id_: str = "c-1", version: VersionKey = WEB, log_mb: int = 64) -> InstanceId:
        """A ready instance."""
        sandbox = await self.create(id_, version, log_mb)
        await self.engine.start(sandbox, 1)
        return sandbox

    async def create(self, id_: str = "c-1", version: VersionKey = WEB, log_mb: int = 64) -> InstanceId:
        spec = SandboxSpec(InstanceId(id_), IMAGE, ("/x",), 80, log_mb=log_mb, labels={"version": version})
        return (await self.engine.create(spec)).id

    async def lines(self, **wanted: object) -> list[Line]:
        """All that is kept."""
        asked = Matcher(Wanted(**({"function": "web"} | wanted)))  # type: ignore[arg-type]
        return [line async for some in Search(self.store).lines(asked) for line in some]

    async def texts(self, **wanted: object) -> list[str]:
        return [line.text for line in await self.lines(**wanted)]

    async def until(self, enough: Callable[[list[Line]], bool], **wanted: object) -> list[Line]:
        """The lines, once they are enough."""
        function = str(wanted.get("function", "web"))
        async with asyncio.timeout(PATIENCE):
            with self.store.follower(function) as news:
                while not enough(lines := await self.lines(**wanted)):
                    await news.wait()
                    news.clear()
        return lines

    async def ended(self, *instances: str) -> None:
        """Returns when all that these printed is kept."""
        async with asyncio.timeout(PATIENCE):
            while True:
                places = [await self.store.place(instance) for instance in instances]
                if all(place is not None and place.done for place in places):
                    return
                await asyncio.sleep(0.02)  # nobody tells of an end without a line


class Watched:
    """An engine that lets a test look on, and step in, before an answer about logs is given."""

    def __init__(self, engine: FakeEngine, before: Callable[[InstanceId, Stream], None]) -> None:
        self._engine = engine
        self._before = before
        self.asked: list[InstanceId] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._engine, name)

    def watch(self) -> AsyncIterator[SandboxEvent]:
        return self._engine.watch()

    async def logs(self, sandbox: InstanceId, stream: Stream, position: int, limit: int) -> LogChunk:
        self.asked.append(sandbox)
        self._before(sandbox, stream)
        return await self._engine.logs(sandbox, stream, position, limit)

"""The API on a loopback port, with a real catalog and stand-ins for the rooms beside it."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from sampan.api.app import app
from sampan.api.passing import Collector
from sampan.catalog.catalog import Catalog
from sampan.catalog.plans import Defaults
from sampan.model.access import AccessKey
from sampan.model.errors import Failure, StartFailed
from sampan.model.image import Image, ImageConfig
from sampan.settings import Gateway, Settings
from sampan.store.database import Database, migrate, sqlite_url
from tests.api.collecting import Collecting

IMAGE = Image("nginx:1", "sha256:" + "1" * 64, ImageConfig(exposed_ports=(80,)), 1234, ("no .pyc files",))


class Rooms:
    """Instances, Shifts and Status, as a test wants them."""

    def __init__(self) -> None:
        self.running: list[Any] = []
        self.instance_counts: dict[str, int] = {}
        self.shifted: list[list[str]] = []
        self.not_ready: Failure | None = None

    def views(self, function):
        return [view for view in self.running if view.function == function]

    def counts(self, version):
        return self.instance_counts.get(version, 0)

    async def caught_up(self) -> None:
        """Nobody has to be told."""

    async def ready(self, versions):
        self.shifted.append(versions)
        if self.not_ready:
            raise StartFailed(self.not_ready)

    def progress(self, function):
        return []

    async def status(self):
        return {"gateways": 1}

    async def images(self):
        return [IMAGE]


class Served:
    """What a test holds of the running API."""

    def __init__(self, loop, catalog, rooms, collecting, port, key) -> None:
        self.loop, self.catalog, self.rooms, self.port, self.key = loop, catalog, rooms, port, key
        self.collecting: Collecting = collecting

    def run(self, coroutine) -> Any:
        """Run on the API's own loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    def roll_out(self, image: Image = IMAGE) -> None:
        self.run(self._roll_out(image))

    async def _roll_out(self, image: Image) -> None:
        for pending in await self.catalog.pending():
            await self.catalog.prepared(pending.function, pending.revision, image)
            await self.catalog.activate(pending.function, pending.revision)


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self):
        yield


@contextmanager
def served(directory: Path, clock=time.time) -> Iterator[Served]:
    url = sqlite_url(directory / "db" / "catalog.db")
    migrate(url)
    collecting = Collecting(directory / "collector.sock")
    begun: Future[Any] = Future()
    thread = threading.Thread(target=asyncio.run, args=(_serve(url, collecting, begun, clock),))
    thread.start()
    try:
        handle, server = begun.result(30)
        yield handle
        server.should_exit = True
    finally:
        thread.join(30)


async def _serve(url: str, collecting: Collecting, begun: "Future[Any]", clock) -> None:
    database, rooms = Database(url), Rooms()
    catalog = Catalog(database, Defaults(account="1", region="local", max_instances=100))
    key: AccessKey = (await catalog.ensure_key("1"))[0]
    settings = Settings(gateway=Gateway(port=9000))
    collector = Collector(collecting.socket)
    api = app(catalog, rooms, rooms, collector, rooms, settings, clock)
    config = uvicorn.Config(api, log_config=None, lifespan="off", access_log=False)
    server = _Server(config)
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]  # it listens: who connects before uvicorn accepts merely waits
    begun.set_result((Served(asyncio.get_running_loop(), catalog, rooms, collecting, port, key), server))
    await server.serve(sockets=[listener])
    listener.close()
    await collecting.stop()
    await collector.aclose()
    await database.close()

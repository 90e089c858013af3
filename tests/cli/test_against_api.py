"""A function's life from the command line, against the real API under uvicorn."""

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import pytest
import uvicorn
from typer.testing import CliRunner

from sampan.api.app import app as api
from sampan.api.passing import Collector
from sampan.catalog.catalog import Catalog
from sampan.catalog.plans import Defaults
from sampan.cli.app import app
from sampan.cli.failures import Code
from sampan.collector import output_api
from sampan.collector.app import app as collecting
from sampan.model.access import AccessKey
from sampan.model.image import Image, ImageConfig, PullProgress
from sampan.model.instance import InstanceState, InstanceView
from sampan.model.names import InstanceId, VersionKey, version_key
from sampan.output.levels import Level
from sampan.output.lines import Line
from sampan.output.store import Batch, OutputStore
from sampan.settings import Settings
from sampan.store.database import Database, migrate, sqlite_url
from tests.api.collecting import UnixServer

INSTANCE = InstanceId("c-0123456789abcdef01234567")


class Platform:
    """The rooms the API asks, as far as this story needs them: one instance, every image good but one."""

    def views(self, function: str) -> list[InstanceView]:
        return [InstanceView(INSTANCE, function, "LATEST", 1, InstanceState.READY, "", 1, "", 1, 0)]

    def counts(self, version: VersionKey) -> int:
        return 1

    async def caught_up(self) -> None:
        """Nobody has to be told."""

    async def ready(self, versions: list[VersionKey]) -> None:
        """All are."""

    def progress(self, function: str) -> list[PullProgress]:
        return [PullProgress("sha256:" + "a" * 64, 5, 10, "downloading")]

    async def status(self) -> Mapping[str, object]:
        return {"node": "ready"}

    async def images(self) -> list[Image]:
        return [_image("localhost:5000/web:1")]


def _image(reference: str) -> Image:
    digest = "sha256:" + reference[-1] * 64
    return Image(reference, digest, ImageConfig(exposed_ports=(8080,)), 1234, ("one warning",))


@contextlib.asynccontextmanager
async def _preparing(catalog: Catalog) -> AsyncIterator[None]:
    """Does what the scheduler does with new revisions: makes them ready, or says why not."""

    async def prepare() -> None:
        while True:
            for each in await catalog.pending():
                if "bad" in each.image:
                    await catalog.reject(each.function, each.revision, "ImageNotFound", f"no image {each.image}")
                else:
                    await catalog.prepared(each.function, each.revision, _image(each.image))
                    await catalog.activate(each.function, each.revision)
            await asyncio.sleep(0.02)

    task = asyncio.create_task(prepare())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@contextlib.asynccontextmanager
async def _collecting(directory: Path, function: str) -> AsyncIterator[Collector]:
    """The API's way to a collector that knows one log."""
    url, place = sqlite_url(directory / "telemetry.db"), directory / "collector.sock"
    await asyncio.to_thread(migrate, url, "telemetry")
    database, collector = Database(url), Collector(place)
    store = OutputStore(database, time.time_ns)
    version, now = version_key(function, "LATEST", 1), time.time_ns()
    texts = ("listening", "GET /")
    lines = [Line(now, INSTANCE, version, "stdout", "", Level.UNKNOWN, text) for text in texts]
    await store.commit([Batch(function, lines)])
    routes = output_api.routes(store, time.time_ns)
    server = UnixServer(collecting(routes), place)
    await server.start()
    yield collector
    await server.stop()
    await collector.aclose()
    await database.close()


async def _serve(
    directory: Path, listener: socket.socket, server: "list[uvicorn.Server]", keys: list[AccessKey]
) -> None:
    platform, settings = Platform(), Settings()
    database = Database(sqlite_url(directory / "catalog.db"))
    try:
        catalog = Catalog(database, Defaults())
        key, _ = await catalog.ensure_key("1000000000000000")
        keys.append(key)
        async with _preparing(catalog), _collecting(directory, "web") as collector:
            application = api(catalog, platform, platform, collector, platform, settings)
            server.append(uvicorn.Server(uvicorn.Config(application, log_config=None, lifespan="off")))
            await server[0].serve(sockets=[listener])
    finally:
        await database.close()


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    migrate(sqlite_url(tmp_path / "catalog.db"))
    server: list[uvicorn.Server] = []
    keys: list[AccessKey] = []
    thread = threading.Thread(target=lambda: asyncio.run(_serve(tmp_path, listener, server, keys)))
    thread.start()
    try:
        for _ in range(3000):
            if server and server[0].started:
                break
            thread.join(0.01)
        yield {
            "SAMPAN_ENDPOINT": f"http://127.0.0.1:{port}",
            "SAMPAN_ACCESS_KEY_ID": keys[0].id,
            "SAMPAN_ACCESS_KEY_SECRET": keys[0].secret,
            "SAMPAN_STATE": str(tmp_path),
            "NO_COLOR": "1",
            "COLUMNS": "120",
        }
    finally:
        if server:
            server[0].should_exit = True
        thread.join(30)
        listener.close()


def test_a_functions_life_from_deploy_to_rm(environment: dict[str, str]) -> None:
    def sampan(*arguments: str, code: int = Code.OK, stdin: str = "") -> str:
        result = CliRunner().invoke(app, list(arguments), stdin, env=environment)
        assert result.exit_code == code, (arguments, result.output, result.exception)
        return result.stdout if code == Code.OK else result.stderr

    def told(*arguments: str, stdin: str = "") -> dict[str, object]:
        shown = json.loads(sampan(*arguments, "-o", "json", stdin=stdin))
        assert isinstance(shown, dict)
        return shown

    made = told(
        "deploy", "web", "--image", "localhost:5000/web:1", "-e", "A=1", "--init", "--max", "5", "--min", "1"
    )
    assert (made["created"], made["state"], made["authType"]) == (True, "Active", "function")
    assert made["url"]
    assert made["warnings"] == ["one warning"]
    assert (
        told("deploy", "web", "--memory", "1024", "-e", "B=2", "--public", "--no-init")["authType"] == "anonymous"
    )
    tokens = '{"tokens": [{"tokenData": "%s"}]}' % ("t0ken-" * 6)
    checked = ("--auth", "bearer", "--auth-config", "-", "--cors", "https://app.example.org")
    assert told("deploy", "web", *checked, stdin=tokens)["authType"] == "bearer"
    assert told("deploy", "web", "--timeout", "9")["authType"] == "bearer"
    assert "t0ken" not in sampan("describe", "web") + sampan("describe", "web", "-o", "json")
    assert "allowOrigins" in sampan("deploy", "web", "--cors", "https://*.example.org", code=Code.FAILED)
    assert "web" in sampan("ls")
    sampan("publish", "web", "-m", "first")
    sampan("deploy", "web", "--image", "localhost:5000/web:2")
    sampan("publish", "web", "--alias", "prod")
    assert "version 2" in sampan("alias", "web", "prod")
    sampan("alias", "web", "prod", "2", "--weight", "1=0.25")
    assert "25%" in sampan("describe", "web")
    assert told("rollback", "web", "--alias", "prod")["versionId"] == "1"
    assert told("rollback", "web", "--to", "1")["versionId"] == "1"
    function = told("describe", "web")["function"]
    assert isinstance(function, dict)
    assert function["environmentVariables"] == {"A": "1", "B": "2"}
    assert function["customContainerConfig"]["resolvedImageUri"].endswith("@sha256:" + "1" * 64)
    assert INSTANCE in sampan("instances", "web")
    assert [line.split()[-1] for line in sampan("logs", "web").splitlines()] == ["listening", "/"]
    assert "web" in sampan("images")
    assert "ImageNotFound" in sampan("deploy", "web", "--image", "localhost:5000/bad:1", code=Code.FAILED)
    assert "alias prod" in sampan("rm", "web", "--yes", code=Code.FAILED)
    sampan("rm", "web", "--yes", "--force")
    assert "sampan ls" in sampan("describe", "web", code=Code.NOT_FOUND)


def test_a_wrong_secret_is_denied_by_the_real_api(environment: dict[str, str]) -> None:
    environment["SAMPAN_ACCESS_KEY_SECRET"] = "wrong"
    result = CliRunner().invoke(app, ["ls"], env=environment)
    assert result.exit_code == Code.DENIED
    assert "SignatureNotMatch" in result.stderr

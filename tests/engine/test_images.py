"""Pulling with a real containerd from a real registry."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sampan.engine.node.containerd import Containerd
from sampan.engine.node.images import NodeImages
from sampan.image.connection import Patience
from sampan.image.layout import Layer, push_image
from sampan.image.manifest import OCI_INDEX, OCI_MANIFEST, Platform, host_platform
from sampan.image.registry import Registry
from sampan.model.errors import FailureKind, StartFailed
from sampan.model.image import PullProgress, RegistryAuth
from tests.engine.daemons import (
    PASSWORD,
    USER,
    ContainerdDaemon,
    RegistryDaemon,
    containerd,
    registry,
)

pytestmark = pytest.mark.root

QUICK = Patience(tries=3, backoff=0.01)
STUBBORN = Patience(tries=200, backoff=0.05, backoff_max=0.2)
OTHER = Platform("s390x", "linux")
RUN = {"Entrypoint": ["/web"], "Cmd": ["--port", "80"], "ExposedPorts": {"80/tcp": {}}, "Env": ["A=b"], "User": "7"}


@pytest.fixture(scope="module")
def hub() -> Iterator[RegistryDaemon]:
    with registry() as daemon:
        yield daemon


@pytest.fixture(scope="module")
def locked_hub() -> Iterator[RegistryDaemon]:
    with registry(htpasswd=True) as daemon:
        yield daemon


@pytest.fixture
def daemon() -> Iterator[ContainerdDaemon]:
    with containerd() as running:
        yield running


@asynccontextmanager
async def node_images(daemon: ContainerdDaemon, **more: object) -> AsyncIterator[NodeImages]:
    async with Containerd(daemon.socket) as client:
        yield NodeImages(client, **{"patience": QUICK, "fresh": 0.0, **more})  # type: ignore[arg-type]


@pytest.fixture
async def images(daemon: ContainerdDaemon) -> AsyncIterator[NodeImages]:
    async with node_images(daemon) as found:
        yield found


async def push(
    hub: RegistryDaemon,
    repository: str,
    layers: list[Layer],
    tag: str = "1",
    platform: Platform | None = None,
    auth: RegistryAuth | None = None,
) -> str:
    async with Registry(hub.host, auth) as client:
        return await push_image(client, repository, tag, layers, RUN, platform=platform)


def text(path: str, content: str) -> Layer:
    return Layer.of_files([(path, content.encode(), 0o755)])


def noise(path: str, size: int) -> Layer:
    return Layer.of_files([(path, os.urandom(size), 0o644)])


async def failure_of(
    images: NodeImages, reference: str, auth: RegistryAuth | None = None
) -> tuple[FailureKind, str]:
    with pytest.raises(StartFailed) as raised:
        await images.pull(reference, auth)
    return raised.value.failure.kind, raised.value.failure.message


# ── what comes out ────────────────────────────────────────────────────────────────────────────────────


async def test_an_image_is_pulled_by_tag_with_its_config_and_its_layers_topmost_first(
    images: NodeImages, hub: RegistryDaemon
) -> None:
    digest = await push(hub, "web", [text("web", "old"), text("web", "new"), text("etc/web", "x")])
    image = await images.pull(f"{hub.host}/web:1", None)
    assert (image.digest, image.reference, image.warnings) == (digest, f"{hub.host}/web:1", ())
    assert (image.config.entrypoint, image.config.command) == (("/web",), ("--port", "80"))
    assert (image.config.environment, image.config.user, image.config.exposed_ports) == (("A=b",), "7", (80,))
    assert image.size > 0
    lowers = await images.lower_directories(digest)
    assert len(lowers) == 3
    assert (Path(lowers[0]) / "etc/web").read_text() == "x"
    assert [(Path(lower) / "web").read_text() for lower in lowers[1:]] == ["new", "old"]


async def test_an_image_of_one_layer_has_one_lower_directory(images: NodeImages, hub: RegistryDaemon) -> None:
    digest = await push(hub, "one", [text("one", "1")])
    image = await images.pull(f"{hub.host}/one:1", None)
    (lower,) = await images.lower_directories(digest)
    assert (Path(lower) / "one").read_text() == "1"
    assert image.config.entrypoint == ("/web",)


async def test_an_image_is_pulled_by_digest_and_then_needs_no_registry(daemon: ContainerdDaemon) -> None:
    with registry() as hub:
        digest = await push(hub, "web", [text("web", "1")])
        async with node_images(daemon) as images:
            first = await images.pull(f"{hub.host}/web@{digest}", None)
            hub.kill()
            assert await images.pull(f"{hub.host}/web:any@{digest}", None) == first.__class__(
                reference=f"{hub.host}/web:any@{digest}", digest=digest, config=first.config, size=first.size
            )


async def test_from_an_index_the_manifest_of_this_machine_is_taken(images: NodeImages, hub: RegistryDaemon) -> None:
    ours = await push(hub, "multi", [text("a", "ours")], "ours")
    theirs = await push(hub, "multi", [text("a", "theirs")], "theirs", OTHER)
    index = await push_index(hub, "multi", {theirs: OTHER, ours: host_platform()})
    assert (await images.pull(f"{hub.host}/multi:all", None)).digest == ours
    assert (await images.pull(f"{hub.host}/multi@{index}", None)).digest == ours


async def push_index(hub: RegistryDaemon, repository: str, entries: dict[str, Platform]) -> str:
    async with Registry(hub.host) as client:
        manifests = [
            {
                "mediaType": OCI_MANIFEST,
                "digest": digest,
                "size": len((await client.manifest(repository, digest)).body),
                "platform": {"architecture": platform.architecture, "os": platform.os},
            }
            for digest, platform in entries.items()
        ]
        body = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}).encode()
        return await client.push_manifest(repository, "all", body, OCI_INDEX)


# ── what can be wrong ─────────────────────────────────────────────────────────────────────────────────


async def test_a_foreign_platform_is_refused_and_what_exists_is_named(
    images: NodeImages, hub: RegistryDaemon
) -> None:
    theirs = await push(hub, "foreign", [text("a", "theirs")], "1", OTHER)
    await push_index(hub, "foreign", {theirs: OTHER})
    for tag in ("1", "all"):
        kind, message = await failure_of(images, f"{hub.host}/foreign:{tag}")
        assert kind is FailureKind.IMAGE_WRONG_PLATFORM
        assert "linux/s390x" in message
        assert str(host_platform()) in message


async def test_what_does_not_exist_is_not_found(images: NodeImages, hub: RegistryDaemon) -> None:
    await push(hub, "web", [text("web", "1")])
    for name in ("web:2", "nothing:1", "web@sha256:" + "0" * 64):
        kind, message = await failure_of(images, f"{hub.host}/{name}")
        assert kind is FailureKind.IMAGE_NOT_FOUND
        assert name in message


async def test_a_name_that_is_none_is_an_invalid_image(images: NodeImages) -> None:
    assert (await failure_of(images, "Not A Name"))[0] is FailureKind.IMAGE_INVALID


async def test_without_credentials_access_is_denied_and_the_next_step_named(
    images: NodeImages, locked_hub: RegistryDaemon
) -> None:
    kind, message = await failure_of(images, f"{locked_hub.host}/web:1")
    assert kind is FailureKind.IMAGE_DENIED
    assert "registryConfig.authConfig" in message


async def test_wrong_credentials_are_denied_and_not_repeated(
    images: NodeImages, locked_hub: RegistryDaemon
) -> None:
    kind, message = await failure_of(images, f"{locked_hub.host}/web:1", RegistryAuth(USER, "pass phrase"))
    assert kind is FailureKind.IMAGE_DENIED
    assert USER in message
    assert "pass phrase" not in message


async def test_with_credentials_a_private_image_is_pulled(images: NodeImages, locked_hub: RegistryDaemon) -> None:
    auth = RegistryAuth(USER, PASSWORD)
    digest = await push(locked_hub, "private", [text("web", "1")], auth=auth)
    assert (await images.pull(f"{locked_hub.host}/private:1", auth)).digest == digest


async def test_a_registry_that_is_away_fails_the_pull_with_its_name(images: NodeImages) -> None:
    with registry() as hub:
        hub.kill()
        kind, message = await failure_of(images, f"{hub.host}/web:1")
    assert kind is FailureKind.IMAGE_PULL_FAILED
    assert hub.host in message


async def test_a_layer_whose_bytes_are_wrong_is_refused_and_not_kept(images: NodeImages) -> None:
    with registry() as hub:
        layer = noise("a", 2 << 20)
        await push(hub, "bad", [layer])
        blob = hub.root / f"storage/docker/registry/v2/blobs/sha256/{layer.digest[7:9]}/{layer.digest[7:]}/data"
        with blob.open("r+b") as file:
            file.seek(1 << 20)
            file.write(b"tampered")
        kind, message = await failure_of(images, f"{hub.host}/bad:1")
        assert kind is FailureKind.IMAGE_INVALID
        assert layer.digest in message
        assert await images.list() == []


# ── interrupted ───────────────────────────────────────────────────────────────────────────────────────


async def test_a_download_goes_on_where_it_was_when_the_registry_comes_back(daemon: ContainerdDaemon) -> None:
    with registry() as hub:
        layer = noise("a", 48 << 20)
        digest = await push(hub, "big", [layer])
        killed = asyncio.Event()

        def on_progress(progress: PullProgress) -> None:
            if progress.done and not killed.is_set():
                killed.set()
                hub.kill()

        async with node_images(daemon, patience=STUBBORN) as images:
            pull = asyncio.create_task(images.pull(f"{hub.host}/big:1", None, on_progress))
            await asyncio.wait_for(killed.wait(), 60)
            await asyncio.to_thread(hub.start)
            assert (await asyncio.wait_for(pull, 120)).digest == digest
        assert " 206 " in hub.log.read_text()


async def test_a_pull_that_failed_half_way_is_resumed_by_the_next(daemon: ContainerdDaemon) -> None:
    with registry() as hub:
        digest = await push(hub, "big", [noise("a", 48 << 20)])

        def on_progress(progress: PullProgress) -> None:
            if progress.done:
                hub.kill()

        async with node_images(daemon) as images:
            with pytest.raises(StartFailed) as raised:
                await images.pull(f"{hub.host}/big:1", None, on_progress)
            assert raised.value.failure.kind is FailureKind.IMAGE_PULL_FAILED
        await asyncio.to_thread(hub.start)
        async with node_images(daemon) as images:  # a new process of ours
            assert (await images.pull(f"{hub.host}/big:1", None)).digest == digest
        assert " 206 " in hub.log.read_text()


async def test_a_pull_outlasts_a_restart_of_containerd(daemon: ContainerdDaemon, hub: RegistryDaemon) -> None:
    digest = await push(hub, "outlast", [noise("a", 48 << 20)])
    killed = asyncio.Event()

    def on_progress(progress: PullProgress) -> None:
        if progress.done and not killed.is_set():
            killed.set()
            daemon.kill()

    async with node_images(daemon) as images:
        pull = asyncio.create_task(images.pull(f"{hub.host}/outlast:1", None, on_progress))
        await asyncio.wait_for(killed.wait(), 60)
        await asyncio.to_thread(daemon.start)
        assert (await asyncio.wait_for(pull, 120)).digest == digest
        (lower,) = await images.lower_directories(digest)
        assert (Path(lower) / "a").stat().st_size == 48 << 20


async def test_a_containerd_that_stays_away_fails_the_pull_with_a_reason(
    daemon: ContainerdDaemon, hub: RegistryDaemon
) -> None:
    await push(hub, "web", [text("web", "1")])
    async with node_images(daemon, outage=0.2) as images:
        daemon.kill()
        kind, message = await failure_of(images, f"{hub.host}/web:1")
    assert kind is FailureKind.ENGINE_FAILED
    assert "containerd" in message


async def test_a_cancelled_pull_ends_and_the_next_one_finishes(
    daemon: ContainerdDaemon, hub: RegistryDaemon
) -> None:
    digest = await push(hub, "cancelled", [noise("a", 32 << 20)])
    begun = asyncio.Event()
    async with node_images(daemon) as images:
        pull = asyncio.create_task(
            images.pull(f"{hub.host}/cancelled:1", None, lambda progress: progress.done and begun.set())
        )
        await asyncio.wait_for(begun.wait(), 60)
        pull.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pull
        assert await images.list() == []
        assert (await images.pull(f"{hub.host}/cancelled:1", None)).digest == digest


@pytest.mark.parametrize("layer_mb", [150, 60], ids=["while downloading", "while unpacking"])
async def test_a_full_disk_is_told_and_nothing_half_made_is_left(hub: RegistryDaemon, layer_mb: int) -> None:
    await push(hub, f"large{layer_mb}", [text("small", "1"), noise("a", layer_mb << 20)])
    digest = await push(hub, "small", [text("small", "2")])
    with containerd(size_mb=100) as daemon:
        async with Containerd(daemon.socket) as client:
            images = NodeImages(client, patience=QUICK)
            kind, message = await failure_of(images, f"{hub.host}/large{layer_mb}:1")
            assert kind is FailureKind.DISK_FULL
            assert "disk" in message
            assert await client.ingests() == []
            assert await client.snapshots() == []
            assert await client.contents() == []
            assert await images.list() == []
            assert (await images.pull(f"{hub.host}/small:1", None)).digest == digest


async def test_whether_images_can_be_had_is_whether_containerd_answers() -> None:
    with containerd() as daemon:
        async with Containerd(daemon.socket) as client:
            images = NodeImages(client, patience=QUICK)
            await images.check()
            daemon.kill()
            with pytest.raises(StartFailed) as refused:
                await images.check()
            assert refused.value.failure.kind is FailureKind.ENGINE_FAILED
            daemon.start()
            await client.wait(30)
            await images.check()


# ── shared ────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_layer_that_is_here_is_not_fetched_again(images: NodeImages) -> None:
    with registry() as hub:
        base = noise("base", 1 << 20)
        await push(hub, "one", [base, text("a", "1")])
        await push(hub, "two", [base, text("a", "2")])
        await images.pull(f"{hub.host}/one:1", None)
        await images.pull(f"{hub.host}/two:1", None)
        assert hub.requests("GET", f"blobs/{base.digest}") == 1


async def test_pulling_an_unchanged_image_again_reads_its_manifest_and_nothing_else(images: NodeImages) -> None:
    with registry() as hub:
        await push(hub, "web", [text("a", "1")])
        first = await images.pull(f"{hub.host}/web:1", None)
        blobs = hub.requests("GET", "/blobs/")
        assert blobs == 2
        assert await images.pull(f"{hub.host}/web:1", None) == first
        assert hub.requests("GET", "/blobs/") == blobs


async def test_concurrent_pulls_share_the_work_and_all_hear_of_it(images: NodeImages) -> None:
    with registry() as hub:
        shared = noise("a", 8 << 20)
        await push(hub, "one", [shared, text("b", "1")])
        await push(hub, "two", [shared, text("b", "2")])
        heard: list[list[PullProgress]] = [[], [], []]
        names = [f"{hub.host}/one:1", f"{hub.host}/one:1", f"{hub.host}/two:1"]
        found = await asyncio.gather(
            *(images.pull(name, None, ears.append) for name, ears in zip(names, heard, strict=True))
        )
        assert [image.reference for image in found] == names
        assert hub.requests("GET", f"blobs/{shared.digest}") == 1
        for ears in heard:
            assert {progress.stage for progress in ears if progress.layer == shared.digest} >= {"done"}


async def test_a_waiter_that_goes_away_does_not_end_the_pull_of_the_other(
    images: NodeImages, hub: RegistryDaemon
) -> None:
    digest = await push(hub, "waiters", [noise("a", 24 << 20)])
    begun = asyncio.Event()
    first = asyncio.create_task(
        images.pull(f"{hub.host}/waiters:1", None, lambda progress: progress.done and begun.set())
    )
    second = asyncio.create_task(images.pull(f"{hub.host}/waiters:1", None))
    await asyncio.wait_for(begun.wait(), 60)
    first.cancel()
    assert (await asyncio.wait_for(second, 60)).digest == digest


# ── found again, and given up ─────────────────────────────────────────────────────────────────────────


async def test_images_are_found_again_after_a_restart_of_both_daemons(
    daemon: ContainerdDaemon, hub: RegistryDaemon
) -> None:
    digest = await push(hub, "again", [text("a", "1"), text("b", "2")])
    async with node_images(daemon) as images:
        image = await images.pull(f"{hub.host}/again:1", None)
        lowers = await images.lower_directories(digest)
    daemon.kill()
    await asyncio.to_thread(daemon.start)
    async with node_images(daemon) as images:
        assert await images.list() == [image]
        assert await images.lower_directories(digest) == lowers
        assert (Path(lowers[0]) / "b").read_text() == "2"


async def test_what_is_not_retained_is_collected_unless_it_is_in_use(
    daemon: ContainerdDaemon, hub: RegistryDaemon
) -> None:
    base, used = text("base", "b"), set[str]()
    digests = {
        name: await push(hub, name, [base, text("name", name)]) for name in ("retained", "running", "given-up")
    }
    async with Containerd(daemon.socket) as client:
        images = NodeImages(client, in_use=lambda: frozenset(used), fresh=0.0)
        for name in digests:
            await images.pull(f"{hub.host}/{name}:1", None)
        gone = await images.lower_directories(digests["given-up"])
        used.add(digests["running"])
        await images.retain(frozenset({digests["retained"]}))
        assert {image.digest for image in await images.list()} == {digests["retained"], digests["running"]}
        for name in ("retained", "running"):
            top, below = await images.lower_directories(digests[name])
            assert (Path(top) / "name").read_text() == name
            assert (Path(below) / "base").read_text() == "b"
        assert not Path(gone[0]).exists()
        assert digests["given-up"] not in await client.contents()
        with pytest.raises(StartFailed) as raised:
            await images.lower_directories(digests["given-up"])
        assert raised.value.failure.kind is FailureKind.IMAGE_NOT_FOUND


async def test_what_was_just_pulled_is_not_collected(daemon: ContainerdDaemon, hub: RegistryDaemon) -> None:
    digest = await push(hub, "fresh", [text("a", "1")])
    async with node_images(daemon, fresh=600.0) as images:
        await images.pull(f"{hub.host}/fresh:1", None)
        await images.retain(frozenset())
        assert [image.digest for image in await images.list()] == [digest]


async def test_a_tag_that_moves_on_leaves_the_old_image_in_place(images: NodeImages, hub: RegistryDaemon) -> None:
    old = await push(hub, "moving", [text("a", "old")])
    await images.pull(f"{hub.host}/moving:1", None)
    new = await push(hub, "moving", [text("a", "new")])
    assert (await images.pull(f"{hub.host}/moving:1", None)).digest == new
    (lower,) = await images.lower_directories(old)
    assert (Path(lower) / "a").read_text() == "old"


# ── Python modules ────────────────────────────────────────────────────────────────────────────────────


async def test_python_modules_that_are_not_compiled_are_told_also_after_a_restart(
    daemon: ContainerdDaemon, hub: RegistryDaemon
) -> None:
    modules = Layer.of_files([(f"usr/lib/python3.11/m{n}.py", b"", 0o644) for n in range(30)])
    await push(hub, "python", [modules])
    async with node_images(daemon) as images:
        (told,) = (await images.pull(f"{hub.host}/python:1", None)).warnings
        assert "compileall --invalidation-mode unchecked-hash" in told
    async with node_images(daemon) as images:
        assert [image.warnings for image in await images.list()] == [(told,)]


async def test_python_modules_compiled_in_a_layer_above_are_not_told(
    images: NodeImages, hub: RegistryDaemon
) -> None:
    modules = Layer.of_files([(f"usr/lib/python3.11/m{n}.py", b"", 0o644) for n in range(30)])
    compiled = text("usr/lib/python3.11/__pycache__/m0.cpython-311.pyc", "x")
    await push(hub, "compiled", [modules, compiled])
    assert (await images.pull(f"{hub.host}/compiled:1", None)).warnings == ()

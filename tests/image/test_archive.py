"""Pushing archives that other tools wrote, and images built here, to a real registry; skopeo is the judge."""

import gzip
import json
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from sampan.image.archive import push_archive
from sampan.image.layout import Layer, base_image, push_image
from sampan.image.manifest import Manifest, Platform, read_manifest
from sampan.image.reference import Reference
from sampan.image.registry import Registry
from sampan.model.errors import FailureKind, ImageFailed, InvalidArgument
from sampan.model.image import PullProgress
from tests.engine.daemons import RegistryDaemon, registry

FORMS = ["docker-archive", "oci-archive", "oci"]


@pytest.fixture(scope="module")
def hub() -> Iterator[RegistryDaemon]:
    with registry() as daemon:
        yield daemon


@pytest.fixture
async def client(hub: RegistryDaemon) -> AsyncIterator[Registry]:
    async with Registry(hub.host) as found:
        yield found


def layer(text: str = "x") -> Layer:
    return Layer.of_files([("srv/app/main.py", text.encode(), 0o644), ("srv/run", b"#!", 0o755)])


def skopeo(*words: str) -> str:
    done = subprocess.run(["skopeo", *words], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def inspect(hub: RegistryDaemon, name: str) -> dict[str, object]:
    found = json.loads(skopeo("inspect", "--tls-verify=false", "--config", f"docker://{hub.host}/{name}"))
    assert isinstance(found, dict)
    return found


async def saved(hub: RegistryDaemon, client: Registry, directory: Path, form: str) -> Path:
    """An image of two layers as another tool saves it."""
    await push_image(client, "source", "1", [layer("a"), layer("b")], {"Cmd": ["/srv/run"]})
    path = directory / "image"
    place = f"{form}:{path}" if form == "oci" else f"{form}:{path}:source:1"
    skopeo("copy", "--src-tls-verify=false", f"docker://{hub.host}/source:1", place)
    return path


@pytest.mark.parametrize("form", FORMS)
async def test_an_archive_is_pushed_whole_and_tells_its_progress(
    hub: RegistryDaemon, client: Registry, tmp_path: Path, form: str
) -> None:
    path = await saved(hub, client, tmp_path, form)
    heard: list[PullProgress] = []
    digest = await push_archive(path, Reference.parse(f"{hub.host}/imported/{form}:2"), client, heard.append)
    fetched = await client.manifest(f"imported/{form}", "2")
    assert fetched.digest == digest
    manifest = read_manifest(fetched.body)
    assert isinstance(manifest, Manifest)
    assert {progress.layer for progress in heard if progress.stage == "done"} >= {
        entry.digest for entry in manifest.layers
    }
    config = inspect(hub, f"imported/{form}:2")
    assert config["config"] == {"Cmd": ["/srv/run"]}
    assert config["rootfs"] == inspect(hub, "source:1")["rootfs"]


async def test_a_gzipped_archive_is_read_too(hub: RegistryDaemon, client: Registry, tmp_path: Path) -> None:
    path = await saved(hub, client, tmp_path, "docker-archive")
    packed = tmp_path / "image.tar.gz"
    with path.open("rb") as plain, gzip.open(packed, "wb", 1) as out:
        shutil.copyfileobj(plain, out)
    assert await push_archive(packed, Reference.parse(f"{hub.host}/gz:1"), client) == await push_archive(
        path, Reference.parse(f"{hub.host}/gz:2"), client
    )


async def test_what_is_no_archive_is_refused(client: Registry, tmp_path: Path) -> None:
    target = Reference.parse("localhost/x:1")
    (tmp_path / "text").write_text("hello")
    for path in (tmp_path / "text", tmp_path / "absent"):
        with pytest.raises(InvalidArgument):
            await push_archive(path, target, client)
    with pytest.raises(ImageFailed) as raised:
        await push_archive(tmp_path, target, client)
    assert raised.value.failure.kind is FailureKind.IMAGE_INVALID


async def test_a_layout_whose_blob_is_missing_is_refused(
    hub: RegistryDaemon, client: Registry, tmp_path: Path
) -> None:
    path = await saved(hub, client, tmp_path, "oci")
    largest = max((path / "blobs/sha256").iterdir(), key=lambda file: file.stat().st_size)
    largest.unlink()
    with pytest.raises(ImageFailed) as raised:
        await push_archive(path, Reference.parse(f"{hub.host}/broken:1"), client)
    assert largest.name in str(raised.value)


# ── images built here ─────────────────────────────────────────────────────────────────────────────────


def test_the_same_files_make_the_same_layer() -> None:
    assert (layer().digest, layer().diff_id) == (layer().digest, layer().diff_id)
    assert layer("x").digest != layer("y").digest


def test_a_tree_makes_the_same_layer_whenever_it_was_written(tmp_path: Path) -> None:
    digests = set()
    for name in ("one", "two"):
        root = tmp_path / name
        (root / "a/b").mkdir(parents=True)
        (root / "a/b/run").write_text("#!")
        (root / "a/b/run").chmod(0o755)
        (root / "link").symlink_to("a/b/run")
        digests.add(Layer.of_tree(root, "/code").digest)
    assert len(digests) == 1


async def test_a_built_image_is_one_that_others_can_unpack(
    hub: RegistryDaemon, client: Registry, tmp_path: Path
) -> None:
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub/file").write_text("content")
    await push_image(client, "built", "1", [layer(), Layer.of_tree(tree, "/code")], {"Env": ["A=b"]})
    skopeo("copy", "--src-tls-verify=false", f"docker://{hub.host}/built:1", f"dir:{tmp_path / 'out'}")
    assert inspect(hub, "built:1")["config"] == {"Env": ["A=b"]}


async def test_a_layer_on_a_base_of_another_repository_sends_only_itself(
    hub: RegistryDaemon, client: Registry
) -> None:
    bottom, top = layer("bottom"), layer("top")
    await push_image(client, "base", "1", [bottom], {"Env": ["A=b"], "Cmd": ["old"]})
    assert hub.requests("PUT", f"digest={bottom.digest}") == 1
    base = await base_image(client, "base", "1")
    await push_image(client, "derived", "1", [top], {"Cmd": ["new"]}, base)
    assert hub.requests("PUT", f"digest={bottom.digest}") == 1
    assert hub.requests("PUT", f"digest={top.digest}") == 1
    config = inspect(hub, "derived:1")
    assert config["config"] == {"Env": ["A=b"], "Cmd": ["new"]}
    assert config["rootfs"] == {"type": "layers", "diff_ids": [bottom.diff_id, top.diff_id]}


async def test_an_image_may_be_built_for_another_platform(hub: RegistryDaemon, client: Registry) -> None:
    await push_image(client, "foreign", "1", [layer()], {}, platform=Platform("s390x", "linux"))
    assert inspect(hub, "foreign:1")["architecture"] == "s390x"

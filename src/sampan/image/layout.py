"""Builds small images in Python: layers from files or directories, on nothing or on an image of the same registry.

Deterministic: the same files make the same digests, so what has not changed is not sent again.
"""

import gzip
import hashlib
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import IO, Any, cast

import msgspec

from sampan.image.manifest import (
    OCI_CONFIG,
    OCI_LAYER,
    OCI_MANIFEST,
    Descriptor,
    Index,
    Manifest,
    Platform,
    choose,
    digest_of,
    host_platform,
    invalid,
    read_manifest,
)
from sampan.image.registry import Registry
from sampan.model.image import PullProgress

_BLOCK = 1 << 20  # bytes hashed and copied at a time
_GZIP_LEVEL = 1  # a small function's layer takes under 1 ms; higher levels cost more than they save on a LAN


@dataclass(slots=True)
class Layer:
    """A layer that lies in an unnamed temporary file, which goes with it."""

    file: int  # its descriptor
    diff_id: str  # digest of the tar
    digest: str  # of the compressed tar
    size: int

    def read(self, offset: int, length: int) -> bytes:
        return os.pread(self.file, length, offset)

    def __del__(self) -> None:
        os.close(self.file)

    @classmethod
    def of_files(cls, files: Iterable[tuple[str, bytes, int]]) -> "Layer":
        """From (path, content, mode) triples. Parent directories are made, with mode 0755."""
        return cls._of(lambda tar: _add_files(tar, files))

    @classmethod
    def of_tree(cls, root: Path, prefix: str = "") -> "Layer":
        """From what is in a directory, put under `prefix`. Everything belongs to root and is of 1970."""
        return cls._of(lambda tar: _add_tree(tar, root, prefix.strip("/")))

    @classmethod
    def _of(cls, fill: Callable[[tarfile.TarFile], None]) -> "Layer":
        plain = _Hashed()
        with tempfile.TemporaryFile() as file:
            with gzip.GzipFile("", "wb", _GZIP_LEVEL, file, mtime=0) as packed:
                plain.to = packed
                # PAX, so that long names and other scripts survive
                with tarfile.open(fileobj=cast(IO[bytes], plain), mode="w|", format=tarfile.PAX_FORMAT) as tar:
                    fill(tar)
            size, whole = file.tell(), hashlib.sha256()
            file.seek(0)
            while block := file.read(_BLOCK):
                whole.update(block)
            return cls(
                os.dup(file.fileno()), f"sha256:{plain.sum.hexdigest()}", f"sha256:{whole.hexdigest()}", size
            )


@dataclass(slots=True)
class _Hashed:
    """A writable that adds up what passes through."""

    sum: Any = field(default_factory=hashlib.sha256)
    to: IO[bytes] | gzip.GzipFile | None = None

    def write(self, data: bytes) -> int:
        assert self.to is not None
        self.sum.update(data)
        return self.to.write(data)


@dataclass(slots=True)
class Base:
    """An image of the same registry to build upon."""

    repository: str
    manifest: Manifest
    config: dict[str, Any]


async def base_image(registry: Registry, repository: str, wanted: str, platform: Platform | None = None) -> Base:
    """Raises: ImageFailed."""
    fetched = await registry.manifest(repository, wanted)
    manifest = read_manifest(fetched.body, fetched.media_type)
    if isinstance(manifest, Index):
        chosen = choose(manifest, platform or host_platform(), f"{repository}:{wanted}")
        fetched = await registry.manifest(repository, chosen.digest)
        manifest = read_manifest(fetched.body, fetched.media_type)
        if isinstance(manifest, Index):
            raise invalid("its index names another index for this platform")
    body = await registry.small_blob(repository, manifest.config.digest, manifest.config.size)
    return Base(repository, manifest, msgspec.json.decode(body, type=dict[str, Any]))


async def push_image(
    registry: Registry,
    repository: str,
    tag: str,
    layers: list[Layer],
    config: dict[str, Any],
    base: Base | None = None,
    platform: Platform | None = None,
    progress: Callable[[PullProgress], None] | None = None,
) -> str:
    """Build and push; the manifest's digest. `config`: members of an OCI config's `config`, e.g. Entrypoint, Env.

    What `config` does not name is the base's. Raises: ImageFailed.
    """
    below = base.manifest.layers if base is not None else ()
    if base is not None and base.repository != repository:
        for entry in (*below, base.manifest.config):
            await _carry_over(registry, base.repository, repository, entry)
    for layer in layers:
        await registry.push_blob(repository, layer.digest, layer.size, layer.read, _telling(layer, progress))
    described = tuple(Descriptor(f"{OCI_LAYER}+gzip", layer.digest, layer.size) for layer in layers)
    body = msgspec.json.encode(_config(base, layers, config, platform or host_platform()), order="deterministic")
    await registry.push_blob(repository, digest_of(body), len(body), lambda at, length: body[at : at + length])
    manifest = Manifest(Descriptor(OCI_CONFIG, digest_of(body), len(body)), (*below, *described))
    return await registry.push_manifest(repository, tag, msgspec.json.encode(manifest), OCI_MANIFEST)


async def _carry_over(registry: Registry, source: str, repository: str, entry: Descriptor) -> None:
    """Mount a blob of the base, or send it where the registry does not mount."""
    if await registry.has_blob(repository, entry.digest) or await registry.mount_blob(
        repository, entry.digest, source
    ):
        return
    with tempfile.TemporaryFile() as copy:
        async for piece in registry.blob(source, entry.digest, entry.size):
            copy.write(piece)
        copy.flush()
        await registry.push_blob(
            repository, entry.digest, entry.size, lambda at, length: os.pread(copy.fileno(), length, at)
        )


def _config(base: Base | None, layers: list[Layer], config: dict[str, Any], platform: Platform) -> dict[str, Any]:
    nothing: dict[str, Any] = {"architecture": platform.architecture, "os": platform.os}
    old = base.config if base is not None else nothing
    diff_ids = [*old.get("rootfs", {}).get("diff_ids", ()), *(layer.diff_id for layer in layers)]
    run = {**(old.get("config") or {}), **config}
    kept = {name: value for name, value in old.items() if name != "history"}  # optional, and would have to match
    return {**kept, "config": run, "rootfs": {"type": "layers", "diff_ids": diff_ids}}


def _telling(layer: Layer, progress: Callable[[PullProgress], None] | None) -> Callable[[int], None]:
    def tell(done: int) -> None:
        if progress is not None:
            stage = "done" if done == layer.size else "uploading"
            progress(PullProgress(layer.digest, done, layer.size, stage))

    return tell


def _add_files(tar: tarfile.TarFile, files: Iterable[tuple[str, bytes, int]]) -> None:
    made: set[str] = set()
    for path, content, mode in sorted(files):
        name = path.strip("/")
        for parent in reversed([str(parent) for parent in Path(name).parents][:-1]):
            if parent not in made:
                made.add(parent)
                tar.addfile(_entry(parent, tarfile.DIRTYPE, 0o755))
        entry = _entry(name, tarfile.REGTYPE, mode)
        entry.size = len(content)
        tar.addfile(entry, BytesIO(content))


def _add_tree(tar: tarfile.TarFile, root: Path, prefix: str) -> None:
    if prefix:
        for parent in (*reversed(Path(prefix).parents[:-1] if len(Path(prefix).parents) > 1 else ()), Path(prefix)):
            tar.addfile(_entry(str(parent), tarfile.DIRTYPE, 0o755))
    for path in sorted(root.rglob("*")):
        name = f"{prefix}/{path.relative_to(root)}".strip("/")
        entry = tar.gettarinfo(path, name)
        if entry is None:
            continue  # a socket; tar has no word for it
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        entry.mtime = 0
        if entry.isreg():
            with path.open("rb") as content:
                tar.addfile(entry, content)
        else:
            tar.addfile(entry)


def _entry(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = kind, mode
    return entry

"""Pushes an image that lies in a file: `docker save`, an OCI layout directory, or an OCI layout in a tar.

Source: OCI image-spec 1.1, image-layout.md; docker image specification v1.2 (manifest.json).
"""

import asyncio
import gzip
import hashlib
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Protocol, TypeVar

import msgspec

from sampan.image.manifest import (
    LARGEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    Descriptor,
    Index,
    Manifest,
    choose,
    digest_of,
    host_platform,
    invalid,
    read_manifest,
)
from sampan.image.reference import Reference
from sampan.image.registry import Read, Registry
from sampan.model.errors import InvalidArgument
from sampan.model.image import PullProgress

Progress = Callable[[PullProgress], None]

_BLOCK = 1 << 20  # bytes hashed at a time
_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_LINKS = 8  # that may be followed to find a layer; `docker save` used one for layers that occur twice

T = TypeVar("T")


class _Saved(msgspec.Struct, frozen=True, rename="pascal"):
    """One image in a docker archive's manifest.json."""

    config: str
    layers: tuple[str, ...]
    repo_tags: tuple[str, ...] | None = None


class _Blob(msgspec.Struct, frozen=True):
    descriptor: Descriptor
    read: Read


class _Files(Protocol):
    """Named files, wherever they lie."""

    def find(self, name: str) -> tuple[Read, int] | None:
        """How to read it, and its size."""


async def push_archive(path: Path, target: Reference, registry: Registry, progress: Progress | None = None) -> str:
    """Push the archive's image for this machine's platform as `target`; its digest.

    Raises: ImageFailed, InvalidArgument (there is no archive at `path`).
    """
    with ExitStack() as stack:
        files = await asyncio.to_thread(_open, path, stack)
        manifest, media_type, blobs = await asyncio.to_thread(_read, files, str(path))
        for blob in blobs:
            entry = blob.descriptor
            await registry.push_blob(
                target.repository, entry.digest, entry.size, blob.read, _telling(entry, progress)
            )
        return await registry.push_manifest(
            target.repository, target.tag or digest_of(manifest), manifest, media_type
        )


def _telling(entry: Descriptor, progress: Progress | None) -> Callable[[int], None]:
    def tell(done: int) -> None:
        if progress is not None:
            stage = "done" if done == entry.size else "uploading"
            progress(PullProgress(entry.digest, done, entry.size, stage))

    return tell


# ── where the files lie ───────────────────────────────────────────────────────────────────────────────


def _open(path: Path, stack: ExitStack) -> _Files:
    try:
        if path.is_dir():
            return _Directory(path)
        file: IO[bytes] = stack.enter_context(path.open("rb"))
        if file.read(2) == _GZIP:
            file = stack.enter_context(_unpacked(path))
        return stack.enter_context(_Tar(file))
    except (OSError, EOFError, tarfile.TarError) as error:
        raise InvalidArgument(
            "archive", str(path), f"a tar written by `docker save`, or an OCI layout ({error})"
        ) from error


def _unpacked(path: Path) -> IO[bytes]:
    """A gzipped archive's tar in an unnamed file, so that it can be read at any place."""
    plain = tempfile.TemporaryFile()  # noqa: SIM115 - the caller's stack closes it
    with gzip.open(path) as packed:
        shutil.copyfileobj(packed, plain, _BLOCK)
    plain.flush()
    return plain


class _Directory:
    def __init__(self, root: Path) -> None:
        self._root = root

    def find(self, name: str) -> tuple[Read, int] | None:
        path = self._root / name
        if ".." in Path(name).parts or not path.is_file():
            return None

        def read(offset: int, length: int) -> bytes:
            with path.open("rb") as file:
                file.seek(offset)
                return file.read(length)

        return read, path.stat().st_size


class _Tar:
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        file.seek(0)
        self._tar = tarfile.open(fileobj=file, mode="r:")  # noqa: SIM115 - closed by __exit__
        self._members = {os.path.normpath(member.name): member for member in self._tar}

    def __enter__(self) -> "_Tar":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tar.close()

    def find(self, name: str) -> tuple[Read, int] | None:
        member = self._members.get(os.path.normpath(name))
        for _ in range(_LINKS):
            if member is None or not (member.issym() or member.islnk()):
                break
            parent = os.path.dirname(member.name) if member.issym() else ""
            member = self._members.get(os.path.normpath(os.path.join(parent, member.linkname)))
        if member is None or not member.isreg():
            return None
        start, size, number = member.offset_data, member.size, self._file.fileno()

        def read(offset: int, length: int) -> bytes:
            return os.pread(number, max(0, min(length, size - offset)), start + offset)

        return read, size


# ── what the files say ────────────────────────────────────────────────────────────────────────────────


def _read(files: _Files, name: str) -> tuple[bytes, str, list[_Blob]]:
    """The manifest to push, its media type, and the blobs it needs."""
    if files.find("index.json") is not None and files.find("oci-layout") is not None:
        return _read_layout(files, name)
    if files.find("manifest.json") is not None:
        return _read_saved(files, name)
    raise invalid(f"{name} holds neither an OCI layout nor a docker archive; write it with `docker save`")


def _read_layout(files: _Files, name: str) -> tuple[bytes, str, list[_Blob]]:
    body, media_type = _document(files, "index.json"), OCI_INDEX
    for _ in range(_LINKS):
        found = read_manifest(body, media_type)
        if isinstance(found, Manifest):
            entries = (*dict.fromkeys(found.layers), found.config)
            return body, media_type, [_Blob(entry, _blob(files, entry)) for entry in entries]
        chosen = _only(found) or choose(found, host_platform(), name)
        body, media_type = _document(files, _place(chosen)), chosen.media_type
    raise invalid(f"{name} has indexes within indexes")


def _only(index: Index) -> Descriptor | None:
    """A layout with one entry is read further whatever its platform says: an index may follow."""
    return index.manifests[0] if len(index.manifests) == 1 else None


def _read_saved(files: _Files, name: str) -> tuple[bytes, str, list[_Blob]]:
    images = _decode(_document(files, "manifest.json"), list[_Saved])
    if len(images) != 1:
        raise invalid(f"{name} holds {len(images)} images; save one at a time")
    config = _summed(files, images[0].config, OCI_CONFIG)
    layers = [_summed(files, layer, OCI_LAYER) for layer in images[0].layers]
    manifest = Manifest(config.descriptor, tuple(layer.descriptor for layer in layers))
    blobs = {blob.descriptor.digest: blob for blob in (*layers, config)}
    return msgspec.json.encode(manifest), OCI_MANIFEST, list(blobs.values())


def _summed(files: _Files, name: str, media_type: str) -> _Blob:
    read, size = _found(files, name)
    total, offset = hashlib.sha256(), 0
    head = read(0, 4)
    while block := read(offset, _BLOCK):
        total.update(block)
        offset += len(block)
    if media_type == OCI_LAYER:
        media_type += "+gzip" if head.startswith(_GZIP) else "+zstd" if head == _ZSTD else ""
    return _Blob(Descriptor(media_type, f"sha256:{total.hexdigest()}", size), read)


def _blob(files: _Files, entry: Descriptor) -> Read:
    read, size = _found(files, _place(entry))
    if size != entry.size:
        raise invalid(f"blob {entry.digest} has {size} bytes where its manifest says {entry.size}")
    return read


def _place(entry: Descriptor) -> str:
    return f"blobs/{entry.digest.replace(':', '/')}"


def _document(files: _Files, name: str) -> bytes:
    read, size = _found(files, name)
    if size > LARGEST:
        raise invalid(f"{name} has {size} bytes where at most {LARGEST} are allowed")
    return read(0, size)


def _found(files: _Files, name: str) -> tuple[Read, int]:
    if (found := files.find(name)) is None:
        raise invalid(f"the archive lacks {name}")
    return found


def _decode(body: bytes, shape: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.MsgspecError as error:
        raise invalid(f"the archive's manifest.json cannot be read ({error})") from error

"""The door to containerd: images, content, snapshots, diffs and leases over gRPC, nothing above them.

Every call has a deadline, and every foreign error leaves here as one of ours. containerd runs no sandbox: when it
is away, what runs goes on running. Source: containerd 1.6, api/services/*.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import grpc
import grpc.aio

from sampan.engine.node.containerd_api import (
    content_pb2,
    content_pb2_grpc,
    diff_pb2,
    diff_pb2_grpc,
    images_pb2,
    images_pb2_grpc,
    leases_pb2,
    leases_pb2_grpc,
    namespaces_pb2,
    namespaces_pb2_grpc,
    snapshots_pb2,
    snapshots_pb2_grpc,
    types_pb2,
)
from sampan.engine.node.ingest import (
    DEADLINE,
    AlreadyThere,
    ContainerdGone,
    Ingest,
    Labels,
    Locked,
    Missing,
    patience,
    translated,
)

SNAPSHOTTER = "overlayfs"
GC_ROOT = "containerd.io/gc.root"  # what carries it is kept by the collector, and what it needs
GC_EXPIRE = "containerd.io/gc.expire"

_LARGEST_MESSAGE = 16 << 20  # bytes; containerd's own limit


class Mount(NamedTuple):
    """A mount as a snapshotter describes it; the arguments of mount(2)."""

    type: str
    source: str
    options: tuple[str, ...]


class Record(NamedTuple):
    """An image record: a name for a manifest."""

    name: str
    digest: str
    media_type: str
    size: int  # bytes of the manifest
    labels: dict[str, str]


def daemon_config(root: Path, state: Path, socket: Path) -> str:
    """The TOML for a containerd of our own. Two daemons must not share `root`: the second would wait for ever."""
    return f"""\
version = 2
root = "{root}"
state = "{state}"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt",
  "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing",
]
[grpc]
  address = "{socket}"
[debug]
  level = "warn"
"""


class Containerd:
    """One daemon, one namespace. Use as an async context manager; the daemon may come, go and come back meanwhile.

    Every method raises ContainerdGone, ContainerdRefused (or its kinds), and StartFailed (DISK_FULL).
    """

    def __init__(self, socket: Path | str, namespace: str = "sampan") -> None:
        self._namespace = namespace
        self._channel = grpc.aio.insecure_channel(
            f"unix://{socket}",
            options=[
                ("grpc.max_receive_message_length", _LARGEST_MESSAGE),
                ("grpc.default_authority", "localhost"),  # the socket's path would be refused as one
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.min_reconnect_backoff_ms", 100),
                ("grpc.max_reconnect_backoff_ms", 500),
            ],
        )
        self._content = _stub(content_pb2_grpc.ContentStub, self._channel)
        self._snapshots = _stub(snapshots_pb2_grpc.SnapshotsStub, self._channel)
        self._diff = _stub(diff_pb2_grpc.DiffStub, self._channel)
        self._images = _stub(images_pb2_grpc.ImagesStub, self._channel)
        self._leases = _stub(leases_pb2_grpc.LeasesStub, self._channel)
        self._namespaces = _stub(namespaces_pb2_grpc.NamespacesStub, self._channel)

    async def __aenter__(self) -> "Containerd":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._channel.close(None)

    async def wait(self, seconds: float) -> None:
        """Until the daemon answers and has our namespace. Raises: ContainerdGone, after `seconds`."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                create = namespaces_pb2.CreateNamespaceRequest(
                    namespace=namespaces_pb2.Namespace(name=self._namespace)
                )
                await self._call(self._namespaces.Create, create, deadline=min(seconds, DEADLINE))
            except AlreadyThere:
                return
            except ContainerdGone:
                if time.monotonic() >= deadline:
                    raise
                await asyncio.sleep(0.05)
            else:
                return

    # ── leases: what is under one is not collected ───────────────────────────────────────────────────

    async def create_lease(self, lease: str, hours: float) -> None:
        """One that is there already keeps its end."""
        end = datetime.now(UTC) + timedelta(hours=hours)
        labels = {GC_EXPIRE: end.strftime("%Y-%m-%dT%H:%M:%SZ")}
        try:
            await self._call(self._leases.Create, leases_pb2.CreateRequest(id=lease, labels=labels))
        except AlreadyThere:
            return

    async def delete_lease(self, lease: str, collect: bool = False) -> None:
        """`collect`: return only after the garbage is gone."""
        try:
            await self._call(self._leases.Delete, leases_pb2.DeleteRequest(id=lease, sync=collect))
        except Missing:
            return

    async def hold(self, lease: str, kind: str, name: str) -> None:
        """Put something under the lease, whether it is there or not. `kind`: "content" or "snapshots/overlayfs"."""
        resource = leases_pb2.Resource(id=name, type=kind)
        await self._call(self._leases.AddResource, leases_pb2.AddResourceRequest(id=lease, resource=resource))

    # ── content ──────────────────────────────────────────────────────────────────────────────────────

    async def has_content(self, digest: str) -> bool:
        try:
            await self._call(self._content.Info, content_pb2.InfoRequest(digest=digest))
        except Missing:
            return False
        return True

    async def label_content(self, digest: str, labels: Labels) -> None:
        """Add labels to what is there."""
        request = content_pb2.UpdateRequest(info=content_pb2.Info(digest=digest, labels=labels))
        request.update_mask.paths.extend(f"labels.{name}" for name in labels)
        await self._call(self._content.Update, request)

    async def read_content(self, digest: str) -> bytes:
        call = self._content.Read(
            content_pb2.ReadContentRequest(digest=digest), metadata=self.metadata(), timeout=DEADLINE
        )
        with translated():
            return b"".join([part.data async for part in call])

    async def abort_ingest(self, ref: str) -> None:
        try:
            await self._call(self._content.Abort, content_pb2.AbortRequest(ref=ref))
        except Missing:
            return

    async def ingests(self) -> list[str]:
        """The unfinished writes."""
        answer = await self._call(self._content.ListStatuses, content_pb2.ListStatusesRequest())
        return [status.ref for status in answer.statuses]

    async def contents(self) -> list[str]:
        """The digests of everything that is there."""
        call = self._content.List(content_pb2.ListContentRequest(), metadata=self.metadata(), timeout=DEADLINE)
        with translated():
            return [info.digest async for part in call for info in part.info]

    # ── snapshots ────────────────────────────────────────────────────────────────────────────────────

    async def has_snapshot(self, key: str) -> bool:
        try:
            await self._call(
                self._snapshots.Stat, snapshots_pb2.StatSnapshotRequest(snapshotter=SNAPSHOTTER, key=key)
            )
        except Missing:
            return False
        return True

    async def prepare(self, key: str, parent: str, lease: str) -> list[Mount]:
        """A writable snapshot on top of `parent`."""
        request = snapshots_pb2.PrepareSnapshotRequest(snapshotter=SNAPSHOTTER, key=key, parent=parent)
        return _mounts(await self._call(self._snapshots.Prepare, request, lease))

    async def commit(self, key: str, name: str, lease: str) -> None:
        request = snapshots_pb2.CommitSnapshotRequest(snapshotter=SNAPSHOTTER, key=key, name=name)
        await self._call(self._snapshots.Commit, request, lease)

    async def view(self, key: str, parent: str) -> list[Mount]:
        """A read-only snapshot on top of `parent` that stays until it is removed; the one there, if it is."""
        labels = {GC_ROOT: datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}
        request = snapshots_pb2.ViewSnapshotRequest(snapshotter=SNAPSHOTTER, key=key, parent=parent, labels=labels)
        try:
            return _mounts(await self._call(self._snapshots.View, request))
        except AlreadyThere:
            known = snapshots_pb2.MountsRequest(snapshotter=SNAPSHOTTER, key=key)
            return _mounts(await self._call(self._snapshots.Mounts, known))

    async def remove_snapshot(self, key: str) -> None:
        try:
            await self._call(
                self._snapshots.Remove, snapshots_pb2.RemoveSnapshotRequest(snapshotter=SNAPSHOTTER, key=key)
            )
        except Missing:
            return

    async def snapshots(self) -> list[str]:
        """The names of all snapshots."""
        request = snapshots_pb2.ListSnapshotsRequest(snapshotter=SNAPSHOTTER)
        call = self._snapshots.List(request, metadata=self.metadata(), timeout=DEADLINE)
        with translated():
            return [info.name async for part in call for info in part.info]

    async def unpack(self, media_type: str, digest: str, size: int, mounts: list[Mount], lease: str) -> str:
        """Unpack a layer into a prepared snapshot; the digest of the tar it was."""
        request = diff_pb2.ApplyRequest(
            diff=types_pb2.Descriptor(media_type=media_type, digest=digest, size=size),
            mounts=[
                types_pb2.Mount(type=mount.type, source=mount.source, options=mount.options) for mount in mounts
            ],
        )
        answer = await self._call(self._diff.Apply, request, lease, deadline=patience(size))
        return str(answer.applied.digest)

    # ── images ───────────────────────────────────────────────────────────────────────────────────────

    async def records(self) -> list[Record]:
        answer = await self._call(self._images.List, images_pb2.ListImagesRequest())
        return [
            Record(
                image.name,
                image.target.digest,
                image.target.media_type,
                image.target.size,
                dict(image.labels),
            )
            for image in answer.images
        ]

    async def put_record(self, record: Record, lease: str) -> None:
        """Make it, or replace the one of this name."""
        target = types_pb2.Descriptor(media_type=record.media_type, digest=record.digest, size=record.size)
        image = images_pb2.Image(name=record.name, labels=record.labels, target=target)
        try:
            await self._call(self._images.Create, images_pb2.CreateImageRequest(image=image), lease)
        except AlreadyThere:
            await self._call(self._images.Update, images_pb2.UpdateImageRequest(image=image), lease)

    async def delete_record(self, name: str) -> None:
        try:
            await self._call(self._images.Delete, images_pb2.DeleteImageRequest(name=name))
        except Missing:
            return

    # ── one call ─────────────────────────────────────────────────────────────────────────────────────

    def metadata(self, lease: str = "") -> tuple[tuple[str, str], ...]:
        ours = (("containerd-namespace", self._namespace),)
        return (*ours, ("containerd-lease", lease)) if lease else ours

    async def _call(
        self, method: Callable[..., Awaitable[Any]], request: object, lease: str = "", deadline: float = DEADLINE
    ) -> Any:
        with translated():
            return await method(request, metadata=self.metadata(lease), timeout=deadline)

    # ── writing content ──────────────────────────────────────────────────────────────────────────────

    async def write_content(self, digest: str, data: bytes, labels: Labels, lease: str) -> None:
        """A small blob at once. What is there already gets the labels."""
        try:
            async with self.ingest(f"blob-{digest}", digest, len(data), lease) as ingest:
                await ingest.write(data[ingest.offset :])
                await ingest.commit(labels)
        except AlreadyThere:
            await self.hold(lease, "content", digest)
            await self.label_content(digest, labels)

    @asynccontextmanager
    async def ingest(self, ref: str, digest: str, size: int, lease: str) -> "AsyncIterator[Ingest]":
        """Write a blob, going on where an earlier write under this `ref` stopped.

        Leaving without a commit keeps what was brought. Raises: AlreadyThere, when the blob is there.
        """
        deadline = time.monotonic() + DEADLINE
        while True:
            ingest = Ingest(self._content.Write(metadata=self.metadata(lease)), ref, digest, size)
            try:
                try:
                    await ingest.begin()
                except Locked:  # the daemon has not yet noticed that the last writer went away
                    if time.monotonic() >= deadline:
                        raise
                    await asyncio.sleep(0.05)
                    continue
                yield ingest
                return
            finally:
                ingest.end()


def _stub(kind: Callable[[grpc.aio.Channel], Any], channel: grpc.aio.Channel) -> Any:
    """Generated stubs carry no types."""
    return kind(channel)


def _mounts(answer: Any) -> list[Mount]:
    return [Mount(mount.type, mount.source, tuple(mount.options)) for mount in answer.mounts]

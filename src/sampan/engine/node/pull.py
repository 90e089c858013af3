"""One pull: from a registry's manifest to unpacked layers and an image record, all under one lease.

Each step looks first whether its result is there, so a pull that was cut off goes on where it stopped, down to the
byte of a half-written layer. Source: containerd 1.6, docs/content-flow.md and docs/garbage-collection.md.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager, suppress

import msgspec

from sampan.engine.node.containerd import SNAPSHOTTER, Containerd
from sampan.engine.node.ingest import AlreadyThere, ContainerdRefused, Mismatched, Missing
from sampan.engine.node.sharing import Shared
from sampan.image.manifest import (
    Config,
    Descriptor,
    Index,
    Manifest,
    chain_ids,
    check_platform,
    choose,
    host_platform,
    invalid,
    read_config,
    read_manifest,
)
from sampan.image.reference import Reference
from sampan.image.registry import Registry
from sampan.model.errors import FailureKind, StartFailed
from sampan.model.image import PullProgress

_PIECE = 1 << 20  # bytes per message to containerd; the round trip costs 0.1 ms

Tell = Callable[[PullProgress], None]


class Resolved(msgspec.Struct, frozen=True):
    """A name's manifest for this machine."""

    body: bytes
    media_type: str
    digest: str
    manifest: Manifest

    @property
    def size(self) -> int:
        return sum(layer.size for layer in self.manifest.layers)


async def resolve(registry: Registry, name: Reference) -> Resolved:
    """Raises: ImageFailed."""
    found = await registry.manifest(name.repository, name.wanted)
    manifest = read_manifest(found.body, found.media_type)
    if isinstance(manifest, Index):
        chosen = choose(manifest, host_platform(), str(name))
        found = await registry.manifest(name.repository, chosen.digest)
        manifest = read_manifest(found.body, found.media_type)
        if isinstance(manifest, Index):
            raise invalid("its index names another index for this platform")
    return Resolved(found.body, manifest.media_type, found.digest, manifest)


class Pull:
    """Brings one resolved image in. Work on a layer is shared with other pulls that need the same."""

    def __init__(
        self,
        containerd: Containerd,
        registry: Registry,
        name: Reference,
        lease: str,
        layers: Shared[None],
        downloads: asyncio.Semaphore,
        tell: Tell,
    ) -> None:
        self._containerd, self._registry, self._name, self._lease = containerd, registry, name, lease
        self._layers, self._downloads, self._tell = layers, downloads, tell

    async def run(self, resolved: Resolved) -> Config:
        """Everything but the image record. Raises: ImageFailed, StartFailed (DISK_FULL), ContainerdGone."""
        manifest = resolved.manifest
        for layer in manifest.layers:
            self._report(layer, 0, "waiting")
        body = await self._registry.small_blob(self._name.repository, manifest.config.digest, manifest.config.size)
        config = read_config(body)
        check_platform(config, host_platform(), str(self._name))
        chain = chain_ids(config.rootfs.diff_ids)
        if len(chain) != len(manifest.layers):
            raise invalid(f"its config lists {len(chain)} layers, its manifest {len(manifest.layers)}")
        try:
            await self._bring_layers(manifest, config, chain)
            await self._keep(resolved, body, chain)
        except StartFailed as error:
            if error.failure.kind is FailureKind.DISK_FULL:
                await self._leave_nothing(manifest)
            raise
        return config

    async def _bring_layers(self, manifest: Manifest, config: Config, chain: tuple[str, ...]) -> None:
        """Download several at once; unpack each as soon as it and all below it are there."""
        with _first_failure():
            async with asyncio.TaskGroup() as group:
                downloads = [group.create_task(self._bring(layer)) for layer in manifest.layers]
                parent = ""
                for at, layer in enumerate(manifest.layers):
                    await downloads[at]
                    await self._ensure_unpacked(layer, config.rootfs.diff_ids[at], chain[at], parent)
                    self._report(layer, layer.size, "done")
                    parent = chain[at]

    # ── download ─────────────────────────────────────────────────────────────────────────────────────

    async def _bring(self, layer: Descriptor) -> None:
        await self._containerd.hold(self._lease, "content", layer.digest)
        if not await self._containerd.has_content(layer.digest):
            await self._layers.run(f"download {layer.digest}", self._download(layer))

    async def _download(self, layer: Descriptor) -> None:
        async with self._downloads:
            resumed = await self._write(layer)
            if resumed is not None and not (resumed and await self._write(layer) is None):
                raise invalid(f"the bytes of layer {layer.digest} are not those of its digest")

    async def _write(self, layer: Descriptor) -> int | None:
        """Write the layer; None when it is in, else its bytes were wrong: how many of them were from before."""
        ref = _ref(layer)
        resumed = 0
        try:
            async with self._containerd.ingest(ref, layer.digest, layer.size, self._lease) as ingest:
                resumed = ingest.offset
                pieces = self._registry.blob(self._name.repository, layer.digest, layer.size, resumed)
                async with aclosing(_gathered(pieces)) as gathered:
                    async for piece in gathered:
                        await ingest.write(piece)
                        self._report(layer, ingest.offset, "downloading")
                await ingest.commit()
        except AlreadyThere:
            return None
        except Mismatched:
            await self._containerd.abort_ingest(ref)
            return resumed
        return None

    # ── unpack ───────────────────────────────────────────────────────────────────────────────────────

    async def _ensure_unpacked(self, layer: Descriptor, diff_id: str, chain: str, parent: str) -> None:
        await self._containerd.hold(self._lease, f"snapshots/{SNAPSHOTTER}", chain)
        if not await self._containerd.has_snapshot(chain):
            self._report(layer, layer.size, "unpacking")
            await self._layers.run(f"unpack {chain}", self._unpack(layer, diff_id, chain, parent))

    async def _unpack(self, layer: Descriptor, diff_id: str, chain: str, parent: str) -> None:
        key = f"extract-{chain}"
        await self._containerd.remove_snapshot(key)  # of one that was cut off
        mounts = await self._containerd.prepare(key, parent, self._lease)
        try:
            try:
                unpacked = await self._containerd.unpack(
                    layer.media_type, layer.digest, layer.size, mounts, self._lease
                )
            except Missing:
                raise
            except ContainerdRefused as error:
                raise invalid(f"layer {layer.digest} cannot be unpacked ({error})") from error
            if unpacked != diff_id:
                raise invalid(f"layer {layer.digest} unpacks to {unpacked} where its config says {diff_id}")
            await self._containerd.commit(key, chain, self._lease)
        except BaseException:
            with suppress(Exception):  # the daemon may be the reason; its collector removes it then
                await self._containerd.remove_snapshot(key)
            raise

    # ── keep, or leave nothing ───────────────────────────────────────────────────────────────────────

    async def _keep(self, resolved: Resolved, config: bytes, chain: tuple[str, ...]) -> None:
        """Write config and manifest with the labels that keep the collector off what they need."""
        manifest = resolved.manifest
        needs = {f"containerd.io/gc.ref.snapshot.{SNAPSHOTTER}": chain[-1]} if chain else {}
        await self._containerd.write_content(manifest.config.digest, config, needs, self._lease)
        needs = {f"containerd.io/gc.ref.content.l.{at}": layer.digest for at, layer in enumerate(manifest.layers)}
        needs["containerd.io/gc.ref.content.config"] = manifest.config.digest
        await self._containerd.write_content(resolved.digest, resolved.body, needs, self._lease)

    async def _leave_nothing(self, manifest: Manifest) -> None:
        """Give back what half-written layers take. What is whole goes with the lease."""
        for layer in manifest.layers:
            if f"download {layer.digest}" not in self._layers:
                with suppress(Exception):  # each one that goes makes room; the first error is the one to tell
                    await self._containerd.abort_ingest(_ref(layer))

    def _report(self, layer: Descriptor, done: int, stage: str) -> None:
        self._tell(PullProgress(layer.digest, done, layer.size, stage))


def _ref(layer: Descriptor) -> str:
    return f"layer-{layer.digest}"


async def _gathered(pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """The same bytes in pieces of about `_PIECE`."""
    waiting = bytearray()
    async with aclosing(pieces):
        async for piece in pieces:
            waiting += piece
            if len(waiting) >= _PIECE:
                yield bytes(waiting)
                waiting.clear()
    if waiting:
        yield bytes(waiting)


@contextmanager
def _first_failure() -> Iterator[None]:
    """Of a group of tasks, the first failure is the one to tell."""
    try:
        yield
    except BaseExceptionGroup as group:
        first: BaseException = group
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None

"""The images of this machine: pulled through containerd, found again after a restart of either of us.

An image record in containerd is written last, so where there is one the image is whole. Its name is the user's name
pinned by digest: a tag that moves on does not take away what a running version was made from.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

import msgspec

from sampan.engine.node import python_modules
from sampan.engine.node.containerd import Containerd, Mount, Record
from sampan.engine.node.ingest import ContainerdGone, Missing
from sampan.engine.node.pull import Pull, Resolved, Tell, resolve
from sampan.engine.node.sharing import Shared
from sampan.image.connection import Patience
from sampan.image.manifest import Config, Manifest, chain_ids, image_config, read_config, read_manifest
from sampan.image.reference import Reference
from sampan.image.registry import Registry
from sampan.model.errors import Failure, FailureKind, ImageFailed, InvalidArgument, PlatformFailed, StartFailed
from sampan.model.image import Image, PullProgress, RegistryAuth

_DOWNLOADS = 3  # layers at once, of all pulls together; more only share the same link
_LEASE_HOURS = 72  # a day of use, and two in which an interrupted pull may be resumed
_ANSWER = 1.0  # seconds in which a containerd that is well answers
_OUTAGES = 3  # restarts of containerd that one pull outlasts
_LONGEST_LABEL = 3000  # bytes; containerd takes 4096, key included
_VIEW = "img-"  # key of the one view of an image's layers, before their chain id
_REFERENCE, _ASKED, _WARNINGS = "sampan/reference", "sampan/asked", "sampan/warnings"

T = TypeVar("T")


class _Local(msgspec.Struct, frozen=True):
    """An image that is here."""

    name: Reference  # pinned
    asked: str  # the digest it was asked by, which may be an index's
    image: Image
    chain: str  # id of its topmost snapshot; empty: it has no layers


class NodeImages:
    """`Images` on this machine. Several may not share one containerd namespace.

    in_use: digests that sandboxes are made of right now.  outage: seconds containerd may be away.
    fresh: seconds after a pull or a use in which `retain` lets an image be: its user may not be on record yet.
    """

    def __init__(
        self,
        containerd: Containerd,
        in_use: Callable[[], frozenset[str]] = frozenset,
        patience: Patience | None = None,
        outage: float = 30.0,
        fresh: float = 600.0,
    ) -> None:
        self._containerd, self._in_use, self._patience = containerd, in_use, patience
        self._outage, self._fresh = outage, fresh
        self._local: dict[str, _Local] | None = None  # by record name; None: not asked yet
        self._used: dict[str, float] = {}  # digest → monotonic seconds
        self._viewed: dict[str, tuple[str, ...]] = {}  # chain → its directories; only `retain` removes a view
        self._pulls: Shared[_Local] = Shared()
        self._layers: Shared[None] = Shared()
        self._downloads = asyncio.Semaphore(_DOWNLOADS)
        self._listeners: dict[str, list[Tell]] = {}  # manifest digest → who wants to hear
        self._lease_lock = asyncio.Lock()
        self._lease_users: Counter[str] = Counter()
        self._interrupted: set[str] = set()  # digests of pulls that may be resumed

    # ── Images ───────────────────────────────────────────────────────────────────────────────────────

    async def pull(
        self,
        reference: str,
        auth: RegistryAuth | None,
        progress: Callable[[PullProgress], None] | None = None,
    ) -> Image:
        tell = progress or (lambda _: None)
        try:
            name = Reference.parse(reference)
            found = await self._outlasting(lambda: self._pull(name, reference, auth, tell))
        except InvalidArgument as error:
            raise StartFailed(Failure(FailureKind.IMAGE_INVALID, str(error))) from error
        except ImageFailed as error:
            raise StartFailed(error.failure) from error
        except PlatformFailed as error:
            raise StartFailed(
                Failure(FailureKind.ENGINE_FAILED, f"the image {reference} could not be pulled: {error}")
            ) from error
        self._used[found.image.digest] = time.monotonic()
        return msgspec.structs.replace(found.image, reference=reference)

    async def list(self) -> list[Image]:
        return [local.image for local in (await self._loaded()).values()]

    async def check(self) -> None:
        try:
            await self._containerd.wait(_ANSWER)
        except PlatformFailed as error:
            raise StartFailed(Failure(FailureKind.ENGINE_FAILED, "containerd does not answer")) from error

    async def retain(self, digests: frozenset[str]) -> None:
        try:
            await self._retain(digests)
        except BaseException:
            self._local = None  # ask again what is left
            raise

    # ── for making sandboxes ─────────────────────────────────────────────────────────────────────────

    async def lower_directories(self, digest: str) -> tuple[str, ...]:
        """The image's layers as directories for overlayfs, topmost first; they stay while the image does.

        Raises: StartFailed (IMAGE_NOT_FOUND, ENGINE_FAILED).
        """
        local = await self._of(digest)
        self._used[digest] = time.monotonic()
        if local.chain in self._viewed:
            return self._viewed[local.chain]
        try:
            return await self._outlasting(lambda: self._view(local.chain))
        except Missing as error:
            self._local = None
            raise _not_local(digest) from error
        except PlatformFailed as error:
            raise StartFailed(Failure(FailureKind.ENGINE_FAILED, str(error))) from error

    # ── pulling ──────────────────────────────────────────────────────────────────────────────────────

    async def _pull(self, name: Reference, reference: str, auth: RegistryAuth | None, tell: Tell) -> _Local:
        local = await self._loaded()
        if name.digest:
            for entry in local.values():
                if _answers(entry, name) and await self._whole(entry):
                    return entry
        async with Registry(name.api_host, auth, self._patience) as registry:
            resolved = await resolve(registry, name)
        key = str(name.pinned(resolved.digest))
        if key in local and await self._whole(local[key]):
            return local[key]
        found = await self._bring(name, reference, auth, resolved, tell)
        if str(found.name) != key:  # another name of the same image
            found = await self._name(found, name, reference, resolved)
        return found

    async def _bring(
        self, name: Reference, reference: str, auth: RegistryAuth | None, resolved: Resolved, tell: Tell
    ) -> _Local:
        listeners = self._listeners.setdefault(resolved.digest, [])
        listeners.append(tell)
        try:
            return await self._pulls.run(resolved.digest, self._work(name, reference, auth, resolved))
        finally:
            listeners.remove(tell)
            if not listeners:
                self._listeners.pop(resolved.digest, None)

    async def _work(self, name: Reference, reference: str, auth: RegistryAuth | None, resolved: Resolved) -> _Local:
        def tell(progress: PullProgress) -> None:
            for listener in self._listeners.get(resolved.digest, ()):
                listener(progress)

        async with self._lease(resolved.digest) as lease, Registry(name.api_host, auth, self._patience) as registry:
            pull = Pull(self._containerd, registry, name, lease, self._layers, self._downloads, tell)
            config = await pull.run(resolved)
            chain = _top(config)
            warning = await asyncio.to_thread(python_modules.warning, await self._view(chain))
            image = Image(
                reference=reference,
                digest=resolved.digest,
                config=image_config(config),
                size=resolved.size,
                warnings=(warning,) if warning else (),
            )
            local = _Local(name.pinned(resolved.digest), name.digest, image, chain)
            await self._record(local, resolved, lease)
        return local

    async def _name(self, found: _Local, name: Reference, reference: str, resolved: Resolved) -> _Local:
        image = msgspec.structs.replace(found.image, reference=reference)
        local = _Local(name.pinned(resolved.digest), name.digest, image, found.chain)
        await self._record(local, resolved, "")
        return local

    async def _record(self, local: _Local, resolved: Resolved, lease: str) -> None:
        labels = {
            _REFERENCE: local.image.reference,
            _ASKED: local.asked,
            _WARNINGS: "\n".join(local.image.warnings)[:_LONGEST_LABEL],
        }
        known = await self._loaded()
        record = Record(str(local.name), resolved.digest, resolved.media_type, len(resolved.body), labels)
        await self._containerd.put_record(record, lease)
        known[record.name] = local

    @asynccontextmanager
    async def _lease(self, digest: str) -> AsyncIterator[str]:
        """The day's lease. It ends with its last pull, unless one was cut off that may be resumed."""
        lease = f"sampan-pulls-{int(time.time() // 86400)}"
        async with self._lease_lock:
            await self._containerd.create_lease(lease, _LEASE_HOURS)
            self._lease_users[lease] += 1
        full = False
        self._interrupted.add(digest)
        try:
            yield lease
            self._interrupted.discard(digest)
        except (ImageFailed, StartFailed) as error:
            full = error.failure.kind is FailureKind.DISK_FULL
            if error.failure.kind is not FailureKind.IMAGE_PULL_FAILED:
                self._interrupted.discard(digest)
            raise
        finally:
            async with self._lease_lock:
                self._lease_users[lease] -= 1
                if not self._lease_users[lease] and not self._interrupted:
                    with suppress(PlatformFailed, StartFailed):  # it ends by itself; what happened is the error
                        await self._containerd.delete_lease(lease, collect=full)

    async def _outlasting(self, work: Callable[[], Awaitable[T]]) -> T:
        """`work`, again when containerd went away under it and is back. `work` may be repeated."""
        for _ in range(_OUTAGES):
            try:
                return await work()
            except ContainerdGone:
                await self._containerd.wait(self._outage)
        return await work()

    # ── what is here ─────────────────────────────────────────────────────────────────────────────────

    async def _loaded(self) -> dict[str, _Local]:
        if self._local is None:
            await self._containerd.wait(self._outage)
            found = {record.name: await self._read(record) for record in await self._containerd.records()}
            if self._local is None:  # nobody else was faster
                self._local = {name: local for name, local in found.items() if local is not None}
        return self._local

    async def _read(self, record: Record) -> _Local | None:
        """None: the record is not one of ours, or what it names is not whole."""
        try:
            manifest = read_manifest(await self._containerd.read_content(record.digest), record.media_type)
            if not isinstance(manifest, Manifest):
                return None
            config = read_config(await self._containerd.read_content(manifest.config.digest))
            name = Reference.parse(record.name)
        except (Missing, ImageFailed, InvalidArgument):
            return None
        image = Image(
            reference=record.labels.get(_REFERENCE, record.name),
            digest=record.digest,
            config=image_config(config),
            size=sum(layer.size for layer in manifest.layers),
            warnings=tuple(record.labels.get(_WARNINGS, "").splitlines()),
        )
        return _Local(name, record.labels.get(_ASKED, ""), image, _top(config))

    async def _of(self, digest: str) -> _Local:
        for entry in (await self._loaded()).values():
            if entry.image.digest == digest:
                return entry
        raise _not_local(digest)

    async def _whole(self, local: _Local) -> bool:
        return not local.chain or await self._containerd.has_snapshot(local.chain)

    async def _view(self, chain: str) -> tuple[str, ...]:
        found = self._viewed[chain] = _directories(await self._containerd.view(_VIEW + chain, chain))
        return found

    async def _retain(self, digests: frozenset[str]) -> None:
        local = await self._loaded()
        keep = digests | self._in_use() | self._recent()
        removed = [key for key, entry in local.items() if not self._kept(entry, keep)]
        for key in removed:
            del local[key]
        for key in removed:
            await self._containerd.delete_record(key)
        chains = {_VIEW + entry.chain for entry in local.values()}
        views = [key for key in await self._containerd.snapshots() if key.startswith(_VIEW) and key not in chains]
        for key in views:
            self._viewed.pop(key.removeprefix(_VIEW), None)
            await self._containerd.remove_snapshot(key)
        if removed or views:
            await self._collect()

    def _recent(self) -> frozenset[str]:
        since = time.monotonic() - self._fresh
        self._used = {digest: at for digest, at in self._used.items() if at > since}
        return frozenset(self._used)

    def _kept(self, local: _Local, keep: frozenset[str]) -> bool:
        return local.image.digest in keep or local.image.digest in self._pulls

    async def _collect(self) -> None:
        """Have the garbage collected now: containerd does so when a lease ends and one waits for it."""
        async with self._lease_lock:
            await self._containerd.create_lease("sampan-collect", 1)
            await self._containerd.delete_lease("sampan-collect", collect=True)


def _answers(local: _Local, name: Reference) -> bool:
    same = (local.name.registry, local.name.repository) == (name.registry, name.repository)
    return same and name.digest in {local.image.digest, local.asked}


def _top(config: Config) -> str:
    chain = chain_ids(config.rootfs.diff_ids)
    return chain[-1] if chain else ""


def _directories(mounts: list[Mount]) -> tuple[str, ...]:
    """Lower directories of a view: an overlay's option, or the bind mount's source when there is one layer."""
    for mount in mounts:
        for option in mount.options:
            if option.startswith("lowerdir="):
                return tuple(option.removeprefix("lowerdir=").split(":"))
    return tuple(mount.source for mount in mounts)


def _not_local(digest: str) -> StartFailed:
    return StartFailed(
        Failure(FailureKind.IMAGE_NOT_FOUND, f"image {digest} is not on this machine; pull it again")
    )

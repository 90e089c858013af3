"""The engine seam on this machine. The story of a sandbox: create, start, freeze, stop, bury.

Runs as root in a process of its own (`sandboxd`): it has its own mount namespace and is the subreaper of the
sandboxes. What they share is in `realm`, which of them there are in `living`; a sandbox is made in `making`,
started in `starting`, and ends, whoever ended it, in `ending`.
"""

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from sampan import settings
from sampan.engine.engine import (
    ExecResult,
    Images,
    LogChunk,
    Sandbox,
    SandboxEvent,
    SandboxSpec,
    Stats,
    Stream,
)
from sampan.engine.node.box import Turns, finish
from sampan.engine.node.ending import ask, kill
from sampan.engine.node.living import Living, unknown
from sampan.engine.node.making import make
from sampan.engine.node.network import DoorPorts
from sampan.engine.node.realm import Realm
from sampan.engine.node.records import Record
from sampan.engine.node.starting import start
from sampan.engine.node.tasks import Tasks
from sampan.model.errors import Failure, FailureKind, StartFailed
from sampan.model.instance import InstanceState
from sampan.model.names import InstanceId

log = logging.getLogger(__name__)

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_FAREWELL = 40.0  # seconds for all sandboxes to end with the platform; the supervisor waits 60


class NodeImages(Images, Protocol):
    """Images whose layers are directories of this machine."""

    async def lower_directories(self, digest: str) -> tuple[str, ...]:
        """The unpacked layers, topmost first. Raises: StartFailed."""


class NodeEngine:
    """`Engine` by runc, overlayfs, veth and cgroups. `async with` opens and closes it; sandboxes live on."""

    def __init__(
        self,
        engine: settings.Engine,
        realm: str,
        run: Path,
        state: Path,
        group: int | None,
        ports: DoorPorts,
        images: NodeImages,
    ) -> None:
        """run, state: the platform's directories.  group: of the platform's user.  ports: at the door."""
        self.images = images
        self._node_images = images
        self._realm = Realm(engine, realm, run, state, group, ports)
        self._tasks = Tasks()
        self._living = Living(self._realm, self._tasks)
        self._turns = Turns()
        self._making: dict[InstanceId, str] = {}  # digests of sandboxes under way
        self._open = ExitStack()

    # opening and closing

    async def __aenter__(self) -> Self:
        """Prepare the machine, find the sandboxes that live, remove what is left of others, fill the pools.

        Raises: OSError, RuntimeFailed, NetworkFailed, LayerFailed.
        """
        with ExitStack() as undo:
            for record in await self._realm.open(undo):
                self._adopt(record)
            self._tasks.start(self._realm.network.fill())
            self._tasks.start(self._realm.layers.fill())
            self._open = undo.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of everything; the sandboxes run on."""
        self._living.leave()
        await self._tasks.close()
        self._living.close()
        self._open.close()

    async def destroy_all(self) -> None:
        """For the end of the platform: stop every sandbox, remove bridge, rules and cgroups."""
        stops = [asyncio.ensure_future(self.stop(box.record.spec.id, grace=0)) for box in self._living]
        if stops:
            _, late = await asyncio.wait(stops, timeout=_FAREWELL)
            if late:
                log.warning("%d sandboxes do not end; what is left of them goes with the next start", len(late))
        await self._realm.destroy()

    def digests_in_use(self) -> frozenset[str]:
        """Images that sandboxes are made of, or are being made of."""
        return frozenset({box.record.spec.image.digest for box in self._living} | {*self._making.values()})

    def _adopt(self, record: Record) -> None:
        spec = record.spec
        self._realm.logs.resume(spec.id, spec.log_mb << 20)
        frozen = self._realm.cgroup(spec.id).frozen()
        self._living.keep(record, InstanceState.FROZEN if frozen else record.state)

    # the seam

    async def create(self, spec: SandboxSpec) -> Sandbox:
        if not _ID.fullmatch(spec.id):  # it becomes a path, and who calls need not be root
            raise _failed(f"'{spec.id}' cannot be a sandbox's id")
        async with self._turns.of(spec.id):
            if self._living.get(spec.id) is not None:
                raise _failed(f"there is a sandbox '{spec.id}' already")
            self._making[spec.id] = spec.image.digest
            try:
                return await self._create(spec)
            finally:
                del self._making[spec.id]

    async def start(self, sandbox: InstanceId, timeout: float) -> Sandbox:
        async with self._turns.of(sandbox):
            box = self._living.box(sandbox)
            if box.state is not InstanceState.CREATED:
                raise _failed(f"sandbox '{sandbox}' has been started already")
            try:
                stages = await start(self._realm, box, timeout)
            except asyncio.CancelledError:
                box.wanted = True
                await kill(box)
                raise
            self._living.changed(box)
            return box.sandbox(stages)

    async def freeze(self, sandbox: InstanceId, on: bool = True) -> None:
        async with self._turns.of(sandbox):
            box = self._living.box(sandbox)
            if box.state is InstanceState.CREATED:
                raise _failed(f"sandbox '{sandbox}' has not been started")
            try:
                await box.cgroup.freeze(on)
            except (FileNotFoundError, TimeoutError) as error:
                raise _failed(
                    f"sandbox '{sandbox}' could not be {'frozen' if on else 'thawed'}: {error}"
                ) from error
            state = InstanceState.FROZEN if on else InstanceState.READY
            if box.state is not state:
                box.state = state
                self._living.changed(box)

    async def stop(self, sandbox: InstanceId, grace: float) -> None:
        async with self._turns.of(sandbox):
            box = self._living.get(sandbox)
            if box is None:
                return
            box.wanted = box.wanted or not box.over()
            try:
                await ask(box, grace)
            finally:
                await kill(box)

    def watch(self) -> AsyncIterator[SandboxEvent]:
        return self._living.watch()

    async def exec(self, sandbox: InstanceId, argv: tuple[str, ...], stdin: bytes, timeout: float) -> ExecResult:
        box = self._living.box(sandbox)
        if box.state is not InstanceState.READY:
            raise _failed(f"sandbox '{sandbox}' is {box.state.value}; programs run only in a ready one")
        program = self._realm.bundle(sandbox).program(argv)
        result = await self._realm.runtime.exec(sandbox, program, stdin, timeout)
        if result is None:
            raise _failed(f"'{argv[0]}' did not end within {timeout:g} s")
        return result

    async def logs(self, sandbox: InstanceId, stream: Stream, position: int, limit: int) -> LogChunk:
        chunk = self._realm.logs.read(sandbox, stream, position, limit) if _ID.fullmatch(sandbox) else None
        if chunk is None:
            raise unknown(sandbox)
        return chunk

    async def stats(self, sandbox: InstanceId) -> Stats:
        try:
            return self._living.box(sandbox).cgroup.stats()
        except FileNotFoundError:
            raise unknown(sandbox) from None

    async def _create(self, spec: SandboxSpec) -> Sandbox:
        begin = time.time_ns()
        lower = await self._node_images.lower_directories(spec.image.digest)
        made = asyncio.ensure_future(make(self._realm, spec, lower, begin, self._living.keep))
        try:
            await finish(made)
        except asyncio.CancelledError:
            if not made.cancelled() and made.exception() is None:
                box = self._living.box(spec.id)
                box.wanted = True
                await kill(box)
            raise
        return made.result()


def _failed(message: str) -> StartFailed:
    return StartFailed(Failure(FailureKind.ENGINE_FAILED, message))

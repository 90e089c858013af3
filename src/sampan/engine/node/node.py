"""The engine seam on this machine. The story of a sandbox: create, start, freeze, stop, bury.

Runs as root in a process of its own (`sandboxd`): it has its own mount namespace and is the subreaper of the
sandboxes. Each sandbox ends in one place, `_bury`, whoever ended it: that runs once its first process has ended.
"""

import asyncio
import errno
import fcntl
import logging
import os
import re
import signal
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, TypeVar

from sampan import settings
from sampan.engine.engine import (
    ExecResult,
    Gone,
    Images,
    LogChunk,
    Sandbox,
    SandboxEvent,
    SandboxSpec,
    Seen,
    Stats,
    Stream,
    Synced,
)
from sampan.engine.node import leftovers, machine, process, seccomp
from sampan.engine.node.box import Box, Turns, finish
from sampan.engine.node.bundle import Bundle
from sampan.engine.node.cgroup import Cgroup, cgroup, remove_parent
from sampan.engine.node.logs import Logs
from sampan.engine.node.network import Network
from sampan.engine.node.readiness import Doors
from sampan.engine.node.records import Record, Records
from sampan.engine.node.rootfs import LayerFailed, Layers
from sampan.engine.node.runtime import Runtime, RuntimeFailed
from sampan.engine.node.spec import CAPABILITIES, Place
from sampan.model.errors import Failure, FailureKind, StartFailed
from sampan.model.instance import InstanceState, Stage
from sampan.model.names import InstanceId

T = TypeVar("T")

log = logging.getLogger(__name__)

_LAYER_POOL = 4  # writable layers kept ready per size; one is made in 3 ms
_BURIALS = 4  # at once; more only keep the starts from the CPU
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_FAREWELL = 40.0  # seconds for all sandboxes to end with the platform; the supervisor waits 60
_DEATH = 30.0  # seconds a killed process may take to end: only uninterruptible I/O is slow


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
        ports: tuple[int, ...],
        images: NodeImages,
    ) -> None:
        """run, state: the platform's directories.  group: of the platform's user.  ports: of the front door."""
        self.images = images
        self._node_images = images
        self._settings, self._realm, self._run, self._state = engine, realm, run, state
        self._parent = f"/sampan-{realm}"
        self._names = machine.resolvers(engine.dns)
        self._records = Records(run / "sandboxes")
        self._logs = Logs(state / "logs", group)
        self._network = Network(realm, engine.network, ports, self._names, engine.network_pool)
        self._layers = Layers(state / "layers", engine.writable_layer, _LAYER_POOL)
        self._turns = Turns()
        self._doors = Doors()
        self._boxes: dict[InstanceId, Box] = {}
        self._making: dict[InstanceId, str] = {}  # digests of sandboxes under way
        self._watchers: set[asyncio.Queue[SandboxEvent]] = set()
        self._burials = asyncio.Semaphore(_BURIALS)
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = ExitStack()

    # opening and closing

    async def __aenter__(self) -> Self:
        """Prepare the machine, find the sandboxes that live, remove what is left of others, fill the pools.

        Raises: OSError, RuntimeFailed, NetworkFailed, LayerFailed.
        """
        with ExitStack() as undo:
            self._lock(undo)
            hugetlb = self._run / "hugetlb" if self._settings.runtime == "crun" else None
            if hugetlb is not None:
                undo.callback(machine.release, hugetlb)
            self._machine = machine.prepare(self._settings.favordynmods, hugetlb)
            self._runtime = Runtime(self._settings.runtime, self._run / "runtime")
            undo.callback(self._runtime.close)
            self._seccomp = {root: seccomp.load(CAPABILITIES if root else ()) for root in (True, False)}
            self._logs.open()
            undo.callback(self._logs.close)
            found = leftovers.living(self._records, self._runtime, self._cgroup)
            keep = {record.spec.id for record in found}
            await leftovers.clean(
                set(keep), self._records, self._runtime, self._run / "runtime", self._machine.cgroups, self._parent
            )
            undo.callback(self._network.close)
            await self._network.open(record.address for record in found)
            await self._open_layers()
            undo.callback(self._layers.close)
            for record in found:
                self._adopt(record)
            self._task(self._network.fill())
            self._task(self._layers.fill())
            self._open = undo.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of everything; the sandboxes run on."""
        loop = asyncio.get_running_loop()
        for box in self._boxes.values():
            loop.remove_reader(box.pidfd)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for box in self._boxes.values():
            box.close()
        self._boxes.clear()
        self._open.close()

    async def destroy_all(self) -> None:
        """For the end of the platform: stop every sandbox, remove bridge, rules and cgroups."""
        stops = [asyncio.ensure_future(self.stop(sandbox, grace=0)) for sandbox in list(self._boxes)]
        if stops:
            _, late = await asyncio.wait(stops, timeout=_FAREWELL)
            if late:
                log.warning("%d sandboxes do not end; what is left of them goes with the next start", len(late))
        await self._network.destroy()
        remove_parent(self._machine.cgroups, self._parent)

    def digests_in_use(self) -> frozenset[str]:
        """Images that sandboxes are made of, or are being made of."""
        return frozenset({box.record.spec.image.digest for box in self._boxes.values()} | {*self._making.values()})

    def _lock(self, undo: ExitStack) -> None:
        """One engine per realm. Raises: BlockingIOError."""
        self._run.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._run / "engine.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        undo.callback(os.close, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    async def _open_layers(self) -> None:
        try:
            await self._layers.open()
        except LayerFailed as error:
            if self._layers.kind == "memory":
                raise
            log.warning("%s; sandboxes write to memory instead", error)
            self._layers = Layers(self._state / "layers", "memory", _LAYER_POOL)
            await self._layers.open()

    def _adopt(self, record: Record) -> None:
        spec = record.spec
        self._logs.resume(spec.id, spec.log_mb << 20)
        group = self._cgroup(spec.id)
        state = InstanceState.FROZEN if group.frozen() else record.state
        self._keep(record, state)

    # the seam

    async def create(self, spec: SandboxSpec) -> Sandbox:
        if not _ID.fullmatch(spec.id):  # it becomes a path, and who calls need not be root
            raise _failed(f"'{spec.id}' cannot be a sandbox's id")
        async with self._turns.of(spec.id):
            if spec.id in self._boxes:
                raise _failed(f"there is a sandbox '{spec.id}' already")
            self._making[spec.id] = spec.image.digest
            try:
                return await self._create(spec)
            finally:
                del self._making[spec.id]

    async def start(self, sandbox: InstanceId, timeout: float) -> Sandbox:
        async with self._turns.of(sandbox):
            box = self._box(sandbox)
            if box.state is not InstanceState.CREATED:
                raise _failed(f"sandbox '{sandbox}' has been started already")
            try:
                return await self._start(box, timeout)
            except asyncio.CancelledError:
                box.wanted = True
                await self._kill(box)
                raise

    async def freeze(self, sandbox: InstanceId, on: bool = True) -> None:
        async with self._turns.of(sandbox):
            box = self._box(sandbox)
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
                self._publish(Seen(box.sandbox()))

    async def stop(self, sandbox: InstanceId, grace: float) -> None:
        async with self._turns.of(sandbox):
            box = self._boxes.get(sandbox)
            if box is None:
                return
            box.wanted = box.wanted or not box.over()
            try:
                await self._ask(box, grace)
            finally:
                await self._kill(box)

    async def watch(self) -> AsyncIterator[SandboxEvent]:
        events: asyncio.Queue[SandboxEvent] = asyncio.Queue()
        for box in self._boxes.values():
            events.put_nowait(Seen(box.sandbox()))
        events.put_nowait(Synced())
        self._watchers.add(events)
        try:
            while True:
                yield await events.get()
        finally:
            self._watchers.discard(events)

    async def exec(self, sandbox: InstanceId, argv: tuple[str, ...], stdin: bytes, timeout: float) -> ExecResult:
        box = self._box(sandbox)
        if box.state is not InstanceState.READY:
            raise _failed(f"sandbox '{sandbox}' is {box.state.value}; programs run only in a ready one")
        program = self._bundle(sandbox).program(argv)
        result = await self._runtime.exec(sandbox, program, stdin, timeout)
        if result is None:
            raise _failed(f"'{argv[0]}' did not end within {timeout:g} s")
        return result

    async def logs(self, sandbox: InstanceId, stream: Stream, position: int, limit: int) -> LogChunk:
        chunk = self._logs.read(sandbox, stream, position, limit) if _ID.fullmatch(sandbox) else None
        if chunk is None:
            raise _unknown(sandbox)
        return chunk

    async def stats(self, sandbox: InstanceId) -> Stats:
        try:
            return self._box(sandbox).cgroup.stats()
        except FileNotFoundError:
            raise _unknown(sandbox) from None

    # making

    async def _create(self, spec: SandboxSpec) -> Sandbox:
        begin = time.time_ns()
        lower = await self._node_images.lower_directories(spec.image.digest)
        made = asyncio.ensure_future(self._make(spec, lower, begin))
        try:
            await finish(made)
        except asyncio.CancelledError:
            if not made.cancelled() and made.exception() is None:
                box = self._boxes[spec.id]
                box.wanted = True
                await self._kill(box)
            raise
        return made.result()

    async def _make(self, spec: SandboxSpec, lower: tuple[str, ...], begin: int) -> Sandbox:
        """All or nothing, in milliseconds; not to be cancelled."""
        with ExitStack() as undo:
            try:
                bundle = self._bundle(spec.id)
                undo.callback(self._records.remove, spec.id)
                network = await self._network.take(spec.internet)
                undo.callback(self._network.release, network.address)
                with ExitStack() as held:
                    held.callback(os.close, network.fd)
                    layer = await self._layers.take(spec.disk_mb)
                    held.callback(self._layers.discard, layer)
                    held.enter_context(bundle.mounted(lower, layer))
                    place = Place(
                        rootfs="rootfs",
                        network=f"/proc/{os.getpid()}/fd/{network.fd}",
                        cgroup=self._path(spec.id),
                        file_limit=self._machine.file_limit,
                    )
                    bundle.write(spec, network.address, self._names, place, self._seccomp)
                    prepared = time.time_ns()
                    undo.callback(self._logs.drop, spec.id)
                    pid = await self._run_create(spec, bundle)
                box = self._keep_new(spec, network.address, pid)
            except OSError as error:
                kind = FailureKind.DISK_FULL if error.errno == errno.ENOSPC else FailureKind.ENGINE_FAILED
                raise StartFailed(Failure(kind, f"the sandbox could not be made: {error}")) from error
            undo.pop_all()
        stages = Stage("prepare", begin, prepared), Stage("create", prepared, time.time_ns())
        self._publish(Seen(box.sandbox()))
        return box.sandbox(stages)

    async def _run_create(self, spec: SandboxSpec, bundle: Bundle) -> int:
        """The pid of the sandbox's first process. Raises: StartFailed."""
        outputs = self._logs.begin(spec.id, spec.log_mb << 20)
        try:
            return await self._runtime.create(spec.id, bundle.directory, *outputs)
        except RuntimeFailed as error:
            # The program has not run: what is in its log is what the runtime said.
            said = str(error) or self._logs.tail(spec.id).strip()
            await leftovers.end(self._cgroup(spec.id))
            self._runtime.forget(spec.id)
            raise StartFailed(_refused(spec, said)) from error
        finally:
            for descriptor in outputs:
                os.close(descriptor)

    def _keep_new(self, spec: SandboxSpec, address: str, pid: int) -> Box:
        record = Record(
            spec=spec,
            address=address,
            pid=pid,
            started=process.start_time(pid) or 0,
            created=time.time_ns(),
        )
        self._records.write(record)
        return self._keep(record, InstanceState.CREATED)

    def _keep(self, record: Record, state: InstanceState) -> Box:
        """From here on the sandbox exists, until its first process ends."""
        sandbox = record.spec.id
        box = Box(record, self._cgroup(sandbox), self._logs.path(sandbox), os.pidfd_open(record.pid), state)
        self._boxes[sandbox] = box
        asyncio.get_running_loop().add_reader(box.pidfd, self._ended, box)
        return box

    async def _start(self, box: Box, timeout: float) -> Sandbox:
        begin = time.time_ns()
        spec = box.record.spec
        released: int | None = None
        try:
            async with asyncio.timeout(timeout):
                released = await _unless(box.ended, self._release(box))
        except TimeoutError:
            message = f"port {spec.port} did not accept a connection within {timeout:g} s"
            box.failure = Failure(FailureKind.PORT_NEVER_OPENED, message, self._logs.tail(spec.id))
        except RuntimeFailed as error:
            box.failure = Failure(FailureKind.ENGINE_FAILED, str(error), self._logs.tail(spec.id))
        if released is None:
            await self._kill(box)
            failure = box.gone.result() or Failure(FailureKind.ENGINE_FAILED, "the sandbox was stopped")
            raise StartFailed(failure)
        stages = Stage("start", begin, released), Stage("ready", released, time.time_ns())
        box.state = InstanceState.READY
        box.record = self._records.ready(box.record)
        self._publish(Seen(box.sandbox()))
        return box.sandbox(stages)

    async def _release(self, box: Box) -> int:
        """Let the program run, wait until it listens; when it was let run, in Unix ns."""
        await self._runtime.release(box.record.spec.id)
        released = time.time_ns()
        await self._doors.accepts(box.record.address, box.record.spec.port)
        return released

    # ending

    async def _ask(self, box: Box, grace: float) -> None:
        """Send the stop signal and wait, at most `grace` seconds."""
        number = _signal(box.record.spec.stop_signal)
        if box.state is InstanceState.CREATED or process.leaves_to_default(box.record.pid, number):
            return
        box.signal(number)
        if box.state is InstanceState.FROZEN:
            with suppress(FileNotFoundError, TimeoutError):
                await box.cgroup.freeze(False)
        with suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await box.ended.wait()

    async def _kill(self, box: Box) -> None:
        """End it if it has not ended; returns, also when cancelled, once it is gone."""
        if not box.ended.is_set():
            box.signal(signal.SIGKILL)
            box.cgroup.kill()
        await finish(box.gone)

    def _ended(self, box: Box) -> None:
        """The first process has ended, and with it all others."""
        asyncio.get_running_loop().remove_reader(box.pidfd)
        box.ended.set()
        self._task(self._bury(box))

    async def _bury(self, box: Box) -> None:
        sandbox = box.record.spec.id
        async with self._burials:
            code = await process.exit_code(box.pidfd)
            failure = box.explain(code, self._oom_kills(box), self._logs.tail(sandbox))
            try:
                await box.cgroup.remove()
            except TimeoutError:
                log.exception("the cgroup of sandbox %s cannot be removed; the next start tries again", sandbox)
            self._runtime.forget(sandbox)
            self._network.release(box.record.address)
            self._logs.end(sandbox)
            self._records.remove(sandbox)
        box.close()
        del self._boxes[sandbox]
        self._publish(Gone(sandbox, failure, box.record.spec.labels))
        box.gone.set_result(failure)

    @staticmethod
    def _oom_kills(box: Box) -> int:
        try:
            return box.cgroup.oom_kills()
        except FileNotFoundError:
            return 0

    # small things

    def _task(self, work: Coroutine[None, None, None]) -> None:
        """Run it as ours; `__aexit__` ends it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("the engine failed at %s", task.get_coro(), exc_info=error)

    def _publish(self, event: SandboxEvent) -> None:
        for watcher in self._watchers:
            watcher.put_nowait(event)

    def _path(self, sandbox: str) -> str:
        return f"{self._parent}/{sandbox}"

    def _cgroup(self, sandbox: str) -> Cgroup:
        return cgroup(self._machine.cgroups, self._path(sandbox))

    def _bundle(self, sandbox: str) -> Bundle:
        return Bundle(self._records.directory(sandbox))

    def _box(self, sandbox: InstanceId) -> Box:
        """Raises: StartFailed (NO_SUCH_SANDBOX)."""
        box = self._boxes.get(sandbox)
        if box is None:
            raise _unknown(sandbox)
        return box


async def _unless(ended: asyncio.Event, work: Coroutine[None, None, T]) -> T | None:
    """Do `work`, but no longer than until `ended`; None: that came first."""
    task, end = asyncio.ensure_future(work), asyncio.ensure_future(ended.wait())
    try:
        await asyncio.wait([task, end], return_when=asyncio.FIRST_COMPLETED)
        return None if ended.is_set() else task.result()
    finally:
        task.cancel()
        end.cancel()
        await asyncio.gather(task, end, return_exceptions=True)


def _signal(name: str) -> signal.Signals:
    """As an image config writes it: "SIGTERM", "TERM" or "15"."""
    try:
        return signal.Signals(int(name)) if name.isdecimal() else signal.Signals["SIG" + name.removeprefix("SIG")]
    except (KeyError, ValueError):
        return signal.SIGTERM


def _refused(spec: SandboxSpec, said: str) -> Failure:
    """Why the runtime would not make it."""
    lost = ("no such file or directory", "executable file not found", "executable file `", "permission denied")
    if "exec" in said and any(words in said for words in lost):
        program = spec.argv[0] if spec.argv else ""
        return Failure(FailureKind.ENTRYPOINT_MISSING, f"the image has no program '{program}'", said)
    if "no space left on device" in said:
        return Failure(FailureKind.DISK_FULL, "there is no space left on the machine's disk", said)
    return Failure(FailureKind.ENGINE_FAILED, f"the sandbox could not be created: {said}")


def _failed(message: str) -> StartFailed:
    return StartFailed(Failure(FailureKind.ENGINE_FAILED, message))


def _unknown(sandbox: str) -> StartFailed:
    return StartFailed(Failure(FailureKind.NO_SUCH_SANDBOX, f"there is no sandbox '{sandbox}'"))

"""The engine seam: what every way of running sandboxes must do.

**Words.** An *image* is pulled once and pinned by digest. A *sandbox* is one isolated process tree made from an
image; its id is chosen by the caller. *Created* means the runtime has made it and its program waits to be
released. *Started* means its program runs and its port accepts connections.

**States.**

    (none) ──create──▶ CREATED ──start──▶ READY ──freeze──▶ FROZEN ──freeze(off)──▶ READY
                          │                 │                  │
                          └──── stop, or its process ends ─────┴──▶ gone

**Promises.**
 1. `create`, `start`, `freeze` and `stop` may be called at the same time for different ids; for one id they are
    carried out in the order they were called.
 2. What fails leaves nothing: no mount, namespace, cgroup, process or record; and it raises `StartFailed` with a
    `Failure` that says why, its log tail included, as soon as that is known.
 3. `start` returns only once `host:port` accepts a connection, or raises: the port did not open in time, the
    process ended (with its exit code; OUT_OF_MEMORY when the kernel killed it for memory).
 4. `stop` is idempotent: an unknown id is already stopped. A frozen sandbox is thawed to receive its signal.
 5. Every sandbox that was created ends in exactly one `Gone` event, whoever ended it.
 6. Sandboxes outlive the engine's process. A new process finds them again and `watch` reports them first.
    A watch across processes goes on by itself: it tells everything once more, a `Gone` for each that ended
    meanwhile, and another `Synced`.
 7. Cancelling a call undoes what it had begun, before it returns. `start` cancelled leaves the sandbox stopped;
    `stop` cancelled cuts the grace short. A caller that loses its connection to the engine has cancelled.
 8. Log output is kept in order per stream, at most `SandboxSpec.log_mb`; positions only grow.

**A worked example.**

    image   = await images.pull("localhost:5000/web:1", None, print)
    sandbox = await engine.create(SandboxSpec(id=new_instance_id(), image=image, argv=("/web",), port=8080))
    ready   = await engine.start(sandbox.id, timeout=120)
    ...                                     # GET http://{ready.host}:{ready.port}/
    await engine.freeze(sandbox.id)         # no CPU from here
    await engine.freeze(sandbox.id, on=False)
    await engine.stop(sandbox.id, grace=10) # SIGTERM, 10 s, SIGKILL
"""

from collections.abc import AsyncIterator, Callable
from enum import Enum
from typing import ClassVar, Protocol

import msgspec

from sampan.model.errors import Failure
from sampan.model.image import Image, PullProgress
from sampan.model.image import RegistryAuth as RegistryAuth
from sampan.model.instance import InstanceState, Stage
from sampan.model.names import InstanceId
from sampan.model.secret import Guarded


class SandboxSpec(Guarded, msgspec.Struct, frozen=True):
    """All an engine needs to know to make a sandbox. Nothing in it is a policy."""

    _hidden: ClassVar[tuple[str, ...]] = ("env",)
    id: InstanceId
    image: Image
    argv: tuple[str, ...]
    port: int  # TCP port the program will listen on
    env: dict[str, str] = {}
    cwd: str = "/"
    user: str = ""  # as in an image config: "", "name", "uid", "uid:gid", "name:group"
    hostname: str = ""
    cpu: float = 1.0  # cores; the share is enforced as a quota
    memory_mb: int = 512
    disk_mb: int = 512  # the writable layer
    pids: int = 1024
    files: int = 16384  # RLIMIT_NOFILE, capped by the machine's own hard limit
    internet: bool = True
    stop_signal: str = "SIGTERM"
    log_mb: int = 64  # newest output kept per stream
    labels: dict[str, str] = {}  # opaque to the engine; given back by `watch`


class Sandbox(msgspec.Struct, frozen=True):
    """A sandbox as it is now."""

    id: InstanceId
    state: InstanceState  # CREATED, READY or FROZEN
    host: str
    port: int
    image: str  # digest
    created: int  # Unix nanoseconds
    labels: dict[str, str] = {}
    stages: tuple[Stage, ...] = ()  # of the call that returned it
    log_path: str = ""  # the file behind stdout, may be appended to; empty where there is none


class Seen(msgspec.Struct, frozen=True, tag=True):
    """There is this sandbox (from before the watch began, or changed since)."""

    sandbox: Sandbox


class Synced(msgspec.Struct, frozen=True, tag=True):
    """Everything from before the watch began has been told. Comes again when the engine's process was replaced."""


class Gone(msgspec.Struct, frozen=True, tag=True):
    """The sandbox has ended and everything of it but its log is gone."""

    id: InstanceId
    failure: Failure | None  # None: it was stopped on request
    labels: dict[str, str] = {}


class Past(msgspec.Struct, frozen=True, tag=True):
    """The sandbox was gone before the watch began; its output can still be read."""

    id: InstanceId
    labels: dict[str, str]
    at: int  # Unix nanoseconds of the last output


SandboxEvent = Seen | Past | Synced | Gone


class Stream(Enum):
    STDOUT = "stdout"
    STDERR = "stderr"


class LogChunk(msgspec.Struct, frozen=True):
    """A stretch of one output stream of a sandbox."""

    data: bytes
    begin: int  # position of the first byte; later than asked for where the oldest output was dropped
    end: int  # position after the last byte; ask again from here
    ended: bool  # nothing more will come
    marks: tuple[tuple[int, int], ...] = ()  # (position, Unix ns): what is before the position was there by then


class Stats(msgspec.Struct, frozen=True):
    """What a sandbox has used."""

    cpu_ns: int
    memory: int  # bytes now
    memory_peak: int  # bytes


class ExecResult(msgspec.Struct, frozen=True):
    exit_code: int
    stdout: bytes
    stderr: bytes


class Images(Protocol):
    """The images that sandboxes are made of."""

    async def pull(
        self,
        reference: str,
        auth: RegistryAuth | None,
        progress: Callable[[PullProgress], None] | None = None,
    ) -> Image:
        """Make the image local and resolve its name to a digest. An interrupted pull is resumed.

        Concurrent pulls of one image share the work. Raises: StartFailed (IMAGE_*, DISK_FULL).
        """

    async def list(self) -> list[Image]:
        """The images that are local."""

    async def check(self) -> None:
        """Whether images can be had and unpacked now. Raises: StartFailed (ENGINE_FAILED), within seconds."""

    async def retain(self, digests: frozenset[str]) -> None:
        """Only these are still needed (and those that sandboxes are made of); the rest may be collected."""


class Engine(Protocol):
    """Makes, keeps and ends sandboxes. The eight methods; their promises are at the top of this file."""

    @property
    def images(self) -> Images:
        """What sandboxes are made of."""

    async def create(self, spec: SandboxSpec) -> Sandbox:
        """Everything but the program's own start. Raises: StartFailed."""

    async def start(self, sandbox: InstanceId, timeout: float) -> Sandbox:
        """Release a created sandbox and wait, at most `timeout` seconds, until it listens. Raises: StartFailed."""

    async def freeze(self, sandbox: InstanceId, on: bool = True) -> None:
        """Stop, or let go on, every process of the sandbox. Raises: StartFailed (NO_SUCH_SANDBOX)."""

    async def stop(self, sandbox: InstanceId, grace: float) -> None:
        """Its stop signal, `grace` seconds, SIGKILL; then remove everything of it but its log."""

    def watch(self) -> AsyncIterator[SandboxEvent]:
        """Every sandbox there is, those that were and whose output is kept, `Synced`, then each change in order."""

    async def exec(self, sandbox: InstanceId, argv: tuple[str, ...], stdin: bytes, timeout: float) -> ExecResult:
        """Run a program inside a READY sandbox, with its environment and user. Output is cut at 1 MiB a stream.

        Raises: StartFailed (NO_SUCH_SANDBOX; ENGINE_FAILED when it does not end within `timeout` seconds: it is
        killed then, or when the sandbox is not READY).
        """

    async def logs(self, sandbox: InstanceId, stream: Stream, position: int, limit: int) -> LogChunk:
        """At most `limit` bytes of a stream from `position`; negative: counted from the end.

        Works for a while after the sandbox is gone. Raises: StartFailed (NO_SUCH_SANDBOX).
        """

    async def stats(self, sandbox: InstanceId) -> Stats:
        """Raises: StartFailed (NO_SUCH_SANDBOX)."""

"""One living sandbox as the engine holds it, and how its end is explained."""

import asyncio
import os
import select
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TypeVar

from sampan.engine.engine import Sandbox
from sampan.engine.node.cgroup import Cgroup
from sampan.engine.node.records import Record
from sampan.model.errors import Failure, FailureKind
from sampan.model.instance import InstanceState, Stage

T = TypeVar("T")


@dataclass(slots=True)
class Box:
    record: Record
    cgroup: Cgroup
    log_path: str
    pidfd: int
    state: InstanceState
    ended: asyncio.Event = field(default_factory=asyncio.Event)  # its first process has ended
    gone: "asyncio.Future[Failure | None]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    wanted: bool = False  # its end was asked for
    failure: Failure | None = None  # why it is made to end, where that is known before

    def sandbox(self, stages: tuple[Stage, ...] = ()) -> Sandbox:
        return self.record.sandbox(self.state, self.log_path, stages)

    def over(self) -> bool:
        """Whether its first process has ended, heard of or not."""
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        return self.ended.is_set() or bool(poll.poll(0))

    def signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, number)

    def explain(self, code: int | None, oom_kills: int, log_tail: str) -> Failure | None:
        """Why it ended; None: because it was asked to."""
        if self.failure is not None or self.wanted:
            return self.failure
        spec = self.record.spec
        if oom_kills and code in (None, 128 + signal.SIGKILL):
            message = f"the program was killed for using more than its {spec.memory_mb} MB of memory"
            return Failure(FailureKind.OUT_OF_MEMORY, message, log_tail, 128 + signal.SIGKILL)
        how = "in a way nobody saw" if code is None else f"with code {code}"
        when = "" if self.state is not InstanceState.CREATED else f" before port {spec.port} accepted a connection"
        return Failure(FailureKind.EXITED, f"the program exited {how}{when}", log_tail, code)

    def close(self) -> None:
        os.close(self.pidfd)


class Turns:
    """Calls for one id take turns, in the order they came; calls for different ids do not wait."""

    def __init__(self) -> None:
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def of(self, sandbox: str) -> AsyncIterator[None]:
        lock, users = self._locks.get(sandbox) or (asyncio.Lock(), 0)
        self._locks[sandbox] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks.pop(sandbox)
            if users > 1:
                self._locks[sandbox] = (lock, users - 1)


async def finish(task: "asyncio.Future[T]") -> None:
    """Wait for `task` whatever cancellations come meanwhile; the last of them is raised after it.

    For what must not be left half done. Only for work that has a deadline of its own.
    """
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        if not task.cancelled():
            task.exception()  # seen
        raise cancelled

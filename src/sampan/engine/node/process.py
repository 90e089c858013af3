"""Processes without threads or a child watcher: spawned by `posix_spawn`, awaited through their pidfd."""

import asyncio
import os
import signal
from collections.abc import Iterable, Mapping
from contextlib import suppress

from sampan.engine.node import kernel

_LOST_WAIT = 1.0  # seconds that PID 1 is given to reap what was not our child

# Python ignores these, and what is ignored stays ignored across exec: the sandbox's program would inherit it.
_DEFAULTS = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGQUIT)


def spawn(argv: tuple[str, ...], environment: Mapping[str, str], stdin: int, stdout: int, stderr: int) -> int:
    """Start `argv[0]` in a process group of its own; the pid. Raises: OSError."""
    return os.posix_spawn(
        argv[0],
        argv,
        environment,
        file_actions=(
            (os.POSIX_SPAWN_DUP2, stdin, 0),
            (os.POSIX_SPAWN_DUP2, stdout, 1),
            (os.POSIX_SPAWN_DUP2, stderr, 2),
        ),
        setpgroup=0,
        setsigmask=(),
        setsigdef=_DEFAULTS,
    )


def settle(future: "asyncio.Future[None]") -> None:
    """For callbacks that may come twice."""
    if not future.done():
        future.set_result(None)


async def readable(fd: int) -> None:
    """Wait until `fd` is readable; for a pidfd that is when its process has ended."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()
    loop.add_reader(fd, settle, future)
    try:
        await future
    finally:
        loop.remove_reader(fd)


async def ended(pid: int) -> int:
    """Wait for our child `pid`; its exit code as a shell tells it. Cancelled, it kills the child first."""
    pidfd = os.pidfd_open(pid)
    try:
        try:
            await readable(pidfd)
        except asyncio.CancelledError:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            await _undisturbed(pidfd)
            _reaped(pidfd)
            raise
        return _reaped(pidfd) or 0
    finally:
        os.close(pidfd)


async def killed(pid: int) -> None:
    """Kill a process that may be our child by now, its own parent being gone. Raises: ProcessLookupError."""
    pidfd = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        with suppress(TimeoutError, ChildProcessError):  # a frozen one dies when it is thawed
            async with asyncio.timeout(_LOST_WAIT):
                await readable(pidfd)
            _reaped(pidfd)
    finally:
        os.close(pidfd)


def reap(pids: Iterable[int]) -> None:
    """Forget those of the ended processes that were our children."""
    for pid in pids:
        with suppress(ChildProcessError):
            os.waitid(os.P_PID, pid, os.WEXITED)


async def _undisturbed(pidfd: int) -> None:
    """`readable`, whatever cancellations come meanwhile: a killed process ends at once."""
    waiting = asyncio.ensure_future(readable(pidfd))
    while not waiting.done():
        with suppress(asyncio.CancelledError):
            await asyncio.shield(waiting)


async def exit_code(pidfd: int) -> int | None:
    """The exit code of a process that has ended, ours or not, as a shell tells it; None: nobody knows."""
    with suppress(ChildProcessError):
        return _reaped(pidfd)
    deadline = asyncio.get_running_loop().time() + _LOST_WAIT
    while (status := kernel.exit_status(pidfd)) is None:
        if asyncio.get_running_loop().time() >= deadline:
            return None
        await asyncio.sleep(0.005)
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


def _reaped(pidfd: int) -> int | None:
    result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    if result is None:
        return None
    return result.si_status if result.si_code == os.CLD_EXITED else 128 + result.si_status


def start_time(pid: int) -> int | None:
    """Clock ticks from boot to the start of `pid`, which with the pid names a process; None: no such process.

    Source: proc(5), /proc/pid/stat, field 22.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[19])
    except (FileNotFoundError, ProcessLookupError):
        return None


def leaves_to_default(pid: int, number: int) -> bool:
    """Whether the process neither catches nor ignores the signal, nor blocks it to wait for it.

    The kernel does not carry out default actions for the first process of a pid namespace, so such a signal
    would change nothing there. Small inits (tini, dumb-init) block what they wait for. Source: pid_namespaces(7),
    sigwait(3), signalfd(2).
    """
    try:
        with open(f"/proc/{pid}/status") as file:
            masks = dict(line.split(":", 1) for line in file if line.startswith(("SigBlk", "SigIgn", "SigCgt")))
    except (FileNotFoundError, ProcessLookupError):
        return True
    return not any(int(mask, 16) & (1 << (number - 1)) for mask in masks.values())

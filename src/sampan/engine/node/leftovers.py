"""What a crashed run left on the machine: everything of the realm that no living sandbox's record knows."""

import logging
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from sampan.engine.node import cgroup, process
from sampan.engine.node.cgroup import Cgroup, Layout
from sampan.engine.node.records import Record, Records
from sampan.engine.node.runtime import Runtime
from sampan.model.instance import InstanceState

log = logging.getLogger(__name__)


def living(records: Records, runtime: Runtime, groups: Callable[[str], Cgroup]) -> list[Record]:
    """The sandboxes that outlived the process that made them.

    One that was being started is not among them: nobody waits for it any more.
    """
    found = []
    for name, record in records.read():
        if record is None or not record.alive() or record.spec.id != name:
            continue
        waits = runtime.fifo(name).exists()
        with suppress(FileNotFoundError):
            if record.pid in groups(name).pids() and waits == (record.state is InstanceState.CREATED):
                found.append(record)
    return found


async def clean(
    keep: set[str], records: Records, runtime: Runtime, state: Path, layout: Layout, parent: str
) -> None:
    """End and remove what is not to be kept. Links, namespaces, mounts and loop devices go with their processes."""
    _end_runtimes(state)
    known = {name for name, _ in records.read()} | runtime.known() | cgroup.children(layout, parent)
    for name in sorted(known - keep):
        log.info("removing what is left of sandbox %s", name)
        await end(cgroup.cgroup(layout, f"{parent}/{name}"))
        runtime.forget(name)
        records.remove(name)


async def end(group: Cgroup) -> None:
    """End everything in a cgroup that nobody watches, and remove it. Raises: TimeoutError."""
    pids: list[int] = []
    with suppress(FileNotFoundError):
        pids = group.pids()
    await group.remove()
    process.reap(pids)


def _end_runtimes(state: Path) -> None:
    """A runtime that is still creating would make anew what is being removed."""
    ours = str(state).encode()
    for directory in Path("/proc").iterdir():
        if not directory.name.isdecimal() or int(directory.name) == os.getpid():
            continue
        with suppress(OSError):
            arguments = (directory / "cmdline").read_bytes().split(b"\0")
            if len(arguments) > 3 and arguments[1] == b"--root" and arguments[2] == ours:
                os.kill(int(directory.name), signal.SIGKILL)

"""What the platform needs of a machine, and how it says what is missing."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

from sampan.engine.node import kernel
from sampan.serve.layout import Layout
from sampan.settings import Settings

REGISTRY_PROGRAM = "docker-registry"

PACKAGES = {
    "containerd": "containerd",
    "runc": "runc",
    "crun": "crun",
    "nft": "nftables",
    "mkfs.ext4": "e2fsprogs",
    REGISTRY_PROGRAM: "docker-registry",
}
"""Programs that must be there → the Debian package that brings each."""

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class CannotRun(Exception):
    """The platform cannot be started here and now; the sentence says why and what to do."""


def check_machine(settings: Settings) -> None:
    if os.geteuid() != 0:
        raise CannotRun("making sandboxes needs root; run: sudo sampan up")
    wanted = ["containerd"] if not settings.engine.containerd else []
    wanted += [settings.engine.runtime, "nft", "mkfs.ext4"]
    wanted += [REGISTRY_PROGRAM] if settings.registry.enabled else []
    missing = [program for program in wanted if shutil.which(program, path=SYSTEM_PATH) is None]
    if missing:
        packages = " ".join(PACKAGES.get(program, program) for program in missing)
        raise CannotRun(f"missing: {', '.join(missing)}; run: apt-get install {packages}")


def check_state(layout: Layout) -> None:
    """Everything that is written before the processes' own logs exist has to find its place."""
    try:
        layout.logs.mkdir(parents=True, exist_ok=True)
        why = "" if os.access(layout.state, os.W_OK) else "it cannot be written to"
    except OSError as error:
        why = error.strerror or str(error)
    if why:
        raise CannotRun(f"the state directory {layout.state} cannot be used: {why}; give another --state")


def in_memory(directory: Path) -> None:
    """Have the run directory in memory, as /run mostly is: starts make and remove files there by the dozen.

    Measured (2026-11, ext4): 10 % of a start's CPU is spent on finding inodes that were not used lately. What an
    earlier run left in the directory stays in sight: it names living sandboxes. Raises: CannotRun.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if _file_system(directory) == "tmpfs" or any(directory.iterdir()):
        return
    try:
        kernel.mount("tmpfs", str(directory), "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=711,size=10%")
    except OSError as error:
        raise CannotRun(f"no tmpfs can be mounted at {directory}: {error.strerror}") from error


def remove(directory: Path) -> None:
    """Undo `in_memory`, and what lies there."""
    shutil.rmtree(directory, ignore_errors=True)
    with suppress(OSError):
        kernel.unmount(str(directory))  # refused where the directory was in memory by itself
    with suppress(OSError):
        directory.rmdir()


def _file_system(directory: Path) -> str:
    """Its type. Source: proc(5), /proc/pid/mountinfo."""
    device = os.stat(directory).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if before.split()[2] == number:
            return after.split(" ", 1)[0]
    return ""


def in_use(layout: Layout, pid: int | str) -> CannotRun:
    return CannotRun(
        f"the state directory {layout.state} is in use by process {pid}; run: sampan down, or give another --state"
    )

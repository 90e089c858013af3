"""Making a machine ready, once per process: its own view of mounts, forwarding, orphans, fast cgroup moves."""

import logging
import os
import resource
from contextlib import suppress
from pathlib import Path

import msgspec

from sampan.engine.node import cgroup, kernel

log = logging.getLogger(__name__)

_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
_STUB = Path("/run/systemd/resolve/resolv.conf")  # the real servers behind systemd's local stub


class Machine(msgspec.Struct, frozen=True):
    """What the machine is like."""

    cgroups: cgroup.Layout
    file_limit: int  # open files, that not even root may exceed


def prepare(favordynmods: bool, hugetlb: Path | None) -> Machine:
    """Change this process and the machine as the engine needs it. Raises: OSError.

    favordynmods: halves the start of a sandbox, for moving into a cgroup then waits for no RCU grace period
    (measured: runc 14.5 → 7 ms); on some kernels it stays until the next boot.
    hugetlb: a directory that crun needs, see `_free_unified`; None: for another runtime.
    """
    _own_mounts()
    kernel.become_subreaper()
    if _FORWARD.read_text().strip() != "1":
        _FORWARD.write_text("1")
    mountinfo = Path("/proc/self/mountinfo").read_text()
    layout = cgroup.layout(mountinfo)
    if favordynmods:
        _favor_moves(mountinfo)
    if hugetlb is not None and not layout.unified:
        _free_unified(layout, hugetlb)
    return Machine(layout, resource.getrlimit(resource.RLIMIT_NOFILE)[1])


def _own_mounts() -> None:
    """Leave the mount namespace of whoever started us; what it mounts later we still see, not the reverse."""
    with suppress(OSError):
        ours, theirs = os.stat("/proc/self/ns/mnt"), os.stat(f"/proc/{os.getppid()}/ns/mnt")
        if ours.st_ino != theirs.st_ino:
            return
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.mount("none", "/", "", kernel.MS_REC | kernel.MS_SLAVE)


def _favor_moves(mountinfo: str) -> None:
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        if kind != "cgroup2":
            continue
        if "favordynmods" not in options.split(","):
            point, flags = before.split()[4:6]
            kept = sum(_FLAGS.get(flag, 0) for flag in flags.split(","))
            try:
                kernel.mount("none", point, "cgroup2", kernel.MS_REMOUNT | kept, "favordynmods")
            except OSError as error:
                log.warning("sandboxes start slower: %s cannot be remounted with favordynmods: %s", point, error)
        return


_FLAGS = {
    "ro": kernel.MS_RDONLY,
    "nosuid": kernel.MS_NOSUID,
    "nodev": kernel.MS_NODEV,
    "noexec": 0x8,
    "noatime": kernel.MS_NOATIME,
    "relatime": 1 << 21,
}


def _free_unified(layout: cgroup.Layout, target: Path) -> None:
    """crun refuses cgroup v1 while v2 holds a controller; attaching it to a v1 hierarchy of ours frees it.

    Also where v2 does not hold it now: it may be in the hierarchy of an engine that has just ended, from which it
    goes back to v2 at any moment, unless the hierarchy is mounted again.
    """
    unified = layout.mounts.get("unified")
    if unified is None:
        return
    target.mkdir(exist_ok=True)
    try:
        kernel.mount("none", str(target), "cgroup", 0, "hugetlb")
    except OSError as error:
        target.rmdir()
        if "hugetlb" in Path(unified, "cgroup.controllers").read_text().split():
            log.warning("crun may not work here: hugetlb cannot leave cgroup v2: %s", error)


def release(hugetlb: Path) -> None:
    """Undo what was mounted for crun; the hierarchy ends with the last cgroup in it."""
    with suppress(OSError):
        kernel.unmount(str(hugetlb))
    with suppress(OSError):
        hugetlb.rmdir()


def resolvers(given: str) -> tuple[str, ...]:
    """The name servers that sandboxes are told: `given`, else the machine's own that they can reach."""
    if given:
        return (given,)
    found = _nameservers(Path("/etc/resolv.conf"))
    return tuple(found or _nameservers(_STUB))


def _nameservers(file: Path) -> list[str]:
    try:
        lines = [line.split() for line in file.read_text().splitlines()]
    except OSError:
        return []
    named = [words[1] for words in lines if len(words) > 1 and words[0] == "nameserver"]
    return [server for server in named if "." in server and not server.startswith("127.")]

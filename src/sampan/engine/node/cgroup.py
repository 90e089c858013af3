"""What the kernel counts and limits per sandbox, with cgroup v1 and v2 behind one small class.

Limits are set by the runtime from the sandbox's spec; here they are read, frozen, killed and removed.
"""

import asyncio
import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from sampan.engine.engine import Stats

_FREEZE_TIMEOUT = 5.0  # seconds; measured 0.15 ms, long only while processes are in uninterruptible I/O


class Layout(msgspec.Struct, frozen=True):
    """Where the hierarchies are mounted: one per controller (v1), or a single one (v2)."""

    unified: bool
    mounts: dict[str, str]  # controller → mount point; v2: {"": mount point}

    @property
    def roots(self) -> frozenset[str]:
        return frozenset(self.mounts.values())


def layout(mountinfo: str) -> Layout:
    """Read from the text of /proc/self/mountinfo. Source: proc(5)."""
    first: dict[str, str] = {}
    second = ""
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        point, (kind, _, options) = before.split()[4], after.split(" ", 2)
        if kind == "cgroup":
            for option in options.split(","):
                first.setdefault(option, point)
        elif kind == "cgroup2":
            second = second or point
    if "memory" in first:
        first.pop("rw", None)
        return Layout(unified=False, mounts=first | ({"unified": second} if second else {}))
    return Layout(unified=True, mounts={"": second})


class Cgroup(ABC):
    """The cgroup of one sandbox. It may be gone already: reading raises FileNotFoundError, the rest does not."""

    def __init__(self, layout: Layout, path: str) -> None:
        """`path`: as in the spec's cgroupsPath, `/sampan-<realm>/<id>`."""
        self._layout = layout
        self._path = path

    @abstractmethod
    def stats(self) -> Stats:
        """What was used until now."""

    @abstractmethod
    def oom_kills(self) -> int:
        """Processes that the kernel killed because the memory limit was reached."""

    @abstractmethod
    def _freezer(self) -> tuple[str, dict[bool, str], str]:
        """The file to write, what to write for on and off, and the file that tells the state."""

    @abstractmethod
    def _frozen(self, told: str) -> bool | None:
        """What the state file tells; None: still on the way."""

    @abstractmethod
    def pids(self) -> list[int]:
        """Every process in it."""

    def frozen(self) -> bool:
        """Whether it is frozen now."""
        return self._frozen(_read(self._freezer()[2])) is True

    async def freeze(self, on: bool) -> None:
        """Returns once every process is stopped, or goes on. Raises: TimeoutError, FileNotFoundError."""
        file, words, state = self._freezer()
        async with asyncio.timeout(_FREEZE_TIMEOUT):
            while True:
                _write(file, words[on])
                if self._frozen(_read(state)) == on:
                    return
                await asyncio.sleep(0.001)

    def kill(self) -> None:
        """SIGKILL to every process, frozen or not."""
        with suppress(FileNotFoundError):
            for pid in self.pids():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            file, words, _ = self._freezer()
            _write(file, words[False])

    async def remove(self, timeout: float = 5.0) -> None:
        """Kill what is in it and remove it, below every hierarchy. Raises: TimeoutError."""
        async with asyncio.timeout(timeout):
            while not self._removed():
                self.kill()
                await asyncio.sleep(0.002)

    def _removed(self) -> bool:
        busy = False
        for root in self._layout.roots:
            try:
                os.rmdir(root + self._path)
            except FileNotFoundError:
                continue
            except OSError:
                busy = True
        return not busy


class _First(Cgroup):
    """cgroup v1. Source: Documentation/admin-guide/cgroup-v1."""

    def _file(self, controller: str, name: str) -> str:
        return f"{self._layout.mounts[controller]}{self._path}/{name}"

    def stats(self) -> Stats:
        return Stats(
            cpu_ns=int(_read(self._file("cpuacct", "cpuacct.usage"))),
            memory=int(_read(self._file("memory", "memory.usage_in_bytes"))),
            memory_peak=int(_read(self._file("memory", "memory.max_usage_in_bytes"))),
        )

    def oom_kills(self) -> int:
        return _field(_read(self._file("memory", "memory.oom_control")), "oom_kill")

    def _freezer(self) -> tuple[str, dict[bool, str], str]:
        file = self._file("freezer", "freezer.state")
        return file, {True: "FROZEN", False: "THAWED"}, file

    def _frozen(self, told: str) -> bool | None:
        return {"FROZEN": True, "THAWED": False}.get(told.strip())

    def pids(self) -> list[int]:
        return _numbers(self._file("memory", "cgroup.procs"))


class _Second(Cgroup):
    """cgroup v2. Source: Documentation/admin-guide/cgroup-v2.rst."""

    def _file(self, name: str) -> str:
        return f"{self._layout.mounts['']}{self._path}/{name}"

    def stats(self) -> Stats:
        memory = int(_read(self._file("memory.current")))
        try:
            peak = int(_read(self._file("memory.peak")))
        except FileNotFoundError:  # before Linux 5.19
            peak = memory
        return Stats(_field(_read(self._file("cpu.stat")), "usage_usec") * 1000, memory, peak)

    def oom_kills(self) -> int:
        return _field(_read(self._file("memory.events")), "oom_kill")

    def _freezer(self) -> tuple[str, dict[bool, str], str]:
        return self._file("cgroup.freeze"), {True: "1", False: "0"}, self._file("cgroup.events")

    def _frozen(self, told: str) -> bool | None:
        return bool(_field(told, "frozen"))

    def pids(self) -> list[int]:
        return _numbers(self._file("cgroup.procs"))


def cgroup(layout: Layout, path: str) -> Cgroup:
    return (_Second if layout.unified else _First)(layout, path)


def children(layout: Layout, parent: str) -> set[str]:
    """Names of the cgroups below `parent`, in whichever hierarchy."""
    return {entry.name for root in layout.roots for entry in _directories(Path(root + parent))}


def remove_parent(layout: Layout, parent: str) -> None:
    """Remove the cgroup that held the sandboxes' own, once it is empty."""
    for root in layout.roots:
        with suppress(OSError):
            os.rmdir(root + parent)


def _directories(path: Path) -> Iterator[Path]:
    with suppress(FileNotFoundError):
        yield from (entry for entry in path.iterdir() if entry.is_dir())


def _read(path: str) -> str:
    with open(path) as file:
        return file.read()


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def _field(text: str, name: str) -> int:
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return 0


def _numbers(path: str) -> list[int]:
    return [int(line) for line in _read(path).split()]

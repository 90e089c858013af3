"""Cores, compiled programs, and processes that end with us."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = Path(__file__).parent / "programs"
PATIENCE = 20.0
"""Seconds for a process to be ready, and to end."""

PAGE = os.sysconf("SC_PAGE_SIZE")
CORES = sorted(os.sched_getaffinity(0))
PROXY = (CORES[0],)
LOAD = (CORES[-1],)
"""The proxies have one core, load generator and backend share the other."""


class Unmeasured(Exception):
    """A figure could not be measured; says why."""


def compiled(name: str, into: Path) -> Path:
    """A program of `programs/`, built. Raises: Unmeasured."""
    made = into / name
    if not made.exists():
        words = ["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(made), str(PROGRAMS / f"{name}.c")]
        _build(words, os.environ.copy())
    return made


def built_with_go(name: str, into: Path) -> Path:
    """A Go program of `programs/`. Raises: Unmeasured."""
    made = into / name
    if not made.exists():
        here = {**os.environ, "GO111MODULE": "off", "CGO_ENABLED": "0"}
        _build([program("go"), "build", "-o", str(made), str(PROGRAMS / name / "main.go")], here)
    return made


def _build(words: Sequence[str], environment: dict[str, str]) -> None:
    try:
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unmeasured(f"{words[0]}: {error}") from error
    if done.returncode:
        raise Unmeasured(f"{' '.join(words)}: {done.stderr.strip()}")


def program(name: str) -> str:
    """Where an installed program is. Raises: Unmeasured."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/usr/local/go/bin")
    if found is None:
        raise Unmeasured(f"{name} is not installed")
    return found


def pinned(cores: Sequence[int], *words: str) -> list[str]:
    """The command on these cores only; told to end when we end, however that happens."""
    return ["setpriv", "--pdeathsig", "TERM", "taskset", "-c", ",".join(map(str, cores)), *words]


@contextmanager
def running(cores: Sequence[int], *words: str, log: Path, pass_fds: Sequence[int] = ()) -> Iterator[int]:
    """A process, while the `with` lasts; its pid. Its session is its own, so that Ctrl-C is ours to pass on."""
    with log.open("ab") as output:
        one = subprocess.Popen(
            pinned(cores, *words), stdin=subprocess.DEVNULL, stdout=output, stderr=output, pass_fds=pass_fds,
            env={**os.environ, "SUPERVISOR_PID": str(os.getpid())}, start_new_session=True,
        )  # fmt: skip
    try:
        yield one.pid
    finally:
        one.terminate()
        try:
            one.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            one.kill()
            one.wait()


def until(done: Callable[[], bool], otherwise: str, log: Path | None = None) -> None:
    """Raises: Unmeasured, with the end of the log."""
    deadline = time.monotonic() + PATIENCE
    while not done():
        if time.monotonic() > deadline:
            told = log.read_text(errors="replace")[-1000:] if log is not None and log.exists() else ""
            raise Unmeasured(f"{otherwise} within {PATIENCE:.0f} s; {told}")
        time.sleep(0.02)


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def resident(pid: int) -> int:
    """Bytes of RSS. Source: proc(5), statm."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def model() -> str:
    """What the processors call themselves."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")

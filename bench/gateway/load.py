"""Runs `programs/load.c` and reads what it tells."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bench.gateway.machine import LOAD, Unmeasured, compiled, pinned
from bench.gateway.sides import HOST, Side

SLACK = 30.0
"""Seconds beyond its own that the program may take."""


class Load(msgspec.Struct, frozen=True):
    """What came of a load. Times in microseconds, of good answers; `cpu` in seconds, a number per process."""

    seconds: float
    sent: int
    answered: int
    good: int  # 2xx
    refused: int  # 429, 503
    other: int
    broken: int
    hung: int
    bytes: int  # of bodies, both ways
    p50: float
    p90: float
    p99: float
    p999: float
    slowest: float
    cpu: tuple[float, ...]

    @property
    def rate(self) -> float:
        return self.good / self.seconds

    @property
    def bandwidth(self) -> float:
        """MiB/s of bodies."""
        return self.bytes / self.seconds / (1 << 20)

    @property
    def cpu_each(self) -> float:
        """Microseconds of CPU per answer, of all processes together."""
        return sum(self.cpu) / self.answered * 1e6

    @property
    def busy(self) -> float:
        """The busiest process's share of a core."""
        return max(self.cpu) / self.seconds


def send(
    side: Side, directory: Path, seconds: float, connections: int = 64, rate: float = 0, method: str = "GET",
    path: str = "/", body: int = 0, cores: Sequence[int] = LOAD, refusals: bool = False,
) -> Load:  # fmt: skip
    """rate: requests a second whether or not they are answered; 0: each connection waits for its answer.

    refusals: some are expected. Raises: Unmeasured, when anything else came than was asked for.
    """
    words = [side.port, HOST, connections, seconds, f"{rate:.1f}", method, path, body, *side.pids]
    done = subprocess.run(
        pinned(cores, str(compiled("load", directory)), *map(str, words)),
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds + SLACK, check=False,
    )  # fmt: skip
    if done.returncode:
        raise Unmeasured(f"{side.name}: {done.stderr.strip()}")
    load = msgspec.json.decode(done.stdout, type=Load)
    if load.other or load.broken or load.hung or not load.good or (load.refused and not refusals):
        raise Unmeasured(
            f"{side.name}, {method} {path}: of {load.answered} answers {load.refused} were refusals and"
            f" {load.other} neither 2xx nor that; {load.broken} connections broke, {load.hung} answers did not come"
        )
    return load

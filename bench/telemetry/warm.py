"""The gateway's warm path with tracing, beside the same without: requests a second, and CPU of each.

Three gateways stand behind the same load, each alone while it is measured. A turn measures each once, every other
turn from the last to the first, and ratios are taken turn by turn: many short turns, since what else the machine
does comes and goes. On a machine that does other work, CPU per request is the steadier of the two.
"""

import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from bench.cold import Figure
from bench.gateway import sides
from bench.gateway.load import Load, send

TURNS, SECONDS, CONNECTIONS = 36, 0.8, 64
WAYS: dict[str, dict[str, object]] = {
    "off": {"telemetry.tracing": False},
    "none sampled": {"telemetry.sampling": 0.0},
    "all sampled": {"telemetry.sampling": 1.0},
}
BOUNDS = {"none sampled": 0.98, "all sampled": 0.85}


def warm() -> Iterator[Figure]:
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sampan-bench-", dir="/var/tmp")))
        directory.chmod(0o755)
        backend = stack.enter_context(sides.backend(directory))
        ways = {
            name: stack.enter_context(sides.gateway(directory, backend, given=given))
            for name, given in WAYS.items()
        }
        for side in ways.values():
            send(side, directory, 1.0, CONNECTIONS)
        turns = []
        for turn in range(TURNS):
            order = list(ways.items())[:: -1 if turn % 2 else 1]
            turns.append({name: send(side, directory, SECONDS, CONNECTIONS) for name, side in order})
    for name, bound in BOUNDS.items():
        yield _beside(f"requests/s, tracing, {name} / off", turns, name, lambda load: load.rate, bound, True)
        # Less per second is more for each, in the same measure.
        yield _beside(
            f"CPU per request (µs), tracing, {name} / off", turns, name, lambda load: load.cpu_each, 1 / bound
        )


def _beside(
    name: str, turns: list[dict[str, Load]], way: str, figure: Callable[[Load], float], bound: float,
    at_least: bool = False,
) -> Figure:  # fmt: skip
    pairs = [(figure(turn[way]), figure(turn["off"])) for turn in turns]
    ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    return Figure(name, ours, theirs, statistics.median(a / b for a, b in pairs), round(bound, 3), "×", at_least)

"""`make bench`: runs the measurements, prints each promise with what was measured, keeps the figures as JSON.

python -m bench.report [MEASUREMENT…]    exit code 1 when a promise is broken
"""

import os
import platform as machine
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from bench.cold import MEASUREMENTS, Figure
from bench.gateway.machine import Unmeasured
from bench.platform import Broken
from examples.images import BuildFailed

Measurements = Mapping[str, Callable[[], Iterator[Figure]]]
RESULTS = Path(__file__).parent / "results"
WIDTH = 24
"""Characters of the bar that stands for a bound; a bar twice as long is a promise missed by half."""


class Run(msgspec.Struct, frozen=True):
    """What is kept of one run."""

    at: str  # UTC
    kernel: str
    cores: int
    figures: list[Figure]


def bar(figure: Figure) -> str:
    """How much of what is allowed was used; the mark is where the promise ends."""
    if not figure.bound or not figure.value:
        return ""
    share = figure.bound / figure.value if figure.at_least else figure.value / figure.bound
    filled = min(round(share * WIDTH), 2 * WIDTH)
    return ("█" * filled).ljust(WIDTH)[:WIDTH] + "▏" + "█" * (filled - WIDTH)


def table(figures: list[Figure]) -> Table:
    made = Table("promise", "measured", "floor", "value", "bound", "", box=None)
    for figure in figures:
        colour = "green" if figure.kept else "red"
        made.add_row(
            figure.name,
            f"{figure.measured:.2f}",
            "" if figure.floor is None else f"{figure.floor:.2f}",
            f"[{colour}]{figure.value:.2f} {figure.unit}[/]",
            "" if figure.bound is None else f"{'≥' if figure.at_least else '≤'} {figure.bound:.10g} {figure.unit}",
            f"[{colour}]{bar(figure)}[/]",
        )
    return made


def run(measurements: Measurements, names: list[str], kind: str = "") -> int:
    """Take these measurements, or all. kind: what the file of the results is called by, before its time."""
    out = Console(highlight=False)
    if unknown := set(names) - set(measurements):
        out.print(f"no measurement {', '.join(unknown)}; there are {', '.join(measurements)}")
        return 2
    if os.geteuid() != 0:
        out.print("[red]Making containers needs root.[/]")
        return 2
    for sign in (signal.SIGTERM, signal.SIGINT):  # every platform that was started is ended
        signal.signal(sign, signal.default_int_handler)
    figures: list[Figure] = []
    broken = 0
    for name in names or measurements:
        try:
            for figure in measurements[name]():
                figures.append(figure)
                out.print(table([figure]))
        except (Broken, BuildFailed, Unmeasured, OSError) as error:
            broken += 1
            out.print(f"[red]{name}: {error}[/]")
    RESULTS.mkdir(exist_ok=True)
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    kept = Run(at, machine.release(), os.cpu_count() or 0, figures)
    (RESULTS / f"{kind}{at.replace(':', '')}.json").write_bytes(msgspec.json.format(msgspec.json.encode(kept)))
    out.print("\n", table(figures))
    missed = [figure.name for figure in figures if not figure.kept]
    promises = sum(figure.bound is not None for figure in figures)
    out.print(f"{promises - len(missed)} promises kept, {len(missed)} missed, {broken} not measured")
    return 1 if missed or broken else 0


if __name__ == "__main__":
    sys.exit(run(MEASUREMENTS, sys.argv[1:]))

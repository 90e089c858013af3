"""`make bench`: runs the measurements, prints each promise with what was measured, keeps the figures as JSON.

python -m bench.report [MEASUREMENT…]    exit code 1 when a promise is broken
"""

import os
import platform as machine
import sys
import time
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from bench.cold import MEASUREMENTS, Figure
from bench.platform import Broken
from examples.images import BuildFailed

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
            f"{'≥' if figure.at_least else '≤'} {figure.bound:g} {figure.unit}",
            f"[{colour}]{bar(figure)}[/]",
        )
    return made


def main(names: list[str]) -> int:
    out = Console(highlight=False)
    if unknown := set(names) - set(MEASUREMENTS):
        out.print(f"no measurement {', '.join(unknown)}; there are {', '.join(MEASUREMENTS)}")
        return 2
    if os.geteuid() != 0:
        out.print("[red]Making containers needs root.[/]")
        return 2
    figures: list[Figure] = []
    broken = 0
    for name in names or MEASUREMENTS:
        try:
            for figure in MEASUREMENTS[name]():
                figures.append(figure)
                out.print(table([figure]))
        except (Broken, BuildFailed, OSError) as error:
            broken += 1
            out.print(f"[red]{name}: {error}[/]")
    RESULTS.mkdir(exist_ok=True)
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    kept = Run(at, machine.release(), os.cpu_count() or 0, figures)
    (RESULTS / f"{at.replace(':', '')}.json").write_bytes(msgspec.json.format(msgspec.json.encode(kept)))
    out.print("\n", table(figures))
    missed = [figure.name for figure in figures if not figure.kept]
    out.print(f"{len(figures) - len(missed)} promises kept, {len(missed)} missed, {broken} not measured")
    return 1 if missed or broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

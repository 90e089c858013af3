"""`make bench-gateway`: takes the figures, prints each beside its goal, keeps them as JSON and as a picture.

python -m bench.gateway [FIGURE…] [--quick]    exit code 1 when a promise is broken or a figure could not be taken
"""

import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec
from rich.console import Console

from bench.gateway import machine, sides
from bench.gateway.figures import FIGURES, Bench, Figure
from bench.gateway.machine import Unmeasured
from bench.gateway.plot import draw
from bench.gateway.report import Kept, notes, table
from sampan.serve import compiled

RESULTS = Path(__file__).parent.parent / "results"
QUICK = "--quick"
WIDE = 170
"""Columns where the output is no terminal."""


def measure(
    names: list[str], quick: bool, out: Console
) -> tuple[list[Figure], dict[str, str], dict[str, list[float]]]:
    """The figures, why others could not be taken, and each proxy's peaks."""
    figures: list[Figure] = []
    unmeasured: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="sampan-bench-", dir="/var/tmp") as made:
        directory = Path(made)
        directory.chmod(0o755)
        with sides.backend(directory) as backend:
            bench = Bench(directory, quick, backend)
            for name in names:
                try:
                    for figure in FIGURES[name](bench):
                        figures.append(figure)
                        out.print(table([figure]))
                except (Unmeasured, OSError, subprocess.SubprocessError) as error:
                    unmeasured[name] = str(error)
                    out.print(f"{name} could not be measured: {error}", markup=False, style="red")
            return figures, unmeasured, bench.peaks


def form() -> str:
    """Of the gateway's hot path: what its processes find, as they are started here."""
    return "interpreted" if compiled.build() is None else "compiled"


def versions() -> dict[str, str]:
    told = {"python": platform.python_version(), "hot path": form()}
    for name, flag in (("nginx", "-v"), ("go", "version")):
        try:
            done = subprocess.run([machine.program(name), flag], capture_output=True, text=True, check=False)
            told[name] = (done.stdout + done.stderr).strip()
        except Unmeasured:
            told[name] = "none"
    return told


def main(words: list[str]) -> int:
    out = Console(highlight=False, width=None if sys.stdout.isatty() else WIDE)
    names, quick = [word for word in words if word != QUICK], QUICK in words
    if unknown := set(names) - set(FIGURES):
        out.print(f"no figure {', '.join(unknown)}; there are {', '.join(FIGURES)}, and {QUICK}")
        return 2
    for sign in (signal.SIGTERM, signal.SIGINT):  # everything that was started is ended
        signal.signal(sign, signal.default_int_handler)
    at, before = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), os.getloadavg()[0]
    try:
        figures, unmeasured, peaks = measure(names or list(FIGURES), quick, out)
    except KeyboardInterrupt:
        out.print("interrupted; nothing is kept")
        return 130
    kept = Kept(
        at, quick, platform.release(), machine.model(), len(machine.CORES), before, versions(), figures, unmeasured
    )
    RESULTS.mkdir(exist_ok=True)
    base = RESULTS / f"gateway-{at.replace(':', '')}"
    base.with_suffix(".json").write_bytes(msgspec.json.format(msgspec.json.encode(kept)))
    title = f"The gateway beside nginx, {at}, {kept.cores} × {kept.processor}{', QUICK' if quick else ''}"
    draw(figures, peaks, title, base.with_suffix(".png"))
    out.print("\n", table(figures), "")
    out.print(f"[dim]· the gateway's hot path is {form()}[/]")
    for note in notes(figures):
        out.print(f"[dim]· {note}[/]")
    missed = sum(not figure.kept for figure in figures)
    promises = sum(figure.bound is not None for figure in figures)
    out.print(f"{promises - missed} promises kept, {missed} missed, {len(unmeasured)} not measured")
    out.print(f"kept in {base}.json and .png", soft_wrap=True)
    return 1 if missed or unmeasured else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

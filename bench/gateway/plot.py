"""Figures as a picture: each promise as a bar, and requests/s of all proxies turn by turn."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Sheet

from bench.gateway.figures import Figure
from bench.gateway.report import number, used

KEPT, MISSED = "#2a9d5c", "#c8452f"
LONGEST = 4.0
"""Times what is allowed; bars beyond that are cut."""


def draw(figures: list[Figure], peaks: dict[str, list[float]], title: str, into: Path) -> None:
    """Writes a PNG."""
    promised = [figure for figure in figures if figure.bound is not None]
    sheet = Sheet(figsize=(11, 2.2 + 0.38 * len(promised) + (2.6 if peaks else 0)), layout="constrained")
    parts = sheet.subplots(
        2 if peaks else 1, 1, squeeze=False, height_ratios=[len(promised) + 1, 6][: 1 + bool(peaks)]
    )
    _promises(parts[0][0], promised)
    if peaks:
        _peaks(parts[1][0], peaks)
    sheet.suptitle(title, fontsize=10)
    sheet.savefig(into, dpi=120)


def _promises(axes: Axes, figures: list[Figure]) -> None:
    names = [figure.name for figure in figures]
    shares = [min(used(figure) or 0.0, LONGEST) for figure in figures]
    axes.barh(names, shares, color=[KEPT if figure.kept else MISSED for figure in figures])
    for place, (figure, share) in enumerate(zip(figures, shares, strict=True)):
        bound = f"{'≥' if figure.at_least else '≤'} {figure.bound:g}"
        told = f" {number(figure.value)} {figure.value_unit}  ({bound})"
        axes.text(max(share, 1), place, told, va="center", fontsize=8)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xlim(0, LONGEST * 1.25)
    axes.invert_yaxis()
    axes.set_xlabel("part used of what is allowed; beyond 1 the promise is broken")


def _peaks(axes: Axes, peaks: dict[str, list[float]]) -> None:
    for name, rates in peaks.items():
        axes.plot(range(1, len(rates) + 1), rates, marker="o", label=name)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("turn")
    axes.set_ylabel("requests/s, closed loop")
    axes.locator_params(axis="x", integer=True)
    axes.legend(fontsize=8)

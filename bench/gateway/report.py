"""Figures as a table, and as JSON."""

import msgspec
from rich.table import Table
from rich.text import Text

from bench.gateway.figures import Figure

WIDTH = 16
"""Characters of the bar that stands for a bound; one that passes the mark is a promise missed."""


class Kept(msgspec.Struct, frozen=True):
    """What is kept of one run."""

    at: str  # UTC
    quick: bool
    kernel: str
    processor: str
    cores: int
    load: float  # what the machine did besides, over the minute before
    versions: dict[str, str]
    figures: list[Figure]
    unmeasured: dict[str, str]  # figure → why


def used(figure: Figure) -> float | None:
    """How much of what is allowed was used: above 1 the promise is broken."""
    if figure.bound is None:
        return None
    share = figure.bound / figure.value if figure.at_least and figure.value else figure.value / figure.bound
    return max(share, 0.0)


def bar(figure: Figure) -> str:
    share = used(figure)
    if share is None:
        return ""
    filled = min(round(share * WIDTH), 2 * WIDTH)
    return ("█" * filled).ljust(WIDTH)[:WIDTH] + "▏" + "█" * (filled - WIDTH)


def number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def table(figures: list[Figure]) -> Table:
    others = list(dict.fromkeys(name for figure in figures for name in figure.others))
    made = Table("figure", "unit", box=None)
    for name in ("gateway", "beside", *others, "value", "goal"):
        made.add_column(name, justify="right")
    made.add_column("")
    for figure in figures:
        colour = "dim" if figure.bound is None else "green" if figure.kept else "red"
        bound = (
            ""
            if figure.bound is None
            else f"{'≥' if figure.at_least else '≤'} {figure.bound:g} {figure.value_unit}"
        )
        made.add_row(
            figure.name, figure.unit, number(figure.gateway), number(figure.beside),
            *(number(figure.others.get(name)) for name in others),
            Text(f"{number(figure.value)} {figure.value_unit}", colour), bound, Text(bar(figure), colour),
        )  # fmt: skip
    return made


def notes(figures: list[Figure]) -> list[str]:
    return [f"{figure.name}: {figure.note}" for figure in figures if figure.note]

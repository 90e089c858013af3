"""What `sampan top` draws: lines of text for a width and a height. Pure."""

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from rich.text import Text

from sampan.cli.screen import STATES, printable

if TYPE_CHECKING:
    from sampan.sdk import FunctionNow, Now

BARS = "▁▂▃▄▅▆▇█"
PLAIN_BARS = ".:-=+*#@"  # where the terminal knows nothing else
ROOMY = 110  # columns from which there are two blanks between columns
SPARK = (10, 60)  # least and most columns of a sparkline
NAME = (12, 40)  # and of a function's name


class Sort(StrEnum):
    """What the rows are ordered by. The first letter is the key that asks for it."""

    RATE = "rate"
    ERRORS = "errors"
    P99 = "p99"
    WAITING = "waiting"
    CPU = "cpu"
    MEMORY = "memory"
    NAME = "name"


KEYS = {sort.value[0]: sort for sort in Sort}
_ORDER: dict[Sort, Callable[["FunctionNow"], tuple[float, float]]] = {
    Sort.RATE: lambda one: (-one.rate, -one.active),
    Sort.ERRORS: lambda one: (-one.errors, -one.rate),
    Sort.P99: lambda one: (-(one.p99 or 0.0), -one.rate),
    Sort.WAITING: lambda one: (-one.waiting, -one.active),
    Sort.CPU: lambda one: (-one.cpu, -one.rate),
    Sort.MEMORY: lambda one: (-one.memory, -one.rate),
    Sort.NAME: lambda one: (0.0, 0.0),
}


@dataclass(frozen=True)
class View:
    """All that is shown. platform: as `GET /sampan/v1/status` tells it; empty: not known.

    functions: how many there are, of which `now` holds those that were called within the last minute, or run.
    """

    now: "Now"
    platform: dict[str, object] = field(default_factory=dict)
    trouble: str = ""  # why nothing new comes
    sort: Sort = Sort.RATE
    bars: str = BARS
    functions: int | None = None

    @property
    def idle(self) -> int:
        """Functions that do nothing: they are counted, so that nobody takes a missing one for lost."""
        return max(0, (self.functions or 0) - self.now.totals.functions)


class Column(NamedTuple):
    """rank: the higher, the earlier it is left out where there is little room."""

    title: str
    width: int
    rank: int
    cell: Callable[["FunctionNow"], Text]


def lines(view: View, width: int, height: int) -> list[Text]:
    """The whole screen. The rows that do not fit are counted."""
    head = [*_head(view, width), Text()]
    room = max(1, height - len(head) - 2)
    return [*head, *table(view, width, room), _foot(view, room)]


def table(view: View, width: int, rows: int) -> list[Text]:
    """A title line and at most so many functions."""
    functions = ordered(view)[:rows]
    gap = 2 if width >= ROOMY else 1
    columns, spark, name = _fitted(width, gap)
    title = f"{'FUNCTION':<{name}}" + "".join(f"{' ' * gap}{each.title:>{each.width}}" for each in columns)
    found = [Text(title + (f"{' ' * gap}LAST MINUTE" if spark else ""), style="dim", no_wrap=True)]
    for one in functions:
        line = Text(no_wrap=True)
        line.append(f"{_cut(printable(one.function), name):<{name}}", style="bold")
        for column in columns:
            cell = column.cell(one)
            line.append(" " * (gap + max(0, column.width - cell.cell_len))).append_text(cell)
        if spark:
            line.append(" " * gap).append(sparkline(one.recent, spark, view.bars), style="cyan")
        found.append(line)
    if not functions:
        found.append(Text("nothing was called within the last minute, and nothing runs", style="dim"))
    return found


def ordered(view: View) -> "list[FunctionNow]":
    """The functions in the order that is asked for."""
    return sorted(view.now.functions, key=lambda one: (_ORDER[view.sort](one), one.function))


def sparkline(values: Sequence[int], width: int, bars: str = BARS) -> str:
    """The values in so many columns, each the mean of its share; blank is none, a full bar the highest."""
    if len(values) < width:
        values = [0] * (width - len(values)) + list(values)
    edges = [at * len(values) // width for at in range(width + 1)]
    means = [sum(values[begin:end]) / (end - begin) for begin, end in itertools.pairwise(edges)]
    most = max(means, default=0.0)
    return "".join(bars[min(len(bars) - 1, int(mean / most * len(bars)))] if mean else " " for mean in means)


# ── the head ──


def _head(view: View, width: int) -> list[Text]:
    now, totals = view.now, view.now.totals
    first = Text(no_wrap=True).append("Sampan ", style="bold")
    first.append(time.strftime("%H:%M:%S  ", time.localtime(now.time)))
    first.append(f"{rate(totals.rate)}/s", style="bold")
    first.append(f"  p50 {duration(totals.p50)}  p99 {duration(totals.p99)}")
    first.append(f"  errors {rate(totals.errors)}/s", style="red" if totals.errors else "dim")
    first.append(f"  cold {rate(totals.cold)}/s", style="yellow" if totals.cold else "dim")
    room = min(SPARK[1], width - first.cell_len - 2)
    if room >= SPARK[0]:
        first.append("  " + sparkline(totals.recent, room, view.bars), style="cyan")
    return [_fit(line, width) for line in (first, _load(view), _machine(view), _parts(view))]


def _load(view: View) -> Text:
    totals, line = view.now.totals, Text(no_wrap=True)
    line.append(f"{sum(totals.instances.values())} instances")
    for at, state in enumerate(sorted(totals.instances, key=lambda each: -totals.instances[each])):
        line.append(": " if at == 0 else " ")
        line.append(f"{totals.instances[state]} {state}", style=STATES.get(state, ""))
    line.append(f"  {totals.active} active")
    line.append(f"  {totals.waiting} waiting", style="yellow" if totals.waiting else "")
    return line.append(f"  {totals.connections} clients")


def _machine(view: View) -> Text:
    totals = view.now.totals
    line = Text(f"cpu {totals.cpu / 100:.1f} cores  memory {memory(totals.memory)} used", no_wrap=True)
    promised, limit = view.platform.get("memoryMb"), view.platform.get("memoryLimitMb")
    if isinstance(promised, int | float) and isinstance(limit, int | float):
        full = limit > 0 and promised / limit > 0.9
        text = f"  {memory(int(promised) << 20)} of {memory(int(limit) << 20)} promised"
        line.append(text, style="yellow" if full else "")
    return line


def _parts(view: View) -> Text:
    if view.trouble:
        return Text(f"trying again: {printable(view.trouble)}", style="red", no_wrap=True)
    line, parts = Text(no_wrap=True), view.platform.get("parts")
    known = list(parts.items()) if isinstance(parts, dict) else []
    for name, how in sorted(known, key=lambda each: each[1] == "ok"):  # what is ill comes first
        well = how == "ok"
        line.append("● " if view.bars == BARS else "* ", style="green" if well else "red")
        line.append(f"{name}  " if well else f"{name}: {printable(str(how))}  ", style="" if well else "red")
    return line


def _foot(view: View, room: int) -> Text:
    more = view.now.totals.functions - min(room, len(view.now.functions))
    line = Text(no_wrap=True)
    if more > 0:
        line.append(f"and {more} more  ", style="dim")
    if view.idle:
        line.append(f"{view.idle} idle  ", style="dim")
    for key, sort in KEYS.items():
        line.append(f"[{key}]{sort.value[1:]} ", style="bold" if sort is view.sort else "dim")
    return line.append("[q]uit", style="dim")


# ── cells ──


def rate(value: float) -> str:
    """Per second."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 0.05 or value == 0 else "<0.1"


def duration(seconds: float | None) -> str:
    """In a unit that leaves few digits."""
    if seconds is None:
        return "–"
    for limit, factor, unit in ((0.00995, 1e3, "ms"), (0.9995, 1e3, "ms"), (99.5, 1, "s")):
        if seconds < limit:
            shown = seconds * factor
            return f"{shown:.1f}{unit}" if shown < 9.95 else f"{shown:.0f}{unit}"
    return f"{seconds / 60:.0f}m" if seconds < 5940 else f"{seconds / 3600:.0f}h"


def memory(count: int) -> str:
    """Bytes, short."""
    for unit, size in (("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)):
        if count >= size:
            shown = count / size
            return f"{shown:.1f}{unit}" if shown < 99.95 else f"{shown:.0f}{unit}"
    return f"{count}B"


COLUMNS = (
    Column("/S", 7, 0, lambda one: _counted(rate(one.rate))),
    Column("P50", 6, 5, lambda one: Text(duration(one.p50))),
    Column("P99", 6, 1, lambda one: Text(duration(one.p99))),
    Column("ERR/S", 6, 1, lambda one: _counted(rate(one.errors), "red")),
    Column("COLD/S", 6, 6, lambda one: _counted(rate(one.cold), "yellow")),
    Column("ACTIVE", 6, 3, lambda one: _counted(str(one.active))),
    Column("WAIT", 5, 1, lambda one: _counted(str(one.waiting), "yellow")),
    Column("INST", 4, 2, lambda one: _counted(str(sum(one.instances.values())))),
    Column("STATES", 20, 7, lambda one: _by_state(one.instances)),
    Column("CPU%", 5, 2, lambda one: Text(f"{one.cpu:.0f}")),
    Column("MEM", 6, 2, lambda one: Text(memory(one.memory))),
)


def _fitted(width: int, gap: int) -> tuple[list[Column], int, int]:
    """The columns that fit, and what is left for the sparkline (0: none) and for the names."""
    columns = list(COLUMNS)
    least = NAME[0] + gap + SPARK[0]
    while columns and sum(each.width + gap for each in columns) + least > width:
        columns.remove(max(columns, key=lambda each: each.rank))
    left = width - sum(each.width + gap for each in columns)
    if left < least:
        return columns, 0, max(1, left)
    name = max(NAME[0], min(NAME[1], (left - gap) // 2))
    return columns, min(SPARK[1], left - gap - name), name


def _by_state(instances: dict[str, int]) -> Text:
    told = Text()
    for state, count in sorted(instances.items(), key=lambda each: -each[1])[:2]:
        told.append(" " if told else "").append(f"{count} {state[:8]}", style=STATES.get(state, ""))
    return told


def _counted(text: str, style: str = "") -> Text:
    """A number; none of it is dim."""
    return Text(text, style="dim" if text in ("0", "0.0") else style)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"


def _fit(line: Text, width: int) -> Text:
    line.truncate(width, overflow="ellipsis")
    return line

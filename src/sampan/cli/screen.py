"""What people and programs are shown: tables and colours on a terminal, plain columns in a pipe, JSON on request.

Results go to stdout, everything said about the work to stderr. `NO_COLOR` is respected.
"""

import functools
import re
import sys
import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from rich.console import Console


class Output(StrEnum):
    """How a command shows its result."""

    TABLE = "table"
    JSON = "json"


class Cell(NamedTuple):
    """Text that means more than its letters."""

    text: str
    style: str


Row = Sequence[str | Cell]

STATES = {
    "active": "green",
    "ready": "green",
    "running": "green",
    "successful": "green",
    "busy": "green",
    "frozen": "cyan",
    "idle": "cyan",
    "pending": "yellow",
    "inprogress": "yellow",
    "creating": "yellow",
    "starting": "yellow",
    "restarting": "yellow",
    "draining": "magenta",
    "stopping": "magenta",
    "failed": "red",
    "dead": "red",
}
ROOMY = 100  # columns from which tables take more room than they need
INSTANCE_COLOURS = ("cyan", "green", "yellow", "blue", "magenta", "bright_cyan", "bright_green", "bright_magenta")


_OBEYED = re.compile("[\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
"""What JSON may hold as it is and terminals act upon: C1 controls, marks of direction. JSON escapes C0 itself."""


@functools.lru_cache(maxsize=4)
def _console(stream: object, stderr: bool) -> "Console":
    from rich.console import Console

    return Console(stderr=stderr, markup=False, highlight=False, emoji=False, soft_wrap=True)


def out() -> "Console":
    """Where results go."""
    return _console(sys.stdout, False)


def err() -> "Console":
    """Where words about the work go."""
    return _console(sys.stderr, True)


def say(text: str = "", style: str = "") -> None:
    """A word about the work."""
    err().print(text, style=style or None)


def state(word: str) -> Cell:
    """A state in its colour."""
    return Cell(word, STATES.get(word.lower(), ""))


def instance_colour(instance: str) -> str:
    """The same colour for the same instance, in every run."""
    return INSTANCE_COLOURS[sum(instance.encode()) % len(INSTANCE_COLOURS)]


def json(value: object) -> None:
    """`value` as JSON, members in FC's spelling, on stdout."""
    import msgspec

    written(msgspec.json.format(msgspec.json.encode(value), indent=2))


def written(document: bytes) -> None:
    """JSON on stdout, a line or more of it, the same to a program: what a terminal would obey is escaped."""
    text = _OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", document.decode())
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def table(columns: Sequence[str], rows: Iterable[Row], empty: str, whole: str = "") -> None:
    """`rows` under `columns`; `empty` is said instead when there are none. whole: a column that is never folded."""
    listed = [[_safe(cell) for cell in row] for row in rows]
    if not listed:
        say(empty, style="dim")
    elif out().is_terminal:
        _drawn(columns, listed, whole)
    else:
        _aligned(columns, listed)


def _safe(cell: str | Cell) -> str | Cell:
    return Cell(printable(cell.text), cell.style) if isinstance(cell, Cell) else printable(cell)


def _drawn(columns: Sequence[str], rows: Sequence[Row], whole: str) -> None:
    from rich.table import Table
    from rich.text import Text

    gap = 3 if out().width >= ROOMY else 2
    drawn = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="dim")
    for column in columns:
        drawn.add_column(column, overflow="fold", no_wrap=column == whole)
    for row in rows:
        drawn.add_row(*(Text(*cell) if isinstance(cell, Cell) else Text(cell) for cell in row))
    out().print(drawn, soft_wrap=False)


def _aligned(columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Nothing is cut off or wrapped: a program may read it."""
    lines = [list(columns)] + [[cell.text if isinstance(cell, Cell) else cell for cell in row] for row in rows]
    widths = [max(len(line[at]) for line in lines) for at in range(len(columns))]
    for line in lines:
        cells = [text.ljust(width) for text, width in zip(line, widths, strict=True)]
        sys.stdout.write("   ".join(cells).rstrip() + "\n")


def fields(pairs: Iterable[tuple[str, str | Cell]]) -> None:
    """Names and values, one pair a line; pairs without a value are left out."""
    from rich.text import Text

    known = [(name, value if isinstance(value, Cell) else Cell(value, "")) for name, value in pairs]
    known = [(name, value) for name, value in known if value.text]
    width = max((len(name) for name, _ in known), default=0)
    for name, value in known:
        lines = value.text.splitlines()
        for at, line in enumerate(lines):
            label = name if at == 0 else ""
            out().print(Text(f"{label:<{width}}   ", style="dim"), Text(printable(line), style=value.style), sep="")


def heading(text: str) -> None:
    """The title of a part."""
    out().print()
    out().print(text, style="bold")


def size(count: int) -> str:
    """Bytes for people."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024 or unit == "GiB":
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    raise AssertionError  # the last unit returned


def ago(moment: str | float, now: float | None = None) -> str:
    """How long ago; `moment`: RFC 3339 text, or Unix milliseconds. Empty for none."""
    if not moment:
        return ""
    if isinstance(moment, str):
        try:
            then = datetime.fromisoformat(moment).timestamp()
        except ValueError:
            return moment
    else:
        then = moment / 1000
    return span(max(0.0, (time.time() if now is None else now) - then)) + " ago"


def span(seconds: float) -> str:
    """A stretch of time in its largest unit."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{int(seconds // length)}{unit}"
    return f"{seconds:.0f}s"


def flat(text: str) -> str:
    """In one line, and `printable`."""
    return printable(" ".join(text.split()))


def printable(text: str) -> str:
    """Without what could move the cursor or retitle the terminal: not all that is shown is ours to trust."""
    return "".join(sign if sign.isprintable() or sign in "\t\n" else "�" for sign in text)

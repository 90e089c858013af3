"""`bill`: what was used, and what it costs."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from sampan.cli.moments import SinceOption, UntilOption, moment
from sampan.cli.options import complete_function
from sampan.cli.screen import Cell, Row, say, size, table, written
from sampan.cli.session import session

if TYPE_CHECKING:
    from sampan.sdk.usage import Usage, UsageLine

BAR = 12  # characters
NUMBERS = range(1, 8)  # columns
_PARTS = " ▏▎▍▌▋▊▉█"


class By(StrEnum):
    """What a line is about."""

    FUNCTION = "function"
    VERSION = "version"
    DAY = "day"


class Form(StrEnum):
    """How the bill is shown."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def bill(
    context: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME", help="Of one function.", autocompletion=complete_function, show_default=False
        ),
    ] = None,
    by: Annotated[By, typer.Option("--by", help="What a line is about.")] = By.FUNCTION,
    since: SinceOption = None,
    until: UntilOption = None,
    output: Annotated[Form, typer.Option("--output", "-o", help="A table for people, JSON or CSV.")] = Form.TABLE,
) -> None:
    """Show what was used, and what it costs.

    Of this month, unless --since says otherwise. Days and times without a zone are UTC, as the bill's own days are.
    """
    now = datetime.now(UTC)
    begin, end = moment("--since", since, UTC), moment("--until", until, UTC)
    with session(context).client() as client:
        if output is Form.CSV:
            told = client.usage_csv(by.value, since=begin, until=end, function=name)
            sys.stdout.write(told.replace("\r\n", "\n"))
            return
        found = client.usage(by.value, since=begin, until=end, function=name)
    if output is Form.JSON:
        _json(found)
    else:
        _table(found, by, name, now)


def _table(found: "Usage", by: By, name: str | None, now: datetime) -> None:
    until = min(datetime.fromisoformat(found.until), now.replace(microsecond=0))  # the minute under way counts
    period = f"{_short(found.since)} to {_short(until.isoformat())}, UTC"
    if not found.lines:
        whose = (
            f" by '{name}'; `sampan ls` lists the functions" if name else "; call a function: `sampan invoke NAME`"
        )
        table((), (), empty=f"nothing was used from {period}{whose}")
        return
    dearest = max(_weight(line, found) for line in found.lines)
    columns = (by.value.upper(), "CALLS", "ERRORS", "COLD", "TIME", "vCPU·s", "GB·s", f"COST {found.currency}", "")
    rows = [_row(_title(line, by), line, _bar(_weight(line, found), dearest)) for line in found.lines]
    rows.append(_row(Cell("total", "bold"), found.total, Cell("", ""), "bold"))
    widths = [max(len(each), *(len(row[at].text) for row in rows)) for at, each in enumerate(columns)]
    shown = [each.rjust(widths[at]) if at in NUMBERS else each for at, each in enumerate(columns)]
    table(shown, [_right(row, widths) for row in rows], empty="")
    say(f"{period} · {_number(found.total.units, 2)} {found.unit} · prices: {found.prices}", style="dim")
    _say_idle(found.total)
    if not found.total.complete:
        say("some versions' memory and vCPU are not known: their time is counted, and not priced", style="yellow")


def _say_idle(total: "UsageLine") -> None:
    if total.idle_ms > 0:
        say(f"provisioned instances were idle for {_time(int(total.idle_ms))}: in GB·s, not in TIME", style="dim")
    if total.cpu_used_seconds > 0:
        used = f"{_number(total.cpu_used_seconds, 1)} s of CPU, at most {size(total.memory_peak)} in one instance"
        say(f"measured: {used}", style="dim")


def _title(line: "UsageLine", by: By) -> Cell:
    match by:
        case By.FUNCTION:
            return Cell(line.function, "bold")
        case By.VERSION:
            return Cell(f"{line.function} {line.version}", "bold")
        case By.DAY:
            return Cell(line.day, "bold")


def _row(title: Cell, line: "UsageLine", bar: Cell, style: str = "") -> Sequence[Cell]:
    failed = sum(line.errors.values())
    return (
        title,
        Cell(f"{line.calls:,}", style),
        Cell(f"{failed:,}", "red" if failed else "dim"),
        Cell(f"{line.cold_starts:,}", style),
        Cell(_time(line.active_ms), style),
        Cell(_number(line.vcpu_seconds, 2), style),
        Cell(_number(line.gb_seconds, 2), style),
        Cell(_cost(line.cost), style or "green"),
        bar,
    )


def _right(row: Sequence[Cell], widths: Sequence[int]) -> Row:
    """Numbers stand under each other."""
    return [Cell(cell.text.rjust(widths[at]), cell.style) if at in NUMBERS else cell for at, cell in enumerate(row)]


def _weight(line: "UsageLine", found: "Usage") -> Decimal:
    """What bars show: the cost, or the time where nothing costs anything."""
    return line.cost if found.total.cost > 0 else Decimal(line.active_ms)


def _bar(amount: Decimal, most: Decimal) -> Cell:
    eighths = int(amount * BAR * 8 / most) if most > 0 else 0
    full, part = divmod(eighths, 8)
    return Cell("█" * full + _PARTS[part].strip(), "cyan")


def _time(milliseconds: int) -> str:
    """To the millisecond below a minute."""
    if milliseconds < 1000:
        return f"{milliseconds} ms"
    seconds, rest = divmod(milliseconds, 1000)
    if seconds < 60:
        return f"{seconds}.{rest:03d} s"
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes:02d}m {seconds:02d}s" if hours else f"{minutes}m {seconds:02d}s"


def _number(amount: Decimal, digits: int) -> str:
    return f"{amount.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP):,f}"


def _cost(amount: Decimal) -> str:
    """Cents; of less than one as much as says something."""
    if 0 < amount < Decimal("0.000001"):
        return "<0.000001"
    return _number(amount, 2 if amount >= 1 or not amount else 6)


def _short(moment: str) -> str:
    return (
        moment.removesuffix("Z").removesuffix("+00:00").removesuffix(":00").replace("T", " ").removesuffix(" 00:00")
    )


def _json(found: "Usage") -> None:
    import msgspec

    written(msgspec.json.format(msgspec.json.Encoder(decimal_format="number").encode(found), indent=2))

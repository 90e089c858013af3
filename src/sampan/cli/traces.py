"""`sampan trace` and `sampan traces`: where the time of a request went, and which requests there were."""

import re
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from sampan.cli.moments import SinceOption, UntilOption, moment
from sampan.cli.options import OutputOption, complete_function, pairs
from sampan.cli.screen import ROOMY, Cell, Output, flat, json, out, say, table, written
from sampan.cli.session import session

if TYPE_CHECKING:
    from sampan.wire.trace_shapes import Summary

UNITS = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
BAR = 12  # columns of the longest duration's bar
NONE_YET = (
    "no traces. Each request makes one: `sampan invoke NAME`, then `sampan traces` again. Where a trace's share is "
    "sampled, only what failed or started cold is kept for sure"
)
NO_ID = (
    "it is empty. Give the id of a trace, which `sampan traces` lists, or of a request: the header x-fc-request-id "
    "of its answer"
)
NONE_SUCH = "no trace is like that. Ask for less (--since 7d, fewer conditions); `sampan traces` lists the newest"


class TraceOutput(StrEnum):
    """How a trace is shown."""

    TABLE = "table"
    JSON = "json"
    OTLP = "otlp"


def trace(
    context: typer.Context,
    id: Annotated[
        str,
        typer.Argument(metavar="ID", help="Of the trace, or of a request it served.", show_default=False),
    ],
    attributes: Annotated[
        bool, typer.Option("--attributes", "-a", help="Show what spans say of themselves.")
    ] = False,
    full: Annotated[bool, typer.Option("--full", help="Every span, also where many are alike.")] = False,
    output: Annotated[
        TraceOutput, typer.Option("--output", "-o", help="A waterfall for people, JSON, or OTLP/JSON.")
    ] = TraceOutput.TABLE,
) -> None:
    """Show where the time of a request went.

    Yellow is the cold start, red what failed; what is faint kept nobody waiting. The id of a request is in its
    answer (x-fc-request-id) and in `sampan logs`.
    """
    if not id.strip():
        raise typer.BadParameter(NO_ID, param_hint="ID")
    with session(context).client() as client:
        if output is TraceOutput.OTLP:
            written(client.trace_otlp(id))
            return
        found = client.trace(id)
    if output is TraceOutput.JSON:
        json(found)
        return
    from sampan.cli.trace_view import show

    show(out(), found, attributes=attributes, full=full)


def traces(
    context: typer.Context,
    function: Annotated[
        str | None,
        typer.Option(
            "--function", "-f", metavar="NAME", autocompletion=complete_function, help="That it passed through."
        ),
    ] = None,
    since: SinceOption = None,
    until: UntilOption = None,
    shortest: Annotated[
        str | None, typer.Option("--min", metavar="TIME", help="At least as long: 250ms, 2s.")
    ] = None,
    longest: Annotated[str | None, typer.Option("--max", metavar="TIME", help="At most as long.")] = None,
    errors: Annotated[bool, typer.Option("--errors", "-e", help="Only where something failed.")] = False,
    cold: Annotated[bool | None, typer.Option("--cold/--warm", help="Only cold starts, or none.")] = None,
    attribute: Annotated[
        list[str] | None,
        typer.Option("--attribute", "-a", metavar="NAME=VALUE", help="Of one of its spans. Again for more."),
    ] = None,
    operation: Annotated[str | None, typer.Option(metavar="NAME", help="The name of one of its spans.")] = None,
    service: Annotated[str | None, typer.Option(metavar="NAME", help="That reported one of its spans.")] = None,
    request: Annotated[str | None, typer.Option(metavar="ID", help="That it served.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1500, help="How many, the newest first.")] = 20,
    output: OutputOption = Output.TABLE,
) -> None:
    """Find traces: what was called, when, how long it took, whether it failed.

    sampan traces --function web --since 1h --min 500ms
    sampan traces --errors -a http.route=/items/{id}

    --since and --until: when it began; times without a zone are this machine's.
    """
    begin, end = moment("--since", since), moment("--until", until)
    wanted = {
        "function": function,
        "since": None if begin is None else begin.timestamp(),
        "until": None if end is None else end.timestamp(),
        "min_duration": None if shortest is None else seconds(shortest, "--min"),
        "max_duration": None if longest is None else seconds(longest, "--max"),
        "errors": True if errors else None,
        "cold": cold,
        "attributes": pairs(attribute or [], "--attribute") or None,
        "operation": operation,
        "service": service,
        "request_id": request,
    }
    with session(context).client() as client:
        found = list(islice(client.traces(page_size=limit, **wanted), limit))  # type: ignore[arg-type]
    if output is Output.JSON:
        json(found)
    elif not found:
        say(NONE_SUCH if any(value is not None for value in wanted.values()) else NONE_YET, style="dim")
    else:
        _listed(found)


def seconds(text: str, option: str) -> float:
    """Of a stretch of time with its unit. Raises: typer.BadParameter."""
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)(us|µs|ms|s|m|h|d)", text.strip())
    if match is None:
        raise typer.BadParameter(f"'{text}' is no time with its unit, like 250ms, 2s or 1m", param_hint=option)
    return float(match[1]) * UNITS[match[2]]


def _listed(found: "Sequence[Summary]") -> None:
    from sampan.cli.waterfall import bar, length

    narrow = out().is_terminal and out().width < ROOMY
    longest = max((each.duration for each in found), default=0) or 1
    named = not narrow and any(one.name != one.function for one in found)
    rows = []
    for each in found:
        style = "red" if each.errors else "yellow" if each.cold else "cyan"
        drawn = bar(BAR, 0, each.duration / longest * BAR) if out().is_terminal and not narrow else ""
        rows.append(
            (
                _began(each.start / 1e9, narrow),
                Cell(flat(each.function or each.service), "bold"),
                *((flat(each.name) if each.name != each.function else "",) if named else ()),
                Cell(f"{length(each.duration):>7} {drawn}".rstrip(), style),
                *(() if narrow else (str(each.spans),)),
                Cell("cold", "yellow") if each.cold else "",
                Cell(f"✗ {each.errors}", "red") if each.errors else Cell("✓", "green"),
                Cell(each.trace_id, "dim"),
            )
        )
    left_out = {"OPERATION": not named, "SPANS": narrow}
    columns = ("BEGAN", "FUNCTION", "OPERATION", "DURATION", "SPANS", "START", "STATUS", "TRACE")
    table([each for each in columns if not left_out.get(each)], rows, empty=NONE_YET, whole="TRACE")


def _began(seconds: float, narrow: bool) -> str:
    """narrow: today's without the day, others without the seconds."""
    began = datetime.fromtimestamp(seconds).astimezone()
    if not narrow:
        return f"{began:%m-%d %H:%M:%S}"
    return f"{began:%H:%M:%S}" if began.date() == datetime.now().date() else f"{began:%m-%d %H:%M}"

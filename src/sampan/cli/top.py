"""`sampan top`: the functions as they do now, refreshed every second."""

from typing import TYPE_CHECKING, Annotated

import typer

from sampan.cli.options import OutputOption
from sampan.cli.screen import Output, out, say, table, written
from sampan.cli.session import session

if TYPE_CHECKING:
    from sampan.cli.top_view import Sort, View
    from sampan.sdk import Client, Now

SORTS = ("rate", "errors", "p99", "waiting", "cpu", "memory", "name")
LIMIT = 200  # functions asked for; more fit on no screen


def _known(sort: str) -> str:
    if sort not in SORTS:
        raise typer.BadParameter(f"'{sort}' is none of {', '.join(SORTS)}")
    return sort


def top(
    context: typer.Context,
    sort: Annotated[
        str, typer.Option(help=f"What rows are ordered by: {', '.join(SORTS)}.", callback=_known)
    ] = "rate",
    once: Annotated[bool, typer.Option("--once", help="Print one table and end.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show what every function does now, second by second.

    Keys choose the order, q ends. In a pipe it prints one table; with -o json, one JSON object a second.
    """
    with session(context).client() as client:
        if output is Output.JSON:
            _stream(client, once)
            return
        from sampan.cli.top_view import Sort

        if once or not out().is_terminal:
            _print(client, Sort(sort))
        else:
            from sampan.cli.top_screen import Screen

            Screen(client, Sort(sort), LIMIT).run()


def _stream(client: "Client", once: bool) -> None:
    for now in [client.now(LIMIT)] if once else client.follow_now(LIMIT):
        _json_line(now)


def _json_line(now: "Now") -> None:
    import msgspec

    written(msgspec.json.encode(now))


def _print(client: "Client", sort: "Sort") -> None:
    from sampan.cli.top_view import BARS, PLAIN_BARS, View, lines

    bars = BARS if "utf" in out().encoding.lower() else PLAIN_BARS
    now, status = client.now(LIMIT), client.status()
    view = View(now, status.platform, sort=sort, bars=bars, functions=status.functions)
    if not out().is_terminal:
        _aligned(view)
        if view.idle:
            say(f"{view.idle} more did nothing within the last minute; `sampan ls` lists them", style="dim")
        return
    for line in lines(view, out().width, len(view.now.functions) + 10)[:-1]:
        out().print(line)


def _aligned(view: "View") -> None:
    """For a program to read: every column, nothing cut off."""
    from sampan.cli.top_view import duration, memory, ordered, rate

    table(
        ("FUNCTION", "/S", "P50", "P99", "ERR/S", "COLD/S", "ACTIVE", "WAIT", "INSTANCES", "CPU%", "MEM"),
        (
            (
                one.function,
                rate(one.rate),
                duration(one.p50),
                duration(one.p99),
                rate(one.errors),
                rate(one.cold),
                str(one.active),
                str(one.waiting),
                ",".join(f"{state}={count}" for state, count in sorted(one.instances.items())) or "0",
                f"{one.cpu:.0f}",
                memory(one.memory),
            )
            for one in ordered(view)
        ),
        empty="nothing was called within the last minute, and nothing runs",
    )

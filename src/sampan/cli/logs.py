"""`sampan logs`: what a function's instances wrote."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sampan.cli.moments import SinceOption, UntilOption, moment
from sampan.cli.options import FunctionName, OutputOption, pairs
from sampan.cli.screen import Output, out, say, written
from sampan.cli.session import session

if TYPE_CHECKING:
    from sampan.sdk import Client, LogLine

PAUSE = 1.0  # seconds before a followed log that broke off is asked for again


def logs(
    context: typer.Context,
    name: FunctionName,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as it writes; Ctrl-C ends.")] = False,
    tail: Annotated[
        int | None,
        typer.Option("--tail", "-n", min=0, help="Newest lines; all with --since, --request.", show_default="100"),
    ] = None,
    since: SinceOption = None,
    until: UntilOption = None,
    grep: Annotated[
        str | None,
        typer.Option("--grep", "-g", metavar="REGEX", help="(?i) in front: any case.", show_default=False),
    ] = None,
    level: Annotated[
        str | None,
        typer.Option("--level", "-l", help="This and worse: debug, info, warning, error.", show_default=False),
    ] = None,
    field: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="A member of JSON lines. Repeatable.", show_default=False),
    ] = None,
    request: Annotated[
        str | None, typer.Option("--request", "-r", metavar="ID", help="Of this request only.", show_default=False)
    ] = None,
    instance: Annotated[str | None, typer.Option(help="Of this instance only.", show_default=False)] = None,
    version: Annotated[str | None, typer.Option(help="Of this version only.", show_default=False)] = None,
    stream: Annotated[str | None, typer.Option(help="stdout or stderr only.", show_default=False)] = None,
    raw: Annotated[bool, typer.Option("--raw", help="Lines as they are: JSON is not made readable.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show what a function writes.

    Each instance in its own colour. A terminal shows JSON lines readable. With -o json, one JSON object a line.
    Times without a zone are this machine's.

        sampan logs web -f --level warning
        sampan logs web --since 1h --grep 'timed? out'
        sampan logs web --request 1-665c1f2a-0f3d…
    """
    from sampan.cli.log_lines import Shown

    wanted: dict[str, Any] = {
        "tail": tail if tail is not None or since or request else 100,
        "since": _moment("--since", since),
        "until": _moment("--until", until),
        "grep": grep,
        "level": level,
        "fields": pairs(field or [], "--field"),
        "request": request,
        "instance": instance,
        "version": version,
        "stream": stream,
    }
    shown, count = Shown(readable=not raw and out().is_terminal, days=out().is_terminal), 0
    with session(context).client() as client:
        for line in _followed(client, name, wanted) if follow else client.logs(name, **wanted):
            count += 1
            _json_line(line) if output is Output.JSON else shown.show(line)
    if not count:
        picky = any(value for option, value in wanted.items() if option != "tail")
        say("no line is like that" if picky else "nothing written yet", style="dim")


def _followed(client: "Client", name: str, wanted: dict[str, Any]) -> "Iterator[LogLine]":
    """For ever; when the connection breaks, on from the line behind the last one that came."""
    from sampan.sdk import BrokenOff, Unavailable, Unreachable

    token, begun = "", False
    since = wanted["since"] or f"{time.time():.3f}"
    while True:
        try:
            for line in client.logs(name, follow=True, **wanted):
                token = line.token
                yield line
        except BrokenOff:
            begun = True
        except (Unreachable, Unavailable):
            if not token and not begun:
                raise
        if token:
            wanted = wanted | {"after": token, "tail": None}
        elif begun:  # nothing came yet, so there is no place: on from when this began
            wanted = wanted | {"since": since, "tail": None}
        else:  # a platform that tells no places, and has nothing more to tell
            return
        time.sleep(PAUSE)


def _moment(option: str, given: str | None) -> str | None:
    found = moment(option, given)
    return None if found is None else found.isoformat()


def _json_line(line: "LogLine") -> None:
    import msgspec

    written(msgspec.json.encode(line))

"""`sampan logs`: what a function's instances wrote."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from sampan.cli.options import FunctionName, OutputOption
from sampan.cli.screen import Output, instance_colour, out, printable, say
from sampan.cli.session import session

if TYPE_CHECKING:
    from sampan.sdk import LogLine

SHORT = 8  # hex digits of an instance's id that tell neighbours apart


def logs(
    context: typer.Context,
    name: FunctionName,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as it writes; Ctrl-C ends.")] = False,
    tail: Annotated[
        int | None, typer.Option("--tail", "-n", min=0, help="Newest lines.", show_default="100")
    ] = None,
    instance: Annotated[str | None, typer.Option(help="Of this instance only.", show_default=False)] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show what a function writes.

    Each instance in its own colour. With -o json, one JSON object a line.
    """
    shown = 0
    with session(context).client() as client:
        for line in client.logs(name, follow=follow, tail=100 if tail is None else tail, instance=instance):
            shown += 1
            _json_line(line) if output is Output.JSON else _print(line)
    if not shown:
        say("nothing written yet", style="dim")


def _json_line(line: "LogLine") -> None:
    import msgspec

    sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
    sys.stdout.flush()


def _print(line: "LogLine") -> None:
    from rich.text import Text

    clock = line.time.partition("T")[2][:12].rstrip("Z") or line.time
    label = f"{line.instance.removeprefix('c-')[:SHORT]:<{SHORT}}"
    out().print(
        Text(clock + " ", style="dim"),
        Text(label + " ", style=instance_colour(line.instance)),
        Text(printable(line.text), style="red" if line.stream == "stderr" else ""),
        sep="",
    )

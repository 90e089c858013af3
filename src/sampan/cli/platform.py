"""`up`, `down`, `status`: the platform's processes. The work is done in `serve/up`."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sampan.cli.options import OutputOption, pairs
from sampan.cli.screen import Cell, Output, ago, fields, heading, json, say, state, table
from sampan.cli.session import Session, session

if TYPE_CHECKING:
    from sampan.sdk import PlatformStatus
    from sampan.settings import Settings

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="Settings, as TOML.", exists=True, dir_okay=False, show_default=False),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.FIELD=VALUE", help="One setting. Repeatable.", show_default=False),
]
StateOption = Annotated[
    str | None, typer.Option("--state", metavar="DIR", help="Directory of all that is kept.", show_default=False)
]


def up(
    context: typer.Context,
    state_dir: StateOption = None,
    config: ConfigOption = None,
    port: Annotated[int | None, typer.Option(help="Port of the front door.", show_default="9000")] = None,
    registry_port: Annotated[int | None, typer.Option(help="Port of the registry.", show_default="5000")] = None,
    set_: SetOption = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Leave it running and return.")] = False,
) -> None:
    """Run the platform on this machine. Needs root; Ctrl-C ends it."""
    from sampan.serve.up import up as start

    settings = _settings(session(context), state_dir, config, set_, port, registry_port)
    raise typer.Exit(start(settings, detach))


def down(
    context: typer.Context,
    state_dir: StateOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
    keep_sandboxes: Annotated[
        bool, typer.Option("--keep-sandboxes", help="Leave instances running; `up` finds them again.")
    ] = False,
    timeout: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="Time to end in.")] = 60.0,
) -> None:
    """Stop the platform. Functions and images are kept."""
    from sampan.serve.up import down as stop

    code = stop(_settings(session(context), state_dir, config, set_), keep_sandboxes, timeout)
    if code == 0:
        say("the platform is down", style="dim")
    raise typer.Exit(code)


def status(
    context: typer.Context,
    state_dir: StateOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show the platform's processes and what it is doing.

    Ends with 5 when it does not answer.
    """
    from sampan.sdk import SdkError
    from sampan.serve.up import status as look

    here = session(context)
    processes = look(_settings(here, state_dir, config, set_))
    told: PlatformStatus | None = None
    trouble: SdkError | None = None
    try:
        with Session(state_dir or here.state, here.endpoint).client() as client:
            told = client.status()
    except SdkError as error:
        trouble = error
    if output is Output.JSON:
        json({"processes": processes, "platform": told, "error": None if trouble is None else str(trouble)})
    else:
        table(
            ("PROCESS", "STATE", "PID", "SINCE", "RESTARTS"),
            (
                (
                    Cell(each.name, "bold"),
                    state(each.state),
                    str(each.pid or ""),
                    since(each.since),
                    str(each.restarts),
                )
                for each in processes
            ),
            empty="no processes of the platform here",
        )
        if told is not None:
            _platform(told)
    if trouble is not None:
        raise trouble


def since(moment: str | float) -> str:
    """`serve/up` counts Unix seconds."""
    return ago(moment if isinstance(moment, str) else moment * 1000)


def _platform(told: "PlatformStatus") -> None:
    heading("Platform")
    known = {"version": told.version, "functions": told.functions, "instances": told.instances, **told.platform}
    parts = known.pop("parts", None)
    fields([(name, value if isinstance(value, str) else _written(value)) for name, value in known.items()])
    if isinstance(parts, dict):
        heading("Parts")
        fields([(name, Cell(str(how), "green" if how == "ok" else "red")) for name, how in parts.items()])


def _written(value: object) -> str:
    import msgspec

    return "" if value is None else msgspec.json.encode(value).decode()


def _settings(
    here: Session,
    state_dir: str | None,
    config: Path | None,
    given: list[str] | None,
    port: int | None = None,
    registry_port: int | None = None,
) -> "Settings":
    """Raises: BadSettings."""
    from sampan.settings import load

    flags: dict[str, str | int | None] = dict(pairs(given or [], "--set"))
    named = {
        "platform.state": state_dir or here.state or os.environ.get("SAMPAN_STATE"),
        "gateway.port": port,
        "registry.port": registry_port,
    }
    flags |= {name: value for name, value in named.items() if value is not None}
    return load(config, os.environ, flags)

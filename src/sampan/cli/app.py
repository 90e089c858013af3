"""The command `sampan`: its table of commands, and the one place where their errors end."""

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Annotated, Any, NamedTuple, cast

import typer
from typer import TyperException
from typer.core import TyperGroup

from sampan import __version__
from sampan.cli import (
    bill,
    config,
    deploy,
    domains,
    functions,
    images,
    invoke,
    logs,
    platform,
    top,
    traces,
    versions,
)
from sampan.cli.failures import ending, tell
from sampan.cli.options import NAMED
from sampan.cli.session import Session

PLATFORM, FUNCTIONS, RELEASES, DOMAINS, IMAGES = "Platform", "Functions", "Releases", "Domains", "Images"


class Command(NamedTuple):
    name: str
    panel: str
    run: Callable[..., None]


COMMANDS = (
    Command("up", PLATFORM, platform.up),
    Command("down", PLATFORM, platform.down),
    Command("status", PLATFORM, platform.status),
    Command("top", PLATFORM, top.top),
    Command("config", PLATFORM, config.config),
    Command("bill", PLATFORM, bill.bill),
    Command("deploy", FUNCTIONS, deploy.deploy),
    Command("ls", FUNCTIONS, functions.ls),
    Command("describe", FUNCTIONS, functions.describe),
    Command("invoke", FUNCTIONS, invoke.invoke),
    Command("logs", FUNCTIONS, logs.logs),
    Command("trace", FUNCTIONS, traces.trace),
    Command("traces", FUNCTIONS, traces.traces),
    Command("instances", FUNCTIONS, functions.instances),
    Command("rm", FUNCTIONS, functions.rm),
    Command("publish", RELEASES, versions.publish),
    Command("alias", RELEASES, versions.alias),
    Command("rollback", RELEASES, versions.rollback),
    Command("images", IMAGES, images.images),
    Command("import", IMAGES, images.import_),
)

DOMAIN = (
    Command("ls", DOMAINS, domains.ls),
    Command("add", DOMAINS, domains.add),
    Command("describe", DOMAINS, domains.describe),
    Command("rm", DOMAINS, domains.rm),
)


class Commands(TyperGroup):
    """Ends every command that failed for a known reason with a sentence, a next step and its exit code."""

    def invoke(self, ctx: Any) -> Any:  # typer names the type of neither
        try:
            return super().invoke(ctx)
        except Exception as error:
            end = None if isinstance(error, TyperException | typer.Exit | typer.Abort) else ending(error)
            if end is None:
                raise
            tell(error, end, str(ctx.meta.get(NAMED, "")))
            raise typer.Exit(end.code) from error


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"sampan {__version__}")
        raise typer.Exit


app = typer.Typer(
    name="sampan",
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,  # they would hold secrets
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def root(
    context: typer.Context,
    state: Annotated[
        str | None,
        typer.Option(
            metavar="DIR", envvar="SAMPAN_STATE", help="The platform's state directory.", show_default=False
        ),
    ] = None,
    endpoint: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Where the platform answers. Else SAMPAN_ENDPOINT.", show_default=False),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Functions from container images: any image that answers HTTP, scaled from zero and back."""
    context.obj = Session(state, endpoint)


for each in COMMANDS:
    app.command(each.name, rich_help_panel=each.panel)(each.run)
domain = typer.Typer(no_args_is_help=True)
for each in DOMAIN:
    domain.command(each.name)(each.run)
app.add_typer(domain, name="domain", help="Hosts of your own that functions answer at.", rich_help_panel=DOMAINS)


def main() -> None:
    """Entry point of the command."""
    # httpx loads its own command line, rich and pygments included, where they are installed: 0.12 of the 0.72 s
    # that `sampan config` took (2 cores, Python 3.11). It does without when that module cannot be had.
    sys.modules.setdefault("httpx._main", cast("ModuleType", None))
    app()

"""`sampan config`: which platform this command talks to, and who says so."""

from typing import Annotated

import typer

from sampan.cli.options import OutputOption
from sampan.cli.screen import Cell, Output, json, out, table
from sampan.cli.session import session


def config(
    context: typer.Context,
    what: Annotated[
        str | None,
        typer.Argument(metavar="path", help="`path`: only where the credentials file is.", show_default=False),
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show which platform is talked to, and who says so.

    Every setting with its value and its origin. The secret is not shown.
    """
    from sampan.sdk.config import SECRET_FIELDS, credentials_file

    here = session(context)
    if what == "path":
        out().print(str(credentials_file(here.state_directory())))
        return
    if what is not None:
        raise typer.BadParameter(f"{what!r}; there is only `path`", param_hint="path")
    shown = {
        name: ("set, not shown" if name in SECRET_FIELDS and found.value else found.value, found.source)
        for name, found in here.found().items()
    }
    if output is Output.JSON:
        json({name: {"value": value, "source": source} for name, (value, source) in shown.items()})
        return
    table(
        ("SETTING", "VALUE", "FROM"),
        (
            (name, value or Cell("—", "dim"), Cell(source or "not set", "dim"))
            for name, (value, source) in shown.items()
        ),
        empty="",
    )

"""Arguments and options that several commands share."""

from typing import Annotated

import typer

from sampan.cli.screen import Output

NAMED = "sampan.function"  # where the context keeps the function a command is about
COMPLETION_TIMEOUT = 1.0  # seconds; a person is between two key presses


def complete_function(context: typer.Context, incomplete: str) -> list[str]:
    """Names of functions for the shell. Nothing to offer is no error there."""
    import os

    from sampan.sdk import Client, Retries, SdkError, Timeouts

    patience = Timeouts(connect=COMPLETION_TIMEOUT, read=COMPLETION_TIMEOUT)
    given = context.find_root().params
    try:
        with Client(
            given.get("endpoint"),
            state=given.get("state"),
            environment=os.environ,
            retries=Retries(attempts=1),
            timeouts=patience,
        ) as client:
            return [function.function_name for function in client.list_functions(prefix=incomplete)]
    except SdkError:
        return []


def remember(context: typer.Context, name: str) -> str:
    """Keep the function's name for the next step that an error suggests."""
    context.meta[NAMED] = name
    return name


FunctionName = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="The function.",
        callback=remember,
        autocompletion=complete_function,
        show_default=False,
    ),
]
OutputOption = Annotated[Output, typer.Option("--output", "-o", help="A table for people, or JSON.")]
QualifierOption = Annotated[
    str | None,
    typer.Option("--qualifier", "-q", metavar="VERSION|ALIAS", help="Default: LATEST.", show_default=False),
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def pairs(given: list[str], option: str) -> dict[str, str]:
    """`["K=V", …]` as a mapping. Raises: typer.BadParameter."""
    found: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            # The text may hold a secret, so only its name is repeated.
            raise typer.BadParameter(
                f"{name or 'an empty name'!s} is not of the form NAME=VALUE", param_hint=option
            )
        found[name] = value
    return found

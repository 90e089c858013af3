"""`publish`, `alias`, `rollback`: which state of a function is called."""

from typing import TYPE_CHECKING, Annotated

import typer

from sampan.cli.failures import Code, CommandFailed
from sampan.cli.options import FunctionName, OutputOption, pairs
from sampan.cli.screen import Cell, Output, json, say, table
from sampan.cli.session import session

if TYPE_CHECKING:
    from sampan.sdk import Client, shapes


def publish(
    context: typer.Context,
    name: FunctionName,
    description: Annotated[
        str | None, typer.Option("--description", "-m", help="What is new.", show_default=False)
    ] = None,
    alias: Annotated[
        str | None, typer.Option("--alias", help="Point this alias at it, too.", show_default=False)
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Freeze what the function is now as its next version."""
    with session(context).client() as client:
        version = client.publish_version(name, description)
        if alias is not None:
            point(client, name, alias, version.version_id, {})
    if output is Output.JSON:
        json(version)
        return
    say(f"Published version {version.version_id} of {name}", style="green")
    if alias is None:
        say(f"→ sampan alias {name} ALIAS {version.version_id}", style="dim")
    else:
        say(f"{alias} now means version {version.version_id}")


def alias(
    context: typer.Context,
    name: FunctionName,
    alias_name: Annotated[
        str | None, typer.Argument(metavar="ALIAS", help="Leave out to list all.", show_default=False)
    ] = None,
    version: Annotated[
        str | None, typer.Argument(metavar="VERSION", help="The version it shall mean.", show_default=False)
    ] = None,
    weight: Annotated[
        list[str] | None,
        typer.Option(
            "--weight", "-w", metavar="VERSION=SHARE", help="Send this share, 0 to 1, of calls there instead."
        ),
    ] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Delete the alias; its version stays.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """List a function's aliases, or point one at a version.

    With a weight, that share of the calls tries another version.

        sampan alias web prod 3
        sampan alias web prod 3 --weight 4=0.1
    """
    weights = _weights(weight or [])
    if alias_name is None and delete:
        raise typer.BadParameter("which alias?", param_hint="--delete")
    if version is None and weights:
        raise typer.BadParameter("name the alias and its version, too", param_hint="--weight")
    with session(context).client() as client:
        if alias_name is None:
            _list(list(client.list_aliases(name)), output)
            return
        if delete:
            client.delete_alias(name, alias_name)
            say(f"Deleted alias {alias_name} of {name}", style="green")
            return
        if version is None:
            _list([client.get_alias(name, alias_name)], output)
            return
        changed = point(client, name, alias_name, version, weights)
    if output is Output.JSON:
        json(changed)
        return
    say(f"{alias_name} of {name} now means {_meaning(changed)}", style="green")


def _weights(given: list[str]) -> dict[str, float]:
    try:
        weights = {version: float(share) for version, share in pairs(given, "--weight").items()}
    except ValueError as error:
        raise typer.BadParameter("a share is a number from 0 to 1", param_hint="--weight") from error
    if any(not 0 <= share <= 1 for share in weights.values()) or sum(weights.values()) > 1:
        raise typer.BadParameter("shares are from 0 to 1, and at most 1 together", param_hint="--weight")
    return weights


def point(client: "Client", name: str, alias_name: str, version: str, weights: dict[str, float]) -> "shapes.Alias":
    """Make the alias mean this, whether it is there or not."""
    from sampan.sdk import NotFound

    try:
        client.get_alias(name, alias_name)
    except NotFound as error:
        if error.code != "AliasNotFound":
            raise
        return client.create_alias(name, alias_name, version, weights)
    return client.update_alias(name, alias_name, version, weights)


def _meaning(alias: "shapes.Alias") -> str:
    others = alias.additional_version_weight or {}
    if not others:
        return f"version {alias.version_id}"
    shares = [(alias.version_id, 1 - sum(others.values())), *others.items()]
    return " and ".join(f"version {version} for {share:.0%}" for version, share in shares)


def _list(aliases: "list[shapes.Alias]", output: Output) -> None:
    if output is Output.JSON:
        json(aliases)
        return
    table(
        ("ALIAS", "MEANS", "DESCRIPTION"),
        ((Cell(each.alias_name, "bold"), _meaning(each), each.description or "") for each in aliases),
        empty="no aliases; `sampan alias NAME ALIAS VERSION` makes one",
    )


def rollback(
    context: typer.Context,
    name: FunctionName,
    alias_name: Annotated[
        str | None,
        typer.Option("--alias", "-a", help="Take this alias back, not LATEST.", show_default=False),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(
            "--to", metavar="VERSION", help="Not to the previous version but to this.", show_default=False
        ),
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Go back to the previous version.

    With --alias the alias moves from its version to the one published before it. Without, LATEST becomes what the
    newest published version is, image and all.
    """
    with session(context).client() as client:
        published = sorted((int(each.version_id) for each in client.list_versions(name)), reverse=True)
        if alias_name is not None:
            now = client.get_alias(name, alias_name).version_id
            version = to or before(published, int(now) if now.isdigit() else None, f"{alias_name} (version {now})")
            client.update_alias(name, alias_name, version, {})
        else:
            version = to or before(published, None, name)
            _restore(client, name, version)
    if output is Output.JSON:
        json({"functionName": name, "alias": alias_name, "versionId": version})
        return
    say(f"{f'{alias_name} of {name}' if alias_name else name} is back at version {version}", style="green")


def before(published: list[int], version: int | None, what: str) -> str:
    """The newest version older than `version`, or the newest of all. `published`: newest first.

    Raises: CommandFailed when there is none.
    """
    for each in published:
        if version is None or each < version:
            return str(each)
    raise CommandFailed(
        f"{what} has no earlier version to go back to", Code.NOT_FOUND, "`sampan publish NAME` makes one"
    )


def _restore(client: "Client", name: str, version: str) -> None:
    from sampan.cli.deploy import watch
    from sampan.cli.wishes import as_it_was

    client.update_function(name, as_it_was(client.get_function(name, version)))
    watch(client, name, patience=600)

"""`ls`, `describe`, `instances`, `rm`: what there is, and its end."""

from typing import TYPE_CHECKING, Annotated

import typer

from sampan.cli.failures import Code, CommandFailed
from sampan.cli.options import FunctionName, OutputOption, QualifierOption, YesOption
from sampan.cli.screen import (
    Cell,
    Output,
    ago,
    fields,
    heading,
    instance_colour,
    json,
    out,
    say,
    size,
    state,
    table,
)
from sampan.cli.session import session

if TYPE_CHECKING:
    from sampan.sdk import Client, Description, shapes


def ls(
    context: typer.Context,
    prefix: Annotated[str | None, typer.Argument(help="Only names that begin so.", show_default=False)] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the functions."""
    with session(context).client() as client:
        functions = list(client.list_functions(prefix=prefix))
    if output is Output.JSON:
        json(functions)
        return
    table(
        ("NAME", "IMAGE", "CPU", "MEMORY", "CHANGED"),
        (
            (
                Cell(each.function_name, "bold"),
                each.custom_container_config.image or "",
                f"{each.cpu:g}",
                f"{each.memory_size} MB",
                ago(each.last_modified_time),
            )
            for each in functions
        ),
        empty="no functions yet; `sampan deploy NAME --image IMAGE` makes one",
    )


def describe(context: typer.Context, name: FunctionName, output: OutputOption = Output.TABLE) -> None:
    """Show everything about a function.

    What it runs, how it is reached, its versions, aliases, instances and time limits, its newest failure.
    """
    with session(context).client() as client:
        seen = client.describe(name)
    if output is Output.JSON:
        json(seen)
        return
    _configuration(seen.function)
    _reach(seen)
    _limits(seen)
    if seen.instances:
        heading("Instances")
        _instance_table(seen.instances)
    _failure(seen)
    for warning in seen.warnings:
        say(f"! {warning}", style="yellow")


def _configuration(function: "shapes.Function") -> None:
    container = function.custom_container_config
    hooks = function.instance_lifecycle_config
    health = container.health_check_config
    out().print(function.function_name, style="bold")
    fields(
        [
            ("description", function.description or ""),
            ("state", state(function.state or "")),
            ("why", _why(function)),
            ("image", container.image or ""),
            ("digest", (container.resolved_image_uri or "").partition("@")[2]),
            ("size", size(function.code_size) if function.code_size else ""),
            ("entrypoint", " ".join(container.entrypoint or ())),
            ("command", " ".join(container.command or ())),
            ("port", str(container.port or "")),
            ("health check", (health.http_get_url or "") if health else ""),
            (
                "initializer",
                "POST /initialize" if hooks and hooks.initializer and hooks.initializer.handler else "",
            ),
            ("resources", f"{function.cpu:g} vCPU, {function.memory_size} MB memory, {function.disk_size} MB disk"),
            ("at a time", f"{function.instance_concurrency} per instance"),
            ("sessions", _sessions(function)),
            # Values may be secrets: names only. `-o json` has what the API gives.
            ("environment", ", ".join(sorted(function.environment_variables or {}))),
            ("tags", ", ".join(f"{tag.key}={tag.value}" for tag in function.tags or ())),
            ("disabled", Cell(_disabled(function), "red")),
            ("created", ago(function.created_time)),
            ("changed", ago(function.last_modified_time)),
        ]
    )


def _sessions(function: "shapes.Function") -> str:
    if function.session_affinity in (None, "NONE"):
        return ""
    from sampan.sdk import shapes

    config = shapes.read(function.session_affinity_config or "{}", shapes.SessionAffinityConfig)
    header = config.affinity_header_field_name
    return f"by the header {header}" if header else "by a cookie"


def _why(function: "shapes.Function") -> Cell:
    if function.last_update_status in ("Failed", "InProgress"):
        reason = function.last_update_status_reason or ""
        return Cell(f"update {function.last_update_status}: {_without_log(reason)}".rstrip(": "), "yellow")
    return Cell(_without_log(function.state_reason or "") if function.state != "Active" else "", "yellow")


def _without_log(reason: str) -> str:
    """The container's last lines are told with its failure."""
    return reason.partition("\nLogs:\n")[0]


def _disabled(function: "shapes.Function") -> str:
    restriction = function.invocation_restriction
    return (restriction.reason or "yes") if restriction is not None and restriction.disable else ""


def _reach(seen: "Description") -> None:
    heading("Reached by")
    rows = []
    for trigger in seen.triggers:
        url = (trigger.http_trigger.url_internet or "") if trigger.http_trigger else ""
        rows.append((trigger.trigger_name, trigger.trigger_type, trigger.qualifier, url))
    table(("TRIGGER", "KIND", "RUNS", "URL"), rows, empty="its name only; no triggers")
    if seen.versions:
        heading("Versions")
        called = _called(seen.aliases)
        table(
            ("VERSION", "ALIASES", "PUBLISHED", "DESCRIPTION"),
            (
                (
                    each.version_id,
                    ", ".join(called.get(each.version_id, ())),
                    ago(each.created_time),
                    each.description or "",
                )
                for each in seen.versions
            ),
            empty="",
        )


def _called(aliases: "tuple[shapes.Alias, ...]") -> dict[str, list[str]]:
    """Version → the aliases that lead to it, with their share where it is split."""
    called: dict[str, list[str]] = {}
    for alias in aliases:
        others = alias.additional_version_weight or {}
        rest = 1 - sum(others.values())
        called.setdefault(alias.version_id, []).append(alias.alias_name + (f" {rest:.0%}" if others else ""))
        for version, weight in others.items():
            called.setdefault(version, []).append(f"{alias.alias_name} {weight:.0%}")
    return called


def _limits(seen: "Description") -> None:
    if seen.time_limits is None:
        return
    limits = seen.time_limits
    words = (
        ("for a free slot", limits.queue_wait),
        ("to start", limits.start),
        ("to initialize", limits.initialize),
        ("to answer", limits.run),
        ("to finish when stopped", limits.drain),
        ("idle before it ends", limits.keepalive),
    )
    heading("Time limits")
    fields([(name, f"{seconds:g} s") for name, seconds in words if seconds is not None])


def _failure(seen: "Description") -> None:
    failure = seen.last_start_failure
    if failure is None:
        return
    heading("Newest failure")
    fields(
        [
            ("when", ago(failure.time)),
            ("kind", Cell(failure.kind, "red")),
            ("why", _without_log(failure.message)),
            ("exit code", "" if failure.exit_code is None else str(failure.exit_code)),
            ("last output", Cell(failure.log_tail, "dim")),
        ]
    )


def instances(
    context: typer.Context,
    name: FunctionName,
    qualifier: QualifierOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List a function's instances."""
    with session(context).client() as client:
        found = tuple(client.list_instances(name, qualifier))
    if output is Output.JSON:
        json(found)
        return
    _instance_table(found)


def _instance_table(found: "tuple[shapes.InstanceInfo, ...]") -> None:
    table(
        ("INSTANCE", "VERSION", "STATE", "STARTED"),
        (
            (
                Cell(each.instance_id, instance_colour(each.instance_id)),
                "LATEST" if each.version_id == "0" else each.version_id,
                state(each.state or each.status),
                ago(each.created_time_ms),
            )
            for each in found
        ),
        empty="none runs; the next request starts one",
    )


def rm(
    context: typer.Context,
    name: FunctionName,
    force: Annotated[bool, typer.Option("--force", help="Remove its triggers and aliases first.")] = False,
    yes: YesOption = False,
) -> None:
    """Delete a function.

    The URL that `deploy` gave it goes with it; other triggers and its aliases need --force.
    """
    with session(context).client() as client:
        function = client.get_function(name)
        if domains := _routed(client, name):
            hint = "`sampan domain describe DOMAIN` shows its routes"
            raise CommandFailed(f"domains route to function '{name}': {', '.join(domains)}", hint=hint)
        triggers, aliases = _attached(client, name)
        others = [f"trigger {each}" for each in triggers if each != _own()] + [f"alias {each}" for each in aliases]
        if others and not force:
            raise CommandFailed(f"function '{name}' has {', '.join(others)}", hint=f"sampan rm {name} --force")
        if not yes:
            ask(f"Delete {function.function_name}{' with ' + ', '.join(others) if others else ''}?")
        for trigger in triggers:
            client.delete_trigger(name, trigger)
        for alias in aliases:
            client.delete_alias(name, alias)
        client.delete_function(name)
    say(f"Deleted {name}", style="green")


def _own() -> str:
    from sampan.cli.wishes import TRIGGER

    return TRIGGER


def _attached(client: "Client", name: str) -> tuple[list[str], list[str]]:
    triggers = [each.trigger_name for each in client.list_triggers(name)]
    return triggers, [each.alias_name for each in client.list_aliases(name)]


def _routed(client: "Client", name: str) -> list[str]:
    """The domains that would keep the function from being deleted: known before its triggers are."""
    return [
        each.domain_name
        for each in client.list_domains()
        if each.route_config and any(route.function_name == name for route in each.route_config.routes or ())
    ]


def ask(question: str) -> None:
    """Raises: CommandFailed when nobody is there to answer; typer.Abort when the answer is no."""
    import sys

    if not sys.stdin.isatty():
        raise CommandFailed("nobody is there to confirm", Code.USAGE, "add --yes")
    typer.confirm(question, abort=True, err=True)

"""`sampan deploy`: create or update a function, watch its image arrive, give it a URL."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sampan.cli.failures import Code, CommandFailed
from sampan.cli.options import FunctionName, OutputOption, pairs
from sampan.cli.screen import Output, json, say
from sampan.cli.session import session

if TYPE_CHECKING:
    from sampan.cli.wishes import Wishes
    from sampan.sdk import Client, Description, shapes

POLL = 0.3  # seconds between looks; a warm image is ready within one
RUN, SCALE, NETWORK, REGISTRY = "What runs", "How it scales", "How it is reached", "Private registries"


def deploy(
    context: typer.Context,
    name: FunctionName,
    image: Annotated[
        str | None,
        typer.Option(
            "--image", "-i", help="Its image. Needed the first time.", rich_help_panel=RUN, show_default=False
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            help="Port its program listens on; else what the image exposes.",
            rich_help_panel=RUN,
            show_default=False,
        ),
    ] = None,
    memory: Annotated[
        int | None, typer.Option(help="MB, a multiple of 64.", rich_help_panel=RUN, show_default=False)
    ] = None,
    cpu: Annotated[
        float | None, typer.Option(help="vCPU, a multiple of 0.05.", rich_help_panel=RUN, show_default=False)
    ] = None,
    timeout: Annotated[
        int | None, typer.Option(help="Seconds one invocation may take.", rich_help_panel=RUN, show_default=False)
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option(
            "--env",
            "-e",
            metavar="NAME=VALUE",
            help="Set a variable. Repeatable; others stay.",
            rich_help_panel=RUN,
            show_default=False,
        ),
    ] = None,
    env_file: Annotated[
        Path | None,
        typer.Option(
            help="Set the variables in this file.",
            exists=True,
            dir_okay=False,
            rich_help_panel=RUN,
            show_default=False,
        ),
    ] = None,
    unset_env: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Remove a variable.", rich_help_panel=RUN, show_default=False),
    ] = None,
    entrypoint: Annotated[
        str | None,
        typer.Option(help="Program instead of the image's own.", rich_help_panel=RUN, show_default=False),
    ] = None,
    command: Annotated[
        str | None,
        typer.Option(help="Its arguments, quoted as in a shell.", rich_help_panel=RUN, show_default=False),
    ] = None,
    health_path: Annotated[
        str | None,
        typer.Option(
            metavar="/PATH", help="Ready once GET of this answers 2xx.", rich_help_panel=RUN, show_default=False
        ),
    ] = None,
    init: Annotated[
        bool | None,
        typer.Option(
            "--init/--no-init",
            help="POST /initialize before the first request.",
            rich_help_panel=RUN,
            show_default=False,
        ),
    ] = None,
    init_timeout: Annotated[
        int | None, typer.Option(help="Seconds /initialize may take.", rich_help_panel=RUN, show_default=False)
    ] = None,
    description: Annotated[
        str | None, typer.Option(help="For people.", rich_help_panel=RUN, show_default=False)
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(help="Requests one instance takes at a time.", rich_help_panel=SCALE, show_default=False),
    ] = None,
    minimum: Annotated[
        int | None,
        typer.Option(
            "--min", min=0, help="Instances kept ready at all times.", rich_help_panel=SCALE, show_default=False
        ),
    ] = None,
    maximum: Annotated[
        int | None,
        typer.Option(
            "--max",
            min=0,
            help="Instances at most; 0 refuses every call.",
            rich_help_panel=SCALE,
            show_default=False,
        ),
    ] = None,
    idle_timeout: Annotated[
        int | None,
        typer.Option(
            "--idle-timeout",
            "--keepalive",
            help="Seconds an idle instance is kept.",
            rich_help_panel=SCALE,
            show_default=False,
        ),
    ] = None,
    affinity: Annotated[
        str | None,
        typer.Option(
            metavar="cookie|header:NAME|none",
            help="Whether requests of one session go to one instance.",
            rich_help_panel=SCALE,
            show_default=False,
        ),
    ] = None,
    public: Annotated[
        bool | None,
        typer.Option(
            "--public/--private",
            help="Whether its URL answers unsigned calls. At first: private.",
            rich_help_panel=NETWORK,
            show_default=False,
        ),
    ] = None,
    auth: Annotated[
        str | None,
        typer.Option(
            metavar="TYPE",
            help="Who may call its URL: anonymous, function (signed), jwt, basic or bearer.",
            rich_help_panel=NETWORK,
            show_default=False,
        ),
    ] = None,
    auth_config: Annotated[
        typer.FileText | None,
        typer.Option(
            metavar="FILE",
            help="JSON for jwt, basic or bearer; - is stdin.",
            rich_help_panel=NETWORK,
            show_default=False,
        ),
    ] = None,
    cors: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORIGIN",
            help="Pages of this origin may call it. Repeatable; replaces the rules there are.",
            rich_help_panel=NETWORK,
            show_default=False,
        ),
    ] = None,
    cors_config: Annotated[
        typer.FileText | None,
        typer.Option(metavar="FILE", help="All CORS rules, as JSON.", rich_help_panel=NETWORK, show_default=False),
    ] = None,
    no_cors: Annotated[
        bool, typer.Option("--no-cors", help="Take its CORS rules away.", rich_help_panel=NETWORK)
    ] = False,
    internet: Annotated[
        bool | None,
        typer.Option(
            "--internet/--no-internet",
            help="Whether it can reach the world.",
            rich_help_panel=NETWORK,
            show_default=False,
        ),
    ] = None,
    registry_user: Annotated[
        str | None,
        typer.Option(help="Login for the image's registry.", rich_help_panel=REGISTRY, show_default=False),
    ] = None,
    registry_password_stdin: Annotated[
        bool,
        typer.Option("--registry-password-stdin", help="Read its password from stdin.", rich_help_panel=REGISTRY),
    ] = False,
    registry_insecure: Annotated[
        bool | None,
        typer.Option(
            "--registry-insecure/--registry-secure",
            help="Plain HTTP, or TLS that cannot be verified.",
            rich_help_panel=REGISTRY,
            show_default=False,
        ),
    ] = None,
    wait: Annotated[int, typer.Option(min=0, metavar="SECONDS", help="Wait for it to be ready; 0: do not.")] = 600,
    output: OutputOption = Output.TABLE,
) -> None:
    """Create a function from an image, or change it, and wait until it can be called.

    An option that is not given leaves things as they are.

        sampan deploy web --image localhost:5000/web:1 --public
        sampan deploy web --memory 1024 --env LOG=debug
        sampan deploy web --auth jwt --auth-config jwt.json --cors https://app.example.org
    """
    from sampan.cli.reach import reach
    from sampan.cli.trigger import as_wanted, ensure, present
    from sampan.cli.wishes import Wishes

    if registry_password_stdin and not registry_user:
        raise typer.BadParameter("needs --registry-user", param_hint="--registry-password-stdin")
    _check_affinity(affinity)
    wishes = Wishes(
        image=image,
        port=port,
        memory=memory,
        cpu=cpu,
        timeout=timeout,
        concurrency=concurrency,
        environment={**_env_file(env_file), **pairs(env or [], "--env")},
        unset=tuple(unset_env or ()),
        idle_timeout=idle_timeout,
        affinity=affinity,
        command=command,
        entrypoint=entrypoint,
        health_path=health_path,
        initialize=True if init is None and init_timeout is not None else init,
        initialize_timeout=init_timeout,
        internet=internet,
        description=description,
        registry_user=registry_user,
        registry_password=sys.stdin.read().rstrip("\r\n") if registry_password_stdin else None,
        registry_insecure=registry_insecure,
    )
    try:
        told = [given.read() if given is not None else None for given in (auth_config, cors_config)]
        wanted = reach(public, auth, told[0], tuple(cors or ()), told[1], no_cors)
    except (ValueError, OSError) as error:
        raise typer.BadParameter(str(error)) from None
    with session(context).client() as client:
        before = present(client, name)
        config = as_wanted(wanted, before)  # known to be good before anything is changed
        made = _create_or_update(client, name, wishes)
        _scale(client, name, minimum, maximum)
        trigger = ensure(client, name, before, config)
        if wait:
            watch(client, name, wait)
        _show(client.describe(name), trigger, made, output)


def _env_file(path: Path | None) -> dict[str, str]:
    from sampan.cli.wishes import parse_env_file

    if path is None:
        return {}
    try:
        return parse_env_file(path.read_text())
    except (ValueError, OSError) as error:
        raise typer.BadParameter(f"{path}: {error}", param_hint="--env-file") from None


def _check_affinity(text: str | None) -> None:
    from sampan.cli.wishes import parse_affinity

    if text is not None:
        try:
            parse_affinity(text)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--affinity") from None


def _create_or_update(client: "Client", name: str, wishes: "Wishes") -> bool:
    """Whether it was made now."""
    from sampan.cli.wishes import changes, creation
    from sampan.sdk import NotFound

    try:
        present = client.get_function(name)
    except NotFound:
        if wishes.image is None:
            raise CommandFailed(
                f"there is no function '{name}' yet, so it needs an image",
                Code.USAGE,
                f"sampan deploy {name} --image IMAGE",
            ) from None
        client.create_function(creation(name, changes(wishes, None)))
        return True
    client.update_function(name, changes(wishes, present))
    return False


def _scale(client: "Client", name: str, minimum: int | None, maximum: int | None) -> None:
    from sampan.sdk import limit_shapes

    if minimum is not None:
        client.put_scaling(name, limit_shapes.PutScalingConfigInput(min_instances=minimum))
    if maximum is not None:
        client.put_concurrency(name, maximum)


def watch(client: "Client", name: str, patience: float) -> None:
    """Wait until the function can be called, showing how its image arrives.

    Raises: CommandFailed when it cannot, or not within `patience` seconds.
    """
    from sampan.cli.progress import Arrival

    deadline = time.monotonic() + patience
    with Arrival() as arrival:
        while True:
            seen = client.describe(name)
            function = seen.function
            if function.state == "Failed" or function.last_update_status == "Failed":
                raise _failed(name, seen)
            if function.state != "Pending" and function.last_update_status != "InProgress":
                if (failure := _trial_failure(seen)) is not None:
                    raise failure
                return
            arrival.show(seen.progress)
            if time.monotonic() > deadline:
                raise CommandFailed(
                    f"function '{name}' is not ready after {patience:g} s",
                    hint=f"it goes on by itself; `sampan describe {name}` shows how far it is",
                )
            time.sleep(POLL)


def _trial_failure(seen: "Description") -> CommandFailed | None:
    """A first revision is active even if it did not start when it was tried."""
    failure, function = seen.last_start_failure, seen.function
    name = function.function_name
    if failure is None or failure.time < (function.last_modified_time or ""):
        return None
    logs = f"\n{failure.log_tail}" if failure.log_tail and failure.log_tail not in failure.message else ""
    return CommandFailed(
        f"'{name}' is active but does not start: {failure.message}{logs}",
        hint=f"mend it and deploy again, or call it once what it needs is there; see `sampan logs {name}`",
    )


def _failed(name: str, seen: "Description") -> CommandFailed:
    function = seen.function
    new = function.state == "Failed"
    code = (function.state_reason_code if new else function.last_update_status_reason_code) or ""
    told = (function.state_reason if new else function.last_update_status_reason) or "no reason was given"
    reason, logs, lines = told.partition("\nLogs:\n")
    serves = "" if new else "; calls still run what was there before"
    from sampan.cli.failures import BY_API_CODE

    known = BY_API_CODE.get(code)
    hint = known.hint.replace("NAME", name) if known else f"`sampan logs {name}` shows what it wrote"
    return CommandFailed(f"{code + ': ' if code else ''}{reason}{serves}{logs}{lines}", hint=hint)


def _show(seen: "Description", trigger: "shapes.Trigger", made: bool, output: Output) -> None:
    from sampan.cli.reach import ACCESS
    from sampan.cli.screen import fields, out, state
    from sampan.sdk import shapes

    function = seen.function
    config = shapes.read(trigger.trigger_config, shapes.HttpTriggerConfig, "triggerConfig")
    url = (trigger.http_trigger.url_internet if trigger.http_trigger else None) or ""
    name, public = function.function_name, config.auth_type == "anonymous"
    if output is Output.JSON:
        json(
            {
                "functionName": name,
                "functionArn": function.function_arn,
                "created": made,
                "state": function.state,
                "lastUpdateStatus": function.last_update_status,
                "image": function.custom_container_config.image,
                "resolvedImageUri": function.custom_container_config.resolved_image_uri,
                "url": url,
                "authType": config.auth_type,
                "warnings": seen.warnings,
            }
        )
        return
    say(f"{'Created' if made else 'Updated'} {name}", style="bold green")
    fields(
        [
            ("url", url),
            ("access", ACCESS.get(config.auth_type or "", config.auth_type or "")),
            (
                "image",
                function.custom_container_config.resolved_image_uri or function.custom_container_config.image or "",
            ),
            (
                "size",
                f"{function.cpu:g} vCPU, {function.memory_size} MB, {function.instance_concurrency} at a time",
            ),
            ("state", state(function.state or "")),
        ]
    )
    for warning in seen.warnings:
        say(f"! {warning}", style="yellow")
    out().file.flush()
    say(f"→ {f'curl {url}' if public and url else f'sampan invoke {name} --path /'}", style="dim")

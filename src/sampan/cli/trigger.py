"""The HTTP trigger that `deploy` makes, and keeps as its options say."""

from typing import TYPE_CHECKING

import typer

from sampan.model.errors import SampanError

if TYPE_CHECKING:
    from sampan.cli.reach import Reach
    from sampan.sdk import Client, shapes


def present(client: "Client", name: str) -> "shapes.Trigger | None":
    """The function's HTTP trigger, if it has one."""
    from sampan.cli.wishes import TRIGGER
    from sampan.sdk import NotFound

    try:
        found = [each for each in client.list_triggers(name) if each.trigger_type == "http"]
    except NotFound:
        return None
    return next((each for each in found if each.trigger_name == TRIGGER), found[0] if found else None)


def as_wanted(wanted: "Reach", before: "shapes.Trigger | None") -> "shapes.HttpTriggerConfig":
    """Raises: typer.BadParameter."""
    from sampan.cli.reach import trigger_config
    from sampan.sdk import shapes

    config = None
    if before is not None:
        config = shapes.read(before.trigger_config, shapes.HttpTriggerConfig, "triggerConfig")
    try:
        return trigger_config(wanted, config)
    except (ValueError, SampanError) as error:
        raise typer.BadParameter(str(error)) from None


def ensure(
    client: "Client", name: str, before: "shapes.Trigger | None", config: "shapes.HttpTriggerConfig"
) -> "shapes.Trigger":
    """The function's HTTP trigger, made or changed to be as `config` says."""
    from sampan.cli.wishes import TRIGGER
    from sampan.sdk import shapes

    text = shapes.write(config).decode()
    if before is None:
        trigger = shapes.CreateTriggerInput(trigger_name=TRIGGER, trigger_type="http", trigger_config=text)
        return client.create_trigger(name, trigger)
    if config == shapes.read(before.trigger_config, shapes.HttpTriggerConfig, "triggerConfig"):
        return before
    return client.update_trigger(name, before.trigger_name, shapes.UpdateTriggerInput(trigger_config=text))

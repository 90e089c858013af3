"""Triggers."""

import msgspec

from sampan.api.call import Call, Reply, moment
from sampan.catalog.plans import Defaults
from sampan.catalog.records import Trigger
from sampan.model.names import LATEST, function_arn
from sampan.settings import Settings
from sampan.wire import shapes


async def create(call: Call) -> Reply:
    given = call.read(shapes.CreateTriggerInput)
    return _shown(call, await call.catalog.triggers.create(call.function, given))


async def get(call: Call) -> Reply:
    function = await call.catalog.functions.get(call.function)
    return _shown(call, function.trigger(call.params["triggerName"]))


async def update(call: Call) -> Reply:
    given = call.read(shapes.UpdateTriggerInput)
    return _shown(call, await call.catalog.triggers.update(call.function, call.params["triggerName"], given))


async def delete(call: Call) -> Reply:
    await call.catalog.triggers.delete(call.function, call.params["triggerName"])
    return None


async def list_(call: Call) -> Reply:
    triggers = (await call.catalog.functions.get(call.function)).triggers
    prefix = call.query.get("prefix", "")
    found = [trigger for name, trigger in sorted(triggers.items()) if name.startswith(prefix)]
    page, token = call.page(found, lambda trigger: trigger.name)
    return shapes.Triggers(triggers=tuple(_shown(call, trigger) for trigger in page), next_token=token)


def shape(
    function: str, trigger: Trigger, defaults: Defaults, settings: Settings, secrets: bool = True
) -> shapes.Trigger:
    """A trigger as FC shows it; its configuration is JSON in a string.

    secrets: whether passwords and tokens are among it, so that what was read can be written back.
    """
    config = trigger.config if secrets else msgspec.structs.replace(trigger.config, auth_config=None)
    qualifier = "" if trigger.qualifier == LATEST else trigger.qualifier
    return shapes.Trigger(
        trigger_name=trigger.name,
        trigger_id=trigger.id,
        trigger_type=trigger.type,
        trigger_config=shapes.write(config).decode(),
        qualifier=trigger.qualifier,
        target_arn=function_arn(defaults.region, defaults.account, function, qualifier),
        status="ACTIVE",
        created_time=moment(trigger.created),
        last_modified_time=moment(trigger.modified),
        description=trigger.description or None,
        invocation_role=trigger.role or None,
        http_trigger=shapes.HttpTriggerUrls(url_internet=url(function, trigger.qualifier, settings)),
    )


def url(function: str, qualifier: str, settings: Settings) -> str:
    """Where a function answers plain HTTP; qualifiers but LATEST are part of the host's name."""
    label = function if qualifier == LATEST else f"{qualifier}--{function}"
    return f"http://{label}.{settings.gateway.domain}:{settings.gateway.port}"


def _shown(call: Call, trigger: Trigger) -> shapes.Trigger:
    return shape(call.function, trigger, call.catalog.defaults, call.platform.settings)

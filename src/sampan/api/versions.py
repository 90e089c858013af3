"""Published versions and aliases."""

from sampan.api.call import Call, Reply, moment
from sampan.catalog.records import Alias, PublishedVersion
from sampan.model.errors import InvalidArgument
from sampan.wire import shapes

DIRECTIONS = ("BACKWARD", "FORWARD")  # newest first, oldest first


async def publish(call: Call) -> Reply:
    given = call.read(shapes.PublishVersionInput)
    return version_shape(await call.catalog.versions.publish(call.function, given.description))


async def list_versions(call: Call) -> Reply:
    direction = call.query.get("direction") or "BACKWARD"
    if direction not in DIRECTIONS:
        raise InvalidArgument("direction", direction, " or ".join(DIRECTIONS))
    found = list((await call.catalog.functions.get(call.function)).versions.values())
    sign = 1 if direction == "FORWARD" else -1
    ordered = [(f"{sign * int(version.id) + 10**11:012}", version) for version in found[::sign]]
    page, token = call.page(ordered, lambda item: item[0])
    versions = tuple(version_shape(version) for _, version in page)
    return shapes.Versions(versions=versions, direction=direction, next_token=token)


async def delete_version(call: Call) -> Reply:
    await call.catalog.versions.delete(call.function, call.params["versionId"])
    return None


async def create_alias(call: Call) -> Reply:
    """The versions behind it are ready before the alias is there."""
    given = call.read(shapes.CreateAliasInput)
    await _ready(call, None, given)
    return alias_shape(await call.catalog.aliases.create(call.function, given))


async def update_alias(call: Call) -> Reply:
    """Versions that get calls anew are ready before the first call is sent to them; if not, nothing changes."""
    given = call.read(shapes.UpdateAliasInput)
    await _ready(call, call.params["aliasName"], given)
    return alias_shape(await call.catalog.aliases.update(call.function, call.params["aliasName"], given))


async def get_alias(call: Call) -> Reply:
    function = await call.catalog.functions.get(call.function)
    return alias_shape(function.alias(call.params["aliasName"]))


async def list_aliases(call: Call) -> Reply:
    aliases = (await call.catalog.functions.get(call.function)).aliases
    prefix = call.query.get("prefix", "")
    found = [alias for name, alias in sorted(aliases.items()) if name.startswith(prefix)]
    page, token = call.page(found, lambda alias: alias.name)
    return shapes.Aliases(aliases=tuple(alias_shape(alias) for alias in page), next_token=token)


async def delete_alias(call: Call) -> Reply:
    await call.catalog.aliases.delete(call.function, call.params["aliasName"])
    return None


async def _ready(call: Call, alias: str | None, given: shapes.UpdateAliasInput) -> None:
    if versions := await call.catalog.aliases.foreseen(call.function, alias, given):
        await call.platform.shifts.ready(versions)


def version_shape(version: PublishedVersion) -> shapes.Version:
    created = moment(version.created)
    return shapes.Version(
        version_id=version.id,
        created_time=created,
        last_modified_time=created,
        description=version.description or None,
    )


def alias_shape(alias: Alias) -> shapes.Alias:
    return shapes.Alias(
        alias_name=alias.name,
        version_id=alias.version,
        created_time=moment(alias.created),
        last_modified_time=moment(alias.modified),
        description=alias.description or None,
        additional_version_weight=alias.weights or None,
    )

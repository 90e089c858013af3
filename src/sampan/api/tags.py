"""Tags (their members and parameters begin with capitals) and regions."""

from sampan.api.call import Call, Reply
from sampan.model.names import function_arn
from sampan.wire import shapes


async def put(call: Call) -> Reply:
    given = call.read(shapes.TagResourcesInput)
    await call.catalog.tags.put(given.resource_id or (), given.resource_type, given.tag or ())
    return None


async def remove(call: Call) -> Reply:
    keys: tuple[str, ...] = call.json("TagKey", tuple[str, ...]) or ()
    await call.catalog.tags.remove(_resources(call), call.query.get("ResourceType"), keys, call.flag("All"))
    return None


async def list_(call: Call) -> Reply:
    """Of the functions named, or of all; only tags that are asked for, if any are."""
    wanted: tuple[shapes.Tag, ...] = call.json("Tag", tuple[shapes.Tag, ...]) or ()
    defaults = call.catalog.defaults
    if arns := _resources(call):
        functions = await call.catalog.tags.of(arns, call.query.get("ResourceType"))
    else:
        functions = await call.catalog.functions.all()
    found = [
        shapes.TagResource(
            resource_id=function_arn(defaults.region, defaults.account, function.name),
            resource_type="ALIYUN::FC::FUNCTION",
            tag_key=key,
            tag_value=value,
        )
        for function in functions
        for key, value in sorted(function.tags.items())
        if not wanted or any(tag.key == key and tag.value in ("", value) for tag in wanted)
    ]
    found.sort(key=_order)
    page, token = call.page(found, _order, ("Limit", "NextToken"))
    return shapes.TagResources(tag_resources=page, next_token=token, request_id=call.request_id)


async def regions(call: Call) -> Reply:
    """The one that this platform is."""
    name = call.catalog.defaults.region
    return shapes.Regions(regions=shapes.RegionList(region=(shapes.Region(region_id=name, local_name=name),)))


def _resources(call: Call) -> tuple[str, ...]:
    found: tuple[str, ...] = call.json("ResourceId", tuple[str, ...]) or ()
    return found


def _order(tag: shapes.TagResource) -> str:
    return f"{tag.resource_id}/{tag.tag_key}"

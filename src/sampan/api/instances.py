"""Instances, as FC lists them."""

from collections.abc import Iterable

from sampan.api.call import Call, Reply
from sampan.catalog.records import Function
from sampan.model.instance import InstanceState, InstanceView
from sampan.model.names import LATEST, VERSION_ID
from sampan.wire import shapes

SPARES = (InstanceState.CREATING, InstanceState.CREATED)  # nothing of the user's runs in them: no instances yet

STATUS = {
    InstanceState.STARTING: "Creating",
    InstanceState.READY: "Running",
    InstanceState.FROZEN: "Running",
    InstanceState.DRAINING: "Destroying",
    InstanceState.GONE: "Destroyed",
}


async def list_(call: Call) -> Reply:
    """Those that are there now: what has ended is not listed."""
    function = await call.catalog.functions.get(call.function)
    ids: tuple[str, ...] = call.json("instanceIds", tuple[str, ...]) or ()
    statuses: tuple[str, ...] = call.json("instanceStatus", tuple[str, ...]) or ()
    versions = _versions(function, call.query.get("qualifier", ""))
    start = call.query.get("startKey", "")
    begin, end = call.number("startTimeMs", 0, 0, 2**53), call.number("endTimeMs", 2**53, 0, 2**53)
    found = [
        info
        for info in infos(call.platform.instances.views(call.function))
        if (not ids or info.instance_id in ids)
        and (not statuses or info.status in statuses)
        and (versions is None or info.version_id in versions)
        and info.instance_id > start
        and begin <= info.created_time_ms <= end
    ]
    return shapes.Instances(instances=tuple(found[: call.limit()]), request_id=call.request_id)


def infos(views: Iterable[InstanceView]) -> list[shapes.InstanceInfo]:
    """By id, spares left out."""
    return [
        shapes.InstanceInfo(
            instance_id=view.id,
            version_id="0" if view.version == LATEST else view.version,
            qualifier=view.version,
            status=STATUS[view.state],
            created_time_ms=view.created,
            resource_type="on-demand",
            state=view.state.value,
        )
        for view in sorted(views, key=lambda view: view.id)
        if view.state not in SPARES
    ]


def _versions(function: Function, qualifier: str) -> set[str] | None:
    """Ids of the versions behind a qualifier; None: any."""
    if not qualifier:
        return None
    if qualifier == LATEST:
        return {"0"}
    if VERSION_ID.match(qualifier):
        return {function.version(qualifier).id}
    return set(function.alias(qualifier).shares())

"""Instances as people are shown them."""

import time

from sampan.model.instance import InstanceState, InstanceView
from sampan.model.names import split_version_key
from sampan.scheduler.state import Fleet, Instance, Phase

STATE_OF = {
    Phase.CREATING: InstanceState.CREATING,
    Phase.CREATED: InstanceState.CREATED,
    Phase.STARTING: InstanceState.STARTING,
    Phase.READY: InstanceState.READY,
    Phase.FREEZING: InstanceState.FROZEN,
    Phase.FROZEN: InstanceState.FROZEN,
    Phase.THAWING: InstanceState.READY,
    Phase.STOPPING: InstanceState.DRAINING,
}


def view(fleet: Fleet, instance: Instance, now: float) -> InstanceView:
    """`now`: on the scheduler's clock."""
    offset = time.time() - now

    def unix_ms(moment: float) -> int:
        return round((moment + offset) * 1000)

    function, version, revision = split_version_key(fleet.version.key)
    return InstanceView(
        id=instance.id,
        function=function,
        version=version,
        revision=revision,
        state=InstanceState.DRAINING if instance.unfit else STATE_OF[instance.phase],
        address=f"{instance.host}:{instance.port}" if instance.host else "",
        slots=fleet.slots,
        leased_by=", ".join(instance.leases),
        created=unix_ms(instance.created),
        last_used=unix_ms(instance.last_used) if instance.last_used else 0,
        startup=instance.startup,
    )

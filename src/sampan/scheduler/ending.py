"""How waits and instances end: refused, discarded, stopped; frozen and ended when idle."""

from collections.abc import Collection

from sampan.scheduler.decisions import Decision, Freeze, Refuse, Revoke, Stop
from sampan.scheduler.state import SPARE, Cluster, Fleet, Instance, Phase


def refuse(fleet: Fleet, answer: Refuse, lost_by: Collection[str] = ()) -> list[Decision]:
    """Tell every gateway that waits. They take their wants back themselves; here they count as gone at once.

    lost_by: gateways whose requests waited for what will not come, though it was granted.
    """
    decisions: list[Decision] = []
    for gateway, want in fleet.wants.items():
        if want.need or (gateway in lost_by and want.waiting):
            want.waiting = 0
            decisions.append(
                Refuse(gateway, answer.version, answer.failure, answer.no_capacity, answer.retry_after)
            )
    return decisions


def discard(fleet: Fleet, instance: Instance, why: str, now: float, doubtful: bool = False) -> list[Decision]:
    """Use it no more: drained first where a gateway still holds it."""
    if instance.phase is Phase.STOPPING:
        return []
    instance.unfit = True
    if instance.leases:
        asked = [gateway for gateway in instance.leases if gateway not in instance.revoked]
        instance.revoked.update(asked)
        return [Revoke(gateway, instance.id, for_good=True) for gateway in asked]
    if instance.phase is Phase.STARTING:
        return []  # it ends when its start has; how that went is told by who starts it
    return [stop(fleet, instance, why, now, doubtful)]


def stop(fleet: Fleet, instance: Instance, why: str, now: float, doubtful: bool = False) -> Stop:
    served = instance.phase not in SPARE and instance.phase is not Phase.STARTING
    instance.enter(Phase.STOPPING, now)
    return Stop(instance.id, fleet.version.key, why, served, doubtful)


def ends(cluster: Cluster, now: float) -> list[Decision]:
    decisions: list[Decision] = []
    for fleet in list(cluster.fleets.values()):
        decisions += _end_idle(cluster, fleet, now)
        decisions += _end_spares(cluster, fleet, now)
        late = now - fleet.retired_at >= cluster.limits.retired_keep
        if fleet.retired and late and not fleet.warm and not fleet.instances and not fleet.wants_anything():
            del cluster.fleets[fleet.version.key]
    return decisions


def _end_idle(cluster: Cluster, fleet: Fleet, now: float) -> list[Decision]:
    """Freeze what is idle; end what has been idle for too long, is unfit or belongs to nothing.

    An instance with sessions waits for them to come back, as long as they may; those without end first.
    """
    decisions: list[Decision] = []
    surplus = fleet.live - fleet.floor
    awake = sum(i.phase is Phase.READY for i in fleet.instances.values())
    sessions = cluster.sessions.any_on
    for instance in sorted(fleet.instances.values(), key=lambda i: (sessions(i.id), i.last_used)):
        if instance.unfit and not instance.leases and instance.phase in (Phase.READY, Phase.FROZEN):
            decisions.append(stop(fleet, instance, "not fit to serve", now))
            continue
        if not instance.idle or fleet.need():
            continue
        kept = now - instance.last_used < fleet.version.keepalive or sessions(instance.id)
        too_long = fleet.retired or not kept
        if too_long and surplus > 0:
            surplus -= 1
            decisions.append(stop(fleet, instance, "retired" if fleet.retired else "idle", now))
        elif instance.phase is Phase.READY and awake > fleet.floor:
            awake -= 1
            instance.enter(Phase.FREEZING, now)
            decisions.append(Freeze(instance.id))
    return decisions


def _end_spares(cluster: Cluster, fleet: Fleet, now: float) -> list[Decision]:
    stale = fleet.retired or now - fleet.last_wanted >= cluster.limits.spare_keep
    if not stale or fleet.need():
        return []
    return [stop(fleet, i, "spare", now) for i in fleet.in_phase(frozenset({Phase.CREATED}))]

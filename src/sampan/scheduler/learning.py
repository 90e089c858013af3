"""What each event changes in what is known. Some facts are answered at once: a failed start, a lost instance."""

from sampan.model.errors import Failure, FailureKind
from sampan.model.instance import InstanceState
from sampan.model.names import InstanceId
from sampan.scheduler import binding, scaling
from sampan.scheduler.decisions import Decision, Forget, Opened, Refuse, Thaw
from sampan.scheduler.ending import discard, refuse
from sampan.scheduler.events import (
    Bound,
    Created,
    Ended,
    Event,
    Failed,
    Found,
    Frozen,
    GivenBack,
    Joined,
    Left,
    Lost,
    Observed,
    Planned,
    Settled,
    Started,
    Thawed,
    Tick,
    Unhealthy,
    Wanted,
    Warmed,
)
from sampan.scheduler.state import LIVE, SPARE, Cluster, Fleet, Instance, Phase, Want

OWN_FAULTS = 5
"""Failures of the platform itself (not of the image) in a row that are tried again before anybody is refused."""


def learn(cluster: Cluster, event: Event, now: float) -> list[Decision]:
    """Take an event in. `now`: monotonic seconds."""
    match event:
        case Planned():
            _plan(cluster, event, now)
        case Warmed(version, count):
            new = Fleet(version, cluster.limits.gateways, retired=True, retired_at=now)  # until a plan routes to it
            warm = cluster.fleets.setdefault(version.key, new)
            warm.warm = count
            if count:
                warm.retry_at = now  # somebody asks on purpose: try at once
        case Joined(gateway, leases):
            return _join(cluster, gateway, leases, now) + binding.introduce(cluster, gateway)
        case Left(gateway):
            _leave(cluster, gateway, now)
        case Wanted():
            return _want(cluster, event, now)
        case Observed(key, count, busy):
            if (fleet := cluster.fleets.get(key)) and count:
                fleet.duration = scaling.average(fleet.duration, busy / count, 0.2)
                fleet.last_wanted = now
        case Found():
            _find(cluster, event, now)
        case Settled():
            cluster.settled = True
            claims, cluster.claims = cluster.claims, {}  # of instances that ended while nobody looked
            return [Forget(gateway, id_, None) for id_, holders in claims.items() for gateway in holders]
        case Bound():
            return binding.bind(cluster, event, now)
        case Tick():
            binding.sweep(cluster, now)
        case _:
            return _learn_of_instance(cluster, event, now)
    return []


InstanceEvent = GivenBack | Lost | Created | Started | Failed | Frozen | Thawed | Unhealthy | Ended


def _learn_of_instance(cluster: Cluster, event: InstanceEvent, now: float) -> list[Decision]:
    known = cluster.instance(event.instance)
    if known is None:
        if isinstance(event, GivenBack | Lost):  # others may hold it still
            cluster.claims.get(event.instance, {}).pop(event.gateway, None)
        else:
            cluster.claims.pop(event.instance, None)
        return []
    fleet, instance = known
    match event:
        case GivenBack(gateway):
            if _unlease(instance, gateway):
                instance.last_used = instance.since = now
        case Lost(gateway):
            if _unlease(instance, gateway):
                instance.lost_by.add(gateway)
            return discard(fleet, instance, f"given up by a gateway: {event.why}", now, not event.replace)
        case Unhealthy(_, why):
            return discard(fleet, instance, why, now)
        case Created():
            if instance.phase is Phase.CREATING:
                instance.enter(Phase.CREATED, now)
                instance.host, instance.port, instance.log_path = event.host, event.port, event.log_path
        case Started():
            return _started(fleet, instance, event, now)
        case Failed():
            return _failed(cluster, fleet, instance, event, now)
        case Frozen():
            if instance.phase is Phase.FREEZING and instance.leases:  # its gateway came back meanwhile
                instance.enter(Phase.THAWING, now)
                return [Thaw(instance.id)]
            if instance.phase is Phase.FREEZING:
                instance.enter(Phase.FROZEN, now)
        case Thawed():
            if instance.phase is Phase.THAWING:
                instance.enter(Phase.READY, now)
        case Ended(_, failure):
            del fleet.instances[instance.id]
            return _forgotten(instance, failure)
    return []


def _want(cluster: Cluster, event: Wanted, now: float) -> list[Decision]:
    fleet = cluster.fleets.get(event.version)
    if fleet is None:
        nowhere: list[Decision] = [Forget(event.gateway, id_, None) for id_ in event.bound]
        if not event.waiting:
            return nowhere
        gone = Failure(FailureKind.ENGINE_FAILED, "this version of the function is no longer served; call again")
        return [*nowhere, Refuse(event.gateway, event.version, failure=gone)]
    want = fleet.wants.setdefault(event.gateway, Want())
    want.waiting, want.since, want.seen, want.bound = event.waiting, event.since, event.seen, event.bound
    fleet.last_wanted = now
    return []


def _plan(cluster: Cluster, plan: Planned, now: float) -> None:
    targets = {target.version.key: target for target in plan.targets}
    if targets:
        cluster.functions[plan.function] = plan.max_instances
    else:
        cluster.functions.pop(plan.function, None)
    for key, fleet in cluster.fleets.items():
        if fleet.version.function == plan.function and key not in targets and not fleet.retired:
            fleet.retired, fleet.retired_at = True, now
    for key, target in targets.items():
        fleet = cluster.fleets.setdefault(key, Fleet(target.version, cluster.limits.gateways))
        fleet.version, fleet.minimum, fleet.retired = target.version, target.minimum, False


def _join(cluster: Cluster, gateway: str, leases: dict[InstanceId, int], now: float) -> list[Decision]:
    cluster.gateways.add(gateway)
    decisions: list[Decision] = []
    for id_, slots in leases.items():
        known = cluster.instance(id_)
        if known is None and not cluster.settled:
            cluster.claims.setdefault(id_, {})[gateway] = slots
        elif known is not None and known[1].phase in LIVE and _fits(known[0], known[1], gateway, slots):
            known[1].leases[gateway] = slots
            if not cluster.settled:
                known[1].unfit = False  # it was found first, and had been through its start: nothing else is held
            if known[1].phase is Phase.FROZEN:  # as soon as it was thought to be idle
                known[1].enter(Phase.THAWING, now)
                decisions.append(Thaw(id_))
        else:
            decisions.append(Forget(gateway, id_, None))
    return decisions


def _leave(cluster: Cluster, gateway: str, now: float) -> None:
    cluster.gateways.discard(gateway)
    for _, instance in cluster.instances():
        if _unlease(instance, gateway):
            instance.since = instance.last_used = now
    for fleet in cluster.fleets.values():
        fleet.wants.pop(gateway, None)
    for claims in cluster.claims.values():
        claims.pop(gateway, None)


def _fits(fleet: Fleet, instance: Instance, gateway: str, slots: int) -> bool:
    """Whether what a gateway says it holds leaves the others what they hold."""
    others = sum(held for holder, held in instance.leases.items() if holder != gateway)
    return others + slots <= fleet.slots


def _unlease(instance: Instance, gateway: str) -> bool:
    """The gateway holds it no more; False: it did not."""
    instance.revoked.discard(gateway)
    return instance.leases.pop(gateway, None) is not None


PHASE_OF = {
    InstanceState.CREATED: Phase.CREATED,
    InstanceState.READY: Phase.READY,
    InstanceState.FROZEN: Phase.FROZEN,
}


def _find(cluster: Cluster, found: Found, now: float) -> None:
    """Adopt a sandbox from before. One that may have been half way through its start is not fit to serve."""
    fleet = cluster.fleets.get(found.version)
    if fleet is None or found.instance in fleet.instances:
        return
    created = found.state is InstanceState.CREATED  # a gateway that claims it heard of a start that was cancelled
    leases = {} if created else cluster.claims.pop(found.instance, {})
    instance = Instance(
        found.instance,
        found.version,
        PHASE_OF.get(found.state, Phase.READY),
        now,
        host=found.host,
        port=found.port,
        leases=leases,
        last_used=now,
        created=now,
        log_path=found.log_path,
    )
    doubtful = fleet.version.initializer is not None or fleet.version.health_check is not None
    instance.unfit = found.state is InstanceState.READY and not leases and doubtful
    fleet.instances[found.instance] = instance
    fleet.served = True
    fleet.last_wanted = fleet.last_wanted or now


def _started(fleet: Fleet, instance: Instance, event: Started, now: float) -> list[Decision]:
    if instance.phase is not Phase.STARTING:
        return []
    instance.enter(Phase.READY, now)
    instance.host, instance.port, instance.log_path = event.host, event.port, event.log_path
    instance.startup = event.stages
    instance.cold = fleet.need() > 0  # somebody waited for just this start
    instance.last_used = now
    fleet.served, fleet.failures, fleet.failure = True, 0, None
    fleet.start_time = scaling.average(fleet.start_time, event.took, 0.3)
    return [Opened(gateway, instance.id) for gateway in instance.leases]


def _failed(cluster: Cluster, fleet: Fleet, instance: Instance, event: Failed, now: float) -> list[Decision]:
    spare = instance.phase in SPARE
    del fleet.instances[instance.id]
    forgotten = _forgotten(instance, event.failure)
    fleet.failures += 1
    fleet.failure = event.failure
    fleet.retry_at = now + scaling.backoff(fleet.failures, cluster.limits.backoff_max)
    ours = own_fault(fleet)
    if ours:
        fleet.retry_at = now + 0.2 * fleet.failures
    if spare or ours or fleet.live:
        return forgotten
    answer = Refuse("", fleet.version.key, failure=event.failure, retry_after=fleet.retry_at - now)
    return forgotten + refuse(fleet, answer, instance.leases)


def _forgotten(instance: Instance, failure: Failure | None) -> list[Decision]:
    """Gateways that hold it, or could not use it, hear that it is no more, and why."""
    holders = {**instance.leases} | dict.fromkeys(instance.lost_by)
    return [Forget(gateway, instance.id, failure) for gateway in holders]


def own_fault(fleet: Fleet) -> bool:
    """Whether its last failed start counts as the platform's fault, which is tried again before anybody hears."""
    assert fleet.failure is not None
    return fleet.failure.kind is FailureKind.ENGINE_FAILED and fleet.failures < OWN_FAULTS

"""The scheduler's decisions: `step(cluster, event, now) -> decisions`. Pure: no clock, no I/O, no randomness.

An event first changes what is known (`_learn`); then the same four questions are asked, whatever happened:
who can be granted an instance, what must be started, what may be made ready in advance, what may end.

Rules that tests/scheduler holds it to: slots are never oversold · one start per needed slot · the longest waiting
is served first, the most recently used instance first · nobody waits while there is room · every start ends in a
grant, a spare or a refusal · below its minimum no fleet shrinks.
"""

from sampan.model.errors import Failure, FailureKind
from sampan.model.instance import InstanceState
from sampan.model.names import InstanceId, VersionKey, new_instance_id
from sampan.scheduler import scaling
from sampan.scheduler.decisions import Create, Decision, Forget, Freeze, Grant, Refuse, Revoke, Start, Stop, Thaw
from sampan.scheduler.events import (
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
from sampan.scheduler.state import COMING, LIVE, SPARE, Cluster, Fleet, Instance, Phase, Want

OWN_FAULTS = 5
"""Failures of the platform itself (not of the image) in a row that are tried again before anybody is refused."""


def step(cluster: Cluster, event: Event, now: float) -> list[Decision]:
    """What to do about `event`. `now`: monotonic seconds."""
    decisions = _learn(cluster, event, now)
    if cluster.settled:
        decisions += _grants(cluster, now)
        decisions += _starts(cluster, now)
        decisions += _spares(cluster, now)
        decisions += _ends(cluster, now)
    return decisions


# ── learning ──────────────────────────────────────────────────────────────────────────────────────────


def _learn(cluster: Cluster, event: Event, now: float) -> list[Decision]:
    match event:
        case Planned():
            _plan(cluster, event, now)
        case Warmed(version, count):
            new = Fleet(version, retired=True, retired_at=now)  # until a plan routes to it
            warm = cluster.fleets.setdefault(version.key, new)
            warm.warm = count
            if count:
                warm.retry_at = now  # somebody asks on purpose: try at once
        case Joined(gateway, leases):
            return _join(cluster, gateway, leases)
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
        case Tick():
            pass
        case _:
            return _learn_of_instance(cluster, event, now)
    return []


InstanceEvent = GivenBack | Lost | Created | Started | Failed | Frozen | Thawed | Unhealthy | Ended


def _learn_of_instance(cluster: Cluster, event: InstanceEvent, now: float) -> list[Decision]:
    known = cluster.instance(event.instance)
    if known is None:
        cluster.claims.pop(event.instance, None)
        return []
    fleet, instance = known
    match event:
        case GivenBack(gateway):
            if instance.lease == gateway:
                instance.lease, instance.revoked, instance.last_used = None, False, now
                instance.since = now
        case Lost(gateway):
            if instance.lease == gateway:
                instance.lease, instance.lost_by = None, gateway
            return _discard(fleet, instance, f"given up by a gateway: {event.why}", now, not event.replace)
        case Unhealthy(_, why):
            return _discard(fleet, instance, why, now)
        case Created():
            if instance.phase is Phase.CREATING:
                instance.enter(Phase.CREATED, now)
        case Started():
            _started(fleet, instance, event, now)
        case Failed():
            return _failed(cluster, fleet, instance, event, now)
        case Frozen():
            if instance.phase is Phase.FREEZING:
                instance.enter(Phase.FROZEN, now)
        case Thawed(_, stage):
            if instance.phase is Phase.THAWING:
                instance.enter(Phase.READY, now)
                instance.stages = (stage,) if stage else ()
        case Ended(_, failure):
            del fleet.instances[instance.id]
            if (holder := instance.lease or instance.lost_by) is not None:
                return [Forget(holder, instance.id, failure)]
    return []


def _want(cluster: Cluster, event: Wanted, now: float) -> list[Decision]:
    fleet = cluster.fleets.get(event.version)
    if fleet is None:
        if not event.waiting:
            return []
        gone = Failure(FailureKind.ENGINE_FAILED, "this version of the function is no longer served; call again")
        return [Refuse(event.gateway, event.version, failure=gone)]
    want = fleet.wants.setdefault(event.gateway, Want())
    want.waiting, want.since, want.seen = event.waiting, event.since, event.seen
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
        fleet = cluster.fleets.setdefault(key, Fleet(target.version))
        fleet.version, fleet.minimum, fleet.retired = target.version, target.minimum, False


def _join(cluster: Cluster, gateway: str, leases: tuple[InstanceId, ...]) -> list[Decision]:
    cluster.gateways.add(gateway)
    decisions: list[Decision] = []
    for id_ in leases:
        known = cluster.instance(id_)
        if known is None and not cluster.settled:
            cluster.claims[id_] = gateway
        elif known is not None and known[1].lease in (None, gateway) and known[1].phase in LIVE:
            known[1].lease = gateway
        else:
            decisions.append(Forget(gateway, id_, None))
    return decisions


def _leave(cluster: Cluster, gateway: str, now: float) -> None:
    cluster.gateways.discard(gateway)
    for _, instance in cluster.instances():
        if instance.lease == gateway:
            instance.lease, instance.revoked, instance.since, instance.last_used = None, False, now, now
    for fleet in cluster.fleets.values():
        fleet.wants.pop(gateway, None)
    for id_ in [id_ for id_, holder in cluster.claims.items() if holder == gateway]:
        del cluster.claims[id_]


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
    lease = cluster.claims.pop(found.instance, None)
    instance = Instance(
        found.instance,
        found.version,
        PHASE_OF.get(found.state, Phase.READY),
        now,
        host=found.host,
        port=found.port,
        lease=lease,
        last_used=now,
        created=now,
        log_path=found.log_path,
    )
    doubtful = fleet.version.initializer is not None or fleet.version.health_check is not None
    instance.unfit = found.state is InstanceState.READY and lease is None and doubtful
    fleet.instances[found.instance] = instance
    fleet.served = True
    fleet.last_wanted = fleet.last_wanted or now


def _started(fleet: Fleet, instance: Instance, event: Started, now: float) -> None:
    if instance.phase is not Phase.STARTING:
        return
    instance.enter(Phase.READY, now)
    instance.host, instance.port, instance.log_path = event.host, event.port, event.log_path
    instance.startup = instance.stages = event.stages
    instance.cold, instance.last_used = True, now
    fleet.served, fleet.failures, fleet.failure = True, 0, None
    fleet.start_time = scaling.average(fleet.start_time, event.took, 0.3)


def _failed(cluster: Cluster, fleet: Fleet, instance: Instance, event: Failed, now: float) -> list[Decision]:
    spare = instance.phase in SPARE
    del fleet.instances[instance.id]
    fleet.failures += 1
    fleet.failure = event.failure
    fleet.retry_at = now + scaling.backoff(fleet.failures, cluster.limits.backoff_max)
    ours = event.failure.kind is FailureKind.ENGINE_FAILED and fleet.failures < OWN_FAULTS
    if ours:
        fleet.retry_at = now + 0.2 * fleet.failures
    if spare or ours or fleet.live:
        return []
    return _refuse(fleet, Refuse("", fleet.version.key, failure=event.failure, retry_after=fleet.retry_at - now))


def _refuse(fleet: Fleet, answer: Refuse) -> list[Decision]:
    """Tell every gateway that waits. They take their wants back themselves; here they count as gone at once."""
    decisions: list[Decision] = []
    for gateway, want in fleet.wants.items():
        if want.need(fleet.slots):
            want.waiting = 0
            decisions.append(
                Refuse(gateway, answer.version, answer.failure, answer.no_capacity, answer.retry_after)
            )
    return decisions


def _discard(fleet: Fleet, instance: Instance, why: str, now: float, doubtful: bool = False) -> list[Decision]:
    """Use it no more: drained first where a gateway still holds it."""
    if instance.phase is Phase.STOPPING:
        return []
    instance.unfit = True
    if instance.lease is not None:
        instance.revoked = True
        return [Revoke(instance.lease, instance.id)]
    return [_stop(fleet, instance, why, now, doubtful)]


def _stop(fleet: Fleet, instance: Instance, why: str, now: float, doubtful: bool = False) -> Stop:
    served = instance.phase not in SPARE and instance.phase is not Phase.STARTING
    instance.enter(Phase.STOPPING, now)
    return Stop(instance.id, fleet.version.key, why, served, doubtful)


# ── granting ──────────────────────────────────────────────────────────────────────────────────────────


def _grants(cluster: Cluster, now: float) -> list[Decision]:
    decisions: list[Decision] = []
    for fleet in _by_age(cluster):
        coming = len(fleet.in_phase(frozenset({Phase.THAWING}))) * fleet.slots
        while need := fleet.need():
            idle = [i for i in fleet.instances.values() if i.idle]
            if not idle:
                break
            ready = [i for i in idle if i.phase is Phase.READY]
            if ready:
                decisions.append(_grant(fleet, max(ready, key=lambda i: i.last_used), now))
            elif need > coming:
                warmest = max(idle, key=lambda i: i.last_used)
                warmest.enter(Phase.THAWING, now)
                coming += fleet.slots
                decisions.append(Thaw(warmest.id))
            else:
                break
    return decisions


def _by_age(cluster: Cluster) -> list[Fleet]:
    """Fleets that are waited for, the longest waiting first."""
    return sorted((fleet for fleet in cluster.fleets.values() if fleet.need()), key=Fleet.oldest)


def _grant(fleet: Fleet, instance: Instance, now: float) -> Grant:
    gateway, want = min(
        ((g, w) for g, w in fleet.wants.items() if w.need(fleet.slots)), key=lambda item: item[1].since
    )
    want.granted += 1
    instance.lease, instance.last_used = gateway, now
    return Grant(gateway, instance.id, fleet.version.key)


# ── starting ──────────────────────────────────────────────────────────────────────────────────────────


def _starts(cluster: Cluster, now: float) -> list[Decision]:
    decisions: list[Decision] = []
    under_way = sum(i.phase in (Phase.STARTING, Phase.CREATING) for _, i in cluster.instances())
    fleets = _by_age(cluster)
    fleets += [f for f in cluster.fleets.values() if f.floor > f.live and f not in fleets]
    for fleet in fleets:
        for _ in range(_wanted_starts(fleet, now)):
            if under_way >= cluster.limits.parallel_starts:
                return decisions
            blocked = _blocked(cluster, fleet, now)
            if blocked is not None:
                decisions += blocked
                break
            decisions.append(_start(cluster, fleet, now))
            under_way += 1
    return decisions


def _wanted_starts(fleet: Fleet, now: float) -> int:
    """Instances to start now, for those who wait or for the floor."""
    busy = sum(i.lease is not None for i in fleet.instances.values()) * fleet.slots
    waited = now - fleet.oldest() if fleet.need() else 0.0
    coming = len(fleet.in_phase(COMING)) + sum(
        i.idle or i.phase is Phase.FREEZING for i in fleet.instances.values()
    )
    asked = scaling.starts_needed(fleet.need(), fleet.slots, coming, busy, fleet.duration, fleet.start_time, waited)
    return max(asked, fleet.floor - fleet.live)


def _blocked(cluster: Cluster, fleet: Fleet, now: float) -> list[Decision] | None:
    """Why no instance of this fleet may be started now, as decisions; None: it may."""
    key, limits = fleet.version.key, cluster.limits
    if fleet.retry_at > now:
        if fleet.failure is not None and not fleet.live and not _own_fault(fleet):
            return _refuse(fleet, Refuse("", key, failure=fleet.failure, retry_after=fleet.retry_at - now))
        return []
    own = cluster.functions.get(fleet.version.function)
    most = limits.max_instances if own is None else min(own, limits.max_instances)
    if cluster.of_function(fleet.version.function) >= most:
        return _rebalance(fleet)
    if any(i.phase is Phase.CREATED for i in fleet.instances.values()):
        return None  # its memory is committed already
    memory, cpu = cluster.committed()
    short = memory + fleet.version.memory_mb - limits.memory_mb
    if short <= 0 and cpu + fleet.version.cpu <= limits.cpu:
        return None
    room = _make_room(cluster, fleet, max(short, 0), cpu + fleet.version.cpu - limits.cpu, now)
    if room is not None:
        return room
    if fleet.live or any(i.phase is Phase.STOPPING for _, i in cluster.instances()):
        return []  # a slot or a machine's room will come free; the wait has its own limit
    if _may_come_free(cluster, fleet, now):
        return []
    what = "memory" if short > 0 else "CPU"
    unit = f"{fleet.version.memory_mb} MB" if short > 0 else f"{fleet.version.cpu:g} vCPU"
    return _refuse(fleet, Refuse("", key, no_capacity=f"the machine has no {what} left for an instance of {unit}"))


def _may_come_free(cluster: Cluster, fleet: Fleet, now: float) -> bool:
    """Whether an instance that is leased, but perhaps idle, could make room before long: only gateways know."""
    version, limits = fleet.version, cluster.limits
    fits = version.memory_mb <= limits.memory_mb and version.cpu <= limits.cpu
    leased = any(i.lease is not None for _, i in cluster.instances())
    return fits and leased and now - fleet.oldest() < limits.lease_rest


def _own_fault(fleet: Fleet) -> bool:
    assert fleet.failure is not None
    return fleet.failure.kind is FailureKind.ENGINE_FAILED and fleet.failures < OWN_FAULTS


def _rebalance(fleet: Fleet) -> list[Decision]:
    """At the instance limit: a gateway that has nothing may get one from a gateway that has several."""
    holders: dict[str, list[Instance]] = {}
    for instance in fleet.instances.values():
        if instance.lease is not None:
            holders.setdefault(instance.lease, []).append(instance)
    poor = [g for g, want in fleet.wants.items() if want.need(fleet.slots) and g not in holders]
    if not poor or any(i.revoked for i in fleet.instances.values()):
        return []
    rich = max(holders.values(), key=len, default=[])
    if len(rich) < 2:
        return []
    instance = min(rich, key=lambda i: i.last_used)
    instance.revoked = True
    return [Revoke(instance.lease or "", instance.id)]


def _make_room(cluster: Cluster, fleet: Fleet, memory: int, cpu: float, now: float) -> list[Decision] | None:
    """End idle instances of others until `memory` MB and `cpu` are free; None when that is not to be had."""
    leaving = [(f, i) for f, i in cluster.instances() if i.phase is Phase.STOPPING]
    memory -= sum(f.version.memory_mb for f, _ in leaving)
    cpu -= sum(f.version.cpu for f, _ in leaving)
    spare = {f.version.key: f.live - f.floor for f in cluster.fleets.values()}
    victims: list[tuple[Fleet, Instance]] = []
    idle = [(f, i) for f, i in cluster.instances() if i.idle or i.phase is Phase.CREATED]
    for other, instance in sorted(idle, key=lambda x: (x[1].phase is not Phase.CREATED, x[1].last_used)):
        if memory <= 0 and cpu <= 0:
            break
        if instance.phase is not Phase.CREATED:
            if other is fleet or spare[other.version.key] <= 0:
                continue
            spare[other.version.key] -= 1
        victims.append((other, instance))
        memory -= other.version.memory_mb
        cpu -= other.version.cpu
    if memory > 0 or cpu > 1e-9:
        return None
    return [_stop(f, i, "room for another function", now) for f, i in victims]


def _start(cluster: Cluster, fleet: Fleet, now: float) -> Start:
    created = fleet.in_phase(frozenset({Phase.CREATED}))
    if created:
        instance = created[0]
        instance.enter(Phase.STARTING, now)
        return Start(instance.id, fleet.version.key, created=True)
    instance = _new(cluster, fleet, Phase.STARTING, now)
    return Start(instance.id, fleet.version.key, created=False)


def _new(cluster: Cluster, fleet: Fleet, phase: Phase, now: float) -> Instance:
    id_ = next(cluster.names) if cluster.names is not None else new_instance_id()
    instance = Instance(id_, fleet.version.key, phase, now, last_used=now, created=now)
    fleet.instances[id_] = instance
    return instance


# ── keeping spares ────────────────────────────────────────────────────────────────────────────────────


def _spares(cluster: Cluster, now: float) -> list[Decision]:
    """Created sandboxes for versions that were used lately, while nobody waits for anything."""
    limits = cluster.limits
    if not limits.spares or any(fleet.need() for fleet in cluster.fleets.values()):
        return []
    if any(i.phase in (Phase.STARTING, Phase.CREATING) for _, i in cluster.instances()):
        return []
    decisions: list[Decision] = []
    memory, cpu = cluster.committed()
    for fleet in cluster.fleets.values():
        if not _deserves_spare(cluster, fleet, now):
            continue
        memory, cpu = memory + fleet.version.memory_mb, cpu + fleet.version.cpu
        if memory > limits.memory_mb or cpu > limits.cpu:
            break
        decisions.append(Create(_new(cluster, fleet, Phase.CREATING, now).id, fleet.version.key))
    return decisions


def _deserves_spare(cluster: Cluster, fleet: Fleet, now: float) -> bool:
    return (
        fleet.served
        and not fleet.retired
        and fleet.failures == 0
        and len(fleet.in_phase(SPARE)) < cluster.limits.spares
        and now - fleet.last_wanted < cluster.limits.spare_keep
    )


# ── ending ────────────────────────────────────────────────────────────────────────────────────────────


def _ends(cluster: Cluster, now: float) -> list[Decision]:
    decisions: list[Decision] = []
    for fleet in list(cluster.fleets.values()):
        decisions += _end_idle(fleet, now)
        decisions += _end_spares(cluster, fleet, now)
        late = now - fleet.retired_at >= cluster.limits.retired_keep
        if fleet.retired and late and not fleet.warm and not fleet.instances and not fleet.wants_anything():
            del cluster.fleets[fleet.version.key]
    return decisions


def _end_idle(fleet: Fleet, now: float) -> list[Decision]:
    """Freeze what is idle; end what has been idle for too long, is unfit or belongs to nothing."""
    decisions: list[Decision] = []
    surplus = fleet.live - fleet.floor
    awake = sum(i.phase is Phase.READY for i in fleet.instances.values())
    for instance in sorted(fleet.instances.values(), key=lambda i: i.last_used):
        if instance.unfit and instance.lease is None and instance.phase in (Phase.READY, Phase.FROZEN):
            decisions.append(_stop(fleet, instance, "not fit to serve", now))
            continue
        if not instance.idle or fleet.need():
            continue
        too_long = fleet.retired or now - instance.last_used >= fleet.version.keepalive
        if too_long and surplus > 0:
            surplus -= 1
            decisions.append(_stop(fleet, instance, "retired" if fleet.retired else "idle", now))
        elif instance.phase is Phase.READY and awake > fleet.floor:
            awake -= 1
            instance.enter(Phase.FREEZING, now)
            decisions.append(Freeze(instance.id))
    return decisions


def _end_spares(cluster: Cluster, fleet: Fleet, now: float) -> list[Decision]:
    stale = fleet.retired or now - fleet.last_wanted >= cluster.limits.spare_keep
    if not stale or fleet.need():
        return []
    return [_stop(fleet, i, "spare", now) for i in fleet.in_phase(frozenset({Phase.CREATED}))]


def ready_count(cluster: Cluster, version: VersionKey) -> int:
    """Instances of a version that can serve."""
    fleet = cluster.fleets.get(version)
    return fleet.ready if fleet else 0

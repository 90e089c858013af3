"""The scheduler's decisions: `step(cluster, event, now) -> decisions`. Pure: no clock, no I/O, no randomness.

An event first changes what is known (`learning`); then the same four questions are asked, whatever happened:
who can be granted an instance, what must be started, what may be made ready in advance, what may end.

Rules that tests/scheduler holds it to: slots are never oversold · one start per needed slot · the longest waiting
is served first, the most recently used instance first · nobody waits while there is room · every start ends in a
grant, a spare or a refusal · below its minimum no fleet shrinks.
"""

from sampan.model.names import new_instance_id
from sampan.scheduler import scaling
from sampan.scheduler.binding import bound_grants, grant, has_room
from sampan.scheduler.decisions import Create, Decision, Refuse, Revoke, Start
from sampan.scheduler.ending import ends, refuse, stop
from sampan.scheduler.events import Event
from sampan.scheduler.learning import learn, own_fault
from sampan.scheduler.state import COMING, SPARE, Cluster, Fleet, Instance, Phase

_NEARNESS = {Phase.STARTING: 0, Phase.FROZEN: 1}  # how soon an instance can serve; 2: all others

TURN = 0.1
"""Seconds that a gateway waits for an instance of another one that has no other; a tick of the shell's."""

DRAIN = 1.0
"""Seconds in which an instance that was asked for should come back; then another one is asked for, too."""


def step(cluster: Cluster, event: Event, now: float) -> list[Decision]:
    """What to do about `event`. `now`: monotonic seconds."""
    decisions = learn(cluster, event, now)
    if cluster.settled:
        decisions += bound_grants(cluster, now, TURN)
        decisions += _grants(cluster, now)
        decisions += _starts(cluster, now)
        decisions += _spares(cluster, now)
        decisions += ends(cluster, now)
    return decisions


# ── granting ──────────────────────────────────────────────────────────────────────────────────────────


def _grants(cluster: Cluster, now: float) -> list[Decision]:
    """Idle instances for those who wait, one that is awake before one that is frozen, the last used first."""
    return [decision for fleet in _by_age(cluster) for decision in _grants_of(cluster, fleet, now)]


def _grants_of(cluster: Cluster, fleet: Fleet, now: float) -> list[Decision]:
    decisions: list[Decision] = []
    for gateway, want in sorted(fleet.wants.items(), key=lambda item: item[1].since):
        while want.need:
            instance = _open(cluster, fleet, gateway, now)
            if instance is None:
                break
            decisions += grant(fleet, gateway, want, instance, now)
    return decisions


def _open(cluster: Cluster, fleet: Fleet, gateway: str, now: float) -> Instance | None:
    """What the gateway may be granted: awake before frozen, in use by others before idle, the last used first."""
    return max(
        (
            i
            for i in fleet.instances.values()
            if i.open_to(gateway, fleet.slots) and has_room(cluster, fleet, i, now)
        ),
        key=lambda i: (_NEARNESS.get(i.phase, 2), bool(i.leases), i.last_used),
        default=None,
    )


def _by_age(cluster: Cluster) -> list[Fleet]:
    """Fleets that are waited for, the longest waiting first."""
    return sorted((fleet for fleet in cluster.fleets.values() if fleet.need()), key=Fleet.oldest)


# ── starting ──────────────────────────────────────────────────────────────────────────────────────────


def _starts(cluster: Cluster, now: float) -> list[Decision]:
    decisions: list[Decision] = []
    under_way = sum(i.phase in (Phase.STARTING, Phase.CREATING) for _, i in cluster.instances())
    fleets = _by_age(cluster)
    fleets += [f for f in cluster.fleets.values() if f.floor > f.live and f not in fleets]
    for fleet in fleets:
        for _ in range(_wanted_starts(cluster, fleet, now)):
            if under_way >= cluster.limits.parallel_starts:
                return decisions
            blocked = _blocked(cluster, fleet, now)
            if blocked is not None:
                decisions += blocked
                break
            decisions.append(_start(cluster, fleet, now))
            decisions += _grants_of(cluster, fleet, now)
            under_way += 1
    return decisions


def _wanted_starts(cluster: Cluster, fleet: Fleet, now: float) -> int:
    """Instances to start now, for those who wait or for the floor."""
    instances = [i for i in fleet.instances.values() if has_room(cluster, fleet, i, now)]
    busy = sum(sum(i.leases.values()) for i in instances if i.phase is not Phase.STARTING)
    waited = now - fleet.oldest() if fleet.need() else 0.0
    coming = sum(i.phase in COMING and not i.leases for i in instances)
    waiting = sum(want.need > 0 for want in fleet.wants.values())
    reach = min(fleet.slots, fleet.share * waiting)  # slots of a new instance that will be of use to who waits
    asked = scaling.starts_needed(fleet.need(), reach, coming, busy, fleet.duration, fleet.start_time, waited)
    return max(asked, fleet.floor - fleet.live)


def _blocked(cluster: Cluster, fleet: Fleet, now: float) -> list[Decision] | None:
    """Why no instance of this fleet may be started now, as decisions; None: it may."""
    key, limits = fleet.version.key, cluster.limits
    if fleet.retry_at > now:
        if fleet.failure is not None and not fleet.live and not own_fault(fleet):
            return refuse(fleet, Refuse("", key, failure=fleet.failure, retry_after=fleet.retry_at - now))
        return []
    own = cluster.functions.get(fleet.version.function)
    most = limits.max_instances if own is None else min(own, limits.max_instances)
    if cluster.of_function(fleet.version.function) >= most:
        return _other_version(cluster, fleet, now) or _rebalance(fleet, now)
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
    return refuse(fleet, Refuse("", key, no_capacity=f"the machine has no {what} left for an instance of {unit}"))


def _may_come_free(cluster: Cluster, fleet: Fleet, now: float) -> bool:
    """Whether an instance that is leased, but perhaps idle, could make room before long: only gateways know."""
    version, limits = fleet.version, cluster.limits
    fits = version.memory_mb <= limits.memory_mb and version.cpu <= limits.cpu
    leased = any(i.leases for _, i in cluster.instances())
    return fits and leased and now - fleet.oldest() < limits.lease_rest


def _other_version(cluster: Cluster, fleet: Fleet, now: float) -> list[Decision]:
    """At the instance limit of a function: what is idle of its other versions makes room, the longest unused.

    For somebody who waits; what is made ready in advance takes nothing from what serves now.
    """
    if not fleet.need():
        return []
    idle = [
        (other, instance)
        for other in cluster.fleets.values()
        if other is not fleet and other.version.function == fleet.version.function and other.live > other.floor
        for instance in other.instances.values()
        if instance.idle and not other.need()
    ]
    if not idle:
        return []
    other, instance = min(idle, key=lambda pair: pair[1].last_used)
    return [stop(other, instance, "room for another version", now)]


def _rebalance(fleet: Fleet, now: float) -> list[Decision]:
    """At the instance limit: a gateway that has nothing may get an instance of a gateway that has several.

    Where nobody has, instances with too few slots to be shared go round, one turn each.
    """
    holders: dict[str, list[Instance]] = {}
    for instance in fleet.instances.values():
        for gateway in instance.leases.keys() - instance.revoked if instance.phase is not Phase.STARTING else ():
            holders.setdefault(gateway, []).append(instance)
    poor = [w.since for g, w in fleet.wants.items() if w.need and g not in holders]
    asked = sum(bool(i.revoked) and not i.unfit for i in fleet.instances.values())
    if not poor or now - min(poor) < asked * DRAIN:
        return []
    gateway, held = max(holders.items(), key=lambda item: len(item[1]), default=("", []))
    if len(held) < (1 if now - min(poor) >= TURN else 2):
        return []
    instance = min(held, key=lambda i: i.last_used)
    instance.revoked.add(gateway)
    return [Revoke(gateway, instance.id)]


def _make_room(cluster: Cluster, fleet: Fleet, memory: int, cpu: float, now: float) -> list[Decision] | None:
    """End idle instances of others until `memory` MB and `cpu` are free; None when that is not to be had."""
    leaving = [(f, i) for f, i in cluster.instances() if i.phase is Phase.STOPPING]
    memory -= sum(f.version.memory_mb for f, _ in leaving)
    cpu -= sum(f.version.cpu for f, _ in leaving)
    spare = {f.version.key: f.live - f.floor for f in cluster.fleets.values()}
    victims: list[tuple[Fleet, Instance]] = []
    idle = [(f, i) for f, i in cluster.instances() if i.idle or i.phase is Phase.CREATED]
    for other, instance in sorted(idle, key=lambda x: _dear(cluster, x[1])):
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
    return [stop(f, i, "room for another function", now) for f, i in victims]


def _dear(cluster: Cluster, instance: Instance) -> tuple[bool, bool, float]:
    """The least dear ends first: spares, then what holds no session, then what was not used for longest."""
    return instance.phase is not Phase.CREATED, cluster.sessions.any_on(instance.id), instance.last_used


def _start(cluster: Cluster, fleet: Fleet, now: float) -> Start:
    """A sandbox that is there has its address: it can be granted at once, and its gateway sees its port open by
    itself, two messages sooner than it would hear of it."""
    created = fleet.in_phase(frozenset({Phase.CREATED}))
    if created:
        instance = created[0]
        instance.enter(Phase.STARTING, now)
        instance.early = fleet.plain and bool(instance.host)
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

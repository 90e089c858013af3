"""Sessions keep to their instances: who is right about where one is, and slots in the very instance it is in."""

from sampan.model.affinity import Session
from sampan.model.names import InstanceId
from sampan.scheduler.decisions import Decision, Forget, Grant, Revoke, Tell, Thaw
from sampan.scheduler.events import Bound
from sampan.scheduler.state import SPARE, Cluster, Fleet, Instance, Phase, Want

NOWHERE = SPARE | {Phase.STOPPING}
"""Phases in which no session can be served: not started, or not any more."""


def bind(cluster: Cluster, event: Bound, now: float) -> list[Decision]:
    """Take in what a gateway says about sessions; of two that disagree, the one that spoke first is right."""
    answers: list[Session] = []
    news: list[Session] = []
    for session, until in event.sessions:
        known = cluster.sessions.of(session.version, session.id, now)
        if known is not None and not _serves(cluster, known.instance):
            known = None
        if known is not None and known.instance != session.instance:
            answers.append(known)
            continue
        if known is None:
            answers.append(session)
        cluster.sessions.put(session, until)
        news.append(session)
    told = [Tell(event.gateway, tuple(answers))] if answers else []
    others = sorted(cluster.gateways - {event.gateway}) if news else []
    return [*told, *(Tell(gateway, tuple(news)) for gateway in others)]


def introduce(cluster: Cluster, gateway: str) -> list[Decision]:
    """Tell all sessions to a gateway that has just joined."""
    return [Tell(gateway, tuple(cluster.sessions))] if len(cluster.sessions) else []


def sweep(cluster: Cluster, now: float) -> None:
    """Forget sessions that are over."""
    if len(cluster.sessions) and cluster.settled:
        there = {instance.id for _, instance in cluster.instances()}
        cluster.sessions.sweep(now, there.__contains__)


def has_room(cluster: Cluster, fleet: Fleet, instance: Instance, now: float) -> bool:
    """Whether one more session may be bound to it."""
    asked = fleet.version.affinity
    return asked is None or not cluster.sessions.full(instance.id, asked.per_instance, now)


def bound_grants(cluster: Cluster, now: float, turn: float) -> list[Decision]:
    """Shares of instances for those whose sessions are in them, the longest waiting gateway first.

    turn: seconds for which a gateway may hold an instance undisturbed while another waits for it.
    """
    decisions: list[Decision] = []
    for fleet in cluster.fleets.values():
        if not any(want.bound for want in fleet.wants.values()):
            continue
        for gateway, want in sorted(fleet.wants.items(), key=lambda item: item[1].since):
            for id_ in want.bound:
                decisions += _bound(fleet, gateway, want, id_, now, turn)
    return decisions


def grant(fleet: Fleet, gateway: str, want: Want, instance: Instance, now: float) -> list[Decision]:
    """The gateway's share of an instance that is open to it.

    A frozen one is granted while it thaws: its kernel takes the connection and the request meanwhile, so the
    caller waits for one message less.
    """
    decisions: list[Decision] = []
    if instance.phase is Phase.FROZEN:
        instance.enter(Phase.THAWING, now)
        decisions.append(Thaw(instance.id))
    slots = min(fleet.share, fleet.slots - sum(instance.leases.values()))
    want.granted += slots
    instance.leases[gateway], instance.last_used = slots, now
    return [*decisions, Grant(gateway, instance.id, fleet.version.key, slots)]


def _bound(fleet: Fleet, gateway: str, want: Want, id_: InstanceId, now: float, turn: float) -> list[Decision]:
    instance = fleet.instances.get(id_)
    held = instance is not None and gateway in instance.leases
    if instance is None or instance.unfit or instance.phase in NOWHERE:
        if held:
            return []  # it drains; what is in it must not be told that it is gone
        want.served(id_)
        return [Forget(gateway, id_, None)]
    if instance.open_to(gateway, fleet.slots):
        want.served(id_)
        return grant(fleet, gateway, want, instance, now)
    if held and gateway not in instance.revoked:
        want.served(id_)  # said before it heard of a grant
        return []
    others = {holder: slots for holder, slots in instance.leases.items() if holder != gateway}
    if held or not others or instance.revoked or now - instance.last_used < turn:
        return []
    holder = max(sorted(others), key=lambda name: others[name])
    instance.revoked.add(holder)
    return [Revoke(holder, id_)]


def _serves(cluster: Cluster, id_: InstanceId) -> bool:
    known = cluster.instance(id_)
    if known is None:
        return not cluster.settled  # it may yet be found
    return not known[1].unfit and known[1].phase not in NOWHERE

"""The core's rules, held against random histories: a simulated gateway and engine that do anything they may."""

import itertools

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sampan.model.affinity import Affinity, AffinityKind, Session
from sampan.model.errors import Failure, FailureKind
from sampan.model.names import InstanceId, VersionKey
from sampan.model.version import Version
from sampan.scheduler import decisions as d
from sampan.scheduler import events as e
from sampan.scheduler.core import step
from sampan.scheduler.state import Cluster, Limits, Phase
from tests.scheduler.story import version

FUNCTIONS = {"a": 1, "b": 3}
AFFINITY = {"a": None, "b": Affinity(AffinityKind.COOKIE, 100.0, 100.0, per_instance=2)}
GATEWAYS = ("g", "h")
MOST = 6
MEMORY = 8 * 512


class Scheduling(RuleBasedStateMachine):
    """Two gateways. `pending` is what the engine was asked to do and has not answered."""

    def __init__(self) -> None:
        super().__init__()
        names = (InstanceId(f"i{n}") for n in itertools.count(1))
        self.cluster = Cluster(
            Limits(memory_mb=MEMORY, max_instances=MOST, parallel_starts=3, gateways=len(GATEWAYS)), names=names
        )
        self.now = 0.0
        self.pending: dict[InstanceId, d.Decision] = {}
        self.held: dict[tuple[str, InstanceId], int] = {}  # the gateways' leases → slots
        self.opening: dict[tuple[str, InstanceId], VersionKey] = {}  # of them, those whose port is waited for
        keys = [version(name).key for name in FUNCTIONS]
        self.waiting = {(gateway, key): 0 for gateway in GATEWAYS for key in keys}
        self.grants = dict.fromkeys(self.waiting, 0)
        self.bound: dict[tuple[str, VersionKey], set[InstanceId]] = {at: set() for at in self.waiting}
        self.refused: list[VersionKey] = []
        for name in FUNCTIONS:
            self.post(e.Planned(name, (e.Target(self.version(name)),)))
        self.post(e.Settled())
        for gateway in GATEWAYS:
            self.post(e.Joined(gateway, {}))

    def version(self, name: str) -> Version:
        return version(name, concurrency=FUNCTIONS[name], keepalive=5.0, affinity=AFFINITY[name])

    def want(self, gateway: str, key: VersionKey) -> None:
        at = gateway, key
        bound = tuple(sorted(self.bound[at]))
        self.post(e.Wanted(*at, self.waiting[at], self.now, self.grants[at], bound))

    def post(self, event: e.Event) -> None:
        for decision in step(self.cluster, event, self.now):
            self.obey(decision)

    def obey(self, decision: d.Decision) -> None:
        match decision:
            case d.Grant(gateway, instance, key, slots):
                assert (gateway, instance) not in self.held, "granted twice"
                under_way = self.pending.get(instance)
                assert under_way is None or self.leasable(under_way), "granted while something is under way"
                self.held[gateway, instance] = slots
                others = sum(held for (_, id_), held in self.held.items() if id_ == instance)
                assert 0 < slots <= others <= FUNCTIONS[key.partition("@")[0]], "slots were oversold"
                bound = self.bound[gateway, key]
                assert self.waiting[gateway, key] > 0 or instance in bound, "granted though nobody waits"
                bound.discard(instance)
                if isinstance(under_way, d.Start):
                    self.opening[gateway, instance] = key
                else:
                    self.take(gateway, key, slots)
            case d.Refuse(gateway, key, _, _, _):
                self.waiting[gateway, key] = 0
                self.refused.append(key)
            case d.Opened(gateway, instance):
                assert (gateway, instance) in self.held, "told of what it does not hold"
            case d.Forget(gateway, instance, _):
                assert (gateway, instance) not in self.held, "what a gateway holds was called gone"
                for (name, _), waited in self.bound.items():
                    if name == gateway:
                        waited.discard(instance)
            case d.Revoke(gateway, instance):
                assert (gateway, instance) in self.held, "revoked from who has nothing"
            case d.Tell(_, sessions):
                assert sessions
            case d.Stop(instance, _, _, _):
                assert not self.holders(instance), "stopped while a gateway holds it"
                assert instance not in self.pending, "two things at once with one instance"
                self.pending[instance] = decision
            case _:
                assert decision.instance not in self.pending, "two things at once with one instance"
                assert not self.holders(decision.instance) or self.leasable(decision)
                self.pending[decision.instance] = decision

    def take(self, gateway: str, key: VersionKey, slots: int) -> None:
        """Requests that waited get slots."""
        self.grants[gateway, key] += slots
        self.waiting[gateway, key] = max(0, self.waiting[gateway, key] - slots)

    def leasable(self, decision: d.Decision) -> bool:
        """Whether an instance may be leased meanwhile: its gateway then waits for it by itself."""
        return isinstance(decision, d.Thaw) or (isinstance(decision, d.Start) and decision.created)

    def holders(self, instance: InstanceId) -> list[str]:
        return [gateway for gateway, id_ in self.held if id_ == instance]

    @rule(gateway=st.sampled_from(GATEWAYS), name=st.sampled_from(sorted(FUNCTIONS)), more=st.integers(1, 5))
    def requests_arrive(self, gateway: str, name: str, more: int) -> None:
        at = gateway, version(name).key
        self.waiting[at] += more
        self.want(*at)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), id_=st.sampled_from("xyz"), seconds=st.sampled_from([1.0, 50.0]))
    def a_session_is_bound(self, data: st.DataObject, id_: str, seconds: float) -> None:
        gateway, instance = data.draw(st.sampled_from(sorted(self.held)))
        session = Session(version("b").key, id_, instance, 0, 0)
        self.post(e.Bound(gateway, ((session, self.now + seconds),)))

    @rule(data=st.data(), gateway=st.sampled_from(GATEWAYS))
    def a_session_waits_for_its_instance(self, data: st.DataObject, gateway: str) -> None:
        there = sorted((i.id, fleet.version.key) for fleet, i in self.cluster.instances())
        instance, key = data.draw(st.sampled_from([*there, (InstanceId("gone"), version("b").key)]))
        if (gateway, instance) not in self.held:
            self.bound[gateway, key].add(instance)
            self.want(gateway, key)

    @rule(seconds=st.sampled_from([0.1, 1.0, 6.0, 100.0, 700.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.post(e.Tick())

    @precondition(lambda self: self.pending)
    @rule(data=st.data(), fails=st.booleans())
    def the_engine_answers(self, data: st.DataObject, fails: bool) -> None:
        id_ = data.draw(st.sampled_from(sorted(self.pending)))
        decision = self.pending.pop(id_)
        match decision:
            case d.Create() if not fails:
                self.post(e.Created(id_, "10.0.0.1", 80))
            case d.Start() if not fails:
                self.post(e.Started(id_, "10.0.0.1", 80))
            case d.Create() | d.Start():
                self.ends(id_, e.Failed(id_, Failure(FailureKind.EXITED, "exit 1")))
            case d.Freeze():
                self.post(e.Frozen(id_))
            case d.Thaw():
                self.post(e.Thawed(id_))
            case d.Stop():
                self.post(e.Ended(id_))

    @precondition(lambda self: self.opening)
    @rule(data=st.data())
    def a_port_opens(self, data: st.DataObject) -> None:
        self.the_gateway_uses(*data.draw(st.sampled_from(sorted(self.opening))))

    def the_gateway_uses(self, gateway: str, id_: InstanceId) -> None:
        key = self.opening.pop((gateway, id_))
        self.take(gateway, key, self.held[gateway, id_])
        self.want(gateway, key)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def the_gateway_gives_back(self, data: st.DataObject) -> None:
        self.the_gateway_returns(*data.draw(st.sampled_from(sorted(self.held))))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def an_instance_dies(self, data: st.DataObject) -> None:
        _, id_ = data.draw(st.sampled_from(sorted(self.held)))
        if isinstance(self.pending.get(id_), d.Start):
            return  # then its start fails
        self.pending.pop(id_, None)
        self.ends(id_, e.Ended(id_, Failure(FailureKind.OUT_OF_MEMORY, "out of memory")))

    def ends(self, id_: InstanceId, event: e.Event) -> None:
        """Its gateways hear of it; those that waited for its port ask anew."""
        lost = {gateway: self.held.pop((gateway, id_)) for gateway in self.holders(id_)}
        vain = {gateway: key for gateway in lost if (key := self.opening.pop((gateway, id_), None))}
        self.post(event)
        for gateway, key in vain.items():
            self.grants[gateway, key] += lost[gateway]
            self.want(gateway, key)

    @invariant()
    def what_the_core_believes_is_so(self) -> None:
        leased = {
            (gateway, i.id): slots for _, i in self.cluster.instances() for gateway, slots in i.leases.items()
        }
        assert leased == self.held

    @invariant()
    def no_limit_is_exceeded(self) -> None:
        for name in FUNCTIONS:
            assert self.cluster.of_function(name) <= MOST
        assert self.cluster.committed()[0] <= MEMORY
        starting = [i for _, i in self.cluster.instances() if i.phase is Phase.STARTING]
        assert len(starting) <= 3

    @invariant()
    def who_waits_is_being_helped_or_blocked(self) -> None:
        """Nobody waits while there is room and nothing is under way."""
        for (_, key), waiting in self.waiting.items():
            if not waiting:
                continue
            fleet = self.cluster.fleets[key]
            under_way = any(
                i.phase in (Phase.STARTING, Phase.CREATING, Phase.STOPPING, Phase.THAWING, Phase.FREEZING)
                for _, i in self.cluster.instances()
            )
            backing_off = fleet.retry_at > self.now
            at_most = fleet.live >= MOST
            full = self.cluster.committed()[0] + 512 > MEMORY and fleet.live
            assert under_way or backing_off or at_most or full, f"{key}: {waiting} wait and nobody helps"

    def teardown(self) -> None:
        """Whatever happened: if the engine answers and nothing fails, everyone is served or refused."""
        for _ in range(400):
            if not any(self.waiting.values()) and not any(self.bound.values()):
                return
            for id_, decision in list(self.pending.items()):
                del self.pending[id_]
                match decision:
                    case d.Create():
                        self.post(e.Created(id_, "10.0.0.1", 80))
                    case d.Start():
                        self.post(e.Started(id_, "10.0.0.1", 80))
                    case d.Freeze():
                        self.post(e.Frozen(id_))
                    case d.Thaw():
                        self.post(e.Thawed(id_))
                    case d.Stop():
                        self.post(e.Ended(id_))
            for opening in list(self.opening):
                self.the_gateway_uses(*opening)
            for gateway, id_ in list(self.held):
                self.the_gateway_returns(gateway, id_)
            self.now += 1.0
            self.post(e.Tick())
        raise AssertionError(f"somebody waits for ever: {self.waiting}, {self.bound}")

    def the_gateway_returns(self, gateway: str, id_: InstanceId) -> None:
        slots, key = self.held.pop((gateway, id_)), self.opening.pop((gateway, id_), None)
        self.post(e.GivenBack(gateway, id_))
        if key is not None:
            self.grants[gateway, key] += slots
            self.want(gateway, key)


Scheduling.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestScheduling = Scheduling.TestCase

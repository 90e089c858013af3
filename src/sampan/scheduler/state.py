"""What the scheduler knows: fleets of instances, wants, limits. Times are monotonic seconds."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

import msgspec

from sampan.model.errors import Failure
from sampan.model.instance import Stage
from sampan.model.names import InstanceId, VersionKey
from sampan.model.version import Version
from sampan.scheduler.sessions import SessionTable


class Phase(Enum):
    """Where the scheduler stands with an instance; finer than the engine's states, for what is under way."""

    CREATING = "creating"
    CREATED = "created"
    STARTING = "starting"
    READY = "ready"
    FREEZING = "freezing"
    FROZEN = "frozen"
    THAWING = "thawing"
    STOPPING = "stopping"


COMING = frozenset({Phase.STARTING, Phase.FREEZING, Phase.THAWING})
"""Will serve who waits without another start, unless somebody holds it."""

LIVE = frozenset({Phase.STARTING, Phase.READY, Phase.FREEZING, Phase.FROZEN, Phase.THAWING})
"""Runs the user's program."""

SPARE = frozenset({Phase.CREATING, Phase.CREATED})


class Limits(msgspec.Struct, frozen=True):
    """What the machine and its owner allow."""

    memory_mb: int = 1 << 30
    cpu: float = 1e9  # vCPU, summed over instances
    max_instances: int = 300  # of one function
    parallel_starts: int = 8
    spares: int = 1
    spare_keep: float = 600.0  # seconds
    backoff_max: float = 60.0  # seconds
    lease_rest: float = 0.0  # seconds by which a lease whose gateway has no request for it is back
    gateways: int = 1  # processes that share the front door
    retired_keep: float = 30.0  # seconds in which late wants of a version that lost its route are still served


@dataclass(slots=True)
class Instance:
    id: InstanceId
    version: VersionKey
    phase: Phase
    since: float  # when it came into this phase
    host: str = ""
    port: int = 0
    leases: dict[str, int] = field(default_factory=dict)  # gateways that hold it → slots each may use
    revoked: set[str] = field(default_factory=set)  # gateways that were asked to give it back
    lost_by: set[str] = field(default_factory=set)  # gateways that could not use it and want to know why
    unfit: bool = False  # ends as soon as nobody holds it
    last_used: float = 0.0
    created: float = 0.0
    startup: tuple[Stage, ...] = ()  # how it came to be ready; the first grant tells it
    log_path: str = ""
    cold: bool = False  # the next grant is the first
    early: bool = False  # granted while it starts

    def enter(self, phase: Phase, now: float) -> None:
        self.phase, self.since = phase, now

    @property
    def idle(self) -> bool:
        return not self.leases and not self.unfit and self.phase in (Phase.READY, Phase.FROZEN)

    def open_to(self, gateway: str, slots: int) -> bool:
        """Whether the gateway may be granted a share of its `slots`."""
        if self.unfit or self.revoked or gateway in self.leases:
            return False
        if self.phase is Phase.STARTING:
            return self.early and sum(self.leases.values()) < slots
        if not self.leases:
            return self.idle
        return self.phase in (Phase.READY, Phase.THAWING) and sum(self.leases.values()) < slots


@dataclass(slots=True)
class Want:
    """What one gateway waits for, of one version."""

    waiting: int = 0
    since: float = 0.0
    granted: int = 0  # slots granted on this connection
    seen: int = 0  # of them, received when the gateway last spoke
    bound: tuple[InstanceId, ...] = ()  # sessions wait for a slot in these

    @property
    def need(self) -> int:
        """Requests that no grant under way will serve."""
        return max(0, self.waiting - (self.granted - self.seen))

    def served(self, bound: InstanceId) -> None:
        """Those who wait for this instance need nothing more from here."""
        self.bound = tuple(id_ for id_ in self.bound if id_ != bound)


@dataclass(slots=True)
class Fleet:
    """Everything about one version."""

    version: Version
    gateways: int = 1  # that share an instance's slots
    minimum: int = 0
    warm: int = 0  # wished ready before traffic comes
    retired: bool = False  # no route leads here: not any more, or not yet
    retired_at: float = 0.0
    instances: dict[InstanceId, Instance] = field(default_factory=dict)
    wants: dict[str, Want] = field(default_factory=dict)
    failures: int = 0  # starts failed in a row
    failure: Failure | None = None
    retry_at: float = 0.0
    served: bool = False  # an instance of it was ready once
    last_wanted: float = 0.0
    duration: float = 0.0  # seconds an invocation takes, moving average; 0 unknown
    start_time: float = 0.0  # seconds a start takes, moving average; 0 unknown

    @property
    def slots(self) -> int:
        return self.version.concurrency

    @property
    def plain(self) -> bool:
        """Its instances are ready as soon as their port accepts, and any request may be in any of them."""
        version = self.version
        return version.initializer is None and version.health_check is None and version.affinity is None

    @property
    def share(self) -> int:
        """Slots of an instance that one gateway is granted: so each finds some, and none has to give any up."""
        return -(-self.slots // self.gateways)

    def in_phase(self, phases: frozenset[Phase]) -> list[Instance]:
        return [instance for instance in self.instances.values() if instance.phase in phases]

    @property
    def live(self) -> int:
        return sum(i.phase in LIVE for i in self.instances.values())

    @property
    def ready(self) -> int:
        return sum(
            i.phase in (Phase.READY, Phase.FREEZING, Phase.FROZEN, Phase.THAWING) and not i.unfit
            for i in self.instances.values()
        )

    @property
    def floor(self) -> int:
        """Instances to keep whether or not anybody asks."""
        return max(self.warm, 0 if self.retired else self.minimum)

    def need(self) -> int:
        """Requests that wait and that no grant under way will serve."""
        return sum(want.need for want in self.wants.values())

    def wants_anything(self) -> bool:
        return any(want.waiting or want.bound for want in self.wants.values())

    def oldest(self) -> float:
        """When the longest-waiting request began to wait."""
        return min((w.since for w in self.wants.values() if w.need), default=float("inf"))


@dataclass(slots=True)
class Cluster:
    """All that is decided upon."""

    limits: Limits = field(default_factory=Limits)
    fleets: dict[VersionKey, Fleet] = field(default_factory=dict)
    functions: dict[str, int | None] = field(default_factory=dict)  # name → its own instance limit
    gateways: set[str] = field(default_factory=set)
    claims: dict[InstanceId, dict[str, int]] = field(default_factory=dict)  # leases of instances not found yet
    sessions: SessionTable = field(default_factory=SessionTable)
    settled: bool = False
    names: Iterator[InstanceId] | None = None  # where new instances' ids come from

    def instance(self, id_: InstanceId) -> tuple[Fleet, Instance] | None:
        for fleet in self.fleets.values():
            if instance := fleet.instances.get(id_):
                return fleet, instance
        return None

    def instances(self) -> Iterator[tuple[Fleet, Instance]]:
        for fleet in self.fleets.values():
            for instance in fleet.instances.values():
                yield fleet, instance

    def committed(self) -> tuple[int, float]:
        """Memory (MB) and vCPU that are promised to instances."""
        memory, cpu = 0, 0.0
        for fleet, _ in self.instances():
            memory += fleet.version.memory_mb
            cpu += fleet.version.cpu
        return memory, cpu

    def of_function(self, function: str) -> int:
        """Live instances of a function, all versions."""
        return sum(fleet.live for fleet in self.fleets.values() if fleet.version.function == function)

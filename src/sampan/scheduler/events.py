"""What can happen to the scheduler. Each is a fact; none says what to do about it."""

import msgspec

from sampan.model.affinity import Session
from sampan.model.errors import Failure
from sampan.model.instance import InstanceState, Stage
from sampan.model.names import InstanceId, VersionKey
from sampan.model.version import Version


class _Event(msgspec.Struct, frozen=True):
    pass


class Target(msgspec.Struct, frozen=True):
    """A version that may be wanted, and how many instances of it are always to be there."""

    version: Version
    minimum: int = 0


# ── what people and gateways say ──────────────────────────────────────────────────────────────────────


class Planned(_Event, frozen=True):
    """These are the versions of a function from now on; none: the function is gone."""

    function: str
    targets: tuple[Target, ...]
    max_instances: int | None = None


class Warmed(_Event, frozen=True):
    """`count` instances of a version are to be ready before it gets traffic; 0 ends that wish."""

    version: Version
    count: int


class Joined(_Event, frozen=True):
    """A gateway connected, still holding these leases."""

    gateway: str
    leases: dict[InstanceId, int]  # → slots


class Left(_Event, frozen=True):
    """A gateway's connection is gone, and its leases with it."""

    gateway: str


class Wanted(_Event, frozen=True):
    """`waiting` requests at a gateway have no slot. `since`: when the oldest began to wait."""

    gateway: str
    version: VersionKey
    waiting: int
    since: float
    seen: int = 0  # slots the gateway had been granted when it said so
    bound: tuple[InstanceId, ...] = ()  # sessions wait for a slot in these


class GivenBack(_Event, frozen=True):
    gateway: str
    instance: InstanceId


class Lost(_Event, frozen=True):
    """A gateway could not use an instance, or gave it up as unfit."""

    gateway: str
    instance: InstanceId
    why: str
    replace: bool = False  # it lives, but must not serve again; else it may have ended by itself


class Bound(_Event, frozen=True):
    """A gateway bound sessions to instances, or used them. With each: when it is over."""

    gateway: str
    sessions: tuple[tuple[Session, float], ...]


class Observed(_Event, frozen=True):
    """Invocations of a version ended: how many, and seconds of slot time they took in all."""

    version: VersionKey
    count: int
    busy: float


# ── what the engine says ──────────────────────────────────────────────────────────────────────────────


class Found(_Event, frozen=True):
    """The engine runs this; we did not start it in this life."""

    instance: InstanceId
    version: VersionKey
    state: InstanceState
    host: str
    port: int
    log_path: str = ""


class Settled(_Event, frozen=True):
    """All sandboxes were found and the gateways had their say: from now on decisions may be taken."""


class Created(_Event, frozen=True):
    instance: InstanceId
    host: str = ""  # its address, known before its program runs
    port: int = 0
    log_path: str = ""


class Started(_Event, frozen=True):
    """The instance is ready: its port accepts and its initializer, if any, has succeeded."""

    instance: InstanceId
    host: str
    port: int
    stages: tuple[Stage, ...] = ()
    log_path: str = ""
    took: float = 0.0  # seconds from the decision


class Failed(_Event, frozen=True):
    """A start or a creation came to nothing; nothing of it is left."""

    instance: InstanceId
    failure: Failure


class Frozen(_Event, frozen=True):
    instance: InstanceId


class Thawed(_Event, frozen=True):
    instance: InstanceId


class Unhealthy(_Event, frozen=True):
    """Its health check failed as often as the function allows."""

    instance: InstanceId
    why: str


class Ended(_Event, frozen=True):
    """The sandbox is gone. `failure` None: it was stopped on request."""

    instance: InstanceId
    failure: Failure | None = None


class Tick(_Event, frozen=True):
    """Time has passed."""


Event = (
    Planned
    | Warmed
    | Joined
    | Left
    | Wanted
    | GivenBack
    | Lost
    | Bound
    | Observed
    | Found
    | Settled
    | Created
    | Started
    | Failed
    | Frozen
    | Thawed
    | Unhealthy
    | Ended
    | Tick
)

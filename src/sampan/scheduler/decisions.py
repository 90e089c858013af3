"""What the scheduler can decide. `loop` carries each out; what comes of it returns as an event."""

import msgspec

from sampan.model.affinity import Session
from sampan.model.errors import Failure
from sampan.model.names import InstanceId, VersionKey


class _Decision(msgspec.Struct, frozen=True):
    pass


class Create(_Decision, frozen=True):
    """Make a sandbox and leave its program waiting: a spare. → Created | Failed"""

    instance: InstanceId
    version: VersionKey


class Start(_Decision, frozen=True):
    """Make an instance ready; `created`: its sandbox is there already. → Started | Failed"""

    instance: InstanceId
    version: VersionKey
    created: bool


class Freeze(_Decision, frozen=True):
    """→ Frozen"""

    instance: InstanceId


class Thaw(_Decision, frozen=True):
    """→ Thawed"""

    instance: InstanceId


class Stop(_Decision, frozen=True):
    """End it, pre-stop hook and grace included. → Ended"""

    instance: InstanceId
    version: VersionKey
    why: str
    served: bool  # it was ready once, so its pre-stop hook is due
    doubtful: bool = False  # it may have ended by itself just now


class Grant(_Decision, frozen=True):
    """Lease slots of an instance to a gateway; of one that starts, it uses them once its port accepts."""

    gateway: str
    instance: InstanceId
    version: VersionKey
    slots: int


class Opened(_Decision, frozen=True):
    """Tell a gateway how an instance came to be ready that was granted before it was."""

    gateway: str
    instance: InstanceId


class Revoke(_Decision, frozen=True):
    """Ask a gateway to drain an instance and give it back. → GivenBack"""

    gateway: str
    instance: InstanceId
    for_good: bool = False  # it will end then


class Forget(_Decision, frozen=True):
    """Tell a gateway that an instance it leases is no more."""

    gateway: str
    instance: InstanceId
    failure: Failure | None


class Refuse(_Decision, frozen=True):
    """Answer those who wait for a version now: nothing will come."""

    gateway: str
    version: VersionKey
    failure: Failure | None = None
    no_capacity: str = ""
    retry_after: float = 1.0  # seconds


class Tell(_Decision, frozen=True):
    """Say to a gateway where sessions are."""

    gateway: str
    sessions: tuple[Session, ...]


Decision = Create | Start | Freeze | Thaw | Stop | Grant | Opened | Revoke | Forget | Refuse | Tell

"""What gateway and control tell each other.

The gateway keeps every promise locally: it holds *leases* and answers warm requests without asking. Control
decides what runs. Both directions are idempotent statements about the present, so a lost connection is healed
by saying everything once more (`Hello`, `Routes`).

    gateway → control   Hello · Want · GiveBack · Lost · Seen · TailWanted · Observed · Sessions
    control → gateway   Routes · RouteChanged · DomainChanged · Grant · Opened · Look · Revoke · Gone · Refuse
                        Tail · Sessions · Health
"""

import msgspec

from sampan.model.access import AccessKey
from sampan.model.affinity import Affinity, Session
from sampan.model.domain import Domain
from sampan.model.errors import Failure
from sampan.model.health import Part
from sampan.model.instance import Stage
from sampan.model.names import InstanceId, VersionKey
from sampan.model.trigger import HttpTrigger


class _Message(msgspec.Struct, frozen=True, tag=True):
    pass


# ── gateway → control ─────────────────────────────────────────────────────────────────────────────────


class Hello(_Message, frozen=True):
    """First message of a connection: who I am and which leases I still hold from before."""

    gateway: str
    pid: int
    leases: tuple["Grant", ...] = ()


class Want(_Message, frozen=True):
    """`waiting` requests of this version have no slot right now (an absolute count; 0 takes a want back)."""

    version: VersionKey
    waiting: int
    oldest: int  # Unix nanoseconds at which the oldest of them began to wait
    seen: int = 0  # slots granted on this connection, so that no grant in flight is counted twice
    bound: tuple[InstanceId, ...] = ()  # sessions wait for a slot in these, of which I hold no lease


class GiveBack(_Message, frozen=True):
    """I use this instance no more: it was idle for the freeze delay, or was revoked and is drained."""

    instance: InstanceId
    last_used: int  # Unix nanoseconds


class Lost(_Message, frozen=True):
    """The instance did not accept or broke its connection; I dropped its lease. Please look."""

    instance: InstanceId
    why: str
    replace: bool = False  # the instance must not serve again (a timed-out request may still be running in it)


class Seen(_Message, frozen=True):
    """Answer to `Look`. open: its port had accepted, so requests may have been in it."""

    instance: InstanceId
    open: bool


class TailWanted(_Message, frozen=True):
    """Log of an instance, for `x-fc-log-type: Tail`. `since` None: tell me only where the log ends now."""

    token: int
    instance: InstanceId
    since: tuple[int, int] | None  # positions in stdout and stderr


class Load(msgspec.Struct, frozen=True, array_like=True):
    """Invocations of one version that ended, and the time they had a slot in all."""

    version: VersionKey
    count: int
    busy: float  # seconds


class Observed(_Message, frozen=True):
    """The load since this was last said. The invocations themselves are told to the collector (`link/reports`)."""

    loads: tuple[Load, ...]


class Sessions(_Message, frozen=True):
    """Sessions are bound to instances. Said by a gateway: I bound or used them; who said so first is right.

    Said by control: so it is. It answers what is new to it, or wrong, to who said it, and tells all others.
    """

    sessions: tuple[Session, ...]


Up = Hello | Want | GiveBack | Lost | Seen | TailWanted | Observed | Sessions


# ── control → gateway ─────────────────────────────────────────────────────────────────────────────────


class ServedVersion(msgspec.Struct, frozen=True):
    """What a gateway must know to serve one version."""

    key: VersionKey
    function: str
    version: str  # "LATEST" or a published id
    concurrency: int  # slots per instance
    timeout: float  # seconds
    memory_mb: int
    handler: str
    freeze_delay: float  # seconds idle before a lease is given back
    queue_wait: float  # seconds a request may wait for a slot, starts included
    affinity: Affinity | None = None  # sessions keep to their instances
    sampling: float | None = None  # share of new traces that is kept; None: as the settings say
    cpu: float = 0.35  # vCPU
    disk_mb: int = 512


class FunctionRoute(msgspec.Struct, frozen=True):
    """Everything a gateway serves under one function's name."""

    function: str
    state: str  # "Active" | "Pending" | "Failed"
    reason: str  # for people, when not Active
    disabled: str | None  # the reason given when invocation was disabled, "" for none given; None: enabled
    reserved_concurrency: int | None
    versions: tuple[ServedVersion, ...]
    qualifiers: dict[str, tuple[tuple[float, VersionKey], ...]]  # "LATEST", ids and aliases → (weight, version)
    triggers: tuple[HttpTrigger, ...]
    rate: float | None = None  # requests per second; None: as the settings say


class Routes(_Message, frozen=True):
    """All there is to serve. Replaces whatever the gateway knew."""

    account: str
    region: str
    functions: tuple[FunctionRoute, ...]
    keys: tuple[AccessKey, ...]
    domains: tuple[Domain, ...] = ()


class RouteChanged(_Message, frozen=True):
    """One function's route is new (`route`) or gone (`None`)."""

    function: str
    route: FunctionRoute | None


class DomainChanged(_Message, frozen=True):
    """One custom domain is new (`domain`) or gone (`None`)."""

    name: str
    domain: Domain | None


class Grant(_Message, frozen=True):
    """A lease: these slots of this instance are yours until you give it back or it is revoked."""

    instance: InstanceId
    version: VersionKey
    host: str
    port: int
    slots: int
    cold: bool = False  # started for a waiting request
    startup: tuple[Stage, ...] = ()
    log_path: str = ""  # append framing lines here; empty: this engine frames no logs
    opening: bool = False  # it starts just now: use it once its port accepts; `Opened` or `Gone` follows


class Opened(_Message, frozen=True):
    """An instance that was granted while it started is ready: how it came to be."""

    instance: InstanceId
    startup: tuple[Stage, ...]


class Look(_Message, frozen=True):
    """An instance that was granted while it started ended before anybody here saw it ready: did you?"""

    instance: InstanceId


class Revoke(_Message, frozen=True):
    """Take nothing new to this instance; give it back when it is idle."""

    instance: InstanceId
    for_good: bool = False  # it is to end: nobody should wait to come back to it


class Gone(_Message, frozen=True):
    """The instance has ended; requests in it have failed."""

    instance: InstanceId
    failure: Failure | None = None


class Refuse(_Message, frozen=True):
    """Whoever waits for this version is to be answered now: nothing will come."""

    version: VersionKey
    failure: Failure | None = None  # a start failed
    throttled: str = ""  # the caller's own limit was reached: its name
    no_capacity: str = ""  # the platform is full: of what
    retry_after: float = 1.0  # seconds


class Tail(_Message, frozen=True):
    """Answer to `TailWanted`."""

    token: int
    position: tuple[int, int]  # where stdout and stderr end now
    text: str = ""  # from `since` to there, the last 4 KiB


class Health(_Message, frozen=True):
    """How the platform's parts are; said every few seconds, so that silence tells something, too."""

    parts: tuple[Part, ...]


Down = (
    Routes
    | RouteChanged
    | DomainChanged
    | Grant
    | Opened
    | Look
    | Revoke
    | Gone
    | Refuse
    | Tail
    | Sessions
    | Health
)

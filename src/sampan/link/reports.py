"""What the collector is told by gateways and by control.

    gateway → collector            Hello · Records · Started · Gauges
    control → collector            Hello · Told · Ran
    collector → gateway, control   Kept

Nothing counted is lost: a gateway keeps what it has reported until the collector says `Kept`, and reports it once
more after a broken connection. A life's records are numbered from 1 in the order they were made, so whatever
batches they come in the collector knows which it has; a gap in the numbers is what the gateway had no room to keep.
"""

from typing import cast

import msgspec

from sampan.link.messages import ServedVersion
from sampan.model.access import AccessKey
from sampan.model.instance import Stage
from sampan.model.invocation import InvocationRecord, VersionFacts
from sampan.model.names import InstanceId, VersionKey

THERE = "x-sampan-there"
"""Header of a question that control passes on about a function: it exists, whatever `Told` has told so far."""


class _Message(msgspec.Struct, frozen=True, tag=True):
    pass


class Hello(_Message, frozen=True):
    """First message of a connection. life: of the process, unlike any other's.

    A process that was killed left its records in its journal; who finds them reports them as that life.
    """

    name: str
    life: str


class Records(_Message, frozen=True):
    """Invocations that ended since the last batch, and what those of their versions were that are known."""

    seq: int  # number of the first record, from 1; the others follow without a gap
    entries: tuple[InvocationRecord | bytes, ...]  # records; of a journal, each with its head before it
    versions: dict[VersionKey, VersionFacts]

    @property
    def records(self) -> tuple[InvocationRecord, ...]:
        told = self.entries
        return cast(tuple[InvocationRecord, ...], told[1::2] if told and isinstance(told[0], bytes) else told)


class EncodedRecords(msgspec.Struct, frozen=True, tag="Records"):
    """The same, of records that were encoded before."""

    seq: int
    entries: msgspec.Raw
    versions: dict[VersionKey, VersionFacts]


def lying(count: int, entries: bytes) -> msgspec.Raw:
    """Entries of a journal as an array of MessagePack: heads and records, one after the other."""
    return msgspec.Raw(b"\xdd" + (2 * count).to_bytes(4, "big") + entries)


class Gauge(msgspec.Struct, frozen=True, array_like=True):
    """One function at one gateway, now."""

    function: str
    active: int  # requests in instances
    waiting: int  # requests without a slot


class Gauges(_Message, frozen=True):
    """Of functions that have any; those not told have none."""

    gauges: tuple[Gauge, ...]
    connections: int = 0  # of clients


class Started(_Message, frozen=True):
    """How an instance came to be ready, where its first requests had been granted before: of their records it
    is missing."""

    instance: InstanceId
    startup: tuple[Stage, ...]


class Ran(_Message, frozen=True):
    """A hook that control called in an instance. Told again on a new connection, until `Kept` names its number."""

    seq: int  # of this process's hooks, from 1
    instance: InstanceId
    version: VersionKey
    begin: int  # Unix nanoseconds
    end: int


class FunctionTelemetry(msgspec.Struct, frozen=True):
    """How a function's telemetry is to be treated."""

    function: str
    tracing_type: str = ""  # of its tracingConfig; "": none
    tracing_params: dict[str, str] = {}
    versions: tuple[tuple[VersionKey, VersionFacts], ...] = ()
    provisioned: tuple[tuple[VersionKey, int], ...] = ()  # instances kept whether or not anybody asks


class Told(_Message, frozen=True):
    """All functions there are, and who may ask. Replaces what was told before."""

    account: str
    region: str
    functions: tuple[FunctionTelemetry, ...]
    keys: tuple[AccessKey, ...]


Up = Hello | Records | Started | Gauges | Told | Ran


class Kept(_Message, frozen=True):
    """All records, or hooks, of this life up to this number are in the database."""

    seq: int


Down = Kept


def facts_of(version: ServedVersion) -> VersionFacts:
    return VersionFacts(
        version.function,
        version.version,
        version.memory_mb,
        version.cpu,
        version.disk_mb,
        version.concurrency,
        version.timeout,
    )

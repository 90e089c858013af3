"""What can be asked of the traces, and what is told of one."""

import msgspec

from sampan.model.trace import Kind

MOST = 1500  # traces in an answer


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """Which traces. What is not given does not matter; each that is has to hold, of some span of the trace.

    Times and durations are nanoseconds. `start`, `end`: between which it began. `after`: where an earlier answer
    ended (`Found.after`).
    """

    function: str = ""
    service: str = ""
    operation: str = ""  # of `service`, where one is given
    start: int = 0
    end: int = 0
    min_duration: int = 0
    max_duration: int = 0
    errors: bool | None = None
    cold: bool | None = None
    request: str = ""
    attributes: dict[str, str] = {}
    limit: int = 20
    after: str = ""


class ServiceCount(msgspec.Struct, frozen=True):
    """One service's part in a trace."""

    name: str
    spans: int
    errors: int


class TraceSummary(msgspec.Struct, frozen=True):
    """One trace in a list. Nanoseconds."""

    trace: str
    name: str  # of the span that stands for it
    service: str
    function: str
    request: str
    start: int
    duration: int
    spans: int
    errors: int
    cold: bool
    services: tuple[ServiceCount, ...]
    packed: int  # bytes of its spans before compression: what reading it costs


class Found(msgspec.Struct, frozen=True):
    """A page of traces, newest first; `after` asks for the next and is "" on the last."""

    traces: tuple[TraceSummary, ...]
    after: str


class Operation(msgspec.Struct, frozen=True):
    name: str
    kind: Kind


class Dependency(msgspec.Struct, frozen=True):
    """How often one service called another."""

    parent: str
    child: str
    calls: int

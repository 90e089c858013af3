"""What is written down about one invocation when it is over."""

from enum import Enum

import msgspec

from sampan.model.instance import Stage
from sampan.model.names import RequestId, VersionKey, trace_ids


class Outcome(Enum):
    """How an invocation ended. Caller, function and platform are kept apart."""

    OK = "ok"
    FUNCTION_ERROR = "function_error"
    TIMED_OUT = "timed_out"
    START_FAILED = "start_failed"
    THROTTLED = "throttled"
    REFUSED = "refused"  # the caller's mistake: not allowed, not enabled, too large
    CLIENT_GONE = "client_gone"
    PLATFORM_ERROR = "platform_error"


class Traced(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Where an invocation stands in its trace. Ids are hex, padded (model/trace.py)."""

    trace: str
    root: str  # the platform's span of the whole stay
    invocation: str  # its span of the time in the function: the parent of what the function reports
    parent: str = ""  # the caller's span
    sampled: bool = True
    state: str = ""  # tracestate as it came
    debug_id: str = ""  # of a trace that was asked for by hand: the word it is looked for by


class InvocationRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One record per attempt. Times are Unix nanoseconds."""

    request: str
    version: VersionKey
    instance: str  # "" when none was had
    outcome: Outcome
    status: int  # sent to the caller, 0 when the caller was gone
    received: int
    leased: int  # 0 when no slot was had
    ended: int
    cold: bool
    bytes_in: int
    bytes_out: int
    qualifier: str = ""
    method: str = ""  # of an HTTP call; "": InvokeFunction
    path: str = ""  # of an HTTP call, without its query
    client: str = ""  # address
    first_byte: int = 0  # of the function's answer; 0: none came
    error: str = ""  # the code that was answered; "": none
    standing: Traced | bool | None = None  # in a trace; one that begins here is told by whether it is sampled alone
    startup: tuple[Stage, ...] = ()  # of the instance, where it was started for this request
    secure: bool = False  # the caller's connection was TLS
    reason: str = ""  # what went wrong, for people; "": nothing did, or the function has said it itself

    @property
    def traced(self) -> Traced | None:
        standing = self.standing
        if isinstance(standing, bool):
            return Traced(*trace_ids(RequestId(self.request)), sampled=standing)
        return standing

    @property
    def sampled(self) -> bool:
        standing = self.standing
        return standing.sampled if isinstance(standing, Traced) else bool(standing)


_HARMLESS = frozenset((Outcome.REFUSED, Outcome.CLIENT_GONE))


def is_error(record: InvocationRecord) -> bool:
    """Function or platform failed; a caller's mistake is none.

    Of answers that functions chose themselves those of 500 and above are errors, as OpenTelemetry has it for HTTP.
    Source: tracing-contract.md §6.2.
    """
    if record.outcome is Outcome.OK:
        return record.status >= 500
    return record.outcome not in _HARMLESS


class VersionFacts(msgspec.Struct, frozen=True):
    """What an invocation's version was: what it is billed and shown by."""

    function: str
    version: str  # "LATEST" or a published id
    memory_mb: int
    cpu: float  # vCPU
    disk_mb: int
    concurrency: int  # slots per instance
    timeout: float  # seconds

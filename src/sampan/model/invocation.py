"""What is written down about one invocation when it is over."""

from enum import Enum

import msgspec

from sampan.model.names import VersionKey


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


class InvocationRecord(msgspec.Struct, frozen=True, array_like=True):
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

"""Session affinity: requests of one session go to one instance. Source: function-compute-api.md §7.1, §7.12."""

import re
from enum import Enum

import msgspec

from sampan.model.names import InstanceId, VersionKey

COOKIE = "x-fc-cookie-session-id"
COOKIE_MAX_AGE = 21600  # seconds
SESSION_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}\Z")


class AffinityKind(Enum):
    """By what a session is known; the values are FC's."""

    COOKIE = "GENERATED_COOKIE"
    HEADER = "HEADER_FIELD"


class Affinity(msgspec.Struct, frozen=True):
    """What a version asks for. Times in seconds."""

    kind: AffinityKind
    ttl: float  # from the session's beginning
    idle: float  # since its last request; 0: as long as `ttl`
    per_instance: int  # sessions that one instance takes
    header: str = ""  # lower case; by it a HEADER session is known
    reuse: bool = True  # whether the id of a session that is over may begin a new one


class Session(msgspec.Struct, frozen=True):
    """Which instance a session of a version is bound to. Times are Unix nanoseconds."""

    version: VersionKey
    id: str
    instance: InstanceId
    begun: int
    until: int  # it is over, unless used again before

"""The life of an instance, and the stamps of its start."""

from enum import Enum

import msgspec


class InstanceState(Enum):
    """Where an instance is. design: prepared → created → started → ready ⇄ frozen → draining → gone."""

    CREATING = "creating"
    CREATED = "created"  # the runtime made it, its program waits to be released
    STARTING = "starting"
    READY = "ready"
    FROZEN = "frozen"
    DRAINING = "draining"
    GONE = "gone"


FAILED = "failed"
"""The last stage of a start that came to nothing: what was tried last, until it failed."""


class Stage(msgspec.Struct, frozen=True):
    """One stretch of a start. Times are Unix nanoseconds of the machine it happened on."""

    name: str  # "queue" | "pull" | "prepare" | "create" | "start" | "ready" | "initialize" | "thaw" | FAILED
    begin: int
    end: int


class InstanceView(msgspec.Struct, frozen=True):
    """What people are shown of an instance."""

    id: str
    function: str
    version: str
    revision: int
    state: InstanceState
    address: str
    slots: int
    leased_by: str
    created: int  # Unix milliseconds
    last_used: int  # Unix milliseconds, 0 when never
    startup: tuple[Stage, ...] = ()

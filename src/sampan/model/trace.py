"""Traces as the house holds them: spans with their times, attributes, events and links.

Source: OpenTelemetry trace data model; tracing-contract.md §5.5. Ids are lower-case hex, padded: 32 digits of a
trace, 16 of a span. Times are Unix nanoseconds.
"""

from enum import IntEnum

import msgspec

Scalar = str | bool | int | float
AttributeValue = Scalar | list[Scalar] | bytes
Attributes = dict[str, AttributeValue]


class Kind(IntEnum):
    """What a span stands for, with OTLP's numbers."""

    UNSPECIFIED = 0
    INTERNAL = 1
    SERVER = 2
    CLIENT = 3
    PRODUCER = 4
    CONSUMER = 5


class Status(IntEnum):
    """With OTLP's numbers."""

    UNSET = 0
    OK = 1
    ERROR = 2


class SpanEvent(msgspec.Struct, frozen=True):
    name: str
    time: int
    attributes: Attributes = {}


class SpanLink(msgspec.Struct, frozen=True):
    trace: str
    span: str
    attributes: Attributes = {}


class Span(msgspec.Struct, frozen=True):
    """One stretch of work. `function`, `version` and `instance` say whose it is, by who sent it; "": nobody's."""

    trace: str
    span: str
    parent: str  # "": a root
    name: str
    kind: Kind
    start: int
    end: int
    service: str
    function: str = ""
    version: str = ""  # "LATEST" or a published id
    instance: str = ""
    platform: bool = False  # made by the platform, not by a function
    status: Status = Status.UNSET
    message: str = ""  # of the status
    attributes: Attributes = {}
    resource: Attributes = {}
    events: tuple[SpanEvent, ...] = ()
    links: tuple[SpanLink, ...] = ()
    state: str = ""  # W3C tracestate
    scope: str = ""  # the instrumentation that made it

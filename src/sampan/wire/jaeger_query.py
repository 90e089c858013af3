"""Jaeger's query API as its UI, Grafana and scripts read it: shapes of answers, words of questions. Pure.

Source: tracing-contract.md §5.4; Jaeger 1.x `cmd/query/app`, `model/json`. Times are microseconds. What
OpenTelemetry has and Jaeger has not becomes tags (`span.kind`, `error`, `otel.status_code`, `otel.scope.name`,
`w3c.tracestate`), as the OpenTelemetry specification says for Jaeger.
"""

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from sampan.model.errors import InvalidArgument
from sampan.model.trace import Attributes, AttributeValue, Kind, Span, Status

DEFAULT_LIMIT = 100
LOOKBACK = 2 * 86400 * 10**9  # nanoseconds searched where no start is given
SAFE = (1 << 53) - 1  # the largest whole number that JavaScript holds
KINDS = ("", *(kind.name.lower() for kind in Kind if kind))
_UNITS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_DURATION = re.compile(r"(?:\d{1,15}(?:\.\d{1,15})?(?:ns|us|µs|μs|ms|s|m|h))+\Z")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|μs|ms|s|m|h)")


class KeyValue(msgspec.Struct, frozen=True):
    """type: string, bool, int64, float64 or binary."""

    key: str
    type: str
    value: Any


class Reference(msgspec.Struct, frozen=True):
    ref_type: str = msgspec.field(name="refType")  # CHILD_OF or FOLLOWS_FROM
    trace_id: str = msgspec.field(name="traceID")
    span_id: str = msgspec.field(name="spanID")


class Log(msgspec.Struct, frozen=True):
    timestamp: int
    fields: tuple[KeyValue, ...]


class JaegerSpan(msgspec.Struct, frozen=True):
    trace_id: str = msgspec.field(name="traceID")
    span_id: str = msgspec.field(name="spanID")
    flags: int
    operation_name: str = msgspec.field(name="operationName")
    references: tuple[Reference, ...]
    start_time: int = msgspec.field(name="startTime")
    duration: int
    tags: tuple[KeyValue, ...]
    logs: tuple[Log, ...]
    process_id: str = msgspec.field(name="processID")
    warnings: tuple[str, ...] | None = None


class Process(msgspec.Struct, frozen=True):
    service_name: str = msgspec.field(name="serviceName")
    tags: tuple[KeyValue, ...]


class JaegerTrace(msgspec.Struct, frozen=True):
    trace_id: str = msgspec.field(name="traceID")
    spans: tuple[JaegerSpan, ...]
    processes: dict[str, Process]
    warnings: tuple[str, ...] | None = None


class JaegerOperation(msgspec.Struct, frozen=True):
    name: str
    span_kind: str = msgspec.field(name="spanKind")


class JaegerDependency(msgspec.Struct, frozen=True):
    parent: str
    child: str
    call_count: int = msgspec.field(name="callCount")


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    msg: str
    code: int = 0
    trace_id: str = msgspec.field(name="traceID", default="")


class Envelope(msgspec.Struct, frozen=True):
    """Around every answer."""

    data: Any
    total: int = 0
    limit: int = 0
    offset: int = 0
    errors: tuple[Problem, ...] | None = None


def encode(answer: Envelope) -> bytes:
    return msgspec.json.encode(answer)


def trace(spans: Sequence[Span]) -> JaegerTrace:
    """A trace; processes are numbered p1, p2, … in the order of `spans`, of which there is at least one."""
    processes: dict[bytes, tuple[str, Process]] = {}
    known = {span.span for span in spans}
    made = []
    for span in spans:
        process = Process(span.service, _tags(_resource(span)))
        name, _ = processes.setdefault(msgspec.json.encode(process), (f"p{len(processes) + 1}", process))
        made.append(_span(span, name, known))
    return JaegerTrace(spans[0].trace, tuple(made), dict(processes.values()))


def _span(span: Span, process: str, known: set[str]) -> JaegerSpan:
    parent = (Reference("CHILD_OF", span.trace, span.parent),) if span.parent else ()
    follows = tuple(Reference("FOLLOWS_FROM", link.trace, link.span) for link in span.links)
    logs = (
        Log(event.time // 1000, (KeyValue("event", "string", event.name), *_tags(event.attributes)))
        for event in span.events
    )
    warnings = []
    if span.parent and span.parent not in known:
        warnings.append(f"its parent {span.parent} is not here: it was not reported, or belongs to the caller")
    if span.end < span.start:
        warnings.append("it ended before it began: the clock was set back")
    return JaegerSpan(
        span.trace,
        span.span,
        1,
        span.name,
        parent + follows,
        span.start // 1000,
        max(0, span.end - span.start) // 1000,
        _tags(span.attributes) + _own(span),
        tuple(logs),
        process,
        tuple(warnings) or None,
    )


def _own(span: Span) -> tuple[KeyValue, ...]:
    """What Jaeger has no member for."""
    tags: Attributes = {}
    if span.kind:
        tags["span.kind"] = KINDS[span.kind]
    if span.status is not Status.UNSET:
        tags["otel.status_code"] = span.status.name
    if span.status is Status.ERROR:
        tags["error"] = True
    if span.message:
        tags["otel.status_description"] = span.message
    if span.scope:
        tags["otel.scope.name"] = span.scope
    if span.state:
        tags["w3c.tracestate"] = span.state
    return _tags({key: value for key, value in tags.items() if key not in span.attributes})


def _resource(span: Span) -> Attributes:
    """The service's name is a member of its own."""
    return {key: value for key, value in span.resource.items() if key != "service.name"}


def _tags(attributes: Attributes) -> tuple[KeyValue, ...]:
    return tuple(_tag(key, value) for key, value in attributes.items())


def _tag(key: str, value: AttributeValue) -> KeyValue:
    match value:
        case bool():
            return KeyValue(key, "bool", value)
        case int():
            return KeyValue(key, "int64", value if -SAFE <= value <= SAFE else str(value))
        case float():
            finite = value == value and abs(value) != float("inf")  # JSON has no other
            return KeyValue(key, "float64", value if finite else str(value))
        case bytes():
            return KeyValue(key, "binary", base64.b64encode(value).decode())
        case list():
            return KeyValue(key, "string", msgspec.json.encode(value).decode())
    return KeyValue(key, "string", value)


class Asked(msgspec.Struct, frozen=True):
    """`/api/traces` with its parameters. Nanoseconds."""

    service: str
    operation: str
    tags: dict[str, str]
    start: int
    end: int
    min_duration: int
    max_duration: int
    limit: int
    traces: tuple[str, ...]


def asked(parameters: Sequence[tuple[str, str]], now: int, most: int) -> Asked:
    """now: Unix nanoseconds; most: traces in an answer. Raises: InvalidArgument."""
    given = dict(reversed(parameters))  # the first counts
    traces = tuple(value for name, value in parameters if name == "traceID")
    service = given.get("service", "")
    if not service and not traces:
        raise InvalidArgument("service", "", "the name of a service; GET /api/services lists them")
    shortest, longest = duration(given, "minDuration"), duration(given, "maxDuration")
    if shortest and longest and longest < shortest:
        raise InvalidArgument("maxDuration", given["maxDuration"], "more than minDuration")
    return Asked(
        service,
        given.get("operation", ""),
        tags(parameters),
        number(given, "start", (now - LOOKBACK) // 1000) * 1000,
        number(given, "end", now // 1000) * 1000,
        shortest,
        longest,
        max(1, min(most, number(given, "limit", DEFAULT_LIMIT))),
        traces,
    )


def number(given: Mapping[str, str], name: str, default: int) -> int:
    """Raises: InvalidArgument."""
    text = given.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 18):
        raise InvalidArgument(name, text[:40], "a whole number")
    return int(text)


def duration(given: Mapping[str, str], name: str) -> int:
    """Nanoseconds of a time as Go writes it: 1.5s, 100ms, 1m30s; 0: none. Raises: InvalidArgument."""
    text = given.get(name, "")
    if not text or text == "0":
        return 0
    if len(text) > 100 or not _DURATION.match(text):
        raise InvalidArgument(name, text[:40], "a time with its unit: 1.5s, 100ms, 250us")
    return int(sum(float(amount) * _UNITS[unit] for amount, unit in _PART.findall(text)))


def tags(parameters: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Of `tag=key:value`, any number, and of `tags={"key": "value"}`. Raises: InvalidArgument."""
    found: dict[str, str] = {}
    for name, text in parameters:
        if name == "tag":
            key, colon, value = text.partition(":")
            if not colon:
                raise InvalidArgument("tag", text[:80], "key:value")
            found[key] = value
        elif name == "tags" and text:
            try:
                given = msgspec.json.decode(text, type=dict[str, str | bool | int | float])
            except msgspec.MsgspecError as error:
                raise InvalidArgument("tags", text[:80], 'a JSON object, {"key": "value"}') from error
            found |= {key: _text(value) for key, value in given.items()}
    return found


def _text(value: str | bool | float) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def kind(text: str) -> Kind | None:
    """The kind that `spanKind` asks for; None: any. Raises: InvalidArgument."""
    if not text:
        return None
    if text.lower() not in KINDS:
        raise InvalidArgument("spanKind", text[:40], ", ".join(KINDS[1:]))
    return Kind(KINDS.index(text.lower()))

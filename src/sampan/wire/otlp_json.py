"""OTLP's JSON: its messages as msgspec's structs, and how it writes ids, numbers and values.

Ids are hex digits, not base64 as in protobuf's own JSON; int64 are strings or numbers; enums numbers, of old names.
Source: OTLP specification, "JSON Protobuf Encoding"; tracing-contract.md §5.5.
"""

import base64
import binascii
import re
from typing import Any, TypeVar

import msgspec

from sampan.model.errors import Malformed
from sampan.wire.otlp_values import DEEP, MOST, listed, text

MAX_OBJECTS = 400_000  # of a body, as its braces and brackets tell
_SMALL = 64 << 10  # bytes; a smaller body is not counted

_ID = re.compile(r"[0-9a-f]*\Z")
_NUMBER = re.compile(r"-?[0-9]{1,20}\Z")
_ENUMS = {
    "SPAN_KIND_UNSPECIFIED": 0,
    "SPAN_KIND_INTERNAL": 1,
    "SPAN_KIND_SERVER": 2,
    "SPAN_KIND_CLIENT": 3,
    "SPAN_KIND_PRODUCER": 4,
    "SPAN_KIND_CONSUMER": 5,
    "STATUS_CODE_UNSET": 0,
    "STATUS_CODE_OK": 1,
    "STATUS_CODE_ERROR": 2,
    **{
        f"SEVERITY_NUMBER_{name}{step if step > 1 else ''}": 4 * place + step
        for place, name in enumerate(("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"))
        for step in range(1, 5)
    },
}
_T = TypeVar("_T")

Number = int | float | str


class _Message(msgspec.Struct, rename="camel"):
    pass


class AnyValue(_Message):
    """At most one is given; more: the first."""

    string_value: str | None = None
    bool_value: bool | None = None
    int_value: Number | None = None
    double_value: Number | None = None
    array_value: "ArrayValue | None" = None
    kvlist_value: "KeyValueList | None" = None
    bytes_value: str | None = None


class ArrayValue(_Message):
    values: list[AnyValue] = []


class KeyValue(_Message):
    key: str = ""
    value: AnyValue | None = None


class KeyValueList(_Message):
    values: list[KeyValue] = []


class Resource(_Message):
    attributes: list[KeyValue] = []
    dropped_attributes_count: Number = 0


class Scope(_Message):
    name: str = ""


class Event(_Message):
    time_unix_nano: Number = 0
    name: str = ""
    attributes: list[KeyValue] = []
    dropped_attributes_count: Number = 0


class Link(_Message):
    trace_id: str = ""
    span_id: str = ""
    attributes: list[KeyValue] = []
    dropped_attributes_count: Number = 0


class Status(_Message):
    message: str = ""
    code: Number = 0


class JsonSpan(_Message):
    trace_id: str = ""
    span_id: str = ""
    trace_state: str = ""
    parent_span_id: str = ""
    name: str = ""
    kind: Number = 0
    start_time_unix_nano: Number = 0
    end_time_unix_nano: Number = 0
    attributes: list[KeyValue] = []
    dropped_attributes_count: Number = 0
    events: list[Event] = []
    dropped_events_count: Number = 0
    links: list[Link] = []
    dropped_links_count: Number = 0
    status: Status | None = None


class ScopeSpans(_Message):
    scope: Scope | None = None
    spans: list[JsonSpan] = []


class ResourceSpans(_Message):
    resource: Resource | None = None
    scope_spans: list[ScopeSpans] = []


class Traces(_Message):
    """ExportTraceServiceRequest."""

    resource_spans: list[ResourceSpans] = []


class LogLine(_Message):
    time_unix_nano: Number = 0
    observed_time_unix_nano: Number = 0
    severity_number: Number = 0
    severity_text: str = ""
    body: AnyValue | None = None
    attributes: list[KeyValue] = []
    dropped_attributes_count: Number = 0
    trace_id: str = ""
    span_id: str = ""


class ScopeLogs(_Message):
    scope: Scope | None = None
    log_records: list[LogLine] = []


class ResourceLogs(_Message):
    resource: Resource | None = None
    scope_logs: list[ScopeLogs] = []


class Logs(_Message):
    """ExportLogsServiceRequest."""

    resource_logs: list[ResourceLogs] = []


class Points(_Message):
    data_points: list[msgspec.Raw] = []


class Metric(_Message):
    gauge: Points | None = None
    sum: Points | None = None
    histogram: Points | None = None
    exponential_histogram: Points | None = None
    summary: Points | None = None


class ScopeMetrics(_Message):
    metrics: list[Metric] = []


class ResourceMetrics(_Message):
    scope_metrics: list[ScopeMetrics] = []


class Metrics(_Message):
    """ExportMetricsServiceRequest, as far as its data points can be counted."""

    resource_metrics: list[ResourceMetrics] = []


def read(body: bytes, kind: type[_T]) -> _T:
    """Raises: Malformed."""
    if len(body) > _SMALL and body.count(b"{") + body.count(b"[") > MAX_OBJECTS:
        raise Malformed("json", "there are too many objects in it; send smaller batches")
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Malformed("json", str(error)) from None
    except RecursionError:
        raise Malformed("json", "values are nested too deep") from None


def id(given: str, size: int) -> str:
    """ "": it is none of this size. size: bytes."""
    digits = given.lower()
    return digits if len(digits) == 2 * size and _ID.match(digits) else ""


def number(given: Number) -> int:
    """0: it is none."""
    if isinstance(given, int):
        return given
    if isinstance(given, str):
        return int(given) if _NUMBER.match(given) else 0
    return int(given)


def enum(given: Number, prefix: str) -> int:
    """prefix: of the enum's names."""
    if isinstance(given, str) and given.startswith(prefix):
        return _ENUMS.get(given, 0)
    return number(given)


def value(given: AnyValue | None, depth: int = DEEP) -> Any:
    """As `otlp_values.value`."""
    if given is None:
        return None
    if given.string_value is not None:
        return given.string_value
    if given.bool_value is not None:
        return given.bool_value
    if given.int_value is not None:
        return number(given.int_value)
    if given.double_value is not None:
        return _double(given.double_value)
    if given.array_value is not None:
        return listed([value(one, depth - 1) for one in given.array_value.values[:MOST]] if depth else [])
    if given.kvlist_value is not None:
        members = (
            {one.key: value(one.value, depth - 1) for one in given.kvlist_value.values[:MOST]} if depth else {}
        )
        return text(members)
    return None if given.bytes_value is None else _bytes(given.bytes_value)


def _double(given: Number) -> float | str:
    try:
        return float(given)
    except (ValueError, OverflowError):
        return str(given)


def _bytes(given: str) -> bytes | str:
    try:
        return base64.b64decode(given, validate=True)
    except (binascii.Error, ValueError):
        return given

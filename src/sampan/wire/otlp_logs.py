"""OTLP's logs and metrics: records taken in and given out, data points counted. Source: as in `otlp`."""

from collections.abc import Sequence
from typing import Any

import msgspec
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from sampan.model.errors import Malformed
from sampan.model.trace import Attributes
from sampan.wire import otlp_json, otlp_values
from sampan.wire import span_limits as limits
from sampan.wire.otlp import JSON, Form, form_of, pairs, parse, resource_of, service_of
from sampan.wire.protobuf import LEAF, Nested

MAX_RECORDS = 20_000  # of a request
BODY = 64 << 10  # characters of a record's body

_KEYED = Nested({3: LEAF})
_LOGS = Nested({1: Nested({1: Nested({1: LEAF}), 2: Nested({1: _KEYED, 2: Nested({6: LEAF})})})})
_POINTS = Nested({1: LEAF})
_METRIC = Nested({5: _POINTS, 7: _POINTS, 9: _POINTS, 10: _POINTS, 11: _POINTS})
_METRICS = Nested({1: Nested({2: Nested({2: _METRIC})})})
_KINDS = ("gauge", "sum", "histogram", "exponential_histogram", "summary")


class LogRecord(msgspec.Struct, frozen=True):
    """One line of a log. `function`, `version` and `instance` say whose it is, by who sent it; "": nobody's."""

    time: int  # Unix ns
    text: str
    severity: int = 0  # 1–24: TRACE, DEBUG, INFO, WARN, ERROR, FATAL by fours; 0: not told
    level: str = ""  # as the program calls it
    service: str = ""
    function: str = ""
    version: str = ""
    instance: str = ""
    trace: str = ""  # hex, padded; "": none
    span: str = ""
    attributes: Attributes = {}
    resource: Attributes = {}
    scope: str = ""


def decode_logs(body: bytes, content_type: str) -> list[LogRecord]:
    """The records of an ExportLogsServiceRequest. Raises: Malformed."""
    form = form_of(content_type)
    request: Any = (
        otlp_json.read(body, otlp_json.Logs)
        if is_json(content_type)
        else parse(body, ExportLogsServiceRequest, _LOGS)
    )
    records: list[LogRecord] = []
    for group in request.resource_logs:
        resource = resource_of(group.resource, form)
        service = service_of(resource)
        for scoped in group.scope_logs:
            scope = (scoped.scope.name if scoped.scope is not None else "")[: limits.NAME]
            if len(records) + len(scoped.log_records) > MAX_RECORDS:
                raise Malformed("otlp", f"the request has more than {MAX_RECORDS} records; send smaller batches")
            records += [_record(one, service, resource, scope, form) for one in scoped.log_records]
    return records


def is_json(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() == JSON


def _record(given: Any, service: str, resource: Attributes, scope: str, form: Form) -> LogRecord:
    body = form.value(given.body)
    trace, span = form.id(given.trace_id, 16), form.id(given.span_id, 8)
    return LogRecord(
        limits.time(form.number(given.time_unix_nano) or form.number(given.observed_time_unix_nano)),
        ("" if body is None else body if isinstance(body, str) else otlp_values.text(body))[:BODY],
        min(max(form.enum(given.severity_number, "SEVERITY_NUMBER_"), 0), 24),
        given.severity_text[: limits.NAME],
        service,
        trace=trace if limits.real(trace) else "",
        span=span if limits.real(span) else "",
        attributes=limits.attributes(pairs(given.attributes, form), form.number(given.dropped_attributes_count)),
        resource=resource,
        scope=scope,
    )


def encode_logs(records: Sequence[LogRecord]) -> ExportLogsServiceRequest:
    """Grouped by resource and scope, as `otlp.encode_traces` does."""
    request = ExportLogsServiceRequest()
    scopes = otlp_values.Scopes(request.resource_logs, "scope_logs")
    for record in records:
        told = otlp_values.identity(
            record.resource, record.service, record.function, record.version, record.instance
        )
        _put_record(scopes.of(told, record.scope).log_records.add(), record)
    return request


def _put_record(message: Any, record: LogRecord) -> None:
    message.time_unix_nano = message.observed_time_unix_nano = record.time
    message.severity_number, message.severity_text = record.severity, record.level
    message.body.string_value = record.text
    message.trace_id, message.span_id = bytes.fromhex(record.trace), bytes.fromhex(record.span)
    otlp_values.put(message.attributes, record.attributes)


def count_points(body: bytes, content_type: str) -> int:
    """Data points in an ExportMetricsServiceRequest. Raises: Malformed."""
    form_of(content_type)
    request: Any = (
        otlp_json.read(body, otlp_json.Metrics)
        if is_json(content_type)
        else parse(body, ExportMetricsServiceRequest, _METRICS)
    )
    return sum(
        len(points.data_points)
        for group in request.resource_metrics
        for scoped in group.scope_metrics
        for metric in scoped.metrics
        for kind in _KINDS
        if (points := getattr(metric, kind)) is not None
    )

"""OTLP: spans taken in, as protobuf and as JSON, and given out. Source: tracing-contract.md §5.5; OTLP 1.10.

Both encodings have the same fields under the same names; how each writes ids, numbers and values is its `Form`.
"""

from base64 import b64decode
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError, Message
from msgspec import json
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from sampan.model.errors import Malformed
from sampan.model.trace import Attributes, Kind, Span, SpanEvent, SpanLink, Status
from sampan.wire import otlp_json, otlp_values
from sampan.wire import span_limits as limits
from sampan.wire.protobuf import LEAF, Nested, count_messages
from sampan.wire.span_limits import Decoded, parent_of, real

PROTOBUF, JSON = "application/x-protobuf", "application/json"
MAX_MESSAGES = 400_000  # spans, attributes, events … of a request

_IDS = ("traceId", "spanId", "parentSpanId")
_M = TypeVar("_M", bound=Message)
_KINDS = {kind.value: kind for kind in Kind}
_STATUSES = {status.value: status for status in Status}
_KEYED = Nested({3: LEAF})
_RESOURCE = Nested({1: LEAF})
_SPAN = Nested({9: LEAF, 11: _KEYED, 13: Nested({4: LEAF})})
_REQUEST = Nested({1: Nested({1: _RESOURCE, 2: Nested({1: _KEYED, 2: _SPAN})})})


@dataclass(frozen=True, slots=True)
class Form:
    """How an encoding has what differs. id: → hex digits; enum: names → numbers; value: of an AnyValue."""

    id: Callable[[Any, int], str]
    number: Callable[[Any], int]
    enum: Callable[[Any, str], int]
    value: Callable[[Any], object]


_PROTOBUF = Form(
    lambda raw, size: raw.hex() if len(raw) == size else "",
    lambda number: number,
    lambda number, _: number,
    otlp_values.value,
)
_JSON = Form(otlp_json.id, otlp_json.number, otlp_json.enum, otlp_json.value)


def form_of(content_type: str) -> Form:
    """By a content type. Raises: Malformed."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == PROTOBUF:
        return _PROTOBUF
    if kind == JSON:
        return _JSON
    raise Malformed("otlp", f"content type {content_type[:100]!r} is not taken; send {PROTOBUF} or {JSON}")


def decode_traces(body: bytes, content_type: str) -> Decoded:
    """The spans of an ExportTraceServiceRequest. Raises: Malformed."""
    form = form_of(content_type)
    if form is _JSON:
        request: Any = otlp_json.read(body, otlp_json.Traces)
    else:
        request = parse(body, ExportTraceServiceRequest, _REQUEST)
    given = sum(len(scoped.spans) for group in request.resource_spans for scoped in group.scope_spans)
    if given > limits.MAX_SPANS:
        raise Malformed("otlp", f"the request has more than {limits.MAX_SPANS} spans; send smaller batches")
    spans: list[Span] = []
    for group in request.resource_spans:
        resource = resource_of(group.resource, form)
        service = service_of(resource)
        for scoped in group.scope_spans:
            scope = (scoped.scope.name if scoped.scope is not None else "")[: limits.NAME]
            for one in scoped.spans:
                span = _span(one, service, resource, scope, form)
                if span is not None:
                    spans.append(span)
    return Decoded(spans, given - len(spans))


def parse(body: bytes, kind: type[_M], shape: Nested) -> _M:
    """A protobuf message of a stranger's. Raises: Malformed."""
    count_messages(body, shape, MAX_MESSAGES)
    try:
        return kind.FromString(body)
    except DecodeError as error:
        raise Malformed("otlp", f"the body is no {kind.DESCRIPTOR.name}: {error}") from None


def resource_of(resource: Any, form: Form) -> Attributes:
    """JSON may lack it."""
    if resource is None:
        return {}
    return limits.attributes(pairs(resource.attributes, form), form.number(resource.dropped_attributes_count))


def service_of(resource: Attributes) -> str:
    return str(resource.get("service.name", ""))[: limits.NAME]


def pairs(attributes: Iterable[Any], form: Form) -> Iterable[tuple[str, object]]:
    value = form.value
    return [(one.key, value(one.value)) for one in attributes]


def _span(given: Any, service: str, resource: Attributes, scope: str, form: Form) -> Span | None:
    trace, number = form.id(given.trace_id, 16), form.id(given.span_id, 8)
    if not real(trace) or not real(number):
        return None
    events, count = given.events, form.number
    links = [link for one in given.links[: limits.LINKS] if (link := _link(one, form)) is not None]
    attributes = limits.attributes(pairs(given.attributes, form), count(given.dropped_attributes_count))
    limits.count_dropped(
        attributes,
        max(len(events) - limits.EVENTS, 0) + count(given.dropped_events_count),
        len(given.links) - len(links) + count(given.dropped_links_count),
    )
    start, status = limits.time(count(given.start_time_unix_nano)), given.status
    return Span(
        trace,
        number,
        parent_of(number, form.id(given.parent_span_id, 8)),
        given.name[: limits.NAME],
        _KINDS.get(form.enum(given.kind, "SPAN_KIND_"), Kind.UNSPECIFIED),
        start,
        max(start, limits.time(count(given.end_time_unix_nano))),
        service,
        status=Status.UNSET
        if status is None
        else _STATUSES.get(form.enum(status.code, "STATUS_CODE_"), Status.UNSET),
        message="" if status is None else status.message[: limits.VALUE],
        attributes=attributes,
        resource=resource,
        events=tuple([_event(event, form) for event in events[: limits.EVENTS]]) if events else (),
        links=tuple(links),
        state=given.trace_state[: limits.STATE],
        scope=scope,
    )


def _event(given: Any, form: Form) -> SpanEvent:
    attributes = limits.attributes(pairs(given.attributes, form), form.number(given.dropped_attributes_count))
    return SpanEvent(given.name[: limits.NAME], limits.time(form.number(given.time_unix_nano)), attributes)


def _link(given: Any, form: Form) -> SpanLink | None:
    """None: it leads nowhere."""
    trace, span = form.id(given.trace_id, 16), form.id(given.span_id, 8)
    if not real(trace) or not real(span):
        return None
    attributes = limits.attributes(pairs(given.attributes, form), form.number(given.dropped_attributes_count))
    return SpanLink(trace, span, attributes)


# ── giving out ──


def encode_traces(spans: Sequence[Span]) -> ExportTraceServiceRequest:
    """Grouped by resource and scope. What sent a span is told in its resource, whatever the span says of itself."""
    request = ExportTraceServiceRequest()
    scopes = otlp_values.Scopes(request.resource_spans, "scope_spans")
    for span in spans:
        told = otlp_values.identity(span.resource, span.service, span.function, span.version, span.instance)
        _put_span(scopes.of(told, span.scope).spans.add(), span)
    return request


def _put_span(message: Any, span: Span) -> None:
    message.trace_id = bytes.fromhex(span.trace)
    message.span_id = bytes.fromhex(span.span)
    message.parent_span_id = bytes.fromhex(span.parent)
    message.name, message.kind, message.trace_state = span.name, int(span.kind), span.state
    message.start_time_unix_nano, message.end_time_unix_nano = span.start, span.end
    message.status.code, message.status.message = int(span.status), span.message
    otlp_values.put(message.attributes, span.attributes)
    for event in span.events:
        added = message.events.add(name=event.name, time_unix_nano=event.time)
        otlp_values.put(added.attributes, event.attributes)
    for link in span.links:
        added = message.links.add(trace_id=bytes.fromhex(link.trace), span_id=bytes.fromhex(link.span))
        otlp_values.put(added.attributes, link.attributes)


def traces_json(spans: Sequence[Span]) -> bytes:
    """The same request as OTLP/JSON, whose ids are hex digits where protobuf's own JSON has base64."""
    document = MessageToDict(encode_traces(spans), use_integers_for_enums=True)
    for group in document.get("resourceSpans", ()):
        for scoped in group.get("scopeSpans", ()):
            for span in scoped.get("spans", ()):
                for one in (span, *span.get("links", ())):
                    one.update({name: b64decode(one[name]).hex() for name in _IDS if name in one})
    return json.encode(document)

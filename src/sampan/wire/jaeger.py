"""Jaeger's Thrift: batches of spans read, from agents' datagrams and collectors' requests, and written.

What Jaeger has as tags and OpenTelemetry as fields (kind, status, tracestate, scope) is carried over both ways.
Source: tracing-contract.md §5.4; OpenTelemetry specification, "OpenTelemetry to Jaeger Transformation".
"""

from collections.abc import Sequence
from typing import Any

from sampan.model.errors import Malformed
from sampan.model.trace import Attributes, Kind, Span, SpanEvent, SpanLink, Status
from sampan.wire import span_limits as limits
from sampan.wire.span_limits import Decoded, parent_of, real
from sampan.wire.thrift import Of, Read, Shape, Type, read_call, read_struct

CONTENT_TYPES = ("application/vnd.apache.thrift.binary", "application/x-thrift")

KIND_TAG, ERROR_TAG, STATE_TAG = "span.kind", "error", "w3c.tracestate"
STATUS_TAG, MESSAGE_TAG = "otel.status_code", "otel.status_description"
SCOPE_TAG, OLD_SCOPE_TAG = "otel.scope.name", "otel.library.name"
REF_TAG = "opentracing.ref_type"  # on a link: what it was
CHILD_OF, FOLLOWS_FROM = 0, 1

_KINDS = {
    "internal": Kind.INTERNAL,
    "server": Kind.SERVER,
    "client": Kind.CLIENT,
    "producer": Kind.PRODUCER,
    "consumer": Kind.CONSUMER,
}
_STATUSES = {"OK": Status.OK, "ERROR": Status.ERROR}

_TAG: Shape = {
    1: Of(Type.STRING),
    2: Of(Type.I32),
    3: Of(Type.STRING),
    4: Of(Type.DOUBLE),
    5: Of(Type.BOOL),
    6: Of(Type.I64),
    7: Of(Type.STRING),
}
_TAGS = Of(Type.LIST, _TAG, 2 * limits.ATTRIBUTES)  # some become fields, some have a key twice
_REF: Shape = {1: Of(Type.I32), 2: Of(Type.I64), 3: Of(Type.I64), 4: Of(Type.I64)}
_LOG: Shape = {1: Of(Type.I64), 2: _TAGS}
_SPAN: Shape = {
    **{number: Of(Type.I64) for number in (1, 2, 3, 4, 8, 9)},
    5: Of(Type.STRING),
    6: Of(Type.LIST, _REF, limits.LINKS + 1),
    10: _TAGS,
    11: Of(Type.LIST, _LOG, limits.EVENTS),
}
_PROCESS: Shape = {1: Of(Type.STRING), 2: _TAGS}
_BATCH: Shape = {1: Of(Type.STRUCT, _PROCESS), 2: Of(Type.LIST, _SPAN, limits.MAX_SPANS + 1)}
_CALL: Shape = {1: Of(Type.STRUCT, _BATCH)}


def decode_batch(data: bytes) -> Decoded:
    """A request's body: one Batch, in the binary protocol. Raises: Malformed."""
    return _spans(read_struct(data, _BATCH))


def decode_datagram(data: bytes, compact: bool) -> Decoded:
    """A datagram: `Agent.emitBatch`. compact: as on port 6831; else binary, as on 6832. Raises: Malformed."""
    call = read_call(data, compact, "emitBatch", _CALL)
    if 1 not in call:
        raise Malformed("jaeger", "emitBatch has no batch")
    return _spans(call[1])


def encode_batch(service: str, process_tags: Attributes, spans: Sequence[Span]) -> bytes:
    """One Batch, in the binary protocol."""
    from sampan.wire.jaeger_encoding import encode  # brings thriftpy2's parser, which only who exports needs

    return encode(service, process_tags, spans)


# ── reading ──


def _spans(batch: Read) -> Decoded:
    if 1 not in batch:
        raise Malformed("jaeger", "the batch has no process")
    given = batch.get(2, [])
    if len(given) > limits.MAX_SPANS:
        raise Malformed("jaeger", f"the batch has more than {limits.MAX_SPANS} spans; send smaller ones")
    process = batch[1]
    service = _text(process.get(1, b""))[: limits.NAME]
    resource = limits.attributes(_pairs(process.get(2, ())))
    resource["service.name"] = service
    spans = [span for one in given if (span := _span(one, service, resource)) is not None]
    return Decoded(spans, len(given) - len(spans))


def _span(given: Read, service: str, resource: Attributes) -> Span | None:
    get = given.get
    trace, number = _trace(get(2, 0), get(1, 0)), _id(get(3, 0))
    if not real(trace) or not real(number):
        return None
    tags = limits.attributes(_pairs(get(10, ())))
    parent, links, lost = _relations(trace, number, _id(get(4, 0)), get(6, ()))
    logs = get(11, ())
    limits.count_dropped(tags, len(logs) - limits.EVENTS, lost)
    start = limits.time(get(8, 0) * 1000)
    status, message = _status(tags)
    return Span(
        trace,
        number,
        parent,
        _text(get(5, b""))[: limits.NAME],
        _KINDS.get(_taken(tags, KIND_TAG).lower(), Kind.INTERNAL),
        start,
        limits.time(start + max(get(9, 0), 0) * 1000),
        service,
        status=status,
        message=message,
        attributes=tags,
        resource=resource,
        events=tuple([_event(log) for log in logs[: limits.EVENTS]]),
        links=links,
        state=_taken(tags, STATE_TAG)[: limits.STATE],
        scope=(_taken(tags, SCOPE_TAG) or _taken(tags, OLD_SCOPE_TAG))[: limits.NAME],
    )


def _relations(
    trace: str, number: str, parent: str, references: Sequence[Read]
) -> tuple[str, tuple[SpanLink, ...], int]:
    """The parent, all other references as links, and how many links there were more.

    Without an id of its parent a span's is the first it is a child of, else the first it follows, in its trace.
    """
    parent = parent_of(number, parent)
    if not references:
        return parent, (), 0
    found = [(r.get(1, CHILD_OF), _trace(r.get(3, 0), r.get(2, 0)), _id(r.get(4, 0))) for r in references]
    if not parent:
        near = [(kind, span) for kind, of, span in found if of == trace and parent_of(number, span)]
        parent = min(near, key=lambda one: one[0])[1] if near else ""
    others = [one for one in found if one[1:] != (trace, parent)]
    links = [
        SpanLink(of, span, {REF_TAG: "follows_from" if kind == FOLLOWS_FROM else "child_of"})
        for kind, of, span in others[: limits.LINKS]
        if real(of) and real(span)
    ]
    return parent, tuple(links), len(others) - len(links)


def _event(log: Read) -> SpanEvent:
    fields = limits.attributes(_pairs(log.get(2, ())))
    name = _taken(fields, "event")[: limits.NAME] or "log"
    return SpanEvent(name, limits.time(log.get(1, 0) * 1000), fields)


def _status(tags: Attributes) -> tuple[Status, str]:
    """Source: "OpenTelemetry to Jaeger Transformation", Status."""
    code = _STATUSES.get(_taken(tags, STATUS_TAG).upper(), Status.UNSET)
    if code is Status.UNSET and str(tags.get(ERROR_TAG, "")).lower() == "true":
        code = Status.ERROR
    if code is Status.ERROR:
        tags.pop(ERROR_TAG, None)
    return code, _taken(tags, MESSAGE_TAG)


def _taken(tags: Attributes, key: str) -> str:
    """A text that becomes a field; a tag of another kind stays what it is."""
    if isinstance(tags.get(key), str):
        return str(tags.pop(key))
    return ""


def _pairs(tags: Sequence[Read]) -> list[tuple[str, object]]:
    return [(_text(tag.get(1, b"")), _tag_value(tag)) for tag in tags]


def _tag_value(tag: Read) -> object:
    """By its type, 0: text, 1: double, 2: bool, 3: long, 4: binary; None: it has no value of that type."""
    kind = tag.get(2, 0)
    if kind == 0:
        return _text(tag.get(3, b""))
    return tag.get(_VALUES.get(kind, 3))


_VALUES = {1: 4, 2: 5, 3: 6, 4: 7}  # vType → field


def _text(raw: Any) -> str:
    return str(raw, "utf-8", "replace")


def _trace(high: int, low: int) -> str:
    """64-bit ids are the low half. Source: tracing-contract.md §4."""
    return f"{high & _MASK:016x}{low & _MASK:016x}"


def _id(number: int) -> str:
    return f"{number & _MASK:016x}"


_MASK = 0xFFFFFFFFFFFFFFFF

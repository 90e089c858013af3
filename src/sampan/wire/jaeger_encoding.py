"""Spans written as Jaeger's Thrift, by thriftpy2. Source: as in `jaeger`."""

import io
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import msgspec
from thriftpy2.parser import load_fp
from thriftpy2.protocol import TCyBinaryProtocol
from thriftpy2.transport import TCyMemoryBuffer

from sampan.model.trace import Attributes, Kind, Span, SpanEvent, SpanLink, Status
from sampan.wire import jaeger

IDL = """
struct Tag {
    1: required string key, 2: required i32 vType, 3: optional string vStr, 4: optional double vDouble,
    5: optional bool vBool, 6: optional i64 vLong, 7: optional binary vBinary
}
struct Log { 1: required i64 timestamp, 2: required list<Tag> fields }
struct SpanRef {
    1: required i32 refType, 2: required i64 traceIdLow, 3: required i64 traceIdHigh, 4: required i64 spanId
}
struct Span {
    1: required i64 traceIdLow, 2: required i64 traceIdHigh, 3: required i64 spanId, 4: required i64 parentSpanId,
    5: required string operationName, 6: optional list<SpanRef> references, 7: required i32 flags,
    8: required i64 startTime, 9: required i64 duration, 10: optional list<Tag> tags, 11: optional list<Log> logs,
    12: optional bool incomplete
}
struct Process { 1: required string serviceName, 2: optional list<Tag> tags }
struct Batch { 1: required Process process, 2: required list<Span> spans }
service Agent { oneway void emitBatch(1: Batch batch) }
"""
_SAMPLED = 1
_KINDS = {Kind.SERVER: "server", Kind.CLIENT: "client", Kind.PRODUCER: "producer", Kind.CONSUMER: "consumer"}


@cache
def schema() -> Any:
    """What the IDL declares, as thriftpy2's classes."""
    return load_fp(io.StringIO(IDL), "jaeger_thrift")


def encode(service: str, process_tags: Attributes, spans: Sequence[Span]) -> bytes:
    process = schema().Process(serviceName=service, tags=_tags(process_tags.items()))
    batch = schema().Batch(process=process, spans=[_span(span) for span in spans])
    buffer: Any = TCyMemoryBuffer()
    binary: Any = TCyBinaryProtocol
    binary(buffer).write_struct(batch)
    return bytes(buffer.getvalue())


def _span(span: Span) -> Any:
    return schema().Span(
        traceIdLow=_signed(span.trace[16:]),
        traceIdHigh=_signed(span.trace[:16]),
        spanId=_signed(span.span),
        parentSpanId=_signed(span.parent or "0"),
        operationName=span.name,
        references=[_reference(link) for link in span.links],
        flags=_SAMPLED,
        startTime=span.start // 1000,
        duration=max(span.end - span.start, 0) // 1000,
        tags=_tags([*span.attributes.items(), *_field_tags(span)]),
        logs=[_log(event) for event in span.events],
    )


def _field_tags(span: Span) -> Iterable[tuple[str, object]]:
    """What are fields of a span, and tags in Jaeger."""
    if span.kind in _KINDS:
        yield jaeger.KIND_TAG, _KINDS[span.kind]
    if span.status is not Status.UNSET:
        yield jaeger.STATUS_TAG, span.status.name
    if span.status is Status.ERROR:
        yield jaeger.ERROR_TAG, True
    if span.message:
        yield jaeger.MESSAGE_TAG, span.message
    if span.state:
        yield jaeger.STATE_TAG, span.state
    if span.scope:
        yield jaeger.SCOPE_TAG, span.scope


def _reference(link: SpanLink) -> Any:
    child = link.attributes.get(jaeger.REF_TAG) == "child_of"
    return schema().SpanRef(
        refType=jaeger.CHILD_OF if child else jaeger.FOLLOWS_FROM,
        traceIdLow=_signed(link.trace[16:]),
        traceIdHigh=_signed(link.trace[:16]),
        spanId=_signed(link.span),
    )


def _log(event: SpanEvent) -> Any:
    pairs: list[tuple[str, object]] = [("event", event.name), *event.attributes.items()]
    return schema().Log(timestamp=event.time // 1000, fields=_tags(pairs))


def _tags(pairs: Iterable[tuple[str, object]]) -> list[Any]:
    tag = schema().Tag
    return [tag(key=key, **_value(value)) for key, value in pairs]


def _value(value: object) -> dict[str, object]:
    """Types 0: text, 1: double, 2: bool, 3: long, 4: binary. A list is text, of JSON."""
    if isinstance(value, str):
        return {"vType": 0, "vStr": value}
    if isinstance(value, bool):
        return {"vType": 2, "vBool": value}
    if isinstance(value, int):
        return {"vType": 3, "vLong": value}
    if isinstance(value, float):
        return {"vType": 1, "vDouble": value}
    if isinstance(value, bytes):
        return {"vType": 4, "vBinary": value}
    return {"vType": 0, "vStr": msgspec.json.encode(value).decode()}


def _signed(digits: str) -> int:
    number = int(digits, 16)
    return number - (1 << 64) if number >> 63 else number

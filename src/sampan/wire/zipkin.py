"""Zipkin's JSON, versions 2 and 1, read into spans.

A span that its client and its server share has one id in Zipkin; the server's half gets the same id here, too, as
Jaeger and the OpenTelemetry collector do. Source: zipkin-api, zipkin2-api.yaml and zipkin-api.yaml (version 1);
OpenTelemetry specification, "OpenTelemetry to Zipkin Transformation", read backwards.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

from sampan.model.errors import Malformed
from sampan.model.trace import Attributes, Kind, Span, SpanEvent, Status
from sampan.wire import span_limits as limits
from sampan.wire.otlp_json import Number, number, read
from sampan.wire.span_limits import Decoded, parent_of, real

_ID = re.compile(r"[0-9a-f]{1,32}\Z")
_KINDS = {"CLIENT": Kind.CLIENT, "SERVER": Kind.SERVER, "PRODUCER": Kind.PRODUCER, "CONSUMER": Kind.CONSUMER}
_STATUSES = {"OK": Status.OK, "ERROR": Status.ERROR}
_CORE = {"cs": Kind.CLIENT, "cr": Kind.CLIENT, "sr": Kind.SERVER, "ss": Kind.SERVER}  # of version 1
_CORE |= {"ms": Kind.PRODUCER, "mr": Kind.CONSUMER}
_ADDRESSES = ("ca", "sa", "ma")  # binary annotations of version 1 that are endpoints
_T = TypeVar("_T")


class Endpoint(msgspec.Struct, rename="camel"):
    service_name: str | None = None
    ipv4: str | None = None
    ipv6: str | None = None
    port: int | None = None


class Annotation(msgspec.Struct):
    timestamp: Number = 0  # µs
    value: str = ""
    endpoint: Endpoint | None = None  # version 1


class SpanV2(msgspec.Struct, rename="camel"):
    trace_id: str = ""
    id: str = ""
    parent_id: str | None = None
    name: str | None = None
    kind: str | None = None
    timestamp: Number | None = None  # µs
    duration: Number | None = None
    local_endpoint: Endpoint | None = None
    remote_endpoint: Endpoint | None = None
    annotations: list[Annotation] | None = None
    tags: dict[str, str | bool | int | float | None] | None = None


class BinaryAnnotation(msgspec.Struct):
    key: str = ""
    value: str | bool | int | float | None = None
    endpoint: Endpoint | None = None


class SpanV1(msgspec.Struct, rename="camel"):
    trace_id: str = ""
    id: str = ""
    parent_id: str | None = None
    name: str | None = None
    timestamp: Number | None = None
    duration: Number | None = None
    annotations: list[Annotation] | None = None
    binary_annotations: list[BinaryAnnotation] | None = None


def decode_v2(body: bytes) -> Decoded:
    """A list of spans. Raises: Malformed."""
    return _decode(body, SpanV2, _span)


def decode_v1(body: bytes) -> Decoded:
    """A list of spans of version 1. Raises: Malformed."""
    return _decode(body, SpanV1, lambda old: _span(_newer(old)))


def _decode(body: bytes, kind: type[_T], build: Callable[[_T], Span | None]) -> Decoded:
    given: Sequence[_T] = read(body, list[kind])  # type: ignore[valid-type]
    if len(given) > limits.MAX_SPANS:
        raise Malformed("zipkin", f"the list has more than {limits.MAX_SPANS} spans; send smaller ones")
    spans = [span for one in given if (span := build(one)) is not None]
    return Decoded(spans, len(given) - len(spans))


def _span(given: SpanV2) -> Span | None:
    trace, identity = _id(given.trace_id, 32), _id(given.id, 16)
    if not real(trace) or not real(identity):
        return None
    local, notes = given.local_endpoint or Endpoint(), given.annotations or []
    tags = limits.attributes([*(given.tags or {}).items(), *_peer(given.remote_endpoint)])
    limits.count_dropped(tags, len(notes) - limits.EVENTS, 0)
    start = limits.time(number(given.timestamp or 0) * 1000)
    service = (local.service_name or "")[: limits.NAME]
    status, message = _status(tags)
    return Span(
        trace,
        identity,
        parent_of(identity, _id(given.parent_id or "", 16)),
        (given.name or "")[: limits.NAME],
        _KINDS.get((given.kind or "").upper(), Kind.INTERNAL),
        start,
        limits.time(start + max(number(given.duration or 0), 0) * 1000),
        service,
        status=status,
        message=message,
        attributes=tags,
        resource={"service.name": service},
        events=tuple(
            SpanEvent(note.value[: limits.NAME], limits.time(number(note.timestamp) * 1000))
            for note in notes[: limits.EVENTS]
        ),
        state=str(tags.pop("w3c.tracestate", ""))[: limits.STATE],
        scope=str(tags.pop("otel.scope.name", tags.pop("otel.library.name", "")))[: limits.NAME],
    )


def _status(tags: Attributes) -> tuple[Status, str]:
    """An `error` tag is an error whatever it says; what it says is the message."""
    code = _STATUSES.get(str(tags.pop("otel.status_code", "")).upper(), Status.UNSET)
    if "error" not in tags or (code is Status.UNSET and str(tags["error"]).lower() == "false"):
        return code, ""
    told = str(tags.pop("error"))
    return Status.ERROR, "" if told.lower() == "true" else told


def _peer(remote: Endpoint | None) -> list[tuple[str, object]]:
    if remote is None:
        return []
    return [
        ("peer.service", remote.service_name or None),
        ("network.peer.address", remote.ipv4 or remote.ipv6),
        ("network.peer.port", remote.port),
    ]


def _id(given: str, digits: int) -> str:
    """Padded; longer ones keep their low half; "": it is none."""
    given = given.lower()
    return given.zfill(digits)[-digits:] if _ID.match(given) else ""


# ── version 1 ──


def _newer(old: SpanV1) -> SpanV2:
    """As version 2 has it: kind and times are in the annotations, endpoints and tags in the binary ones."""
    notes, binaries = old.annotations or [], old.binary_annotations or []
    core = [note for note in notes if note.value in _CORE]
    times = [number(note.timestamp) for note in core]
    start = number(old.timestamp) if old.timestamp else min(times, default=_first(notes))
    remote = next((one.endpoint for one in binaries if one.key in _ADDRESSES and one.value in (True, 1)), None)
    endpoints = [one.endpoint for one in [*core, *notes] if one.endpoint] + [
        one.endpoint for one in binaries if one.endpoint and one.key not in _ADDRESSES
    ]
    return SpanV2(
        old.trace_id,
        old.id,
        old.parent_id,
        old.name,
        _CORE[core[0].value].name if core else None,
        start,
        old.duration or max(times, default=start) - start,
        endpoints[0] if endpoints else None,
        remote,
        [note for note in notes if note.value not in _CORE],
        _tags(binaries),
    )


def _first(notes: Sequence[Annotation]) -> int:
    return min((number(note.timestamp) for note in notes), default=0)


def _tags(binaries: Sequence[BinaryAnnotation]) -> dict[str, Any]:
    """`lc` names a local component, and stays a tag of that name."""
    return {one.key: one.value for one in binaries if one.key not in _ADDRESSES}

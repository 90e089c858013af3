"""Traces as this platform's own API tells them: `GET /sampan/v1/traces` and `/sampan/v1/traces/{id}`.

Times are Unix nanoseconds, durations nanoseconds. Ids are lower-case hex, 32 digits of a trace, 16 of a span.
"""

import base64
from collections.abc import Sequence
from typing import Any

import msgspec

from sampan.model.trace import Kind, Span, Status


class _Told(msgspec.Struct, frozen=True, rename="camel"):
    pass


class ServiceShare(_Told, frozen=True, kw_only=True):
    """One service's part in a trace."""

    name: str
    spans: int
    errors: int = 0


class Summary(_Told, frozen=True, kw_only=True):
    """One trace in a list. `name`, `service`: of the span that stands for it."""

    trace_id: str
    name: str
    service: str
    function: str = ""
    request_id: str = ""
    start: int
    duration: int
    spans: int
    errors: int = 0
    cold: bool = False
    services: tuple[ServiceShare, ...] = ()


class Summaries(_Told, frozen=True, kw_only=True):
    """A page, newest first; `next_token` is absent on the last."""

    traces: tuple[Summary, ...]
    next_token: str | None = None


class Event(_Told, frozen=True, kw_only=True):
    name: str
    time: int
    attributes: dict[str, Any] = {}


class Link(_Told, frozen=True, kw_only=True):
    trace_id: str
    span_id: str
    attributes: dict[str, Any] = {}


class TraceSpan(_Told, frozen=True, kw_only=True):
    """One span. `kind`, `status`: in OpenTelemetry's words, lower-case. Bytes in attributes are base64 text."""

    span_id: str
    parent_id: str = ""
    name: str
    kind: str = "unspecified"
    start: int
    duration: int
    service: str
    function: str = ""
    version: str = ""
    instance: str = ""
    platform: bool = False
    status: str = "unset"
    message: str = ""
    attributes: dict[str, Any] = {}
    resource: dict[str, Any] = {}
    events: tuple[Event, ...] = ()
    links: tuple[Link, ...] = ()
    scope: str = ""
    trace_state: str = ""

    @property
    def end(self) -> int:
        return self.start + self.duration


class Trace(_Told, frozen=True, kw_only=True):
    """All spans of a trace that came, by start."""

    trace_id: str
    spans: tuple[TraceSpan, ...]


def told(spans: Sequence[Span]) -> Trace:
    """`spans` of one trace; at least one."""
    return Trace(trace_id=spans[0].trace, spans=tuple(map(_span, spans)))


def _span(span: Span) -> TraceSpan:
    return TraceSpan(
        span_id=span.span,
        parent_id=span.parent,
        name=span.name,
        kind=Kind(span.kind).name.lower(),
        start=span.start,
        duration=max(0, span.end - span.start),
        service=span.service,
        function=span.function,
        version=span.version,
        instance=span.instance,
        platform=span.platform,
        status=Status(span.status).name.lower(),
        message=span.message,
        attributes=_plain(span.attributes),
        resource=_plain(span.resource),
        events=tuple(Event(name=one.name, time=one.time, attributes=_plain(one.attributes)) for one in span.events),
        links=tuple(
            Link(trace_id=one.trace, span_id=one.span, attributes=_plain(one.attributes)) for one in span.links
        ),
        scope=span.scope,
        trace_state=span.state,
    )


def _plain(attributes: dict[str, Any]) -> dict[str, Any]:
    """What JSON can hold."""
    return {key: base64.b64encode(v).decode() if isinstance(v, bytes) else v for key, v in attributes.items()}

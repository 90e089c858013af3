"""Traces: found, and read span by span. Pure."""

from collections.abc import Mapping
from urllib.parse import quote, urlencode

from sampan.sdk.describing import read, segment
from sampan.sdk.exchange import Call, Reply
from sampan.sdk.extensions import ROOT
from sampan.sdk.methods import Page
from sampan.wire.trace_shapes import Summaries, Summary, Trace

PAGE = 100  # traces asked for at once


def trace(id: str) -> Call[Trace]:
    """A trace by its id, or by that of a request it served."""
    path = f"{ROOT}/traces/{segment(id)}"
    return Call(action="GetTrace", method="GET", target=path, decode=lambda reply: read(reply, Trace))


def trace_otlp(id: str) -> Call[bytes]:
    """The same as an OTLP/JSON document, which any OpenTelemetry backend takes."""
    path = f"{ROOT}/traces/{segment(id)}?format=otlp"
    return Call(action="GetTrace", method="GET", target=path, decode=lambda reply: reply.body)


def traces(
    token: str,
    *,
    function: str | None = None,
    service: str | None = None,
    operation: str | None = None,
    since: float | None = None,
    until: float | None = None,
    min_duration: float | None = None,
    max_duration: float | None = None,
    errors: bool | None = None,
    cold: bool | None = None,
    request_id: str | None = None,
    attributes: Mapping[str, str] | None = None,
    page_size: int = PAGE,
) -> Call[Page[Summary]]:
    """Traces that all of this is true of, newest first.

    `since`, `until`: Unix seconds between which they began. Durations are seconds. `errors`: whether a span of it
    failed. `attributes`: of any of its spans. Ask for no more than are used: further pages are read as they are.
    """
    asked: list[tuple[str, str]] = [
        (name, _text(value))
        for name, value in (
            ("function", function),
            ("service", service),
            ("operation", operation),
            ("since", since),
            ("until", until),
            ("minDuration", _duration(min_duration)),
            ("maxDuration", _duration(max_duration)),
            ("errors", errors),
            ("cold", cold),
            ("requestId", request_id),
            ("limit", page_size),
            ("nextToken", token),
        )
        if value not in (None, "")
    ]
    asked += [("attribute", f"{key}={value}") for key, value in (attributes or {}).items()]
    target = f"{ROOT}/traces?{urlencode(asked, quote_via=quote)}"
    return Call(action="ListTraces", method="GET", target=target, decode=_page)


def _page(reply: Reply) -> Page[Summary]:
    found = read(reply, Summaries)
    return Page(found.traces, found.next_token or "")


def _text(value: str | bool | float | None) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6f}" if isinstance(value, float) else str(value)


def _duration(seconds: float | None) -> str | None:
    return None if seconds is None else f"{round(seconds * 1e9)}ns"

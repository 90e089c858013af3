"""Trace context out: the header lines by which a function learns which trace it works for. Pure.

Every way in which a function may read its context says the same: so whichever library it uses, its spans become
children of the platform's span of the time in the function. Source: tracing-contract.md §4,
container-contract.md A2.1.
"""

from collections.abc import Sequence
from typing import Final

from sampan.model.invocation import Traced
from sampan.telemetry import members
from sampan.telemetry.context import FC_CONTEXT, TRACE_HEADERS, Header
from sampan.telemetry.formats import MULTI, SINGLE, Context

REPLACED = TRACE_HEADERS - {FC_CONTEXT, b"x-amzn-trace-id", b"jaeger-debug-id", b"jaeger-baggage"}
"""Of a request's trace headers those that are written anew, so not passed on; x-fc-* never are."""

EMPTY = (
    b"X-Fc-Tracing-Opentracing-Span-Context: \r\n"
    b"X-Fc-Tracing-Opentracing-Span-Baggages: \r\n"
    b"X-Fc-Tracing-Jaeger-Endpoint: \r\n"
)
"""When tracing is off."""

_FC_LINE: Final = "X-Fc-Tracing-Opentracing-Span-Context: "
_NO_BAGGAGE: Final = f"X-Fc-Tracing-Opentracing-Span-Baggages: {members.as_json('')}\r\n"
_ENDPOINT: Final = "X-Fc-Tracing-Jaeger-Endpoint: "


def container_lines(context: Context, traced: Traced, jaeger_endpoint: str) -> bytes:
    """The lines for one request. jaeger_endpoint: URL to which the function may report."""
    trace, span = traced.trace, traced.invocation
    flag = ("3" if context.debug else "1") if traced.sampled else "0"
    level = (1 if traced.sampled else 0) + (2 if context.random else 0)
    baggage = context.baggage
    lines = (
        f"traceparent: 00-{trace}-{span}-0{level}\r\n"
        f"uber-trace-id: {trace}:{span}:0:{flag}\r\n"
        f"{_FC_LINE}{fc_context(traced, context.debug)}\r\n"
        f"X-Fc-Tracing-Opentracing-Span-Baggages: {members.as_json(baggage)}\r\n"
        f"{_ENDPOINT}{jaeger_endpoint}\r\n"
    )
    if context.state:
        lines += f"tracestate: {context.state}\r\n"
    if baggage:
        lines += f"baggage: {baggage}\r\n"
    if context.b3:
        lines += _b3_lines(context, traced)
    return lines.encode("latin-1", "replace")


def own_lines(trace: str, span: str, sampled: bool, jaeger_endpoint: str) -> bytes:
    """The same of a trace that begins here, as nearly all do: nothing but the ids is its own."""
    flag = "1" if sampled else "0"
    short, brief = trace, span
    if trace[0] == "0" or span[0] == "0":
        short, brief = trace.lstrip("0"), span.lstrip("0")
    return (
        f"traceparent: 00-{trace}-{span}-0{flag}\r\nuber-trace-id: {trace}:{span}:0:{flag}\r\n"
        f"{_FC_LINE}{short}:{brief}:0:{flag}\r\n{_NO_BAGGAGE}{_ENDPOINT}{jaeger_endpoint}\r\n"
    ).encode()


def fc_context(traced: Traced, debug: bool = False) -> str:
    """Function Compute's form: no zeros in front, and a trace that begins here has the parent 0."""
    flag = ("3" if debug else "1") if traced.sampled else "0"
    trace, span, parent = (id_.lstrip("0") for id_ in (traced.trace, traced.invocation, traced.parent))
    return f"{trace}:{span}:{parent or '0'}:{flag}"


def untraced_lines(headers: Sequence[Header]) -> bytes:
    """When tracing is off: what came goes on as it came, since nobody here makes a span of it."""
    came = [b"%b: %b\r\n" % (name, value) for lower, name, value in headers if lower in REPLACED]
    return EMPTY + b"".join(came)


def _b3_lines(context: Context, traced: Traced) -> str:
    """In the form in which B3 came. An id of 64 bits stays one: its tracer may know no others."""
    trace = traced.trace.removeprefix("0" * 16)
    decision = ("d" if context.debug else "1") if traced.sampled else "0"
    lines = ""
    if context.b3 & SINGLE:
        lines += f"b3: {trace}-{traced.invocation}-{decision}-{traced.root}\r\n"
    if context.b3 & MULTI:
        lines += (
            f"X-B3-TraceId: {trace}\r\nX-B3-SpanId: {traced.invocation}\r\nX-B3-ParentSpanId: {traced.root}\r\n"
        )
        lines += "X-B3-Flags: 1\r\n" if decision == "d" else f"X-B3-Sampled: {decision}\r\n"
    return lines

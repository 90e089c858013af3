"""B3 and Jaeger as OpenTelemetry's propagators read them, where these are installed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.context import Context as Held
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace import SpanContext, get_current_span

from sampan.telemetry.context import extract

b3 = pytest.importorskip("opentelemetry.propagators.b3")
jaeger = pytest.importorskip("opentelemetry.propagators.jaeger")

trace_ids = st.integers(1, 2**128 - 1).map("{:032x}".format) | st.integers(1, 2**64 - 1).map("{:016x}".format)
span_ids = st.integers(1, 2**64 - 1).map("{:016x}".format)


def theirs(propagator: TextMapPropagator, carrier: dict[str, str]) -> SpanContext:
    return get_current_span(propagator.extract(carrier, Held())).get_span_context()


def agree(propagator: TextMapPropagator, carrier: dict[str, str]) -> None:
    seen = theirs(propagator, carrier)
    ours = extract([(name.lower().encode(), name.encode(), value.encode()) for name, value in carrier.items()])
    assert (ours.trace, ours.span) == (f"{seen.trace_id:032x}", f"{seen.span_id:016x}")
    assert bool(ours.sampled) is seen.trace_flags.sampled


@given(trace_ids, span_ids, st.sampled_from(["-0", "-1", "-d"]))
def test_b3_in_one_header(trace: str, span: str, decision: str) -> None:
    agree(b3.B3MultiFormat(), {"b3": f"{trace}-{span}{decision}"})


@given(trace_ids, span_ids, st.sampled_from([{"x-b3-sampled": "0"}, {"x-b3-sampled": "1"}, {"x-b3-flags": "1"}]))
def test_b3_in_many_headers(trace: str, span: str, decision: dict[str, str]) -> None:
    agree(b3.B3MultiFormat(), {"x-b3-traceid": trace, "x-b3-spanid": span} | decision)


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.sampled_from("0123"), st.booleans())
def test_uber_trace_id(trace: int, span: int, flags: str, padded: bool) -> None:
    ids = f"{trace:032x}:{span:016x}" if padded else f"{trace:x}:{span:x}"
    if flags != "2":  # debug alone: they do not take it for sampled, Jaeger's own clients do
        agree(jaeger.JaegerPropagator(), {"uber-trace-id": f"{ids}:0:{flags}"})

"""Trace context out: what a function is told. Sections are those of tracing-contract.md."""

import base64

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.trace import get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from sampan.model.invocation import Traced
from sampan.model.names import RequestId, new_request_id
from sampan.telemetry.context import Header, begin, extract
from sampan.telemetry.formats import NONE, Context
from sampan.telemetry.outgoing import REPLACED, container_lines, fc_context, own_lines, untraced_lines

ENDPOINT = "http://10.88.0.1:14268/api/traces"
T, S = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
FC = "x-fc-tracing-opentracing-span-context"


def lines_of(block: bytes) -> dict[str, str]:
    lines = block.decode("latin-1").removesuffix("\r\n").split("\r\n")
    found = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    assert len(found) == len(lines), "a name is said twice"
    return found


def headers(**told: str) -> list[Header]:
    named = {name.replace("_", "-"): value for name, value in told.items()}
    return [(name.lower().encode(), name.encode(), value.encode("latin-1")) for name, value in named.items()]


def told(context: Context, traced: Traced) -> dict[str, str]:
    return lines_of(container_lines(context, traced, ENDPOINT))


def test_a_new_trace_is_told_in_all_forms() -> None:
    """§4"""
    traced = begin(NONE, RequestId("1-003a0b1c-1f0e0d0c0b0a090807060504"), 1.0)
    trace, span = traced.trace, traced.invocation
    assert told(NONE, traced) == {
        "traceparent": f"00-{trace}-{span}-01",
        "uber-trace-id": f"{trace}:{span}:0:1",
        FC: f"3a0b1c1f0e0d0c0b0a090807060504:{span.lstrip('0')}:0:1",  # no zeros in front; a root's parent is 0
        "x-fc-tracing-opentracing-span-baggages": base64.b64encode(b"{}").decode(),
        "x-fc-tracing-jaeger-endpoint": ENDPOINT,
    }


@pytest.mark.parametrize("ratio", [0.0, 1.0])
@pytest.mark.parametrize("digits", ["ab" * 12, "0" * 24, "00" + "c" * 22, "c" * 8 + "0" * 8 + "c" * 8])
def test_a_trace_that_begins_here_is_told_as_any_other(digits: str, ratio: float) -> None:
    traced = begin(NONE, RequestId(f"1-0a3b0b1c-{digits}"), ratio)
    lines = own_lines(traced.trace, traced.invocation, traced.sampled, ENDPOINT)
    assert lines_of(lines) == told(NONE, traced)


def test_a_trace_that_came_goes_on_with_the_platforms_span_as_parent() -> None:
    """§8 test 1: the same trace, never the caller's span."""
    came = extract(headers(traceparent=f"00-{T}-{S}-03", tracestate="a=1,b=2", baggage="user=7;p=1, x=%C3%BC"))
    traced = begin(came, new_request_id(), 0.0)
    found = told(came, traced)
    assert found["traceparent"] == f"00-{T}-{traced.invocation}-03"  # the bit for random ids goes on (§5.1)
    assert found["uber-trace-id"] == f"{T}:{traced.invocation}:0:1"
    assert found[FC] == f"{T}:{traced.invocation.lstrip('0')}:{S.lstrip('0')}:1"
    assert (found["tracestate"], found["baggage"]) == ("a=1,b=2", "user=7;p=1, x=%C3%BC")
    said = msgspec.json.decode(base64.b64decode(found["x-fc-tracing-opentracing-span-baggages"]))
    assert said == {"user": "7", "x": "ü"}
    assert not {"b3", "x-b3-traceid"} & set(found)


def test_an_unsampled_trace_goes_on_unsampled() -> None:
    """§8 test 5"""
    came = extract(headers(traceparent=f"00-{T}-{S}-00", b3="0", X_B3_Sampled="0"))
    traced = begin(came, new_request_id(), 1.0)
    found = told(came, traced)
    assert found["traceparent"].endswith("-00")
    assert found["uber-trace-id"].endswith(":0:0")
    assert found[FC].endswith(":0")
    assert found["b3"] == f"{T}-{traced.invocation}-0-{traced.root}"
    assert found["x-b3-sampled"] == "0"


@pytest.mark.parametrize("high", ["", T[:16]])
def test_an_id_of_64_bits_keeps_its_digits(high: str) -> None:
    """§8 test 7, §4 rule 2"""
    low = "a3ce929d0e0e4736"
    came = extract(headers(uber_trace_id=f"{high}{low}:{low}:0:1", b3=f"{high}{low}-{low}-1"))
    traced = begin(came, new_request_id(), 1.0)
    found = told(came, traced)
    assert found["traceparent"].split("-")[1] == (high or "0" * 16) + low
    assert found[FC].split(":")[0] == high + low
    assert found["b3"].split("-")[0] == high + low


def test_b3_goes_out_in_the_form_it_came_in() -> None:
    """§4 rule 4, §5.3"""
    single = extract(headers(b3=f"{T}-{S}-d"))
    traced = begin(single, new_request_id(), 0.0)
    found = told(single, traced)
    assert found["b3"] == f"{T}-{traced.invocation}-d-{traced.root}"
    assert not any(name.startswith("x-b3-") for name in found)
    assert found["uber-trace-id"].endswith(":3")
    assert found[FC].endswith(":3")
    assert found["traceparent"].endswith("-01")
    multi = extract(headers(X_B3_TraceId=T, X_B3_SpanId=S, X_B3_Sampled="true"))
    traced = begin(multi, new_request_id(), 0.0)
    found = {name: value for name, value in told(multi, traced).items() if "b3" in name}
    assert found == {
        "x-b3-traceid": T, "x-b3-spanid": traced.invocation, "x-b3-parentspanid": traced.root, "x-b3-sampled": "1",
    }  # fmt: skip
    debug = extract(headers(X_B3_TraceId=T, X_B3_SpanId=S, X_B3_Flags="1"))
    found = told(debug, begin(debug, new_request_id(), 0.0))
    assert found["x-b3-flags"] == "1"
    assert "x-b3-sampled" not in found


def test_a_function_that_calls_another_with_what_it_got_stays_in_one_trace() -> None:
    """§8 test 2: two roots, nested."""
    outer = begin(NONE, new_request_id(), 1.0)
    for name in ("traceparent", "uber-trace-id", FC):
        passed = extract(headers(**{name.replace("-", "_"): told(NONE, outer)[name]}))
        inner = begin(passed, new_request_id(), 1.0)
        assert (inner.trace, inner.parent, inner.sampled) == (outer.trace, outer.invocation, True)


def test_with_tracing_off_the_three_are_empty_and_the_rest_goes_on_as_it_came() -> None:
    """§4, §5.1: a hop that records nothing leaves the headers alone."""
    came = headers(Host="a", TraceParent=f"00-{T}-{S}-01", tracestate="A=", X_B3_Sampled="1", Cookie="x=y")
    empty = dict.fromkeys(name for name in told(NONE, begin(NONE, new_request_id(), 1.0)) if name[:5] == "x-fc-")
    assert lines_of(untraced_lines(came)) == dict.fromkeys(empty, "") | {
        "traceparent": f"00-{T}-{S}-01", "tracestate": "A=", "x-b3-sampled": "1",
    }  # fmt: skip
    assert b"TraceParent: " in untraced_lines(came)


def test_what_is_written_anew_is_not_passed_on_besides() -> None:
    written: set[str] = set()
    for decision in ({"X_B3_Flags": "1"}, {"X_B3_Sampled": "1"}):
        came = extract(headers(X_B3_TraceId=T, X_B3_SpanId=S, baggage="a=1", **decision))
        written |= set(told(came, begin(came, new_request_id(), 1.0)))
    came = extract(headers(traceparent=f"00-{T}-{S}-01", tracestate="a=1", b3="1"))
    written |= set(told(came, begin(came, new_request_id(), 1.0)))
    assert {name.encode() for name in written if name[:5] != "x-fc-"} == REPLACED


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.integers(0, 3))
def test_opentelemetry_reads_what_we_write(trace: int, span: int, flags: int) -> None:
    came = extract(headers(traceparent=f"00-{trace:032x}-{span:016x}-{flags:02x}"))
    traced = begin(came, new_request_id(), 1.0)
    found = told(came, traced)
    theirs = get_current_span(TraceContextTextMapPropagator().extract(found)).get_span_context()
    assert (theirs.trace_id, theirs.span_id) == (trace, int(traced.invocation, 16))
    assert theirs.trace_flags.sampled is (flags & 1 == 1)
    assert found[FC] == fc_context(traced)
    again = extract(headers(**{FC.replace("-", "_"): found[FC]}))
    assert (again.trace, again.span, again.sampled) == (traced.trace, traced.invocation, traced.sampled)


@given(st.binary(max_size=200), st.binary(max_size=200), st.binary(max_size=200))
def test_no_value_makes_a_line_of_its_own(state: bytes, baggage: bytes, other: bytes) -> None:
    parent = f"00-{T}-{S}-01".encode()
    lines = [(b"traceparent", parent), (b"tracestate", state), (b"baggage", baggage), (b"jaeger-baggage", other)]
    came = extract([(name, name, value) for name, value in [*lines, (b"uberctx-a", other)]])
    block = container_lines(came, begin(came, new_request_id(), 1.0), ENDPOINT)
    names = set(lines_of(block))
    assert len(names) == block.count(b"\n") == block.count(b"\r\n") == block.count(b"\r")
    assert names <= {
        "traceparent", "tracestate", "baggage", "uber-trace-id", FC, "x-fc-tracing-opentracing-span-baggages",
        "x-fc-tracing-jaeger-endpoint",
    }  # fmt: skip
    assert b"\0" not in block

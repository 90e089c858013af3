"""Trace context in. Each case names the section of tracing-contract.md that it is from."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased
from opentelemetry.trace import get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from sampan.model.names import RequestId, new_request_id
from sampan.telemetry import formats, members
from sampan.telemetry.context import TRACE_HEADERS, begin, below, child_of, extract, sampled, to_text
from sampan.telemetry.formats import MULTI, NONE, SINGLE, Context
from tests.telemetry.records import record

T, S, P = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", "05e3ac9a4f6e3b90"
LOW = "a3ce929d0e0e4736"
T64 = "0" * 16 + LOW
FC = "X-Fc-Tracing-Opentracing-Span-Context"
AMZN = f"1-{T[:8]}-{T[8:]}"


def came(*lines: tuple[str, str]) -> list[tuple[bytes, bytes, bytes]]:
    return [(name.lower().encode(), name.encode(), value.encode("latin-1")) for name, value in lines]


def one(name: str, value: str) -> Context:
    return extract(came(("Host", "web.localhost"), (name, value), ("Accept", "*/*")))


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        (f"00-{T}-{S}-01", Context(T, S, True)),
        (f"00-{T}-{S}-00", Context(T, S, False)),
        (f"00-{T}-{S}-03", Context(T, S, True, random=True)),  # level 2
        (f"00-{T}-{S}-02", Context(T, S, False, random=True)),
        (f"00-{T}-{S}-ff", Context(T, S, True, random=True)),  # bits are compared, not the byte
        (f"00-{T}-{S}-fc", Context(T, S, False)),
        (f"  00-{T}-{S}-01\t", Context(T, S, True)),
        (f"01-{T}-{S}-01", Context(T, S, True)),  # a higher version
        (f"cc-{T}-{S}-01-what-comes-then", Context(T, S, True)),
        (f"cc-{T}-{S}-01-", Context(T, S, True)),
        (f"fe-{T}-{S}-09", Context(T, S, True)),
    ],
)
def test_a_traceparent_is_read(value: str, meant: Context) -> None:
    """§5.1"""
    assert one("traceparent", value) == meant


@pytest.mark.parametrize(
    "value",
    [
        "", "00", "hello", f"ff-{T}-{S}-01", f"00-{'0' * 32}-{S}-01", f"00-{T}-{'0' * 16}-01",
        f"00-{T}-{S}-01-more", f"00-{T}-{S}-01-", f"cc-{T}-{S}-01.more", f"cc-{T}-{S}-011", f"00-{T}-{S}-1",
        f"00-{T}-{S}", f"00-{T.upper()}-{S}-01", f"0G-{T}-{S}-01", f"00-{T[:-1]}g-{S}-01", f"00-{T[:-1]}-{S}0-01",
        f"00-{T}-{S[:-1]}--01", f"-00{T}-{S}-01", f"00_{T}-{S}-01", f"00-{T} {S}-01", f"00-{T}-{S}-0x",
        f"00-{T}-{S}-01,00-{T}-{S}-01", "00-" + "é" * 32 + f"-{S}-01", "\x00" * 55, "-" * 55, "0" * 55,
        "f" * 100_000,
        f"FF-{T}-{S}-01", f"00-+{T[1:]}-{S}-01", f"00-{T[:16]}_{T[17:]}-{S}-01",
    ],
)  # fmt: skip
def test_a_malformed_traceparent_is_none_and_takes_tracestate_with_it(value: str) -> None:
    """§4 rule 5, §5.1"""
    assert one("traceparent", value) is NONE
    assert extract(came(("traceparent", value), ("tracestate", "a=1"))) == NONE


def test_two_traceparents_are_none() -> None:
    """§5.1: nobody knows which of them is meant."""
    header = ("traceparent", f"00-{T}-{S}-01")
    assert extract(came(header, header)) == NONE


def test_tracestate_comes_with_its_traceparent_only() -> None:
    """§5.1"""
    state = ("tracestate", "vendor=1, other=a b")
    assert extract(came(("traceparent", f"00-{T}-{S}-01"), state)).state == "vendor=1, other=a b"
    assert extract(came(state)) == NONE
    assert extract(came(("uber-trace-id", f"{T}:{S}:0:1"), state)).state == ""


def test_lines_of_tracestate_are_joined_in_order_and_errors_in_it_cost_no_trace() -> None:
    """§5.1"""
    parent = ("traceparent", f"00-{T}-{S}-01")
    joined = extract(came(parent, ("tracestate", "a=1"), ("X-Other", ""), ("tracestate", "b=2")))
    assert joined == Context(T, S, True, state="a=1,b=2")
    assert extract(came(parent, ("tracestate", "a=1"), ("tracestate", "=2"))) == Context(T, S, True)


@pytest.mark.parametrize("name", ["uber-trace-id", FC])
@pytest.mark.parametrize(
    ("value", "meant"),
    [
        (f"{T}:{S}:0:1", Context(T, S, True)),
        (f"{T}:{S}:{P}:0", Context(T, S, False)),
        (f"{T}:{S}::1", Context(T, S, True)),
        (f"{T}%3A{S}%3a0%3A1", Context(T, S, True)),  # percent-encoded as a whole
        ("371d3ff242fcee9:371d3ff242fcee9:0:1", Context("0" * 17 + "371d3ff242fcee9", "0371d3ff242fcee9", True)),
        (f"{LOW}:{LOW}:0:1", Context(T64, LOW, True)),  # 64 bits are the low half
        (f"{T.upper()}:F067AA0BA902B7:0:01", Context(T, S, True)),
        (f"{T}:{S}:0:3", Context(T, S, True, debug=True)),
        (f"{T}:{S}:0:2", Context(T, S, True, debug=True)),  # debug implies sampled
        (f"{T}:{S}:0:8", Context(T, S, False)),  # firehose
        (f"{T}:{S}:0:9", Context(T, S, True)),
        (f"{T}:{S}:0:b", Context(T, S, True, debug=True)),
    ],
)  # fmt: skip
def test_jaegers_context_is_read(name: str, value: str, meant: Context) -> None:
    """§4, §5.2"""
    assert one(name, value) == meant


@pytest.mark.parametrize("name", ["uber-trace-id", FC])
@pytest.mark.parametrize(
    "value",
    [
        "", ":::", f"{T}:{S}:0", f"{T}:{S}:0:1:2", f"0:{S}:0:1", f"{'0' * 32}:{S}:0:1", f"{T}:0:0:1",
        f"{T}0:{S}:0:1",
        f"{T}:{S}0:0:1", f"{T}:{S}:0:100", f"{T}:{S}:0:", f"{T}:{S}:0:g", f"{T}:{S}:x:1", f"-{T[1:]}:{S}:0:1",
        f"{T}%3{S}%3A0%3A1", f"{T}:{S}:0:1%0a", f"{T}:{S}:0:1%0d%0aX-Evil: 1", f"{T}\x00:{S}:0:1", "%" * 5000,
        "é:é:é:é",
    ],
)  # fmt: skip
def test_a_malformed_context_of_jaegers_is_none(name: str, value: str) -> None:
    """§5.2, §4 rule 5"""
    assert one(name, value) == NONE


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        (f"{T}-{S}-1-{P}", Context(T, S, True)),
        (f"{T}-{S}-1", Context(T, S, True)),
        (f"{T}-{S}-0", Context(T, S, False)),
        (f"{T}-{S}-d", Context(T, S, True, debug=True)),
        (f"{T}-{S}", Context(T, S)),  # the decision is left to us
        (f"{LOW}-{S}-1", Context(T64, S, True)),
        (f"{T.upper()}-{S.upper()}-1", Context(T, S, True)),
        ("0", Context(sampled=False)),
        ("1", Context(sampled=True)),
        ("d", Context(sampled=True, debug=True)),
    ],
)
def test_b3_in_one_header_is_read(value: str, meant: Context) -> None:
    """§5.3"""
    found = one("b3", value)
    assert found.b3 == SINGLE
    assert (found.trace, found.span, found.sampled, found.debug) == (
        meant.trace, meant.span, meant.sampled, meant.debug,
    )  # fmt: skip


@pytest.mark.parametrize(
    "value",
    [
        "", "2", "-", "---", T, f"{T}-", f"{T}-{S}-", f"{T}-{S}-2", f"{T}-{S}-1-", f"{T}-{S}-1-x",
        f"{T}-{S}-1-{P}-",
        f"{T[1:]}-{S}-1", f"{T}-{S[1:]}-1", f"{'0' * 32}-{S}-1", f"{T}-{'0' * 16}-1", f"{T}-{S}-true", "-" * 8000,
    ],
)  # fmt: skip
def test_malformed_b3_in_one_header_begins_a_new_trace(value: str) -> None:
    """§5.3, §4 rule 5"""
    assert one("b3", value) == Context(b3=SINGLE)


@pytest.mark.parametrize(
    ("lines", "meant"),
    [
        ({"TraceId": T, "SpanId": S, "ParentSpanId": P, "Sampled": "1"}, Context(T, S, True)),
        ({"TraceId": T, "SpanId": S, "Sampled": "0"}, Context(T, S, False)),
        ({"TraceId": T, "SpanId": S, "Sampled": "true"}, Context(T, S, True)),  # old tracers
        ({"TraceId": T, "SpanId": S, "Sampled": "False"}, Context(T, S, False)),
        ({"TraceId": T, "SpanId": S}, Context(T, S)),
        ({"TraceId": LOW, "SpanId": S, "Sampled": "1"}, Context(T64, S, True)),
        ({"TraceId": T, "SpanId": S, "Flags": "1"}, Context(T, S, True, debug=True)),
        ({"TraceId": T, "SpanId": S, "Flags": "0", "Sampled": "1"}, Context(T, S, True)),
        ({"Sampled": "0"}, Context(sampled=False)),
        ({"Flags": "1"}, Context(sampled=True, debug=True)),
        ({"TraceId": T}, NONE),
        ({"SpanId": S, "Sampled": "1"}, NONE),
        ({"TraceId": "x" * 32, "SpanId": S, "Sampled": "1"}, NONE),
        ({"TraceId": "0" * 32, "SpanId": S}, NONE),
        ({"TraceId": T, "SpanId": S, "Sampled": "maybe"}, NONE),
        ({"TraceId": T, "SpanId": S, "Sampled": "d"}, NONE),
    ],
)
def test_b3_in_many_headers_is_read(lines: dict[str, str], meant: Context) -> None:
    """§5.3"""
    found = extract(came(*((f"X-B3-{name}", value) for name, value in lines.items())))
    assert found == Context(meant.trace, meant.span, meant.sampled, meant.debug, b3=MULTI)


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        (f"Root={AMZN};Parent={S};Sampled=1", Context(T, S, True)),
        (f"Sampled=0; Parent={S} ;Root={AMZN};Lineage=a:1", Context(T, S, False)),
        (f"Root={AMZN};Parent={S};Sampled=?", Context(T, S)),
        (f"Root={AMZN};Parent={S}", Context(T, S)),
        (f"Self=1-1-2;Root={AMZN}", Context(T)),  # of a load balancer
        ("", NONE),
        (AMZN, NONE),
        (f"Root={AMZN}0;Parent={S}", NONE),
        (f"Root=2{AMZN[1:]};Parent={S}", NONE),
        (f"Root={AMZN};Parent={S}0", NONE),
        (f"Root={AMZN};Parent={'0' * 16}", NONE),
        (f"Root=1-{'0' * 8}-{'0' * 24};Parent={S}", NONE),
        (";" * 8000, NONE),
        ("=" * 8000, NONE),
    ],
)
def test_amazons_trace_id_is_read(value: str, meant: Context) -> None:
    """§4"""
    assert one("X-Amzn-Trace-Id", value) == meant


ORDER = [
    ("traceparent", f"00-1{T[1:]}-{S}-01"),
    (FC, f"2{T[1:]}:{S}:0:1"),
    ("uber-trace-id", f"3{T[1:]}:{S}:0:1"),
    ("b3", f"4{T[1:]}-{S}-1"),
    ("x-b3-traceid", f"5{T[1:]}"),
    ("x-amzn-trace-id", f"Root=1-6{T[1:8]}-{T[8:]};Parent={S}"),
]


@pytest.mark.parametrize("first", range(6))
def test_of_several_formats_the_first_well_formed_one_counts(first: int) -> None:
    """§4 rule 3; a malformed one is as if it had not come."""
    span = ("x-b3-spanid", S)
    assert extract(came(*reversed(ORDER[first:]), span)).trace == f"{first + 1}{T[1:]}"
    broken = [(name, "broken") for name, _ in ORDER[:first]]
    assert extract(came(*broken, *ORDER[first:], span)).trace == f"{first + 1}{T[1:]}"


def test_a_trace_asked_for_by_hand_is_sampled() -> None:
    """§5.2; a context that came counts more."""
    found = one("jaeger-debug-id", "why is it slow\x07?")
    assert found == Context(sampled=True, debug=True, debug_id="why is it slow?")
    assert sampled(found, 0.0, T)
    both = extract(came(("jaeger-debug-id", "x"), ("traceparent", f"00-{T}-{S}-00")))
    assert both == Context(T, S, False)
    assert len(one("jaeger-debug-id", "x" * 8000).debug_id) == 128


def test_baggage_comes_in_every_way() -> None:
    """§4, §5.1, §5.2: as W3C writes it, verbatim; then what came in other ways only."""
    found = extract(
        came(
            ("uber-trace-id", f"{T}:{S}:0:1"),
            ("baggage", "k=v;prop, k2=%20"),
            ("baggage", "k3=3"),
            ("jaeger-baggage", "by=hand, k=other"),
            ("uberctx-User", "J%C3%BCrgen%2C Inc"),
            (f"{FC}-Baggage-Tenant", "7"),
        )
    )
    assert found.baggage == "k=v;prop, k2=%20,k3=3,by=hand,user=J%C3%BCrgen%2C%20Inc,tenant=7"
    assert members.entries(found.baggage) == {
        "k": "v", "k2": " ", "k3": "3", "by": "hand", "user": "Jürgen, Inc", "tenant": "7",
    }  # fmt: skip


def test_baggage_goes_on_without_a_context() -> None:
    assert one("baggage", "a=1") == Context(baggage="a=1")


def test_a_request_without_a_name_that_matters_says_nothing() -> None:
    assert extract([]) is NONE
    assert one("Cookie", "traceparent=1") is NONE
    assert all(name == name.lower() for name in TRACE_HEADERS)


# ── begin ──


def test_a_new_trace_has_the_requests_digits() -> None:
    request = RequestId("1-653a0b1c-1f0e0d0c0b0a090807060504")
    traced = begin(NONE, request, 1.0)
    assert traced.trace == "653a0b1c1f0e0d0c0b0a090807060504"
    assert (traced.parent, traced.sampled, traced.state) == ("", True, "")
    assert len(traced.root) == len(traced.invocation) == 16
    assert traced.root != traced.invocation


@pytest.mark.parametrize("ratio", [0.0, 0.5, 1.0])
def test_of_a_trace_that_begins_here_a_record_need_only_tell_whether_it_is_sampled(ratio: float) -> None:
    request = new_request_id()
    traced = begin(NONE, request, ratio)
    told = msgspec.structs.replace(record(), request=request, standing=traced.sampled)
    assert (told.traced, told.sampled) == (traced, traced.sampled)


def test_a_trace_that_came_is_joined_below_its_caller() -> None:
    """§8 test 1: the caller's span is the root's parent."""
    context = extract(came(("traceparent", f"00-{T}-{S}-00"), ("tracestate", "a=1")))
    traced = begin(context, new_request_id(), 1.0)
    assert (traced.trace, traced.parent, traced.sampled, traced.state) == (T, S, False, "a=1")
    assert S not in (traced.root, traced.invocation)


@pytest.mark.parametrize("zero", ["0" * 24, "0" * 16 + "1" * 8, "1" * 8 + "0" * 16])
def test_no_id_is_ever_zero(zero: str) -> None:
    traced = begin(NONE, RequestId(f"1-00000000-{zero}"), 1.0)
    ids = {traced.root, traced.invocation}
    assert len(ids) == 2
    assert "0" * 16 not in ids


@pytest.mark.parametrize(
    ("context", "ratio", "kept"),
    [
        (Context(T, S, True), 0.0, True),  # the parent's decision
        (Context(T, S, False), 1.0, False),
        (Context(T, S), 1.0, True),  # nobody's yet
        (Context(T, S), 0.0, False),
        (NONE, 1.0, True),
        (NONE, 0.0, False),
        (Context(sampled=False), 1.0, False),  # B3: 0
        (Context(sampled=True, debug=True), 0.0, True),
    ],
)
def test_a_decision_that_came_is_kept_and_else_the_ratio_decides(
    context: Context, ratio: float, kept: bool
) -> None:
    """§2: head-based."""
    assert sampled(context, ratio, T) is kept


@given(st.integers(1, 2**128 - 1), st.floats(0, 1))
def test_we_sample_the_traces_that_opentelemetry_would(trace: int, ratio: float) -> None:
    """So a function that decides by the same ratio keeps the same traces."""
    decision = TraceIdRatioBased(ratio).should_sample(None, trace, "").decision
    assert sampled(NONE, ratio, f"{trace:032x}") is (decision is Decision.RECORD_AND_SAMPLE)


def test_the_ratio_is_that_of_the_traces() -> None:
    kept = sum(sampled(NONE, 0.25, begin(NONE, new_request_id(), 0.25).trace) for _ in range(20_000))
    assert 4500 < kept < 5500  # eight standard deviations


# ── the context of a message ──

contexts = st.builds(
    Context,
    trace=st.integers(1, 2**128 - 1).map("{:032x}".format), span=st.integers(1, 2**64 - 1).map("{:016x}".format),
    sampled=st.sampled_from([None, True, False]), debug=st.booleans(), random=st.booleans(),
    state=st.text(), baggage=st.text(), b3=st.integers(0, 3), debug_id=st.text(),
)  # fmt: skip


@given(contexts)
def test_a_stored_context_comes_back_whole(context: Context) -> None:
    """§8 test 6"""
    assert child_of(to_text(context)) == context


@pytest.mark.parametrize("stored", ["", "{", "null", "[]", '{"trace": 1}', "\x00", '{"b3": "x"}'])
def test_what_was_not_stored_by_us_says_nothing(stored: str) -> None:
    assert child_of(stored) is NONE


def test_a_message_is_a_child_of_the_request_that_sent_it() -> None:
    """§8 test 6: the decision was made at acceptance, and each attempt has it."""
    context = extract(came(("b3", f"{T}-{S}"), ("baggage", "a=1")))
    traced = begin(context, new_request_id(), 0.0)
    later = child_of(to_text(below(context, traced, traced.root)))
    attempts = [begin(later, new_request_id(), 1.0) for _ in range(3)]
    assert {(one.trace, one.parent, one.sampled) for one in attempts} == {(T, traced.root, False)}
    assert len({one.root for one in attempts}) == 3
    assert (later.baggage, later.b3) == ("a=1", SINGLE)


# ── hostile bytes, and the others' readers ──

names = st.sampled_from([*sorted(TRACE_HEADERS), b"uberctx-a", b"x-other", f"{FC}-Baggage-K".lower().encode()])
pieces = st.sampled_from(
    [T, S, "-", ":", "00", "01", "ff", "%3A", "%", "1", "0", "d", ",", "=", ";", "Root=1-", "\0", "é"]
)
values = st.binary(max_size=80) | st.lists(pieces, max_size=12).map(lambda parts: "".join(parts).encode("latin-1"))


@given(st.lists(st.tuples(names, values), max_size=12))
def test_no_header_makes_a_request_fail(lines: list[tuple[bytes, bytes]]) -> None:
    context = extract([(name, name, value) for name, value in lines])
    traced = begin(context, new_request_id(), 0.5)
    assert formats.traceparent(f"00-{traced.trace}-{traced.invocation}-01".encode()) is not None
    assert not context.span or context.trace
    assert not context.state or b"traceparent" in dict(lines)


trace_ids = st.integers(0, 2**128 - 1).map("{:032x}".format) | st.text("0123456789abcdefABCDEFg-", max_size=33)
span_ids = st.integers(0, 2**64 - 1).map("{:016x}".format) | st.text("0123456789abcdefAg", max_size=17)
versions = st.sampled_from(["00", "01", "cc", "fe", "ff"])


@given(versions, trace_ids, span_ids, st.integers(0, 255), st.sampled_from(["", "-x", "x"]))
def test_a_traceparent_is_read_as_opentelemetry_reads_it(
    version: str, trace: str, span: str, flags: int, more: str
) -> None:
    value = f"{version}-{trace}-{span}-{flags:02x}{more}"
    theirs = get_current_span(TraceContextTextMapPropagator().extract({"traceparent": [value]})).get_span_context()
    ours = extract(came(("traceparent", value)))
    if theirs.is_valid and more != "x":  # they take anything behind a version they do not know
        assert (ours.trace, ours.span) == (f"{theirs.trace_id:032x}", f"{theirs.span_id:016x}")
        assert ours.sampled is theirs.trace_flags.sampled
    else:
        assert ours == NONE

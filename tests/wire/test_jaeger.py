"""Jaeger's batches. Source: tracing-contract.md §5.4, §8 tests 4 and 7."""

from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from thriftpy2.protocol.binary import TBinaryProtocol
from thriftpy2.protocol.compact import TCompactProtocol
from thriftpy2.transport import TMemoryBuffer

from sampan.model.errors import Malformed
from sampan.model.trace import Kind, Span, Status
from sampan.wire.jaeger import decode_batch, decode_datagram, encode_batch
from sampan.wire.jaeger_encoding import schema
from sampan.wire.span_limits import MAX_SPANS
from tests.wire.spans import FULL, spans

# Batch{1: Process{1: "s"}, 2: [Span{1: low 2, 2: high 0, 3: id 3, 4: parent 0, 5: "op", 7: 1, 8: 5 µs, 9: 7 µs}]},
# written by hand from the field list and Thrift's own description.
GOLDEN_BINARY = bytes.fromhex(
    "0c0001" "0b0001" "00000001" "73" "00"
    "0f0002" "0c00000001"
    "0a0001" "0000000000000002" "0a0002" "0000000000000000" "0a0003" "0000000000000003"
    "0a0004" "0000000000000000" "0b0005" "00000002" "6f70" "080007" "00000001"
    "0a0008" "0000000000000005" "0a0009" "0000000000000007" "00"
    "00"
)  # fmt: skip
GOLDEN_COMPACT = bytes.fromhex(
    "8281" "01" "09" "656d69744261746368" "1c"
    "1c" "18" "01" "73" "00"
    "19" "1c" "16" "04" "16" "00" "16" "06" "16" "00" "18" "02" "6f70" "25" "02" "16" "0a" "16" "0e" "00"
    "00" "00"
)  # fmt: skip
GOLDEN = Span(
    "0" * 31 + "2", "0" * 15 + "3", "", "op", Kind.INTERNAL, 5000, 12000, "s", resource={"service.name": "s"}
)


def tag(key: str, value: Any) -> Any:
    fields = {str: (0, "vStr"), float: (1, "vDouble"), bool: (2, "vBool"), int: (3, "vLong"), bytes: (4, "vBinary")}
    kind, field = fields[type(value)]
    return schema().Tag(key=key, vType=kind, **{field: value})


def batch(*given: Any) -> Any:
    return schema().Batch(process=schema().Process(serviceName="s"), spans=list(given))


def span(**given: Any) -> Any:
    fields = {"traceIdLow": 2, "traceIdHigh": 0, "spanId": 3, "parentSpanId": 0, "operationName": "op", "flags": 1}
    return schema().Span(**{**fields, "startTime": 5, "duration": 7, **given})


def encoded(what: Any) -> bytes:
    buffer: Any = TMemoryBuffer()
    protocol: Any = TBinaryProtocol
    protocol(buffer).write_struct(what)
    return bytes(buffer.getvalue())


def emitted(what: Any, compact: bool) -> bytes:
    """As a client of thriftpy2 sends it."""
    buffer: Any = TMemoryBuffer()
    kind: Any = TCompactProtocol if compact else TBinaryProtocol
    protocol = kind(buffer)
    protocol.write_message_begin("emitBatch", 4, 1)
    protocol.write_struct(schema().Agent.emitBatch_args(batch=what))
    protocol.write_message_end()
    return bytes(buffer.getvalue())


def one(**given: Any) -> Span:
    return decode_batch(encoded(batch(span(**given)))).spans[0]


def test_hand_written_bytes_are_read() -> None:
    assert decode_batch(GOLDEN_BINARY).spans == [GOLDEN]
    assert decode_datagram(GOLDEN_COMPACT, compact=True).spans == [GOLDEN]


def test_what_another_library_writes_is_read_in_both_protocols() -> None:
    expected = decode_batch(encode_batch("thumbs", {"host.name": "box"}, [FULL])).spans
    what = batch(span(tags=[tag("k", "v"), tag("n", -1), tag("f", 0.5), tag("b", True), tag("raw", b"\xff")]))
    read = [decode_datagram(emitted(what, compact), compact).spans for compact in (True, False)]
    assert read[0] == read[1] == decode_batch(encoded(what)).spans
    assert read[0][0].attributes == {"k": "v", "n": -1, "f": 0.5, "b": True, "raw": b"\xff"}
    assert expected == [FULL]


@given(st.lists(spans(), min_size=1, max_size=3))
def test_what_is_written_is_read_back(given: list[Span]) -> None:
    resource = {key: value for key, value in given[0].resource.items() if key != "service.name"}
    one_process = [
        Span(**{**_fields(one), "service": given[0].service, "resource": given[0].resource}) for one in given
    ]
    assert decode_batch(encode_batch(given[0].service, resource, one_process)).spans == one_process


def _fields(given: Span) -> dict[str, Any]:
    return {name: getattr(given, name) for name in given.__struct_fields__}


def test_a_64_bit_trace_id_is_the_low_half() -> None:
    assert one(traceIdLow=-1, traceIdHigh=0).trace == "0" * 16 + "f" * 16


def test_fields_that_are_tags_in_jaeger_are_fields_again() -> None:
    tags = [
        tag("span.kind", "client"),
        tag("error", True),
        tag("w3c.tracestate", "a=b"),
        tag("otel.library.name", "l"),
    ]
    read = one(tags=tags)
    assert (read.kind, read.status, read.state, read.scope) == (Kind.CLIENT, Status.ERROR, "a=b", "l")
    assert read.attributes == {}


def test_an_error_that_is_text_counts_too_and_one_that_is_false_does_not() -> None:
    assert one(tags=[tag("error", "true")]).status is Status.ERROR
    unset = one(tags=[tag("error", False)])
    assert (unset.status, unset.attributes) == (Status.UNSET, {"error": False})


def test_a_log_is_an_event_with_the_name_it_tells() -> None:
    log = schema().Log(timestamp=9, fields=[tag("event", "retry"), tag("try", 2)])
    nameless = schema().Log(timestamp=9, fields=[tag("message", "hm")])
    read = one(logs=[log, nameless]).events
    assert [(event.name, event.time, event.attributes) for event in read] == [
        ("retry", 9000, {"try": 2}),
        ("log", 9000, {"message": "hm"}),
    ]


def test_without_a_parents_id_the_reference_in_its_trace_is_the_parent_and_the_others_are_links() -> None:
    def reference(kind: int, low: int, number: int) -> Any:
        return schema().SpanRef(refType=kind, traceIdLow=low, traceIdHigh=0, spanId=number)

    read = one(references=[reference(1, 2, 8), reference(0, 77, 7), reference(0, 2, 9)])
    assert read.parent == "0" * 15 + "9"
    assert [(link.span[-1], link.attributes["opentracing.ref_type"]) for link in read.links] == [
        ("8", "follows_from"),
        ("7", "child_of"),
    ]


def test_a_reference_to_nothing_is_counted_and_left_out() -> None:
    nothing = schema().SpanRef(refType=1, traceIdLow=0, traceIdHigh=0, spanId=0)
    far = schema().SpanRef(refType=1, traceIdLow=7, traceIdHigh=0, spanId=7)
    read = one(parentSpanId=9, references=[nothing, far] + [far] * 200)
    assert (len(read.links), read.attributes["otel.dropped_links_count"]) == (127, 75)


def test_a_parent_that_is_told_twice_is_no_link() -> None:
    reference = schema().SpanRef(refType=0, traceIdLow=2, traceIdHigh=0, spanId=9)
    read = one(parentSpanId=9, references=[reference])
    assert (read.parent, read.links) == ("0" * 15 + "9", ())


def test_spans_without_ids_are_counted_and_left_out() -> None:
    read = decode_batch(encoded(batch(span(traceIdLow=0), span(spanId=0), span())))
    assert (len(read.spans), read.invalid) == (1, 2)


def test_times_that_cannot_be_stay_within_bounds() -> None:
    read = one(startTime=-5, duration=-7)
    assert (read.start, read.end) == (0, 0)
    assert one(startTime=(1 << 63) - 1).end == (1 << 63) - 1


def test_text_that_is_no_utf_8_is_read_with_marks() -> None:
    assert decode_batch(GOLDEN_BINARY.replace(b"op", b"\xff\xfe")).spans[0].name == "\ufffd\ufffd"


def test_what_is_beyond_the_limits_is_cut_and_counted() -> None:
    log = schema().Log(timestamp=9, fields=[])
    read = one(operationName="x" * 999, tags=[tag(f"k{n}", "v" * 9999) for n in range(400)], logs=[log] * 200)
    assert len(read.name) == 256
    assert (read.attributes["otel.dropped_attributes_count"], len(str(read.attributes["k0"]))) == (272, 4096)
    assert (len(read.events), read.attributes["otel.dropped_events_count"]) == (128, 72)


def test_a_parent_that_is_the_span_itself_is_none() -> None:
    assert one(parentSpanId=3).parent == ""


@pytest.mark.parametrize("damage", [b"", GOLDEN_BINARY[:-20], b"\x0c\x00\x01\x00", b"\x00"])
def test_a_damaged_batch_is_refused(damage: bytes) -> None:
    with pytest.raises(Malformed):
        decode_batch(damage)


def test_too_many_spans_are_refused() -> None:
    head, tail = GOLDEN_BINARY[:16], b"\x00" * (MAX_SPANS + 1) + b"\x00"
    with pytest.raises(Malformed, match="smaller"):
        decode_batch(head + (MAX_SPANS + 1).to_bytes(4, "big") + tail)


@given(st.binary(max_size=400), st.integers(0, 200), st.booleans())
def test_any_damage_is_refused_or_read(noise: bytes, at: int, compact: bool) -> None:
    whole = emitted(batch(span(tags=[tag("k", "v")], logs=[schema().Log(timestamp=1, fields=[])])), compact)
    for data in (noise, whole[:at] + noise, whole[:at] + noise[:1] + whole[at + 1 :]):
        for read in (partial(decode_datagram, compact=compact), decode_batch):
            with suppress(Malformed):
                assert len(read(data).spans) <= 1

"""OTLP's traces, logs and metrics, in both encodings. Source: tracing-contract.md §5.5."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from sampan.model.errors import Malformed
from sampan.model.trace import Kind, Span, SpanLink, Status
from sampan.wire.otlp import JSON, PROTOBUF, decode_traces, encode_traces, traces_json
from sampan.wire.otlp_logs import LogRecord, count_points, decode_logs, encode_logs
from sampan.wire.protobuf import status
from sampan.wire.span_limits import MAX_SPANS
from tests.wire.spans import FULL, spans


def in_json(*given: dict[str, Any], **resource: Any) -> bytes:
    scoped = {"scope": {"name": "lib"}, "spans": list(given)}
    return json.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": [scoped]}]}).encode()


def one(**given: Any) -> Span:
    return decode_traces(in_json({"traceId": "AB" * 16, "spanId": "cd" * 8, **given}), JSON).spans[0]


def value(given: dict[str, Any]) -> Any:
    return one(attributes=[{"key": "k", "value": given}]).attributes.get("k")


def test_a_span_in_json_is_read_with_hex_ids_text_numbers_and_enum_numbers() -> None:
    body = in_json(
        {
            "traceId": "5B8EFFF798038103D269B633813FC60C",
            "spanId": "EEE19B7EC3C1B174",
            "parentSpanId": "EEE19B7EC3C1B173",
            "name": "I'm a server span",
            "startTimeUnixNano": "1544712660000000000",
            "endTimeUnixNano": 1544712661000000000,
            "kind": 2,
            "status": {"code": 2, "message": "no"},
            "attributes": [{"key": "n", "value": {"intValue": "-7"}}],
            "events": [{"timeUnixNano": "5", "name": "e", "attributes": []}],
            "links": [{"traceId": "1" * 32, "spanId": "2" * 16}],
            "traceState": "a=b",
            "someNewField": {},
        },
        attributes=[{"key": "service.name", "value": {"stringValue": "my.service"}}],
    )
    (read,) = decode_traces(body, f"{JSON}; charset=utf-8").spans
    assert (read.trace, read.span, read.parent) == (
        "5b8efff798038103d269b633813fc60c",
        "eee19b7ec3c1b174",
        "eee19b7ec3c1b173",
    )
    assert (read.start, read.end, read.kind) == (1544712660000000000, 1544712661000000000, Kind.SERVER)
    assert (read.status, read.message, read.state, read.scope) == (Status.ERROR, "no", "a=b", "lib")
    assert (read.service, read.attributes, read.events[0].time) == ("my.service", {"n": -7}, 5)
    assert read.links == (SpanLink("1" * 32, "2" * 16),)


def test_enums_may_be_names() -> None:
    read = one(kind="SPAN_KIND_CONSUMER", status={"code": "STATUS_CODE_OK"})
    assert (read.kind, read.status) == (Kind.CONSUMER, Status.OK)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"stringValue": "s"}, "s"),
        ({"boolValue": False}, False),
        ({"intValue": "9223372036854775807"}, (1 << 63) - 1),
        ({"intValue": "99999999999999999999"}, "0x56bc75e2d630fffff"),
        ({"doubleValue": 1}, 1.0),
        ({"doubleValue": "NaN"}, "nan"),
        ({"bytesValue": "AP8="}, b"\x00\xff"),
        ({"bytesValue": "no base64"}, "no base64"),
        ({"arrayValue": {"values": [{"stringValue": "a"}, {"intValue": 1}]}}, ["a", 1]),
        ({"arrayValue": {"values": [{"arrayValue": {"values": []}}]}}, "[[]]"),
        ({"kvlistValue": {"values": [{"key": "x", "value": {"boolValue": True}}]}}, '{"x":true}'),
        ({}, None),
    ],
)
def test_each_kind_of_value_is_read_from_json(given: dict[str, Any], expected: object) -> None:
    assert value(given) == expected


def test_nested_values_are_read_from_protobuf_as_from_json() -> None:
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add(trace_id=b"a" * 16, span_id=b"b" * 8)
    span.attributes.add(key="k").value.array_value.values.add().array_value.SetInParent()
    listed = span.attributes.add(key="l").value.array_value.values.add()
    listed.bytes_value = b"\xff"
    member = span.attributes.add(key="m").value.kvlist_value.values.add(key="x")
    member.value.double_value = 0.5
    read = decode_traces(request.SerializeToString(), PROTOBUF).spans[0].attributes
    assert read == {"k": "[[]]", "l": ["ff"], "m": '{"x":0.5}'}


def test_values_nested_beyond_reason_are_left_out() -> None:
    nested: dict[str, Any] = {"stringValue": "s"}
    for _ in range(40):
        nested = {"arrayValue": {"values": [nested]}}
    assert value(nested).count("[") < 20


@given(st.lists(spans(), min_size=1, max_size=3))
def test_what_is_written_is_read_back(given: list[Span]) -> None:
    given = [replace(span, links=tuple(SpanLink(link.trace, link.span) for link in span.links)) for span in given]
    body = encode_traces(given).SerializeToString()
    assert sorted(map(repr, decode_traces(body, PROTOBUF).spans)) == sorted(map(repr, given))


def test_spans_are_grouped_by_resource_and_scope() -> None:
    other = replace(FULL, scope="db")
    request = encode_traces([FULL, other, FULL, replace(FULL, resource={"host.name": "elsewhere"})])
    groups = [[len(scoped.spans) for scoped in group.scope_spans] for group in request.resource_spans]
    assert groups == [[2, 1], [1]]


def test_a_resource_tells_who_sent_it_whatever_the_span_says() -> None:
    mine = replace(FULL, function="thumbs", version="3", instance="i-1", resource={"faas.name": "root"})
    told = encode_traces([mine]).resource_spans[0].resource.attributes
    assert {one.key: one.value.string_value for one in told} == {
        "service.name": "thumbs",
        "faas.name": "thumbs",
        "faas.version": "3",
        "faas.instance": "i-1",
    }


def test_spans_without_ids_or_with_ids_of_another_length_are_counted_and_left_out() -> None:
    bad = [{"traceId": "0" * 32, "spanId": "1" * 16}, {"traceId": "1" * 31, "spanId": "1" * 16}]
    bad += [{"traceId": "1" * 32, "spanId": "xx" * 8}, {"traceId": "1" * 32}]
    read = decode_traces(in_json(*bad, {"traceId": "1" * 32, "spanId": "1" * 16}), JSON)
    assert (len(read.spans), read.invalid) == (1, 4)


def test_what_is_beyond_the_limits_is_cut_and_counted_with_what_the_sender_cut() -> None:
    many = [{"key": f"k{n}", "value": {"stringValue": "v" * 9999}} for n in range(130)]
    events, links = [{"name": "e"}] * 130, [{"traceId": "1" * 32, "spanId": "1" * 16}] * 130
    read = one(name="n" * 999, attributes=many, events=events, links=links, droppedAttributesCount=5)
    assert (len(read.name), len(str(read.attributes["k0"]))) == (256, 4096)
    assert (len(read.events), len(read.links)) == (128, 128)
    counts = ("attributes", "events", "links")
    assert [read.attributes[f"otel.dropped_{one}_count"] for one in counts] == [7, 2, 2]


def test_a_link_that_leads_nowhere_is_counted_and_left_out() -> None:
    read = one(links=[{"traceId": "0" * 32, "spanId": "1" * 16}, {}, {"traceId": "1" * 32, "spanId": "1" * 16}])
    assert (len(read.links), read.attributes["otel.dropped_links_count"]) == (1, 2)


def test_a_list_is_cut_as_a_whole() -> None:
    read = value({"arrayValue": {"values": [{"stringValue": "x" * 3000}] * 500}})
    assert [len(one) for one in read] == [3000, 1096]


def test_an_end_before_the_start_is_the_start() -> None:
    assert one(startTimeUnixNano="9", endTimeUnixNano="5").end == 9


def _field(number: int, body: bytes) -> bytes:
    size, head = len(body), bytes([number << 3 | 2])
    while size > 0x7F:
        head += bytes([size & 0x7F | 0x80])
        size >>= 7
    return head + bytes([size]) + body


@pytest.mark.parametrize(
    "body",
    [
        _field(1, _field(2, b"\x12\x00" * 500_000)),
        _field(1, _field(2, _field(2, b"\x4a\x00" * 500_000))),
        _field(1, b"\x12\x00" * 500_000),
        b"\x0a\x00" * 500_000,
        in_json().replace(b'"spans": []', b'"spans": [' + b"{}," * 500_000 + b"{}]"),
    ],
    ids=["spans", "attributes", "scopes", "resources", "json"],
)
def test_a_small_body_does_not_become_a_great_many_objects(body: bytes) -> None:
    with pytest.raises(Malformed, match="smaller batches"):
        decode_traces(body, JSON if body[:1] == b"{" else PROTOBUF)


def test_too_many_spans_are_refused() -> None:
    body = _field(1, _field(2, b"\x12\x00" * (MAX_SPANS + 1)))
    with pytest.raises(Malformed, match=f"more than {MAX_SPANS} spans"):
        decode_traces(body, PROTOBUF)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"\xff", PROTOBUF),
        (b"\x0a\xff\xff\xff\xff\x0f" + bytes(70_000), PROTOBUF),
        (b"\x0b" * 70_000, PROTOBUF),
        (b"\x08" + b"\xff" * 70_000, PROTOBUF),
        (b"[]", JSON),
        (b"{", JSON),
        (b'{"resourceSpans": 5}', JSON),
        (b"[" * 100_000, JSON),
        (b'{"resourceSpans": [{"resource": {"attributes": [{"key": "\xff"}]}}]}', JSON),
        (b"{}", "text/plain"),
        (b"{}", ""),
    ],
)
def test_what_is_none_is_refused(body: bytes, content_type: str) -> None:
    with pytest.raises(Malformed):
        decode_traces(body, content_type)


@given(st.binary(max_size=300), st.integers(0, 400))
def test_any_damage_is_refused_or_read(noise: bytes, at: int) -> None:
    whole = encode_traces([FULL]).SerializeToString()
    text = in_json({"traceId": "1" * 32, "spanId": "1" * 16, "kind": 2})
    for start, kind in ((whole, PROTOBUF), (text, JSON)):
        for data in (noise, start[:at] + noise, start[:at] + noise[:2] + start[at + 2 :]):
            for read in (decode_traces, decode_logs, count_points):
                with suppress(Malformed):
                    read(data, kind)


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text() | st.integers(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["traceId", "spans", "attributes", "value", "intValue", "kind"]), inner)
    ),
)


@given(_JSON)
def test_any_json_where_a_span_is_expected_is_refused_or_read(given: Any) -> None:
    body = {"resourceSpans": [{"scopeSpans": [{"spans": [given]}]}]}
    with suppress(Malformed):
        assert decode_traces(json.dumps(body).encode(), JSON).invalid <= 1


# ── logs and metrics ──


def test_log_records_are_read_from_both_encodings_alike() -> None:
    record = LogRecord(
        5,
        "hello",
        17,
        "ERROR",
        "thumbs",
        trace="a" * 32,
        span="b" * 16,
        attributes={"n": 1},
        resource={"service.name": "thumbs"},
        scope="lib",
    )
    line = {
        "timeUnixNano": "5",
        "severityNumber": "SEVERITY_NUMBER_ERROR",
        "severityText": "ERROR",
        "body": {"stringValue": "hello"},
        "attributes": [{"key": "n", "value": {"intValue": "1"}}],
        "traceId": "A" * 32,
        "spanId": "B" * 16,
    }
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "thumbs"}}]}
    scoped = {"scope": {"name": "lib"}, "logRecords": [line]}
    body = json.dumps({"resourceLogs": [{"resource": resource, "scopeLogs": [scoped]}]}).encode()
    assert decode_logs(body, JSON) == [record]
    assert decode_logs(encode_logs([record]).SerializeToString(), PROTOBUF) == [record]


def test_a_record_that_was_only_observed_has_that_time_and_a_body_that_is_no_text_becomes_json() -> None:
    line = {"observedTimeUnixNano": 7, "body": {"arrayValue": {"values": [{"intValue": 1}]}}, "severityNumber": 99}
    body = json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [line]}]}]}).encode()
    (read,) = decode_logs(body, JSON)
    assert (read.time, read.text, read.severity) == (7, "[1]", 24)


def test_records_are_grouped_and_tell_who_printed_them() -> None:
    mine = LogRecord(1, "a", service="s", function="f", version="1", instance="i")
    request = encode_logs([mine, mine, replace(mine, instance="j")])
    assert [len(group.scope_logs[0].log_records) for group in request.resource_logs] == [2, 1]


def test_data_points_are_counted_in_both_encodings() -> None:
    request = ExportMetricsServiceRequest()
    metrics = request.resource_metrics.add().scope_metrics.add().metrics
    for _ in range(2):
        metrics.add().gauge.data_points.add()
        metrics.add().histogram.data_points.add()
    assert count_points(request.SerializeToString(), PROTOBUF) == 4
    metric = {"name": "m", "sum": {"dataPoints": [{"asInt": "1"}, {"asInt": "2"}]}}
    body = json.dumps({"resourceMetrics": [{"scopeMetrics": [{"metrics": [metric]}]}]}).encode()
    assert count_points(body, JSON) == 2


def test_a_status_is_what_googles_own_classes_read() -> None:
    status_pb2 = pytest.importorskip("google.rpc.status_pb2")
    details = pytest.importorskip("google.rpc.error_details_pb2")
    read = status_pb2.Status.FromString(status(8, "slow down", 7))
    info = details.RetryInfo()
    assert read.details[0].Unpack(info)
    assert (read.code, read.message, info.retry_delay.seconds) == (8, "slow down", 7)
    assert not status_pb2.Status.FromString(status(3, "no")).details


def test_a_value_that_json_cannot_hold_is_text() -> None:
    assert value({"doubleValue": "Infinity"}) == "inf"


# ── as JSON ──


def told_in_json(*given: Span) -> list[dict[str, Any]]:
    document = json.loads(traces_json(given))
    return [
        span for group in document["resourceSpans"] for scoped in group["scopeSpans"] for span in scoped["spans"]
    ]


def test_in_json_ids_are_hex_and_enums_numbers() -> None:
    """OTLP 1.10, JSON Protobuf Encoding."""
    [told] = told_in_json(FULL)
    assert (told["traceId"], told["spanId"], told["parentSpanId"]) == (FULL.trace, FULL.span, FULL.parent)
    assert [(link["traceId"], link["spanId"]) for link in told["links"]] == [("f" * 32, "e" * 16)]
    assert (told["kind"], told["status"]["code"]) == (2, 2)
    assert told["startTimeUnixNano"] == str(FULL.start), "64 bits are text"
    values = {one["key"]: one["value"] for one in told["attributes"]}
    assert values["size"] == {"intValue": "-5"}
    assert values["raw"] == {"bytesValue": "AP8="}


def test_in_json_a_root_names_no_parent_and_no_spans_are_a_document() -> None:
    [told] = told_in_json(replace(FULL, parent="", links=()))
    assert "parentSpanId" not in told
    assert json.loads(traces_json([])) == {}


@given(st.lists(spans(), max_size=4))
def test_what_is_told_in_json_is_read_as_what_it_was(given: list[Span]) -> None:
    in_protobuf = decode_traces(encode_traces(given).SerializeToString(), PROTOBUF)
    assert decode_traces(traces_json(given), JSON) == in_protobuf

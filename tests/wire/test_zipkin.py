"""Zipkin's JSON of both versions. Source: zipkin-api, zipkin2-api.yaml and zipkin-api.yaml."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.model.errors import Malformed
from sampan.model.trace import Kind, Span, Status
from sampan.wire.span_limits import MAX_SPANS
from sampan.wire.zipkin import decode_v1, decode_v2

V2 = {
    "traceId": "463ac35c9f6413ad",
    "id": "A2FB4A1D1A96D312",
    "parentId": "463ac35c9f6413ad",
    "name": "get /orders",
    "kind": "CLIENT",
    "timestamp": 1472470996199000,
    "duration": 207000,
    "localEndpoint": {"serviceName": "frontend", "ipv4": "192.168.99.1", "port": 3306},
    "remoteEndpoint": {"serviceName": "backend", "ipv6": "fe80::1", "port": 9000},
    "annotations": [{"timestamp": 1472470996238000, "value": "wr"}],
    "tags": {"http.path": "/api"},
}


def v2(**more: Any) -> Span:
    return decode_v2(json.dumps([{**V2, **more}]).encode()).spans[0]


def test_a_span_of_version_2_is_read() -> None:
    read = v2()
    assert (read.trace, read.span, read.parent) == (
        "0000000000000000463ac35c9f6413ad",
        "a2fb4a1d1a96d312",
        "463ac35c9f6413ad",
    )
    assert (read.name, read.kind, read.service) == ("get /orders", Kind.CLIENT, "frontend")
    assert (read.start, read.end) == (1472470996199000000, 1472470996406000000)
    assert read.attributes == {
        "http.path": "/api",
        "peer.service": "backend",
        "network.peer.address": "fe80::1",
        "network.peer.port": 9000,
    }
    assert [(event.name, event.time) for event in read.events] == [("wr", 1472470996238000000)]
    assert read.status is Status.UNSET


def test_all_but_the_ids_may_be_missing() -> None:
    read = decode_v2(b'[{"traceId": "1", "id": "2"}]').spans[0]
    assert (read.trace, read.span, read.parent, read.kind) == ("0" * 31 + "1", "0" * 15 + "2", "", Kind.INTERNAL)


@pytest.mark.parametrize(
    ("tags", "status", "message"),
    [
        ({"error": ""}, Status.ERROR, ""),
        ({"error": "true"}, Status.ERROR, ""),
        ({"error": "404"}, Status.ERROR, "404"),
        ({"error": "false"}, Status.UNSET, ""),
        ({"otel.status_code": "OK"}, Status.OK, ""),
        ({"otel.status_code": "ERROR", "error": "boom"}, Status.ERROR, "boom"),
    ],
)
def test_an_error_tag_is_an_error_and_tells_its_message(tags: dict[str, str], status: Status, message: str) -> None:
    read = v2(tags=tags)
    assert (read.status, read.message) == (status, message)


def test_a_span_of_version_1_has_its_kind_and_times_from_its_annotations() -> None:
    endpoint = {"serviceName": "backend", "ipv4": "10.0.0.1", "port": 80}
    old = {
        "traceId": "48485a3953bb6124f48485a3953bb612",
        "id": "2",
        "name": "get",
        "annotations": [
            {"timestamp": 1000, "value": "sr", "endpoint": endpoint},
            {"timestamp": 1500, "value": "cache miss", "endpoint": endpoint},
            {"timestamp": 3000, "value": "ss", "endpoint": endpoint},
        ],
        "binaryAnnotations": [
            {"key": "http.path", "value": "/x", "endpoint": endpoint},
            {"key": "ca", "value": True, "endpoint": {"serviceName": "frontend", "ipv4": "10.0.0.9"}},
        ],
    }
    (read,) = decode_v1(json.dumps([old]).encode()).spans
    assert (read.kind, read.service, read.start, read.end) == (Kind.SERVER, "backend", 1_000_000, 3_000_000)
    assert [event.name for event in read.events] == ["cache miss"]
    assert read.attributes == {
        "http.path": "/x",
        "peer.service": "frontend",
        "network.peer.address": "10.0.0.9",
    }


def test_a_local_span_of_version_1_has_the_times_it_tells() -> None:
    old = {
        "traceId": "1",
        "id": "2",
        "timestamp": 5,
        "duration": 7,
        "binaryAnnotations": [{"key": "lc", "value": "db"}],
    }
    (read,) = decode_v1(json.dumps([old]).encode()).spans
    assert (read.kind, read.start, read.end, read.attributes) == (Kind.INTERNAL, 5000, 12000, {"lc": "db"})


def test_spans_without_ids_are_counted_and_left_out() -> None:
    bad = [
        {"traceId": "0", "id": "1"},
        {"traceId": "g", "id": "1"},
        {"traceId": "1"},
        {"traceId": "1" * 33, "id": "1"},
    ]
    read = decode_v2(json.dumps([*bad, V2]).encode())
    assert (len(read.spans), read.invalid) == (1, 4)


@pytest.mark.parametrize("body", [b"", b"{}", b"[1]", b"[" * 50_000, b'[{"timestamp": {}}]'])
def test_what_is_no_list_of_spans_is_refused(body: bytes) -> None:
    for decode in (decode_v1, decode_v2):
        with pytest.raises(Malformed):
            decode(body)


def test_too_many_spans_are_refused() -> None:
    with pytest.raises(Malformed, match="smaller"):
        decode_v2(b"[" + b"{}," * MAX_SPANS + b"{}]")


@given(st.binary(max_size=200), st.integers(0, 500))
def test_any_damage_is_refused_or_read(noise: bytes, at: int) -> None:
    whole = json.dumps([V2]).encode()
    for data in (noise, whole[:at] + noise, whole[:at] + noise[:2] + whole[at + 2 :]):
        for decode in (decode_v1, decode_v2):
            with suppress(Malformed):
                assert len(decode(data).spans) <= 1

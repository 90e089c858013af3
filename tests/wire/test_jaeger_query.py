"""Jaeger's query API in Jaeger's own words. Source: tracing-contract.md §5.4; Jaeger 1.x `model/json`."""

import json
from typing import Any

import msgspec
import pytest

from sampan.model.errors import InvalidArgument
from sampan.model.trace import Kind, SpanEvent, SpanLink, Status
from sampan.wire import jaeger_query
from tests.traces.samples import MS, START, TRACE, cold, span

NOW = START + 10**9


def told(*spans: Any) -> dict[str, Any]:
    envelope = jaeger_query.Envelope([jaeger_query.trace(spans)])
    answer = json.loads(jaeger_query.encode(envelope))
    assert {key: answer[key] for key in ("total", "limit", "offset", "errors")} == {
        "total": 0,
        "limit": 0,
        "offset": 0,
        "errors": None,
    }
    (trace,) = answer["data"]
    assert isinstance(trace, dict)
    return trace


def test_a_span_is_told_as_jaeger_tells_it() -> None:
    full = msgspec.structs.replace(
        span(
            2,
            1,
            "GET /",
            1,
            3.5,
            kind=Kind.SERVER,
            status=Status.ERROR,
            message="no",
            attributes={
                "s": "x",
                "b": True,
                "i": 7,
                "big": 1 << 60,
                "f": 0.5,
                "nan": float("nan"),
                "l": ["a", 1],
                "bytes": b"\x00\xff",
            },
            events=(SpanEvent("retry", START + 2 * MS, {"n": 1}),),
            resource={"service.name": "shop", "host.name": "h"},
        ),
        links=(SpanLink("ab" * 16, "cd" * 8),),
        scope="lib",
        state="v=1",
    )
    trace = told(span(1, 0, "root", 0, 5, resource={"service.name": "shop", "host.name": "h"}), full)
    assert trace["traceID"] == TRACE
    assert trace["warnings"] is None
    assert trace["processes"] == {
        "p1": {"serviceName": "shop", "tags": [{"key": "host.name", "type": "string", "value": "h"}]}
    }
    root, child = trace["spans"]
    assert root["references"] == []
    tags = {tag["key"]: (tag["type"], tag["value"]) for tag in child.pop("tags")}
    assert tags == {
        "s": ("string", "x"),
        "b": ("bool", True),
        "i": ("int64", 7),
        "big": ("int64", str(1 << 60)),
        "f": ("float64", 0.5),
        "nan": ("float64", "nan"),
        "l": ("string", '["a",1]'),
        "bytes": ("binary", "AP8="),
        "span.kind": ("string", "server"),
        "error": ("bool", True),
        "otel.status_code": ("string", "ERROR"),
        "otel.status_description": ("string", "no"),
        "otel.scope.name": ("string", "lib"),
        "w3c.tracestate": ("string", "v=1"),
    }
    assert child == {
        "traceID": TRACE,
        "spanID": "0000000000000002",
        "flags": 1,
        "operationName": "GET /",
        "references": [
            {"refType": "CHILD_OF", "traceID": TRACE, "spanID": "0000000000000001"},
            {"refType": "FOLLOWS_FROM", "traceID": "ab" * 16, "spanID": "cd" * 8},
        ],
        "startTime": START // 1000 + 1000,
        "duration": 2500,
        "logs": [
            {
                "timestamp": START // 1000 + 2000,
                "fields": [
                    {"key": "event", "type": "string", "value": "retry"},
                    {"key": "n", "type": "int64", "value": 1},
                ],
            }
        ],
        "processID": "p1",
        "warnings": None,
    }


def test_each_service_and_resource_is_a_process() -> None:
    trace = told(*cold())
    assert {process["serviceName"] for process in trace["processes"].values()} == {"shop", "postgres", "pay"}
    assert list(trace["processes"]) == ["p1", "p2", "p3"]
    for each in trace["spans"]:
        assert each["processID"] in trace["processes"]


def test_what_is_odd_about_a_span_is_warned_of() -> None:
    (odd,) = told(span(2, 9, "a", 5, 1))["spans"]
    assert odd["duration"] == 0
    assert [warning.split(" ")[0] for warning in odd["warnings"]] == ["its", "it"]


def test_a_question_as_the_ui_and_grafana_ask_it() -> None:
    asked = jaeger_query.asked(
        [
            ("service", "shop"),
            ("operation", "GET /"),
            ("tags", '{"http.status_code":"500","error":"true"}'),
            ("tag", "a:b:c"),
            ("start", "1767225600000000"),
            ("end", "1767225660000000"),
            ("lookback", "custom"),
            ("minDuration", "1.5ms"),
            ("maxDuration", "1m30s"),
            ("limit", "5000"),
        ],
        NOW,
        1500,
    )
    assert asked == jaeger_query.Asked(
        "shop",
        "GET /",
        {"http.status_code": "500", "error": "true", "a": "b:c"},
        START,
        START + 60 * 10**9,
        1_500_000,
        90 * 10**9,
        1500,
        (),
    )


def test_where_nothing_is_said_it_is_the_last_two_days() -> None:
    asked = jaeger_query.asked([("service", "shop")], NOW, 1500)
    assert (asked.start, asked.end, asked.limit) == (NOW - 2 * 86400 * 10**9, NOW, 100)


@pytest.mark.parametrize(
    "parameters",
    [
        [],
        [("service", "a"), ("start", "yesterday")],
        [("service", "a"), ("end", "9" * 30)],
        [("service", "a"), ("limit", "-1")],
        [("service", "a"), ("minDuration", "5")],
        [("service", "a"), ("minDuration", "1" * 5000 + "s")],
        [("service", "a"), ("minDuration", "2s"), ("maxDuration", "1s")],
        [("service", "a"), ("tags", "error=true")],
        [("service", "a"), ("tags", '["x"]')],
        [("service", "a"), ("tag", "x")],
    ],
)
def test_a_question_that_is_none_is_refused(parameters: list[tuple[str, str]]) -> None:
    with pytest.raises(InvalidArgument):
        jaeger_query.asked(parameters, NOW, 1500)

import msgspec
import pytest

from sampan.sdk import AsyncClient, Client, NotFound
from sampan.wire import trace_shapes
from tests.sdk.loopback import KEY, Answer, Asked, Loopback, refusal
from tests.traces.samples import REQUEST, TRACE, cold

ROOT = "/sampan/v1/traces"


def summary(trace: str) -> dict[str, object]:
    return {
        "traceId": trace,
        "name": "web",
        "service": "web",
        "function": "web",
        "start": 1,
        "duration": 2,
        "spans": 3,
        "services": [{"name": "web", "spans": 3}],
    }


def test_a_trace_is_read_span_by_span(server: Loopback, client: Client) -> None:
    told = trace_shapes.told(cold())
    server.script["GET", f"{ROOT}/{REQUEST}"] = Answer(200, msgspec.json.encode(told))
    read = client.trace(REQUEST)
    assert read == told
    assert read.trace_id == TRACE
    assert read.spans[0].end - read.spans[0].start == read.spans[0].duration


def test_a_trace_is_had_as_otlp(server: Loopback, client: Client) -> None:
    server.script["GET", f"{ROOT}/{TRACE}"] = Answer(200, {"resourceSpans": []})
    assert client.trace_otlp(TRACE) == b'{"resourceSpans": []}'
    assert server.asked[0].query == {"format": "otlp"}


def test_a_trace_that_is_not_there_is_not_found(server: Loopback, client: Client) -> None:
    server.script["GET", f"{ROOT}/ab"] = refusal(404, "TraceNotFound")
    with pytest.raises(NotFound) as refused:
        client.trace("ab")
    assert refused.value.code == "TraceNotFound"


def test_every_condition_is_asked_for_in_the_apis_words_and_pages_follow(server: Loopback, client: Client) -> None:
    def page(asked: Asked) -> Answer:
        first = "nextToken" not in asked.query
        traces = [summary("a"), summary("b")] if first else [summary("c")]
        return Answer(200, {"traces": traces, "nextToken": "1.2" if first else None})

    server.script["GET", ROOT] = page
    found = client.traces(
        function="web",
        service="s",
        operation="GET /",
        since=1.5,
        until=2,
        min_duration=0.25,
        max_duration=1,
        errors=True,
        cold=False,
        request_id="1-2",
        attributes={"a b": "c=d"},
        page_size=2,
    )
    assert [each.trace_id for each in found] == ["a", "b", "c"]
    assert server.asked[0].query == {
        "function": "web",
        "service": "s",
        "operation": "GET /",
        "since": "1.500000",
        "until": "2",
        "minDuration": "250000000ns",
        "maxDuration": "1000000000ns",
        "errors": "true",
        "cold": "false",
        "requestId": "1-2",
        "limit": "2",
        "attribute": "a b=c=d",
    }
    assert server.asked[1].query["nextToken"] == "1.2"


async def test_the_async_client_asks_the_same(server: Loopback) -> None:
    server.script["GET", ROOT] = Answer(200, {"traces": [summary("a")]})
    server.script["GET", f"{ROOT}/{TRACE}"] = Answer(200, msgspec.json.encode(trace_shapes.told(cold())))
    async with AsyncClient(server.url, KEY.id, KEY.secret, environment={}) as client:
        assert [each.trace_id async for each in client.traces()] == ["a"]
        assert len((await client.trace(TRACE)).spans) == 116

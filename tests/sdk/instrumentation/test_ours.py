import asyncio
import json

import httpx
import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.instrumentation.utils import is_http_instrumentation_enabled, suppress_instrumentation
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind

from sampan.sdk import AsyncClient, Client, NotFound, Retries, Unreachable, instrument, trace_context, uninstrument
from sampan.sdk.propagation import FC_CONTEXT
from sampan.sdk.senders import Awaiting, Blocking
from tests.sdk.instrumentation.conftest import (
    Spans,
    assert_carried,
    assert_same_but_for_the_trace,
    failed,
    traceparent,
)
from tests.sdk.loopback import KEY, Answer, Loopback, function, refusal

INVOKE = "/2023-03-30/functions/web/invocations"
OUTSIDE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_an_invocation_is_a_client_span_and_its_context_goes_along(
    spans: Spans, server: Loopback, client: Client
) -> None:
    server.script["POST", INVOKE] = Answer(200, b"ok", {"x-fc-request-id": "1-a"})
    assert client.invoke("web", b"x", qualifier="prod").text == "ok"
    span = spans.call
    port = int(server.url.rpartition(":")[2])
    assert (span.name, span.kind, span.parent) == ("invoke web", SpanKind.CLIENT, None)
    assert dict(span.attributes) == {
        "faas.invoked_name": "web",
        "faas.invoked_provider": "sampan",
        "faas.invocation_id": "1-a",
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "server.address": "127.0.0.1",
        "server.port": port,
        "url.full": f"{server.url}{INVOKE}?qualifier=prod",
    }
    assert failed(span) is None
    assert_carried(span, server.asked[0])


def test_the_region_is_told_where_it_is_known(spans: Spans, server: Loopback) -> None:
    server.script["POST", INVOKE] = Answer()
    with Client(server.url, KEY.id, KEY.secret, environment={"SAMPAN_REGION": "attic"}) as client:
        client.invoke("web")
    assert spans.call.attributes["faas.invoked_region"] == "attic"


async def test_an_awaited_call_is_the_same(spans: Spans, server: Loopback) -> None:
    server.script["POST", INVOKE] = Answer(200, b"ok")
    async with AsyncClient(server.url, KEY.id, KEY.secret, environment={}) as client:
        with spans.tracer.start_as_current_span("outer") as outer:
            await client.invoke("web")
    assert spans.call.parent.span_id == outer.get_span_context().span_id
    assert_carried(spans.call, server.asked[0])


async def test_calls_side_by_side_keep_their_contexts_apart(spans: Spans, server: Loopback) -> None:
    server.script["POST", INVOKE] = Answer(200, b"ok")
    async with AsyncClient(server.url, KEY.id, KEY.secret, environment={}) as client:
        await asyncio.gather(*(client.invoke("web", str(each)) for each in range(8)))
    assert {traceparent(span) for span in spans.calls} == {asked.headers["traceparent"] for asked in server.asked}
    assert len({span.context.trace_id for span in spans.calls}) == 8


def test_a_function_called_by_http_hides_what_its_query_says(
    spans: Spans, server: Loopback, client: Client
) -> None:
    server.script["GET", "/fn/web/a/b"] = Answer(204)
    assert client.http("web", path="/a/b", query={"token": "geheim", "x": ""}).status == 204
    span = spans.call
    assert span.name == "invoke web"
    assert span.attributes["url.full"] == f"{server.url}/fn/web/a/b?token=REDACTED&x=REDACTED"
    assert "geheim" not in span.to_json()
    assert_carried(span, server.asked[0])


def test_every_operation_is_a_span_by_its_own_name(spans: Spans, server: Loopback, client: Client) -> None:
    server.script["GET", "/2023-03-30/functions/web"] = Answer(200, function())
    server.script["GET", "/sampan/v1/status"] = Answer(200, {"version": "1"})
    client.get_function("web")
    client.status()
    assert [span.name for span in spans.calls] == ["GetFunction", "Status"]
    assert not any(key.startswith("faas.invoked") for span in spans.calls for key in span.attributes)


def test_a_followed_log_is_a_span_that_ends_when_the_answer_begins(
    spans: Spans, server: Loopback, client: Client
) -> None:
    line = json.dumps({"time": "t", "instance": "i", "text": "hello"})
    server.script["GET", "/sampan/v1/functions/web/logs"] = Answer(200, f"{line}\n".encode())
    assert [each.text for each in client.logs("web")] == ["hello"]
    assert spans.call.name == "FollowLogs"


def test_a_refusal_is_an_error(spans: Spans, server: Loopback, client: Client) -> None:
    server.script["POST", INVOKE] = refusal(404, "FunctionNotFound")
    with pytest.raises(NotFound):
        client.invoke("web")
    assert failed(spans.call) == "404"
    assert spans.call.attributes["faas.invocation_id"] == "1-refused"


def test_a_function_that_fails_has_failed_the_call(spans: Spans, server: Loopback, client: Client) -> None:
    server.script["POST", INVOKE] = Answer(200, b"{}", {"x-fc-error-type": "FunctionUnhandledError"})
    assert client.invoke("web").failed
    assert failed(spans.call) == "FunctionUnhandledError"


def test_each_repetition_is_a_span_of_its_own(spans: Spans, server: Loopback, client: Client) -> None:
    busy = refusal(503, "ResourceExhausted", **{"x-acs-retry-after": "0"})
    server.script["GET", "/2023-03-30/functions/web"] = [busy, busy, Answer(200, function())]
    with spans.tracer.start_as_current_span("outer") as outer:
        client.get_function("web")
    assert [span.attributes.get("http.request.resend_count") for span in spans.calls] == [None, 1, 2]
    assert [failed(span) for span in spans.calls] == ["503", "503", None]
    assert {span.parent.span_id for span in spans.calls} == {outer.get_span_context().span_id}
    for span, asked in zip(spans.calls, server.asked, strict=True):
        assert_carried(span, asked)


def test_where_nobody_listens_the_error_is_named_without_its_words(spans: Spans, server: Loopback) -> None:
    once = Retries(attempts=1)
    with (
        Client("http://127.0.0.1:1", KEY.id, KEY.secret, environment={}, retries=once) as client,
        pytest.raises(Unreachable),
    ):
        client.invoke("web")
    assert failed(spans.call) == "httpx.ConnectError"
    assert not spans.call.events


async def test_a_cancelled_call_ends_its_span(spans: Spans, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = asyncio.Event()

    async def hang(*_: object, **__: object) -> None:
        begun.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(httpx.AsyncClient, "send", hang)
    async with AsyncClient("http://127.0.0.1:1", KEY.id, KEY.secret, environment={}) as client:
        task = asyncio.ensure_future(client.invoke("web"))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert failed(spans.call) == "asyncio.exceptions.CancelledError"


def test_baggage_and_tracestate_go_along(spans: Spans, server: Loopback, client: Client) -> None:
    server.script["POST", INVOKE] = Answer()
    state = trace.TraceState([("vendor", "1")])
    remote = trace.SpanContext(1, 2, is_remote=True, trace_flags=trace.TraceFlags(1), trace_state=state)
    outer = baggage.set_baggage("who", "me", trace.set_span_in_context(trace.NonRecordingSpan(remote)))
    token = context.attach(outer)
    try:
        client.invoke("web")
    finally:
        context.detach(token)
    asked = server.asked[0]
    assert (asked.headers["tracestate"], asked.headers["baggage"]) == ("vendor=1", "who=me")
    assert_carried(spans.call, asked)
    assert spans.call.context.trace_id == 1


def test_an_unsampled_trace_is_carried_on_as_such(server: Loopback, client: Client) -> None:
    server.script["POST", INVOKE] = Answer()
    off = Spans()
    off.provider.sampler = ALWAYS_OFF
    instrument(off.provider)
    try:
        client.invoke("web")
    finally:
        uninstrument()
    assert not off.calls
    assert int(server.asked[0].headers["traceparent"][-2:], 16) & 1 == 0


def test_without_a_current_span_the_requests_trace_is_the_parent(
    spans: Spans, server: Loopback, client: Client
) -> None:
    server.script["POST", INVOKE] = Answer()
    with trace_context({"Traceparent": OUTSIDE, "Baggage": "who=me"}):
        client.invoke("web")
    client.invoke("web", trace={"traceparent": OUTSIDE})
    client.invoke("web", headers={"Traceparent": OUTSIDE})
    client.invoke("web", headers={FC_CONTEXT: "af7651916cd43dd:b7ad6b7169203331:0:1"})
    parents = [(f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}") for span in spans.calls]
    assert parents[:3] == [("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")] * 3
    assert parents[3] == ("00000000000000000af7651916cd43dd", "b7ad6b7169203331")
    for span, asked in zip(spans.calls, server.asked, strict=True):
        assert_carried(span, asked, fc=FC_CONTEXT in asked.headers)
    assert server.asked[0].headers["baggage"] == "who=me"


def test_a_current_span_is_nearer_than_the_requests_trace(spans: Spans, server: Loopback, client: Client) -> None:
    server.script["POST", INVOKE] = Answer()
    with trace_context({"traceparent": OUTSIDE}), spans.tracer.start_as_current_span("mine") as mine:
        client.invoke("web")
    assert spans.call.parent.span_id == mine.get_span_context().span_id


def test_the_http_library_is_told_to_make_no_span(
    spans: Spans, server: Loopback, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.script["POST", INVOKE] = Answer()
    seen = []
    send = httpx.Client.send

    def spy(*args, **kwargs):
        seen.append(is_http_instrumentation_enabled())
        return send(*args, **kwargs)

    monkeypatch.setattr(httpx.Client, "send", spy)
    client.invoke("web")
    assert seen == [False]
    assert is_http_instrumentation_enabled()


def test_where_instrumentation_is_suppressed_nothing_is_added(
    spans: Spans, server: Loopback, client: Client
) -> None:
    server.script["POST", INVOKE] = Answer(200, b"ok")
    with suppress_instrumentation():
        assert client.invoke("web").text == "ok"
    assert not spans.calls
    assert "traceparent" not in server.asked[0].headers


def test_a_request_is_the_same_but_for_its_context(server: Loopback, client: Client) -> None:
    server.script["POST", INVOKE] = Answer()
    client.invoke("web", b"x", qualifier="prod", log=True, headers={"X-Mine": "1"})
    instrument(Spans().provider)
    client.invoke("web", b"x", qualifier="prod", log=True, headers={"X-Mine": "1"})
    uninstrument()
    assert_same_but_for_the_trace(*server.asked)


def test_without_a_tracer_that_records_the_requests_trace_goes_on_as_it_is(
    server: Loopback, client: Client
) -> None:
    server.script["POST", INVOKE] = Answer()
    instrument(trace.NoOpTracerProvider())
    try:
        client.invoke("web")
        client.invoke("web", trace={"traceparent": OUTSIDE, "tracestate": "a=1"})
    finally:
        uninstrument()
    assert "traceparent" not in server.asked[0].headers
    assert (server.asked[1].headers["traceparent"], server.asked[1].headers["tracestate"]) == (OUTSIDE, "a=1")


def test_uninstrumenting_leaves_no_trace(server: Loopback, client: Client) -> None:
    server.script["POST", INVOKE] = Answer()
    before = (Blocking._attempt, Awaiting._attempt)
    recorded = Spans()
    for _ in range(2):
        instrument(recorded.provider)
        instrument(recorded.provider)  # twice is once
        client.invoke("web")
        uninstrument()
        uninstrument()
        assert (Blocking._attempt, Awaiting._attempt) == before
    client.invoke("web")
    assert len(recorded.calls) == 2
    assert "traceparent" not in server.asked[-1].headers

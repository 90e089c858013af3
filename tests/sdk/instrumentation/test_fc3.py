"""The vendor's client of FC 3.0, unmodified, with its signature checked on every request."""

from collections.abc import Iterator

import aiohttp
import pytest
import requests
from alibabacloud_fc20230330 import models as fc
from alibabacloud_fc20230330.client import Client
from alibabacloud_tea_openapi.exceptions import AlibabaCloudException
from alibabacloud_tea_openapi.utils_models import Config, GlobalParameters
from darabonba.core import DaraCore
from darabonba.exceptions import UnretryableException
from darabonba.policy.retry import RetryCondition, RetryOptions
from darabonba.request import DaraRequest
from darabonba.runtime import RuntimeOptions
from opentelemetry.instrumentation.utils import is_http_instrumentation_enabled, suppress_instrumentation
from opentelemetry.trace import SpanKind

from sampan.sdk import instrument, uninstrument
from sampan.sdk.propagation import FC_CONTEXT
from tests.api.serving import served
from tests.sdk.instrumentation.conftest import (
    Spans,
    assert_carried,
    assert_same_but_for_the_trace,
    failed,
    traceparent,
)
from tests.sdk.loopback import KEY, Answer, Loopback, function, refusal

INVOKE = "/2023-03-30/functions/a%20b/invocations"
OUTSIDE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
EVENT = fc.InvokeFunctionRequest(body=b"x", qualifier="prod")


def client_of(endpoint: str, key_id: str = KEY.id, secret: str = KEY.secret, **more: object) -> Client:
    return Client(
        Config(
            access_key_id=key_id,
            access_key_secret=secret,
            endpoint=endpoint.removeprefix("http://"),
            protocol="HTTP",
            region_id="attic",
            **more,
        )
    )


@pytest.fixture
def client(server: Loopback) -> Client:
    return client_of(server.url)


def test_an_invocation_is_a_client_span_and_its_context_goes_along(
    spans: Spans, server: Loopback, client: Client
) -> None:
    server.script["POST", INVOKE] = Answer(200, b"ok", {"x-fc-request-id": "1-a"})
    with spans.tracer.start_as_current_span("outer") as outer:
        assert client.invoke_function("a b", EVENT).body.read() == b"ok"
    span = spans.call
    assert (span.name, span.kind) == ("invoke a b", SpanKind.CLIENT)
    assert span.parent.span_id == outer.get_span_context().span_id
    assert dict(span.attributes) == {
        "faas.invoked_name": "a b",
        "faas.invoked_provider": "sampan",
        "faas.invoked_region": "attic",
        "faas.invocation_id": "1-a",
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "server.address": "127.0.0.1",
        "server.port": int(server.url.rpartition(":")[2]),
        "url.full": f"{server.url}{INVOKE}?qualifier=prod",
    }
    assert failed(span) is None
    assert_carried(span, server.asked[0])


async def test_an_awaited_invocation_is_the_same(spans: Spans, server: Loopback, client: Client) -> None:
    server.script["POST", INVOKE] = Answer(200, b"ok")
    await client.invoke_function_async("a b", EVENT)
    assert spans.call.name == "invoke a b"
    assert_carried(spans.call, server.asked[0])


def test_every_operation_is_a_span_by_its_own_name(spans: Spans, server: Loopback, client: Client) -> None:
    server.script["GET", "/2023-03-30/functions/web"] = Answer(200, function())
    server.script["GET", "/2023-03-30/functions"] = Answer(200, {"functions": []})
    client.get_function("web", fc.GetFunctionRequest())
    client.list_functions(fc.ListFunctionsRequest(prefix="secret", limit=5))
    assert [span.name for span in spans.calls] == ["GetFunction", "ListFunctions"]
    assert spans.calls[1].attributes["url.full"].endswith("/functions?limit=5&prefix=REDACTED")
    assert not any(key.startswith("faas.invoked") for span in spans.calls for key in span.attributes)
    for span, asked in zip(spans.calls, server.asked, strict=True):
        assert_carried(span, asked)


@pytest.mark.parametrize("signature", [None, "v2"])
def test_either_signature_stays_valid(spans: Spans, server: Loopback, signature: str | None) -> None:
    """The vendor's second way to send leaves through another method of its core client."""
    server.check = lambda *_: None if signature else Loopback.check(server, *_)
    server.script["GET", "/2023-03-30/functions/web"] = Answer(200, function())
    client = client_of(server.url, signature_algorithm=signature)
    assert client.get_function("web", fc.GetFunctionRequest()).status_code == 200
    assert_carried(spans.call, server.asked[0])


def test_a_refusal_is_an_error(spans: Spans, server: Loopback, client: Client) -> None:
    server.script["POST", INVOKE] = refusal(404, "FunctionNotFound")
    with pytest.raises(AlibabaCloudException):
        client.invoke_function("a b", EVENT)
    assert failed(spans.call) == "404"
    assert spans.call.attributes["faas.invocation_id"] == "1-refused"


async def test_a_refusal_of_an_awaited_call_is_an_error(spans: Spans, server: Loopback, client: Client) -> None:
    server.script["POST", INVOKE] = refusal(503, "ResourceExhausted")
    with pytest.raises(AlibabaCloudException):
        await client.invoke_function_async("a b", EVENT)
    assert failed(spans.call) == "503"


def test_a_function_that_fails_has_failed_the_call(spans: Spans, server: Loopback, client: Client) -> None:
    server.script["POST", INVOKE] = Answer(200, b"{}", {"x-fc-error-type": "FunctionUnhandledError"})
    assert client.invoke_function("a b", EVENT).status_code == 200
    assert failed(spans.call) == "FunctionUnhandledError"


def test_where_nobody_listens_the_error_is_named_without_its_words(spans: Spans) -> None:
    with pytest.raises(UnretryableException):
        client_of("127.0.0.1:1").list_functions(fc.ListFunctionsRequest(prefix="geheim"))
    assert failed(spans.call) == "darabonba.exceptions.RetryError"
    assert "geheim" not in spans.call.to_json()


def test_each_repetition_is_a_span_of_its_own(spans: Spans, server: Loopback) -> None:
    busy = refusal(503, "Busy")
    server.script["GET", "/2023-03-30/functions/web"] = [busy, Answer(200, function())]
    again = RetryCondition({"maxAttempts": 2, "errorCode": ["Busy"], "exception": ["ServerException"]})
    client = client_of(server.url, retry_options=RetryOptions({"retryable": True, "retryCondition": [again]}))
    client.get_function("web", fc.GetFunctionRequest())
    assert [span.attributes.get("http.request.resend_count") for span in spans.calls] == [None, 1]
    assert [failed(span) for span in spans.calls] == ["503", None]
    for span, asked in zip(spans.calls, server.asked, strict=True):
        assert_carried(span, asked)


def test_a_context_the_caller_wrote_is_the_parent(spans: Spans, server: Loopback, client: Client) -> None:
    server.script["POST", INVOKE] = Answer(200)
    written = {FC_CONTEXT.title(): "af7651916cd43dd:b7ad6b7169203331:0:1", "Baggage": "who=me", "X-Mine": "1"}
    headers = fc.InvokeFunctionHeaders(common_headers=dict(written))
    client.invoke_function_with_options("a b", EVENT, headers, RuntimeOptions())
    assert (spans.call.context.trace_id, spans.call.parent.span_id) == (0xAF7651916CD43DD, 0xB7AD6B7169203331)
    assert_carried(spans.call, server.asked[0], fc=True)
    assert (server.asked[0].headers["baggage"], server.asked[0].headers["x-mine"]) == ("who=me", "1")
    assert headers.common_headers == written


def test_a_context_that_all_calls_of_a_client_have_stays_as_it_is_signed(spans: Spans, server: Loopback) -> None:
    server.script["POST", INVOKE] = Answer(200)
    client = client_of(server.url, global_parameters=GlobalParameters(headers={"traceparent": OUTSIDE}))
    client.invoke_function("a b", EVENT)
    assert server.asked[0].headers["traceparent"] == OUTSIDE


def test_where_instrumentation_is_suppressed_the_callers_context_goes_alone(
    spans: Spans, server: Loopback, client: Client
) -> None:
    server.script["POST", INVOKE] = Answer(200)
    headers = fc.InvokeFunctionHeaders(common_headers={"traceparent": OUTSIDE})
    with suppress_instrumentation():
        client.invoke_function_with_options("a b", EVENT, headers, RuntimeOptions())
    assert not spans.calls
    assert server.asked[0].headers["traceparent"] == OUTSIDE


def test_requests_of_the_vendors_other_clients_pass_untouched(spans: Spans, server: Loopback) -> None:
    server.check = lambda *_: None
    request = DaraRequest()
    request.pathname, request.headers = "/elsewhere", {"host": server.url.removeprefix("http://")}
    assert DaraCore.do_action(request).status_code == 404
    assert not spans.calls
    assert "traceparent" not in server.asked[0].headers


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """Whether the HTTP libraries below were allowed spans, each time they sent."""
    seen: list[bool] = []
    send, ask = requests.Session.send, aiohttp.ClientSession._request

    def sent(*args, **kwargs):
        seen.append(is_http_instrumentation_enabled())
        return send(*args, **kwargs)

    async def asked(*args, **kwargs):
        seen.append(is_http_instrumentation_enabled())
        return await ask(*args, **kwargs)

    monkeypatch.setattr(requests.Session, "send", sent)
    monkeypatch.setattr(aiohttp.ClientSession, "_request", asked)
    return seen


async def test_the_http_library_is_told_to_make_no_span(
    spans: Spans, server: Loopback, client: Client, quiet: list[bool]
) -> None:
    server.script["POST", INVOKE] = Answer(200)
    client.invoke_function("a b", EVENT)
    await client.invoke_function_async("a b", EVENT)
    assert quiet == [False, False]


def test_the_platforms_own_api_takes_instrumented_calls(spans: Spans, tmp_path) -> None:
    with served(tmp_path) as api:
        client = client_of(f"127.0.0.1:{api.port}", api.key.id, api.key.secret)
        given = fc.CreateFunctionInput(
            function_name="web",
            runtime="custom-container",
            handler="x",
            custom_container_config=fc.CustomContainerConfig(image="nginx:1"),
        )
        client.create_function(fc.CreateFunctionRequest(body=given))
        client.get_function("web", fc.GetFunctionRequest())
    assert [(span.name, failed(span)) for span in spans.calls] == [("CreateFunction", None), ("GetFunction", None)]


def test_a_request_is_the_same_but_for_its_context(server: Loopback, client: Client) -> None:
    server.script["POST", INVOKE] = Answer(200)
    client.invoke_function("a b", EVENT)
    instrument(Spans().provider)
    client.invoke_function("a b", EVENT)
    uninstrument()
    assert_same_but_for_the_trace(*server.asked)


def test_uninstrumenting_leaves_no_trace(server: Loopback, client: Client) -> None:
    server.script["POST", INVOKE] = Answer(200)
    uses = ("call_api", "call_api_async", "execute", "execute_async")
    before = {**vars(DaraCore)}
    recorded = Spans()
    for _ in range(2):
        instrument(recorded.provider)
        client.invoke_function("a b", EVENT)
        uninstrument()
        assert {**vars(DaraCore)} == before
        assert not any(name in vars(Client) for name in uses)
    client.invoke_function("a b", EVENT)
    assert len(recorded.calls) == 2
    assert [asked.headers.get("traceparent") for asked in server.asked] == [*map(traceparent, recorded.calls), None]

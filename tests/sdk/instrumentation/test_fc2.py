"""The vendor's client of FC 2.0, unmodified, with its signature checked on every request."""

import base64
import hmac
from collections.abc import Iterator
from urllib.parse import parse_qsl, unquote

import fc2
import fc2.client
import pytest
import requests
from opentelemetry.instrumentation.utils import is_http_instrumentation_enabled, suppress_instrumentation
from opentelemetry.trace import SpanKind

from sampan.sdk import instrument, trace_context, uninstrument
from tests.sdk.instrumentation.conftest import Spans, assert_carried, assert_same_but_for_the_trace, failed
from tests.sdk.loopback import KEY, Answer, Asked, Loopback, loopback

INVOKE = "/2016-08-15/services/svc.prod/functions/web/invocations"
OUTSIDE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Loopback2(Loopback):
    def check(self, asked: Asked, target: str, headers: list[tuple[str, str]]) -> None:
        """Source: function-compute-2-api.md §2."""
        path, _, query = target.partition("?")
        resource = unquote(path)
        if path.startswith("/2016-08-15/proxy/"):
            resource += "\n" + "\n".join(sorted(f"{name}={value}" for name, value in parse_qsl(query)))
        ours = "".join(sorted(f"{name}:{value}\n" for name, value in headers if name.startswith("x-fc-")))
        lines = [asked.method, *(asked.headers.get(name, "") for name in ("content-md5", "content-type", "date"))]
        signed = "\n".join((*lines, ours + resource))
        digest = hmac.digest(KEY.secret.encode(), signed.encode(), "sha256")
        assert asked.headers["authorization"] == f"FC {KEY.id}:{base64.b64encode(digest).decode()}"


@pytest.fixture
def server() -> Iterator[Loopback]:
    with loopback(Loopback2) as running:
        yield running


@pytest.fixture
def client(server: Loopback) -> fc2.Client:
    return client_of(server.url)


def client_of(endpoint: str) -> fc2.Client:
    return fc2.Client(endpoint=endpoint, accessKeyID=KEY.id, accessKeySecret=KEY.secret)


def error(status: int) -> Answer:
    return Answer(status, {"ErrorCode": "No", "ErrorMessage": "no"}, {"x-fc-request-id": "1-refused"})


def test_an_invocation_is_a_client_span_and_its_context_is_signed(
    spans: Spans, server: Loopback, client: fc2.Client
) -> None:
    server.script["POST", INVOKE] = Answer(200, b"ok", {"x-fc-request-id": "1-a"})
    with spans.tracer.start_as_current_span("outer") as outer:
        assert client.invoke_function("svc", "web", b"x", qualifier="prod").data == b"ok"
    span = spans.call
    assert (span.name, span.kind) == ("invoke svc$web", SpanKind.CLIENT)
    assert span.parent.span_id == outer.get_span_context().span_id
    assert dict(span.attributes) == {
        "faas.invoked_name": "svc$web",
        "faas.invoked_provider": "sampan",
        "faas.invocation_id": "1-a",
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "server.address": "127.0.0.1",
        "server.port": int(server.url.rpartition(":")[2]),
        "url.full": f"{server.url}{INVOKE}",
    }
    assert failed(span) is None
    assert_carried(span, server.asked[0], fc=True)


def test_an_asynchronous_invocation_carries_the_context_too(
    spans: Spans, server: Loopback, client: fc2.Client
) -> None:
    server.script["POST", INVOKE] = Answer(202)
    given = {"x-fc-invocation-type": "Async"}
    client.invoke_function("svc.prod", "web", headers=given)
    assert given == {"x-fc-invocation-type": "Async"}
    assert server.asked[0].headers["x-fc-invocation-type"] == "Async"
    assert_carried(spans.call, server.asked[0], fc=True)


def test_a_call_of_an_http_trigger_hides_what_its_query_says(
    spans: Spans, server: Loopback, client: fc2.Client
) -> None:
    server.script["GET", "/2016-08-15/proxy/svc.prod/web/a"] = Answer(204)
    client.do_http_request("GET", "svc.prod", "web", "/a", params={"token": "geheim"})
    assert spans.call.name == "invoke svc$web"
    assert "geheim" not in spans.call.to_json()
    assert_carried(spans.call, server.asked[0], fc=True)


def test_every_operation_is_a_span_by_its_own_name(spans: Spans, server: Loopback, client: fc2.Client) -> None:
    server.script["GET", "/2016-08-15/services"] = Answer(200, {"services": []})
    server.script["POST", "/2016-08-15/services"] = Answer(200, {})
    client.list_services(prefix="a")
    client.create_service("svc")
    assert [span.name for span in spans.calls] == ["ListServices", "CreateService"]
    assert not any(key.startswith("faas.invoked") for span in spans.calls for key in span.attributes)
    for span, asked in zip(spans.calls, server.asked, strict=True):
        assert_carried(span, asked, fc=True)


def test_a_refusal_is_an_error(spans: Spans, server: Loopback, client: fc2.Client) -> None:
    server.script["POST", INVOKE] = error(404)
    with pytest.raises(fc2.FcError):
        client.invoke_function("svc.prod", "web")
    assert failed(spans.call) == "404"
    assert spans.call.attributes["faas.invocation_id"] == "1-refused"


def test_a_function_that_fails_has_failed_the_call(spans: Spans, server: Loopback, client: fc2.Client) -> None:
    told = {"x-fc-error-type": "UnhandledInvocationError"}
    server.script["POST", INVOKE] = Answer(200, {"errorMessage": "x"}, told)
    with pytest.raises(fc2.FcError):
        client.invoke_function("svc.prod", "web")
    assert failed(spans.call) == "UnhandledInvocationError"


def test_repetitions_are_counted(spans: Spans, server: Loopback, client: fc2.Client) -> None:
    server.script["GET", "/2016-08-15/services"] = [error(502), Answer(200, {"services": []})]
    client.list_services()
    assert len(server.asked) == 2
    assert spans.call.attributes["http.request.resend_count"] == 1


def test_where_nobody_listens_the_error_is_named_without_its_words(
    spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fc2.client, "retries", 0)
    with pytest.raises(requests.ConnectionError):
        client_of("http://127.0.0.1:1").do_http_request("GET", "svc", "web", "/", params={"token": "geheim"})
    assert failed(spans.call) == "requests.exceptions.ConnectionError"
    assert "geheim" not in spans.call.to_json()


def test_a_call_that_does_not_fit_fails_as_ever(spans: Spans, client: fc2.Client) -> None:
    with pytest.raises(TypeError, match="functionName"):
        client.invoke_function("svc")
    assert not spans.calls


def test_the_requests_trace_is_the_parent(spans: Spans, server: Loopback, client: fc2.Client) -> None:
    server.script["POST", INVOKE] = Answer()
    with trace_context({"traceparent": OUTSIDE}):
        client.invoke_function("svc.prod", "web")
    client.invoke_function("svc.prod", "web", headers={"Traceparent": OUTSIDE})
    assert {span.parent.span_id for span in spans.calls} == {0xB7AD6B7169203331}
    for span, asked in zip(spans.calls, server.asked, strict=True):
        assert_carried(span, asked, fc=True)


def test_the_http_library_is_told_to_make_no_span(
    spans: Spans, server: Loopback, client: fc2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.script["POST", INVOKE] = Answer()
    seen = []
    send = requests.Session.send

    def spy(*args, **kwargs):
        seen.append(is_http_instrumentation_enabled())
        return send(*args, **kwargs)

    monkeypatch.setattr(requests.Session, "send", spy)
    client.invoke_function("svc.prod", "web")
    assert seen == [False]


def test_where_instrumentation_is_suppressed_nothing_is_added(
    spans: Spans, server: Loopback, client: fc2.Client
) -> None:
    server.script["POST", INVOKE] = Answer()
    with suppress_instrumentation():
        client.invoke_function("svc.prod", "web")
    assert not spans.calls
    assert "traceparent" not in server.asked[0].headers


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("1.cn-hangzhou.fc.aliyuncs.com", "cn-hangzhou"),
        ("1.ap-southeast-1-internal.fc.aliyuncs.com", "ap-southeast-1"),
    ],
)
def test_the_vendors_own_endpoint_tells_provider_and_region(
    spans: Spans, monkeypatch: pytest.MonkeyPatch, host: str, region: str
) -> None:
    def answer(*_: object, **__: object) -> requests.Response:
        response = requests.Response()
        response.status_code = 200
        response.raw = None
        response._content = b""
        return response

    monkeypatch.setattr(requests.Session, "request", answer)
    client_of(f"https://{host}").invoke_function("svc", "web")
    told = spans.call.attributes
    assert (told["faas.invoked_provider"], told["faas.invoked_region"]) == ("alibaba_cloud", region)
    assert (told["server.address"], told["server.port"]) == (host, 443)


def test_a_request_is_the_same_but_for_its_context(server: Loopback, client: fc2.Client) -> None:
    server.script["POST", INVOKE] = Answer()
    client.invoke_function("svc.prod", "web", b"x", headers={"x-fc-log-type": "Tail"})
    instrument(Spans().provider)
    client.invoke_function("svc.prod", "web", b"x", headers={"x-fc-log-type": "Tail"})
    uninstrument()
    assert_same_but_for_the_trace(*server.asked)


def test_uninstrumenting_leaves_no_trace(server: Loopback, client: fc2.Client) -> None:
    server.script["POST", INVOKE] = Answer()
    before = ({**vars(fc2.Client)}, {**vars(fc2.client)})
    recorded = Spans()
    instrument(recorded.provider)
    client.invoke_function("svc.prod", "web")
    uninstrument()
    assert ({**vars(fc2.Client)}, {**vars(fc2.client)}) == before
    client.invoke_function("svc.prod", "web")
    assert len(recorded.calls) == 1
    assert "traceparent" not in server.asked[-1].headers

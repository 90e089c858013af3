"""A trace carried over by headers alone, with no OpenTelemetry in sight."""

import asyncio
import threading
from collections.abc import Iterator
from wsgiref.util import FileWrapper
from wsgiref.validate import validator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.sdk import AsyncClient, Client, trace_context
from sampan.sdk.middleware import asgi, wsgi
from sampan.sdk.propagation import FC_CONTEXT, LONGEST, of_trace, parse_fc_context, passed_on, write_fc_context
from tests.sdk.loopback import KEY, Answer, Loopback

INVOKE = "/2023-03-30/functions/web/invocations"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OTHER = "00-11111111111111111111111111111111-2222222222222222-00"
REQUEST = {"Host": "web", "Traceparent": PARENT, "TraceState": "a=1", "Baggage": "who=me", FC_CONTEXT: "a:b:0:1"}
CARRIED = {"traceparent": PARENT, "tracestate": "a=1", "baggage": "who=me"}


def trace_of(headers: dict[str, str]) -> dict[str, str]:
    return {name: headers[name] for name in (*CARRIED, FC_CONTEXT) if name in headers}


def test_a_call_within_a_request_carries_its_trace_on(server: Loopback, client: Client) -> None:
    server.script["POST", INVOKE] = server.script["GET", "/fn/web/"] = Answer()
    with trace_context(REQUEST):
        client.invoke("web")
        client.http("web")
    client.invoke("web")
    assert [trace_of(asked.headers) for asked in server.asked] == [CARRIED, CARRIED, {}]


def test_one_call_can_be_given_its_trace(server: Loopback, client: Client) -> None:
    server.script["POST", INVOKE] = server.script["GET", "/fn/web/"] = Answer()
    with trace_context({"traceparent": OTHER, "baggage": "not=mine"}):
        client.invoke("web", trace=REQUEST)
        client.http("web", trace=list(REQUEST.items()))
        client.invoke("web", headers={"Traceparent": PARENT})
    assert [trace_of(asked.headers) for asked in server.asked] == [CARRIED, CARRIED, {"traceparent": PARENT}]


async def test_tasks_keep_their_traces_apart(server: Loopback) -> None:
    server.script["POST", INVOKE] = Answer()

    async def call(client: AsyncClient, parent: str) -> None:
        with trace_context({"traceparent": parent}):
            await client.invoke("web", parent)

    async with AsyncClient(server.url, KEY.id, KEY.secret, environment={}) as client:
        await asyncio.gather(call(client, PARENT), call(client, OTHER))
    assert {(asked.body.decode(), asked.headers["traceparent"]) for asked in server.asked} == {
        (PARENT, PARENT),
        (OTHER, OTHER),
    }


def test_another_thread_has_no_part_in_it() -> None:
    seen: list[object] = []
    with trace_context(REQUEST):
        thread = threading.Thread(target=lambda: seen.append(passed_on({})))
        thread.start()
        thread.join()
    assert seen == [{}]


def test_a_request_without_a_trace_within_another_has_none() -> None:
    with trace_context(REQUEST), trace_context({}):
        assert passed_on({}) == {}


@pytest.mark.parametrize(
    "parent",
    [
        "",
        PARENT.upper(),
        PARENT + "-more",
        PARENT[:-1],
        "ff" + PARENT[2:],
        "00-" + "0" * 32 + "-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-" + "0" * 16 + "-01",
        "01" + PARENT[2:] + "x",
        "01" + PARENT[2:] + "-\r\nevil: 1",
    ],
)
def test_an_invalid_context_is_left_out_with_its_state(parent: str) -> None:
    """Source: W3C Trace Context §3.2."""
    assert of_trace({"traceparent": parent, "tracestate": "a=1"}) == {}


def test_a_later_version_is_carried_on_as_it_came() -> None:
    later = "01" + PARENT[2:] + "-what-comes"
    assert of_trace({"traceparent": later}) == {"traceparent": later}


def test_lines_of_one_name_are_joined_and_a_doubled_parent_is_none() -> None:
    """Source: W3C Trace Context §3.3.1."""
    lines = [("traceparent", PARENT), ("tracestate", "a=1"), ("tracestate", "b=2")]
    assert of_trace(lines) == {"traceparent": PARENT, "tracestate": "a=1,b=2"}
    assert of_trace([*lines, ("traceparent", OTHER)]) == {}


def test_what_is_too_long_or_unprintable_stays_behind() -> None:
    odd = {"traceparent": PARENT, "tracestate": "a=" + "x" * LONGEST, "baggage": "a=ü\r\n"}
    assert of_trace(odd) == {"traceparent": PARENT}


def test_function_computes_own_form_serves_where_there_is_no_other() -> None:
    assert of_trace({FC_CONTEXT.upper(): "371d3ff242fcee9:371d3ff242fcee9:0:1"}) == {
        FC_CONTEXT: "371d3ff242fcee9:371d3ff242fcee9:0:1"
    }
    assert of_trace({FC_CONTEXT: ""}) == {}


@pytest.mark.parametrize(
    "told", ["00371d3ff242fcee9:b7ad6b7169203331:0:3", "371d3ff242fcee9%3Ab7ad6b7169203331%3A0%3A1"]
)
def test_what_jaeger_clients_inject_goes_on_in_the_form_that_is_the_same(told: str) -> None:
    assert of_trace({"Uber-Trace-Id": told}) == {FC_CONTEXT: "371d3ff242fcee9:b7ad6b7169203331:0:1"}
    assert of_trace({"uber-trace-id": told, "traceparent": PARENT}) == {"traceparent": PARENT}


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.integers(0, 1))
def test_function_computes_form_is_read_as_it_is_written(trace: int, span: int, flags: int) -> None:
    text = write_fc_context(trace, span, flags)
    assert parse_fc_context(text) == (trace, span, flags)
    assert not any(part.startswith("0") for part in text.split(":")[:2])


@given(st.text(max_size=300) | st.from_regex(r"\A[0-9a-f:-]{0,80}\Z"))
def test_no_header_makes_it_fail(text: str) -> None:
    carried = of_trace({"traceparent": text, "tracestate": text, "baggage": text, FC_CONTEXT: text})
    assert all(value.replace("\t", " ").isprintable() and value.isascii() for value in carried.values())


async def test_an_asgi_application_answers_within_the_requests_trace() -> None:
    seen: list[object] = []

    async def app(scope, receive, send) -> None:
        seen.append(dict(passed_on({})))

    pairs = [(name.lower().encode(), value.encode()) for name, value in REQUEST.items()]
    await asgi(app)({"type": "http", "headers": pairs}, None, None)
    await asgi(app)({"type": "lifespan"}, None, None)
    assert seen == [CARRIED, {}]
    assert passed_on({}) == {}


def environ(**more: object) -> dict[str, object]:
    headers = {"HTTP_" + name.upper().replace("-", "_"): value for name, value in REQUEST.items()}
    return {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/",
        "QUERY_STRING": "",
        "SERVER_NAME": "web",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        **headers,
        **more,
    }


def start(status, headers, error=None):
    return lambda part: None


def test_a_wsgi_application_streams_within_the_requests_trace() -> None:
    seen: list[object] = []

    def app(environ, start_response) -> Iterator[bytes]:
        try:
            start_response("200 OK", [("content-type", "text/plain")])
            for part in (b"a", b"b"):
                seen.append(dict(passed_on({})))
                yield part
        finally:
            seen.append(dict(passed_on({})))

    body = wsgi(app)(environ(), start)
    assert next(iter(body)) == b"a"
    assert passed_on({}) == {}
    body.close()
    assert seen == [CARRIED, CARRIED]


def test_a_whole_body_reaches_the_server_as_it_is() -> None:
    def app(environ, start_response):
        return environ["body"]

    for body in ([b"whole"], FileWrapper(open(__file__, "rb"))):  # noqa: SIM115  closed below
        given = environ(body=body, **{"wsgi.file_wrapper": FileWrapper})
        assert wsgi(app)(given, start) is body
    body.close()


def test_the_wsgi_middleware_keeps_to_the_protocol() -> None:
    """Source: PEP 3333, as the standard library checks it."""
    import io
    import sys

    def app(environ, start_response):
        start_response("200 OK", [("content-type", "text/plain")])
        return iter([b"a"])

    checked = validator(wsgi(validator(app)))
    body = checked(environ(**{"wsgi.input": io.BytesIO(), "wsgi.errors": sys.stderr}), start)
    assert list(body) == [b"a"]
    body.close()

"""HTTP calls: what the function sees, what the caller gets."""

import asyncio
import gc
import time

import pytest

from sampan.link.messages import Lost
from sampan.model.invocation import Outcome
from sampan.model.trigger import AuthType
from sampan.wire import signature
from tests.gateway.conftest import MakeStage
from tests.gateway.stage import KEY, PATIENCE, Function, Request, read_body, reply

R, W = asyncio.StreamReader, asyncio.StreamWriter


async def test_a_call_reaches_the_function_and_its_answer_the_caller(stage: MakeStage) -> None:
    s = await stage()

    async def play(request: Request, reader: R, writer: W) -> None:
        await read_body(request, reader)
        writer.write(
            reply(b"done", "201 Created", "X-Mine: 1", "Server: mine", "X-Fc-Secret: no", "Set-Cookie: a=1",
                  "Set-Cookie: b=2", "Connection: keep-alive, X-Hop", "X-Hop: no")
        )  # fmt: skip

    function = await s.serve(play)
    answer = await s.call("POST", "/a%20b?x=1&x=2", b"hello", X_Fc_Mine="no", X_Other="yes")
    seen = function.requests[0]
    assert (seen.line, seen.body) == ("POST /a%20b?x=1&x=2 HTTP/1.1", b"hello")
    assert seen["host"] == "web.localhost"
    assert seen["x-other"] == "yes"
    assert "x-fc-mine" not in seen
    assert (answer.status, answer.body, answer["x-mine"]) == (201, b"done", "1")
    assert [value for name, value in answer.headers if name == "Set-Cookie"] == ["a=1", "b=2"]
    assert not {"server", "x-fc-secret", "x-hop", "connection"} & {name.lower() for name, _ in answer.headers}
    assert answer["x-fc-request-id"] == seen["x-fc-request-id"]
    assert answer["date"].endswith("GMT")
    record = await s.record()
    assert (record.request, record.outcome, record.status) == (seen["x-fc-request-id"], Outcome.OK, 201)
    assert (record.bytes_in, record.bytes_out) == (5, 4)
    assert record.received <= record.leased <= record.ended


async def test_the_container_is_told_everything_it_may_read(stage: MakeStage) -> None:
    """container-contract.md A2.1: headers that do not apply are sent empty."""
    s = await stage()
    function = await s.serve()
    await s.call("GET", "/", X_Forwarded_For="192.0.2.1", Forwarded="for=192.0.2.1")
    seen = function.requests[0]
    told = {
        "x-fc-control-path": "/http-invoke", "x-fc-function-name": "web", "x-fc-function-handler": "index.handler",
        "x-fc-function-memory": "512", "x-fc-function-timeout": "10", "x-fc-region": "local",
        "x-fc-retry-count": "0",
        "x-fc-account-id": KEY.account, "x-fc-qualifier": "LATEST", "x-fc-version-id": "", "x-fc-base-path": "",
        "x-fc-client-ip": "127.0.0.1", "x-fc-access-key-id": "", "x-fc-access-key-secret": "",
        "x-fc-security-token": "", "x-fc-service-logproject": "", "x-fc-service-logstore": "",
        "x-fc-service-name": "", "x-fc-tracing-opentracing-span-baggages": "e30=",
        "x-fc-tracing-jaeger-endpoint": "",
        "x-forwarded-for": "192.0.2.1, 127.0.0.1", "x-forwarded-proto": "http", "x-forwarded-host": "web.localhost",
        "forwarded": 'for=192.0.2.1, for=127.0.0.1;host="web.localhost";proto=http',
    }  # fmt: skip
    assert {name: seen[name] for name in told} == told
    assert len(seen["traceparent"]) == 55


async def test_a_header_with_underscores_cannot_pass_for_one_of_the_platform(stage: MakeStage) -> None:
    s = await stage()
    function = await s.serve()
    client = await s.client()
    client.send(
        "GET / HTTP/1.1\r\nHost: web.localhost\r\nx_fc_account_id: 7\r\nX_Forwarded_For: 7\r\na_b: 1\r\n\r\n"
    )
    assert (await client.answer()).status == 200
    assert "x_fc_account_id" not in function.requests[0]
    assert "x_forwarded_for" not in function.requests[0]
    assert function.requests[0]["a_b"] == "1"


async def test_a_call_by_path_hides_the_base_path(stage: MakeStage) -> None:
    s = await stage()
    function = await s.serve()
    for target, seen in (
        ("/fn/web/a/b?c=1", "/a/b?c=1"),
        ("/fn/web", "/"),
        ("/fn/web:LATEST/x", "/x"),
        ("/fn/web?q", "/?q"),
    ):
        assert (await s.call("GET", target, host="localhost")).status == 200
        assert function.requests[-1].target == seen
    assert function.requests[0]["x-fc-base-path"] == "/fn/web"


async def test_the_connection_to_an_instance_is_kept(stage: MakeStage) -> None:
    s = await stage()
    function = await s.serve()
    client = await s.client()
    for n in range(5):
        assert (await client.call("GET", f"/{n}")).body == f"GET /{n} ".encode()
    assert function.connections == 1


async def test_pipelined_requests_are_answered_in_order(stage: MakeStage) -> None:
    s = await stage()
    await s.serve()
    client = await s.client()
    client.send("".join(f"GET /{n} HTTP/1.1\r\nHost: web.localhost\r\n\r\n" for n in range(20)))
    assert [(await client.answer()).body for _ in range(20)] == [f"GET /{n} ".encode() for n in range(20)]


async def test_many_pipelined_requests_are_not_taken_for_one_large_head(stage: MakeStage) -> None:
    s = await stage()
    client = await s.client()
    request = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    whole, begun = 2000, 30  # bytes of one more, which ends later
    client.send(request * whole + request[:begun])
    for _ in range(whole):
        assert (await client.answer()).status == 200
    client.send(request[begun:])
    assert (await client.answer()).status == 200


async def test_what_a_connection_was_is_free_when_it_ends(stage: MakeStage) -> None:
    """Without a search for garbage, which comes late: until then every connection that was would be memory held."""
    s = await stage()
    function = await s.serve()

    def connections() -> int:
        kinds = ("ClientConnection", "HttpRequestParser", "Exchange", "Relay", "Connection", "HttpResponseParser")
        return sum(type(each).__name__ in kinds for each in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        before = connections()
        for _ in range(3):
            client = await s.client()
            assert (await client.call("GET", "/")).status == 200
            client.writer.close()
        function.writers[0].close()  # the one connection that all requests had
        await s.until(lambda: connections() <= before)
    finally:
        gc.enable()


async def test_an_answer_to_head_has_a_length_and_no_body(stage: MakeStage) -> None:
    s = await stage()

    async def play(request: Request, reader: R, writer: W) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n")
        await writer.drain()
        writer.write(b"\r\n")

    function = await s.serve(play)
    client = await s.client()
    for _ in range(2):
        assert (await client.call("HEAD", "/"))["content-length"] == "1000"
    assert function.connections == 1


async def test_a_chunked_answer_stays_chunked_and_comes_as_it_is_made(stage: MakeStage) -> None:
    s = await stage()
    go = asyncio.Event()

    async def play(request: Request, reader: R, writer: W) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        await go.wait()
        writer.write(b"9\r\ndata: 1\n\n\r\n")
        go.clear()
        await go.wait()
        writer.write(b"9\r\ndata: 2\n\n\r\n0\r\nTrailer: x\r\n\r\n")

    await s.serve(play)
    client = await s.client()
    client.request("GET", "/")
    head = await client.head()  # before any event
    assert (head["transfer-encoding"], head["content-type"]) == ("chunked", "text/event-stream")
    go.set()
    async with asyncio.timeout(PATIENCE):
        assert await client.reader.readexactly(14) == b"9\r\ndata: 1\n\n\r\n"
        go.set()
        assert await client.reader.readexactly(19) == b"9\r\ndata: 2\n\n\r\n0\r\n\r\n"
    assert (await s.record()).outcome is Outcome.OK


async def test_an_answer_until_close_is_chunked_for_the_caller(stage: MakeStage) -> None:
    s = await stage()

    async def play(request: Request, reader: R, writer: W) -> None:
        writer.write(b"HTTP/1.0 200 OK\r\n\r\nuntil the end")
        writer.close()

    await s.serve(play)
    assert (await s.call()).body == b"until the end"


async def test_http_1_0_clients_get_no_chunks(stage: MakeStage) -> None:
    s = await stage()

    async def play(request: Request, reader: R, writer: W) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n")

    await s.serve(play)
    client = await s.client()
    client.send("GET / HTTP/1.0\r\nHost: web.localhost\r\nConnection: keep-alive\r\n\r\n")
    head = await client.head()
    assert "transfer-encoding" not in head
    assert await client.closed() == b"ab"


async def test_an_early_hint_from_the_function_is_passed_over(stage: MakeStage) -> None:
    s = await stage()

    async def play(request: Request, reader: R, writer: W) -> None:
        writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + reply(b"ok"))

    await s.serve(play)
    answer = await s.call()
    assert (answer.status, answer.body) == (200, b"ok")
    assert "link" not in answer


async def test_a_chunked_upload_arrives_while_it_is_sent(stage: MakeStage) -> None:
    s = await stage()
    arrived = asyncio.Event()

    async def play(request: Request, reader: R, writer: W) -> None:
        assert await reader.readexactly(8) == b"3\r\nabc\r\n"
        arrived.set()
        assert await reader.readexactly(12) == b"2\r\nde\r\n0\r\n\r\n"
        writer.write(reply(b"all"))

    await s.serve(play)
    client = await s.client()
    client.send("PUT / HTTP/1.1\r\nHost: web.localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    async with asyncio.timeout(PATIENCE):
        await arrived.wait()
    client.send("2\r\nde\r\n0\r\n\r\n")
    assert (await client.answer()).body == b"all"
    assert (await s.record()).bytes_in == 5


async def test_a_client_that_asks_before_it_sends_is_told_to_continue(stage: MakeStage) -> None:
    s = await stage()
    function = await s.serve()
    client = await s.client()
    client.send("POST / HTTP/1.1\r\nHost: web.localhost\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    assert (await client.head()).status == 100
    client.send("hi")
    assert (await client.answer()).body == b"POST / hi"
    assert "expect" not in function.requests[0]


async def test_a_refused_client_that_asked_first_is_not_told_to_continue(stage: MakeStage) -> None:
    s = await stage()
    client = await s.client()
    client.send("POST / HTTP/1.1\r\nHost: no.localhost\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    answer = await client.answer()
    assert (answer.status, answer["connection"]) == (404, "close")
    assert await client.closed() == b""


async def test_an_answer_before_the_end_of_the_upload_is_passed_on(stage: MakeStage) -> None:
    s = await stage()

    async def play(request: Request, reader: R, writer: W) -> None:
        writer.write(reply(b"enough", "413 Content Too Large"))

    await s.serve(play)
    client = await s.client()
    client.send(b"POST / HTTP/1.1\r\nHost: web.localhost\r\nContent-Length: 300000\r\n\r\n" + b"x" * 1000)
    assert (await client.answer()).status == 413
    client.send(b"x" * 299000)  # swallowed, and the connection lives on
    assert (await client.call("GET", "/", b"")).status == 413


async def test_web_sockets_pass_through(stage: MakeStage) -> None:
    from websockets.asyncio.client import connect
    from websockets.asyncio.server import ServerConnection, serve

    s = await stage()

    async def talk(socket: ServerConnection) -> None:
        async for message in socket:
            await socket.send(message)

    version = await s.route()
    async with serve(talk, "127.0.0.1", 0, subprotocols=["chat"]) as server:  # type: ignore[list-item]
        function = Function()
        function.port = next(iter(server.sockets)).getsockname()[1]
        s.grant(version.key, function)
        port = s.gateway.addresses[0][1]
        async with asyncio.timeout(PATIENCE):
            async with connect(f"ws://127.0.0.1:{port}/fn/web/ws", subprotocols=["chat"]) as socket:  # type: ignore[list-item]
                assert socket.subprotocol == "chat"
                for message in ("hello", "x" * 300_000, b"\x00" * 70_000):
                    await socket.send(message)
                    assert await socket.recv() == message
    record = await s.record()
    assert (record.outcome, record.status) == (Outcome.OK, 101)
    assert not s.said(Lost)


async def test_an_upgrade_that_the_function_ignores_is_a_plain_request(stage: MakeStage) -> None:
    s = await stage()
    function = await s.serve()
    client = await s.client()
    client.send("GET /1 HTTP/1.1\r\nHost: web.localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    client.request("GET", "/2")
    assert [(await client.answer()).body, (await client.answer()).body] == [b"GET /1 ", b"GET /2 "]
    assert function.requests[0]["upgrade"] == "websocket"


async def test_http_2_by_upgrade_is_not_offered_to_the_function(stage: MakeStage) -> None:
    s = await stage()
    function = await s.serve()
    client = await s.client()
    client.send(
        "GET / HTTP/1.1\r\nHost: web.localhost\r\nConnection: Upgrade, HTTP2-Settings\r\n"
        "Upgrade: h2c\r\nHTTP2-Settings: AAMA\r\n\r\n"
    )
    assert (await client.answer()).status == 200
    assert not {"upgrade", "http2-settings"} & {name.lower() for name, _ in function.requests[0].headers}


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"methods": ("POST",)}, 405, "MethodNotAllowed"),
        ({"url_disabled": True}, 403, "AccessDenied"),
        ({"trigger": False}, 404, "TriggerNotFound"),
        ({"auth": AuthType.FUNCTION}, 400, "MissingRequiredHeader"),
        ({"disabled": "too dear"}, 403, "AccessDenied"),
        ({"state": "Failed", "reason": "no image"}, 409, "FunctionNotActive"),
        ({"reserved_concurrency": 0}, 429, "ResourceExhausted"),
    ],
)
async def test_a_call_that_is_not_allowed_is_refused(
    stage: MakeStage, changes: dict[str, object], status: int, code: str
) -> None:
    s = await stage()
    function = await s.serve(**changes)
    answer = await s.call()
    assert (answer.status, answer["content-type"]) == (status, "application/json")
    assert f'"Code":"{code}"'.encode() in answer.body
    assert answer["x-fc-request-id"].encode() in answer.body
    assert not function.requests
    expected = Outcome.THROTTLED if status == 429 else Outcome.REFUSED
    record = await s.record()
    assert (record.outcome, record.status, record.leased) == (expected, status, 0)


@pytest.mark.parametrize("changes", [{"auth": AuthType.FUNCTION}, {"trigger": False}, {}])
async def test_a_signed_call_is_let_in_and_its_signature_stays_here(
    stage: MakeStage, changes: dict[str, object]
) -> None:
    s = await stage()
    function = await s.serve(**changes)
    signed = signature.sign_trigger(KEY, "GET", "/fn/web/x", {"host": "localhost"}, time.time())
    answer = await s.call("GET", "/fn/web/x", **signed)
    assert answer.status == 200
    assert "authorization" not in function.requests[0]


async def test_a_call_with_a_wrong_signature_is_refused(stage: MakeStage) -> None:
    s = await stage()
    await s.serve(auth=AuthType.FUNCTION)
    signed = signature.sign_trigger(KEY, "GET", "/fn/web/x", {"host": "localhost"}, time.time())
    assert (await s.call("GET", "/fn/web/y", **signed)).status == 403


async def test_an_anonymous_functions_own_authorization_reaches_it(stage: MakeStage) -> None:
    s = await stage()
    function = await s.serve()
    assert (await s.call(authorization="Bearer 1")).status == 200
    assert function.requests[0]["authorization"] == "Bearer 1"


async def test_an_asynchronous_call_is_never_answered_as_if_accepted(stage: MakeStage) -> None:
    s = await stage()
    await s.serve()
    answer = await s.call("POST", "/", b"", x_fc_invocation_type="Async")
    assert answer.status == 400
    assert b"NotSupported" in answer.body


async def test_reserved_concurrency_counts_every_call_in_flight(stage: MakeStage) -> None:
    s = await stage()
    go = asyncio.Event()

    async def play(request: Request, reader: R, writer: W) -> None:
        await go.wait()
        writer.write(reply(b"ok"))

    function = await s.serve(play, slots=5, reserved_concurrency=2)
    clients = [await s.client() for _ in range(2)]
    for client in clients:
        client.request("GET", "/")
    await s.until(lambda: len(function.requests) == 2)
    refused = await s.call()
    assert (refused.status, refused["retry-after"]) == (429, "1")
    go.set()
    assert [(await client.answer()).status for client in clients] == [200, 200]
    assert (await s.call()).status == 200


async def test_what_is_no_invocation_goes_to_the_api_untouched(stage: MakeStage) -> None:
    s = await stage()
    seen: list[Request] = []

    async def api(request: Request, reader: R, writer: W) -> None:
        seen.append(await read_body(request, reader))
        writer.write(reply(b"{}", "202 Accepted", "Server: api", "X-Fc-Request-Id: 7", "Date: then"))

    await s.api(api)
    answer = await s.call("PUT", "/2023-03-30/functions/a%2Fb?x=%20", b"body", host="localhost:9000", x_fc_any="1")
    assert (seen[0].line, seen[0].body) == ("PUT /2023-03-30/functions/a%2Fb?x=%20 HTTP/1.1", b"body")
    assert (seen[0]["host"], seen[0]["x-fc-any"]) == ("localhost:9000", "1")
    assert (answer.status, answer["server"], answer["x-fc-request-id"], answer["date"]) == (202, "api", "7", "then")


async def test_the_api_being_away_is_told_as_json(stage: MakeStage) -> None:
    s = await stage()
    answer = await s.call("GET", "/2023-03-30/functions", host="localhost")
    assert (answer.status, answer["content-type"]) == (503, "application/json")


async def test_health_and_unknown_hosts(stage: MakeStage) -> None:
    s = await stage()
    alive = await s.call("GET", "/healthz", host="127.0.0.1")
    assert alive.body == b'{"status":"ok","parts":[{"name":"control","ok":true}]}\n'
    assert (await s.call("GET", "/", host="127.0.0.1")).status == 404
    assert (await s.call("GET", "/fn/nobody/", host="127.0.0.1")).status == 404


@pytest.mark.parametrize("host", ["http://web.localhost", "https://web.localhost:443/"])
async def test_a_url_for_a_host_is_what_clients_of_fc_send(stage: MakeStage, host: str) -> None:
    s = await stage()

    async def play(request: Request, reader: R, writer: W) -> None:
        writer.write(reply(b"found"))

    await s.serve(play)
    client = await s.client()
    client.request("GET", "/", host=host)
    assert (await client.answer()).body == b"found"
    client.request("GET", "/", host="ftp://web.localhost")
    assert (await client.answer()).status == 400


@pytest.mark.parametrize(
    ("target", "host"),
    [("http://web.localhost:81/a?b", "elsewhere.example"), ("/a?b", "http://web.localhost:81")],
)
async def test_the_function_sees_the_host_it_was_found_by(stage: MakeStage, target: str, host: str) -> None:
    """Source: RFC 9112 §3.2.2."""
    s = await stage()
    function = await s.serve()
    client = await s.client()
    client.send(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")
    assert (await client.answer()).status == 200
    assert function.requests[0]["host"] == "web.localhost:81"
    assert function.requests[0].target == "/a?b"


async def test_a_signature_for_one_host_opens_no_other_by_an_absolute_target(stage: MakeStage) -> None:
    """RFC 9112 §3.2.2: the target's host counts, so it is the one that has to be signed."""
    s = await stage()
    function = await s.serve(auth=AuthType.FUNCTION)
    version = await s.route("other", auth=AuthType.FUNCTION)
    s.grant(version.key, function)
    signed = signature.sign_trigger(KEY, "GET", "/x", {"host": "web.localhost"}, time.time())
    lines = "".join(f"{name}: {value}\r\n" for name, value in signed.items())
    client = await s.client()
    client.send(f"GET http://other.localhost/x HTTP/1.1\r\n{lines}\r\n")
    assert (await client.answer()).status == 403
    client = await s.client()
    client.send(f"GET http://web.localhost/x HTTP/1.1\r\n{lines}\r\n")
    assert (await client.answer()).body == b"GET /x "
    assert len(function.requests) == 1

"""HTTP/2 from outside to functions of HTTP/1.1: translated, streamed both ways, many at once."""

import asyncio
import contextlib
import time

import h2.events
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from sampan.model.invocation import Outcome
from sampan.wire import signature
from tests.gateway.conftest import MakeStage
from tests.gateway.http2_client import http2
from tests.gateway.stage import KEY, PATIENCE, Request, read_body, reply


async def test_a_request_is_translated_and_its_answer_too(stage: MakeStage) -> None:
    async def play(request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_body(request, reader)
        writer.write(reply(b"out " + request.body, "201 Created", "Mine: 1", "Keep-Alive: timeout=5", "Mine: 2"))

    one = await stage()
    function = await one.serve(play)
    client = await http2(one)
    number = client.begin("POST", "/a?b=c", ("content-type", "text/plain"), ("te", "trailers"), end=False)
    await client.body(number, b"in")
    answer = await client.answer(number)
    assert (answer.status, answer.body) == (201, b"out in")
    assert answer.headers["content-length"] == "6"
    assert answer.headers["mine"] == "2"
    assert not {"keep-alive", "connection", "transfer-encoding"} & answer.headers.keys()
    assert "x-fc-request-id" in answer.headers
    seen = function.requests[0]
    assert seen.line == "POST /a?b=c HTTP/1.1"
    assert (seen["host"], seen["transfer-encoding"], seen["content-type"]) == (
        "web.localhost", "chunked", "text/plain",
    )  # fmt: skip
    assert "te" not in seen
    record = await one.record()
    assert (record.outcome, record.status) == (Outcome.OK, 201)


async def test_a_told_length_is_passed_on(stage: MakeStage) -> None:
    one = await stage()
    function = await one.serve()
    client = await http2(one)
    number = client.begin("POST", "/", ("content-length", "5"), end=False)
    await client.body(number, b"hello")
    assert (await client.answer(number)).body == b"POST / hello"
    assert function.requests[0]["content-length"] == "5"


async def test_crumbs_of_cookies_are_joined(stage: MakeStage) -> None:
    one = await stage()
    function = await one.serve()
    client = await http2(one)
    assert (await client.call("GET", "/", ("cookie", "a=1"), ("x", "y"), ("cookie", "b=2"))).status == 200
    assert function.requests[0]["cookie"] == "a=1; b=2"


async def test_host_does_where_there_is_no_authority(stage: MakeStage) -> None:
    one = await stage()
    function = await one.serve()
    client = await http2(one)
    number = client.begin_with([(":method", "GET"), (":path", "/"), (":scheme", "http"), ("host", "web.localhost")])
    assert (await client.answer(number)).status == 200
    assert function.requests[0]["host"] == "web.localhost"


async def test_answers_without_a_body(stage: MakeStage) -> None:
    async def play(request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if request.method == "HEAD":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        else:
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    one = await stage()
    await one.serve(play)
    client = await http2(one)
    answer = await client.call("HEAD")
    assert (answer.status, answer.headers["content-length"], answer.body) == (200, "1000", b"")
    answer = await client.call("GET")
    assert (answer.status, answer.body) == (204, b"")


async def test_an_answer_of_unknown_length_streams(stage: MakeStage) -> None:
    go = asyncio.Event()

    async def play(request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
        await go.wait()
        writer.write(b"3\r\ntwo\r\n0\r\n\r\n")

    one = await stage()
    await one.serve(play)
    client = await http2(one)
    number = client.begin()
    await one.until(lambda: client.answers[number].body == b"one")
    go.set()
    assert (await client.answer(number)).body == b"onetwo"


async def test_many_streams_run_side_by_side(stage: MakeStage) -> None:
    go = asyncio.Event()

    async def play(request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if request.target == "/first":
            await go.wait()
        writer.write(reply(request.target.encode()))

    one = await stage()
    await one.serve(play, slots=100)
    client = await http2(one)
    first = client.begin("GET", "/first")
    others = [client.begin("GET", f"/{number}") for number in range(90)]
    for index, number in enumerate(others):
        assert (await client.answer(number)).body == b"/%d" % index
    go.set()
    assert (await client.answer(first)).body == b"/first"


async def test_large_bodies_go_both_ways(stage: MakeStage) -> None:
    one = await stage()
    await one.serve()
    client = await http2(one)
    body = bytes(range(256)) * (8 << 12)  # 8 MiB
    number = client.begin("POST", "/", end=False)
    await client.body(number, body)
    assert (await client.answer(number)).body == b"POST / " + body


async def test_a_client_that_takes_nothing_pauses_the_function(stage: MakeStage) -> None:
    sent = 0

    async def play(request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (24 << 20))
        for _ in range(384):
            writer.write(bytes(1 << 16))
            await writer.drain()
            sent += 1 << 16

    one = await stage()
    await one.serve(play)
    client = await http2(one, acknowledge=False)
    number = client.begin()
    before = -1
    while before != sent:
        before = sent
        await asyncio.sleep(0.2)
    assert sent < 16 << 20
    assert len(client.answers[number].body) == 65535  # the window it had
    client.acknowledge = True
    client.machine.acknowledge_received_data(65535, number)
    client.send()
    answer = await client.answer(number)
    assert len(answer.body) == 24 << 20


async def test_a_function_that_takes_nothing_pauses_the_client(stage: MakeStage) -> None:
    go = asyncio.Event()

    async def play(request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go.wait()
        await read_body(request, reader)
        writer.write(reply(b"%d" % len(request.body)))

    one = await stage()
    await one.serve(play, slots=10)
    client = await http2(one)
    size = 32 << 20
    number = client.begin("POST", "/", ("content-length", str(size)), end=False)
    sending = asyncio.ensure_future(client.body(number, bytes(size)))
    held = one.gateway._connections

    def stuck() -> bool:
        streams = [s for c in held for s in getattr(c, "_streams", {}).values()]
        return any(s.held for s in streams) and client.machine.local_flow_control_window(number) == 0

    await one.until(stuck)
    client.authority = "localhost"
    assert (await client.call("GET", "/healthz")).status == 200, "others go on"
    go.set()
    assert (await client.answer(number)).body == str(size).encode()
    await sending


async def test_a_reset_stream_ends_in_the_function(stage: MakeStage) -> None:
    ended = asyncio.Event()

    async def play(request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readexactly(1)
        ended.set()

    one = await stage()
    function = await one.serve(play, slots=2)
    client = await http2(one)
    number = client.begin()
    await one.until(lambda: bool(function.requests))
    client.machine.reset_stream(number, ErrorCodes.CANCEL)
    client.send()
    async with asyncio.timeout(PATIENCE):
        await ended.wait()
    assert (await one.record()).outcome is Outcome.CLIENT_GONE
    assert not client.closed


async def test_an_answer_that_breaks_off_resets_its_stream_alone(stage: MakeStage) -> None:
    async def play(request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if request.target == "/break":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
            await writer.drain()
            writer.close()
        else:
            writer.write(reply(b"fine"))

    one = await stage()
    version = await one.route(concurrency=5)
    for _ in range(2):
        one.grant(version.key, await one.function(play), 5)
    await one.until(lambda: len(one.gateway.leases.held()) == 2)
    client = await http2(one)
    answer = await client.answer(client.begin("GET", "/break"))
    assert (answer.status, answer.body, answer.reset) == (200, b"half", ErrorCodes.INTERNAL_ERROR)
    assert (await client.call()).body == b"fine"


async def test_an_answer_before_the_body_has_come_ends_the_body(stage: MakeStage) -> None:
    one = await stage()
    client = await http2(one)
    number = client.begin("POST", "/fn/nothing/", end=False)
    answer = await client.answer(number)
    assert answer.status == 404
    await one.until(lambda: client.answers[number].reset is not None)
    assert client.answers[number].reset == ErrorCodes.NO_ERROR
    assert (await client.call("GET", "/healthz")).status == 200


async def test_a_client_that_asks_first_is_told_to_go_on(stage: MakeStage) -> None:
    one = await stage()
    await one.serve()
    client = await http2(one)
    told = asyncio.Event()
    heard = client._heard

    def listen(event: object) -> None:
        if isinstance(event, h2.events.InformationalResponseReceived):
            told.set()
        heard(event)

    client._heard = listen  # type: ignore[method-assign]
    number = client.begin("POST", "/", ("expect", "100-continue"), end=False)
    async with asyncio.timeout(PATIENCE):
        await told.wait()
    await client.body(number, b"now")
    assert (await client.answer(number)).body == b"POST / now"


async def test_trailers_of_a_request_end_it(stage: MakeStage) -> None:
    one = await stage()
    await one.serve()
    client = await http2(one)
    number = client.begin("POST", "/", end=False)
    await client.body(number, b"body", end=False)
    client.machine.send_headers(number, [("sum", "1")], end_stream=True)
    client.send()
    assert (await client.answer(number)).body == b"POST / body"


async def test_a_signed_event_is_run(stage: MakeStage) -> None:
    one = await stage()
    function = await one.serve()
    client = await http2(one)
    target, body = "/2023-03-30/functions/web/invocations", b"event"
    signed = signature.sign(KEY, "POST", target, {"host": "localhost"}, body, time.time(), "nonce")
    client.authority = "localhost"
    told = [(name.lower(), value) for name, value in signed.items() if name.lower() != "host"]
    number = client.begin("POST", target, *told, end=False)
    await client.body(number, body)
    answer = await client.answer(number)
    assert (answer.status, answer.body) == (200, b"POST /invoke event"), bytes(answer.body)
    assert function.requests[0]["content-length"] == "5"


async def test_the_api_answers_over_http2(stage: MakeStage) -> None:
    async def api(request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(reply(f"{request.line} {request['host']}".encode()))

    one = await stage()
    await one.api(api)
    client = await http2(one)
    answer = await client.call("GET", "/2023-03-30/functions")
    assert answer.body == b"GET /2023-03-30/functions HTTP/1.1 web.localhost"


async def test_a_body_over_the_limit_is_refused(stage: MakeStage) -> None:
    one = await stage(max_body=1000)
    await one.serve()
    client = await http2(one)
    number = client.begin("POST", "/", ("content-length", "1001"), end=False)
    assert (await client.answer(number)).status == 400
    number = client.begin("POST", "/", end=False)
    await client.body(number, bytes(1001), end=False)
    answer = await client.answer(number)
    assert answer.status == 400
    assert b"EntityTooLarge" in answer.body


async def test_a_draining_gateway_says_goodbye_and_finishes(stage: MakeStage) -> None:
    go = asyncio.Event()

    async def play(request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go.wait()
        writer.write(reply(b"done"))

    one = await stage()
    function = await one.serve(play)
    idle, client = await http2(one), await http2(one)
    number = client.begin()
    await one.until(lambda: bool(function.requests))
    stopping = asyncio.ensure_future(one.gateway.stop())
    assert await idle.gone() == ErrorCodes.NO_ERROR
    await one.until(lambda: client.goodbye == ErrorCodes.NO_ERROR)
    go.set()
    assert (await client.answer(number)).body == b"done"
    await client.gone()
    await stopping


async def test_a_client_that_says_goodbye_still_gets_its_answers(stage: MakeStage) -> None:
    go = asyncio.Event()

    async def play(request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go.wait()
        writer.write(reply(b"done"))

    one = await stage()
    function = await one.serve(play)
    client = await http2(one)
    number = client.begin()
    client.send(bytes.fromhex("000008 07 00 00000000 00000000 00000000"))
    await one.until(lambda: bool(function.requests))
    go.set()
    assert (await client.answer(number)).body == b"done"
    await client.gone()


async def test_a_silent_connection_is_closed_in_its_time(stage: MakeStage) -> None:
    one = await stage(idle_timeout=0.2, header_timeout=0.2)
    await one.serve()
    client = await http2(one)
    assert await client.gone() == ErrorCodes.NO_ERROR
    client = await http2(one)
    assert (await client.call()).status == 200
    assert await client.gone() == ErrorCodes.NO_ERROR


async def test_a_body_that_stops_coming_is_given_up(stage: MakeStage) -> None:
    one = await stage(idle_timeout=0.3)
    await one.serve()
    client = await http2(one)
    number = client.begin("POST", "/", end=False)
    await client.body(number, b"some", end=False)
    assert (await client.answer(number)).reset == ErrorCodes.CANCEL


async def test_an_answer_that_nobody_takes_is_given_up(stage: MakeStage) -> None:
    one = await stage(idle_timeout=0.3)
    await one.serve()
    client = await http2(one, {SettingCodes.INITIAL_WINDOW_SIZE: 0}, acknowledge=False)
    number = client.begin("GET", "/healthz")
    assert (await client.answer(number)).reset == ErrorCodes.CANCEL


async def test_the_preface_may_come_in_pieces(stage: MakeStage) -> None:
    one = await stage()
    await one.serve()
    client = await one.client()
    for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n":
        client.send(bytes([byte]))
        await asyncio.sleep(0)
    client.send(bytes.fromhex("000000 04 00 00000000"))
    async with asyncio.timeout(PATIENCE):
        assert (await client.reader.readexactly(9))[3] == 4  # our SETTINGS


async def test_what_only_begins_like_the_preface_is_http1(stage: MakeStage) -> None:
    one = await stage()
    await one.serve()
    client = await one.client()
    client.send("P")
    await asyncio.sleep(0.05)
    client.send("UT / HTTP/1.1\r\nHost: web.localhost\r\nContent-Length: 0\r\n\r\n")
    assert (await client.answer()).body == b"PUT / "

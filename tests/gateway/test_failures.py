"""What goes wrong between a caller and an instance, and what each of them is told."""

import asyncio
from pathlib import Path

import pytest

from sampan.link.messages import GiveBack, Gone, Hello, Lost, Refuse, Revoke, Want
from sampan.model.errors import Failure, FailureKind
from sampan.model.invocation import Outcome
from sampan.model.names import VersionKey
from tests.gateway.conftest import MakeStage
from tests.gateway.stage import PATIENCE, Request, echo, read_body, reply

R, W = asyncio.StreamReader, asyncio.StreamWriter


class Stuck:
    """A function that takes a request and says nothing until told."""

    def __init__(self) -> None:
        self.entered, self.go, self.left = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def __call__(self, request: Request, reader: R, writer: W) -> None:
        self.entered.set()
        gone = asyncio.ensure_future(reader.read(1))
        gone.add_done_callback(lambda _: self.left.set())
        try:
            await self.go.wait()
        finally:
            gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)  # the next request is read by somebody else
        writer.write(reply(b"late"))


async def within(event: asyncio.Event) -> None:
    async with asyncio.timeout(PATIENCE):
        await event.wait()


@pytest.mark.parametrize(("slots", "replaced"), [(1, True), (2, False)])
async def test_a_function_over_its_time_is_cut_off(stage: MakeStage, slots: int, replaced: bool) -> None:
    """An instance that takes one request at a time may still be busy with it, and is replaced."""
    s = await stage()
    play = Stuck()
    await s.serve(play, slots=slots, timeout=0.1)
    answer = await s.call()
    assert answer.status == 502
    assert b"Function time out after 0.1 seconds" in answer.body
    await within(play.left)
    assert (await s.record()).outcome is Outcome.TIMED_OUT
    assert [lost.replace for lost in s.said(Lost)] == ([True] if replaced else [])


async def test_a_streaming_answer_may_last_longer_than_the_timeout(stage: MakeStage) -> None:
    s = await stage()

    async def play(request: Request, reader: R, writer: W) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(5):
            await asyncio.sleep(0.05)
            writer.write(b"1\r\nx\r\n")
        writer.write(b"0\r\n\r\n")

    await s.serve(play, timeout=0.1)
    assert (await s.call()).body == b"xxxxx"


async def test_a_streaming_answer_that_falls_silent_is_cut(stage: MakeStage) -> None:
    s = await stage(idle_timeout=0.2)

    async def play(request: Request, reader: R, writer: W) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
        await reader.read(1)

    await s.serve(play, timeout=0.1)
    client = await s.client()
    client.request("GET", "/")
    await client.head()
    assert await client.closed() in (b"", b"1\r\nx\r\n")
    assert (await s.record()).outcome is Outcome.TIMED_OUT


async def test_a_caller_that_goes_away_ends_the_request(stage: MakeStage) -> None:
    s = await stage()
    play = Stuck()
    await s.serve(play)
    client = await s.client()
    client.request("GET", "/")
    await within(play.entered)
    client.writer.close()
    await within(play.left)
    record = await s.record()
    assert (record.outcome, record.status) == (Outcome.CLIENT_GONE, 0)
    assert s.said(Lost)[0].replace


async def test_a_caller_that_goes_away_while_waiting_leaves_the_queue(stage: MakeStage) -> None:
    s = await stage()
    version = await s.route()
    client = await s.client()
    client.request("GET", "/")
    await s.until(lambda: any(want.waiting == 1 for want in s.said(Want)))
    client.writer.close()
    await s.until(lambda: s.said(Want)[-1].waiting == 0)
    assert s.said(Want)[-1].version == version.key


async def test_an_instance_that_dies_within_an_answer_never_ends_it_cleanly(stage: MakeStage) -> None:
    s = await stage()
    for head in ("Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "Content-Length: 9\r\n\r\nabc"):

        async def play(request: Request, reader: R, writer: W, head: str = head) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\n" + head.encode())
            await writer.drain()
            writer.close()

        await s.serve(play)
        client = await s.client()
        client.request("GET", "/")
        assert (await client.head()).status == 200
        assert not (await client.closed()).endswith(b"0\r\n\r\n")
        await s.until(lambda: bool(s.said(Lost)))
        s.heard.clear()


async def test_http_1_0_clients_are_reset_when_an_answer_breaks_off(stage: MakeStage) -> None:
    s = await stage()

    async def play(request: Request, reader: R, writer: W) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await writer.drain()
        writer.close()

    await s.serve(play)
    client = await s.client()
    client.send("GET / HTTP/1.0\r\nHost: web.localhost\r\n\r\n")
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(client.reader.read(-1), PATIENCE)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_instance_that_dies_with_a_first_request_is_an_error(stage: MakeStage, method: str) -> None:
    s = await stage()

    async def play(request: Request, reader: R, writer: W) -> None:
        writer.close()

    function = await s.serve(play)
    answer = await s.call(method, "/", b"")
    assert answer.status == 502
    assert b"The function closed the connection before completing request" in answer.body
    assert len(function.requests) == 1
    assert not s.said(Lost)[0].replace


async def test_how_an_instance_died_is_told_as_soon_as_control_knows(stage: MakeStage) -> None:
    s = await stage()

    async def play(request: Request, reader: R, writer: W) -> None:
        writer.close()

    await s.serve(play)
    call = asyncio.ensure_future(s.call())
    await s.until(lambda: bool(s.said(Lost)))
    instance = s.said(Lost)[0].instance
    s.tell(Gone(instance, Failure(FailureKind.OUT_OF_MEMORY, "killed for memory", "its last words")))
    answer = await call
    assert answer.status == 502
    assert b"Process exited unexpectedly before completing request" in answer.body
    assert rb"killed for memory\nLogs:\nits last words" in answer.body


@pytest.mark.parametrize(("method", "status", "tries"), [("GET", 200, 3), ("PUT", 200, 3), ("POST", 502, 2)])
async def test_only_what_may_be_repeated_is_sent_again_when_a_kept_connection_dies(
    stage: MakeStage, method: str, status: int, tries: int
) -> None:
    s = await stage()
    asked = 0

    async def play(request: Request, reader: R, writer: W) -> None:
        nonlocal asked
        asked += 1
        await read_body(request, reader)
        if asked == 2:
            writer.close()
        else:
            writer.write(reply(b"ok"))

    await s.serve(play)
    client = await s.client()
    assert (await client.call(method, "/", b"x")).status == 200
    assert (await client.call(method, "/", b"x")).status == status
    assert asked == tries


async def test_an_instance_that_accepts_nothing_is_left_for_the_next(stage: MakeStage) -> None:
    s = await stage()
    good, bad = await s.function(), await s.function()
    await bad.stop()
    version = await s.route()
    s.grant(version.key, good)
    dead = s.grant(version.key, bad)
    await s.until(lambda: len(s.gateway.leases.held()) == 2)
    assert (await s.call("POST", "/", b"x")).body == b"POST / x"
    assert [lost.instance for lost in s.said(Lost)] == [dead]


@pytest.mark.parametrize(
    "answer",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 9000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 2000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
    ],
)
async def test_an_answer_that_breaks_http_or_a_limit_is_a_bad_response(stage: MakeStage, answer: bytes) -> None:
    s = await stage()

    async def play(request: Request, reader: R, writer: W) -> None:
        writer.write(answer)

    await s.serve(play)
    told = await s.call()
    assert told.status == 502
    assert b'"Code":"BadResponse"' in told.body
    assert (await s.record()).outcome is Outcome.FUNCTION_ERROR


async def test_an_instance_that_is_gone_fails_its_requests_at_once(stage: MakeStage) -> None:
    s = await stage()
    play = Stuck()
    await s.serve(play)
    client = await s.client()
    client.request("GET", "/")
    await within(play.entered)
    s.tell(Gone(s.gateway.leases.held()[0].instance))
    assert (await client.answer()).status == 502
    assert not s.said(Lost)


async def test_a_revoked_instance_finishes_and_is_given_back(stage: MakeStage) -> None:
    s = await stage()
    play = Stuck()
    await s.serve(play)
    client = await s.client()
    client.request("GET", "/")
    await within(play.entered)
    instance = s.gateway.leases.held()[0].instance
    s.tell(Revoke(instance))
    await s.until(lambda: s.gateway.leases._instances[instance].leaving)
    assert s.gateway.leases.held()  # there is still a request in it
    assert not s.said(GiveBack)
    play.go.set()
    assert (await client.answer()).body == b"late"
    await s.until(lambda: [given.instance for given in s.said(GiveBack)] == [instance])


async def test_a_cold_request_waits_for_a_grant(stage: MakeStage) -> None:
    s = await stage()
    function = await s.function()
    version = await s.route()
    s.on_want = lambda want: s.grant(want.version, function, cold=True) and None
    assert (await s.call()).status == 200
    assert (await s.record()).cold
    await s.until(lambda: s.said(Want)[-1].waiting == 0)
    assert (s.said(Want)[0].version, s.said(Want)[0].seen, s.said(Want)[-1].seen) == (version.key, 0, 1)


@pytest.mark.parametrize(
    ("refusal", "status", "outcome"),
    [
        ({"failure": Failure(FailureKind.IMAGE_NOT_FOUND, "no such image")}, 412, Outcome.START_FAILED),
        ({"throttled": "instances of function 'web' (3)"}, 429, Outcome.THROTTLED),
        ({"no_capacity": "memory", "retry_after": 2.5}, 503, Outcome.PLATFORM_ERROR),
    ],
)
async def test_a_refusal_answers_everybody_who_waits(
    stage: MakeStage, refusal: dict[str, object], status: int, outcome: Outcome
) -> None:
    s = await stage()
    await s.route()
    s.on_want = lambda want: s.tell(Refuse(want.version, **refusal)) if want.waiting == 2 else None  # type: ignore[arg-type]
    clients = [await s.client() for _ in range(2)]
    for client in clients:
        client.request("GET", "/")
    answers = [await client.answer() for client in clients]
    assert [answer.status for answer in answers] == [status] * 2
    if "retry_after" in refusal:
        assert answers[0]["retry-after"] == "3"
    assert (await s.record()).outcome is outcome


async def test_warm_requests_go_on_while_control_is_away_and_all_is_said_when_it_returns(stage: MakeStage) -> None:
    s = await stage()
    function = await s.serve(freeze_delay=0.05)
    instance = s.gateway.leases.held()[0].instance
    s.stop_control()
    await s.until(lambda: not s.gateway.control.connected)
    await asyncio.sleep(0.2)  # longer than the freeze delay: the lease is kept
    assert (await s.call()).status == 200
    await s.until(lambda: not s.gateway.control.connected)
    s.heard.clear()
    waiting = await s.client()
    waiting.request("GET", "/", host="cold.localhost")
    assert (await waiting.answer()).status == 404
    await s.start_control()
    await s.until(lambda: bool(s.said(Hello)))
    assert [lease.instance for lease in s.said(Hello)[0].leases] == [instance]
    assert (await s.record()).status == 200  # kept until somebody listened
    await s.until(lambda: bool(s.said(GiveBack)))
    assert len(function.requests) == 1


async def test_wants_are_said_again_to_a_control_that_restarted(stage: MakeStage) -> None:
    s = await stage()
    await s.route()
    client = await s.client()
    client.request("GET", "/")
    await s.until(lambda: bool(s.said(Want)))
    s.stop_control()
    await s.until(lambda: not s.gateway.control.connected)
    s.heard.clear()
    function = await s.function()
    s.on_want = lambda want: s.grant(want.version, function) and None
    await s.start_control()
    assert (await client.answer()).status == 200


async def test_what_is_given_back_before_a_new_control_listens_is_said_once_it_does(stage: MakeStage) -> None:
    s = await stage()
    play = Stuck()
    await s.serve(play)
    client = await s.client()
    client.request("GET", "/")
    await within(play.entered)
    instance = s.gateway.leases.held()[0].instance
    s.tell(Revoke(instance))
    await s.until(lambda: s.gateway.leases._instances[instance].leaving)
    s.stop_control()
    await s.until(lambda: not s.gateway.control.connected)
    s.heard.clear()
    routes, s._all_routes = s._all_routes(), lambda: Refuse(VersionKey("none"))  # type: ignore[method-assign]
    await s.start_control()
    await s.until(lambda: bool(s.said(Hello)))
    assert [lease.instance for lease in s.said(Hello)[0].leases] == [instance]
    play.go.set()
    assert (await client.answer()).body == b"late"
    await s.until(lambda: not s.gateway.leases._instances)
    s.tell(routes)
    await s.until(lambda: [given.instance for given in s.said(GiveBack)] == [instance])


async def test_log_lines_frame_each_request(stage: MakeStage, tmp_path: Path) -> None:
    s = await stage()
    log = tmp_path / "stdout"
    log.write_text("before\n")
    function = await s.function()
    version = await s.route()
    s.grant(version.key, function, log_path=str(log))
    await s.until(lambda: bool(s.gateway.leases.held()))
    request = (await s.call())["x-fc-request-id"]
    await s.until(lambda: "End" in log.read_text())
    assert log.read_text() == f"before\nFC Invoke Start RequestId: {request}\nFC Invoke End RequestId: {request}\n"


async def test_a_slow_reader_holds_the_function_back_and_not_our_memory(stage: MakeStage) -> None:
    s = await stage()
    written = 0

    async def play(request: Request, reader: R, writer: W) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (64 << 20))
        for _ in range(64):
            writer.write(b"x" * (1 << 20))
            await writer.drain()
            written += 1 << 20

    await s.serve(play, timeout=60.0)
    client = await s.client()
    client.writer.transport.pause_reading()
    client.request("GET", "/")
    before = -1
    while before != written or not written:
        before = written
        await asyncio.sleep(0.3)
    assert written < 48 << 20  # what kernel buffers hold, and little more
    client.writer.transport.resume_reading()
    assert len((await client.answer()).body) == 64 << 20


async def test_a_slow_function_holds_the_uploader_back(stage: MakeStage) -> None:
    s = await stage()
    go = asyncio.Event()

    async def play(request: Request, reader: R, writer: W) -> None:
        await go.wait()
        await read_body(request, reader)
        writer.write(reply(str(len(request.body)).encode()))

    await s.serve(play, timeout=60.0)
    client = await s.client()
    client.send(b"POST / HTTP/1.1\r\nHost: web.localhost\r\nContent-Length: %d\r\n\r\n" % (64 << 20))
    sent = 0

    async def upload() -> None:
        nonlocal sent
        for _ in range(64):
            client.send(b"x" * (1 << 20))
            await client.writer.drain()
            sent += 1 << 20

    task = asyncio.create_task(upload())
    before = -1
    while before != sent or not sent:
        before = sent
        await asyncio.sleep(0.3)
    assert sent < 48 << 20
    go.set()
    assert (await client.answer()).body == str(64 << 20).encode()
    await task


async def test_a_streamed_body_over_its_limit_is_refused_where_it_passes_it(stage: MakeStage) -> None:
    s = await stage(max_body=100)

    async def play(request: Request, reader: R, writer: W) -> None:
        await read_body(request, reader)
        writer.write(reply(b"never"))

    await s.serve(play)
    client = await s.client()
    client.send(
        b"POST / HTTP/1.1\r\nHost: web.localhost\r\nTransfer-Encoding: chunked\r\n\r\n32\r\n" + b"x" * 50 + b"\r\n"
    )
    await s.until(lambda: not s.gateway.leases._pools[next(iter(s.gateway.leases._pools))].free)
    client.send(b"64\r\n" + b"x" * 100 + b"\r\n")
    assert b"EntityTooLarge" in (await client.answer()).body


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHos"])
async def test_a_client_that_never_ends_its_header_is_closed(stage: MakeStage, sent: bytes) -> None:
    s = await stage(header_timeout=0.1)
    client = await s.client()
    client.send(sent)
    assert await client.closed() == b""


async def test_an_idle_connection_is_closed_in_time(stage: MakeStage) -> None:
    s = await stage(idle_timeout=0.1)
    client = await s.client()
    assert (await client.call("GET", "/healthz", host="a")).status == 200
    assert await client.closed() == b""


async def test_draining_takes_nothing_new_and_ends_what_is_in_flight(stage: MakeStage) -> None:
    s = await stage()
    play = Stuck()
    await s.serve(play)
    busy, idle = await s.client(), await s.client()
    assert (await idle.call("GET", "/healthz", host="a")).status == 200
    busy.request("GET", "/")
    await within(play.entered)
    address = s.gateway.addresses[0]
    stopping = asyncio.create_task(s.gateway.stop())
    assert await idle.closed() == b""
    with pytest.raises(ConnectionError):
        await asyncio.open_connection(*address)
    play.go.set()
    answer = await busy.answer()
    assert (answer.body, answer["connection"]) == (b"late", "close")
    await stopping
    await s.until(lambda: bool(s.said(GiveBack)))


async def test_a_followed_log_is_not_waited_for(stage: MakeStage) -> None:
    s = await stage(drain=1e6)

    async def follow(request: Request, reader: R, writer: W) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nline\r\n")
        await reader.read()

    await s.api(follow)
    client = await s.client()
    client.request("GET", "/sampan/v1/logs", host="localhost")
    async with asyncio.timeout(PATIENCE):
        await client.reader.readuntil(b"line")
        await s.gateway.stop()
    assert b"0\r\n" not in await client.closed(), "no end that looks like one"


async def test_what_outlasts_the_drain_is_cut(stage: MakeStage) -> None:
    s = await stage(drain=0.1)
    play = Stuck()
    await s.serve(play)
    client = await s.client()
    client.request("GET", "/")
    await within(play.entered)
    await s.gateway.stop()
    assert await client.closed() == b""


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 099 Nothing\r\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_nothing_of_an_answer_that_cannot_be_one_reaches_the_caller(stage: MakeStage, answer: bytes) -> None:
    """What a function writes behind a switch that nobody asked for must not pass for the next answer."""
    s = await stage()

    async def play(request: Request, reader: R, writer: W) -> None:
        writer.write(answer + b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad")

    await s.serve(play)
    client = await s.client()
    client.request("GET", "/")
    assert (await client.answer()).status == 502


async def test_a_body_that_went_wrong_before_the_api_was_reached_is_refused_at_once(stage: MakeStage) -> None:
    s = await stage()
    await s.api(echo)
    client = await s.client()
    await client.call("GET", "/healthz")
    connection = next(iter(s.gateway._connections))
    head = b"POST /2023-03-30/functions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    connection.data_received(head)  # type: ignore[attr-defined]
    await asyncio.sleep(0)  # on its way to the API
    connection.data_received(b"no chunk\r\n")  # type: ignore[attr-defined]
    assert (await client.answer()).status == 400


async def test_a_connection_that_cannot_be_ended_keeps_no_other_from_its_end(stage: MakeStage) -> None:
    class Broken:
        deadline = 0.0

        def __init__(self) -> None:
            self.cancelled = 0

        def drain(self) -> None:
            return

        def cancel(self) -> None:
            self.cancelled += 1

        def expire(self) -> None:
            raise ValueError("broken")

    s = await stage(header_timeout=0.4)
    broken = Broken()
    s.gateway.joined(broken)
    await s.until(lambda: broken.cancelled > 1)
    client = await s.client()
    assert await client.closed() == b""
    s.gateway.left(broken)

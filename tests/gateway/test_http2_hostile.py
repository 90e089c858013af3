"""Clients of HTTP/2 that mean no good: each is bounded or shown out, and the gateway stays well."""

import asyncio
import contextlib
import resource

import hpack
import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from tests.gateway.conftest import MakeStage
from tests.gateway.http2_client import Headers, Http2Client, http2
from tests.gateway.stage import Request, Stage, read_body, reply

GET = [(":method", "GET"), (":path", "/"), (":scheme", "http"), (":authority", "web.localhost")]
PROTOCOL_ERROR, ENHANCE_YOUR_CALM = ErrorCodes.PROTOCOL_ERROR, ErrorCodes.ENHANCE_YOUR_CALM


async def well(stage: Stage) -> None:
    """Others are served, and nothing of the bad client is left."""
    client = await http2(stage)
    client.authority = "localhost"
    assert (await client.call("GET", "/healthz")).status == 200
    await client.close()
    await stage.until(lambda: not stage.gateway._connections)


def head(number: int, headers: Headers, *flags: str) -> HeadersFrame:
    encoded = hpack.Encoder().encode(headers, huffman=False)
    return HeadersFrame(number, encoded, flags=list(flags or ("END_HEADERS", "END_STREAM")))


def reset(number: int) -> RstStreamFrame:
    return RstStreamFrame(number, int(ErrorCodes.CANCEL))


async def flood(client: Http2Client, *frames: Frame, times: int = 1) -> int | None:
    """Send until shown out; what the goodbye said."""
    data = b"".join(frame.serialize() for frame in frames)
    for _ in range(times):
        if client.closed:
            break
        client.send(data)
        try:
            await client.writer.drain()
        except ConnectionError:
            break
    return await client.gone()


async def test_rapid_resets(stage: MakeStage) -> None:
    one = await stage()
    function = await one.serve(slots=100)
    client = await http2(one)
    encoder = hpack.Encoder()
    frames: list[Frame] = []
    for number in range(1, 40_000, 2):
        frame = HeadersFrame(number, encoder.encode(GET), flags=["END_HEADERS", "END_STREAM"])
        frames += (frame, reset(number))
    assert await flood(client, *frames) in (ENHANCE_YOUR_CALM, None)
    assert len(function.requests) < 1500
    await well(one)


async def test_streams_beyond_the_limit(stage: MakeStage) -> None:
    async def never(request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    one = await stage()
    function = await one.serve(never, slots=1000)
    client = await http2(one)
    client.machine.remote_settings[SettingCodes.MAX_CONCURRENT_STREAMS] = 10_000
    client.machine.remote_settings.acknowledge()
    encoder = hpack.Encoder()
    whole = ["END_HEADERS", "END_STREAM"]
    frames = [HeadersFrame(number, encoder.encode(GET), flags=whole) for number in range(1, 301, 2)]
    assert await flood(client, *frames) == PROTOCOL_ERROR
    assert len(function.requests) <= 100
    await well(one)


@pytest.mark.parametrize("content", [b"", bytes(16_000)])
async def test_continuations_without_end(stage: MakeStage, content: bytes) -> None:
    one = await stage()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    client = await http2(one)
    client.frames(head(1, GET, "END_STREAM"))
    await flood(client, ContinuationFrame(1, content), times=20_000)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # kB
    await well(one)


@pytest.mark.parametrize(
    "frame",
    [
        PingFrame(0, b"12345678"),
        SettingsFrame(0, {3: 100}),
        PriorityFrame(1, depends_on=0, stream_weight=3),
        WindowUpdateFrame(0, window_increment=1),
        WindowUpdateFrame(1, window_increment=1),
        DataFrame(1, b""),
    ],
    ids=lambda frame: type(frame).__name__ + str(frame.stream_id),
)
async def test_frames_that_serve_nothing(stage: MakeStage, frame: Frame) -> None:
    async def slow(request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_body(request, reader)
        writer.write(reply(b""))

    one = await stage()
    await one.serve(slow, slots=2)
    client = await http2(one)
    client.begin("POST", "/", end=False)
    assert await flood(client, *[frame] * 100, times=1000) in (ENHANCE_YOUR_CALM, None)
    await well(one)


async def test_answers_to_pings_that_are_not_read(stage: MakeStage) -> None:
    one = await stage()
    client = await http2(one)
    client._task.cancel()
    data = PingFrame(0, b"12345678").serialize() * 1000
    while not client.writer.is_closing():
        client.send(data)
        with contextlib.suppress(ConnectionError):
            await client.writer.drain()
        await asyncio.sleep(0)
    await well(one)


async def test_an_honest_client_may_ping_and_cancel(stage: MakeStage) -> None:
    one = await stage()
    await one.serve(slots=10)
    client = await http2(one)
    for _ in range(300):
        client.machine.ping(b"12345678")
        number = client.begin("GET", "/healthz")
        client.machine.reset_stream(number, ErrorCodes.CANCEL)
        client.send()
        assert (await client.call("GET", "/")).status == 200


async def test_a_ping_for_each_frame_of_data_is_no_flood(stage: MakeStage) -> None:
    one = await stage()
    await one.serve()
    client = await http2(one)
    number = client.begin("POST", "/", end=False)
    for _ in range(3000):
        client.machine.ping(b"12345678")
        client.machine.send_data(number, b"x")
        client.send()
    client.machine.end_stream(number)
    client.send()
    assert (await client.answer(number)).body == b"POST / " + b"x" * 3000


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([*GET, ("big", "x" * 9000)], 400),
        ([*GET[:1], (":path", "/" + "x" * 5000), *GET[2:]], 400),
        ([*GET[:1], (":path", "/a b"), *GET[2:]], 400),
        ([*GET[:1], (":path", "/a#b"), *GET[2:]], 400),
        ([*GET[:1], (":path", "nothing"), *GET[2:]], 400),
        ([*GET[:1], (":path", "*"), *GET[2:]], 400),
        ([(":method", "G ET"), *GET[1:]], 400),
        ([*GET[:3], (":authority", "web localhost")], 400),
        ([*GET[:3], (":authority", "")], 400),
        ([(":method", "CONNECT"), (":authority", "web.localhost")], 400),
        ([*GET, ("bad(name", "x")], 400),
        ([*GET, ("ctl", "a\x01b")], 400),
        ([*GET, ("content-length", "-1")], None),
        ([*GET, ("content-length", "5")], 400),
        ([*GET, ("content-length", "0"), ("content-length", "0")], 400),
        ([*GET, ("Upper", "x")], None),
        ([*GET, ("split", "a\r\nb: c")], None),
        ([*GET, ("nul", "a\x00b")], None),
        ([*GET, ("connection", "close")], None),
        ([*GET, ("transfer-encoding", "chunked")], None),
        ([*GET, ("upgrade", "websocket")], None),
        ([*GET, ("keep-alive", "1")], None),
        ([*GET, ("te", "gzip")], None),
        ([*GET, ("host", "other.localhost")], None),
        ([*GET, (":method", "GET")], None),
        ([*GET, (":odd", "1")], None),
        ([*GET, (":status", "200")], None),
        ([("x", "y"), *GET], None),
        (GET[1:], None),
        ([GET[0], *GET[2:]], None),
        ([GET[0], (":path", ""), *GET[2:]], None),
        (GET[:3], None),
        ([*GET, ("big", "x" * 60_000)], None),
        ([*GET, *[("a", "")] * 2000], None),
    ],
)
async def test_heads_against_the_rules(stage: MakeStage, headers: Headers, status: int | None) -> None:
    """Answered with 400 where the connection can go on, else shown out; never passed to the function."""
    one = await stage()
    function = await one.serve()
    client = await http2(one)
    if status is not None:
        assert (await client.answer(client.begin_with(headers))).status == status
        assert function.requests == []
        return
    encoded = hpack.Encoder().encode(headers, huffman=False)
    first = HeadersFrame(1, encoded[:16_000])
    first.flags.add("END_STREAM")
    frames: list[Frame] = [first]
    frames += [ContinuationFrame(1, encoded[at : at + 16_000]) for at in range(16_000, len(encoded), 16_000)]
    frames[-1].flags.add("END_HEADERS")
    client.machine.streams.clear()
    client.machine._begin_new_stream(1, 1)  # type: ignore[arg-type]
    client.frames(*frames)
    assert await client.gone() in (PROTOCOL_ERROR, ENHANCE_YOUR_CALM, ErrorCodes.COMPRESSION_ERROR)
    assert function.requests == []
    await well(one)


async def test_a_head_that_is_refused_is_answered(stage: MakeStage) -> None:
    one = await stage()
    function = await one.serve()
    client = await http2(one)
    answer = await client.call("GET", "/", ("big", "x" * 9000))
    assert (answer.status, b"headers" in answer.body) == (400, True)
    answer = await client.call("GET", "/a b")
    assert (answer.status, b"path" in answer.body) == (400, True)
    assert function.requests == []


@pytest.mark.parametrize(
    "frames",
    [
        [DataFrame(1, b"x")],
        [head(2, GET)],
        [head(3, GET), head(1, GET)],
        [ContinuationFrame(1, b"x")],
        [head(1, GET, "END_STREAM"), PingFrame(0, b"12345678")],
        [SettingsFrame(0, {4: 1 << 31})],
        [SettingsFrame(0, {5: 1})],
        [SettingsFrame(0, {2: 7})],
        [WindowUpdateFrame(0, window_increment=(1 << 31) - 1)],
        [HeadersFrame(1, b"\xff\xff\xff\xff\xff\xff\xff", flags=["END_HEADERS"])],
    ],
)
async def test_frames_against_the_rules(stage: MakeStage, frames: list[Frame]) -> None:
    one = await stage()
    client = await http2(one)
    client.frames(*frames)
    assert await client.gone() not in (None, ErrorCodes.NO_ERROR)
    await well(one)


async def test_data_after_the_end_of_a_stream(stage: MakeStage) -> None:
    one = await stage()
    function = await one.serve()
    client = await http2(one)
    number = client.begin("POST", "/", end=False)
    end = DataFrame(number, b"x", flags=["END_STREAM"])
    client.frames(end, DataFrame(number, b"more"))
    await client.close()
    await one.until(lambda: not one.gateway._connections)
    assert all(b"more" not in request.body for request in function.requests)
    await well(one)


@pytest.mark.parametrize("length", ["3", "5"])
async def test_a_body_ended_by_trailers_has_the_length_it_told(stage: MakeStage, length: str) -> None:
    """Else what follows on the connection to the function would be taken for the rest."""
    one = await stage()
    function = await one.serve()
    client = await http2(one)
    number = client.begin("POST", "/", ("content-length", length), end=False)
    await client.body(number, b"body", end=False)
    client.machine.send_headers(number, [("sum", "1")], end_stream=True)
    client.send()
    if length == "5":
        assert (await client.answer(number)).reset == PROTOCOL_ERROR
        assert (await client.call()).status == 200
        assert [request.body for request in function.requests] == [b""]
        await client.close()
    else:
        assert await client.gone() == PROTOCOL_ERROR
    await well(one)


async def test_data_beyond_the_window(stage: MakeStage) -> None:
    async def never(request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    one = await stage()
    await one.serve(never)
    client = await http2(one)
    number = client.begin("POST", "/", end=False)
    assert await flood(client, DataFrame(number, bytes(16_000)), times=5000) == ErrorCodes.FLOW_CONTROL_ERROR
    await well(one)


async def test_windows_that_grow_beyond_all_bounds(stage: MakeStage) -> None:
    one = await stage()
    await one.serve()
    client = await http2(one)
    number = client.begin("POST", "/", end=False)
    client.frames(WindowUpdateFrame(number, window_increment=(1 << 31) - 1))
    assert (await client.answer(number)).reset == ErrorCodes.FLOW_CONTROL_ERROR
    assert (await client.call()).status == 200


async def test_a_window_of_one_byte(stage: MakeStage) -> None:
    """Crumbs are sent for as long as the budget lasts; then it is over."""

    async def play(request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(reply(bytes(1 << 16)))

    one = await stage()
    await one.serve(play)
    client = await http2(one, {SettingCodes.INITIAL_WINDOW_SIZE: 0}, acknowledge=False)
    number = client.begin()
    await one.until(lambda: bool(client.answers[number].headers))
    crumbs = [WindowUpdateFrame(number, window_increment=1)] * 50
    assert await flood(client, *crumbs, times=400) in (ENHANCE_YOUR_CALM, None)
    assert len(client.answers[number].body) < 2000
    await well(one)


async def test_a_frame_that_announces_more_than_is_allowed_is_not_waited_for(stage: MakeStage) -> None:
    one = await stage()
    client = await http2(one)
    client.send(bytes.fromhex("ffffff 00 00 00000001") + bytes(1000))
    assert await client.gone() == ErrorCodes.FRAME_SIZE_ERROR
    await well(one)


@pytest.mark.parametrize(
    "said",
    [b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", b"PRI * HTTP/1.1\r\nHost: web.localhost\r\n\r\n", b"PRI * HTTP/2.0\r\n"],
)
async def test_a_preface_that_is_none(stage: MakeStage, said: bytes) -> None:
    one = await stage(header_timeout=0.3)
    function = await one.serve()
    client = await one.client()
    client.send(said)
    await client.closed()
    assert function.requests == []
    await well(one)


async def test_a_head_that_never_ends(stage: MakeStage) -> None:
    one = await stage(idle_timeout=0.3)
    client = await http2(one)
    client.authority = "localhost"
    assert (await client.call("GET", "/healthz")).status == 200
    client.frames(head(3, GET, "END_STREAM"))
    assert await client.gone() == ErrorCodes.NO_ERROR
    await well(one)


async def test_a_stream_reset_in_the_breath_that_opens_its_window(stage: MakeStage) -> None:
    one = await stage()
    client = await http2(one, {SettingCodes.INITIAL_WINDOW_SIZE: 0}, acknowledge=False)
    client.authority = "localhost"
    number = client.begin("GET", "/healthz")
    await one.until(lambda: bool(client.answers[number].headers))
    client.frames(WindowUpdateFrame(number, window_increment=1000), reset(number))
    client.machine.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 65535})
    client.send()
    assert (await client.call("GET", "/healthz")).status == 200


async def test_a_table_of_headers_without_bounds_is_not_kept(stage: MakeStage) -> None:
    one = await stage()
    client = await http2(one, {SettingCodes.HEADER_TABLE_SIZE: (1 << 32) - 1})
    client.machine.decoder.max_allowed_table_size = 1 << 32
    client.authority = "localhost"
    for _ in range(200):
        assert (await client.call("GET", "/none")).status == 404  # each answer has a number of its own
    (connection,) = one.gateway._connections
    encoder = connection.machine.encoder  # type: ignore[attr-defined]
    assert len(encoder.header_table.dynamic_entries) < 100

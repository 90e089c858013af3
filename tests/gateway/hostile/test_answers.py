"""What a broken function answers: a caller sees it whole, or sees that it is not; no part of it as another's."""

import asyncio
import socket
import struct

import h11
import pytest

from tests.gateway.conftest import MakeStage
from tests.gateway.hostile.answers import TABLES, Answer
from tests.gateway.hostile.parts import Bare, statuses
from tests.gateway.stage import Request, Stage, read_body, reply

R, W = asyncio.StreamReader, asyncio.StreamWriter
NEXT = "/next"
DRIP = 400  # bytes up to which an answer is sent one by one


class Scripted:
    """Answers with the bytes it is given, and the next request as it should be."""

    def __init__(self) -> None:
        self.answer = Answer("", b"", "", 0, b"")
        self.drip = False

    async def __call__(self, request: Request, reader: R, writer: W) -> None:
        await read_body(request, reader)
        if request.target == NEXT:
            writer.write(reply(b"next"))
            return
        sent = self.answer.sent
        for piece in [sent[at : at + 1] for at in range(len(sent))] if self.drip else [sent]:
            if writer.transport.is_closing():
                return
            writer.write(piece)
            if self.drip:
                await asyncio.sleep(0)
        await writer.drain()
        if self.answer.closes:
            writer.close()


async def wrong(s: Stage, play: Scripted, answer: Answer, name: str) -> str:
    """What is wrong with how it went; "" when nothing is. name: of a function that nothing has been asked yet."""
    play.answer = answer
    function = await s.function(play)
    s.grant((await s.route(name)).key, function)
    await s.until(lambda: any(one.version.startswith(f"{name}@") for one in s.gateway.leases.held()))
    parser, host = h11.Connection(h11.CLIENT), f"{name}.localhost"
    async with Bare(s) as client:
        request = h11.Request(method=answer.method, target="/", headers=[("Host", host)])
        await client.send([parser.send(request) or b"", parser.send(h11.EndOfMessage()) or b""])
        try:
            status, body = await read(client, parser)
        except h11.RemoteProtocolError as error:
            return "" if answer.body is None else f"the caller could not read it: {error}"
    if answer.body is None:
        return f"it seemed whole: {status} {body!r}"
    if status != answer.status or not (answer.body in body if status >= 500 else answer.body == body):
        return f"the caller got {status} {body!r}"
    after = await s.call("GET", NEXT, host=host)
    if (after.status, after.body) != (200, b"next"):
        return f"the next one got {after.status} {after.body!r}"
    kept = function.connections == 1
    return "" if answer.reused in (kept, None) else f"the connection was {'kept' if kept else 'dropped'}"


async def read(client: Bare, parser: h11.Connection) -> tuple[int, bytes]:
    """Status and body. Raises: RemoteProtocolError for an answer that is none, or not whole."""
    status, body = 0, b""
    while True:
        match parser.next_event():
            case h11.Response() as response:
                status = response.status_code
            case h11.Data() as piece:
                body += bytes(piece.data)
            case h11.EndOfMessage():
                return status, body
            case h11.NEED_DATA:
                piece = await client.more()
                if client.reset:
                    raise h11.RemoteProtocolError("reset")
                parser.receive_data(piece)
            case other:
                raise h11.RemoteProtocolError(f"{other}")


@pytest.mark.parametrize("drip", [False, True], ids=["at once", "byte by byte"])
@pytest.mark.parametrize("table", TABLES)
async def test_an_answer_is_passed_on_whole_or_shown_to_be_broken(stage: MakeStage, table: str, drip: bool) -> None:
    s = await stage()
    play = Scripted()
    play.drip = drip
    found = {}
    for at, answer in enumerate(one for one in TABLES[table] if not drip or len(one.sent) <= DRIP):
        if trouble := await wrong(s, play, answer, f"web{at}"):
            found[f"{answer.name} ({answer.clause})"] = trouble
    assert found == {}


RESET = struct.pack("ii", 1, 0)
SENT = b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello, world"


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize(("size", "status"), [(0, 502), (7, 502), (20, 502), (39, 200), (44, 200)])
async def test_a_connection_that_ends_at_any_stage_never_ends_an_answer(
    stage: MakeStage, size: int, status: int, reset: bool
) -> None:
    s = await stage()

    async def play(request: Request, reader: R, writer: W) -> None:
        writer.write(SENT[:size])
        await writer.drain()
        if reset:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        writer.transport.abort()

    await s.serve(play)
    async with Bare(s) as client:
        await client.send([b"GET / HTTP/1.1\r\nHost: web.localhost\r\nConnection: close\r\n\r\n"])
        got = await client.until(None)
    if status == 200:
        assert statuses(got) in ([], [200])  # the reset may overtake what was sent before it
        assert client.reset
    else:
        assert statuses(got) == [502]
        assert b"BadResponse" in got


async def test_a_function_that_speaks_out_of_turn_is_not_heard(stage: MakeStage) -> None:
    """What comes on a kept connection between two requests is no answer to the second."""
    s = await stage()

    async def play(request: Request, reader: R, writer: W) -> None:
        writer.write(reply(b"asked for"))
        await writer.drain()
        await asyncio.sleep(0.05)
        if not writer.transport.is_closing():
            writer.write(reply(b"not asked for"))

    function = await s.serve(play)
    client = await s.client()
    assert (await client.call("GET", "/1")).body == b"asked for"
    await s.until(lambda: not s.gateway.leases._instances[s.gateway.leases.held()[0].instance].upstream._idle)
    assert (await client.call("GET", "/2")).body == b"asked for"
    assert function.connections == 2


async def test_a_head_that_never_ends_is_cut_off_by_its_size_however_slowly_it_comes(stage: MakeStage) -> None:
    s = await stage()

    async def play(request: Request, reader: R, writer: W) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while not writer.transport.is_closing():
            writer.write(b"X: " + b"x" * 500 + b"\r\n")
            await asyncio.sleep(0)

    await s.serve(play, timeout=60.0)
    answer = await s.call()
    assert (answer.status, b"response headers exceed" in answer.body) == (502, True)

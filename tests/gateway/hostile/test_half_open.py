"""Clients that send slowly, read slowly, or stop sending while they still read."""

import asyncio

import pytest

from sampan.gateway import protocol
from sampan.model.invocation import Outcome
from tests.gateway.conftest import MakeStage
from tests.gateway.hostile.parts import Bare, record, statuses
from tests.gateway.stage import PATIENCE, Request, read_body, reply

R, W = asyncio.StreamReader, asyncio.StreamWriter
GET = b"GET / HTTP/1.1\r\nHost: web.localhost\r\n"
POST = b"POST / HTTP/1.1\r\nHost: web.localhost\r\nContent-Length: 5\r\n"


async def late(request: Request, reader: R, writer: W) -> None:
    await read_body(request, reader)
    await asyncio.sleep(0.1)
    writer.write(reply(b"late"))


@pytest.mark.parametrize(
    "sent",
    [
        GET + b"\r\n",
        GET + b"Connection: close\r\n\r\n",
        GET.replace(b"1.1", b"1.0") + b"\r\n",
        POST + b"\r\nhello",
    ],
    ids=["kept", "to be closed", "HTTP/1.0", "with a body"],
)
async def test_a_client_that_half_closes_behind_its_request_is_answered(stage: MakeStage, sent: bytes) -> None:
    """Plain tools do so. Then the connection is closed, for nothing more can come: RFC 9112 §9.6."""
    s = await stage()
    await s.serve(late)
    async with Bare(s) as client:
        await client.send([sent])
        client.half_close()
        got = await client.until(None)
    assert statuses(got) == [200]
    assert got.endswith(b"late")
    assert not client.reset


async def test_all_requests_before_a_half_close_are_answered(stage: MakeStage) -> None:
    s = await stage()
    recorder = await record(s)
    async with Bare(s) as client:
        await client.send([(GET + b"\r\n") * 5])
        client.half_close()
        got = await client.until(None)
    assert statuses(got) == [200] * 5
    assert len(recorder.seen) == 5


async def test_a_long_answer_goes_on_to_a_client_that_half_closed(
    stage: MakeStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HALF_OPEN", 0.4)
    s = await stage(header_timeout=0.4)

    async def play(request: Request, reader: R, writer: W) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(60):
            await asyncio.sleep(0.02)  # longer, in all, than a client that half-closed is waited for
            writer.write(b"1\r\nx\r\n")
        writer.write(b"0\r\n\r\n")

    await s.serve(play)
    async with Bare(s) as client:
        await client.send([GET + b"\r\n"])
        client.half_close()
        got = await client.until(None)
    assert got.count(b"x\r\n") == 60
    assert got.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("begun", [False, True], ids=["before an answer", "within one"])
async def test_a_client_that_went_away_is_not_taken_for_one_that_half_closed_for_long(
    stage: MakeStage, monkeypatch: pytest.MonkeyPatch, begun: bool
) -> None:
    monkeypatch.setattr(protocol, "HALF_OPEN", 0.1)
    s = await stage(header_timeout=0.4)
    left = asyncio.Event()

    async def play(request: Request, reader: R, writer: W) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n" * begun)
        await reader.read(1)
        left.set()

    await s.serve(play, timeout=60.0)
    async with Bare(s) as client:
        await client.send([GET + b"\r\n"])
        if begun:
            await client.until(b"1\r\nx\r\n")
    async with asyncio.timeout(PATIENCE):
        await left.wait()
    assert (await s.record()).outcome is Outcome.CLIENT_GONE


@pytest.mark.parametrize(
    "sent", [b"", b"GET / HT", GET, POST + b"\r\nhel"], ids=["nothing", "line", "head", "body"]
)
async def test_a_client_that_half_closes_within_a_request_is_closed(stage: MakeStage, sent: bytes) -> None:
    s = await stage()
    await s.serve(late)
    async with Bare(s) as client:
        await client.send([sent])
        client.half_close()
        assert statuses(await client.until(None)) in ([], [400])
    await s.until(lambda: not s.gateway._connections)


async def test_a_slow_head_is_cut_off_although_it_never_pauses(stage: MakeStage) -> None:
    s = await stage(header_timeout=0.3)
    async with Bare(s) as client:
        await client.send([GET])
        closed = asyncio.ensure_future(client.until(None))
        async with asyncio.timeout(PATIENCE):
            while not closed.done():
                await client.send([b"X: y\r\n"])
                await asyncio.sleep(0.02)
        assert await closed == b""


async def test_empty_lines_do_not_keep_a_connection_open(stage: MakeStage) -> None:
    s = await stage(header_timeout=0.3)
    async with Bare(s) as client:
        closed = asyncio.ensure_future(client.until(None))
        async with asyncio.timeout(PATIENCE):
            while not closed.done():
                await client.send([b"\r\n"])
                await asyncio.sleep(0.02)
        assert await closed == b""


async def test_a_body_that_stops_coming_ends_the_request(stage: MakeStage) -> None:
    s = await stage(idle_timeout=0.3)
    await s.serve(late)
    async with Bare(s) as client:
        await client.send([POST + b"\r\nhel"])
        assert (await s.record()).outcome is Outcome.CLIENT_GONE


@pytest.mark.parametrize(("version", "told"), [(b"1.1", [100, 200]), (b"1.0", [200])])
async def test_only_who_can_understand_it_is_told_to_continue(
    stage: MakeStage, version: bytes, told: list[int]
) -> None:
    """RFC 9110 §10.1.1."""
    s = await stage()
    recorder = await record(s)
    async with Bare(s) as client:
        head = POST.replace(b"1.1", version) + b"Connection: close\r\nExpect: 100-continue\r\n\r\n"
        await client.send([head])
        if told[0] == 100:
            await client.until(b"100 Continue\r\n\r\n")
        await client.send([b"hello"])
        got = await client.until(None)
    assert [int(one[9:12]) for one in got.split(b"\r\n") if one.startswith(b"HTTP/")] == told
    assert recorder.seen == [(b"POST", b"/", b"hello")]


async def test_a_refusal_reaches_a_client_that_goes_on_sending(stage: MakeStage) -> None:
    """RFC 9112 §9.6: closed at once, the unread rest would reset the connection."""
    s = await stage()
    async with Bare(s) as client:
        await client.send([b"POST / HTTP/1.1\r\nX Y: 1\r\n\r\n", *[b"x" * 50_000] * 20])
        client.half_close()
        got = await client.until(None)
    assert statuses(got) == [400]
    assert not client.reset
    await s.until(lambda: not s.gateway._connections)

"""Calls, streams, failures and cancellation across a socket."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sampan.link import channel, rpc
from sampan.model.errors import Failure, FailureKind, StartFailed


class Number(msgspec.Struct):
    value: int


@asynccontextmanager
async def serving(path: Path, **methods: Any) -> AsyncIterator[rpc.Client]:
    server = await rpc.serve(path, {name: (Number, method) for name, method in methods.items()})
    client = await rpc.connect(path)
    try:
        yield client
    finally:
        client.close()
        server.close()
        await asyncio.sleep(0)  # the transports close on the loop's next turn


async def test_a_call_is_answered(tmp_path: Path) -> None:
    async def double(request: Number, send: rpc.Send) -> Number:
        return Number(request.value * 2)

    async with serving(tmp_path / "s", double=double) as client:
        replies = await asyncio.gather(*(client.call("double", Number(n), Number) for n in range(100)))
    assert [reply.value for reply in replies] == [n * 2 for n in range(100)]


async def test_a_large_message_arrives_whole(tmp_path: Path) -> None:
    class Text(msgspec.Struct):
        text: str

    async def grow(request: Number, send: rpc.Send) -> Text:
        return Text("x" * request.value)

    async with serving(tmp_path / "s", grow=grow) as client:
        assert len((await client.call("grow", Number(5_000_000), Text)).text) == 5_000_000


async def test_a_failure_travels_whole(tmp_path: Path) -> None:
    failure = Failure(FailureKind.OUT_OF_MEMORY, "killed", log_tail="last words", exit_code=137)

    async def fail(request: Number, send: rpc.Send) -> Number:
        raise StartFailed(failure)

    async with serving(tmp_path / "s", fail=fail) as client:
        with pytest.raises(StartFailed) as caught:
            await client.call("fail", Number(1), Number)
    assert caught.value.failure == failure


async def test_an_error_nobody_foresaw_reaches_the_caller(tmp_path: Path) -> None:
    async def break_down(request: Number, send: rpc.Send) -> Number:
        raise KeyError("surprise")

    async with serving(tmp_path / "s", break_down=break_down) as client:
        with pytest.raises(StartFailed, match="KeyError: 'surprise'"):
            await client.call("break_down", Number(1), Number)


async def test_an_unknown_method_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path / "s") as client:
        with pytest.raises(StartFailed, match="unknown method 'nothing'"):
            await client.call("nothing", Number(1), Number)


async def test_a_stream_gives_its_items_in_order(tmp_path: Path) -> None:
    async def count(request: Number, send: rpc.Send) -> None:
        for n in range(request.value):
            send(Number(n))

    async with serving(tmp_path / "s", count=count) as client:
        assert [item.value async for item in client.stream("count", Number(50), Number)] == list(range(50))


async def test_a_stream_ends_as_its_call_does(tmp_path: Path) -> None:
    failure = Failure(FailureKind.OUT_OF_MEMORY, "killed")

    async def fail(request: Number, send: rpc.Send) -> None:
        send(request)
        raise StartFailed(failure)

    async with serving(tmp_path / "s", fail=fail) as client:
        stream = client.stream("fail", Number(1), Number)
        assert await anext(stream) == Number(1)
        with pytest.raises(StartFailed) as caught:
            await anext(stream)
    assert caught.value.failure == failure


async def test_a_stream_gives_what_had_come_before_its_connection_was_lost(tmp_path: Path) -> None:
    async def count(request: Number, send: rpc.Send) -> None:
        for n in range(request.value):
            send(Number(n))
        await asyncio.Event().wait()

    async with serving(tmp_path / "s", count=count) as client:
        stream = client.stream("count", Number(3), Number)
        assert await anext(stream) == Number(0)
        client.close()
        assert [await anext(stream), await anext(stream)] == [Number(1), Number(2)]
        with pytest.raises(rpc.LinkLost):
            await anext(stream)


async def test_a_stream_that_is_closed_is_cancelled_at_the_server(tmp_path: Path) -> None:
    cancelled = asyncio.Event()

    async def count(request: Number, send: rpc.Send) -> None:
        send(request)
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with serving(tmp_path / "s", count=count) as client:
        async with aclosing(client.stream("count", Number(1), Number)) as stream:
            assert await anext(stream) == Number(1)
        assert cancelled.is_set()


async def test_cancelling_a_call_waits_until_the_server_has_undone_it(tmp_path: Path) -> None:
    begun, undone = asyncio.Event(), asyncio.Event()

    async def work(request: Number, send: rpc.Send) -> Number:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            undone.set()
        raise AssertionError("never")

    async with serving(tmp_path / "s", work=work) as client:
        call = asyncio.ensure_future(client.call("work", Number(1), Number))
        await begun.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert undone.is_set()


async def test_a_lost_connection_fails_what_is_under_way_and_cancels_it_at_the_server(tmp_path: Path) -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def work(request: Number, send: rpc.Send) -> Number:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        raise AssertionError("never")

    async with serving(tmp_path / "s", work=work) as client:
        call = asyncio.ensure_future(client.call("work", Number(1), Number))
        await begun.wait()
        client.close()
        with pytest.raises(rpc.LinkLost):
            await call
        async with asyncio.timeout(5):
            await cancelled.wait()
        with pytest.raises(rpc.LinkLost):
            await client.call("work", Number(1), Number)


async def test_hostile_bytes_cost_the_sender_its_connection_only(tmp_path: Path) -> None:
    async def double(request: Number, send: rpc.Send) -> Number:
        return Number(request.value * 2)

    async with serving(tmp_path / "s", double=double) as client:
        for hostile in (b"\xff\xff\xff\xff", b"\x03\x00\x00\x00abc", b"\x01\x00\x00\x00\xc1"):
            reader, writer = await asyncio.open_unix_connection(str(tmp_path / "s"))
            writer.write(hostile)
            async with asyncio.timeout(5):
                with suppress(ConnectionResetError):
                    assert await reader.read() == b""
            writer.close()
        assert (await client.call("double", Number(2), Number)).value == 4


async def test_only_owner_and_group_may_connect(tmp_path: Path) -> None:
    async def double(request: Number, send: rpc.Send) -> Number:
        return Number(request.value * 2)

    async with serving(tmp_path / "s", double=double) as client:
        await client.call("double", Number(1), Number)
        assert (tmp_path / "s").stat().st_mode & 0o777 == 0o600


async def test_a_call_whose_end_comes_with_it_is_answered_and_never_begun(tmp_path: Path) -> None:
    begun: list[int] = []

    async def begin(request: Number, send: rpc.Send) -> Number:
        begun.append(request.value)
        return request

    server = await rpc.serve(tmp_path / "s", {"begin": (Number, begin)})
    heard: asyncio.Queue[rpc.Frame] = asyncio.Queue()
    decoder: msgspec.msgpack.Decoder[rpc.Frame] = msgspec.msgpack.Decoder(rpc.Frame)
    peer: channel.Channel[rpc.Frame, rpc.Frame] = await channel.connect(
        tmp_path / "s", lambda: channel.Channel(decoder, lambda _, frame: heard.put_nowait(frame), lambda _: None)
    )
    for frame in (rpc.Call(1, "begin", msgspec.Raw(msgspec.msgpack.encode(Number(1)))), rpc.Cancel(1)):
        peer.send(frame)  # both are there when the other side looks
    async with asyncio.timeout(30):
        answer = await heard.get()
    assert isinstance(answer, rpc.Fault)
    assert (answer.id, begun) == (1, [])
    peer.close()
    server.close()
    await asyncio.sleep(0)


@pytest.mark.parametrize("turns", range(6))
async def test_who_cancels_a_call_hears_of_its_end_whenever_that_is(tmp_path: Path, turns: int) -> None:
    async def echo(request: Number, send: rpc.Send) -> Number:
        return request

    async with serving(tmp_path / "s", echo=echo) as client, asyncio.timeout(30):
        call = asyncio.create_task(client.call("echo", Number(1), Number))
        for _ in range(turns):
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        assert (await client.call("echo", Number(2), Number)).value == 2

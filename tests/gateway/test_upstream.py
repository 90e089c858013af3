"""Connections to functions: which of them may carry another request."""

import asyncio
from typing import Any

from tests.gateway.conftest import MakeStage
from tests.gateway.stage import Request, reply

R, W = asyncio.StreamReader, asyncio.StreamWriter


async def test_a_connection_whose_function_left_a_body_unread_carries_nothing_else(stage: MakeStage) -> None:
    """Else the next request would wait behind that body, and its own would pile up here."""

    async def hasty(request: Request, reader: R, writer: W) -> None:
        if request.method == "POST":
            reader._transport.pause_reading()  # type: ignore[attr-defined]
            await full.wait()
        writer.write(reply(request.method.encode()))

    full = asyncio.Event()
    s = await stage(max_body=0)
    function = await s.serve(hasty)
    client = await s.client()
    await client.call("GET", "/")
    instance = next(iter(s.gateway.leases._instances.values()))
    [connection] = instance.upstream._idle
    body = bytes(64 << 20)
    front = next(iter(s.gateway._connections))
    front.data_received(  # type: ignore[attr-defined]  # whole, so that all of it is written at once
        b"POST / HTTP/1.1\r\nHost: web.localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    )
    await s.until(lambda: connection.transport.get_write_buffer_size() > 1 << 20)
    full.set()
    assert (await client.answer()).body == b"POST"
    assert (await client.call("GET", "/next")).body == b"GET"
    assert function.connections == 2


async def test_an_answer_that_comes_with_a_failure_does_not_begin(stage: MakeStage) -> None:
    async def silent(request: Request, reader: R, writer: W) -> None:
        await reader.read()

    s = await stage()
    await s.serve(silent)
    client = await s.client()
    client.send("POST / HTTP/1.1\r\nHost: web.localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
    instance = next(iter(s.gateway.leases._instances.values()))
    await s.until(lambda: bool(instance.upstream._all))
    [connection] = instance.upstream._all
    front: Any = next(iter(s.gateway._connections))
    await s.until(lambda: front._current.running is not None)
    front.data_received(b"no chunk\r\n")  # both in one turn of the loop
    connection.data_received(reply(b"too late"))
    assert (await client.answer()).status == 400

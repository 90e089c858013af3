"""Requests that lie whole in one piece of data: read without the parser, and all that follows as usual."""

import asyncio

from sampan.gateway.body import BACKLOG
from tests.gateway.conftest import MakeStage


async def test_a_client_is_read_again_after_a_large_body_that_came_at_once(stage: MakeStage) -> None:
    s = await stage()
    function = await s.serve()
    client = await s.client()
    await client.call("GET", "/")
    for _ in range(2):
        body = b"x" * (BACKLOG + 1000)
        connection = next(iter(s.gateway._connections))
        connection.data_received(  # type: ignore[attr-defined]  # in one piece, as a socket may hand it out
            b"POST / HTTP/1.1\r\nHost: web.localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
        assert (await client.answer()).body == b"POST / " + body
    assert (await client.call("GET", "/after")).body == b"GET /after "
    assert len(function.requests) == 4


async def test_a_client_is_read_again_after_a_large_event_that_came_at_once(stage: MakeStage) -> None:
    s = await stage()
    await s.serve()
    await s.invoke(b"x" * (BACKLOG + 1000))
    await asyncio.sleep(0)
    held = [one._holds for one in s.gateway._connections]  # type: ignore[attr-defined]
    assert held == [0]


async def test_a_client_is_read_again_after_a_large_body_that_was_refused(stage: MakeStage) -> None:
    s = await stage()
    await s.serve(methods=("GET",))
    client = await s.client()
    await client.call("GET", "/")
    body = b"x" * (BACKLOG + 1000)
    connection = next(iter(s.gateway._connections))
    connection.data_received(  # type: ignore[attr-defined]
        b"POST / HTTP/1.1\r\nHost: web.localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    )
    assert (await client.answer()).status == 405
    assert (await client.call("GET", "/after")).body == b"GET /after "

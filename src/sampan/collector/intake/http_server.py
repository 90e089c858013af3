"""uvicorn on given sockets, for strangers: how many connections, how long and how much a request may be."""

import asyncio
import logging
import socket
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sampan.collector.intake.bodies import MAX_BODY
from sampan.collector.intake.connections import Connections

READ_TIMEOUT = 15.0  # seconds from a request's first byte to its last
KEEPALIVE = 65  # seconds; exporters send every five, or once a minute
MAX_HEAD = 32 << 10  # bytes of a request's line and headers
MAX_REQUEST = 2 * MAX_BODY  # bytes, whatever of them is chunk heads and trailers
LINGER = 64 << 20  # bytes of a request that are thrown away after it was answered, within READ_TIMEOUT


async def serve_http(
    app: Starlette, sockets: Sequence[socket.socket], connections: Connections, started: asyncio.Event
) -> None:
    """For ever. The sockets are closed in the end. started: set when connections are taken."""
    quiet = logging.getLogger("uvicorn.error.intake")
    quiet.setLevel(logging.ERROR)  # what strangers send wrong is counted, not told line by line

    class Bounded(_Bounded):
        shared, log = connections, quiet

    config = uvicorn.Config(
        app,
        log_config=None,
        lifespan="off",
        access_log=False,
        loop="none",
        http=Bounded,
        ws="none",
        server_header=False,
        timeout_keep_alive=KEEPALIVE,
        timeout_graceful_shutdown=1,
    )
    server = _Server(config, started)
    try:
        await server.serve(list(sockets))
    finally:
        server.abort()


class _Server(uvicorn.Server):
    """uvicorn, but the process's signals stay the role's."""

    def __init__(self, config: uvicorn.Config, started: asyncio.Event) -> None:
        super().__init__(config)
        self._taking = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._taking.set()

    def abort(self) -> None:
        """Cancelled, uvicorn leaves everything open."""
        for server in getattr(self, "servers", ()):
            server.close()
        for connection in list(self.server_state.connections):
            connection.transport.abort()

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


class _Lingering:
    """A transport that its protocol closes."""

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self._transport, self._close, self._closed = transport, close, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def close(self) -> None:
        if not self.is_closing():
            self._closed = True
            self._close()

    def is_closing(self) -> bool:
        return self._closed or self._transport.is_closing()


class _Bounded(HttpToolsProtocol):
    """A connection that is closed when a request takes too long or too many bytes, be it by drops.

    Who is answered before all of the request is there is heard out: closed at once, the connection would be reset
    by what still comes, and most clients tell of that rather than of the answer. Source: RFC 9112 §9.6.
    """

    shared: Connections
    log: logging.Logger

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.logger = self.log
        self._late: asyncio.TimerHandle | None = None
        self._entered = ""
        self._in_head, self._size, self._fresh = True, 0, 0  # bytes of the message; of those, just come
        self._real: asyncio.Transport | None = None
        self._ending, self._thrown = False, 0  # answered, and heard out; bytes of that

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._real = transport
        super().connection_made(cast(asyncio.Transport, _Lingering(transport, self._close)))
        peer = transport.get_extra_info("peername")
        self._entered = self.shared.enter(peer[0] if peer else "")
        if self._entered:
            self._begin()
        else:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._done()
        if self._entered:
            self.shared.leave(self._entered)
        super().connection_lost(exc)

    def _close(self) -> None:
        assert self._real is not None
        if self._late is None or not self._real.can_write_eof():  # nothing is under way
            self._real.close()
            return
        self._ending = True
        self._real.write_eof()
        self.flow.resume_reading()

    def data_received(self, data: bytes) -> None:
        if self._ending:
            self._thrown += len(data)
            if self._thrown > LINGER:
                self.transport.abort()
            return
        self._fresh = len(data)
        self._size += self._fresh
        super().data_received(data)
        if self._size > (MAX_HEAD if self._in_head else MAX_REQUEST):
            self.transport.abort()

    def on_message_begin(self) -> None:
        self._begin()
        self._size = self._fresh
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._done()
        self._fresh = 0
        super().on_message_complete()

    def _begin(self) -> None:
        self._done()
        self._late = self.loop.call_later(READ_TIMEOUT, self.transport.abort)

    def _done(self) -> None:
        self._in_head, self._size = True, 0
        if self._late is not None:
            self._late.cancel()
            self._late = None

"""One request of an HTTP/2 client: the stream it came on."""

import asyncio
import math
from typing import TYPE_CHECKING

from h2.errors import ErrorCodes

from sampan.gateway.exchange import Exchange
from sampan.gateway.http2_exchange import StreamExchange
from sampan.gateway.http2_link import Lane

if TYPE_CHECKING:
    from sampan.gateway.http2 import Http2Connection


class Stream(Lane):
    """The client, as its exchange sees it."""

    __slots__ = ("_connection", "exchange", "progress", "task")

    def __init__(self, connection: "Http2Connection", number: int) -> None:
        super().__init__(connection, number)
        self._connection = connection
        self.exchange = StreamExchange(self)
        self.task: asyncio.Task[None] | None = None
        self.progress = connection.loop.time()  # when the client last did something here

    @property
    def peer(self) -> bytes:
        return self._connection.peer

    @property
    def draining(self) -> bool:
        return False  # a connection that ends says so by itself, not in an answer

    def deadline(self, idle: float) -> float:
        """When the client has been silent for too long. A call of gRPC may be silent, its own limits bound it."""
        exchange = self.exchange
        if self.task is None or self.task.done():
            return self.progress + idle
        if exchange.body_open and not self.held and not (exchange.grpc and exchange.running is not None):
            return self.progress + idle
        return math.inf

    def touch(self) -> None:
        self.progress = self._connection.loop.time()

    def release(self, reason: int) -> None:
        self.touch()
        super().release(reason)

    def write(self, data: bytes) -> None:
        """Bytes of HTTP/1 or of a tunnel: nothing here asks for either."""
        self.cut()

    def writelines(self, pieces: list[bytes]) -> None:
        self.cut()

    def tunnel_to(self, transport: asyncio.Transport) -> None:
        self.cut()

    def ended(self, exchange: Exchange) -> None:
        """The connection hears it from the task: one that is cancelled before it began never says so."""

    def cut(self) -> None:
        self._connection.reset(self, ErrorCodes.INTERNAL_ERROR)

    def on_choked(self, choked: bool) -> None:
        running = self.exchange.running
        if running is not None:
            if choked:
                running.pause()
            else:
                running.resume()

    def on_sent(self) -> None:
        self._connection.sent(self)

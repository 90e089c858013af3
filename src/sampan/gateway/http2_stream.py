"""One request of an HTTP/2 client: the stream it came on."""

import math
from typing import TYPE_CHECKING

from h2.errors import ErrorCodes

from sampan.gateway.http2_exchange import StreamExchange
from sampan.gateway.http2_link import Lane
from sampan.gateway.story import Story

if TYPE_CHECKING:
    from sampan.gateway.http2 import Http2Connection


class Stream(Lane):
    """The stream, its exchange, and the story that answers it."""

    __slots__ = ("_connection", "exchange", "progress", "story")

    def __init__(self, connection: "Http2Connection", number: int) -> None:
        super().__init__(connection, number)
        self._connection = connection
        self.exchange = StreamExchange(self)
        self.story: Story | None = None
        self.progress = connection.loop.time()  # when the client last did something here

    @property
    def peer(self) -> bytes:
        return self._connection.peer

    def deadline(self, idle: float) -> float:
        """When the client has been silent for too long. A call of gRPC may be silent, its own limits bound it."""
        exchange = self.exchange
        if self.story is None or self.story.over:
            return self.progress + idle
        if exchange.body_open and not self.held and not (exchange.grpc and exchange.running is not None):
            return self.progress + idle
        return math.inf

    def touch(self) -> None:
        self.progress = self._connection.loop.time()

    def release(self, reason: int) -> None:
        self.touch()
        super().release(reason)

    def cut(self) -> None:
        self._connection.reset(self, ErrorCodes.INTERNAL_ERROR)

    def on_choked(self, choked: bool) -> None:
        self.exchange.client.congested = choked
        running = self.exchange.running
        if running is not None:
            if choked:
                running.pause()
            else:
                running.resume()

    def on_sent(self) -> None:
        self._connection.sent(self)

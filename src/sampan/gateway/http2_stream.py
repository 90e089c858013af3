"""One request of an HTTP/2 client: the stream it came on, and an exchange that answers in frames."""

import asyncio
import math
from typing import TYPE_CHECKING

from h2.errors import ErrorCodes

from sampan.gateway.exchange import Exchange, Framing
from sampan.gateway.http2_head import headers_of
from sampan.gateway.http2_link import Headers, Lane
from sampan.model.errors import SampanError
from sampan.wire import grpc

if TYPE_CHECKING:
    from sampan.gateway.http2 import Http2Connection

_NO_BODY = frozenset((204, 304))
_CONTINUE = [(b":status", b"100")]


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


class StreamExchange(Exchange):
    """An exchange whose answer is frames."""

    __slots__ = ("_head", "_stream", "due", "grpc")

    def __init__(self, stream: Stream) -> None:
        super().__init__(stream)
        self._stream = stream
        self._head: Headers | None = None
        self.grpc = False
        self.due = math.inf

    def let_body_come(self) -> None:
        if self.expects_continue:
            self.expects_continue = False
            if self.body is not None and not self.body.size:
                self._stream.link.send_headers(self._stream, _CONTINUE)
                self._stream.link.flush()

    def begin(self, status: int, lines: bytes, length: int | None) -> None:
        headers = headers_of(lines)
        if length is not None and status != 204:
            headers.append((b"content-length", b"%d" % length))
        self.begin_with(status, headers)

    def begin_with(self, status: int, headers: Headers) -> None:
        self.begun = True
        self.status = status
        self.framing = Framing.EMPTY if status in _NO_BODY or self.method == b"HEAD" else Framing.SIZED
        self._head = [(b":status", b"%d" % status), *headers, *headers_of(self.added)]

    def send(self, piece: bytes) -> None:
        if self.framing is not Framing.EMPTY:
            self.bytes_out += len(piece)
            self._stream.put(piece)

    def finish(self) -> None:
        self.finish_with([])

    def finish_with(self, trailers: Headers) -> None:
        self.finished = True
        self._stream.complete = True
        self._stream.trailers = trailers
        self.flush()

    def flush(self) -> None:
        stream = self._stream
        head, self._head = self._head, None
        if head is not None:
            end = stream.complete and not stream.queued and not stream.trailers
            stream.link.send_headers(stream, head, end)
        stream.push()

    def switch(self, lines: bytes) -> None:
        self.cut()

    def cut(self) -> None:
        self._head = None
        self._stream.cut()

    def refuse(self, error: SampanError) -> bool:
        """gRPC: by trailers, also when messages were sent. Source: gRPC over HTTP/2, "Responses"."""
        if not self.grpc or self.finished:
            return False
        late = asyncio.get_running_loop().time() >= self.due
        told = grpc.trailers(error, late)
        if self.begun:
            self.finish_with(told)
        else:
            request = (b"x-fc-request-id", self.request.encode())
            self.begin_with(200, [(b"content-type", b"application/grpc"), *told, request])
            self.finish()
        return True

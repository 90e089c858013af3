"""The exchange of an HTTP/2 client: it answers in frames, on the stream that the request came on."""

import asyncio
import math
from typing import TYPE_CHECKING

from sampan.gateway.body import Client
from sampan.gateway.exchange import Exchange, Framing
from sampan.gateway.http2_head import headers_of
from sampan.model.errors import SampanError
from sampan.wire import grpc

if TYPE_CHECKING:
    from sampan.gateway.http2_link import Headers
    from sampan.gateway.http2_stream import Stream

_NO_BODY = frozenset((204, 304))
_CONTINUE = [(b":status", b"100")]


class StreamClient(Client):
    """A stream, as the client that its exchange sees. Answers go by frames: nothing is written here."""

    __slots__ = ("_stream",)

    def __init__(self, stream: "Stream") -> None:
        super().__init__()
        self._stream = stream
        self.come_from(stream.peer)

    def write(self, data: bytes) -> None:
        """Bytes of HTTP/1 or of a tunnel: nothing here asks for either."""
        self.cut()

    def writelines(self, pieces: list[bytes]) -> None:
        self.cut()

    def tunnel_to(self, transport: asyncio.Transport) -> None:
        self.cut()

    def hold(self, reason: int) -> None:
        self._stream.hold(reason)

    def release(self, reason: int) -> None:
        self._stream.release(reason)

    def ended(self, exchange: Exchange) -> None:
        """The connection hears it from the story: one that is cancelled before it began never says so."""

    def cut(self) -> None:
        self._stream.cut()


class StreamExchange(Exchange):
    """An exchange whose answer is frames."""

    __slots__ = ("_head", "_stream", "due", "grpc")

    def __init__(self, stream: "Stream") -> None:
        super().__init__(StreamClient(stream))
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

    def begin_with(self, status: int, headers: "Headers") -> None:
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

    def finish_with(self, trailers: "Headers") -> None:
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

"""A client's connection: bytes in, exchanges in order, answers out.

Requests are parsed as they arrive and answered one after the other, each by one coroutine that this connection
owns: when the client goes, it is cancelled. Reading stops while somebody further on cannot take more.
"""

import asyncio
import math
import socket
import struct
from collections import deque
from typing import Any, Final, Protocol

import httptools

from sampan.gateway.body import Body, Client, ClientGone, Hold
from sampan.gateway.declined import BodyAfterAll
from sampan.gateway.exchange import Exchange
from sampan.gateway.heads import TAKES, Take, body_too_large, fault, too_long, unreadable
from sampan.gateway.known import Heads
from sampan.gateway.plain import read_plain
from sampan.gateway.story import Story
from sampan.model.errors import EntityTooLarge, InvalidArgument, SampanError
from sampan.settings import Gateway as Limits

LINGER: Final = (
    5.0  # seconds that what comes behind an answer is still swallowed, so that no reset takes the answer away
)
HALF_OPEN: Final = (
    2.0  # seconds that a client which sends no more is thought to be there still while nothing is written to it
)
_STRAY: Final = 16 << 10  # bytes in a row that are neither body nor the end of it: chunk extensions, trailers
_AFTER_UPGRADE = 64 << 10  # bytes kept while the function has not said whether it switches
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with RST, which no client takes for the end of an answer
_FOREVER: Final = math.inf


class Kept(Protocol):
    """A connection, as the list of connections sees it."""

    @property
    def deadline(self) -> float: ...  # of the loop's clock
    def drain(self) -> None: ...
    def cancel(self) -> None: ...
    def expire(self) -> None: ...


class Front(Protocol):
    """Who answers, and who keeps the list of connections."""

    draining: bool
    heads: Heads[Take]

    async def serve(self, exchange: Exchange) -> None: ...
    def joined(self, connection: Kept) -> None: ...
    def left(self, connection: Kept) -> None: ...


class ClientConnection(Client):
    """One client; to the loop, a protocol."""

    def __init__(self, front: Front, limits: Limits) -> None:
        super().__init__()
        self._front, self._limits, self._heads = front, limits, front.heads
        self._serve, self._idle_timeout = front.serve, limits.idle_timeout
        self._loop = asyncio.get_running_loop()
        self._parser: Any = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # set when the connection is made
        self._parsing: Exchange | None = None  # its body is still coming
        self._current: Exchange | None = None
        self._waiting: deque[Exchange] = deque()
        self._story: Story | None = None
        self._holds = 0
        self._url = b""
        self._head_size = 0
        self._head_fed = -1  # bytes fed since a head began; -1: not in one
        self._quiet = 0
        self._trailers = False
        self._deaf = False  # nothing more is parsed: refused, or closing
        self._written = 0  # bytes of the answer when last looked at, of a client that half-closed
        self._half_closed = False  # the client sends no more; it may still be reading
        self._unread: Exchange | None = None  # has a body, and asks for an upgrade that is not offered
        self._rest: bytearray | None = None  # what followed a request for an upgrade
        self._tunnel: asyncio.Transport | None = None
        self.deadline = _FOREVER  # of the loop's clock; the sweeper ends a connection that is past it

    # ── for exchanges ──

    @property
    def idle(self) -> bool:
        return self._current is None and not self._waiting

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    def writelines(self, pieces: list[bytes]) -> None:
        self._transport.write(b"".join(pieces))

    def hold(self, reason: int) -> None:
        if not self._holds and not self._transport.is_closing():
            self._transport.pause_reading()
        self._holds |= reason

    def release(self, reason: int) -> None:
        if self._holds & reason:
            self._holds &= ~reason
            if not self._holds and not self._transport.is_closing():
                self._heard()
                self._transport.resume_reading()

    def tunnel_to(self, transport: asyncio.Transport) -> None:
        self._tunnel = transport
        rest, self._rest = self._rest, None
        if rest:
            transport.write(bytes(rest))
        self.release(Hold.BODY)

    def ended(self, exchange: Exchange) -> None:
        """The exchange is over, one way or another: on to the next, or away."""
        self._current = self._story = None
        if self._holds:
            self.release(Hold.UPSTREAM | Hold.BODY)  # of a body, too, that came whole and that nobody wanted
        if self._transport.is_closing():
            return
        if not exchange.finished:
            self.cut()
            return
        if exchange.body_open and exchange.body is not None:
            exchange.body.discard()
            if exchange.expects_continue:
                self.close()
                return
            self.deadline = self._loop.time() + LINGER  # the rest is swallowed for a while
            if self._deaf:
                self._take_leave()
            return
        if not exchange.keep_alive or self.draining or self._tunnel is not None:
            self._take_leave()
            return
        if self._half_closed and not self._waiting:
            self.close()
            return
        self.deadline = self._loop.time() + self._idle_timeout
        # Not at once: each story would begin inside the end of the one before, however many wait.
        if self._waiting:
            self._loop.call_soon(self._next)
        elif self._rest is not None:
            self._loop.call_soon(self._resume_http)

    def drain(self) -> None:
        """The gateway takes nothing new; what is in flight goes on."""
        self.draining = True
        if self.idle:
            self.close()

    def close(self) -> None:
        """After what has been written is sent."""
        self._deaf = True
        self.deadline = self._loop.time() + LINGER
        self._transport.close()

    def cut(self) -> None:
        """Now, and so that it shows."""
        raw: socket.socket | None = self._transport.get_extra_info("socket")
        if raw is not None and not self._transport.is_closing():
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._deaf = True
        self._transport.abort()

    def expire(self) -> None:
        """Its deadline is past: it was silent for too long."""
        if self._current is not None and self._parsing is self._current:
            self._current.fail(ClientGone("the request's body stopped coming"))
            self.deadline = self._loop.time() + LINGER
        elif self._half_closed and self._current is not None and self._still_takes(self._current):
            self.deadline = self._loop.time() + HALF_OPEN
        elif self._transport.is_closing() or self._transport.get_write_buffer_size():
            self._transport.abort()
        else:
            self.close()

    def cancel(self) -> None:
        """The gateway is going down and has waited long enough."""
        if self._story is not None:
            self._story.cancel()
        self._transport.abort()

    # ── asyncio.Protocol ──

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        peer = transport.get_extra_info("peername")
        self.come_from(str(peer[0]).encode() if isinstance(peer, tuple) else b"unknown")
        self.deadline = self._loop.time() + self._limits.header_timeout
        self.draining = self._front.draining
        self._front.joined(self)

    def data_received(self, data: bytes) -> None:
        if self._tunnel is not None:
            if not self._tunnel.is_closing():
                self._tunnel.write(data)
            return
        if self._deaf:
            return
        if self._rest is not None:
            self._keep(data)
            return
        between = self._parsing is None and self._current is None and not self._waiting and self._head_fed < 0
        if between and (plain := read_plain(data, self._heads, self, self._limits)) is not None:
            self._waiting.append(plain)
            self._next()
            return
        self._quiet += len(data)
        alone = self._parsing is None and self.idle
        if self._head_fed >= 0:
            self._head_fed += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            rest = data[upgrade.args[0] :]
            if self._unread is not None:
                self._read_on(rest)
            else:
                self._rest = bytearray()
                self._keep(rest)
        except httptools.HttpParserError as error:
            if not self._deaf:
                self._refuse(unreadable(str(error)))
        else:
            if alone and self._head_fed == 0 and not self._waiting:
                self._head_fed = len(data)  # one head was begun and none ended: all of it belongs to that head
            self._check_sizes()
            self._heard()
        if self._current is None:
            if self._waiting:
                self._next()
        elif self._waiting:
            self.hold(Hold.PIPELINE)

    def eof_received(self) -> bool:
        """The client sends no more; whether it still reads, only an answer can find out. True: stay open."""
        if (
            self.idle
            or self._parsing is not None
            or self._tunnel is not None
            or not self._transport.can_write_eof()
        ):
            return False
        self._half_closed = self._deaf = True
        self._heard()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self._front.left(self)
        self._waiting.clear()
        self._parser = None  # which refers to us: so that nobody has to look for us in order to free us
        if self._story is not None:
            self._story.cancel()

    def pause_writing(self) -> None:
        self.congested = True
        if self._current is not None and self._current.running is not None:
            self._current.running.pause()

    def resume_writing(self) -> None:
        self.congested = False
        if self._current is not None and self._current.running is not None:
            self._current.running.resume()

    # ── httptools ──

    def on_message_begin(self) -> None:
        self._parsing = Exchange(self)
        self._url = b""
        self._head_size = self._head_fed = 0
        self._trailers = False
        if self._current is None and not self._waiting:
            self.deadline = self._loop.time() + self._limits.header_timeout

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        exchange = self._parsing
        if self._trailers or exchange is None:
            return
        self._head_size += len(name) + len(value) + 4
        lower = name.lower()
        exchange.headers.append((lower, name, value))
        take = TAKES.get(lower)
        if take is not None:
            take(exchange, value)

    def on_headers_complete(self) -> None:
        exchange = self._parsing
        assert exchange is not None
        self._trailers = True
        self._head_fed = -1
        self._quiet = 0
        parser = self._parser
        exchange.method = parser.get_method()
        exchange.target = self._url
        version = parser.get_http_version()
        if version != "1.1":
            exchange.http10 = True
        exchange.keep_alive = parser.should_keep_alive()
        if exchange.upgrade and (exchange.http10 or not parser.should_upgrade()):
            exchange.upgrade = b""  # RFC 9110 §7.8
        if exchange.refusal is None:
            exchange.refusal = fault(exchange, version, self._head_size, self._limits)
        if exchange.content_length or exchange.chunked:
            exchange.body = Body(self)
            if not exchange.upgrade and parser.should_upgrade():
                self._unread, self._parsing = exchange, None
        if exchange.refusal is not None:
            exchange.keep_alive = exchange.keep_alive and isinstance(exchange.refusal, EntityTooLarge)
        self._waiting.append(exchange)

    def on_body(self, piece: bytes) -> None:
        self._quiet = 0
        exchange = self._parsing
        if exchange is None or exchange.body is None:
            return
        exchange.body.feed(piece)
        limit = self._limits.max_body
        if limit and exchange.body.size > limit and exchange.refusal is None:
            exchange.fail(body_too_large(exchange, limit))

    def on_message_complete(self) -> None:
        self._quiet = 0
        exchange, self._parsing = self._parsing, None
        if exchange is not None and exchange.body is not None:
            exchange.body.end()
            if exchange is not self._current and exchange not in self._waiting:
                self._swallowed(exchange)

    # ── inside ──

    def _next(self) -> None:
        if self._transport.is_closing():
            self._waiting.clear()
        if self._current is not None or not self._waiting:
            return
        exchange = self._current = self._waiting.popleft()
        if self._holds and not self._waiting:
            self.release(Hold.PIPELINE)
        self._heard()
        self._story = Story(self._serve(exchange), self._loop)
        self._story.begin()

    def _heard(self) -> None:
        """How long may it be silent now?"""
        if self._current is None:
            if self._waiting or self._head_fed >= 0:
                return
        elif self._half_closed:
            self.deadline = self._loop.time() + HALF_OPEN
        elif self._parsing is self._current and not self._holds:
            self.deadline = self._loop.time() + self._idle_timeout
        else:
            self.deadline = _FOREVER

    def _check_sizes(self) -> None:
        limits = self._limits
        most = limits.max_request_header + limits.max_target + 1024
        if self._head_fed > most:
            self._refuse(too_long(self._url, self._head_fed, limits))
        elif self._parsing is not None and self._head_fed < 0 and self._quiet > _STRAY:
            self._refuse(InvalidArgument("chunked body", self._quiet, f"at most {_STRAY} bytes beside the data"))

    def _refuse(self, error: SampanError) -> None:
        """What comes cannot be understood: the requests before it are answered, then this, then it is over."""
        self._deaf = True
        exchange = self._parsing
        if exchange is not None and exchange.body is not None:
            exchange.keep_alive = False
            if exchange.refusal is None:
                exchange.fail(error)
            return
        exchange = exchange or Exchange(self)
        self._head_fed = -1
        if exchange not in self._waiting:
            self._waiting.append(exchange)
        exchange.refusal = error
        exchange.keep_alive = False

    def _still_takes(self, exchange: Exchange) -> bool:
        """Of an answer under way: writing to a client that has gone ends the connection by itself."""
        before, self._written = self._written, exchange.bytes_out
        return self._written != before or self._transport.get_write_buffer_size() > 0

    def _take_leave(self) -> None:
        """Close; but what was not understood may go on, and would reset the answer away. Source: RFC 9112 §9.6."""
        if self._deaf and not self._half_closed and self._transport.can_write_eof():
            self._waiting.clear()
            self.release(Hold.PIPELINE)
            self.deadline = self._loop.time() + LINGER
            self._transport.write_eof()
        else:
            self.close()

    def _keep(self, data: bytes) -> None:
        assert self._rest is not None
        self._rest += data
        if len(self._rest) > _AFTER_UPGRADE:
            self.hold(Hold.BODY)

    def _read_on(self, rest: bytes) -> None:
        """The parser takes what follows for another protocol's; it is the body of a plain request."""
        self._parsing, self._unread = self._unread, None
        assert self._parsing is not None
        self._parser = httptools.HttpRequestParser(BodyAfterAll(self))
        self._parser.feed_data(BodyAfterAll.head(self._parsing))
        if rest:
            self.data_received(rest)

    def _resume_http(self) -> None:
        """The upgrade was not taken up: what followed is the next request."""
        rest, self._rest = self._rest, None
        if self._transport.is_closing():
            return
        self._parser = httptools.HttpRequestParser(self)
        self.release(Hold.BODY)
        if rest:
            self.data_received(bytes(rest))

    def _swallowed(self, exchange: Exchange) -> None:
        """A body that nobody wanted has ended."""
        if not exchange.keep_alive or self.draining:
            self.close()
        else:
            self.deadline = self._loop.time() + self._idle_timeout

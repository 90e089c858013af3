"""A client's connection of HTTP/2: frames in, exchanges side by side, frames out.

Every stream is an exchange, answered by a coroutine of its own that ends when the client resets the stream or
goes. What a client may make us do for nothing is bounded (`floods`), and what it can make us keep (`http2_link`).
"""

import asyncio
from collections.abc import Iterable

import h2.events
from h2.errors import ErrorCodes

from sampan.gateway.body import Body
from sampan.gateway.floods import Budget
from sampan.gateway.http2_head import read_request
from sampan.gateway.http2_link import STREAMS, Lane, Link
from sampan.gateway.http2_stream import Stream
from sampan.gateway.protocol import LINGER, Front
from sampan.gateway.story import Story
from sampan.model.errors import EntityTooLarge
from sampan.settings import Gateway as Limits
from sampan.wire import grpc

WINDOW = 2 << 20  # bytes of all its streams; what one client can make us keep
_ENTRY = 32  # bytes that HPACK counts for a header beside its own. Source: RFC 7541 §4.1


class Http2Connection(Link):
    """One client."""

    def __init__(self, front: Front, limits: Limits, secure: bool) -> None:
        super().__init__(False, 2 * limits.max_request_header + limits.max_target + 64 * _ENTRY, WINDOW)
        self._front, self._limits, self._secure = front, limits, secure
        self._streams: dict[int, Stream] = {}
        self._leaving = False
        self._resets = Budget(self.loop.time())  # earned back by requests that are answered, by nothing cheaper
        self._silent_until = self.loop.time() + limits.header_timeout
        self.peer = b""

    @property
    def deadline(self) -> float:
        idle = self._limits.idle_timeout
        if self.over or not self._streams:
            return self._silent_until
        return min(stream.deadline(idle) for stream in self._streams.values())

    def lanes(self) -> Iterable[Lane]:
        return self._streams.values()

    # ── for the gateway ──

    def drain(self) -> None:
        self._leaving = True
        self.say_goodbye()
        if not self._streams:
            self.close()

    def close(self) -> None:
        """After what has been written is sent."""
        self.over = True
        self._silent_until = self.loop.time() + LINGER
        self.transport.close()

    def cancel(self) -> None:
        """The gateway is going down and has waited long enough."""
        self._cancel_all()
        self.transport.abort()

    def expire(self) -> None:
        """Its deadline is past, or that of some of its streams."""
        if self.over or self.transport.is_closing():
            self.transport.abort()
            return
        if not self._streams:
            self.say_goodbye()
            self.close()
            return
        now, idle = self.loop.time(), self._limits.idle_timeout
        for stream in [one for one in self._streams.values() if one.deadline(idle) < now]:
            self.reset(stream, ErrorCodes.CANCEL)
            self._give_up(stream)

    def fail(self, why: str, code: ErrorCodes | None) -> None:
        if self.over:
            return
        self.over = True
        if code is not None:
            self.say_goodbye(code)
        self.flush()
        self._cancel_all()
        self.close()

    # ── asyncio.Protocol ──

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        peer = transport.get_extra_info("peername")
        self.peer = str(peer[0]).encode() if isinstance(peer, tuple) else b"unknown"
        self._front.joined(self)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self.over = True
        self._front.left(self)
        self._cancel_all()

    def eof_received(self) -> None:
        return  # closes: a client that sends no more opens no window any more either

    # ── frames ──

    def heard(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.RequestReceived():
                self._begin(event)
            case h2.events.DataReceived():
                self._body(event)
            case h2.events.StreamEnded():
                if (stream := self._streams.get(event.stream_id)) is not None:
                    self._end_body(stream)
            case h2.events.StreamReset():
                self._break_off()
                if (stream := self._streams.get(event.stream_id)) is not None:
                    stream.shut()
                    self._give_up(stream)
            case h2.events.ConnectionTerminated():
                self._leaving = True
                if not self._streams:
                    self.close()
            case h2.events.WindowUpdated():
                if (stream := self._streams.get(event.stream_id or 0)) is not None:
                    stream.touch()
                self.weigh_event(event)
            case _:
                self.weigh_event(event)

    def _begin(self, event: h2.events.RequestReceived) -> None:
        stream = Stream(self, event.stream_id)
        if self._leaving or len(self._streams) >= STREAMS:  # streams that were reset count until they have ended
            self._break_off()
            self.reset(stream, ErrorCodes.REFUSED_STREAM)
            return
        exchange = stream.exchange
        exchange.secure = self._secure
        if event.stream_ended is None:
            exchange.body = Body(exchange.client)
        read_request(exchange, event.headers, self._limits)
        exchange.grpc = grpc.is_grpc(exchange.header(b"content-type") or b"")
        if exchange.grpc and (given := exchange.header(b"grpc-timeout")) is not None:
            exchange.due = self.loop.time() + grpc.seconds(given)
        self._streams[stream.id] = stream
        stream.story = Story(
            self._front.serve(exchange), self.loop, lambda: self.loop.call_soon(self._done, stream)
        )
        self.loop.call_soon(stream.story.begin)  # when all frames that came with it are read

    def _body(self, event: h2.events.DataReceived) -> None:
        size = event.flow_controlled_length
        stream = self._streams.get(event.stream_id)
        body = stream.exchange.body if stream is not None else None
        if not event.data and event.stream_ended is None:
            self.waste()
        if stream is None or body is None:
            self.machine.acknowledge_received_data(size, event.stream_id)
            return
        stream.touch()
        if event.data:
            self.earn()
            body.feed(event.data)
        limit = self._limits.max_body
        if limit and body.size > limit and stream.exchange.refusal is None:
            stream.exchange.fail(EntityTooLarge(limit))
        stream.took(size)

    def _end_body(self, stream: Stream) -> None:
        """h2 holds a body against its told length only when DATA ends it, not trailers."""
        exchange = stream.exchange
        body = exchange.body
        if body is None:
            return
        if exchange.content_length is not None and body.size != exchange.content_length:
            self.reset(stream, ErrorCodes.PROTOCOL_ERROR)
            self._give_up(stream)
            return
        body.end()

    # ── ends of streams ──

    def sent(self, stream: Stream) -> None:
        stream.touch()
        if stream.story is not None and stream.story.over:
            self._leave(stream)

    def _done(self, stream: Stream) -> None:
        exchange = stream.exchange
        if not exchange.finished and not stream.closed:
            self.reset(stream, ErrorCodes.INTERNAL_ERROR)
        if stream.closed:
            self._leave(stream)
        elif exchange.body is not None:
            exchange.body.discard()

    def _leave(self, stream: Stream) -> None:
        """Answered and sent. A body that nobody wants is not waited for. Source: RFC 9113 §8.1."""
        if self._streams.pop(stream.id, None) is None:
            return
        if stream.exchange.finished:
            self._resets.earn()
            if stream.exchange.body_open:
                self.reset(stream, ErrorCodes.NO_ERROR)
        stream.shut()
        if not self._streams and not self.over:
            self._silent_until = self.loop.time() + self._limits.idle_timeout
            if self._leaving:
                self.close()
        else:
            self.flush()

    def _break_off(self) -> None:
        """A request was begun for nothing."""
        if not self._resets.spend(self.loop.time()):
            self.fail("too many streams that are reset", ErrorCodes.ENHANCE_YOUR_CALM)

    def _give_up(self, stream: Stream) -> None:
        if stream.story is not None and not stream.story.over:
            stream.story.cancel()
        else:
            self._leave(stream)

    def _cancel_all(self) -> None:
        for stream in list(self._streams.values()):
            stream.shut()
            self._give_up(stream)

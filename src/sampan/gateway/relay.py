"""What becomes of an upstream's answer: passed to the client as it comes, or collected.

Both bound the time in the function: its timeout from the first byte sent to the last byte of the answer; an
answer that streams (of unknown length, or an upgrade) may instead be silent for no longer than `idle`. Time in
which the client does not take what is there is not the function's.
"""

import time
from typing import Final

from sampan.gateway.body import ClientGone, Hold
from sampan.gateway.connection import Connection, Receiver
from sampan.gateway.deadlines import Deadlines
from sampan.gateway.exchange import Exchange
from sampan.gateway.headers import ANSWER_HOP_BY_HOP, ANSWER_SET_ANEW
from sampan.gateway.replies import Clock
from sampan.gateway.story import Wait
from sampan.model.errors import BadResponse, FunctionTimedOut, SampanError

_now: Final = time.time_ns
_REQUEST_ID: Final = b"X-Fc-Request-Id: %b\r\n"
_PLAIN_CONNECTION: Final = (b"close", b"keep-alive", b"upgrade")


class Underway(Receiver):
    """One request in an upstream. `done` is over when its answer has ended, or fails with what went wrong."""

    def __init__(self, exchange: Exchange, timeout: float, idle: float, deadlines: Deadlines) -> None:
        """timeout, idle: seconds, see above."""
        self.exchange = exchange
        self.connection: Connection = None  # type: ignore[assignment]  # set by `begin`
        self.done: Wait = None  # type: ignore[assignment]  # as well
        self.failed = False  # the function said so: `x-fc-status: 404`
        self.streaming = False
        self.tunnel = False
        self._paused = False
        self._timeout, self._idle = timeout, idle
        self._progress = 0.0
        self._loop = deadlines.loop
        self._deadlines = deadlines

    def begin(self, connection: Connection) -> None:
        """It is about to be sent; once more, where nothing of an answer came the first time."""
        self.connection = connection
        self.done = Wait()
        self._deadlines.set(self, self._timeout)
        self.exchange.running = self

    def stop(self) -> None:
        self._deadlines.clear(self)
        if self._paused:
            self.resume()  # the connection may carry a next request
        self.exchange.running = None

    def fail(self, error: SampanError) -> None:
        if not self.done.over:
            self.done.fail(error)
            self.connection.forsake()

    def pause(self) -> None:
        """The client does not keep up."""
        if not self._paused and not self.connection.transport.is_closing():
            self._paused = True
            self._progress = self._loop.time()
            self.connection.transport.pause_reading()

    def resume(self) -> None:
        if self._paused:
            self._paused = False
            self._progress = self._loop.time()
            if not self.connection.transport.is_closing():
                self.connection.transport.resume_reading()

    def on_end(self) -> None:
        if not self.done.over:
            self.done.end()

    def on_broken(self, error: SampanError) -> None:
        self.fail(error)

    def on_congested(self, congested: bool) -> None:
        if congested:
            self.exchange.client.hold(Hold.UPSTREAM)
        else:
            self._progress = self._loop.time()
            self.exchange.client.release(Hold.UPSTREAM)

    def time_up(self) -> None:
        if self.streaming or self._paused:
            left = self._progress + self._idle - self._loop.time()
            if left > 0:
                self._deadlines.set(self, left)
                return
        if self._paused:
            self.fail(ClientGone(f"the client took nothing for {self._idle:g} seconds"))
        else:
            self.fail(FunctionTimedOut(self._idle if self.streaming else self._timeout))

    def _note_head(self) -> None:
        self.exchange.first_byte = _now()
        self._progress = self._loop.time()


class Relay(Underway):
    """Passes an answer to the client."""

    def __init__(
        self,
        exchange: Exchange,
        timeout: float,
        idle: float,
        deadlines: Deadlines,
        clock: Clock | None,
    ) -> None:
        """clock: of the `Date` line; None when the upstream is the API, whose answer is not ours to change."""
        super().__init__(exchange, timeout, idle, deadlines)
        self._clock = clock

    def on_head(self, connection: Connection) -> None:
        self._note_head()
        exchange = self.exchange
        if connection.status == 101:
            self._switch(connection)
            return
        if connection.status > 599:
            self.fail(BadResponse(f"the function answered with status {connection.status}"))
            return
        self.streaming = connection.length is None
        exchange.begin(connection.status, self._lines(connection), connection.length)
        if exchange.client.congested:
            self.pause()

    def on_body(self, piece: bytes) -> None:
        if self.streaming:
            self._progress = self._loop.time()
        self.exchange.send(piece)

    def on_end(self) -> None:
        if not self.done.over:
            exchange = self.exchange
            if exchange.answered is not None:
                exchange.answered.tell(self.failed)
            exchange.finish()
            self.done.end()

    def on_flush(self) -> None:
        if not self.done.over and not self.exchange.finished:
            self.exchange.flush()

    def on_raw(self, data: bytes) -> None:
        if not self.tunnel:
            return  # a switch that was refused: what follows is no answer to anything
        self._progress = self._loop.time()
        self.exchange.bytes_out += len(data)
        self.exchange.client.write(data)

    def on_broken(self, error: SampanError) -> None:
        if self.tunnel and not self.done.over:
            self.exchange.finished = True  # one end closed a tunnel: that is how tunnels end
            self.done.end()
            return
        self.fail(error)

    def _switch(self, connection: Connection) -> None:
        exchange = self.exchange
        if not exchange.upgrade:
            self.fail(BadResponse("the function switched protocols, which nobody asked for"))
            return
        self.tunnel = self.streaming = True
        protocol = next((value for lower, _, value in connection.headers if lower == b"upgrade"), exchange.upgrade)
        exchange.switch(self._lines(connection) + b"Connection: Upgrade\r\nUpgrade: %b\r\n" % protocol)
        exchange.client.tunnel_to(connection.transport)

    def _lines(self, connection: Connection) -> bytes:
        exchange = self.exchange
        if connection.passed is not None and self._clock is not None and exchange.cors is None:
            return b"%b%bX-Fc-Request-Id: %b\r\n" % (
                connection.passed, self._clock.line(), exchange.request.encode()
            )  # fmt: skip
        dropped = ANSWER_HOP_BY_HOP if self._clock is None else ANSWER_SET_ANEW
        parts: list[bytes] = []
        named: frozenset[bytes] = frozenset()
        for lower, name, value in connection.headers:
            if lower in dropped:
                if lower == b"connection" and value.lower() not in _PLAIN_CONNECTION:
                    named |= frozenset(token.strip().lower() for token in value.split(b","))
            elif self._clock is not None and lower.startswith(b"x-fc-"):
                self.failed = self.failed or (lower == b"x-fc-status" and value == b"404")
            else:
                parts += (name, b": ", value, b"\r\n")
        if named:
            kept = [h for h in connection.headers if h[0] not in named and h[0] not in dropped]
            parts = [b"%b: %b\r\n" % (n, v) for low, n, v in kept if self._clock is None or low[:5] != b"x-fc-"]
        if self._clock is not None:
            parts.append(self._clock.line())
            parts.append(_REQUEST_ID % self.exchange.request.encode())
            if self.exchange.cors is not None:
                parts.append(self.exchange.cors.lines(self.exchange.origin, connection.headers))
        return b"".join(parts)


class Collect(Underway):
    """Keeps an answer's body; status and headers are dropped. Source: container-contract.md A2.2."""

    def __init__(
        self,
        exchange: Exchange,
        timeout: float,
        idle: float,
        deadlines: Deadlines,
        limit: int,
    ) -> None:
        """limit: bytes of body."""
        super().__init__(exchange, timeout, idle, deadlines)
        self._limit, self._size = limit, 0
        self.pieces: list[bytes] = []

    def on_head(self, connection: Connection) -> None:
        self._note_head()
        if connection.status == 101:
            self.fail(BadResponse("the function switched protocols, which nobody asked for"))
        self.failed = any(lower == b"x-fc-status" and value == b"404" for lower, _, value in connection.headers)

    def on_body(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._limit:
            self.fail(BadResponse(f"the function's answer exceeds {self._limit} bytes"))
            return
        self.pieces.append(piece)

"""A call of gRPC: carried to the instance over HTTP/2, its trailers and the callers' deadlines with it.

Bounded like any call (`relay`): the function's timeout until its answer begins, then the time it may be silent,
and the caller's own deadline throughout. Source: "gRPC over HTTP/2"; container-contract.md A2 for the headers.
"""

import asyncio
import math
import time

from sampan.gateway.body import BodySink, ClientGone, Hold
from sampan.gateway.exchange import Exchange
from sampan.gateway.http2_exchange import StreamExchange
from sampan.gateway.http2_head import request_headers
from sampan.gateway.http2_link import Headers
from sampan.gateway.replies import Clock
from sampan.gateway.upstream_http2 import CallLane, Http2Upstream
from sampan.model.errors import BadResponse, FunctionTimedOut, SampanError
from sampan.wire import grpc

_DROPPED = frozenset((b"connection", b"content-length", b"date", b"server", b"transfer-encoding"))


class GrpcCall:
    """One call in a function. `done` resolves when its answer has ended, or fails with what went wrong."""

    failed = False  # a status of gRPC is the function's answer, not its failure

    def __init__(self, exchange: StreamExchange, timeout: float, idle: float, clock: Clock) -> None:
        """timeout, idle: seconds, see above."""
        self._loop = asyncio.get_running_loop()
        self.exchange = exchange
        self.lane: CallLane | None = None
        self.done: asyncio.Future[None] = self._loop.create_future()
        self._clock = clock
        self._timeout, self._idle = timeout, idle
        self._begun = self._progress = self._loop.time()
        self._streaming = self._paused = False
        self._timer = self._loop.call_at(min(self._begun + timeout, exchange.due), self._time_up)
        exchange.running = self

    def stop(self) -> None:
        self._timer.cancel()
        self.exchange.running = None

    def fail(self, error: SampanError) -> None:
        if not self.done.done():
            self.done.set_exception(error)

    def pause(self) -> None:
        """The client does not keep up."""
        self._paused = True
        if self.lane is not None:
            self.lane.hold(Hold.UPSTREAM)

    def resume(self) -> None:
        self._paused = False
        self._progress = self._loop.time()
        if self.lane is not None:
            self.lane.release(Hold.UPSTREAM)

    # ── from the function ──

    def on_head(self, headers: Headers) -> None:
        if self.done.done():
            return
        self.exchange.first_byte = time.time_ns()
        self._progress = self._loop.time()
        self._streaming = True
        status = _status(headers)
        if status is None:
            self.fail(BadResponse("the function answered with a status that is none"))
            return
        told = _passed_on(headers)
        _, _, date = self._clock.line().rstrip(b"\r\n").partition(b": ")
        told += [(b"date", date), (b"x-fc-request-id", self.exchange.request.encode())]
        self.exchange.begin_with(status, told)
        self._loop.call_soon(self._flush)  # with what follows at once, a status without messages among it

    def on_body(self, piece: bytes) -> None:
        self._progress = self._loop.time()
        if not self.done.done():
            self.exchange.send(piece)
            self.exchange.flush()

    def on_end(self, trailers: Headers) -> None:
        if self.done.done():
            return
        if not self.exchange.begun:
            self.fail(BadResponse("the function ended the call without an answer"))
            return
        if self.exchange.answered is not None:
            self.exchange.answered.tell(self.failed)
        self.exchange.finish_with(_passed_on(trailers))
        self.done.set_result(None)

    def on_broken(self, error: SampanError) -> None:
        self.fail(error)

    def on_congested(self, congested: bool) -> None:
        if congested:
            self.exchange.client.hold(Hold.UPSTREAM)
        else:
            self._progress = self._loop.time()
            self.exchange.client.release(Hold.UPSTREAM)

    # ── inside ──

    def _flush(self) -> None:
        if not self.exchange.finished and not self.done.done():
            self.exchange.flush()

    def _time_up(self) -> None:
        now = self._loop.time()
        late = now >= self.exchange.due
        if not late and (self._streaming or self._paused):
            until = min(self._progress + self._idle, self.exchange.due)
            if until > now:
                self._timer = self._loop.call_at(until, self._time_up)
                return
        if self._paused and not late:
            self.fail(ClientGone(f"the client took nothing for {self._idle:g} seconds"))
        elif late:
            self.fail(FunctionTimedOut(round(now - self._begun, 3)))
        else:
            self.fail(FunctionTimedOut(self._idle if self._streaming else self._timeout))


async def carry(upstream: Http2Upstream, call: GrpcCall, head: bytes) -> GrpcCall:
    """One call. head: as HTTP/1 has it. Raises: Unreachable, ConnectionDied, FunctionTimedOut, BadResponse."""
    exchange = call.exchange
    lane, link = None, None
    try:
        if exchange.refusal is not None:
            raise exchange.refusal  # its body went wrong while it waited
        link = await upstream.link()
        lane = call.lane = link.open(call, _asked(head, exchange), end=exchange.body is None)
        if exchange.body is not None:
            exchange.let_body_come()
            sink: BodySink = lane
            exchange.body.pipe(sink)
        await call.done
    finally:
        call.stop()
        if lane is not None and link is not None:
            done = call.done
            link.leave(lane, whole=done.done() and not done.cancelled() and done.exception() is None)
    return call


def _status(headers: Headers) -> int | None:
    told = next(value for name, value in headers if name == b":status")
    return int(told) if len(told) == 3 and told.isdigit() and b"200" <= told < b"600" else None


def _asked(head: bytes, exchange: Exchange) -> Headers:
    """The request's headers; its deadline is what is left of it."""
    headers = [header for header in request_headers(head, b"http") if header[0] != b"grpc-timeout"]
    headers.append((b"te", b"trailers"))
    if exchange.due < math.inf:
        left = exchange.due - asyncio.get_running_loop().time()
        headers.append((b"grpc-timeout", grpc.timeout(left)))
    return headers


def _passed_on(headers: Headers) -> Headers:
    return [
        (name, value)
        for name, value in headers
        if name not in _DROPPED and name[:1] != b":" and name[:5] != b"x-fc-"
    ]

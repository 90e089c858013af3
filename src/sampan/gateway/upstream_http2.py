"""One HTTP/2 connection to an instance, with prior knowledge, that carries many calls side by side.

A connection that says goodbye finishes what it carries; the next call makes a new one.
"""

import asyncio
from collections.abc import Iterable
from typing import Protocol

import h2.events
from h2.errors import ErrorCodes
from h2.exceptions import H2Error

from sampan.gateway.connection import ConnectionDied
from sampan.gateway.http2_link import Headers, Lane, Link
from sampan.gateway.story import within
from sampan.gateway.upstream import CONNECT_TIMEOUT, Unreachable
from sampan.model.errors import BadResponse, NoCapacity, SampanError

_WINDOW = (1 << 31) - 1  # bytes; each call has its own window, and callers that are slow must not stop others
_ENTRY = 32  # bytes that HPACK counts for a header beside its own. Source: RFC 7541 §4.1


class Receiver(Protocol):
    """What an answer is told to, in this order."""

    def on_head(self, headers: Headers) -> None: ...
    def on_body(self, piece: bytes) -> None: ...
    def on_end(self, trailers: Headers) -> None: ...
    def on_broken(self, error: SampanError) -> None: ...
    def on_congested(self, congested: bool) -> None: ...


class CallLane(Lane):
    """One call; takes the request's body."""

    __slots__ = ("receiver", "tail")

    def __init__(self, link: "InstanceLink", number: int, receiver: Receiver) -> None:
        super().__init__(link, number)
        self.receiver = receiver
        self.tail: Headers = []  # the answer's trailers

    def send_body(self, piece: bytes) -> None:
        self.put(piece)
        self.push()

    def end_body(self) -> None:
        self.complete = True
        self.push()

    def on_choked(self, choked: bool) -> None:
        self.receiver.on_congested(choked)


class InstanceLink(Link):
    """The connection."""

    def __init__(self, header_limit: int) -> None:
        super().__init__(True, header_limit + 64 * _ENTRY, _WINDOW)
        self._calls: dict[int, CallLane] = {}
        self._leaving = False
        self._broken: SampanError | None = None  # by what

    @property
    def usable(self) -> bool:
        return not self.over and not self._leaving and not self.transport.is_closing()

    def lanes(self) -> Iterable[Lane]:
        return self._calls.values()

    def open(self, receiver: Receiver, headers: Headers, end: bool) -> CallLane:
        """Begin a call. end: it has no body.

        Raises: NoCapacity, when the function takes no more at once; what has ended the connection meanwhile.
        """
        if self._broken is not None:
            raise self._broken
        most = self.machine.remote_settings.max_concurrent_streams
        if len(self._calls) >= most:
            raise NoCapacity(f"the function's server takes {most} calls at once on a connection")
        try:
            lane = CallLane(self, self.machine.get_next_available_stream_id(), receiver)
            self.machine.send_headers(lane.id, headers, end_stream=end)
        except H2Error as error:  # the connection has had all the streams that it can number
            self._leaving = True
            raise NoCapacity(f"the connection to the function takes no more calls: {error}") from error
        self._calls[lane.id] = lane
        lane.complete = lane.closed = end
        self.flush()
        return lane

    def leave(self, lane: CallLane, whole: bool) -> None:
        """The call is over. whole: its answer has ended; else the function is told to stop."""
        if self._calls.pop(lane.id, None) is not None and (not whole or not lane.closed):
            self.reset(lane, ErrorCodes.CANCEL)
        lane.shut()
        if self._leaving and not self._calls:
            self.transport.close()

    def abort(self) -> None:
        self.over = True
        self.transport.abort()

    def fail(self, why: str, code: ErrorCodes | None) -> None:
        if self.over:
            return
        self.over = True
        self._break(BadResponse(f"the function's answer is not HTTP/2: {why}; a gRPC server has to speak h2c"))
        self.transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self.over = True
        self._break(ConnectionDied("the connection was reset" if error else "the connection was closed"))

    # ── frames ──

    def heard(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.ResponseReceived():
                if (lane := self._calls.get(event.stream_id)) is not None:
                    lane.receiver.on_head(event.headers)
            case h2.events.DataReceived():
                self._body(event)
            case h2.events.TrailersReceived():
                if (lane := self._calls.get(event.stream_id)) is not None:
                    lane.tail = event.headers
            case h2.events.StreamEnded():
                if (lane := self._calls.get(event.stream_id)) is not None:
                    lane.receiver.on_end(lane.tail)
            case h2.events.StreamReset():
                if (lane := self._calls.get(event.stream_id)) is not None:
                    lane.shut()
                    lane.receiver.on_broken(_reset_by_function(event.error_code))
            case h2.events.ConnectionTerminated():
                self._goodbye(event)
            case _:
                self.weigh_event(event)

    def _body(self, event: h2.events.DataReceived) -> None:
        lane = self._calls.get(event.stream_id)
        if lane is None:
            self.machine.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            return
        if event.data:
            self.earn()
            lane.receiver.on_body(event.data)
        elif event.stream_ended is None:
            self.waste()
        lane.took(event.flow_controlled_length)

    def _goodbye(self, event: h2.events.ConnectionTerminated) -> None:
        """Calls that the function has not begun are over. Source: RFC 9113 §6.8."""
        self._leaving = True
        for lane in [one for one in self._calls.values() if one.id > (event.last_stream_id or 0)]:
            lane.shut()
            lane.receiver.on_broken(NoCapacity("the function's server is going down and did not take the call"))
        if not self._calls:
            self.transport.close()

    def _break(self, error: SampanError) -> None:
        self._broken = self._broken or error
        for lane in list(self._calls.values()):
            lane.shut()
            lane.receiver.on_broken(error)


class Http2Upstream:
    """One instance's address and its connections of HTTP/2: the one in use, and those that say goodbye."""

    def __init__(self, address: tuple[str, int] | str, header_limit: int) -> None:
        self._address, self._header_limit = address, header_limit
        self._current: InstanceLink | None = None
        self._all: list[InstanceLink] = []
        self._connecting = asyncio.Lock()
        self._closed = False

    async def link(self) -> InstanceLink:
        """The connection for the next call. Raises: Unreachable."""
        async with self._connecting:
            if self._current is None or not self._current.usable:
                self._current = await self._connect()
                self._all = [*(one for one in self._all if not one.over), self._current]
            return self._current

    def close(self) -> None:
        """End every connection; calls in them fail."""
        self._closed = True
        for one in self._all:
            one.abort()
        self._all = []

    async def _connect(self) -> InstanceLink:
        loop = asyncio.get_running_loop()
        try:
            if isinstance(self._address, str):
                dialled = loop.create_unix_connection(self._make, self._address)
            else:
                dialled = loop.create_connection(self._make, *self._address)
            _, link = await within(CONNECT_TIMEOUT, dialled)
        except TimeoutError:
            raise Unreachable(f"no connection within {CONNECT_TIMEOUT:g} seconds") from None
        except OSError as error:
            raise Unreachable(f"cannot connect: {error.strerror or error}") from error
        if self._closed:
            link.abort()
            raise Unreachable("the instance has ended")
        return link

    def _make(self) -> InstanceLink:
        return InstanceLink(self._header_limit)


def _reset_by_function(code: ErrorCodes | int) -> SampanError:
    if code == ErrorCodes.REFUSED_STREAM:
        return NoCapacity("the function's server refused the call; it takes no more at once")
    try:
        name = ErrorCodes(code).name
    except ValueError:
        name = str(code)
    return BadResponse(f"the function broke the call off ({name})")

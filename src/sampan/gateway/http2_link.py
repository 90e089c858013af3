"""What both ends of HTTP/2 share: a connection of frames, and the lanes (streams) in it.

A lane queues what it sends until the windows and the socket take it, and gives its window back only as what came
is consumed: a slow reader on one side is felt on the other. Source: RFC 9113.
"""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable

import h2.events
from h2.config import H2Configuration
from h2.connection import ConnectionInputs, ConnectionState, H2Connection, H2ConnectionStateMachine
from h2.errors import ErrorCodes
from h2.exceptions import H2Error, ProtocolError
from h2.settings import SettingCodes, Settings

from sampan.gateway.floods import Budget

Headers = list[tuple[bytes, bytes]]

STREAMS = 100  # at once in a connection; what RFC 9113 §6.5.2 recommends as the least
LANE_WINDOW = 256 << 10  # bytes of one stream that the other end may have sent and we not consumed
_FIRST_WINDOW = 65535  # bytes; of every connection, RFC 9113 §6.9.2
HIGH, LOW = 64 << 10, 16 << 10  # bytes queued in a lane: above, whoever fills it pauses; below, goes on
_PIECE = 4 << 10  # bytes parsed at once: a burst of small frames is judged before all of it is carried out
_UNSENT = 1 << 20  # bytes that wait in the socket; only answers to pings and settings can grow so far
_TABLE = 4 << 10  # bytes of sent headers that HPACK remembers, however many the other end would like
_SMALL_DELTA = 64  # bytes; a window that opens by less at a time makes us send crumbs
_FRAME = 16 << 10  # bytes of DATA at once, so that lanes take turns


class _Machine(H2ConnectionStateMachine):
    """A GOAWAY from the other end leaves the streams in flight alone. Source: RFC 9113 §6.8."""

    _transitions = H2ConnectionStateMachine._transitions | {
        (state, ConnectionInputs.RECV_GOAWAY): (None, state)
        for state in (ConnectionState.IDLE, ConnectionState.CLIENT_OPEN, ConnectionState.SERVER_OPEN)
    }


class Lane(ABC):
    """One stream."""

    __slots__ = (
        "_choked",
        "_holds",
        "_left",
        "_out",
        "_unread",
        "closed",
        "complete",
        "id",
        "link",
        "queued",
        "trailers",
    )

    def __init__(self, link: "Link", number: int) -> None:
        self.link, self.id = link, number
        self.closed = False  # reset, or all of ours is sent
        self.complete = False  # nothing will be added
        self.queued = 0  # bytes
        self.trailers: Headers = []
        self._out: deque[bytes] = deque()
        self._left = 0  # bytes of the first piece that are sent already
        self._unread = 0  # bytes received that the other end's window has not got back
        self._holds = 0
        self._choked = False

    @property
    def congested(self) -> bool:
        return self._choked

    @property
    def held(self) -> bool:
        return self._holds != 0

    # ── sending ──

    def put(self, piece: bytes) -> None:
        if not self.closed and piece:
            self._out.append(piece)
            self.queued += len(piece)

    def push(self) -> None:
        """Send what can be sent."""
        while self.link.send_one(self):
            pass
        self.link.flush()
        self.weigh()

    def next_piece(self, most: int) -> bytes:
        first, left = self._out[0], self._left
        piece = first[left : left + most]
        if left + len(piece) == len(first):
            self._out.popleft()
            self._left = 0
        else:
            self._left = left + len(piece)
        self.queued -= len(piece)
        return piece

    def weigh(self) -> None:
        """Tell whoever fills the queue to pause, or to go on."""
        if not self._choked and self.queued > HIGH:
            self._choked = True
            self.on_choked(True)
        elif self._choked and (self.queued <= LOW or self.closed):
            self._choked = False
            self.on_choked(False)

    def shut(self) -> None:
        """Nothing more goes out or is wanted."""
        self.closed = True
        self._out.clear()
        self.queued = 0
        self._give_back()
        self.weigh()

    # ── receiving ──

    def took(self, size: int) -> None:
        """size: bytes as flow control counts them."""
        self._unread += size
        if not self._holds:
            self._give_back()

    def hold(self, reason: int) -> None:
        self._holds |= reason

    def release(self, reason: int) -> None:
        if self._holds & reason:
            self._holds &= ~reason
            if not self._holds:
                self._give_back()
                self.link.flush()

    def _give_back(self) -> None:
        unread, self._unread = self._unread, 0
        if unread:
            self.link.give_back(self, unread)

    @abstractmethod
    def on_choked(self, choked: bool) -> None:
        """The queue is (no longer) too long."""

    def on_sent(self) -> None:  # noqa: B027
        """All of ours is out."""


class Link(asyncio.Protocol, ABC):
    """One connection."""

    def __init__(self, client_side: bool, header_limit: int, window: int) -> None:
        """header_limit: bytes of a head, as HPACK counts them; more ends the connection.

        window: bytes of all streams that the other end may have sent and we not consumed.
        """
        self._window = window
        self.loop = asyncio.get_running_loop()
        self.machine = _machine(client_side, header_limit)
        self.transport: asyncio.Transport = None  # type: ignore[assignment]  # set when the connection is made
        self.over = False  # nothing that comes is heard any more
        self._budget = Budget(self.loop.time())
        self._blocked = False  # the socket takes no more

    # ── for lanes ──

    @abstractmethod
    def lanes(self) -> Iterable[Lane]: ...

    def send_headers(self, lane: Lane, headers: Headers, end: bool = False) -> None:
        if lane.closed:
            return
        try:
            self.machine.send_headers(lane.id, headers, end_stream=end)
        except H2Error:
            self.reset(lane, ErrorCodes.INTERNAL_ERROR)
            return
        if end:
            self._all_sent(lane)

    def send_one(self, lane: Lane) -> bool:
        """One frame of what the lane has queued; False when there is nothing, or no room."""
        if lane.closed or self._blocked or self.over:
            return False
        try:
            return self._send_one(lane)
        except H2Error:  # reset by the other end, as an event will tell that waits behind the present one
            self.reset(lane, ErrorCodes.INTERNAL_ERROR)
            return False

    def _send_one(self, lane: Lane) -> bool:
        if lane.queued:
            most = min(
                self.machine.local_flow_control_window(lane.id), self.machine.max_outbound_frame_size, _FRAME
            )
            if most <= 0:
                return False
            piece = lane.next_piece(most)
            last = lane.complete and not lane.queued and not lane.trailers
            self.machine.send_data(lane.id, piece, end_stream=last)
            if len(piece) >= _SMALL_DELTA or not lane.queued:  # no crumb that a small window made of it
                self.earn()
        elif not lane.complete:
            return False
        elif lane.trailers:
            last = True
            self.machine.send_headers(lane.id, lane.trailers, end_stream=True)
        else:
            last = True
            self.machine.end_stream(lane.id)
        if last:
            self._all_sent(lane)
        self.flush()
        return not last

    def reset(self, lane: Lane, code: ErrorCodes) -> None:
        """Break the stream off."""
        if not self.over:
            try:
                self.machine.reset_stream(lane.id, code)
            except H2Error:  # closed on both sides already
                pass
            else:
                self.flush()
        lane.shut()

    def give_back(self, lane: Lane, size: int) -> None:
        if not self.over:
            self.machine.acknowledge_received_data(size, lane.id)

    def flush(self) -> None:
        data = self.machine.data_to_send()
        if data and not self.transport.is_closing():
            self.transport.write(data)
            if self._blocked and not self.over and self.transport.get_write_buffer_size() > _UNSENT:
                self.fail("the answers to its frames are not taken", ErrorCodes.ENHANCE_YOUR_CALM)

    def _all_sent(self, lane: Lane) -> None:
        lane.closed = True
        lane.on_sent()

    # ── asyncio.Protocol ──

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.machine.initiate_connection()
        self.machine.increment_flow_control_window(self._window - _FIRST_WINDOW)
        self.flush()

    def data_received(self, data: bytes) -> None:
        try:
            for start in range(0, len(data), _PIECE):
                if self.over:
                    return
                for event in self.machine.receive_data(data[start : start + _PIECE]):
                    if self.over:
                        return
                    self.heard(event)
                if self._announces_too_much():
                    self.fail("a frame is larger than allowed", ErrorCodes.FRAME_SIZE_ERROR)
                    return
        except ProtocolError as error:
            self.fail(str(error) or type(error).__name__, None)
            return
        self.flush()

    def _announces_too_much(self) -> bool:
        """h2 looks at a frame's size when all of the frame is there, which may be 16 MB."""
        begun = self.machine.incoming_buffer._data
        return len(begun) >= 3 and int.from_bytes(begun[:3], "big") > self.machine.max_inbound_frame_size

    def waste(self) -> None:
        """A frame came that costs us something and serves nothing."""
        if not self._budget.spend(self.loop.time()):
            self.fail("too many frames that serve nothing", ErrorCodes.ENHANCE_YOUR_CALM)

    def earn(self) -> None:
        """A frame of DATA went or came: Go's gRPC measures with a ping for nearly each that it gets."""
        self._budget.earn()

    def weigh_event(self, event: h2.events.Event) -> None:
        """What is the same for both ends: windows, and what may only come in moderation."""
        match event:
            case h2.events.WindowUpdated():
                if event.delta < _SMALL_DELTA:
                    self.waste()
                self.push_all()
            case h2.events.RemoteSettingsChanged():
                self.waste()
                if self.machine.encoder.header_table_size > _TABLE:
                    self.machine.encoder.header_table_size = _TABLE
                self.push_all()
            case h2.events.PingReceived() | h2.events.PriorityUpdated() | h2.events.UnknownFrameReceived():
                self.waste()

    def pause_writing(self) -> None:
        self._blocked = True

    def resume_writing(self) -> None:
        self._blocked = False
        self.push_all()

    def push_all(self) -> None:
        """Windows or the socket have room again: a frame of each lane in turn."""
        turn = deque(lane for lane in self.lanes() if not lane.closed and (lane.queued or lane.complete))
        touched = list(turn)
        while turn and not self._blocked:
            lane = turn.popleft()
            if self.send_one(lane):
                turn.append(lane)
        for lane in touched:
            lane.weigh()

    def say_goodbye(self, error: ErrorCodes = ErrorCodes.NO_ERROR) -> None:
        """The other end's newest stream is the last; those in flight go on.

        Not with h2's own `close_connection`, after which it lets nothing be sent.
        """
        last = self.machine.highest_inbound_stream_id
        payload = last.to_bytes(4, "big") + int(error).to_bytes(4, "big")
        if not self.transport.is_closing():
            self.flush()
            self.transport.write(len(payload).to_bytes(3, "big") + b"\x07\x00" + bytes(4) + payload)

    @abstractmethod
    def heard(self, event: h2.events.Event) -> None: ...

    @abstractmethod
    def fail(self, why: str, code: ErrorCodes | None) -> None:
        """The other end breaks the rules: say so, and end the connection. code: None when h2 has told it."""


def _machine(client_side: bool, header_limit: int) -> H2Connection:
    machine = H2Connection(H2Configuration(client_side=client_side, validate_outbound_headers=False))
    machine.state_machine = _Machine()
    machine.decoder.max_header_list_size = header_limit
    machine.local_settings = Settings(
        client=client_side,
        initial_values={
            SettingCodes.MAX_CONCURRENT_STREAMS: STREAMS,
            SettingCodes.MAX_HEADER_LIST_SIZE: header_limit,
            SettingCodes.INITIAL_WINDOW_SIZE: LANE_WINDOW,
            SettingCodes.ENABLE_PUSH: 0,
        },
    )
    return machine

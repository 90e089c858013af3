"""OTLP over gRPC: unary calls on HTTP/2, one asyncio protocol per connection.

Not grpc.aio: its listeners cannot be handed over, and it bounds neither what one peer holds nor how long it takes.
Source: "gRPC over HTTP/2"; RFC 9113; OTLP specification, "OTLP/gRPC".
"""

import asyncio
import base64
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import cast

import h2.events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings

from sampan.collector.intake.answers import SIGNALS, Otlp, Signal, error_status
from sampan.collector.intake.bodies import MAX_BODY, Holding, unpacked
from sampan.collector.intake.connections import Connections
from sampan.collector.intake.judge import Judge
from sampan.collector.senders import STRANGER, Sender, sender_at
from sampan.model.errors import BodyTooLarge, Malformed, NotSupported, SampanError, SenderUnknown
from sampan.telemetry.logs import Log
from sampan.wire.grpc import is_grpc, trailers
from sampan.wire.otlp import PROTOBUF

READ_TIMEOUT = 15.0  # seconds from a call's first frame to its last
IDLE = 300.0  # seconds that a connection may be without a call
STREAMS = 8  # calls at once in a connection
WINDOW = 1 << 20  # bytes that may come unasked, of a call and of a connection
_FIRST_WINDOW = 65535  # RFC 9113 §6.9.2
_UNSENT = 64 << 10  # bytes that wait in the socket; only answers to floods can grow so far
_FRAMES = 20_000  # events a connection may cause between two calls: a call of 4 MiB takes some hundred
_FRAME_COST = 512  # bytes that a frame counts for at least: floods of small ones cost us time, not room
_METHODS = {signal.method.encode(): signal for signal in SIGNALS}

Headers = list[tuple[bytes, bytes]]


@dataclass(slots=True)
class _Call:
    """One stream until it is answered."""

    signal: Signal
    sender: Sender
    encoding: str
    holding: Holding
    late: asyncio.TimerHandle
    body: bytearray = field(default_factory=bytearray)


class GrpcServer:
    """Makes a protocol per connection, and owns the calls' tasks."""

    def __init__(self, judge: Judge, otlp: Otlp, connections: Connections) -> None:
        self.judge, self.otlp, self.connections = judge, otlp, connections
        self.log = Log("intake")
        self.open: set[_Connection] = set()

    async def serve(self, sockets: Sequence[socket.socket], started: asyncio.Event) -> None:
        """For ever. The sockets are closed in the end. started: set when connections are taken."""
        loop = asyncio.get_running_loop()
        servers = [await loop.create_server(lambda: _Connection(self), sock=one) for one in sockets]
        started.set()
        try:
            await loop.create_future()
        finally:
            for server in servers:
                server.close()
            for connection in list(self.open):
                connection.abort()


class _Connection(asyncio.Protocol):
    def __init__(self, server: GrpcServer) -> None:
        self._server, self._loop = server, asyncio.get_running_loop()
        self._calls: dict[int, _Call] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._frames = 0
        self._entered = ""
        self._sender = STRANGER
        self._paused: asyncio.TimerHandle | None = None
        self._h2 = _endpoint()

    # ── the socket ──

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)  # uvloop's are, but do not say so
        self._transport = transport
        peer = transport.get_extra_info("peername")
        self._address = peer[0] if peer else ""
        self._idle = self._loop.call_later(READ_TIMEOUT, transport.abort)
        self._server.open.add(self)
        self._entered = self._server.connections.enter(self._address)
        if not self._entered:
            transport.abort()
            return
        with suppress(SenderUnknown):  # told when it calls
            self._sender = sender_at(self._address, self._server.judge.who)
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(WINDOW - _FIRST_WINDOW)
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._idle.cancel()
        if self._paused is not None:
            self._paused.cancel()
        self._server.open.discard(self)
        if self._entered:
            self._server.connections.leave(self._entered)
        for number in list(self._calls):
            self._forget(number)
        for task in self._tasks.values():
            task.cancel()

    def data_received(self, data: bytes) -> None:
        try:
            events = self._h2.receive_data(data)
        except ProtocolError:
            self._flush()  # the GOAWAY that says why
            self._transport.close()
            return
        except Exception:  # hostile bytes: nothing they can raise may end more than their connection
            self._transport.abort()
            return
        self._frames += len(events)
        if self._frames > _FRAMES:
            self._transport.abort()
            return
        for event in events:
            self._on(event)
        self._flush()
        self._slow_down(max(len(data), _FRAME_COST * len(events)))

    def _slow_down(self, cost: int) -> None:
        """Read on only when the sender can afford it."""
        judge = self._server.judge
        judge.charge(self._sender, cost)
        wait = judge.seconds_in_debt(self._sender)
        if wait and not self._transport.is_closing():
            self._transport.pause_reading()
            self._paused = self._loop.call_later(min(wait, READ_TIMEOUT), self._read_on)

    def _read_on(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def pause_writing(self) -> None:
        """The answers are small: who lets so many wait reads none."""
        self._transport.abort()

    def _leave(self) -> None:
        """Nobody calls any more; the other end is told."""
        self._h2.close_connection()
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        self._transport.abort()

    def _flush(self) -> None:
        data = self._h2.data_to_send()
        if data and not self._transport.is_closing():
            self._transport.write(data)
            if self._transport.get_write_buffer_size() > _UNSENT:
                self._transport.abort()

    # ── frames ──

    def _on(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.RequestReceived():
                self._begin(event.stream_id, event.headers)
            case h2.events.DataReceived():
                self._add(event.stream_id, event.data, event.flow_controlled_length)
            case h2.events.StreamReset():
                self._forget(event.stream_id)
                if event.stream_id in self._tasks:
                    self._tasks[event.stream_id].cancel()
            case h2.events.ConnectionTerminated():
                self._transport.close()
        if isinstance(event, h2.events.StreamEnded):
            self._complete(event.stream_id)

    def _begin(self, number: int, headers: Headers) -> None:
        given = dict(headers)
        late = self._loop.call_later(READ_TIMEOUT, self._expire, number)
        try:
            if not is_grpc(given.get(b"content-type", b"")):
                raise Malformed("grpc", "this port speaks gRPC alone; OTLP over HTTP is on port 4318")
            signal = _METHODS.get(given.get(b":path", b""))
            if signal is None:
                raise NotSupported(given.get(b":path", b"").decode("ascii", "replace")[:200])
            sender = self._server.judge.sender(self._address)
            self._server.judge.check_bytes(sender)
        except SampanError as error:
            late.cancel()
            self._refuse(number, error)
            return
        encoding = given.get(b"grpc-encoding", b"").decode("ascii", "replace")
        self._calls[number] = _Call(signal, sender, encoding, Holding(self._server.judge, sender), late)

    def _add(self, number: int, data: bytes, counted: int) -> None:
        call = self._calls.get(number)
        if call is not None:
            try:
                if len(call.body) + len(data) > MAX_BODY + _PREFIX:
                    raise BodyTooLarge(MAX_BODY)
                call.holding.add(len(data))
                call.body += data
            except SampanError as error:
                self._forget(number)
                self._refuse(number, error)
        with suppress(ProtocolError):  # the stream may be closed meanwhile
            self._h2.acknowledge_received_data(counted, number)

    def _complete(self, number: int) -> None:
        call = self._calls.get(number)
        if call is None:
            return
        call.late.cancel()
        self._idle.cancel()
        self._idle = self._loop.call_later(IDLE, self._leave)
        self._frames = 0
        task = self._loop.create_task(self._answer(number, call))
        self._tasks[number] = task
        task.add_done_callback(lambda _: self._tasks.pop(number, None))

    def _forget(self, number: int) -> None:
        call = self._calls.pop(number, None)
        if call is not None:
            call.late.cancel()
            call.holding.__exit__()

    def _expire(self, number: int) -> None:
        self._forget(number)
        with suppress(ProtocolError):
            self._h2.reset_stream(number, ErrorCodes.CANCEL)
        self._flush()

    # ── answers ──

    async def _answer(self, number: int, call: _Call) -> None:
        try:
            message = _message(bytes(call.body), call.encoding)
            call.body.clear()
            if call.encoding:
                call.holding.add(len(message))
                self._server.judge.charge(call.sender, len(message))
            self._send(number, await self._server.otlp.export(call.signal, call.sender, message, PROTOBUF))
        except SampanError as error:
            self._refuse(number, error)
        except Exception as error:
            self._server.log.failure("a report could not be taken", error, method=call.signal.method)
            self._refuse(number, error)
        finally:
            self._forget(number)
        self._flush()

    def _send(self, number: int, response: bytes) -> None:
        frame = b"\0" + len(response).to_bytes(4, "big") + response
        with suppress(ProtocolError):  # the caller may be gone
            if self._h2.local_flow_control_window(number) < len(frame):
                self._h2.reset_stream(number, ErrorCodes.FLOW_CONTROL_ERROR)  # it does not want its answer
                return
            self._h2.send_headers(number, _HEAD)
            self._h2.send_data(number, frame)
            self._h2.send_headers(number, [(b"grpc-status", b"0")], end_stream=True)

    def _refuse(self, number: int, error: Exception) -> None:
        """Trailers alone. What still comes of the call is not wanted."""
        told = trailers(error, late=False)
        if isinstance(error, SampanError):
            details = base64.b64encode(error_status(error, json=False)).rstrip(b"=")
            told.append((b"grpc-status-details-bin", details))
        with suppress(ProtocolError):
            self._h2.send_headers(number, _HEAD + told, end_stream=True)
            if number in self._h2.streams and not self._h2.streams[number].closed:
                self._h2.reset_stream(number, ErrorCodes.NO_ERROR)  # RFC 9113 §8.1


_HEAD: Headers = [(b":status", b"200"), (b"content-type", b"application/grpc")]
_PREFIX = 5  # bytes before a message: is it packed, and its length


def _message(body: bytes, encoding: str) -> bytes:
    """The one message of a unary call. Raises: Malformed, BodyTooLarge."""
    if len(body) < _PREFIX or int.from_bytes(body[1:_PREFIX], "big") != len(body) - _PREFIX or body[0] > 1:
        raise Malformed("grpc", f"{len(body)} bytes are not one message with its length before it")
    return unpacked(body[_PREFIX:], encoding if body[0] else "")


def _endpoint() -> H2Connection:
    connection = H2Connection(H2Configuration(client_side=False, header_encoding=None))
    connection.local_settings = Settings(
        client=False,
        initial_values={
            SettingCodes.MAX_CONCURRENT_STREAMS: STREAMS,
            SettingCodes.INITIAL_WINDOW_SIZE: WINDOW,
            SettingCodes.MAX_HEADER_LIST_SIZE: 16 << 10,
            SettingCodes.ENABLE_CONNECT_PROTOCOL: 0,
        },
    )
    return connection

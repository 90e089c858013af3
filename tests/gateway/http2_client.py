"""A client of HTTP/2 for tests, that can also be told to misbehave: frames are its own to send."""

import asyncio
from collections import defaultdict
from typing import Any

import h2.connection
import h2.events
import h2.exceptions
import h2.settings
from h2.config import H2Configuration
from hyperframe.frame import Frame

from sampan.gateway.http2_link import _Machine
from tests.gateway.stage import PATIENCE, Stage

_GOAWAY = 7
Headers = list[tuple[str, str]]


class Answer:
    """What has come on a stream."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.trailers: dict[str, str] = {}
        self.ended = False
        self.reset: int | None = None

    @property
    def status(self) -> int:
        return int(self.headers[":status"])

    @property
    def over(self) -> bool:
        return self.ended or self.reset is not None


class Http2Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, acknowledge: bool) -> None:
        self.reader, self.writer = reader, writer
        loose = H2Configuration(
            header_encoding="utf-8", validate_outbound_headers=False, normalize_outbound_headers=False
        )
        self.machine = h2.connection.H2Connection(loose)
        self.machine.state_machine = _Machine()  # hears answers after a goodbye, too
        self.authority = "web.localhost"
        self.answers: defaultdict[int, Answer] = defaultdict(Answer)
        self.goodbye: int | None = None  # the error that GOAWAY told
        self.closed = False
        self.acknowledge = acknowledge  # gives windows back
        self._frames = bytearray()
        self._lost = False
        self._task = asyncio.ensure_future(self._read())
        self._news = asyncio.Event()

    def send(self, data: bytes = b"") -> None:
        self.writer.write(self.machine.data_to_send() + data)

    def frames(self, *frames: Frame) -> None:
        self.send(b"".join(frame.serialize() for frame in frames))

    def begin(self, method: str = "GET", path: str = "/", *more: tuple[str, str], end: bool = True) -> int:
        """A request's head; the stream's number."""
        number = self.machine.get_next_available_stream_id()
        told = [(":method", method), (":path", path), (":scheme", "http"), (":authority", self.authority), *more]
        self.machine.send_headers(number, told, end_stream=end)
        self.send()
        return number

    def begin_with(self, headers: Headers, end: bool = True) -> int:
        number = self.machine.get_next_available_stream_id()
        self.machine.send_headers(number, headers, end_stream=end)
        self.send()
        return number

    async def body(self, number: int, body: bytes, end: bool = True) -> None:
        """Sent as the windows allow."""
        at = 0
        while at < len(body):
            most = min(self.machine.local_flow_control_window(number), self.machine.max_outbound_frame_size)
            if most <= 0:
                await self._more()
                continue
            self.machine.send_data(number, body[at : at + most])
            at += most
            self.send()
            await self.writer.drain()
        if end:
            self.machine.end_stream(number)
            self.send()

    async def answer(self, number: int) -> Answer:
        async with asyncio.timeout(PATIENCE):
            while not self.answers[number].over:
                assert not self.closed, f"closed, having said goodbye with {self.goodbye}"
                await self._more()
        return self.answers[number]

    async def call(self, method: str = "GET", path: str = "/", *more: tuple[str, str]) -> Answer:
        return await self.answer(self.begin(method, path, *more))

    async def gone(self) -> int | None:
        """Wait until the gateway has closed; what its goodbye said."""
        async with asyncio.timeout(PATIENCE):
            while not self.closed:
                await self._more()
        return self.goodbye

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self.writer.close()

    async def _more(self) -> None:
        self._news.clear()
        async with asyncio.timeout(PATIENCE):
            await self._news.wait()

    async def _read(self) -> None:
        try:
            while data := await self.reader.read(1 << 16):
                self._look_for_goodbye(data)
                if not self._lost:
                    self._feed(data)
                self._news.set()
        except ConnectionError:
            pass
        finally:
            self.closed = True
            self._news.set()

    def _feed(self, data: bytes) -> None:
        try:
            for event in self.machine.receive_data(data):
                self._heard(event)
        except h2.exceptions.ProtocolError:  # frames were sent past it, so it does not know what these answer
            self._lost = True
        else:
            self.send()

    def _look_for_goodbye(self, data: bytes) -> None:
        self._frames += data
        while len(self._frames) >= 9:
            end = 9 + int.from_bytes(self._frames[:3], "big")
            if len(self._frames) < end:
                return
            if self._frames[3] == _GOAWAY:
                self.goodbye = int.from_bytes(self._frames[13:17], "big")
            del self._frames[:end]

    def _heard(self, event: Any) -> None:
        match event:
            case h2.events.ResponseReceived():
                self.answers[event.stream_id].headers = dict(event.headers)
            case h2.events.DataReceived():
                self.answers[event.stream_id].body += event.data
                if self.acknowledge:
                    self.machine.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case h2.events.TrailersReceived():
                self.answers[event.stream_id].trailers = dict(event.headers)
            case h2.events.StreamEnded():
                self.answers[event.stream_id].ended = True
            case h2.events.StreamReset():
                self.answers[event.stream_id].reset = int(event.error_code)


async def http2(stage: Stage, settings: dict[int, int] | None = None, acknowledge: bool = True) -> Http2Client:
    """A client that has said its preface. settings: told with it."""
    host, port = stage.gateway.addresses[0]
    client = Http2Client(*await asyncio.open_connection(host, port), acknowledge)
    for name, value in (settings or {}).items():
        client.machine.local_settings[name] = value
        client.machine.local_settings.acknowledge()
    client.machine.initiate_connection()
    client.send()
    stage._clients.append(client)  # type: ignore[arg-type]  # closed like any client
    return client

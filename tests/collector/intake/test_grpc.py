"""OTLP over gRPC, with grpc's own client and with hostile frames. Source: "gRPC over HTTP/2"; OTLP, "OTLP/gRPC"."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import grpc
import h2.connection
import h2.events
import pytest
from google.rpc import error_details_pb2, status_pb2
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import MetricsServiceStub
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

from sampan.collector.intake import connections, grpc_server
from sampan.collector.senders import Sender
from sampan.wire.otlp import encode_traces
from tests.collector.intake.conftest import Running, own_address
from tests.wire.spans import FULL

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
REQUEST = encode_traces([FULL])


@pytest.fixture
async def channel(running: Running) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{running.port('grpc')}") as opened:
        yield opened


async def refusal(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


def wait_told(error: grpc.aio.AioRpcError) -> int:
    """Seconds, by the RetryInfo; 0: none."""
    (raw,) = [value for key, value in error.trailing_metadata() or () if key == "grpc-status-details-bin"]
    status = status_pb2.Status.FromString(raw)
    info = error_details_pb2.RetryInfo()
    assert status.message == error.details()
    return info.retry_delay.seconds if status.details and status.details[0].Unpack(info) else 0


@pytest.mark.parametrize("compression", [None, grpc.Compression.Gzip, grpc.Compression.Deflate])
async def test_calls_are_taken_packed_or_not(running: Running, channel: Any, compression: Any) -> None:
    answer = await TraceServiceStub(channel).Export(REQUEST, compression=compression)
    assert not answer.HasField("partial_success")
    assert [(span.trace, span.function) for span in running.store.spans] == [(FULL.trace, "thumb")]


async def test_many_calls_at_once_are_all_answered(running: Running, channel: Any) -> None:
    request = encode_traces([FULL] * 1000)
    await asyncio.gather(*(TraceServiceStub(channel).Export(request) for _ in range(10)))
    assert len(running.store.spans) == 10_000


async def test_metrics_are_answered_with_how_many_points_are_not_kept(channel: Any) -> None:
    request = ExportMetricsServiceRequest()
    request.resource_metrics.add().scope_metrics.add().metrics.add().gauge.data_points.add()
    answer = await MetricsServiceStub(channel).Export(request)
    assert answer.partial_success.rejected_data_points == 1


async def test_a_function_over_its_rate_is_told_when_to_come_again(start: Any) -> None:
    running = await start(span_rate=0.001, span_burst=1)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{running.port('grpc')}") as channel:
        answer = await TraceServiceStub(channel).Export(encode_traces([FULL, FULL]))
        assert answer.partial_success.rejected_spans == 1
        error = await refusal(TraceServiceStub(channel).Export(REQUEST))
    assert (error.code(), wait_told(error)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, 60)


async def test_a_full_store_is_told_as_unavailable(running: Running, channel: Any) -> None:
    running.store.room = 0
    error = await refusal(TraceServiceStub(channel).Export(REQUEST))
    assert (error.code(), wait_told(error)) == (grpc.StatusCode.UNAVAILABLE, 1)


async def test_an_address_that_is_nobodys_is_refused(start: Any) -> None:
    address = own_address()
    if not address:
        pytest.skip("this machine has no address but loopback")
    running = await start("0.0.0.0")
    async with grpc.aio.insecure_channel(f"{address}:{running.port('grpc')}") as channel:
        error = await refusal(TraceServiceStub(channel).Export(REQUEST))
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    assert address in str(error.details())
    assert wait_told(error) == 0


@pytest.mark.parametrize(
    ("method", "body", "code"),
    [
        (EXPORT, b"\xff", grpc.StatusCode.INVALID_ARGUMENT),
        (EXPORT, bytes(5 << 20), grpc.StatusCode.RESOURCE_EXHAUSTED),
        ("/some.Other/Call", b"", grpc.StatusCode.UNIMPLEMENTED),
    ],
)
async def test_what_cannot_be_taken_is_refused_and_the_connection_goes_on(
    running: Running, channel: Any, method: str, body: bytes, code: grpc.StatusCode
) -> None:
    call = channel.unary_unary(method, request_serializer=bytes, response_deserializer=bytes)
    assert (await refusal(call(body))).code() is code
    await TraceServiceStub(channel).Export(REQUEST)
    assert len(running.store.spans) == 1
    assert running.intake._judge.bodies.held == 0


async def test_two_messages_in_a_call_are_refused(channel: Any) -> None:
    call = channel.stream_unary(EXPORT, request_serializer=ExportTraceServiceRequest.SerializeToString)
    error = await refusal(call(iter([REQUEST, REQUEST])))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


# ── hostile peers ──


class Peer:
    """HTTP/2 by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.h2 = h2.connection.H2Connection()
        self.h2.initiate_connection()

    @classmethod
    async def open(cls, running: Running) -> "Peer":
        return cls(*await asyncio.open_connection("127.0.0.1", running.port("grpc")))

    def begin(self, kind: str = "application/grpc") -> int:
        number = self.h2.get_next_available_stream_id()
        pseudo = [(":method", "POST"), (":scheme", "http"), (":path", EXPORT), (":authority", "x")]
        self.h2.send_headers(number, [*pseudo, ("content-type", kind), ("te", "trailers")])
        return number

    async def flush(self) -> None:
        with suppress(ConnectionError):
            self.writer.write(self.h2.data_to_send())
            await self.writer.drain()

    async def until(self, wanted: Callable[[Any], bool]) -> Any:
        """The first such event; None: the connection was closed before."""
        await self.flush()
        async with asyncio.timeout(30):
            with suppress(ConnectionError):
                while data := await self.reader.read(1 << 16):
                    for event in self.h2.receive_data(data):
                        if wanted(event):
                            return event
                    await self.flush()
        return None

    async def closed(self) -> bool:
        return await self.until(lambda event: False) is None

    def close(self) -> None:
        self.writer.close()


async def test_a_call_that_never_ends_is_reset_and_holds_nothing(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = await Peer.open(running)
    assert await peer.until(lambda event: isinstance(event, h2.events.SettingsAcknowledged))
    monkeypatch.setattr(grpc_server, "READ_TIMEOUT", 0.05)
    peer.h2.send_data(peer.begin(), b"\0\0\0\0\x09half")
    assert await peer.until(lambda event: isinstance(event, h2.events.StreamReset))
    assert running.intake._judge.bodies.held == 0
    peer.close()


async def test_a_connection_that_says_nothing_is_closed(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc_server, "READ_TIMEOUT", 0.05)
    peer = await Peer.open(running)
    assert await peer.closed()
    peer.close()


async def test_http_that_is_no_grpc_is_told_where_to_go(running: Running) -> None:
    peer = await Peer.open(running)
    peer.h2.end_stream(peer.begin("application/json"))
    answer = await peer.until(lambda event: isinstance(event, h2.events.ResponseReceived))
    assert b"4318" in dict(answer.headers)[b"grpc-message"]
    peer.close()


@pytest.mark.parametrize("noise", [b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 100, b"\xff" * 100])
async def test_what_is_no_http2_is_closed(running: Running, noise: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port("grpc"))
    writer.write(noise)
    async with asyncio.timeout(30):
        with suppress(ConnectionError):
            while await reader.read(1 << 16):
                pass
    writer.close()


async def test_a_flood_of_frames_ends_its_connection_and_no_other(
    running: Running, channel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grpc_server, "_FRAMES", 500)
    peer = await Peer.open(running)
    for _ in range(600):
        peer.h2.ping(b"12345678")
    assert await peer.closed()
    peer.close()
    await TraceServiceStub(channel).Export(REQUEST)
    assert len(running.store.spans) == 1


async def test_who_sends_too_much_is_read_more_slowly(running: Running) -> None:
    running.intake._judge.charge(Sender("thumb"), 33 << 20)  # a little more than it may at once
    peer = await Peer.open(running)
    number = peer.begin()
    peer.h2.end_stream(number)
    answer = await peer.until(lambda event: isinstance(event, h2.events.ResponseReceived))
    assert dict(answer.headers)[b"grpc-status"] == b"8"
    peer.close()


async def test_a_caller_that_resets_its_calls_leaves_nothing_behind(running: Running, channel: Any) -> None:
    peer = await Peer.open(running)
    for _ in range(50):
        number = peer.begin()
        peer.h2.send_data(number, b"\0\0\0\0\x09half")
        peer.h2.reset_stream(number)
    peer.h2.ping(b"12345678")
    assert await peer.until(lambda event: isinstance(event, h2.events.PingAckReceived))
    assert running.intake._judge.bodies.held == 0
    peer.close()


async def test_connections_are_counted_with_those_of_http(running: Running) -> None:
    opened = [await asyncio.open_connection("127.0.0.1", running.port("http")) for _ in range(connections.EACH)]
    peer = await Peer.open(running)
    assert await peer.closed()
    for _, writer in [*opened, (None, peer.writer)]:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

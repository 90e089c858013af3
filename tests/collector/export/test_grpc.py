"""OTLP over gRPC against a back-end on loopback that errs."""

import asyncio
from pathlib import Path

import grpc
import grpc.aio
import pytest
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from sampan.collector.export.guard import Guard
from sampan.collector.export.otlp_grpc import GrpcPeer, OtlpGrpc
from sampan.collector.export.transport import Refused, Taken, TooLarge, Unavailable
from sampan.model.trace import Span
from tests.collector.export.peers import Serve, encode_traces, grpc_server, span
from tests.gateway.authority import Authority

LOCAL = GrpcPeer(guard=Guard(local=True))
Code = grpc.StatusCode


def failing(code: Code, details: str = "", trailer: bytes | None = None) -> Serve:
    async def answer(context: "grpc.aio.ServicerContext[bytes, bytes]") -> bytes:
        if trailer is not None:
            context.set_trailing_metadata((("grpc-status-details-bin", trailer),))
        await context.abort(code, details)
        raise AssertionError("abort raises")

    return answer


def saying(answer: bytes) -> Serve:
    async def say(context: "grpc.aio.ServicerContext[bytes, bytes]") -> bytes:
        return answer

    return say


async def sent(url: str, peer: GrpcPeer = LOCAL) -> Taken:
    transport: OtlpGrpc[Span] = OtlpGrpc(url, encode_traces, peer)
    try:
        return await transport.send(transport.encode([span(1), span(2)]))
    finally:
        await transport.close()


async def test_spans_go_with_the_headers() -> None:
    async with grpc_server() as backend:
        peer = GrpcPeer(headers={"X-Token": "secret"})
        assert await sent(backend.url.replace("//", "//me:pass@"), peer) == Taken()
    assert backend.spans() == ["work 1", "work 2"]
    assert backend.metadata[0]["x-token"] == "secret"
    assert backend.metadata[0]["authorization"] == "Basic bWU6cGFzcw=="


@pytest.mark.parametrize(
    "code",
    [Code.UNAVAILABLE, Code.ABORTED, Code.OUT_OF_RANGE, Code.DATA_LOSS, Code.CANCELLED, Code.DEADLINE_EXCEEDED],
)
async def test_a_back_end_that_is_busy_is_tried_again(code: Code) -> None:
    async with grpc_server() as backend:
        backend.answers = [failing(code)]
        with pytest.raises(Unavailable, match=code.name):
            await sent(backend.url)


@pytest.mark.parametrize(
    "code", [Code.INVALID_ARGUMENT, Code.UNAUTHENTICATED, Code.PERMISSION_DENIED, Code.UNIMPLEMENTED, Code.INTERNAL]
)
async def test_what_a_back_end_refuses_is_not_tried_again(code: Code) -> None:
    async with grpc_server() as backend:
        backend.answers = [failing(code, "inner words")] * 2
        with pytest.raises(Refused, match=rf"^it answered {code.name}$"):
            await sent(backend.url)
        with pytest.raises(Refused, match="inner words"):
            await sent(backend.url, GrpcPeer())


async def test_exhausted_is_tried_again_only_when_the_back_end_says_when() -> None:
    info = Any()
    info.Pack(RetryInfo(retry_delay=Duration(seconds=7)))
    status = Status(code=8, details=[info]).SerializeToString()
    async with grpc_server() as backend:
        backend.answers = [
            failing(Code.RESOURCE_EXHAUSTED, "quota", status),
            failing(Code.RESOURCE_EXHAUSTED, "quota"),
            failing(Code.RESOURCE_EXHAUSTED, "quota", b"\xff\xff"),
        ]
        with pytest.raises(Unavailable) as failed:
            await sent(backend.url)
        assert failed.value.retry_after == 7
        for _ in range(2):
            with pytest.raises(Refused):
                await sent(backend.url)


async def test_a_message_that_is_too_large_is_told_apart() -> None:
    async with grpc_server() as backend:
        transport: OtlpGrpc[Span] = OtlpGrpc(backend.url, encode_traces, LOCAL)
        with pytest.raises(TooLarge):  # servers of gRPC take 4 MB
            await transport.send(bytes(5 << 20))
        await transport.close()


async def test_an_answer_that_is_too_large_is_not_read_nor_asked_for_again() -> None:
    async with grpc_server() as backend:
        backend.answers = [saying(bytes(1 << 20))]
        with pytest.raises(Refused, match="answer is too large") as failed:
            await sent(backend.url)
    assert not isinstance(failed.value, TooLarge)


async def test_what_was_rejected_is_told() -> None:
    told = ExportTraceServiceResponse()
    told.partial_success.rejected_spans = 2
    async with grpc_server() as backend:
        backend.answers = [saying(told.SerializeToString()), saying(b"\xff\xff")]
        assert await sent(backend.url) == Taken(2)
        assert await sent(backend.url) == Taken()


async def test_a_back_end_that_comes_back_is_found_again() -> None:
    async with grpc_server() as backend:
        transport: OtlpGrpc[Span] = OtlpGrpc(backend.url, encode_traces, LOCAL)
        await transport.send(b"")
        port = int(backend.url.rpartition(":")[2])
    with pytest.raises(Unavailable):
        await transport.send(b"")
    async with grpc_server(port=port) as backend:
        assert await transport.send(b"") == Taken()
        assert len(backend.requests) == 1
    await transport.close()


async def test_a_request_is_not_waited_for_longer_than_told() -> None:
    released = asyncio.Event()

    async def slow(context: "grpc.aio.ServicerContext[bytes, bytes]") -> bytes:
        await released.wait()
        return b""

    async with grpc_server() as backend:
        backend.answers = [slow]
        with pytest.raises(Unavailable, match="DEADLINE_EXCEEDED"):
            await sent(backend.url, GrpcPeer(timeout=0.2))
        released.set()


async def test_a_connection_given_up_beside_a_request_is_no_cancellation() -> None:
    released = asyncio.Event()

    async def slow(context: "grpc.aio.ServicerContext[bytes, bytes]") -> bytes:
        await released.wait()
        return b""

    async with grpc_server() as backend:
        backend.answers = [slow]
        transport: OtlpGrpc[Span] = OtlpGrpc(backend.url, encode_traces, LOCAL)
        task = asyncio.create_task(transport.send(b""))
        await backend.came.wait()
        await transport.close()
        with pytest.raises(Unavailable, match="given up"):
            await task
        released.set()


async def test_a_cancelled_request_is_cancelled() -> None:
    released = asyncio.Event()

    async def slow(context: "grpc.aio.ServicerContext[bytes, bytes]") -> bytes:
        await released.wait()
        return b""

    async with grpc_server() as backend:
        backend.answers = [slow]
        transport: OtlpGrpc[Span] = OtlpGrpc(backend.url, encode_traces, LOCAL)
        task = asyncio.create_task(transport.send(b""))
        await backend.came.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        released.set()
        await transport.close()


async def test_a_function_reaches_this_machine_only_if_that_is_allowed() -> None:
    async with grpc_server() as backend:
        with pytest.raises(Refused, match="this machine's own"):
            await sent(backend.url, GrpcPeer(guard=Guard()))
    assert backend.requests == []


@pytest.mark.parametrize("host", ["169.254.169.254", "[::ffff:a9fe:a9fe]", "0xa9fea9fe", "2852039166", "0.0.0.0"])
async def test_metadata_is_never_reached_however_it_is_written(host: str) -> None:
    with pytest.raises(Refused, match=r"link-local|reserved"):
        await sent(f"http://{host}:4317")


async def test_a_name_that_does_not_exist_may_exist_later() -> None:
    with pytest.raises(Unavailable, match="name is not resolved"):
        await sent("http://nowhere.invalid:4317")


async def test_only_the_authority_that_was_given_is_trusted(tmp_path: Path) -> None:
    right, wrong = Authority(), Authority()
    chain, key = right.issue("localhost")
    async with grpc_server(grpc.ssl_server_credentials([(key, chain)])) as backend:
        assert await sent(backend.url, GrpcPeer(authorities=right.pem)) == Taken()
        with pytest.raises(Unavailable):
            await sent(backend.url, GrpcPeer(authorities=wrong.pem, timeout=2.0))
        with pytest.raises(Unavailable):
            await sent(backend.url, GrpcPeer(timeout=2.0))
    assert len(backend.requests) == 1


async def test_without_an_authority_the_systems_are_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority()
    chain, key = authority.issue("localhost")
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    async with grpc_server(grpc.ssl_server_credentials([(key, chain)])) as backend:
        assert await sent(backend.url) == Taken()

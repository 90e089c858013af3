"""OTLP and Jaeger over HTTP against a back-end on loopback that errs."""

import asyncio
import gzip
import ssl
import struct
from pathlib import Path

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from sampan.collector.export.guard import Guard
from sampan.collector.export.transport import Refused, Taken, TooLarge, Unavailable
from sampan.collector.export.transports import JaegerHttp, OtlpHttp, Peer, trust
from sampan.model.errors import InvalidArgument
from sampan.model.trace import Span
from tests.collector.export.peers import Http, answering, encode_batch, encode_traces, http_server, names, span
from tests.gateway.authority import Authority

LOCAL = Peer(guard=Guard(local=True))


async def sent(backend: Http, peer: Peer = Peer(), path: str = "/v1/traces") -> Taken:  # noqa: B008
    transport: OtlpHttp[Span] = OtlpHttp(backend.url + path, encode_traces, peer)
    try:
        return await transport.send(transport.encode([span(1), span(2)]))
    finally:
        await transport.close()


async def test_spans_go_as_protobuf_in_gzip_with_the_headers() -> None:
    async with http_server() as backend:
        assert await sent(backend, Peer(headers={"x-token": "secret"})) == Taken()
    path, headers, body = backend.requests[0]
    assert path == "/v1/traces"
    assert headers["Content-Type"] == "application/x-protobuf"
    assert headers["Content-Encoding"] == "gzip"
    assert headers["x-token"] == "secret"
    assert names(body) == ["work 1", "work 2"]


async def test_a_user_of_the_url_becomes_a_login() -> None:
    async with http_server() as backend:
        backend.url = backend.url.replace("//", "//me:pass%20word@")
        await sent(backend)
    assert backend.requests[0][1]["Authorization"] == "Basic bWU6cGFzcyB3b3Jk"


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_a_back_end_that_is_busy_is_tried_again_when_it_says(status: int) -> None:
    async with http_server() as backend:
        backend.answers = [answering(status, {"Retry-After": "7"})]
        with pytest.raises(Unavailable, match=str(status)) as failed:
            await sent(backend)
    assert failed.value.retry_after == 7


@pytest.mark.parametrize("status", [400, 401, 403, 404, 415, 500, 501])
async def test_what_a_back_end_refuses_is_not_tried_again(status: int) -> None:
    async with http_server() as backend:
        backend.answers = [answering(status)]
        with pytest.raises(Refused, match=str(status)):
            await sent(backend)


async def test_a_body_that_is_too_large_is_told_apart() -> None:
    async with http_server() as backend:
        backend.answers = [answering(413)]
        with pytest.raises(TooLarge):
            await sent(backend)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(status: int) -> None:
    async with http_server() as elsewhere, http_server() as backend:
        backend.answers = [answering(status, {"Location": elsewhere.url})]
        with pytest.raises(Refused, match="redirect"):
            await sent(backend)
    assert elsewhere.requests == []


async def test_what_was_rejected_is_told() -> None:
    told = ExportTraceServiceResponse()
    told.partial_success.rejected_spans = 1
    told.partial_success.error_message = "too old\x1b[31m"
    async with http_server() as backend:
        backend.answers = [answering(200, body=told.SerializeToString())] * 2
        assert await sent(backend) == Taken(1, "too old [31m")
        assert await sent(backend, LOCAL) == Taken(1, "")


@pytest.mark.parametrize("body", [b"{}", b"<html>", b"\xff", b"x" * (4 << 20)])
async def test_an_answer_that_is_none_of_ours_counts_by_its_status(body: bytes) -> None:
    async with http_server() as backend:
        backend.answers = [answering(200, body=body)]
        assert await sent(backend) == Taken()


async def test_an_answer_without_an_end_is_given_up() -> None:
    ended = asyncio.Event()

    async def endless(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        try:
            while True:
                await answer.write(b"x" * 65536)
        finally:
            ended.set()

    async with http_server() as backend:
        backend.answers = [endless]
        assert await sent(backend) == Taken()
        await asyncio.wait_for(ended.wait(), 10)


async def test_a_bomb_of_an_answer_is_not_unpacked() -> None:
    bomb = gzip.compress(bytes(64 << 20))
    async with http_server() as backend:
        backend.answers = [answering(200, {"Content-Encoding": "gzip"}, bomb)]
        assert await sent(backend) == Taken()


async def test_words_of_the_operators_back_end_are_repeated_and_those_of_a_functions_are_not() -> None:
    async with http_server() as backend:
        backend.answers = [answering(400, body=b"no such\ntenant")] * 2
        with pytest.raises(Refused, match=r"it answered 400 \(no such tenant\)"):
            await sent(backend)
        with pytest.raises(Refused, match=r"^it answered 400$"):
            await sent(backend, LOCAL)


async def test_a_slow_back_end_and_one_that_hangs_up_are_tried_again() -> None:
    released = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        await released.wait()
        return web.Response()

    async def reset(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        linger = struct.pack("ii", 1, 0)
        request.transport.get_extra_info("socket").setsockopt(1, 13, linger)  # SOL_SOCKET, SO_LINGER
        request.transport.abort()
        return web.Response()

    async with http_server() as backend:
        backend.answers = [slow, reset]
        with pytest.raises(Unavailable, match="no answer in time"):
            await sent(backend, Peer(timeout=0.2))
        released.set()
        with pytest.raises(Unavailable):
            await sent(backend)


async def test_a_back_end_that_is_not_there_is_tried_again() -> None:
    async with http_server() as backend:
        pass
    with pytest.raises(Unavailable, match="no connection"):
        await sent(backend)
    backend.url = "http://nowhere.invalid"
    with pytest.raises(Unavailable):
        await sent(backend)


async def test_a_function_reaches_this_machine_only_if_that_is_allowed() -> None:
    async with http_server() as backend:
        with pytest.raises(Refused, match="this machine's own"):
            await sent(backend, Peer(guard=Guard()))
        backend.url = backend.url.replace("localhost", "127.0.0.1")
        with pytest.raises(Refused, match="this machine's own"):
            await sent(backend, Peer(guard=Guard()))
        assert backend.requests == []
        assert await sent(backend, LOCAL) == Taken()


@pytest.mark.parametrize(
    "host", ["169.254.169.254", "[::ffff:a9fe:a9fe]", "0xa9fea9fe", "2852039166", "0.0.0.0", "[::]"]
)
async def test_metadata_is_never_reached_however_it_is_written(host: str) -> None:
    with pytest.raises(Refused, match=r"link-local|reserved|leads nowhere"):
        await sent(Http(f"http://{host}"), LOCAL)


async def test_jaeger_gets_a_batch_per_process_not_compressed() -> None:
    async with http_server() as backend:
        backend.answers = [answering(202)]
        transport = JaegerHttp(backend.url + "/api/traces", encode_batch)
        body = transport.encode([span(1), span(2)])
        assert await transport.send(body) == Taken()
        await transport.close()
    path, headers, got = backend.requests[0]
    assert (path, got) == ("/api/traces", body)
    assert headers["Content-Type"] == "application/vnd.apache.thrift.binary"
    assert "Content-Encoding" not in headers
    a, b = {"host": "1", "pid": 2}, {"pid": 2, "host": "1"}
    assert transport.key(span(resource=a)) == transport.key(span(2, resource=b))  # type: ignore[arg-type]
    assert transport.key(span(service="x")) != transport.key(span(service="y"))


def served(authority: Authority, directory: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    crt = authority.write(directory / "server", "localhost")
    context.load_cert_chain(crt, crt.with_suffix(".key"))
    return context


async def test_only_the_authority_that_was_given_is_trusted(tmp_path: Path) -> None:
    right, wrong = Authority(), Authority()
    (tmp_path / "right.pem").write_bytes(right.pem)
    (tmp_path / "wrong.pem").write_bytes(wrong.pem)
    async with http_server(served(right, tmp_path)) as backend:
        assert await sent(backend, Peer(tls=trust("f", str(tmp_path / "right.pem")))) == Taken()
        with pytest.raises(Unavailable, match="certificate is not trusted"):
            await sent(backend, Peer(tls=trust("f", str(tmp_path / "wrong.pem"))))
        with pytest.raises(Unavailable, match="certificate is not trusted"):
            await sent(backend)
    assert len(backend.requests) == 1


def test_an_authority_that_cannot_be_read_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_bytes(b"")
    for name in ("none.pem", "empty.pem"):
        with pytest.raises(InvalidArgument, match=r"telemetry.otlp_certificate"):
            trust("telemetry.otlp_certificate", str(tmp_path / name))

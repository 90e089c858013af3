"""What is answered over HTTP. Source: tracing-contract.md §5.4, §5.5."""

import asyncio
import gzip
import io
import json
import socket
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import aiohttp
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from sampan.collector.intake import connections, http_server
from sampan.collector.intake.bodies import MAX_BODY
from sampan.collector.intake.judge import BYTES_BURST
from sampan.collector.senders import Sender
from sampan.wire.jaeger import encode_batch
from sampan.wire.otlp import JSON, PROTOBUF, encode_traces
from sampan.wire.span_limits import MAX_SPANS
from tests.collector.intake.conftest import Running, own_address
from tests.wire.spans import FULL
from tests.wire.test_jaeger import batch, emitted, span

BODY = encode_traces([FULL]).SerializeToString()
THRIFT = {"content-type": "application/vnd.apache.thrift.binary"}


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


async def post(
    session: aiohttp.ClientSession, url: str, body: Any, kind: str = PROTOBUF, **headers: str
) -> tuple[int, Any, bytes]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with session.post(url, data=body, headers={"content-type": kind, **named}) as answer:
        return answer.status, answer.headers, await answer.read()


def json_span(**more: Any) -> dict[str, Any]:
    return {"traceId": "1" * 32, "spanId": "1" * 16, **more}


def in_json(*spans: dict[str, Any]) -> bytes:
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": list(spans)}]}]}).encode()


# ── what is taken ──


async def test_a_jaeger_batch_is_taken_and_answered_202(running: Running, session: aiohttp.ClientSession) -> None:
    batch = encode_batch("s", {}, [FULL])
    for kind in ("application/vnd.apache.thrift.binary", "application/x-thrift"):
        assert (await post(session, running.url("/api/traces"), batch, kind))[0] == 202
    assert [(span.trace, span.function) for span in running.store.spans] == [(FULL.trace, "thumb")] * 2


async def test_zipkins_spans_of_both_versions_are_taken_and_answered_202(
    running: Running, session: aiohttp.ClientSession
) -> None:
    span = json.dumps([{"traceId": "1", "id": "2"}])
    for version in ("v1", "v2"):
        assert (await post(session, running.url(f"/api/{version}/spans"), span, JSON))[0] == 202
    assert [(span.trace[-1], span.service) for span in running.store.spans] == [("1", "thumb")] * 2


@pytest.mark.parametrize(
    ("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("identity", bytes)]
)
async def test_packed_bodies_are_taken(
    running: Running, session: aiohttp.ClientSession, encoding: str, pack: Any
) -> None:
    status, _, answer = await post(session, running.url("/v1/traces"), pack(BODY), content_encoding=encoding)
    assert (status, answer) == (200, b"")
    assert len(running.store.spans) == 1


async def test_all_formats_appear_under_one_trace(running: Running, session: aiohttp.ClientSession) -> None:
    ids = {"traceIdHigh": int(FULL.trace[:16], 16), "traceIdLow": int(FULL.trace[16:], 16)}
    loop = asyncio.get_running_loop()
    for kind, compact in (("compact", True), ("binary", False)):
        target = ("127.0.0.1", running.port(kind))
        transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=target)
        transport.sendto(emitted(batch(span(**ids)), compact))
        transport.close()
    await post(session, running.url("/api/traces"), encode_batch("s", {}, [FULL]), THRIFT["content-type"])
    await post(session, running.url("/v1/traces"), BODY)
    await post(session, running.url("/v1/traces"), in_json(json_span(traceId=FULL.trace)), JSON)
    zipkin = json.dumps([{"traceId": FULL.trace, "id": "2"}])
    await post(session, running.url("/api/v2/spans"), zipkin, JSON)
    await running.store.until(lambda: len(running.store.spans) == 6)
    assert {one.trace for one in running.store.spans} == {FULL.trace}


async def test_a_large_body_is_decoded_too(running: Running, session: aiohttp.ClientSession) -> None:
    body = encode_traces([FULL] * 2000).SerializeToString()
    assert (await post(session, running.url("/v1/traces"), gzip.compress(body), content_encoding="gzip"))[0] == 200
    assert len(running.store.spans) == 2000


@pytest.mark.parametrize("path", ["/sampling", "/api/sampling"])
async def test_clients_are_told_how_much_to_sample(
    running: Running, session: aiohttp.ClientSession, path: str
) -> None:
    running.sampling["thumb"] = 0.25
    async with session.get(running.url(f"{path}?service=pictures")) as answer:
        assert await answer.json() == {
            "strategyType": "PROBABILISTIC",
            "probabilisticSampling": {"samplingRate": 0.25},
        }


async def test_old_clients_are_told_by_the_enums_number_and_local_programs_by_their_service(
    running: Running, session: aiohttp.ClientSession
) -> None:
    running.who.clear()
    async with session.get(running.url("/?service=pictures")) as answer:
        assert await answer.json() == {"strategyType": 0, "probabilisticSampling": {"samplingRate": 1.0}}
    assert running.asked == ["pictures"]


# ── whose it is ──


async def test_a_program_of_this_machine_is_taken_as_nobodys(
    running: Running, session: aiohttp.ClientSession
) -> None:
    running.who.clear()
    assert (await post(session, running.url("/v1/traces"), BODY))[0] == 200
    assert [(span.function, span.service) for span in running.store.spans] == [("", "thumbs")]


async def test_an_address_that_is_nobodys_is_refused_with_the_reason(start: Any) -> None:
    address = own_address()
    if not address:
        pytest.skip("this machine has no address but loopback")
    running = await start("0.0.0.0")
    url = f"http://{address}:{running.port('http')}"
    connector = aiohttp.TCPConnector(local_addr=(address, 0))
    async with aiohttp.ClientSession(connector=connector) as session:
        status, _, text = await post(session, f"{url}/api/traces", b"", THRIFT["content-type"])
        assert (status, address.encode() in text, b"only functions report" in text) == (403, True, True)
        status, headers, text = await post(session, f"{url}/v1/traces", b"{}", JSON)
        assert (status, headers["content-type"], json.loads(text)["code"]) == (403, JSON, 7)
    assert running.intake.dropped == {("?", "unknown"): 2}


async def test_functions_are_told_apart_by_their_addresses(running: Running) -> None:
    running.who["127.0.0.2"] = Sender("other", "LATEST", "i-2")
    for address in ("127.0.0.1", "127.0.0.2"):
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(local_addr=(address, 0))) as session:
            await post(session, running.url("/v1/traces"), BODY)
    assert [(span.function, span.instance) for span in running.store.spans] == [("thumb", "i-1"), ("other", "i-2")]


# ── what is refused ──


async def test_a_function_over_its_rate_hears_how_many_spans_were_refused_and_the_others_do_not(
    start: Any,
) -> None:
    running = await start(span_rate=0.001, span_burst=3)
    running.who["127.0.0.2"] = Sender("other", "LATEST", "i-2")
    body = encode_traces([FULL] * 5).SerializeToString()
    async with aiohttp.ClientSession() as session:
        status, _, told = await post(session, running.url("/v1/traces"), body)
        partial = ExportTraceServiceResponse.FromString(told).partial_success
        assert (status, partial.rejected_spans) == (200, 2)
        assert "function 'thumb' reports more than 0.001 spans a second" in partial.error_message
        status, headers, told = await post(session, running.url("/v1/traces"), in_json(json_span()), JSON)
        assert (status, headers["retry-after"], json.loads(told)["code"]) == (429, "60", 8)
        batch = encode_batch("s", {}, [FULL])
        assert (await post(session, running.url("/api/traces"), batch, THRIFT["content-type"]))[0] == 202
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(local_addr=("127.0.0.2", 0))) as session:
        assert (await post(session, running.url("/v1/traces"), BODY))[2] == b""
    assert running.intake.dropped == {("thumb", "rate"): 3, ("thumb", "later"): 1}
    assert running.intake.taken == {"thumb": 3, "other": 1}


async def test_a_full_store_is_told_as_503_and_what_still_fits_is_taken(
    running: Running, session: aiohttp.ClientSession
) -> None:
    running.store.room = 1
    status, _, told = await post(session, running.url("/v1/traces"), in_json(json_span(), json_span()), JSON)
    partial = json.loads(told)["partialSuccess"]
    assert (status, partial["rejectedSpans"]) == (200, "1")
    status, headers, _ = await post(session, running.url("/v1/traces"), BODY)
    assert (status, headers["retry-after"], headers["content-type"]) == (503, "1", PROTOBUF)
    assert running.intake.dropped == {("thumb", "full"): 1, ("thumb", "later"): 1}


async def test_metrics_are_answered_with_how_many_points_are_not_kept(
    running: Running, session: aiohttp.ClientSession
) -> None:
    metric = {"name": "m", "sum": {"dataPoints": [{"asInt": "1"}, {"asInt": "2"}]}}
    body = json.dumps({"resourceMetrics": [{"scopeMetrics": [{"metrics": [metric]}]}]})
    _, _, told = await post(session, running.url("/v1/metrics"), body, JSON)
    partial = json.loads(told)["partialSuccess"]
    assert (partial["rejectedDataPoints"], "not kept" in partial["errorMessage"]) == ("2", True)
    status, _, told = await post(session, running.url("/v1/metrics"), b"")
    assert (status, ExportMetricsServiceResponse.FromString(told).HasField("partial_success")) == (200, False)


async def test_spans_without_ids_are_told_as_rejected(running: Running, session: aiohttp.ClientSession) -> None:
    _, _, told = await post(session, running.url("/v1/traces"), in_json(json_span(spanId="")), JSON)
    assert json.loads(told)["partialSuccess"]["rejectedSpans"] == "1"
    assert running.intake.dropped == {("thumb", "invalid"): 1}


@pytest.mark.parametrize(
    ("path", "kind", "body", "status"),
    [
        ("/v1/traces", PROTOBUF, b"\xff", 400),
        ("/v1/traces", JSON, b"{", 400),
        ("/v1/logs", PROTOBUF, b"\xff", 400),
        ("/v1/metrics", JSON, b"[]", 400),
        ("/v1/traces", "text/plain", b"", 400),
        ("/api/traces", "application/x-thrift", b"\x0b", 400),
        ("/api/traces", "application/json", b"[]", 400),
        ("/api/v2/spans", JSON, b"{}", 400),
        ("/api/v2/spans", "application/x-protobuf", b"", 400),
        ("/nowhere", JSON, b"", 404),
    ],
)
async def test_what_cannot_be_read_is_refused(
    running: Running, session: aiohttp.ClientSession, path: str, kind: str, body: bytes, status: int
) -> None:
    assert (await post(session, running.url(path), body, kind))[0] == status
    assert running.store.spans == []


async def test_a_body_that_is_too_large_is_refused_packed_or_not(
    running: Running, session: aiohttp.ClientSession
) -> None:
    bomb = gzip.compress(bytes(64 << 20))
    assert (await post(session, running.url("/v1/traces"), bomb, content_encoding="gzip"))[0] == 413
    for encoding, body in (("gzip", b"no gzip"), ("gzip", gzip.compress(BODY)[:-4]), ("br", BODY)):
        assert (await post(session, running.url("/v1/traces"), body, content_encoding=encoding))[0] == 400
    assert (await post(session, running.url("/v1/traces"), io.BytesIO(bytes(MAX_BODY + 1))))[0] == 413
    assert (await post(session, running.url("/v1/traces"), BODY))[0] == 200


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("path", ["/v1/traces", "/api/traces", "/api/v2/spans"])
async def test_who_sends_all_of_a_body_that_is_too_large_before_reading_is_told_so(
    running: Running, path: str, chunked: bool
) -> None:
    """As most exporters do. The answer must not be lost to a connection that was reset."""
    size = 24 << 20
    kind = {"/api/traces": "application/x-thrift", "/api/v2/spans": JSON}.get(path, "application/x-protobuf")
    framing = "transfer-encoding: chunked" if chunked else f"content-length: {size}"
    body = b"%x\r\n" % size + bytes(size) + b"\r\n0\r\n\r\n" if chunked else bytes(size)

    def sent() -> bytes:
        with socket.create_connection(("127.0.0.1", running.port("http")), timeout=30) as raw:
            raw.sendall(f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: {kind}\r\n{framing}\r\n\r\n".encode())
            raw.sendall(body)
            return b"".join(iter(lambda: raw.recv(1 << 16), b""))

    assert (await asyncio.to_thread(sent)).startswith(b"HTTP/1.1 413 ")
    assert running.intake._judge.bodies.held == 0


async def test_who_goes_on_for_ever_after_the_answer_is_cut_off(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "READ_TIMEOUT", 3600)
    monkeypatch.setattr(http_server, "LINGER", 1 << 20)
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port("http"))
    writer.write(b"POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 413 ")
    async with asyncio.timeout(30):
        with pytest.raises(ConnectionError):
            await written_for_ever(writer)
    writer.close()


async def written_for_ever(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(bytes(1 << 16))
        await writer.drain()


async def test_too_many_spans_in_one_body_are_refused_as_a_whole(
    running: Running, session: aiohttp.ClientSession
) -> None:
    body = in_json(*[{}] * (MAX_SPANS + 1))
    status, _, told = await post(session, running.url("/v1/traces"), body, JSON)
    assert (status, "smaller batches" in json.loads(told)["message"]) == (400, True)


async def test_a_function_that_sends_too_many_bytes_is_told_to_wait_and_the_others_are_not(
    running: Running,
) -> None:
    running.intake._judge.charge(Sender("thumb"), 1 << 30)
    running.who["127.0.0.2"] = Sender("other", "LATEST", "i-2")
    for address, expected in (("127.0.0.1", 429), ("127.0.0.2", 200)):
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(local_addr=(address, 0))) as session:
            assert (await post(session, running.url("/v1/traces"), BODY))[0] == expected
    assert running.intake.dropped == {("thumb", "bytes"): 1}


async def test_bytes_made_to_be_slow_cost_their_sender_more_than_others(
    running: Running, session: aiohttp.ClientSession
) -> None:
    running.who["127.0.0.2"] = Sender("other", "LATEST", "i-2")
    judge = running.intake._judge
    slow = b"\x0f\x00\x63\x0c" + (900_000).to_bytes(4, "big") + bytes(900_001)  # empty structs
    assert (await post(session, running.url("/api/traces"), io.BytesIO(slow), THRIFT["content-type"]))[0] == 400
    judge.charge(Sender("thumb"), BYTES_BURST - 2 * len(slow))
    assert judge.seconds_in_debt(Sender("thumb")) > 0
    judge.charge(Sender("other"), BYTES_BURST - 2 * len(slow))
    assert judge.seconds_in_debt(Sender("other")) == 0


async def test_logs_are_answered_in_their_own_message(running: Running, session: aiohttp.ClientSession) -> None:
    body = json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": {"stringValue": "hi"}}]}]}]})
    assert (await post(session, running.url("/v1/logs"), body, JSON))[2] == b"{}"
    (record,) = running.store.records
    assert (record.text, record.function, record.service, record.time > 0) == ("hi", "thumb", "thumb", True)
    status, _, told = await post(session, running.url("/v1/logs"), b"")
    assert (status, ExportLogsServiceResponse.FromString(told).HasField("partial_success")) == (200, False)


# ── slow and greedy connections ──


async def closed_by_peer(reader: asyncio.StreamReader) -> bool:
    async with asyncio.timeout(30):
        with suppress(ConnectionError):
            while await reader.read(1 << 16):
                pass
    return True


@pytest.mark.parametrize(
    "sent",
    [b"", b"POST /v1/tr", b"POST /v1/traces HTTP/1.1\r\ncontent-length: 9\r\n\r\n12", b"GET / HTTP/1.1\r\nx"],
)
async def test_a_request_that_takes_too_long_is_cut_off(
    running: Running, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(http_server, "READ_TIMEOUT", 0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port("http"))
    writer.write(sent)
    assert await closed_by_peer(reader)
    writer.close()


async def test_a_head_without_an_end_is_cut_off(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "READ_TIMEOUT", 3600)
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port("http"))
    writer.write(b"GET /" + b"a" * (http_server.MAX_HEAD + 1))
    assert await closed_by_peer(reader)
    writer.close()


@pytest.mark.parametrize("packed", [b"", b"content-encoding: gzip\r\n"])
async def test_a_body_in_chunks_without_an_end_is_cut_off(
    running: Running, monkeypatch: pytest.MonkeyPatch, packed: bytes
) -> None:
    monkeypatch.setattr(http_server, "READ_TIMEOUT", 3600)
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port("http"))
    writer.write(b"POST /v1/traces HTTP/1.1\r\ntransfer-encoding: chunked\r\n" + packed + b"\r\n")
    with suppress(ConnectionError):
        for _ in range((MAX_BODY >> 16) + 2):
            writer.write(b"10000\r\n" + bytes(1 << 16) + b"\r\n")
            await writer.drain()
    assert await closed_by_peer(reader)
    writer.close()
    assert running.intake._judge.bodies.held == 0


async def test_trailers_without_an_end_are_cut_off(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "READ_TIMEOUT", 3600)
    monkeypatch.setattr(http_server, "MAX_REQUEST", 1 << 20)
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port("http"))
    writer.write(b"POST /v1/traces HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n")
    with suppress(ConnectionError):
        for _ in range(20):
            writer.write(b"x: " + b"y" * (1 << 16) + b"\r\n")
            await writer.drain()
    assert await closed_by_peer(reader)
    writer.close()


async def test_one_address_has_so_many_connections_and_leaves_the_others_theirs(
    running: Running,
) -> None:
    opened = [await asyncio.open_connection("127.0.0.1", running.port("http")) for _ in range(connections.EACH)]
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port("http"))
    assert await closed_by_peer(reader)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(local_addr=("127.0.0.2", 0))) as session:
        assert (await post(session, running.url("/v1/traces"), BODY))[0] == 200
    assert running.intake.dropped == {("thumb", "connections"): 1}
    for _, one in [*opened, (reader, writer)]:
        one.close()
        with suppress(ConnectionError):
            await one.wait_closed()


async def test_a_client_that_leaves_in_the_middle_leaves_nothing_held(running: Running) -> None:
    with socket.create_connection(("127.0.0.1", running.port("http"))) as raw:
        raw.sendall(b"POST /v1/traces HTTP/1.1\r\ncontent-length: 900000\r\n\r\n" + bytes(100_000))
        await held(running, lambda size: size > 0)
    await held(running, lambda size: size == 0)


async def held(running: Running, wanted: Callable[[int], bool]) -> None:
    async with asyncio.timeout(30):
        while not wanted(running.intake._judge.bodies.held):  # noqa: ASYNC110  # nothing tells when it changes
            await asyncio.sleep(0)

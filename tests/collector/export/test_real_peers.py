"""The OpenTelemetry Collector and Jaeger, for real, take what is exported. Without them these tests say why not."""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import pytest

from sampan.collector.export import operator
from sampan.collector.export.exporter import Exporter
from sampan.collector.export.guard import Guard
from sampan.collector.export.otlp_grpc import LOGS, TRACES
from sampan.collector.export.patience import Limits
from sampan.collector.export.targets import Targets
from sampan.collector.export.weights import span_size
from sampan.model.trace import Span
from sampan.settings import Telemetry
from sampan.telemetry.tracing_config import Format, TracingTarget
from sampan.wire.otlp_logs import LogRecord, encode_logs
from tests.collector.export.peers import encode_batch, encode_traces, span
from tests.gateway.authority import Authority
from tests.peers.build import NotBuilt, build, program

pytestmark = pytest.mark.slow
T = TypeVar("T")
LIMITS = Limits(linger=0.05, backoff=0.1)
PATIENCE = 30.0  # seconds for what a peer does


def ports(count: int) -> list[int]:
    """Free ones; all are held until all are found."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    found = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return found


@pytest.fixture(scope="module")
def otelcol() -> Path:
    try:
        return build("otelcol")
    except NotBuilt as why:
        pytest.skip(str(why))


@pytest.fixture(scope="module")
def jaeger() -> Path:
    if not (found := program("jaeger")).exists():
        pytest.skip("jaeger is not built; that takes minutes: python -m tests.peers.build jaeger")
    return found


@asynccontextmanager
async def process(*command: str | Path, env: dict[str, str] | None = None) -> AsyncIterator[asyncio.StreamReader]:
    """A peer; its stdout and stderr together."""
    peer = await asyncio.create_subprocess_exec(
        *map(str, command),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, **(env or {})},
        limit=64 << 20,
    )
    assert peer.stdout is not None
    try:
        yield peer.stdout
    finally:
        peer.kill()
        await peer.stdout.read()
        await peer.wait()


async def until(output: asyncio.StreamReader, wanted: Callable[[str], bool]) -> None:
    seen = ""
    async with asyncio.timeout(PATIENCE):
        while line := (await output.readline()).decode():
            seen += line
            if wanted(line):
                return
    raise AssertionError(f"the peer ended: {seen}")


@asynccontextmanager
async def collector(program: Path, *tls: Path) -> AsyncIterator[tuple[int, int, asyncio.StreamReader]]:
    rpc, http = ports(2)
    async with process(program, f"127.0.0.1:{rpc}", f"127.0.0.1:{http}", *tls) as output:
        await until(output, lambda line: line.strip() == '"ready"')
        yield rpc, http, output


def spans_in(told: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for resource in told["resourceSpans"] for scope in resource["scopeSpans"] for one in scope["spans"]]


async def took(output: asyncio.StreamReader, count: int) -> list[dict[str, Any]]:
    """So many spans that the peer took, by number."""
    found: list[dict[str, Any]] = []
    async with asyncio.timeout(PATIENCE):
        while len(found) < count:
            found += spans_in(json.loads(await output.readline()))
    return sorted(found, key=lambda one: str(one["spanId"]))


async def delivered(exporter: Exporter[T], items: list[T]) -> None:
    """In the way of a running process, and that of one that ends."""
    work = asyncio.create_task(exporter.run())
    assert exporter.offer(items) == len(items)
    await exporter.close(PATIENCE)
    await work
    assert exporter.state().sent == len(items), exporter.state()
    assert exporter.state().dropped == {}


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
@pytest.mark.parametrize("secure", [False, True])
async def test_the_opentelemetry_collector_takes_every_span(
    otelcol: Path, protocol: str, secure: bool, tmp_path: Path
) -> None:
    authority, tls, certificate = Authority(), [], ""
    if secure:
        crt = authority.write(tmp_path / "server", "localhost")
        (tmp_path / "ca.pem").write_bytes(authority.pem)
        tls, certificate = [crt, crt.with_suffix(".key")], str(tmp_path / "ca.pem")
    sent = [span(n) for n in range(1, 3001)]
    async with collector(otelcol, *tls) as (rpc, http, output):
        url = f"{'https' if secure else 'http'}://localhost:{rpc if protocol == 'grpc' else http}"
        settings = Telemetry(otlp_endpoint=url, otlp_protocol=protocol, otlp_certificate=certificate)
        exporter = operator.exporter(settings, TRACES, encode_traces, span_size, LIMITS)
        assert exporter is not None
        reading = asyncio.create_task(took(output, len(sent)))
        await delivered(exporter, sent)
        found = await reading
    assert [one["name"] for one in found] == [one.name for one in sent]
    assert [one["traceId"] for one in found] == [one.trace for one in sent]
    assert found[0]["startTimeUnixNano"] == str(sent[0].start)


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
async def test_the_opentelemetry_collector_takes_every_line(otelcol: Path, protocol: str) -> None:
    whose = {"service.name": "web", "faas.instance": "c-1"}
    sent = [
        LogRecord(1_700_000_000_000_000_000 + n, f"line {n}", 17, service="web", resource=whose)
        for n in range(3000)
    ]

    async def lines(output: asyncio.StreamReader) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        async with asyncio.timeout(PATIENCE):
            while sum(map(len, (one["scopeLogs"][0]["logRecords"] for one in found))) < len(sent):
                found += json.loads(await output.readline())["resourceLogs"]
        return found

    async with collector(otelcol) as (rpc, http, output):
        settings = Telemetry(
            otlp_endpoint=f"http://localhost:{rpc if protocol == 'grpc' else http}", otlp_protocol=protocol
        )
        exporter = operator.exporter(settings, LOGS, encode_logs, lambda record: 100, LIMITS)
        assert exporter is not None
        reading = asyncio.create_task(lines(output))
        await delivered(exporter, sent)
        found = await reading
    told = [record for one in found for record in one["scopeLogs"][0]["logRecords"]]
    assert sorted(int(one["timeUnixNano"]) for one in told) == [one.time for one in sent]
    assert {one["body"]["stringValue"] for one in told} == {one.text for one in sent}
    assert {one["severityNumber"] for one in told} == {17}
    resource = {each["key"]: each["value"]["stringValue"] for each in found[0]["resource"]["attributes"]}
    assert whose.items() <= resource.items()


async def test_the_opentelemetry_collector_refuses_what_is_no_request(otelcol: Path) -> None:
    async with collector(otelcol) as (_, http, _output):
        settings = Telemetry(otlp_endpoint=f"http://localhost:{http}")
        exporter = operator.exporter(settings, LOGS, lambda lines: Garbage(), len, LIMITS)
        assert exporter is not None
        exporter.offer(["a line"])
        await exporter.close(PATIENCE)
    assert exporter.state().dropped == {"refused": 1}
    assert exporter.state().last_error.startswith("it answered 400")


class Garbage:
    def SerializeToString(self) -> bytes:
        return b"\xff\xff\xff"


@asynccontextmanager
async def all_in_one(program: Path) -> AsyncIterator[tuple[dict[Format, str], str]]:
    """Endpoints by format, and the query's URL."""
    flags = (
        "collector.http-server",
        "collector.otlp.http",
        "collector.otlp.grpc",
        "query.http-server",
        "query.grpc-server",
        "collector.grpc-server",
        "admin.http",
    )
    found = ports(len(flags))
    told = [f"--{flag}.host-port=127.0.0.1:{port}" for flag, port in zip(flags, found, strict=True)]
    async with process(program, *told, env={"SPAN_STORAGE_TYPE": "memory"}) as output:
        await until(output, lambda line: '"ready"' in line)
        base = [f"http://localhost:{port}" for port in found]
        endpoints = {
            Format.JAEGER: f"{base[0]}/api/traces",
            Format.OTLP_HTTP: f"{base[1]}/v1/traces",
            Format.OTLP_GRPC: base[2],
        }
        yield endpoints, base[3]


async def found_by(query: str, trace: str, count: int) -> list[dict[str, Any]]:
    """Jaeger stores a moment after it has answered, and tells nobody when."""
    async with aiohttp.ClientSession() as session, asyncio.timeout(PATIENCE):
        while True:
            async with session.get(f"{query}/api/traces/{trace}") as answer:
                spans = (await answer.json())["data"][0]["spans"] if answer.status == 200 else []
            if len(spans) >= count:
                return list(spans)
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("format", list(Format))
async def test_jaeger_shows_what_a_function_sends_to_it(jaeger: Path, format: Format) -> None:
    targets = Targets(Guard(local=True), encode_traces, encode_batch)
    trace = f"{0xABC << 64 | 0xDEF:032x}"
    sent = [
        Span(trace, f"{n:016x}", "", f"work {n}", one.kind, one.start, one.end, "web", attributes=one.attributes)
        for n, one in ((n, span(n)) for n in range(1, 601))
    ]
    async with all_in_one(jaeger) as (endpoints, query):
        transport = targets.build(TracingTarget(format, endpoints[format]))
        await delivered(Exporter("jaeger", transport, span_size, LIMITS), sent)
        found = await found_by(query, trace, len(sent))
    assert sorted(one["operationName"] for one in found) == sorted(one.name for one in sent)
    first = next(one for one in found if one["operationName"] == "work 1")
    assert first["startTime"] == sent[0].start // 1000
    assert first["duration"] == 500_000
    assert {"key": "http.route", "type": "string", "value": "/a/{b}"} in first["tags"]

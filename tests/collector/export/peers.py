"""Back-ends on loopback for tests, with faults, and the encoders that stand where the house's own will."""

import asyncio
import gzip
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc.aio
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from sampan.collector.export.otlp_grpc import TRACES
from sampan.model.trace import Attributes, Kind, Span

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def span(number: int = 1, function: str = "web", service: str = "web", resource: Attributes = {}) -> Span:  # noqa: B006
    return Span(
        trace=f"{number:032x}",
        span=f"{number:016x}",
        parent="",
        name=f"work {number}",
        kind=Kind.SERVER,
        start=1_700_000_000_000_000_000 + number,
        end=1_700_000_000_500_000_000 + number,
        service=service,
        function=function,
        attributes={"n": number, "http.route": "/a/{b}", "ok": True},
        resource=resource,
    )


def encode_traces(spans: Sequence[Span]) -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.append(KeyValue(key="service.name", value=AnyValue(string_value=spans[0].service)))
    scope = resource.scope_spans.add()
    for one in spans:
        told = scope.spans.add()
        told.trace_id, told.span_id, told.name = bytes.fromhex(one.trace), bytes.fromhex(one.span), one.name
        told.kind, told.start_time_unix_nano, told.end_time_unix_nano = one.kind, one.start, one.end  # type: ignore[assignment]
        for key, value in one.attributes.items():
            told.attributes.append(KeyValue(key=key, value=AnyValue(string_value=str(value))))
    return request


def encode_batch(service: str, tags: Attributes, spans: Sequence[Span]) -> bytes:
    """Jaeger's Batch, Thrift binary. Source: tracing-contract.md §5.4."""

    def text(field: int, value: str) -> bytes:
        told = value.encode()
        return struct.pack(">bhi", 11, field, len(told)) + told

    def number(field: int, value: int) -> bytes:
        return struct.pack(">bhq", 10, field, value - (1 << 64) if value >= 1 << 63 else value)

    def flags(field: int, value: int) -> bytes:
        return struct.pack(">bhi", 8, field, value)

    def listed(field: int, structs: Sequence[bytes]) -> bytes:
        return struct.pack(">bhbi", 15, field, 12, len(structs)) + b"".join(structs)

    def tag(key: str, value: object) -> bytes:
        return text(1, key) + flags(2, 0) + text(3, str(value)) + b"\0"

    def one_span(one: Span) -> bytes:
        return (
            number(1, int(one.trace[16:], 16))
            + number(2, int(one.trace[:16], 16))
            + number(3, int(one.span, 16))
            + number(4, 0)
            + text(5, one.name)
            + flags(7, 1)
            + number(8, one.start // 1000)
            + number(9, (one.end - one.start) // 1000)
            + listed(10, [tag(key, value) for key, value in one.attributes.items()])
            + b"\0"
        )

    process = text(1, service) + listed(2, [tag(key, value) for key, value in tags.items()]) + b"\0"
    return struct.pack(">bh", 12, 1) + process + listed(2, [one_span(one) for one in spans]) + b"\0"


@dataclass
class Http:
    """An HTTP back-end: answers in turn as told, then 200."""

    url: str = ""
    answers: list[Answer] = field(default_factory=list)
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.path_qs, dict(request.headers), await request.read()))
        if self.answers:
            return await self.answers.pop(0)(request)
        return web.Response(body=ExportTraceServiceResponse().SerializeToString())

    def spans(self) -> list[str]:
        """Names, of all OTLP requests."""
        return [name for _, _, body in self.requests for name in names(body)]


def names(body: bytes) -> list[str]:
    request = ExportTraceServiceRequest.FromString(gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body)
    return [
        one.name for resource in request.resource_spans for scope in resource.scope_spans for one in scope.spans
    ]


def answering(status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> Answer:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers=headers, body=body)

    return answer


@asynccontextmanager
async def http_server(tls: ssl.SSLContext | None = None, port: int = 0) -> AsyncIterator[Http]:
    """Its body is what came over the wire, compressed or not."""
    backend = Http()
    server = web.Server(backend.handle, auto_decompress=False)
    runner = web.ServerRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls)
    await site.start()
    port = runner.addresses[0][1]
    backend.url = f"{'https' if tls else 'http'}://localhost:{port}"
    try:
        yield backend
    finally:
        await runner.cleanup()


Serve = Callable[["grpc.aio.ServicerContext[bytes, bytes]"], Awaitable[bytes]]


@dataclass
class Grpc:
    """A gRPC back-end: answers in turn as told, then takes all."""

    url: str = ""
    answers: list[Serve] = field(default_factory=list)
    requests: list[bytes] = field(default_factory=list)
    metadata: list[dict[str, str | bytes]] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)

    async def export(self, request: bytes, context: "grpc.aio.ServicerContext[bytes, bytes]") -> bytes:
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata() or ()))  # type: ignore[arg-type]
        self.came.set()
        if self.answers:
            return await self.answers.pop(0)(context)
        return b""

    def spans(self) -> list[str]:
        return [name for body in self.requests for name in names(body)]


@asynccontextmanager
async def grpc_server(
    credentials: grpc.ServerCredentials | None = None, port: int = 0, method: str = TRACES
) -> AsyncIterator[Grpc]:
    backend = Grpc()
    _, service, name = method.split("/")
    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(backend.export)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {name: handler}),))
    address = f"127.0.0.1:{port}"
    if credentials is None:
        port = server.add_insecure_port(address)
    else:
        port = server.add_secure_port(address, credentials)
    backend.url = f"{'http' if credentials is None else 'https'}://localhost:{port}"
    await server.start()
    try:
        yield backend
    finally:
        await server.stop(None)

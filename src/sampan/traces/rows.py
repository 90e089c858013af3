"""Spans as bytes: packed one by one where they come in, compressed together per trace.

A chunk is one byte that names its format. In the one, a zstd frame follows over a msgpack list of packed spans. The
trace's id is not among them; its row has it. The frame is made with a dictionary of the words that spans have in
common, which a chunk of a few spans would otherwise spell out: a quarter less, measured on traces of 8 spans in two
chunks. In the other, the msgpack of an invocation follows: the platform's spans are made of its record when they
are read, so that most traces, which nobody looks at, take next to no work.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import zstandard

from sampan.model.invocation import InvocationRecord, VersionFacts
from sampan.model.trace import Kind, Span, SpanEvent, SpanLink, Status
from sampan.telemetry.spans import platform_spans

FORMAT, INVOKED = b"\x01", b"\x02"
WORDS = (
    b"telemetry.sdk.language python telemetry.sdk.name opentelemetry telemetry.sdk.version 1. "
    b"jaeger.version Python-4. hostname ip internal.span.format span.kind client server component error "
    b"otel.status_code ERROR exception.type exception.message exception.stacktrace Traceback (most recent "
    b"call last): exception.escaped False db.system postgresql mysql redis db.statement SELECT FROM WHERE "
    b"db.name db.operation.name db.query.text messaging.system messaging.destination.name "
    b"messaging.operation.type rpc.system grpc rpc.service rpc.method server.address localhost server.port "
    b"127.0.0.1 client.address network.peer.address network.protocol.version 1.1 net.peer.name "
    b"net.host.port http.method GET POST http.url http://http.target http.route http.status_code "
    b"user_agent.original url.full url.scheme http url.path / url.query http.request.method "
    b"http.response.status_code cloud.provider cloud.platform cloud.region cloud.account.id "
    b"cloud.resource_id acs:fc:local:functions/ service.name service.version service.instance.id faas.name "
    b"faas.version LATEST faas.instance c- faas.max_memory faas.trigger http faas.invocation_id 1- "
    b"faas.coldstart fc.request_id fc.function_arn fc.qualifier fc.version_id fc.instance_id "
    b"fc.invocation_type Sync fc.cold_start fc.retry_count fc.error_type fc.memory_mb fc.max_memory_mb "
    b"fc.billed_duration_ms Schedule ColdStart PrepareCode RuntimeInitialization Initializer Invocation "
)
"""Part of the format: chunks made with it can only be read with it. Another one needs another `FORMAT`."""

_DICTIONARY = zstandard.ZstdCompressionDict(WORDS, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
_LEVEL = 3


class Packed(msgspec.Struct, frozen=True, array_like=True):
    """`model.trace.Span` without its trace. Ids are 8 bytes, b"" for none."""

    span: bytes
    parent: bytes
    name: str
    kind: int
    start: int
    length: int  # nanoseconds; negative where the clock went back
    service: str
    function: str
    version: str
    instance: str
    platform: bool
    status: int
    message: str
    attributes: dict[str, Any]
    resource: dict[str, Any]
    events: tuple[tuple[str, int, dict[str, Any]], ...]
    links: tuple[tuple[bytes, bytes, dict[str, Any]], ...]
    state: str
    scope: str


class Invoked(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An invocation, and what else its spans tell."""

    record: InvocationRecord
    function: str
    version: str  # "LATEST" or a published id
    memory_mb: int
    account: str
    region: str

    def spans(self) -> list[Span]:
        """As `telemetry.spans.platform_spans`."""
        facts = VersionFacts(self.function, self.version, self.memory_mb, 0, 0, 0, 0)
        return platform_spans(self.record, facts, self.account, self.region)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Packed])
_invoked = msgspec.msgpack.Decoder(Invoked)


def pack(span: Span) -> bytes:
    """Raises: ValueError, OverflowError, TypeError where the span holds what no span may."""
    return _encoder.encode(
        Packed(
            _id(span.span, 8),
            _id(span.parent, 8) if span.parent else b"",
            span.name,
            int(span.kind),
            span.start,
            span.end - span.start,
            span.service,
            span.function,
            span.version,
            span.instance,
            span.platform,
            int(span.status),
            span.message,
            span.attributes,
            span.resource,
            tuple((event.name, event.time, event.attributes) for event in span.events),
            tuple((_id(link.trace, 16), _id(link.span, 8), link.attributes) for link in span.links),
            span.state,
            span.scope,
        )
    )


def _id(text: str, size: int) -> bytes:
    data = bytes.fromhex(text)
    if len(data) != size:
        raise ValueError(f"an id has {size} bytes: {text[:40]!r}")
    return data


def compressor() -> zstandard.ZstdCompressor:
    """For one thread at a time."""
    return zstandard.ZstdCompressor(level=_LEVEL, dict_data=_DICTIONARY, write_checksum=False, write_dict_id=False)


def chunk(packed: Sequence[bytes], by: zstandard.ZstdCompressor) -> bytes:
    """Spans of one trace as they are stored."""
    frame: bytes = by.compress(_encoder.encode([msgspec.Raw(each) for each in packed]))
    return FORMAT + frame


def chunk_of(invoked: Invoked) -> bytes:
    """The platform's spans of an invocation as they are stored."""
    return INVOKED + _encoder.encode(invoked)


def unchunk(data: bytes, trace: str) -> list[Span]:
    """The spans of a chunk, with the id of their trace. Raises: ValueError where the format is not known here."""
    if data[:1] == INVOKED:
        return _invoked.decode(data[1:]).spans()
    if data[:1] != FORMAT:
        raise ValueError(f"chunk of spans in format {data[:1].hex()}, known are {FORMAT.hex()}, {INVOKED.hex()}")
    by = zstandard.ZstdDecompressor(dict_data=_DICTIONARY)
    return [_span(each, trace) for each in _decoder.decode(by.decompress(data[1:]))]


def _span(packed: Packed, trace: str) -> Span:
    return Span(
        trace,
        packed.span.hex(),
        packed.parent.hex(),
        packed.name,
        Kind(packed.kind),
        packed.start,
        packed.start + packed.length,
        packed.service,
        packed.function,
        packed.version,
        packed.instance,
        packed.platform,
        Status(packed.status),
        packed.message,
        packed.attributes,
        packed.resource,
        tuple(SpanEvent(*event) for event in packed.events),
        tuple(SpanLink(trace.hex(), span.hex(), attributes) for trace, span, attributes in packed.links),
        packed.state,
        packed.scope,
    )

"""Spans that a function reports, from its network to the store: by OTLP over HTTP, and by Jaeger's datagrams.

One sender stands in the network of one instance, since the intake knows senders by their address. What it sends is
encoded before the clock starts. OTLP is sent as an exporter does, a batch after the answer to the one before, and
goes on until the last span is in the store. Datagrams have no answer: they are sent at a steady pace.
"""

import http.client
import secrets
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bench.bundle import enter_network
from bench.cold import Figure
from bench.platform import Broken, Platform, platform
from sampan.collector.intake.sockets import Ports
from sampan.engine.node.network import door_address
from sampan.model.trace import Attributes, Kind, Span
from sampan.wire.jaeger_encoding import encode, schema
from sampan.wire.otlp import encode_traces

BATCH = 500  # spans; an exporter's own is 512
BATCHES = 60
DATAGRAM = 50  # spans
DATAGRAMS = 600
PACE = 6_000  # spans a second, in datagrams
TRACE = 10  # spans of a trace
PATIENCE = 60.0
SETTINGS = (
    "telemetry.span_rate=1000000", "telemetry.span_burst=1000000", "scheduler.spares=0", "scheduler.keepalive=600",
    "scheduler.freeze_delay=600",
)  # fmt: skip


def reported() -> Iterator[Figure]:
    with platform(*SETTINGS) as one, ThreadPoolExecutor(1) as inside:  # a thread of its own: it changes its network
        door = door_address(one.realm)
        for function, way, size, count, packed, send in (
            ("otlp", "OTLP/HTTP", BATCH, BATCHES, _body, _post),
            ("jaeger", f"Jaeger UDP, sent at {PACE:,} a second", DATAGRAM, DATAGRAMS, _datagram, _throw),
        ):
            one.deploy(function, "static")
            one.call(function)
            inside.submit(enter_network, one.network(function)).result()
            service = f"{function}-reports"
            batches = [_spans(service, size) for _ in range(count)]
            messages = [packed(batch) for batch in batches]
            begun = time.perf_counter()
            inside.submit(send, door, messages).result()
            _wait(one, batches[-1][-1].trace)
            taken = time.perf_counter() - begun
            stored, missing = one.stored_spans(service), f"spans that are not there, of {count * size:,}, {way}"
            yield Figure(f"spans/s to the store, {way}", stored / taken, None, stored / taken, None, "1/s")
            yield Figure(missing, count * size - stored, None, count * size - stored, 0, "spans")


def _wait(one: Platform, trace: str) -> None:
    """Until a trace is found in the store. Raises: Broken."""
    deadline = time.monotonic() + PATIENCE
    while not one.has_trace(trace):
        if time.monotonic() > deadline:
            raise Broken(f"the last trace sent was not in the store after {PATIENCE:.0f} s")
        time.sleep(0.02)


def _post(door: str, bodies: list[bytes]) -> None:
    """Raises: Broken, where one is refused."""
    connection = http.client.HTTPConnection(door, 4318, timeout=PATIENCE)
    for body in bodies:
        connection.request("POST", "/v1/traces", body, {"Content-Type": "application/x-protobuf"})
        answer = connection.getresponse()
        told = answer.read()
        if answer.status != 200:
            raise Broken(f"a batch of spans was answered {answer.status}: {told[:300]!r}")
    connection.close()


def _throw(door: str, datagrams: list[bytes]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        begun = time.perf_counter()
        for number, datagram in enumerate(datagrams):
            time.sleep(max(0.0, begun + number * DATAGRAM / PACE - time.perf_counter()))
            sender.sendto(datagram, (door, Ports().compact))


def _body(spans: list[Span]) -> bytes:
    return encode_traces(spans).SerializeToString()


def _datagram(spans: list[Span]) -> bytes:
    """As Jaeger's clients send it: a one-way call of `emitBatch`, in the compact protocol."""
    from thriftpy2.protocol import TCyBinaryProtocol
    from thriftpy2.protocol.compact import TCompactProtocol
    from thriftpy2.transport import TCyMemoryBuffer, TMemoryBuffer

    read: Any = TCyBinaryProtocol
    written: Any = TCompactProtocol
    memory: Any = TMemoryBuffer
    batch, into = schema().Batch(), memory()
    read(TCyMemoryBuffer(encode(spans[0].service, {}, spans))).read_struct(batch)
    protocol = written(into)
    protocol.write_message_begin("emitBatch", 4, 1)
    protocol.write_struct(schema().Agent.emitBatch_args(batch=batch))
    protocol.write_message_end()
    return bytes(into.getvalue())


def _spans(service: str, count: int) -> list[Span]:
    """Of a service that answers requests and asks a database."""
    made: list[Span] = []
    now = time.time_ns()
    for number in range(count):
        trace, parent = (secrets.token_hex(16), "") if number % TRACE == 0 else (made[-1].trace, made[-1].span)
        attributes: Attributes = {
            "http.request.method": "GET",
            "url.path": f"/items/{number}",
            "db.system.name": "sqlite",
            "n": number,
        }
        made.append(
            Span(
                trace, secrets.token_hex(8), parent, "GET /items", Kind.INTERNAL, now, now + 1_000_000, service,
                attributes=attributes, resource={"service.name": service, "process.pid": 1},
            )
        )  # fmt: skip
    return made

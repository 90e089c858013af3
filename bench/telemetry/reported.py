"""Spans that a function reports, from its network to the store: by OTLP over HTTP, and by Jaeger's datagrams.

One sender stands in the network of one instance, since the intake knows senders by their address. What it sends is
encoded before the clock starts. OTLP is sent as an exporter does, a batch after the answer to the one before, and
goes on until the last span is in the store. Datagrams have no answer: they are sent at a steady pace.
"""

import http.client
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench.bundle import enter_network
from bench.cold import Figure
from bench.platform import Broken, Platform, platform
from sampan.collector.intake.sockets import Ports
from sampan.engine.node.network import door_address
from sampan.model.trace import Kind, Span
from sampan.wire.jaeger_encoding import encode, schema
from sampan.wire.otlp import encode_traces

BATCH = 500  # spans; an exporter's own is 512
BATCHES = 60
DATAGRAM = 50  # spans
DATAGRAMS = 400
PACE = 4_000  # spans a second, in datagrams
TRACE = 10  # spans of a trace
PATIENCE = 60.0


def reported() -> Iterator[Figure]:
    settings = ("telemetry.span_rate=1000000", "telemetry.span_burst=1000000", "scheduler.keepalive=600")
    with platform(*settings, "scheduler.freeze_delay=600") as one, ThreadPoolExecutor(1) as inside:
        for function in ("otlp", "jaeger"):
            one.deploy(function, "static")
        door = door_address(one.realm)
        one.call("otlp")
        [pid] = before = one.programs()
        inside.submit(enter_network, Path(f"/proc/{pid}/ns/net")).result()
        bodies = [encode_traces(_spans("otlp", BATCH)).SerializeToString() for _ in range(BATCHES)]
        last = _spans("otlp", TRACE)
        bodies.append(encode_traces(last).SerializeToString())
        taken = inside.submit(_timed, one, lambda: _post(door, bodies), last[0].trace).result()
        yield from _told(one, "OTLP/HTTP", BATCHES * BATCH + TRACE, taken)

        one.call("jaeger")
        [pid] = set(one.programs()) - set(before)
        inside.submit(enter_network, Path(f"/proc/{pid}/ns/net")).result()
        datagrams = [_datagram(_spans("jaeger", DATAGRAM)) for _ in range(DATAGRAMS)]
        last = _spans("jaeger", TRACE)
        datagrams.append(_datagram(last))
        taken = inside.submit(_timed, one, lambda: _throw(door, datagrams), last[0].trace).result()
        yield from _told(one, "Jaeger UDP", DATAGRAMS * DATAGRAM + TRACE, taken)


def _timed(one: Platform, send: Callable[[], None], last: str) -> float:
    """Seconds until the last trace sent is found in the store. Raises: Broken."""
    begun = time.perf_counter()
    send()
    while not one.has_trace(last):
        if time.perf_counter() > begun + PATIENCE:
            raise Broken(f"the last trace sent was not in the store after {PATIENCE:.0f} s")
        time.sleep(0.02)
    return time.perf_counter() - begun


def _told(one: Platform, way: str, sent: int, taken: float) -> Iterator[Figure]:
    function = "otlp" if way.startswith("OTLP") else "jaeger"
    stored = one.stored_spans(function)
    yield Figure(f"spans/s to the store, {way}", stored / taken, None, stored / taken, None, "1/s")
    yield Figure(f"spans that are not there, of {sent:,}, {way}", sent - stored, None, sent - stored, None, "spans")


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


def _datagram(spans: list[Span]) -> bytes:
    """As Jaeger's clients send it: a one-way call of `emitBatch`, in the compact protocol."""
    from thriftpy2.protocol import TCyBinaryProtocol
    from thriftpy2.protocol.compact import TCompactProtocol
    from thriftpy2.transport import TCyMemoryBuffer, TMemoryBuffer

    read: Any = TCyBinaryProtocol
    written: Any = TCompactProtocol
    batch, into = schema().Batch(), TMemoryBuffer()
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
        attributes = {
            "http.request.method": "GET",
            "url.path": f"/items/{number}",
            "db.system.name": "sqlite",
            "n": number,
        }
        made.append(
            Span(
                trace, secrets.token_hex(8), parent, "GET /items", Kind.INTERNAL, now, now + 1_000_000, service,
                attributes=dict(attributes), resource={"service.name": service, "process.pid": 1},
            )
        )  # fmt: skip
    return made

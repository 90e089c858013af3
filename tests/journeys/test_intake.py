"""What functions report from inside their sandboxes, on every port; and what one cannot do to the others."""

import base64
import gzip
import json
import random
import re
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h2.connection
import h2.events
import pytest

from sampan.model.trace import Kind, Span
from sampan.sdk import Client
from sampan.wire.jaeger import encode_batch
from sampan.wire.otlp import encode_traces
from tests.journeys.platform import Platform, free_port, running, until
from tests.journeys.telemetry import create, one, query, trace
from tests.wire.test_jaeger import batch, emitted, span, tag

pytestmark = pytest.mark.root

RELAY = """
import base64, http.client, json, os, socket, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HOST = os.environ["JAEGER_AGENT_HOST"]

def udp(port, bodies, pause=0, seconds=0):
    sent, end = 0, time.monotonic() + seconds
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        while sent < len(bodies) or time.monotonic() < end:
            one.sendto(bodies[sent % len(bodies)], (HOST, port))
            sent += 1
            time.sleep(pause) if pause else None
    return [sent, ""]

def tcp(port, bodies):
    with socket.create_connection((HOST, port), 5) as one:
        one.settimeout(1)
        told = b""
        try:
            for body in bodies:
                one.sendall(body)
            while more := one.recv(65536):
                told += more
        except OSError:
            pass
    return [0, base64.b64encode(told).decode()]

def web(port, bodies, method, path, headers, seconds=0):
    end, answered = time.monotonic() + seconds, 0
    while True:
        one = http.client.HTTPConnection(HOST, port, timeout=10)
        try:
            one.request(method, path, bodies[0], headers)
            answer = one.getresponse()
            told = [answer.status, base64.b64encode(answer.read()).decode()]
        except OSError as error:  # of a flood, cut off
            told = [0, base64.b64encode(str(error).encode()).decode()]
        one.close()
        answered += 1
        if time.monotonic() >= end:
            return [answered, ""] if seconds else told

WAYS = {"udp": udp, "tcp": tcp, "http": web}

class Answers(BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        asked["bodies"] = [base64.b64decode(each) for each in asked["bodies"]]
        told = json.dumps(WAYS[asked.pop("way")](**asked)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    def log_message(self, *_):
        pass

ThreadingHTTPServer(("0.0.0.0", 8000), Answers).serve_forever()
"""
"""Sends what it is told to, from where it is, and answers what came back."""

CALLER = "00f067aa0ba902b7"
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
THRIFT = {"content-type": "application/x-thrift"}
PROTOBUF = {"content-type": "application/x-protobuf"}
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    with running(Path(tempfile.mkdtemp(prefix="sampan-intake-")), **{"telemetry.port": free_port()}) as up:
        yield up


@pytest.fixture(scope="module", autouse=True)
def functions(platform: Platform, client: Client) -> None:
    """`teller`, of which there is a version 1, and two more that send as they are told."""
    names: dict[str, dict[str, str]] = {"teller": {}, "loud": {}, "quiet": {}}
    entrypoint = ["/usr/bin/python3", "-c", RELAY]
    image = platform.push("python")
    create(
        client,
        image,
        names,
        port=8000,
        entrypoint=entrypoint,
        cpu=0.5,
        memory_size=512,
        idle_timeout=60,
        instance_concurrency=8,
    )
    client.publish_version("teller")


def send(
    client: Client, function: str, way: str, port: int, *bodies: bytes, trace_id: str = "", **more: Any
) -> tuple[int, bytes]:
    """qualifier: of the function. What the program was answered."""
    qualifier = more.pop("qualifier", None)
    asked = {"way": way, "port": port, "bodies": [base64.b64encode(each).decode() for each in bodies], **more}
    context = {"traceparent": f"00-{trace_id}-{CALLER}-01"} if trace_id else None
    answer = client.invoke(function, json.dumps(asked), qualifier=qualifier, trace=context)
    status, told = json.loads(answer.body)
    return status, base64.b64decode(told)


def made(trace_id: str, name: str = "told") -> Span:
    now = time.time_ns()
    return Span(trace_id, secrets.token_hex(8), CALLER, name, Kind.SERVER, now, now + 1_000_000, "s")


def datagram(trace_id: str, compact: bool, count: int = 1) -> bytes:
    high, low = (int(half, 16) for half in (trace_id[:16], trace_id[16:]))
    given = {"traceIdHigh": high - (high >> 63 << 64), "traceIdLow": low - (low >> 63 << 64), "parentSpanId": 1}
    now = time.time_ns() // 1000
    spans = [
        span(**given, spanId=secrets.randbits(62) + 1, operationName="told", startTime=now, tags=[tag("n", n)])
        for n in range(count)
    ]
    return emitted(batch(*spans), compact)


def grpc_call(body: bytes) -> bytes:
    """A whole connection of a client of gRPC's."""
    peer = h2.connection.H2Connection()
    peer.initiate_connection()
    pseudo = [(":method", "POST"), (":scheme", "http"), (":path", EXPORT), (":authority", "x")]
    peer.send_headers(1, [*pseudo, ("content-type", "application/grpc"), ("te", "trailers")])
    peer.send_data(1, b"\0" + len(body).to_bytes(4, "big") + body, end_stream=True)
    return peer.data_to_send()


def grpc_status(told: bytes) -> bytes:
    peer = h2.connection.H2Connection()
    peer.initiate_connection()
    peer.send_headers(1, [(":method", "POST"), (":scheme", "http"), (":path", EXPORT), (":authority", "x")])
    ends = [event for event in peer.receive_data(told) if isinstance(event, h2.events.TrailersReceived)]
    return dict(ends[0].headers)[b"grpc-status"]


def in_json(one: Span) -> bytes:
    told = {"traceId": one.trace, "spanId": one.span, "name": one.name}
    times = {"startTimeUnixNano": str(one.start), "endTimeUnixNano": str(one.end)}
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [told | times]}]}]}).encode()


def zipkin(one: Span) -> bytes:
    times = {"timestamp": one.start // 1000, "duration": 1000}
    return json.dumps([{"traceId": one.trace, "id": one.span, "name": one.name, **times}]).encode()


def protobuf(one: Span) -> bytes:
    return encode_traces([one]).SerializeToString()


def post(path: str, headers: dict[str, str]) -> dict[str, Any]:
    return {"method": "POST", "path": path, "headers": headers}


PACKED = {"content-encoding": "gzip"}
WAYS: dict[str, tuple[str, int, Callable[[str], bytes], dict[str, Any]]] = {
    "jaeger compact": ("udp", 6831, lambda id_: datagram(id_, compact=True), {}),
    "jaeger binary": ("udp", 6832, lambda id_: datagram(id_, compact=False), {}),
    "jaeger http": ("http", 14268, lambda id_: encode_batch("s", {}, [made(id_)]), post("/api/traces", THRIFT)),
    "otlp grpc": ("tcp", 4317, lambda id_: grpc_call(protobuf(made(id_))), {}),
    "otlp http": ("http", 4318, lambda id_: protobuf(made(id_)), post("/v1/traces", PROTOBUF)),
    "otlp gzip": (
        "http", 4318, lambda id_: gzip.compress(protobuf(made(id_))), post("/v1/traces", PROTOBUF | PACKED)
    ),
    "otlp json": ("http", 4318, lambda id_: in_json(made(id_)), post("/v1/traces", JSON)),
    "zipkin": ("http", 9411, lambda id_: zipkin(made(id_)), post("/api/v2/spans", JSON)),
}  # fmt: skip


@pytest.mark.parametrize("qualifier", ["LATEST", "1"])
@pytest.mark.parametrize("way", WAYS)
def test_a_span_belongs_to_the_instance_that_sent_it(client: Client, way: str, qualifier: str) -> None:
    trace_id = secrets.token_hex(16)
    how, port, body, more = WAYS[way]
    status, told = send(client, "teller", how, port, body(trace_id), trace_id=trace_id, qualifier=qualifier, **more)
    if how == "tcp":
        assert grpc_status(told) == b"0"
    else:
        assert status in ((1,) if how == "udp" else (200, 202)), told
    found = trace(client, trace_id, lambda found: {"told", "teller"} <= {span.name for span in found.spans})
    sent, ours = one(found, "told"), one(found, "teller")
    assert (sent.platform, ours.platform) == (False, True)
    assert (sent.function, sent.version) == (ours.function, ours.version) == ("teller", qualifier)
    assert sent.instance == ours.instance
    running = {each.instance_id for each in client.list_instances("teller", qualifier=qualifier)}
    assert sent.instance in running


@pytest.mark.parametrize(("port", "path"), [(5778, "/sampling?service=s"), (14268, "/api/sampling?service=s")])
def test_a_jaeger_client_in_a_sandbox_is_told_how_much_to_sample(client: Client, port: int, path: str) -> None:
    status, told = send(client, "teller", "http", port, b"", method="GET", path=path, headers={})
    assert status == 200, told
    assert json.loads(told)["probabilisticSampling"]["samplingRate"] == 1.0


# ── what one cannot do to the others ──

FLOOD = 5  # seconds
QUIET = 150  # spans, one after the other meanwhile
PAUSE = 0.02  # seconds between them


def refused(platform: Platform, function: str) -> dict[str, int]:
    """By reason."""
    row = rf'^sampan_spans_refused_total\{{faas_name="{function}",reason="(\w+)"\}} (\S+)$'
    told = re.findall(row, query(platform, "/metrics").text, re.MULTILINE)
    return {reason: int(float(count)) for reason, count in told}


def lost(platform: Platform) -> int:
    """Datagrams, by the kernel."""
    told = re.search(r"^sampan_datagrams_lost_total (\S+)$", query(platform, "/metrics").text, re.MULTILINE)
    assert told is not None
    return int(float(told[1]))


@pytest.mark.parametrize("size", [1, 200])
def test_a_flood_of_datagrams_costs_nobody_but_its_sender(platform: Platform, client: Client, size: int) -> None:
    trace_id, before = secrets.token_hex(16), lost(platform)
    send(client, "quiet", "udp", 6831, datagram(secrets.token_hex(16), compact=True))  # it is there
    flood = [datagram(secrets.token_hex(16), compact=True, count=size) for _ in range(20)]
    with ThreadPoolExecutor(1) as aside:
        flooding = aside.submit(send, client, "loud", "udp", 6831, *flood, seconds=FLOOD)
        time.sleep(0.5)
        few = [datagram(trace_id, compact=True) for _ in range(QUIET)]
        send(client, "quiet", "udp", 6831, *few, pause=PAUSE, trace_id=trace_id)
        sent, _ = flooding.result()
    assert sent * size > 20_000 + 2_000 * FLOOD, "that was no flood"

    def told() -> int:
        return sum(span.name == "told" for span in client.trace(trace_id).spans)

    trace(client, trace_id)
    until(lambda: told() == QUIET, f"all of the quiet one's spans, beside {sent} datagrams of {size}", 20)
    assert refused(platform, "loud") or lost(platform) > before, "what was not taken is counted"
    assert refused(platform, "quiet") == {}


def test_a_flood_of_posts_costs_nobody_but_its_sender(platform: Platform, client: Client) -> None:
    trace_id = secrets.token_hex(16)
    body = encode_traces([made(secrets.token_hex(16)) for _ in range(2000)]).SerializeToString()
    more = post("/v1/traces", PROTOBUF)
    with ThreadPoolExecutor(4) as aside:
        floods = [aside.submit(send, client, "loud", "http", 4318, body, **more, seconds=FLOOD) for _ in range(4)]
        time.sleep(0.5)
        for _ in range(20):
            status, told = send(client, "quiet", "http", 4318, protobuf(made(trace_id)), trace_id=trace_id, **more)
            assert (status, told) == (200, b"")
        posts = sum(flood.result()[0] for flood in floods)
    assert posts * 2000 > 20_000 + 2_000 * FLOOD, "that was no flood"
    trace(client, trace_id, lambda found: sum(span.name == "told" for span in found.spans) == 20)
    assert refused(platform, "loud")
    assert refused(platform, "quiet") == {}


def test_noise_on_every_port_hurts_nobody(platform: Platform, client: Client) -> None:
    """Whole messages with bytes changed, cut off and repeated, and bytes that were never any."""
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    before = platform.processes()["collector"]

    def damaged(body: bytes) -> bytes:
        some = bytearray(body)
        for _ in range(chance.randrange(1, 8)):
            some[chance.randrange(len(some))] = chance.randrange(256)
        kind = chance.randrange(4)
        cut = chance.randrange(len(some))
        return (bytes(some), bytes(some[:cut]), bytes(some + some[cut:]), chance.randbytes(len(some)))[kind]

    for way, (how, port, body, more) in WAYS.items():
        for _ in range(2 if how == "tcp" else 15):
            bodies = [damaged(body(secrets.token_hex(16))) for _ in range(20 if how == "udp" else 1)]
            status, told = send(client, "loud", how, port, *bodies, **more)
            assert how != "http" or status in (200, 202, 400, 413, 429), f"{way}, seed {seed}: {status} {told!r}"
    for port in (4317, 4318, 5778, 9411, 14268):
        for size in (1, 100, 10_000):
            send(client, "loud", "tcp", port, chance.randbytes(size))
    trace_id = secrets.token_hex(16)
    for how, port, body, more in WAYS.values():
        send(client, "quiet", how, port, body(trace_id), trace_id=trace_id, **more)
    trace(client, trace_id, lambda found: sum(span.name == "told" for span in found.spans) == len(WAYS))
    after = platform.processes()["collector"]
    assert (after.pid, after.restarts) == (before.pid, before.restarts), f"seed {seed}"
    assert refused(platform, "loud").get("malformed", 0) > 0

"""Spans and lines that go on to other back-ends, and those that a function makes after its answer."""

import base64
import json
import secrets
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sampan.model.trace import Kind, Span
from sampan.sdk import Client
from sampan.wire import shapes
from sampan.wire.jaeger import encode_batch
from sampan.wire.trace_shapes import Trace
from tests.journeys.platform import Platform, free_port, running, until
from tests.journeys.telemetry import Receiver, create, one, receiver, trace
from tests.journeys.test_traffic import frozen
from tests.peers.build import NotBuilt

pytestmark = pytest.mark.root

LATER = """
import base64, http.client, json, os, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

def report(after, say, body):
    time.sleep(after)
    print(say, flush=True)
    one = http.client.HTTPConnection(os.environ["JAEGER_AGENT_HOST"], 14268, timeout=10)
    one.request("POST", "/api/traces", base64.b64decode(body), {"content-type": "application/x-thrift"})
    print("answered", one.getresponse().status, flush=True)

class Answers(BaseHTTPRequestHandler):
    def do_POST(self):
        for each in json.loads(self.rfile.read(int(self.headers["content-length"]))):
            threading.Thread(target=report, kwargs=each).start()
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass

ThreadingHTTPServer(("0.0.0.0", 8000), Answers).serve_forever()
"""
"""Answers at once, then prints and reports what it was told to, so many seconds later."""

CALLER = "00f067aa0ba902b7"


@pytest.fixture(scope="module")
def operators() -> Iterator[Receiver]:
    """The operator's back-end."""
    try:
        with receiver() as made:
            yield made
    except NotBuilt as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def platform(operators: Receiver) -> Iterator[Platform]:
    settings: dict[str, object] = {
        "telemetry.port": free_port(),
        "telemetry.otlp_endpoint": f"http://127.0.0.1:{operators.port}",
        "telemetry.otlp_logs": True,
        "telemetry.export_local": True,
    }
    with running(Path(tempfile.mkdtemp(prefix="sampan-export-")), **settings) as up:
        yield up


@pytest.fixture(scope="module", autouse=True)
def functions(platform: Platform, client: Client) -> None:
    entrypoint = ["/usr/bin/python3", "-c", LATER]
    image = platform.push("python")
    names: dict[str, dict[str, str]] = {"late": {}, "own": {}}
    create(client, image, names, port=8000, entrypoint=entrypoint, cpu=0.5, memory_size=512, idle_timeout=120)


def later(after: float, trace_id: str, name: str) -> dict[str, Any]:
    """A span of now, told later, and a line of the same name."""
    now = time.time_ns()
    made = Span(trace_id, secrets.token_hex(8), CALLER, name, Kind.INTERNAL, now, now + 1_000_000, "s")
    return {"after": after, "say": name, "body": base64.b64encode(encode_batch("s", {}, [made])).decode()}


def call(client: Client, function: str, trace_id: str, *told: dict[str, Any]) -> None:
    client.invoke(function, json.dumps(told), trace={"traceparent": f"00-{trace_id}-{CALLER}-01"})


def called(client: Client, function: str) -> str:
    """The trace of a call that was told to back-ends, if it is."""
    trace_id = secrets.token_hex(16)
    call(client, function, trace_id)
    trace(client, trace_id)
    time.sleep(1.5)  # a batch waits for a second
    return trace_id


def names(found: Trace) -> set[str]:
    return {span.name for span in found.spans}


def lines(platform: Platform, function: str) -> list[dict[str, Any]]:
    said = platform.cli("logs", function, "--tail", "1000", "-o", "json").stdout.decode()
    return [json.loads(line) for line in said.splitlines()]


def test_what_is_made_right_after_the_answer_is_not_frozen_with_its_instance(
    platform: Platform, client: Client
) -> None:
    trace_id = secrets.token_hex(16)
    call(client, "late", trace_id, later(0.1, trace_id, "soon"), later(1.1, trace_id, "a second later"))
    found = trace(client, trace_id, lambda found: {"soon", "a second later"} <= names(found))
    assert one(found, "late").platform
    until(lambda: frozen(platform, "late"), "it is frozen after that")
    until(lambda: {"soon", "a second later"} <= {line["text"] for line in lines(platform, "late")}, "its lines")


def test_what_a_frozen_instance_could_not_tell_takes_its_place_when_it_is_awake_again(
    platform: Platform, client: Client
) -> None:
    first, second = secrets.token_hex(16), secrets.token_hex(16)
    call(client, "late", first, later(4.0, first, "delayed"))
    until(lambda: frozen(platform, "late"), "it is frozen before it tells")
    time.sleep(4)
    assert "delayed" not in names(trace(client, first))
    call(client, "late", second)
    found = trace(client, first, lambda found: "delayed" in names(found))
    told, ours, next_ = one(found, "delayed"), one(found, "late"), one(trace(client, second), "late")
    assert told.start < ours.end < next_.start or told.start < ours.start, "by its own time"
    assert (told.function, told.instance) == (ours.function, ours.instance)
    assert next_.instance == ours.instance, "it was the same that woke"
    until(lambda: "delayed" in {line["text"] for line in lines(platform, "late")}, "its line")


def test_lines_go_to_the_operators_back_end_with_whose_they_are(
    platform: Platform, client: Client, operators: Receiver
) -> None:
    trace_id = secrets.token_hex(16)
    call(client, "late", trace_id, *(later(0.0, trace_id, f"line {n}") for n in range(20)))
    wanted = {f"line {n}" for n in range(20)}
    until(lambda: wanted <= {record["body"]["stringValue"] for record in operators.records}, "all lines", 20)
    (record,) = (record for record in operators.records if record["body"]["stringValue"] == "line 7")
    resource = {each["key"]: each["value"]["stringValue"] for each in record["resource"]["attributes"]}
    (kept,) = (line for line in lines(platform, "late") if line["text"] == "line 7")
    assert (resource["faas.name"], resource["faas.instance"]) == ("late", kept["instance"])


def test_a_functions_spans_go_where_its_tracing_config_says_and_nobody_elses(
    platform: Platform, client: Client, operators: Receiver
) -> None:
    with receiver() as owners:
        endpoint = f"http://127.0.0.1:{owners.port}/v1/traces"
        platform.change("own", tracing_config=shapes.TracingConfig(type="Jaeger", params={"endpoint": endpoint}))
        until(lambda: called(client, "own") in owners.traces(), "the collector has heard of it", 20)
        mine, others = secrets.token_hex(16), secrets.token_hex(16)
        call(client, "own", mine, later(0.0, mine, "told by itself"))
        call(client, "late", others, later(0.0, others, "told by another"))
        found = trace(client, mine, lambda found: {"own", "told by itself"} <= names(found))
        ids = {span.span_id for span in found.spans}
        until(lambda: owners.of(mine).keys() == ids, "the owner has it all", 20)
        until(lambda: operators.of(mine).keys() == ids, "and so has the operator", 20)
        trace(client, others, lambda found: {"late", "told by another"} <= names(found))
        until(lambda: len(operators.of(others)) >= 2, "the operator has the other's", 20)
        assert owners.of(others) == {}
        platform.change("own", tracing_config=shapes.TracingConfig())
        until(lambda: called(client, "own") not in owners.traces(), "and of that", 20)

"""One trace through everything, and cold starts that are accounted for to the last per cent."""

import json
import re
import secrets
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from sampan.sdk import Client
from sampan.telemetry.layout import COLD_START, INVOCATION
from sampan.wire.trace_shapes import Trace
from tests.journeys.platform import Platform, free_port, running, until
from tests.journeys.telemetry import (
    Receiver,
    asleep,
    assert_accounted,
    assert_nested,
    create,
    drawn,
    lineage,
    one,
    parents,
    query,
    receiver,
    root,
    stopped,
    trace,
)
from tests.peers.build import NotBuilt

pytestmark = pytest.mark.root

COLD_STARTS = 20  # of each image
ROWS = 5  # functions of it that start side by side
CALLER = "00f067aa0ba902b7"  # a span of whoever calls
PAGE = {
    "origin": "http://shop.example",
    "sec-fetch-mode": "cors",
    "user-agent": "Mozilla/5.0",
    "tracestate": "page=1",
    "baggage": "visit=7",
}
"""What a page's `fetch` sends beside the context."""


@pytest.fixture(scope="module")
def backend() -> Iterator[Receiver | str]:
    """Or why there is none."""
    try:
        with receiver() as made:
            yield made
    except NotBuilt as error:
        yield str(error)


@pytest.fixture(scope="module")
def traced(backend: Receiver | str) -> Iterator[Platform]:
    """A platform that sends its spans on."""
    settings: dict[str, object] = {"telemetry.port": free_port()}
    if isinstance(backend, Receiver):
        settings["telemetry.otlp_endpoint"] = f"http://127.0.0.1:{backend.port}"
    with running(Path(tempfile.mkdtemp(prefix="sampan-telemetry-")), **settings) as platform:
        yield platform


@pytest.fixture(scope="module")
def client(traced: Platform) -> Iterator[Client]:
    with traced.client() as made:
        yield made


# ── one trace ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def chain(traced: Platform, client: Client) -> str:
    """a → b → c, none of which runs. Where the platform is, each is told by it; the key is its owner's to give."""
    image, key = traced.push("traced"), client.credentials
    given = {"SAMPAN_ACCESS_KEY_ID": key.access_key_id, "SAMPAN_ACCESS_KEY_SECRET": key.access_key_secret}
    roles = {
        "c": {"REPORTS": "otlp"},
        "b": {"REPORTS": "otlp", "CALLS": "fc", "NEXT": "c"},
        "a": {"REPORTS": "jaeger", "CALLS": "sampan", "NEXT": "b"},
    }
    told = {name: given | role for name, role in roles.items()}
    create(client, image, told, port=8000, memory_size=1024, cpu=1.0)
    return "a"


def whole(found: Trace) -> bool:
    """All three platforms' roots, and the three spans of their code."""
    return sum(span.name == "work" for span in found.spans) == 3 and {"a", "b", "c"} <= {
        span.name for span in found.spans
    }


@pytest.fixture(scope="module", params=["with a context", "without"])
def called(request: pytest.FixtureRequest, traced: Platform, client: Client, chain: str) -> tuple[Trace, str]:
    """The trace of one call, all cold, and the span of the caller's that it says it is from."""
    asleep(client, "a", "b", "c")
    trace_id, headers = secrets.token_hex(16), {}
    if request.param == "with a context":
        headers = {**PAGE, "traceparent": f"00-{trace_id}-{CALLER}-01"}
    answer = traced.get(chain, headers=headers)
    assert answer.status_code == 200, answer.text + traced.logs()
    if headers:
        return trace(client, trace_id, whole), CALLER
    return trace(client, answer.headers["x-fc-request-id"], whole), ""


def test_three_functions_and_three_libraries_make_one_trace(called: tuple[Trace, str]) -> None:
    found, caller = called
    assert_nested(found)
    assert one(found, "a").parent_id == caller
    work = next(span for span in found.spans if span.name == "work" and span.service == "c")
    assert lineage(found, work) == [
        ("c", "work"), ("c", INVOCATION), ("c", "c"), ("b", "invoke c"),
        ("b", "work"), ("b", INVOCATION), ("b", "b"),
        ("a", "work"), ("a", INVOCATION), ("a", "a"),
    ]  # fmt: skip
    reported = {span.function: span.attributes["work.kind"] for span in found.spans if span.name == "work"}
    assert reported == {"a": "jaeger", "b": "otlp", "c": "otlp"}


def test_each_of_its_cold_starts_is_there_with_its_stages(called: tuple[Trace, str]) -> None:
    found, _ = called
    for function in ("a", "b", "c"):
        cold = one(found, COLD_START, function)
        assert lineage(found, cold)[1] == (function, function)
        stages = {span.name for span in found.spans if (function, COLD_START) in lineage(found, span)[1:]}
        assert {"RuntimeInitialization", "start", "ready"} <= stages, drawn(found)


def parent_of(span: dict[str, Any]) -> str:
    """As Jaeger's tools are told it."""
    return next((each["spanID"] for each in span["references"] if each["refType"] == "CHILD_OF"), "")


def test_people_programs_and_jaegers_tools_are_told_the_same_trace(
    called: tuple[Trace, str], traced: Platform
) -> None:
    found, _ = called
    ids = {span.span_id for span in found.spans}
    told = json.loads(traced.cli("trace", found.trace_id, "-o", "json").stdout)
    assert {span["spanId"] for span in told["spans"]} == ids
    shown = traced.cli("trace", found.trace_id).stdout.decode()
    assert f"{len(ids)} spans · 3 services" in shown
    for part in ("for the program of b to listen", "for the program of c to listen", "invoke c", COLD_START):
        assert part in shown
    answer = query(traced, f"/api/traces/{found.trace_id}")
    assert answer.status_code == 200, answer.text
    (jaeger,) = answer.json()["data"]
    assert {span["spanID"]: parent_of(span) for span in jaeger["spans"]} == parents(found)
    assert {process["serviceName"] for process in jaeger["processes"].values()} == {"a", "b", "c"}


def test_another_backend_is_sent_the_same_trace(called: tuple[Trace, str], backend: Receiver | str) -> None:
    if isinstance(backend, str):
        pytest.skip(backend)
    found, _ = called
    until(lambda: backend.of(found.trace_id) == parents(found), "the back-end has it all", 20)
    sent = [span["spanId"] for span in backend.spans if span["traceId"] == found.trace_id]
    assert len(sent) == len(found.spans), "none is sent twice"


# ── applications of Flask's ─────────────────────────────────────────────────────────────────────────────

FLASK = ("/usr/bin/python3", "-m", "flask", "run", "--host=0.0.0.0", "--port=8000")
INSTRUMENTED = ["/usr/bin/python3", "/packages/bin/opentelemetry-instrument", *FLASK]
VENDORS = {"fc": "invoke leaf", "fc2": "invoke svc$leaf"}
"""The vendor's clients, and what a call of each is named."""


@pytest.fixture(scope="module")
def flasks(traced: Platform, client: Client) -> None:
    """For each of the vendor's clients a front, with Jaeger's client, and a middle, which calls the leaf.

    Nothing in middle and leaf knows of tracing: `opentelemetry-instrument` runs them.
    """
    image, key = traced.push("flask"), client.credentials
    given = {"SAMPAN_ACCESS_KEY_ID": key.access_key_id, "SAMPAN_ACCESS_KEY_SECRET": key.access_key_secret}
    fronts = {
        f"front-{by}": given | {"REPORTS": "jaeger", "CALLS": "sampan", "NEXT": f"middle-{by}"} for by in VENDORS
    }
    others = {f"middle-{by}": given | {"CALLS": by, "NEXT": "leaf"} for by in VENDORS} | {"leaf": given}
    create(client, image, fronts, port=8000, memory_size=1024, cpu=1.0)
    create(client, image, others, port=8000, memory_size=1024, cpu=1.0, entrypoint=INSTRUMENTED)


@pytest.mark.parametrize("by", VENDORS)
def test_flask_with_jaegers_client_and_under_opentelemetry_instrument_make_one_trace_all_cold(
    flasks: None, traced: Platform, client: Client, backend: Receiver | str, by: str
) -> None:
    functions = (f"front-{by}", f"middle-{by}", "leaf")
    asleep(client, *functions)
    trace_id = secrets.token_hex(16)
    answer = traced.get(functions[0], headers={**PAGE, "traceparent": f"00-{trace_id}-{CALLER}-01"})
    assert answer.status_code == 200, answer.text + traced.logs()

    def all_told(found: Trace) -> bool:
        """Each of them by the platform, and by itself."""
        return {(name, ours) for name in functions for ours in (True, False)} <= {
            (span.function, span.platform) for span in found.spans
        }

    trace(client, trace_id, all_told)
    time.sleep(2)  # and what else there may be
    found = trace(client, trace_id, all_told)
    ids = {span.span_id for span in found.spans}
    assert [span.name for span in found.spans if span.parent_id not in ids] == [functions[0]], drawn(found)
    assert root(found).parent_id == CALLER
    for function in functions:
        assert lineage(found, one(found, COLD_START, function))[1] == (function, function)
    calls = [(span.service, span.name) for span in found.spans if span.kind == "client" and not span.platform]
    assert calls == [(functions[1], VENDORS[by])], "one span for a call, whatever else is instrumented"
    told = next(span for span in found.spans if span.function == "leaf" and not span.platform)
    way = [service for service, _ in groupby(service for service, _ in lineage(found, told))]
    assert way == ["leaf", functions[1], functions[0]], drawn(found)
    answer = query(traced, f"/api/traces/{trace_id}")
    (jaeger,) = answer.json()["data"]
    assert {span["spanID"]: parent_of(span) for span in jaeger["spans"]} == parents(found)
    assert f"{len(ids)} spans · 3 services" in traced.cli("trace", trace_id).stdout.decode()
    if isinstance(backend, Receiver):
        until(lambda: backend.of(trace_id) == parents(found), "the back-end has it all", 20)


# ── cold starts ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("image", ["static", "hello-python"])
def test_no_time_of_a_cold_start_is_unaccounted_for(traced: Platform, client: Client, image: str) -> None:
    names = [f"{image}-{row}" for row in range(ROWS)]
    port = 8000 if image == "hello-python" else 9000
    create(client, traced.push(image), {name: {} for name in names}, port=port)

    def call(name: str) -> str:
        return client.invoke(name, b"{}").request_id

    cold: list[str] = []
    with ThreadPoolExecutor(ROWS) as pool:
        for _ in range(COLD_STARTS // ROWS):
            asleep(client, *names)
            cold += pool.map(call, names)
        warm = list(pool.map(call, names))
    traces = [trace(client, request) for request in cold]
    for found in traces:
        assert_nested(found)
        assert_accounted(found)
        one(found, COLD_START)
        one(found, "RuntimeInitialization")  # where a port accepts at once, `ready` may have no time of its own
        assert root(found).attributes["faas.coldstart"] is True
    created = sum(any(span.name == "create" for span in found.spans) for found in traces)
    assert created < len(traces), "none was started in a sandbox that was created before"
    for request in warm:
        found = trace(client, request)
        assert_nested(found)
        assert_accounted(found)
        assert not [span for span in found.spans if span.name == COLD_START], drawn(found)
        assert root(found).attributes["faas.coldstart"] is False


def test_a_cold_start_whose_control_is_silent_has_its_stages_all_the_same(traced: Platform, client: Client) -> None:
    """Its instance was granted while it started, so the answer is there before control has told how it went."""
    create(client, traced.push("misbehave"), {"tardy": {"MISBEHAVE": "listen=1500"}})
    counted = re.compile(r'^fc_function_invocations_total\{function="tardy".*\} 2\.0$', re.MULTILINE)
    traced.get("tardy")
    asleep(client, "tardy")
    with ThreadPoolExecutor(1) as aside:
        call = aside.submit(traced.get, "tardy")
        until(lambda: list(client.list_instances("tardy")), "its instance starts")
        with stopped(traced.processes()["control"].pid):
            answer = call.result()
            until(lambda: counted.search(query(traced, "/metrics").text), "the record is there")
    assert answer.status_code == 200, answer.text
    found = trace(client, answer.headers["x-fc-request-id"])
    assert_nested(found)
    assert_accounted(found)
    assert {"RuntimeInitialization", "ready"} <= {span.name for span in found.spans}, drawn(found)


def test_a_start_that_fails_says_where_and_why(traced: Platform, client: Client) -> None:
    create(client, traced.push("misbehave"), {"doomed": {"MISBEHAVE": "exit=3"}})
    why = "exited with code 3"

    def refused() -> Trace:
        answer = traced.get("doomed")
        assert answer.status_code == 412, answer.text
        found = trace(client, answer.headers["x-fc-request-id"])
        assert_nested(found)
        assert_accounted(found)
        top = root(found)
        assert (top.name, top.status, top.attributes["error.type"]) == ("doomed", "error", "CAExited")
        assert why in top.message
        return found

    def tried(found: Trace) -> bool:
        return any(span.name == COLD_START for span in found.spans)

    found = until(lambda: next(filter(tried, [refused()]), None), "a request that waited for a start of its own")
    cold = one(found, COLD_START)
    assert (cold.status, cold.attributes["fc.failed_stage"]) == ("error", "ready")
    assert one(found, "ready").status == "error"
    assert why in cold.message
    assert why in traced.cli("trace", found.trace_id).stdout.decode()
    told_again = until(lambda: next((each for each in [refused()] if not tried(each)), None), "one that did not")
    assert one(told_again, "Schedule").status == "error"

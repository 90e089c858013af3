"""What the journeys of telemetry look with: traces awaited and checked, and a back-end that takes them."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from sampan.model.trace import Kind, Span
from sampan.sdk import Client, NotFound
from sampan.telemetry.spans import coverage
from sampan.wire import shapes
from sampan.wire.trace_shapes import Trace, TraceSpan
from tests.journeys.platform import Platform, free_port, until
from tests.peers.build import build

GAP = 0.01  # share of a root's time that the platform's spans may leave in the dark
CLOCKS = 100_000  # nanoseconds: a client that counts whole microseconds, and processes that ask the clock in turn


_OPEN = json.dumps({"authType": "anonymous", "methods": ["GET", "POST"]})


def create(client: Client, image: str, names: dict[str, dict[str, str]], **members: Any) -> None:
    """Public functions, made all at once, with their variables; each is gone when it was idle for a second."""
    container = {"image": image, "port": members.pop("port", 9000), "entrypoint": members.pop("entrypoint", None)}
    wanted = {"memory_size": 128, "cpu": 0.1, "disk_size": 512, "idle_timeout": 1, "timeout": 60, **members}
    for name, variables in names.items():
        client.create_function(
            shapes.CreateFunctionInput(
                function_name=name,
                runtime="custom-container",
                handler="index.handler",
                environment_variables=variables,
                custom_container_config=shapes.CustomContainerConfig(**container),
                **wanted,
            )
        )
        client.create_trigger(
            name, shapes.CreateTriggerInput(trigger_name="http", trigger_type="http", trigger_config=_OPEN)
        )
    until(lambda: all(client.get_function(name).state != "Pending" for name in names), f"{list(names)} are active")


def asleep(client: Client, *functions: str) -> None:
    """Wait until none of them has an instance."""
    until(lambda: not any(list(client.list_instances(name)) for name in functions), f"{functions} are gone")


def trace(client: Client, id_: str, whole: Callable[[Trace], bool] = lambda found: True) -> Trace:
    """The trace of an id, or of a request's, once it is whole."""
    seen: list[Trace] = []

    def there() -> bool:
        try:
            seen[:] = [client.trace(id_)]
        except NotFound:
            return False
        return whole(seen[0])

    try:
        until(there, f"trace {id_}", 20)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{drawn(seen[0]) if seen else 'nothing of it'}") from None
    return seen[0]


def drawn(found: Trace) -> str:
    """A line for each span, for a test that failed."""
    return "\n".join(
        f"{span.service:12} {span.name:24} {span.span_id} ← {span.parent_id or '-':16} {span.start} {span.duration}"
        for span in found.spans
    )


def one(found: Trace, name: str, function: str = "") -> TraceSpan:
    """The one span of this name (of this function)."""
    spans = [each for each in found.spans if each.name == name and function in ("", each.function)]
    assert len(spans) == 1, f"{len(spans)} of {name} {function}\n{drawn(found)}"
    return spans[0]


def root(found: Trace) -> TraceSpan:
    """The one whose parent is not here."""
    ids = {each.span_id for each in found.spans}
    (span,) = (each for each in found.spans if each.parent_id not in ids)
    return span


def parents(found: Trace) -> dict[str, str]:
    """Each span, and its parent."""
    return {span.span_id: span.parent_id for span in found.spans}


def lineage(found: Trace, span: TraceSpan) -> list[tuple[str, str]]:
    """Service and name of a span, of its parent, and so on up."""
    spans, line = {each.span_id: each for each in found.spans}, []
    at: TraceSpan | None = span
    while at is not None:
        line.append((at.service, at.name))
        at = spans.get(at.parent_id)
    return line


def assert_nested(found: Trace) -> None:
    """Children lie inside their parents, and all but one have theirs."""
    spans = {each.span_id: each for each in found.spans}
    assert len(spans) == len(found.spans), "a span is there twice"
    assert sum(each.parent_id not in spans for each in found.spans) == 1, drawn(found)
    for each in found.spans:
        parent = spans.get(each.parent_id)
        if parent is not None:
            begin, end = each.start - parent.start, parent.start + parent.duration - each.start - each.duration
            assert min(begin, end) >= -CLOCKS, (
                f"{each.name} leaves {parent.name} by {begin}, {end} ns\n{drawn(found)}"
            )


def assert_accounted(found: Trace) -> None:
    """The platform's own spans of one invocation leave no hole in it."""
    first = root(found)
    beneath = [each for each in found.spans if each.platform and each is not first]
    ours = [_span(found.trace_id, each) for each in (first, *beneath)]
    assert coverage(ours) >= 1 - GAP, drawn(found)


def _span(trace_id: str, told: TraceSpan) -> Span:
    begin, end = told.start, told.start + told.duration
    kind = Kind[told.kind.upper()]
    return Span(trace_id, told.span_id, told.parent_id, told.name, kind, begin, end, told.service)


def query(platform: Platform, path: str) -> httpx.Response:
    """From the query port, with the platform's own key."""
    with platform.client() as client:
        key = client.credentials
    url = f"http://127.0.0.1:{platform.settings.telemetry.port}{path}"
    return httpx.get(url, auth=(key.access_key_id, key.access_key_secret), trust_env=False)


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process does nothing meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


class Receiver:
    """The OpenTelemetry Collector's own receiver, and the spans and log records that it took in."""

    def __init__(self) -> None:
        self.port = free_port()
        self.spans: list[dict[str, Any]] = []
        self.records: list[dict[str, Any]] = []
        self._ready = threading.Event()
        command = [str(build("otelcol")), f"127.0.0.1:{free_port()}", f"127.0.0.1:{self.port}"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            told = json.loads(line)
            self._ready.set()
            told = {} if told == "ready" else told
            for resource in told.get("resourceSpans", ()):
                for scope in resource["scopeSpans"]:
                    self.spans += scope["spans"]
            for resource in told.get("resourceLogs", ()):
                for scope in resource["scopeLogs"]:
                    self.records += [record | {"resource": resource["resource"]} for record in scope["logRecords"]]

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._thread.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def traces(self) -> set[str]:
        """Of which there is a span."""
        return {span["traceId"] for span in list(self.spans)}

    def of(self, trace_id: str) -> dict[str, str]:
        """Each span of the trace, and its parent."""
        spans = [span for span in list(self.spans) if span["traceId"] == trace_id]
        return {span["spanId"]: span.get("parentSpanId", "") for span in spans}


@contextmanager
def receiver() -> Iterator[Receiver]:
    """Raises: NotBuilt."""
    made = Receiver()
    try:
        assert made._ready.wait(20), "the OpenTelemetry Collector does not come up"
        yield made
    finally:
        made.close()


@contextmanager
def follow(platform: Platform, function: str) -> Iterator[list[dict[str, Any]]]:
    """The lines of `sampan logs -f`, as they come; it ends as with Ctrl-C."""
    command = [str(Path(sys.executable).with_name("sampan")), "logs", "-f", function, "--since", "1h", "-o", "json"]
    environment = {**os.environ, "SAMPAN_STATE": str(platform.state)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    lines: list[dict[str, Any]] = []

    def read() -> None:
        assert process.stdout is not None
        lines.extend(json.loads(line) for line in process.stdout)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield lines
    finally:
        process.send_signal(signal.SIGINT)
        thread.join()
        assert process.stderr is not None
        said = process.stderr.read().decode()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            assert pipe is not None
            pipe.close()
    assert "Traceback" not in said

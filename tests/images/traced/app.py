"""A function that traces its work with a client that knows nothing of Sampan, then calls the next function.

Which client, the variable REPORTS says: `jaeger` or `otlp`. Which function comes next, NEXT says; nothing: none.
With which client it is called, CALLS says: `sampan` (our SDK) or `fc` (the vendor's). No address is written here:
where to report and whom to call is in the environment. Answers tell the trace's headers as they came.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NEXT = os.environ.get("NEXT", "")
WORK = 0.02  # seconds of work of its own, before the next is called
TOLD = ("traceparent", "uber-trace-id", "x-fc-tracing-opentracing-span-context")

Span = Callable[[Mapping[str, str]], AbstractContextManager[Mapping[str, str]]]


def jaeger() -> Span:
    """Spans of Jaeger's own client; what is called inside is told of the span."""
    import opentracing
    from jaeger_client import Config

    tracer = Config(config={}, service_name=os.environ["JAEGER_SERVICE_NAME"]).initialize_tracer()

    @contextmanager
    def span(headers: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
        parent = tracer.extract(opentracing.Format.HTTP_HEADERS, headers)
        with tracer.start_span("work", child_of=parent) as made:
            made.set_tag("work.kind", "jaeger")
            inside: dict[str, str] = {}
            tracer.inject(made, opentracing.Format.HTTP_HEADERS, inside)
            yield inside

    return span


def otlp() -> Span:
    """Spans of OpenTelemetry's SDK; `instrument` makes spans of the calls inside."""
    from opentelemetry import propagate, trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    from sampan.sdk import instrument

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    instrument()
    tracer = trace.get_tracer("app")

    @contextmanager
    def span(headers: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
        parent = propagate.extract(headers)
        with tracer.start_as_current_span("work", parent, trace.SpanKind.SERVER, {"work.kind": "otlp"}):
            yield {}

    return span


def with_sampan() -> Callable[[Mapping[str, str]], bytes]:
    """The SDK finds endpoint and key in its environment."""
    from sampan.sdk import Client, trace_context

    client = Client()

    def call(context: Mapping[str, str]) -> bytes:
        with trace_context(context):
            return client.invoke(NEXT, b"{}").body

    return call


def with_fc() -> Callable[[Mapping[str, str]], bytes]:
    """The vendor's client is told what its own configuration asks for."""
    from alibabacloud_fc20230330.client import Client
    from alibabacloud_fc20230330.models import InvokeFunctionRequest
    from alibabacloud_tea_openapi.utils_models import Config

    config = Config(
        access_key_id=os.environ["SAMPAN_ACCESS_KEY_ID"],
        access_key_secret=os.environ["SAMPAN_ACCESS_KEY_SECRET"],
        endpoint=os.environ["SAMPAN_ENDPOINT"].removeprefix("http://"),
        protocol="HTTP",
        region_id=os.environ["FC_REGION"],
    )
    client = Client(config)

    def call(_: Mapping[str, str]) -> bytes:
        answer: bytes = client.invoke_function(NEXT, InvokeFunctionRequest(body=b"{}")).body.read()
        return answer

    return call


CLIENTS = {"sampan": with_sampan, "fc": with_fc}
SPAN = {"jaeger": jaeger, "otlp": otlp}[os.environ["REPORTS"]]()
CALL = CLIENTS[os.environ["CALLS"]]() if NEXT else None


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        with SPAN(headers) as context:
            time.sleep(WORK)
            called = json.loads(CALL(context)) if CALL is not None else None
        told = {name: headers.get(name, "") for name in TOLD}
        body = json.dumps({"function": os.environ["FC_FUNCTION_NAME"], "told": told, "called": called}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer

    def log_message(self, *_: object) -> None:
        """Nothing is printed per request."""


if __name__ == "__main__":
    ThreadingHTTPServer(("0.0.0.0", int(os.environ["FC_CUSTOM_LISTEN_PORT"])), Answers).serve_forever()

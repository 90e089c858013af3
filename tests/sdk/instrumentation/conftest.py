from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode, Tracer

from sampan.sdk import instrument, uninstrument
from sampan.sdk.propagation import FC_CONTEXT
from tests.sdk.loopback import Asked


class Spans:
    """What was recorded, and a tracer for the caller's own spans."""

    def __init__(self) -> None:
        self.provider = TracerProvider(shutdown_on_exit=False)
        self._exporter = InMemorySpanExporter()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    @property
    def tracer(self) -> Tracer:
        return self.provider.get_tracer("tests")

    @property
    def calls(self) -> list[ReadableSpan]:
        """Of the instrumentation, in the order they ended."""
        ended = self._exporter.get_finished_spans()
        return [span for span in ended if span.instrumentation_scope.name != "tests"]

    @property
    def call(self) -> ReadableSpan:
        (only,) = self.calls
        return only


@pytest.fixture
def spans() -> Iterator[Spans]:
    """Everything is instrumented until the test ends."""
    recorded = Spans()
    instrument(recorded.provider)
    yield recorded
    uninstrument()
    recorded.provider.shutdown()


def traceparent(span: ReadableSpan) -> str:
    return f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-{span.context.trace_flags:02x}"


def fc_context(span: ReadableSpan) -> str:
    return f"{span.context.trace_id:x}:{span.context.span_id:x}:0:{span.context.trace_flags & 1:x}"


def assert_carried(span: ReadableSpan, asked: Asked, fc: bool = False) -> None:
    """The request that the server got is of this span, and of no other."""
    assert asked.headers["traceparent"] == traceparent(span)
    assert asked.headers.get(FC_CONTEXT) == (fc_context(span) if fc else None)


OF_EACH_REQUEST = {"date", "authorization", "x-acs-date", "x-acs-signature-nonce", "x-acs-content-sha256"}
OF_THE_TRACE = {"traceparent", FC_CONTEXT}


def assert_same_but_for_the_trace(bare: Asked, instrumented: Asked) -> None:
    assert bare.headers.keys() == instrumented.headers.keys() - OF_THE_TRACE
    for name in bare.headers.keys() - OF_EACH_REQUEST:
        assert bare.headers[name] == instrumented.headers[name]
    same = ("method", "path", "query", "body")
    assert [getattr(bare, each) for each in same] == [getattr(instrumented, each) for each in same]


def failed(span: ReadableSpan) -> str | None:
    """Its error type; None when it went well."""
    assert (span.status.status_code is StatusCode.ERROR) == ("error.type" in span.attributes)
    return span.attributes.get("error.type")

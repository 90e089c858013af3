"""Clients as functions have them, unmodified. Source: tracing-contract.md §8, tests 4 and 7."""

import asyncio
import logging
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogs
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetrics
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogs
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetrics
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import Link, SpanContext, SpanKind, StatusCode, TraceFlags
from opentelemetry.trace import Status as SdkStatus

from sampan.collector.intake.judge import Reason
from sampan.model.trace import Kind, Status
from tests.collector.intake.conftest import THUMB, Running

RESOURCE = Resource({"service.name": "pictures", "faas.name": "somebody-else"})


def http_spans(running: Running) -> Any:
    return HttpSpans(endpoint=running.url("/v1/traces"), compression=Compression.Gzip)


def grpc_spans(running: Running) -> Any:
    return GrpcSpans(endpoint=f"http://127.0.0.1:{running.port('grpc')}", insecure=True)


def record_spans(exporter: Any) -> None:
    """One trace of two spans, through the SDK."""
    provider = TracerProvider(resource=RESOURCE)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("pictures.web")
    far = SpanContext(0xABC, 0xDEF, is_remote=True, trace_flags=TraceFlags(1))
    with tracer.start_as_current_span("outer", kind=SpanKind.SERVER, links=[Link(far, {"why": "batch"})]) as outer:
        outer.set_attributes({"n": 3, "names": ["a", "b"], "ok": True, "ratio": 0.5})
        outer.add_event("half way", {"step": 1})
        with tracer.start_as_current_span("inner") as inner:
            inner.set_status(SdkStatus(StatusCode.ERROR, "no luck"))
    provider.shutdown()


@pytest.mark.parametrize("exporter", [http_spans, grpc_spans])
async def test_opentelemetry_sdks_spans_arrive_and_belong_to_who_sent_them(
    running: Running, exporter: Callable[[Running], Any]
) -> None:
    await asyncio.to_thread(lambda: record_spans(exporter(running)))
    inner, outer = running.store.spans
    assert (inner.name, inner.status, inner.message) == ("inner", Status.ERROR, "no luck")
    assert (inner.trace, inner.parent, outer.parent) == (outer.trace, outer.span, "")
    assert (outer.kind, outer.service, outer.scope) == (Kind.SERVER, "pictures", "pictures.web")
    assert (outer.function, outer.version, outer.instance) == ("thumb", "3", "i-1")
    assert outer.attributes == {"n": 3, "names": ["a", "b"], "ok": True, "ratio": 0.5}
    assert [(event.name, event.attributes) for event in outer.events] == [("half way", {"step": 1})]
    assert [(link.trace[-3:], link.span[-3:], link.attributes) for link in outer.links] == [
        ("abc", "def", {"why": "batch"})
    ]
    assert outer.resource["faas.name"] == "somebody-else"
    assert 0 < outer.start <= inner.start <= inner.end <= outer.end
    assert (running.intake.taken[THUMB.function], running.intake.dropped) == (2, {})


def http_logs(running: Running) -> Any:
    return HttpLogs(endpoint=running.url("/v1/logs"))


def grpc_logs(running: Running) -> Any:
    return GrpcLogs(endpoint=f"http://127.0.0.1:{running.port('grpc')}", insecure=True)


def record_log(exporter: Any) -> None:
    from opentelemetry._logs import LogRecord, SeverityNumber
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor

    provider = LoggerProvider(resource=RESOURCE)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    logger = provider.get_logger("pictures.log")
    logger.emit(LogRecord(timestamp=7, severity_number=SeverityNumber.WARN, body="hm", attributes={"k": "v"}))
    provider.shutdown()


@pytest.mark.parametrize("exporter", [http_logs, grpc_logs])
async def test_opentelemetry_sdks_log_records_arrive(running: Running, exporter: Callable[[Running], Any]) -> None:
    await asyncio.to_thread(lambda: record_log(exporter(running)))
    (record,) = running.store.records
    assert (record.time, record.text, record.severity, record.attributes) == (7, "hm", 13, {"k": "v"})
    assert (record.service, record.function, record.instance) == ("pictures", "thumb", "i-1")


def http_metrics(running: Running) -> Any:
    return HttpMetrics(endpoint=running.url("/v1/metrics"))


def grpc_metrics(running: Running) -> Any:
    return GrpcMetrics(endpoint=f"http://127.0.0.1:{running.port('grpc')}", insecure=True)


@pytest.mark.parametrize("exporter", [http_metrics, grpc_metrics])
async def test_opentelemetry_sdks_metrics_are_answered_and_counted_as_not_kept(
    running: Running, exporter: Callable[[Running], Any], caplog: pytest.LogCaptureFixture
) -> None:
    def record() -> None:
        provider = MeterProvider([PeriodicExportingMetricReader(exporter(running), 60_000)], RESOURCE)
        provider.get_meter("m").create_counter("c").add(1)
        provider.shutdown()

    with caplog.at_level(logging.WARNING):
        await asyncio.to_thread(record)
    assert running.intake.dropped["thumb", Reason.METRICS.value] == 1
    assert not [one for one in caplog.records if "retry" in one.getMessage().lower()]


# ── Jaeger's own client ──

JAEGER = """
import sys, time, jaeger_client

compact, sampling, sampler = sys.argv[1:]
agent = {"reporting_host": "127.0.0.1", "reporting_port": compact, "sampling_port": sampling}
config = {"local_agent": agent, "reporter_flush_interval": 0.05, "sampling_refresh_interval": 0.1}
if sampler == "const":
    config["sampler"] = {"type": "const", "param": 1}
tracer = jaeger_client.Config(config=config, service_name="old-pictures", validate=True).new_tracer()
while sampler == "remote" and tracer.sampler.sampler.rate < 1.0:  # asked for, a while after the start
    time.sleep(0.02)
outer = tracer.start_span("outer", tags={"span.kind": "server", "n": 3})
outer.log_kv({"event": "half way"})
inner = tracer.start_span("inner", child_of=outer)
inner.set_tag("error", True)
inner.finish()
outer.finish()
closed = tracer.close()
while not closed.done():
    time.sleep(0.02)
"""


@pytest.mark.skipif(find_spec("jaeger_client") is None, reason="jaeger-client is not installed")
@pytest.mark.parametrize("sampler", ["const", "remote"])
async def test_jaegers_own_client_reports_by_datagram_with_64_bit_ids(running: Running, sampler: str) -> None:
    ports = str(running.port("compact")), str(running.port("http"))
    client = await asyncio.create_subprocess_exec(sys.executable, "-W", "ignore", "-c", JAEGER, *ports, sampler)
    try:
        await running.store.until(lambda: len(running.store.spans) >= 2)
    finally:
        if client.returncode is None:
            client.kill()
            await client.wait()
    spans = {span.name: span for span in running.store.spans}
    outer, inner = spans["outer"], spans["inner"]
    assert outer.trace.startswith("0" * 16)
    assert (inner.trace, inner.parent, inner.status) == (outer.trace, outer.span, Status.ERROR)
    assert (outer.kind, outer.service, outer.attributes["n"]) == (Kind.SERVER, "old-pictures", 3)
    assert (outer.function, outer.version, outer.instance) == ("thumb", "3", "i-1")
    assert [event.name for event in outer.events] == ["half way"]
    assert running.asked[:1] == (["thumb"] if sampler == "remote" else [])

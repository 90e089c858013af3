"""What OTLP's clients are answered: responses, partial successes, statuses, in their own encoding.

Source: tracing-contract.md §5.5; OTLP specification, "OTLP/HTTP Response".
"""

import math
from dataclasses import dataclass

import msgspec
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from sampan.collector.intake.bodies import Decoding
from sampan.collector.intake.judge import Judge, Reason, Verdict
from sampan.collector.senders import Sender
from sampan.model.errors import Malformed, NoCapacity, SampanError, Throttled
from sampan.wire import otlp, otlp_logs
from sampan.wire.errors import message_of
from sampan.wire.grpc import status_of
from sampan.wire.protobuf import status

NO_METRICS = "metrics of functions are not kept; spans and logs are"


@dataclass(frozen=True, slots=True)
class Signal:
    """One of OTLP's. rejected: the response's member that counts what was refused."""

    name: str
    path: str  # over HTTP
    method: str  # over gRPC
    response: type[ExportTraceServiceResponse | ExportLogsServiceResponse | ExportMetricsServiceResponse]
    rejected: str


_COLLECTOR = "/opentelemetry.proto.collector"
TRACES = Signal(
    "traces",
    "/v1/traces",
    f"{_COLLECTOR}.trace.v1.TraceService/Export",
    ExportTraceServiceResponse,
    "rejectedSpans",
)
LOGS = Signal(
    "logs",
    "/v1/logs",
    f"{_COLLECTOR}.logs.v1.LogsService/Export",
    ExportLogsServiceResponse,
    "rejectedLogRecords",
)
METRICS = Signal(
    "metrics",
    "/v1/metrics",
    f"{_COLLECTOR}.metrics.v1.MetricsService/Export",
    ExportMetricsServiceResponse,
    "rejectedDataPoints",
)
SIGNALS = (TRACES, LOGS, METRICS)


class Otlp:
    """All three signals, over HTTP and gRPC alike."""

    def __init__(self, judge: Judge, decoding: Decoding) -> None:
        self._judge, self._decoding = judge, decoding

    async def export(self, signal: Signal, sender: Sender, body: bytes, content_type: str) -> bytes:
        """The response, in the request's encoding. Raises: Malformed, Throttled, NoCapacity."""
        try:
            verdict = await self._verdict(signal, sender, body, content_type)
        except Malformed:
            self._judge.drop(sender, Reason.MALFORMED)
            raise
        return respond(signal, verdict, otlp_logs.is_json(content_type))

    async def _verdict(self, signal: Signal, sender: Sender, body: bytes, content_type: str) -> Verdict:
        judge, decoding = self._judge, self._decoding
        if signal is TRACES:
            decoded = await decoding(sender, lambda raw: otlp.decode_traces(raw, content_type), body)
            return judge.take_spans(sender, decoded, again=True)
        if signal is LOGS:
            records = await decoding(sender, lambda raw: otlp_logs.decode_logs(raw, content_type), body)
            return judge.take_records(sender, records, again=True)
        points = await decoding(sender, lambda raw: otlp_logs.count_points(raw, content_type), body)
        judge.drop(sender, Reason.METRICS, points)
        return Verdict(0, points, NO_METRICS if points else "")


def respond(signal: Signal, verdict: Verdict, json: bool) -> bytes:
    """An Export…Response; int64 are strings in JSON."""
    if json:
        partial = {signal.rejected: str(verdict.refused), "errorMessage": verdict.why}
        return msgspec.json.encode({"partialSuccess": partial} if verdict.why else {})
    response = signal.response()
    if verdict.why:
        response.partial_success.error_message = verdict.why
        setattr(response.partial_success, _snake(signal.rejected), verdict.refused)
    return response.SerializeToString()


def error_status(error: SampanError, json: bool) -> bytes:
    """google.rpc.Status."""
    code, message = int(status_of(error)), message_of(error)
    if json:
        return msgspec.json.encode({"code": code, "message": message})
    return status(code, message, retry_after(error))


def retry_after(error: SampanError) -> int:
    """Whole seconds; 0: it does not help to try again."""
    return max(1, math.ceil(error.retry_after)) if isinstance(error, Throttled | NoCapacity) else 0


def _snake(camel: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in camel)

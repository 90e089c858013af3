"""The transport to a function's own back-end."""

from collections.abc import Callable, Sequence

from sampan.collector.export.guard import Guard
from sampan.collector.export.otlp_grpc import GrpcPeer, OtlpGrpc
from sampan.collector.export.transport import Transport
from sampan.collector.export.transports import Encoded, JaegerHttp, OtlpHttp, Peer
from sampan.model.trace import Attributes, Span
from sampan.telemetry.tracing_config import Format, TracingTarget


class Targets:
    """Makes transports, all under one guard."""

    def __init__(
        self,
        guard: Guard,
        encode_traces: Callable[[Sequence[Span]], Encoded],
        encode_batch: Callable[[str, Attributes, Sequence[Span]], bytes],
        timeout: float = 10.0,
    ) -> None:
        """encode_traces: to OTLP.  encode_batch: to Jaeger's thrift.  timeout: seconds per request."""
        self._guard, self._encode_traces, self._encode_batch = guard, encode_traces, encode_batch
        self._timeout = timeout

    def build(self, target: TracingTarget) -> Transport[Span]:
        match target.format:
            case Format.JAEGER:
                return JaegerHttp(target.url, self._encode_batch, self._peer())
            case Format.OTLP_HTTP:
                return OtlpHttp(target.url, self._encode_traces, self._peer())
            case Format.OTLP_GRPC:
                peer = GrpcPeer(guard=self._guard, timeout=self._timeout)
                return OtlpGrpc(target.url, self._encode_traces, peer)

    def _peer(self) -> Peer:
        return Peer(guard=self._guard, timeout=self._timeout)

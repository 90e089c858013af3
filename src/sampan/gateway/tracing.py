"""Which trace a request belongs to, and what its function is told of that."""

from typing import Final

from sampan.gateway.exchange import Exchange
from sampan.model.names import trace_ids
from sampan.telemetry import formats
from sampan.telemetry.context import begin, drawn, extract
from sampan.telemetry.formats import NONE
from sampan.telemetry.outgoing import container_lines, own_lines, untraced_lines

_NONE: Final = NONE


class Tracing:
    """What all requests share."""

    def __init__(self, ratio: float = 1.0, jaeger_endpoint: str = "", on: bool = True) -> None:
        """ratio: share of new traces that is sampled, of functions that say nothing.

        jaeger_endpoint: URL to which functions may report.
        """
        self._ratio, self._jaeger_endpoint, self._on = ratio, jaeger_endpoint, on

    def begin(self, exchange: Exchange, sampling: float | None) -> None:
        """Join the trace that the caller told, or begin one. A lone traceparent is read without a look around.

        sampling: as of ServedVersion.
        """
        if not self._on:
            exchange.trace_lines = untraced_lines(exchange.headers)
            return
        if exchange.context_told:
            context = extract(exchange.headers)
        elif exchange.traceparent:
            context = formats.traceparent(exchange.traceparent) or _NONE
        else:
            context = _NONE
        ratio = self._ratio if sampling is None else sampling
        if context is _NONE:
            trace, _, span = trace_ids(exchange.request)
            exchange.standing = exchange.sampled = sampled = drawn(trace, ratio)
            exchange.trace_lines = own_lines(trace, span, sampled, self._jaeger_endpoint)
            return
        exchange.standing = traced = begin(context, exchange.request, ratio)
        exchange.sampled = traced.sampled
        exchange.trace_lines = container_lines(context, traced, self._jaeger_endpoint)

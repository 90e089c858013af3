"""Traces of nothing but one ordinary invocation, which most are: written without making their spans. Pure.

What such a trace is found by is the same for all requests of a kind, but for a few attributes.
"""

from collections.abc import Sequence
from typing import NamedTuple

from msgspec.structs import replace

from sampan.model.trace import Span
from sampan.telemetry.spans import ordinary, own
from sampan.traces import rows, tokens
from sampan.traces.merging import LONGEST, Addition, Trace
from sampan.traces.rows import Invoked
from sampan.traces.waiting import Invocation, Waiting

KINDS = 10_000  # remembered; then they are found anew
SPAN = 520  # bytes of a span before compression, about

Operation = tuple[str, str, int]


class Kind(NamedTuple):
    """What all requests of a kind have alike."""

    tokens: bytes
    operations: frozenset[Operation]


class Lone:
    """Knows the kinds."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[object, ...], Kind] = {}

    def addition(self, trace: Trace, came: Sequence[Waiting | Invocation]) -> tuple[Addition, Kind] | None:
        """Of a trace that is new; None: it takes spans to tell."""
        if (
            trace.seq
            or len(came) != 1
            or not isinstance(came[0], Invocation)
            or not ordinary(came[0].invoked.record)
        ):
            return None
        invoked, spans = came[0].invoked, came[0].spans
        kind, record, function = self._kind(invoked), invoked.record, invoked.function[:LONGEST]
        traced = record.traced
        trace.first = trace.start = trace.root_start = record.received // 1000
        trace.last = record.ended // 1000
        trace.duration = trace.last - trace.first
        trace.rank = 2 if traced is not None and traced.parent else 0
        trace.name = trace.service = trace.function = function
        trace.request, trace.spans, trace.packed = record.request[:LONGEST], spans, spans * SPAN
        trace.services = {function: [spans, 0]}
        found_by, chunk = kind.tokens + _own(invoked), rows.chunk_of(invoked)
        trace.size += len(function) + 8 + len(found_by) + len(chunk) + 40 * 2
        return Addition(trace, found_by, b"", chunk, (tokens.number(record.request),), True, trace.size), kind

    def _kind(self, invoked: Invoked) -> Kind:
        record = invoked.record
        key = (
            record.version, record.qualifier, record.instance, record.method, record.status, record.secure,
            invoked.account, invoked.region,
        )  # fmt: skip
        known = self._kinds.get(key)
        if known is None:
            if len(self._kinds) >= KINDS:
                self._kinds.clear()
            known = self._kinds[key] = _made(invoked)
        return known


def _made(invoked: Invoked) -> Kind:
    root, *others = invoked.spans()
    alike = {key: value for key, value in root.attributes.items() if key not in own(invoked.record)}
    spans: list[Span] = [replace(root, attributes=alike), *others]
    found_by = {token for span in spans for token in tokens.tokens(span)}
    return Kind(b"".join(found_by), frozenset(map(operation_of, spans)))


def operation_of(span: Span) -> Operation:
    return span.service, span.name, int(span.kind)


def _own(invoked: Invoked) -> bytes:
    """Tokens of what this request has of its own."""
    values = [(key, tokens.text(value)) for key, value in own(invoked.record).items()]
    return b"".join([tokens.attribute(key, value) for key, value in values if len(value) <= tokens.LONGEST])

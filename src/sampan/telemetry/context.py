"""Trace context in: what a request says of the trace it belongs to, and what the platform makes of it.

`extract` reads the headers, `begin` decides for one request: which trace, which spans of the platform's own,
sampled or not. What goes out to the function is written in `outgoing`. Pure, and never a reason for a request to
fail: a malformed context is as if none had come, in any format of those that came.
Source: tracing-contract.md §4, §5.1–§5.3.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import unquote_to_bytes

import msgspec

from sampan.model.invocation import Traced
from sampan.model.names import RequestId, trace_ids
from sampan.telemetry import formats, members
from sampan.telemetry.formats import MULTI, NONE, SINGLE, Context

FC_CONTEXT = b"x-fc-tracing-opentracing-span-context"
TRACE_HEADERS = frozenset(
    (
        b"traceparent", b"tracestate", b"baggage", FC_CONTEXT, b"uber-trace-id", b"jaeger-debug-id",
        b"jaeger-baggage", b"b3", b"x-b3-traceid", b"x-b3-spanid", b"x-b3-parentspanid", b"x-b3-sampled",
        b"x-b3-flags", b"x-amzn-trace-id",
    )
)  # fmt: skip
"""The names that matter. A request with none of them has no context, and `extract` need not be asked."""

BAGGAGE_PREFIXES = (b"uberctx-", FC_CONTEXT + b"-baggage-")  # a key follows; heard beside a context of Jaeger's
_JAEGER_FAMILY = frozenset((FC_CONTEXT, b"uber-trace-id", b"jaeger-debug-id", b"jaeger-baggage"))
DEBUG_ID_LENGTH = 128  # characters of a jaeger-debug-id that are kept

_ALL = 1 << 64  # values that the lower half of a trace's id has
_NONE: Final = NONE

Header = tuple[bytes, bytes, bytes]  # lower-case name, name as sent, value
Told = dict[bytes, list[bytes]]


def extract(headers: Sequence[Header]) -> Context:
    """What the headers say. Of several formats the first that is well-formed counts, in the order of §4 rule 3."""
    found = [(lower, value) for lower, _, value in headers if lower in TRACE_HEADERS]
    if not found:
        return NONE
    if len(found) == 1 and found[0][0] == b"traceparent":
        return formats.traceparent(found[0][1].strip()) or NONE
    told: Told = {}
    for lower, value in found:
        told.setdefault(lower, []).append(value.strip())
    context = NONE
    for reader in _READERS:
        if (read := reader(told)) is not None:
            context = read
            break
    return msgspec.structs.replace(
        context if context is not NONE else _by_hand(told),
        baggage=members.baggage(told.get(b"baggage", []), _other_baggage(headers, told)),
        b3=_b3_forms(told),
    )


def begin(context: Context, request: RequestId, ratio: float) -> Traced:
    """Where a request stands: in the trace that it came with, or in a new one that has the request's own digits.

    ratio: share of new traces that is sampled.
    """
    own, root, invocation = trace_ids(request)
    if context is _NONE:
        return Traced(own, root, invocation, "", drawn(own, ratio))
    trace = context.trace or own
    kept = sampled(context, ratio, trace)
    return Traced(trace, root, invocation, context.span, kept, context.state, context.debug_id)


def sampled(context: Context, ratio: float, trace: str) -> bool:
    """Whether the trace is kept: as decided before, else by its id, so that all processes decide alike.

    Source: OpenTelemetry TraceIdRatioBased: of an id's 128 bits the lower 64 are compared with the ratio.
    """
    if context.sampled is not None:
        return context.sampled
    return drawn(trace, ratio)


def drawn(trace: str, ratio: float) -> bool:
    """As `sampled`, of a trace that nobody has decided about."""
    return ratio >= 1.0 or (ratio > 0.0 and trace[16:] < _limit(ratio))


@functools.lru_cache(1024)
def _limit(ratio: float) -> str:
    """What the lower half of a sampled trace's id is less than: digits of one length compare as their numbers."""
    return "g" if ratio >= 1.0 else f"{round(ratio * _ALL):016x}"


def below(context: Context, traced: Traced, span: str) -> Context:
    """The context of whatever `span`, one of this request's own, has as its children."""
    return msgspec.structs.replace(context, trace=traced.trace, span=span, sampled=traced.sampled)


def to_text(context: Context) -> str:
    """To be stored with a message."""
    return _encode(context).decode()


def child_of(stored: str) -> Context:
    """The context that `to_text` wrote; what it did not write says nothing."""
    try:
        return _decode(stored)
    except msgspec.DecodeError:
        return NONE


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Context).decode


# ── one reader per format ──


def _w3c(told: Told) -> Context | None:
    context = formats.traceparent(_only(told, b"traceparent"))
    if context is None or b"tracestate" not in told:
        return context
    return msgspec.structs.replace(context, state=members.tracestate(told[b"tracestate"]))


def _fc(told: Told) -> Context | None:
    return formats.jaeger(_only(told, FC_CONTEXT))


def _uber(told: Told) -> Context | None:
    return formats.jaeger(_only(told, b"uber-trace-id"))


def _b3_single(told: Told) -> Context | None:
    return formats.b3_single(_only(told, b"b3"))


def _b3_multi(told: Told) -> Context | None:
    return formats.b3_multi(
        _only(told, b"x-b3-traceid"), _only(told, b"x-b3-spanid"),
        _only(told, b"x-b3-sampled"), _only(told, b"x-b3-flags"),
    )  # fmt: skip


def _amazon(told: Told) -> Context | None:
    return formats.amazon(_only(told, b"x-amzn-trace-id"))


_READERS: tuple[Callable[[Told], Context | None], ...] = (_w3c, _fc, _uber, _b3_single, _b3_multi, _amazon)


def _b3_forms(told: Told) -> int:
    names = [name for name in told if name[:5] == b"x-b3-"]
    return (SINGLE if b"b3" in told else 0) | (MULTI if names else 0)


def _only(told: Told, name: bytes) -> bytes:
    """A header's value; b"" where there are several, of which nobody knows which one is meant."""
    values = told.get(name, ())
    return values[0] if len(values) == 1 else b""


def _by_hand(told: Told) -> Context:
    """No context came; somebody who looks into a problem may have asked for a trace. Source: §5.2."""
    word = _only(told, b"jaeger-debug-id").decode("latin-1")
    word = "".join(filter(str.isprintable, word[:DEBUG_ID_LENGTH]))
    return Context(sampled=True, debug=True, debug_id=word) if word else NONE


def _other_baggage(headers: Sequence[Header], told: Told) -> list[tuple[str, str]]:
    """Baggage in the ways of Jaeger's and Function Compute's clients."""
    found = []
    for value in told.get(b"jaeger-baggage", ()):
        for member in value.decode("utf-8", "replace").split(","):
            key, equals, text = member.partition("=")
            if equals:
                found.append((key.strip(), text.strip()))
    if told.keys().isdisjoint(_JAEGER_FAMILY):
        return found
    for lower, _, value in headers:
        if lower.startswith(BAGGAGE_PREFIXES):
            name = lower.removeprefix(BAGGAGE_PREFIXES[0]).removeprefix(BAGGAGE_PREFIXES[1])
            found.append((name.decode("latin-1"), unquote_to_bytes(value).decode("utf-8", "replace")))
    return found

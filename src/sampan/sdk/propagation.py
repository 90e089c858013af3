"""The trace that a function was called in, carried over to the calls it makes; by the request's headers alone.

    with trace_context(request.headers):
        sampan.invoke("next", "…")

With OpenTelemetry none of this is needed: see `instrumentation`. A hop that makes no span of its own hands the
context on as it came. Source: tracing-contract.md §4, §5.1.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import NamedTuple, Protocol
from urllib.parse import unquote

TRACEPARENT, TRACESTATE, BAGGAGE = "traceparent", "tracestate", "baggage"
FC_CONTEXT = "x-fc-tracing-opentracing-span-context"
UBER = "uber-trace-id"  # what Jaeger's clients inject. Source: tracing-contract.md §5.2
TRACE_HEADERS = frozenset((TRACEPARENT, TRACESTATE, BAGGAGE, FC_CONTEXT))
LONGEST = 8192  # bytes of tracestate or baggage; what is longer stays here. Source: tracing-contract.md §5.1

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_FC_CONTEXT = re.compile(r"0*([0-9a-f]{1,32}):0*([0-9a-f]{1,16}):[0-9a-f]*:([0-9a-f]{1,2})")
_PRINTABLE = re.compile(rf"[\t\x20-\x7e]{{1,{LONGEST}}}")


class _Items(Protocol):
    def items(self) -> Iterable[tuple[str, str]]: ...


Headers = _Items | Iterable[tuple[str, str]]  # names in any case, as web frameworks give them
_current: ContextVar[Mapping[str, str]] = ContextVar("sampan_trace", default={})  # noqa: B039  never changed


class SpanId(NamedTuple):
    """What `x-fc-tracing-opentracing-span-context` says."""

    trace: int
    span: int
    flags: int


@contextmanager
def trace_context(headers: Headers) -> Iterator[None]:
    """Calls made within, in this thread or task, belong to the trace that `headers` name, if they name one.

    headers: of the request that the function is answering, or what a tracer has injected: Jaeger's, too.
    """
    token = adopt(headers)
    try:
        yield
    finally:
        _current.reset(token)


def adopt(headers: Headers) -> Token[Mapping[str, str]]:
    """As `trace_context`, without an end; for a context that has one of its own."""
    return _current.set(of_trace(headers))


def of_trace(headers: Headers | None) -> dict[str, str]:
    """The headers that carry the trace on, with lower-case names. What is invalid is left out, never raised."""
    given = _joined(headers) if headers is not None else {}
    carried = {}
    if valid_traceparent(given.get(TRACEPARENT, "")):
        carried[TRACEPARENT] = given[TRACEPARENT]
        if _PRINTABLE.fullmatch(given.get(TRACESTATE, "")):
            carried[TRACESTATE] = given[TRACESTATE]
    elif ids := parse_fc_context(given.get(FC_CONTEXT, "")) or parse_fc_context(unquote(given.get(UBER, ""))):
        carried[FC_CONTEXT] = write_fc_context(*ids)
    if _PRINTABLE.fullmatch(given.get(BAGGAGE, "")):
        carried[BAGGAGE] = given[BAGGAGE]
    return carried


def passed_on(headers: Mapping[str, str]) -> Mapping[str, str]:
    """What to add to a call with these headers: the context set around it, unless they name one."""
    current = _current.get()
    if current and any(name.lower() in (TRACEPARENT, FC_CONTEXT) for name in headers):
        return {}
    return current


def valid_traceparent(text: str) -> bool:
    """A later version may go on after what version 00 has. Source: W3C Trace Context §4.3."""
    if not _TRACEPARENT.match(text) or not _PRINTABLE.fullmatch(text):
        return False
    return len(text) == 55 or (text[:2] != "00" and text[55] == "-")


def parse_fc_context(text: str) -> SpanId | None:
    """None when it is no context. Source: tracing-contract.md §4."""
    found = _FC_CONTEXT.fullmatch(text.strip().lower())
    ids = SpanId(*(int(part, 16) for part in found.groups())) if found else None
    return ids if ids and ids.trace and ids.span else None


def write_fc_context(trace: int, span: int, flags: int) -> str:
    """Without zeros in front, and without a parent. Source: tracing-contract.md §4."""
    return f"{trace:x}:{span:x}:0:{flags & 1:x}"


def _joined(headers: Headers) -> dict[str, str]:
    """Several lines of one name become one list. Source: RFC 9110 §5.3."""
    pairs = headers.items() if hasattr(headers, "items") else headers
    joined: dict[str, str] = {}
    for name, value in pairs:
        name = name.lower()
        joined[name] = f"{joined[name]},{value}" if name in joined else value.strip()
    return joined

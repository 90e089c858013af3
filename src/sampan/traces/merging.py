"""What a trace is after more of its spans have come. Pure.

Spans of a trace come in any order, from several senders, some twice, some never. The span that stands for the trace
in a list is the one that nobody called; else the platform's; else the earliest.
"""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field

import zstandard

from sampan.model.trace import Kind, Span, Status
from sampan.traces import rows, tokens
from sampan.traces.waiting import Losses, Waiting

MOST_SPANS = 20_000  # of a trace
MOST_BYTES = 32 << 20  # of its spans before compression: it has to be read whole
OWN_SPANS, OWN_BYTES = 2_000, 2 << 20  # of the platform's beyond that: no report crowds out what it says itself
MOST_SERVICES = 50  # of a trace that are listed one by one
LONGEST = 200  # characters of a name in lists; spans keep theirs
ROW = 400  # bytes of a trace's rows besides what is counted, so that the sum is the file's size; measured, 2026-11
KEY = 8  # bytes by which a span is known in its trace
REQUEST_ATTRIBUTES = ("fc.request_id", "faas.invocation_id")
COLD_ATTRIBUTES = ("fc.cold_start", "faas.coldstart")
_NOBODY = 9  # rank before there is any span


@dataclass(slots=True)
class Trace:
    """One trace as its row has it. Times are microseconds."""

    low: int
    high: int
    arrived: int
    seq: int = 0  # 0: new
    size: int = ROW  # bytes in the database
    packed: int = 0  # bytes of its spans before compression
    first: int = 1 << 62
    last: int = 0
    rank: int = _NOBODY
    root_start: int = 0
    start: int = 0
    duration: int = 0
    name: str = ""
    service: str = ""
    function: str = ""
    request: str = ""
    spans: int = 0
    errors: int = 0
    cold: bool = False
    services: dict[str, list[int]] = field(default_factory=dict)
    tokens: set[bytes] = field(default_factory=set)


@dataclass(slots=True)
class Addition:
    """What is to be written of one trace."""

    trace: Trace
    tokens: bytes
    ids: bytes
    chunk: bytes
    requests: Collection[int]
    new: bool
    grown: int  # bytes


_MASK = (1 << 64) - 1


class Known:
    """Traces by id. One whose spans all came with 64-bit ids is the same as a longer one with that low half."""

    def __init__(self) -> None:
        self._traces: dict[int, list[Trace]] = {}

    def add(self, trace: Trace) -> None:
        self._traces.setdefault(trace.low, []).append(trace)

    def of(self, trace: str, now: int) -> Trace:
        """The one with this id; made, where there is none. now: Unix microseconds."""
        low, high = halves(trace)
        for found in self._traces.get(low, ()):
            if high in (0, found.high) or not found.high:
                found.high = found.high or high
                return found
        made = Trace(low, high, now)
        self.add(made)
        return made

    def all(self) -> list[Trace]:
        return [trace for traces in self._traces.values() for trace in traces]


def halves(trace: str) -> tuple[int, int]:
    """Low and high half of 32 hex digits, as signed numbers."""
    data = bytes.fromhex(trace)
    return int.from_bytes(data[8:], "big", signed=True), int.from_bytes(data[:8], "big", signed=True)


def name(low: int, high: int) -> str:
    """The 32 hex digits of two halves."""
    return f"{high & _MASK:016x}{low & _MASK:016x}"


def key(span: Span) -> bytes:
    """What tells a span from the others of its trace. Two may share an id: the ends of a call in B3.

    A function knows the id of the platform's span it is called in; with that it reports another span, not this one.
    """
    own = "own" if span.platform else ""
    words = f"{span.span}{int(span.kind)}{own}{span.service}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(words, digest_size=KEY).digest()


def rank(span: Span) -> int:
    """How well it stands for its trace: the less, the better."""
    if not span.parent:
        return 0 if span.platform else 1
    return 2 if span.platform and span.kind in (Kind.SERVER, Kind.CONSUMER) else 3


def merge(
    trace: Trace, present: set[bytes], came: list[Waiting], losses: Losses, by: zstandard.ZstdCompressor
) -> Addition | None:
    """Take in what is new of `came`; None: nothing. `present`: keys of the spans that are stored."""
    ids, packed, requests = [], [], set[int]()
    before = trace.size if trace.seq else 0
    for each in came:
        span, data = each.span, each.packed
        known = key(span)
        if known in present:
            continue
        spans, size = (
            (MOST_SPANS + OWN_SPANS, MOST_BYTES + OWN_BYTES) if span.platform else (MOST_SPANS, MOST_BYTES)
        )
        if len(present) >= spans or trace.packed + len(data) > size:
            losses.crowded += 1
            continue
        present.add(known)
        ids.append(known)
        packed.append(data)
        trace.packed += len(data)
        _take(trace, span, requests, losses)
    if not ids:
        return None
    chunk = rows.chunk(packed, by)
    trace.size += len(chunk) + KEY * len(ids) + 40 * (1 + len(requests))
    _settle(trace)
    found_by = b"".join(trace.tokens)
    return Addition(trace, found_by, b"".join(ids), chunk, requests, not trace.seq, trace.size - before)


def _take(trace: Trace, span: Span, requests: set[int], losses: Losses) -> None:
    start, end = span.start // 1000, max(span.start, span.end) // 1000
    trace.first, trace.last = min(trace.first, start), max(trace.last, end)
    trace.spans += 1
    failed = span.status is Status.ERROR
    trace.errors += failed
    trace.cold = trace.cold or any(span.attributes.get(name) is True for name in COLD_ATTRIBUTES)
    _count(trace, span.service[:LONGEST], failed)
    asked = request(span)
    if asked:
        requests.add(tokens.number(asked))
    standing = rank(span)
    if (standing, start) < (trace.rank, trace.root_start):
        trace.rank, trace.root_start, trace.duration = standing, start, end - start
        trace.name, trace.service = span.name[:LONGEST], span.service[:LONGEST]
        trace.function = span.function[:LONGEST] or trace.function
        trace.request = asked[:LONGEST] or trace.request
    trace.function = trace.function or span.function[:LONGEST]
    trace.request = trace.request or asked[:LONGEST]
    _index(trace, span, losses)


def _count(trace: Trace, service: str, failed: bool) -> None:
    if service not in trace.services:
        service = service if len(trace.services) < MOST_SERVICES else "…"
        trace.size += len(service) + 8
    counts = trace.services.setdefault(service, [0, 0])
    counts[0] += 1
    counts[1] += failed


def _index(trace: Trace, span: Span, losses: Losses) -> None:
    most = tokens.MOST + (tokens.OWN if span.platform else 0)
    for token in tokens.tokens(span):
        if token in trace.tokens:
            continue
        if len(trace.tokens) >= most:
            losses.unindexed += 1
            return
        trace.tokens.add(token)
        trace.size += tokens.SIZE


def _settle(trace: Trace) -> None:
    """A trace with a root is as long as that; one without, from its first span's start to its last one's end."""
    if trace.rank < 3:
        trace.start = trace.root_start
    else:
        trace.start, trace.duration = trace.first, trace.last - trace.first


def request(span: Span) -> str:
    """The request that a span was made for, "". Only the platform is believed: a report may name anybody's."""
    for name in REQUEST_ATTRIBUTES if span.platform else ():
        found = span.attributes.get(name)
        if isinstance(found, str):
            return found
    return ""

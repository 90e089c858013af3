"""The platform's own spans of an invocation, made from its record once it is over. Pure.

    {function} SERVER ─┬─ Schedule …  ColdStart …  Initializer  INTERNAL (telemetry/layout)
                       └─ Invocation CLIENT: its id is the parent that user code is given

The same record makes the same spans, ids included: one that is reported twice is not two traces.
Source: tracing-contract.md §3, §6.1, §6.2.
"""

import hashlib
import math
from collections.abc import Collection, Iterable

from sampan.model.invocation import InvocationRecord, Outcome, Traced, VersionFacts, is_error
from sampan.model.names import function_arn
from sampan.model.trace import Attributes, Kind, Span, SpanEvent, Status
from sampan.telemetry.layout import COLD_START, INVOCATION, Piece, failed_stage, layout

SCOPE = "sampan"
ERRORS, COLD = "errors", "cold"

_METHODS = frozenset(
    ("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE")
)  # OpenTelemetry HTTP conventions: others are _OTHER
_OUT_OF_MEMORY = "OutOfMemory"


def kept(record: InvocationRecord, always: Collection[str]) -> bool:
    """Whether its spans are stored: it was sampled, or it is of a kind that always is. always: ERRORS, COLD."""
    if record.standing is None:
        return False
    if record.sampled:
        return True
    return (ERRORS in always and is_error(record)) or (COLD in always and record.cold)


def always_kept(setting: str) -> frozenset[str]:
    """Of the setting `telemetry.always`. Raises: ValueError: it names what there is not."""
    names = frozenset(name for part in setting.split(",") if (name := part.strip()))
    if unknown := names - {ERRORS, COLD}:
        raise ValueError(f"always: {min(unknown)!r} is none of {ERRORS}, {COLD}")
    return names


def error_type(record: InvocationRecord) -> str:
    """Function Compute's name for what went wrong; "": nothing. Source: tracing-contract.md §7."""
    if record.outcome is Outcome.OK or not is_error(record):
        return ""
    if record.error == _OUT_OF_MEMORY:
        return "FunctionOOMError"
    if record.outcome is Outcome.TIMED_OUT:
        return "FunctionTimeoutError"
    if record.outcome is Outcome.FUNCTION_ERROR:
        return "FunctionUnhandledError"
    return record.error or record.outcome.value


def ordinary(record: InvocationRecord) -> bool:
    """Whether it went as most do: a warm instance, an answer, nothing to remark. Its spans are those of any other
    such request but for their ids, their times and `own`."""
    return (
        record.outcome is Outcome.OK
        and record.status < 500
        and not (record.cold or record.startup or record.error)
        and 0 < record.received <= record.leased <= record.ended
        and record.standing is not None
        and (isinstance(record.standing, bool) or not record.standing.debug_id)
    )


def own(record: InvocationRecord) -> dict[str, str | int]:
    """Attributes of the root that hardly any other request has alike."""
    attributes: dict[str, str | int] = {
        "faas.invocation_id": record.request,
        "fc.request_id": record.request,
        "http.request.body.size": record.bytes_in,
        "http.response.body.size": record.bytes_out,
    }
    if record.method:
        attributes["url.path"] = record.path
    if record.client:
        attributes["client.address"] = attributes["network.peer.address"] = record.client
    if record.leased:
        attributes["fc.billed_duration_ms"] = math.ceil((record.ended - record.leased) / 1_000_000)
    return attributes


def count(record: InvocationRecord) -> int:
    """How many spans `platform_spans` makes."""
    if record.standing is None:
        return 0
    if ordinary(record):
        return 3  # root, Schedule, Invocation
    return 1 + _pieces(layout(record))


def _pieces(pieces: Iterable[Piece]) -> int:
    return sum(1 + _pieces(piece.within) for piece in pieces)


def platform_spans(
    record: InvocationRecord, facts: VersionFacts, account: str, region: str, max_memory_mb: float | None = None
) -> list[Span]:
    """Root first; none when the invocation stands in no trace. max_memory_mb: used at the peak, where known."""
    traced = record.traced
    if traced is None:
        return []
    making = _Making(record, traced, facts, account, region)
    root = making.root(max_memory_mb)
    return [root, *making.beneath(root.span, layout(record))]


def coverage(spans: Collection[Span]) -> float:
    """Share of the root's time, 0 to 1, that its innermost spans cover: 1 has no holes.

    spans: the platform's own of one trace; the first is the root.
    """
    root = next(iter(spans))
    parents = {span.parent for span in spans}
    leaves = sorted((span.start, span.end) for span in spans if span.span not in parents and span is not root)
    covered, until = 0, root.start
    for start, end in leaves:
        covered += max(0, min(end, root.end) - max(start, until))
        until = max(until, end)
    return covered / (root.end - root.start) if root.end > root.start else 1.0


class _Making:
    """The spans of one record."""

    def __init__(
        self, record: InvocationRecord, traced: Traced, facts: VersionFacts, account: str, region: str
    ) -> None:
        self._record, self._traced, self._facts = record, traced, facts
        self._arn = function_arn(region, account, facts.function, record.qualifier)
        self._resource = _resource(record, facts, account, region)
        self._made = 0

    def root(self, max_memory_mb: float | None) -> Span:
        record, facts, traced = self._record, self._facts, self._traced
        attributes: Attributes = {
            **own(record),
            "faas.trigger": "http" if record.method else "other",
            "faas.coldstart": record.cold,
            "cloud.resource_id": self._arn,
            "fc.function_arn": self._arn,
            "fc.qualifier": record.qualifier,
            "fc.version_id": facts.version,
            "fc.instance_id": record.instance,
            "fc.invocation_type": "Sync",
            "fc.cold_start": record.cold,
            "fc.retry_count": 0,
            "fc.outcome": record.outcome.value,
            "fc.memory_mb": facts.memory_mb,
        }
        if record.method:
            attributes |= _http(record)
        if record.status:
            attributes["http.response.status_code"] = record.status
        if max_memory_mb is not None:
            attributes["fc.max_memory_mb"] = max_memory_mb
        if traced.debug_id:
            attributes["jaeger-debug-id"] = traced.debug_id
        end = max(record.received, record.ended)
        failed = is_error(record)
        attributes |= self._error() if failed else {}
        return self._span(
            traced.root, traced.parent, facts.function, Kind.SERVER, record.received, end, failed, attributes
        )

    def beneath(self, parent: str, pieces: Iterable[Piece]) -> Iterable[Span]:
        """Spans of pieces and of what these are made of, in order of their beginning."""
        for piece in pieces:
            span = self._invocation(parent, piece) if piece.name == INVOCATION else self._system(parent, piece)
            yield span
            yield from self.beneath(span.span, piece.within)

    def _invocation(self, parent: str, piece: Piece) -> Span:
        failed = is_error(self._record)  # also where the function answered so itself
        attributes: Attributes = {"fc.instance_id": self._record.instance}
        if self._record.method:
            attributes["http.request.method"] = _method(self._record)
        attributes |= self._error() if failed else {}
        at = self._record.first_byte
        events = (SpanEvent("first byte", at),) if piece.begin <= at <= piece.end else ()
        id_, begin, end = self._traced.invocation, piece.begin, piece.end
        return self._span(id_, parent, INVOCATION, Kind.CLIENT, begin, end, failed, attributes, events)

    def _system(self, parent: str, piece: Piece) -> Span:
        attributes = self._error() if piece.failed else {}
        if piece.failed and piece.name == COLD_START:
            attributes["fc.failed_stage"] = failed_stage(self._record)
        return self._span(
            self._new_id(), parent, piece.name, Kind.INTERNAL, piece.begin, piece.end, piece.failed, attributes
        )

    def _span(
        self, id_: str, parent: str, name: str, kind: Kind, start: int, end: int, failed: bool,
        attributes: Attributes, events: tuple[SpanEvent, ...] = (),
    ) -> Span:  # fmt: skip
        record, facts = self._record, self._facts
        return Span(
            self._traced.trace, id_, parent, name, kind, start, end, facts.function, facts.function, facts.version,
            record.instance, True, Status.ERROR if failed else Status.UNSET,
            record.reason or _told(record) if failed else "", attributes, self._resource, events,
            state=self._traced.state, scope=SCOPE,
        )  # fmt: skip

    def _new_id(self) -> str:
        """Always the same for the same place in the same invocation; never zero."""
        self._made += 1
        digest = hashlib.blake2b(f"{self._traced.root}/{self._made}".encode(), digest_size=8).hexdigest()
        return digest if digest.strip("0") else f"{1:016x}"

    def _error(self) -> Attributes:
        record = self._record
        told: Attributes = {"error.type": _told(record)}
        if kind := error_type(record):
            told["fc.error_type"] = kind
        return told


def _told(record: InvocationRecord) -> str:
    """What an error is counted by: the code that was answered, else a status, else how it ended."""
    status = str(record.status) if record.outcome is Outcome.OK else ""
    return record.error or status or record.outcome.value


def _method(record: InvocationRecord) -> str:
    return record.method if record.method in _METHODS else "_OTHER"


def _http(record: InvocationRecord) -> Attributes:
    """Source: §6.2. The trigger takes every path, so that is the route."""
    told: Attributes = {
        "http.request.method": _method(record),
        "http.route": "/*",
        "url.scheme": "https" if record.secure else "http",
    }
    if record.method not in _METHODS:
        told["http.request.method_original"] = record.method
    return told


def _resource(record: InvocationRecord, facts: VersionFacts, account: str, region: str) -> Attributes:
    told: Attributes = {
        "service.name": facts.function,
        "faas.name": facts.function,
        "faas.version": facts.version,
        "faas.max_memory": facts.memory_mb << 20,
        "cloud.region": region,
        "cloud.account.id": account,
    }
    if record.instance:
        told["faas.instance"] = record.instance
    return told

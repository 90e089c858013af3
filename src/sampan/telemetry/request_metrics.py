"""The request-metrics record of one invocation, with the members that Function Compute gives it. Pure.

Source: tracing-contract.md §7. Latencies are milliseconds, timestamps Unix milliseconds.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from sampan.model.invocation import InvocationRecord, Outcome, VersionFacts
from sampan.model.names import LATEST
from sampan.telemetry.layout import COLD_START, PREPARE, RUNTIME, SCHEDULE, Piece, layout
from sampan.telemetry.outgoing import fc_context
from sampan.telemetry.spans import error_type

_MS = 1_000_000  # nanoseconds

_FUNCTIONS_FAULT = frozenset((Outcome.FUNCTION_ERROR, Outcome.TIMED_OUT, Outcome.START_FAILED))
_ERROR_TYPES = frozenset(("FunctionOOMError", "FunctionTimeoutError", "FunctionUnhandledError"))


@dataclass(slots=True, frozen=True)
class Place:
    """Where it ran, and what else was running when it ended."""

    memory_used_mb: float
    hostname: str
    address: str
    active_instances: int  # of the account
    active_of_function: int
    provisioned: bool = False  # in an instance that is kept whether or not anybody asks


def topic(function: str) -> str:
    """The topic it is written under."""
    return f"FCRequestMetrics:/{function}"


def request_metrics(record: InvocationRecord, facts: VersionFacts, place: Place) -> dict[str, object]:
    """One record per attempt."""
    pieces = layout(record)
    told: dict[str, object] = {
        "functionName": facts.function,
        "versionId": "" if facts.version == LATEST else facts.version,
        "qualifier": record.qualifier,
        "requestId": record.request,
        "operation": "InvokeFunction",
        "invocationType": "Sync",
        "memoryMB": facts.memory_mb,
        "memoryUsageMB": place.memory_used_mb,
        "durationMs": _ms(record.ended - record.leased) if record.leased else 0.0,
        "isColdStart": record.cold,
        "hasFunctionError": record.outcome in _FUNCTIONS_FAULT,
        "invokeFunctionLatencyMs": _ms(record.ended - record.received),
        "invokeFunctionStartTimestamp": record.received // _MS,
        "invocationStartTimestamp": record.leased // _MS,
        "resourceMode": "Provision" if place.provisioned else "OnDemand",
        "instanceID": record.instance,
        "hostname": place.hostname,
        "ipAddress": place.address,
        "activeInstances": place.active_instances,
        "activeInstancesPerFunction": place.active_of_function,
        "scheduleLatencyMs": _ms(sum(piece.end - piece.begin for piece in _named(pieces, SCHEDULE))),
    }
    if record.outcome in _FUNCTIONS_FAULT:
        kind = error_type(record)
        told["errorType"] = kind if kind in _ERROR_TYPES else "FunctionUnhandledError"
    if record.cold:
        told |= _cold_start(pieces)
    if record.traced is not None:
        told |= {"traceContext": fc_context(record.traced), "isSampled": record.traced.sampled}
    if record.method:
        told |= {
            "method": record.method,
            "path": record.path,
            "statusCode": record.status,
            "clientIP": record.client,
        }
    return told


def _cold_start(pieces: Sequence[Piece]) -> dict[str, object]:
    """Of a part that was done before the request came, such as the making of a spare, the latency is 0."""
    cold = next(_named(pieces, COLD_START), None)
    if cold is None:
        return {}
    prepare, preparing = _stretch(_named(cold.within, PREPARE), cold.begin)
    runtime, initializing = _stretch(_named(cold.within, RUNTIME), cold.end)
    return {
        "instanceEvent": "ColdStart",
        "coldStartStartTimestamp": cold.begin // _MS,
        "coldStartLatencyMs": _ms(cold.end - cold.begin),
        "prepareCodeStartTimestamp": prepare // _MS,
        "prepareCodeLatencyMs": _ms(preparing),
        "runtimeInitializationStartTimestamp": runtime // _MS,
        "runtimeInitializationMs": _ms(initializing),
    }


def _named(pieces: Iterable[Piece], name: str) -> Iterator[Piece]:
    """Of all pieces, also those within others."""
    for piece in pieces:
        if piece.name == name:
            yield piece
        yield from _named(piece.within, name)


def _stretch(pieces: Iterable[Piece], otherwise: int) -> tuple[int, int]:
    """When the first begins, and how long they take together; there are none: `otherwise`, 0."""
    found = list(pieces)
    return (found[0].begin if found else otherwise), sum(piece.end - piece.begin for piece in found)


def _ms(nanoseconds: int) -> float:
    return round(max(0, nanoseconds) / _MS, 3)

"""How the time of one invocation is divided: from its record to pieces that leave no hole. Pure.

    received ─ Schedule ─ ColdStart(PrepareCode(pull prepare) Schedule RuntimeInitialization(create start ready))
             ─ Schedule ─ Initializer ─ Schedule ─ leased ─ Invocation ─ ended

Time that belongs to no stage is a wait for placement: for room, for a turn, for word from one process to another.
Source: tracing-contract.md §3. Times are Unix nanoseconds.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from sampan.model.instance import FAILED, Stage
from sampan.model.invocation import InvocationRecord, Outcome

SCHEDULE, COLD_START, PREPARE, RUNTIME = "Schedule", "ColdStart", "PrepareCode", "RuntimeInitialization"
INITIALIZER, INVOCATION, THAW = "Initializer", "Invocation", "Thaw"

GROUPS = {
    "queue": SCHEDULE,
    "pull": PREPARE,
    "prepare": PREPARE,
    "create": RUNTIME,
    "start": RUNTIME,
    "ready": RUNTIME,
    "initialize": INITIALIZER,
    "thaw": THAW,
}
"""The span that a stage belongs to; a stage without one is a span of its own."""

_IN_COLD_START = frozenset((PREPARE, RUNTIME))
_NOBODYS_FAULT = frozenset((Outcome.OK, Outcome.REFUSED, Outcome.CLIENT_GONE))

FAILED_STAGES = {
    "ImageNotFound": "pull",
    "ImagePullDenied": "pull",
    "ImagePlatformMismatch": "pull",
    "ImageInvalid": "pull",
    "ImagePullFailed": "pull",
    "DiskFull": "prepare",
    "ResourceThrottled": "queue",
    "CAFileNotFound": "create",
    "CAExited": "ready",
    "OutOfMemory": "ready",
    "FunctionNotStarted": "ready",
    "InitializationError": "initialize",
    "InternalServerError": "start",
}
"""The code of a failed start → the stage that failed."""


@dataclass(slots=True, frozen=True)
class Piece:
    """One stretch of the time, and what it is made of."""

    name: str
    begin: int
    end: int
    within: tuple["Piece", ...] = ()
    failed: bool = False


def layout(record: InvocationRecord) -> tuple[Piece, ...]:
    """From `received` to `ended`, side by side in order."""
    begin, end = record.received, max(record.received, record.ended)
    waited = min(max(record.leased, begin), end) if record.leased else end
    failed = record.outcome not in _NOBODYS_FAULT
    pieces = _filled(begin, waited, _startup(record, begin, waited))
    if record.leased:
        return *pieces, Piece(INVOCATION, waited, end, failed=failed)
    return (*pieces[:-1], _broken(pieces[-1])) if failed else pieces


def failed_stage(record: InvocationRecord) -> str:
    """The stage at which a start failed; "": it did not fail."""
    return FAILED_STAGES.get(record.error, "start") if record.outcome is Outcome.START_FAILED else ""


def waited_for_start(record: InvocationRecord) -> bool:
    """Whether it suffered a cold start, also one that failed: then its trace has a `ColdStart`.

    Who is told of a start that failed before has waited for none. Source: tracing-contract.md §3.
    """
    if record.cold or record.outcome is not Outcome.START_FAILED:
        return record.cold
    return any(piece.name == COLD_START for piece in layout(record))


def _startup(record: InvocationRecord, begin: int, end: int) -> list[Piece]:
    """The stages that fell into the wait, those of a cold start together."""
    stages = list(_clipped(record.startup, begin, end))
    failing = failed_stage(record) if not record.leased else ""
    if failing == "queue" or (failing and _is_over(record.startup, begin)):
        return []
    if not stages and (failing or record.cold):
        return [Piece(COLD_START, begin, end)]  # what it was made of, nobody has told
    if failing:
        last = stages.pop() if stages[-1].name == FAILED else Stage(FAILED, stages[-1].end, end)
        stages.append(Stage(failing, last.begin, end))
    return list(_with_cold_start(list(_grouped(stages))))


def _is_over(startup: Sequence[Stage], begin: int) -> bool:
    """Whether it failed before this request came, which is told of it and waits for no other start."""
    return bool(startup) and startup[-1].name == FAILED and startup[-1].end < begin


def _clipped(stages: Iterable[Stage], begin: int, end: int) -> Iterable[Stage]:
    """In order, without overlap. A start that began for somebody else counts from when this request came."""
    for stage in sorted(stages, key=lambda one: one.begin):
        if stage.end >= begin and stage.begin <= end:
            clipped = Stage(stage.name, max(stage.begin, begin), min(stage.end, end))
            if clipped.begin <= clipped.end:
                yield clipped
            begin = max(begin, clipped.end)


def _group(stage: Stage) -> str:
    return GROUPS.get(stage.name) or stage.name


def _grouped(stages: Iterable[Stage]) -> Iterable[Piece]:
    """Neighbours of one group make one piece."""
    for group, run in groupby(stages, _group):
        parts = [Piece(stage.name, stage.begin, stage.end) for stage in run]
        begin, end = parts[0].begin, parts[-1].end
        yield Piece(group, begin, end, _filled(begin, end, parts) if group in _IN_COLD_START else ())


def _with_cold_start(groups: Sequence[Piece]) -> Iterable[Piece]:
    """The groups that make a cold start become one piece, whatever lies between them."""
    cold = [at for at, group in enumerate(groups) if group.name in _IN_COLD_START]
    if not cold:
        return groups
    first, after = cold[0], cold[-1] + 1
    inside = groups[first:after]
    begin, end = inside[0].begin, inside[-1].end
    return *groups[:first], Piece(COLD_START, begin, end, _filled(begin, end, inside)), *groups[after:]


def _filled(begin: int, end: int, pieces: Iterable[Piece]) -> tuple[Piece, ...]:
    """With a wait wherever there is a gap."""
    found: list[Piece] = []
    for piece in pieces:
        if piece.begin > begin:
            found.append(Piece(SCHEDULE, begin, piece.begin))
        found.append(piece)
        begin = max(begin, piece.end)
    if end > begin or not found:
        found.append(Piece(SCHEDULE, begin, end))
    return tuple(found)


def _broken(piece: Piece) -> Piece:
    """It failed, at the last of what it is made of."""
    within = (*piece.within[:-1], _broken(piece.within[-1])) if piece.within else ()
    return replace(piece, within=within, failed=True)

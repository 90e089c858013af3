"""Spans on their way into the database: a queue that never makes anybody wait, and what it could not take."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, fields

import msgspec

from sampan.model.trace import Span
from sampan.telemetry.spans import count, ordinary
from sampan.traces import rows
from sampan.traces.rows import Invoked

MOST_SPANS = 50_000
MOST_BYTES = 32 << 20  # packed; in memory a span is about three times that
SIZE = 500  # bytes of an invocation that waits, besides what its caller chose
ORDINARY = 0.8  # of the room is for ordinary invocations; failures, cold starts and functions' spans have all of it
LARGEST = 256 << 10  # bytes of one span
_LIMIT = 1 << 62  # nanoseconds; the year 2116


class Waiting(msgspec.Struct, frozen=True, gc=False):
    span: Span
    packed: bytes


class Invocation(msgspec.Struct, frozen=True, gc=False):
    """Spans that are made when they are written, or read."""

    invoked: Invoked
    spans: int
    size: int  # bytes, about


@dataclass(slots=True)
class Losses:
    """Spans that are not there, or not found, since the start of the process; and why."""

    full: int = 0  # the queue was full
    invalid: int = 0  # no span: ids, times or text that cannot be
    large: int = 0  # over LARGEST
    crowded: int = 0  # its trace had as many as one may
    unindexed: int = 0  # kept, but some of its attributes are not found by search

    def add(self, other: "Losses") -> None:
        for loss in fields(self):
            setattr(self, loss.name, getattr(self, loss.name) + getattr(other, loss.name))


class Queue:
    """Bounded by spans and by bytes."""

    def __init__(self, losses: Losses, most_spans: int = MOST_SPANS, most_bytes: int = MOST_BYTES) -> None:
        self._losses = losses
        self._most_spans, self._most_bytes = most_spans, most_bytes
        self._waiting: deque[Waiting | Invocation] = deque()
        self._spans = self._bytes = 0

    def __len__(self) -> int:
        """Spans."""
        return self._spans

    def add(self, some: Iterable[Span]) -> None:
        """Take what there is room for; count the rest."""
        for span in some:
            each = waiting(span, self._losses)
            if each is not None:
                self._admit(each, 1, len(each.packed), self._most_spans)

    def add_invocations(self, invoked: Iterable[Invoked]) -> None:
        """Take what there is room for, and leave some to spans that are no ordinary invocation's."""
        for each in invoked:
            record, traced = each.record, each.record.traced
            if traced is None or not (_whole(traced.trace) and _possible(record.received, record.ended)):
                self._losses.invalid += 1
                continue
            made = count(record)
            most = int(self._most_spans * ORDINARY) if ordinary(record) else self._most_spans
            size = SIZE + len(record.path) + len(traced.state) + len(record.reason)
            self._admit(Invocation(each, made, size), made, size, most)

    def _admit(self, each: Waiting | Invocation, made: int, size: int, most: int) -> None:
        if self._spans + made > most or self._bytes + size > self._most_bytes:
            self._losses.full += made
            return
        self._waiting.append(each)
        self._spans += made
        self._bytes += size

    def take(self, most: int) -> list[Waiting | Invocation]:
        """The oldest, at most so many; an invocation counts as one."""
        taken = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
        self._spans -= spans(taken)
        self._bytes -= sum([each.size if isinstance(each, Invocation) else len(each.packed) for each in taken])
        return taken


def spans(some: Iterable[Waiting | Invocation]) -> int:
    """How many they are."""
    return sum([each.spans if isinstance(each, Invocation) else 1 for each in some])


def waiting(span: Span, losses: Losses) -> Waiting | None:
    """Packed; None: it is none, or too large, and counted."""
    try:
        if not (_whole(span.trace) and _possible(span.start, span.end)):
            raise ValueError
        packed = rows.pack(span)
    except (ValueError, OverflowError, TypeError, RecursionError):
        losses.invalid += 1
        return None
    if len(packed) > LARGEST:
        losses.large += 1
        return None
    return Waiting(span, packed)


def _whole(trace: str) -> bool:
    try:
        return len(bytes.fromhex(trace)) == 16
    except ValueError:
        return False


def _possible(start: int, end: int) -> bool:
    return 0 <= start < _LIMIT and 0 <= end < _LIMIT

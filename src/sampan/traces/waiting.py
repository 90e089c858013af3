"""Spans on their way into the database: a queue that never makes anybody wait, and what it could not take."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import NamedTuple

from sampan.model.trace import Span
from sampan.traces import rows

MOST_SPANS = 50_000
MOST_BYTES = 32 << 20  # packed; in memory a span is about three times that
LARGEST = 256 << 10  # bytes of one span
_LIMIT = 1 << 62  # nanoseconds; the year 2116


class Waiting(NamedTuple):
    span: Span
    packed: bytes


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
        self._spans: deque[Waiting] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._spans)

    def add(self, spans: Iterable[Span]) -> None:
        """Take what there is room for; count the rest."""
        for span in spans:
            packed = self._packed(span)
            if packed is None:
                continue
            if len(self._spans) >= self._most_spans or self._bytes + len(packed) > self._most_bytes:
                self._losses.full += 1
                continue
            self._spans.append(Waiting(span, packed))
            self._bytes += len(packed)

    def _packed(self, span: Span) -> bytes | None:
        try:
            if len(bytes.fromhex(span.trace)) != 16 or not (0 <= span.start < _LIMIT and 0 <= span.end < _LIMIT):
                raise ValueError
            packed = rows.pack(span)
        except (ValueError, OverflowError, TypeError, RecursionError):
            self._losses.invalid += 1
            return None
        if len(packed) > LARGEST:
            self._losses.large += 1
            return None
        return packed

    def take(self, most: int) -> list[Waiting]:
        """The oldest, at most so many."""
        taken = [self._spans.popleft() for _ in range(min(most, len(self._spans)))]
        self._bytes -= sum(len(each.packed) for each in taken)
        return taken

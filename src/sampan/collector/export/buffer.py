"""What an exporter holds: items that wait, and those on their way, within bounds."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from sampan.collector.export.patience import Limits

T = TypeVar("T")


@dataclass(slots=True)
class Held(Generic[T]):
    item: T
    size: int
    until: float  # of the loop's clock; afterwards it is given up


class Budget:
    """Bytes that several exporters may hold together."""

    def __init__(self, size: int) -> None:
        self._free = size

    def take(self, size: int) -> bool:
        if size > self._free:
            return False
        self._free -= size
        return True

    def give(self, size: int) -> None:
        self._free += size


class Buffer(Generic[T]):
    """Items in the order in which they came. What was taken counts as held until it is released or put back."""

    def __init__(self, limits: Limits, budget: Budget | None) -> None:
        self._limits, self._budget = limits, budget
        self._waiting: deque[Held[T]] = deque()
        self._waiting_size = 0  # bytes
        self._size = 0  # bytes held
        self.held = 0  # items, those on their way, too

    def __bool__(self) -> bool:
        """Does anything wait?"""
        return bool(self._waiting)

    @property
    def full(self) -> bool:
        """Has it as many items as it may?"""
        return self.held >= self._limits.items

    def admit(self, one: Held[T]) -> bool:
        """Hold it, if there is room."""
        if self.full or self._size + one.size > self._limits.size:
            return False
        if self._budget is not None and not self._budget.take(one.size):
            return False
        self._waiting.append(one)
        self._waiting_size += one.size
        self._size += one.size
        self.held += 1
        return True

    def has_batch(self) -> bool:
        """Does a full one wait?"""
        return len(self._waiting) >= self._limits.batch_items or self._waiting_size >= self._limits.batch_size

    def oldest(self) -> Held[T] | None:
        return self._waiting[0] if self._waiting else None

    def take(self, now: float) -> tuple[list[Held[T]], list[Held[T]]]:
        """The next batch, and what is too old to be sent. An item larger than a batch is one of its own."""
        batch: list[Held[T]] = []
        aged: list[Held[T]] = []
        size = 0
        while self._waiting and len(batch) < self._limits.batch_items:
            one = self._waiting[0]
            if batch and size + one.size > self._limits.batch_size:
                break
            self._waiting.popleft()
            self._waiting_size -= one.size
            if one.until <= now:
                aged.append(one)
            else:
                batch.append(one)
                size += one.size
        return batch, aged

    def put_back(self, part: list[Held[T]]) -> None:
        """To the front: it was taken, and neither sent nor lost."""
        self._waiting.extendleft(reversed(part))
        self._waiting_size += sum(one.size for one in part)

    def release(self, part: Iterable[Held[T]]) -> None:
        """It was sent or lost."""
        for one in part:
            self.held -= 1
            self._size -= one.size
            if self._budget is not None:
                self._budget.give(one.size)

    def clear(self) -> list[Held[T]]:
        """All that waits, taken."""
        left = list(self._waiting)
        self._waiting.clear()
        self._waiting_size = 0
        return left

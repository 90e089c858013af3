"""Metrics as they are counted: plain numbers, bound once, then touched without a look-up; and a limit on how many.

A label set of a metric is a series here, a histogram's buckets included. The label that names the function comes
first, labels of a closed set (a trigger's kind, an error's) last. When a function has more series than its share,
or all have more than there may be, further label sets are counted together under `_other`.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

from prometheus_client.core import Exemplar as Marked
from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Sample

OTHER = "_other"
MOST = 10_000  # series in all
MOST_OF_ONE = 1_000  # series of one function
PIECE = 50  # series written before others get their turn

TIME = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Seconds. Source: tracing-contract.md §6.1."""
BYTES = tuple(float(1 << power) for power in range(8, 31, 2))
MEMORY = tuple(float(1 << power) for power in range(23, 36))  # 8 MiB … 32 GiB


Exemplar = tuple[str, float, float]
"""A trace that a number was counted from: its id, the number, Unix seconds. Plain: one is made per request."""


class Counter:
    __slots__ = ("exemplar", "value")

    def __init__(self) -> None:
        self.value: float = 0
        self.exemplar: Exemplar | None = None

    def samples(self, name: str, labels: dict[str, str]) -> Iterator[Sample]:
        marked = self.exemplar
        yield Sample(name + "_total", labels, self.value, None, marked and _marked(marked))


class Histogram:
    """counts, exemplars: one per bucket, the last for what is over all bounds."""

    __slots__ = ("bounds", "counts", "exemplars", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.exemplars: list[Exemplar | None] = [None] * len(self.counts)
        self.sum: float = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        self.counts[bisect_left(self.bounds, value)] += times
        self.sum += value * times

    def samples(self, name: str, labels: dict[str, str]) -> Iterator[Sample]:
        total = 0
        for at, (count, marked) in enumerate(zip(self.counts, self.exemplars, strict=True)):
            total += count
            bound = repr(self.bounds[at]) if at < len(self.bounds) else "+Inf"
            yield Sample(name + "_bucket", {**labels, "le": bound}, total, None, marked and _marked(marked))
        yield Sample(name + "_count", labels, total)
        yield Sample(name + "_sum", labels, self.sum)


def _marked(exemplar: Exemplar) -> Marked:
    trace, value, time = exemplar
    return Marked({"trace_id": trace}, value, time)


class Budget:
    """How many series there are, and may be."""

    def __init__(self, most: int = MOST, most_of_one: int = MOST_OF_ONE) -> None:
        self.most, self.most_of_one = most, most_of_one
        self.used = 0
        self.refused = 0  # label sets that were put under `_other`
        self._of: dict[str, int] = {}

    @property
    def functions(self) -> list[str]:
        """Those that have series."""
        return list(self._of)

    def take(self, function: str) -> bool:
        """Whether the function may have one more series."""
        if self.used >= self.most or self._of.get(function, 0) >= self.most_of_one:
            self.refused += 1
            return False
        self.used += 1
        self._of[function] = self._of.get(function, 0) + 1
        return True

    def give(self, function: str, count: int) -> None:
        self.used -= count
        left = self._of.get(function, 0) - count
        if left > 0:
            self._of[function] = left
        else:
            self._of.pop(function, None)


S = TypeVar("S", Counter, Histogram)


class Family(Generic[S]):
    """One metric: its series by their labels."""

    def __init__(
        self,
        name: str,
        help_: str,
        labels: Sequence[str],
        make: Callable[[], S],
        budget: Budget,
        unit: str = "",
        closed: int = 0,
    ) -> None:
        """labels: the function's first; `closed` of them, the last ones, are of closed sets.

        name: without the `_total` of a counter.
        """
        self.name, self.help, self.labels, self.unit = name, help_, tuple(labels), unit
        self._make: Callable[[], S] = make
        self._budget, self._closed = budget, closed
        self._type = "counter" if isinstance(make(), Counter) else "histogram"
        self.series: dict[tuple[str, ...], S] = {}
        self._over: dict[tuple[str, ...], S] = {}  # under `_other`: bounded by the closed sets alone

    def at(self, *labels: str) -> S:
        """The series of these labels, made if there is none yet."""
        found = self.series.get(labels)
        if found is not None:
            return found
        if self._budget.take(labels[0]):
            return self.series.setdefault(labels, self._make())
        others = len(labels) - self._closed
        rest = (OTHER,) * others + labels[others:]
        if rest not in self._over:
            self._over[rest] = self._make()
        return self._over[rest]

    def forget(self, function: str) -> None:
        """Its series go; those under `_other` stay, being nobody's."""
        gone = [labels for labels in self.series if labels[0] == function]
        for labels in gone:
            del self.series[labels]
        self._budget.give(function, len(gone))

    def pieces(self) -> list[Callable[[], Metric]]:
        """The metric as prometheus-client writes it, in pieces that take some milliseconds each."""
        all_: list[tuple[tuple[str, ...], S]] = list((self.series | self._over).items())
        return [self._piece(all_[at : at + PIECE]) for at in range(0, len(all_), PIECE)]

    def _piece(self, some: list[tuple[tuple[str, ...], S]]) -> Callable[[], Metric]:
        def make() -> Metric:
            metric = Metric(self.name, self.help, self._type, self.unit)
            for labels, series in some:
                metric.samples.extend(series.samples(self.name, dict(zip(self.labels, labels, strict=True))))
            return metric

        return make

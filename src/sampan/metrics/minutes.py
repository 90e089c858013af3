"""One function in one minute: numbers that add up, whoever counted them and in how many pieces. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import msgspec

from sampan.metrics.catalogue import error_kind, throttle_kind
from sampan.metrics.sketch import Sketch, add, tally
from sampan.model.invocation import InvocationRecord, Outcome, VersionFacts, is_error
from sampan.model.names import VersionKey, split_version_key

NANOSECONDS = 60_000_000_000
THROTTLED = "throttled"
ANSWERED = "5xx"  # the function's own answer
ALL = ""  # in a function's place: all functions together


class Minute(msgspec.Struct, array_like=True):
    """Sums, sketches and maxima. `plus` of two is what one counter of both would have counted."""

    calls: int = 0
    cold: int = 0
    errors: dict[str, int] = {}  # client, server, function, throttled, 5xx
    seconds: float = 0.0  # in functions
    durations: Sketch = {}  # in the function
    latencies: Sketch = {}  # from received to answered
    bytes_in: int = 0
    bytes_out: int = 0
    cpu_ns: int = 0
    active: int = 0  # maxima, here and below
    waiting: int = 0
    memory: int = 0  # bytes, of all instances together
    instances: dict[str, int] = {}  # by state

    def count(self, records: Sequence[InvocationRecord]) -> None:
        """More invocations."""
        self.calls += len(records)
        self.cold += sum([record.cold for record in records])
        for record in [record for record in records if record.outcome is not Outcome.OK or is_error(record)]:
            self._fail(_kind(record))
        self.bytes_in += sum([record.bytes_in for record in records])
        self.bytes_out += sum([record.bytes_out for record in records])
        tally(self.latencies, [record.ended - record.received for record in records])
        inside = [max(0, record.ended - record.leased) for record in records if record.leased]
        self.seconds += sum(inside) / 1e9
        tally(self.durations, inside)

    def _fail(self, kind: str) -> None:
        self.errors[kind] = self.errors.get(kind, 0) + 1

    def look(self, active: int, waiting: int, memory: int, instances: dict[str, int]) -> None:
        """How it is at one moment."""
        self.active, self.waiting = max(self.active, active), max(self.waiting, waiting)
        self.memory = max(self.memory, memory)
        for state, count in instances.items():
            self.instances[state] = max(self.instances.get(state, 0), count)

    def beside(self, other: "Minute") -> None:
        """What another function has at the same moment."""
        self.active += other.active
        self.waiting += other.waiting
        self.memory += other.memory
        for state, count in other.instances.items():
            self.instances[state] = self.instances.get(state, 0) + count

    def plus(self, other: "Minute") -> None:
        """Take in what was counted elsewhere, or at another time."""
        self.calls += other.calls
        self.cold += other.cold
        self.seconds += other.seconds
        self.bytes_in += other.bytes_in
        self.bytes_out += other.bytes_out
        self.cpu_ns += other.cpu_ns
        for kind, count in other.errors.items():
            self.errors[kind] = self.errors.get(kind, 0) + count
        add(self.durations, other.durations)
        add(self.latencies, other.latencies)
        self.look(other.active, other.waiting, other.memory, other.instances)


def _kind(record: InvocationRecord) -> str:
    if record.outcome is Outcome.OK:
        return ANSWERED
    return THROTTLED if throttle_kind(record) else error_kind(record)


Minutes = dict[tuple[str, int], Minute]
"""(function, Unix minutes) → its numbers."""


def fold(records: Iterable[InvocationRecord], versions: dict[VersionKey, VersionFacts]) -> Minutes:
    """What invocations add to the minutes they ended in."""
    groups: dict[tuple[VersionKey, int], list[InvocationRecord]] = defaultdict(list)
    for record in records:
        groups[record.version, record.ended // NANOSECONDS].append(record)
    found: Minutes = {}
    for (version, minute), some in groups.items():
        facts = versions.get(version)
        function = facts.function if facts is not None else split_version_key(version)[0]
        found.setdefault((function, minute), Minute()).count(some)
    return found


def merge(into: Minutes, other: Minutes) -> None:
    for key, minute in other.items():
        if key in into:
            into[key].plus(minute)
        else:
            into[key] = minute


def with_all(minutes: Minutes) -> Minutes:
    """And what invocations of all functions together add to each minute."""
    found = dict(minutes)
    for (_, at), minute in minutes.items():
        found.setdefault((ALL, at), Minute()).plus(minute)
    return found

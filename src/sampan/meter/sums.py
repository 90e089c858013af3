"""From records to sums, in memory: what a batch adds to which minute of which version. Pure."""

from collections.abc import Iterable, Iterator

from sampan.meter.stretches import MINUTE, Stretch
from sampan.model.invocation import InvocationRecord, Outcome
from sampan.model.names import VersionKey

INITIALIZE = "initialize"  # the stage of a start in which the function's initializer ran

CHARGED = frozenset({Outcome.OK, Outcome.FUNCTION_ERROR, Outcome.TIMED_OUT, Outcome.CLIENT_GONE, Outcome.REFUSED})
"""What had its time in a function ends so. Refusals and failures of the platform's own are not charged.

Source: triggers.md (throttling, platform errors, lack of resources: not billed)."""

LONGEST = 7 * 86_400_000_000_000
"""Nanoseconds. A stretch beyond this is no request's but that of a clock that was set: it is not charged."""

Key = tuple[VersionKey, int]
"""A version and a minute."""


class Sums:
    """Additions to the columns of `usage`, by version and minute."""

    def __init__(self) -> None:
        self.added: dict[Key, dict[str, int]] = {}
        self.peaks: dict[Key, int] = {}  # bytes

    def add(self, version: VersionKey, minute: int, **amounts: int) -> None:
        row = self.added.setdefault((version, minute), {})
        for name, amount in amounts.items():
            if amount:
                row[name] = row.get(name, 0) + amount

    def peak(self, version: VersionKey, minute: int, memory: int) -> None:
        """memory: bytes"""
        self.added.setdefault((version, minute), {})
        self.peaks[version, minute] = max(memory, self.peaks.get((version, minute), 0))

    def merge(self, other: "Sums") -> None:
        for (version, minute), amounts in other.added.items():
            self.add(version, minute, **amounts)
        for (version, minute), memory in other.peaks.items():
            self.peak(version, minute, memory)

    def count(self, record: InvocationRecord) -> None:
        """All of a record but its time, in the minute it ended."""
        amounts = {
            "calls": 1,
            "billed": int(charged(record)),
            "cold": int(record.cold),
            "bytes_in": record.bytes_in,
            "bytes_out": record.bytes_out,
        }
        if record.outcome is not Outcome.OK:
            amounts[record.outcome.value] = 1
        self.add(record.version, record.ended // MINUTE, **amounts)


def charged(record: InvocationRecord) -> bool:
    """Whether it was in a function, and ended so that this is charged."""
    return bool(record.leased and record.instance) and record.outcome in CHARGED


def time_of(record: InvocationRecord) -> Iterator[Stretch]:
    """The stretches of its instance's time that are charged for it: the request's, and its initializer's.

    Hooks are billed as requests are, but for the count. Source: container-contract.md A3.
    """
    if charged(record) and 0 < record.ended - record.leased <= LONGEST:
        yield record.leased, record.ended
    if record.instance:
        for stage in record.startup:
            if stage.name == INITIALIZE and 0 < stage.end - stage.begin <= LONGEST:
                yield stage.begin, stage.end


def times(records: Iterable[InvocationRecord]) -> dict[str, tuple[VersionKey, list[Stretch]]]:
    """Charged time by instance, with its version."""
    found: dict[str, tuple[VersionKey, list[Stretch]]] = {}
    for record in records:
        for stretch in time_of(record):
            found.setdefault(record.instance, (record.version, []))[1].append(stretch)
    return found

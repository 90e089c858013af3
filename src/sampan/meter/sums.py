"""From records to sums, in memory: what a batch adds to which minute of which version. Pure."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from sampan.meter.stretches import MINUTE, Stretch
from sampan.model.instance import Stage
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

    def count(self, version: VersionKey, records: Sequence[InvocationRecord]) -> None:
        """All of a version's records but their time, in the minutes they ended."""
        minutes = {record.ended // MINUTE for record in records}
        for minute in minutes:
            some = records
            if len(minutes) > 1:
                some = [record for record in records if record.ended // MINUTE == minute]
            self.add(
                version,
                minute,
                calls=len(some),
                billed=len(charged(some)),
                cold=sum([record.cold for record in some]),
                bytes_in=sum([record.bytes_in for record in some]),
                bytes_out=sum([record.bytes_out for record in some]),
                **Counter([record.outcome.value for record in some if record.outcome is not Outcome.OK]),
            )


def charged(records: Iterable[InvocationRecord]) -> list[InvocationRecord]:
    """Those that were in a function, and ended so that this is charged."""
    return [
        record
        for record in records
        if record.leased and record.instance and (record.outcome is Outcome.OK or record.outcome in CHARGED)
    ]


def times(
    groups: Mapping[VersionKey, Sequence[InvocationRecord]],
) -> dict[str, tuple[VersionKey, list[Stretch]]]:
    """The time that is charged, by instance, with its version: that of requests, and of their initializers.

    Hooks are billed as requests are, but for the count. Source: container-contract.md A3. groups: by version.
    """
    found: dict[str, tuple[VersionKey, list[Stretch]]] = {}
    for version, records in groups.items():
        stretches: dict[str, list[Stretch]] = defaultdict(list)
        for record in charged(records):
            if 0 < record.ended - record.leased <= LONGEST:
                stretches[record.instance].append((record.leased, record.ended))
        for record in records:
            if record.startup and record.instance:
                stretches[record.instance] += initializing(record.startup)
        found |= {instance: (version, some) for instance, some in stretches.items() if some}
    return found


def initializing(startup: Iterable[Stage]) -> list[Stretch]:
    return [
        (stage.begin, stage.end)
        for stage in startup
        if stage.name == INITIALIZE and 0 < stage.end - stage.begin <= LONGEST
    ]

"""Instances' lives as time passes: ready, frozen, kept whether or not anybody asks. Pure: `now` is given.

Function Compute charges provisioned instances from when they are ready until they are released, memory and disk
also while nobody asks (idle vCPU is free); other instances while they have requests. What is provisioned of a
version are its oldest instances, as many as are asked for. Source: Function Compute, "Instance types and usage
modes".

What is not yet written down is in `take()`; the rest is in the database. What a crash loses of it is booked when
the instance is seen again: as what it was when last written.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from sampan.meter.stretches import MINUTE, Stretch, nanoseconds, union
from sampan.meter.sums import LONGEST, Sums
from sampan.model.names import VersionKey


@dataclass(slots=True)
class Life:
    """One instance that lives. Times are Unix ns."""

    version: VersionKey
    since: int
    booked: int  # up to when its time is counted
    frozen: bool = False
    provisioned: bool = False
    cpu_ns: int = 0  # measured, counted

    def row(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(slots=True)
class Changes:
    """What is to be written down, all at once."""

    sums: Sums = field(default_factory=Sums)
    provisioned: dict[str, list[Stretch]] = field(default_factory=dict)  # by instance
    versions: dict[str, VersionKey] = field(default_factory=dict)  # of the instances in `provisioned`
    lives: dict[str, Life] = field(default_factory=dict)  # as they are now
    ended: set[str] = field(default_factory=set)

    @property
    def any(self) -> bool:
        return bool(self.sums.added or self.provisioned or self.lives or self.ended)


class Lifetimes:
    """All instances there are. What comes in the wrong order changes nothing that was counted."""

    def __init__(self, lives: Mapping[str, Life]) -> None:
        """lives: as they were written down last."""
        self._lives = dict(lives)
        self._targets: dict[VersionKey, int] = {}
        self._told: set[str] = set()  # seen since the engine last said that it has told all
        self._changes = Changes()

    def seen(self, instance: str, version: VersionKey, frozen: bool, now: int) -> None:
        """It is ready, or frozen."""
        self._told.add(instance)
        life = self._lives.get(instance)
        if life is None:
            self._lives[instance] = life = Life(version, now, now, frozen)
            self._choose(version, now)
        else:
            self._book(instance, life, now)
            life.frozen = frozen
        self._changes.lives[instance] = life
        self._changes.ended.discard(instance)

    def gone(self, instance: str, now: int) -> None:
        life = self._lives.get(instance)
        if life is not None:
            self._book(instance, life, now)
            self._end(instance, life)
            self._choose(life.version, now)

    def synced(self, now: int) -> None:
        """All there are were told: the others ended while nobody looked, and are counted until they last were."""
        for instance, life in [each for each in self._lives.items() if each[0] not in self._told]:
            self._end(instance, life)
        self._told.clear()
        for version in {life.version for life in self._lives.values()}:
            self._choose(version, now)

    def provision(self, targets: Mapping[VersionKey, int], now: int) -> None:
        """How many instances of each version are kept; of those not named none."""
        changed = {key for key in self._targets | dict(targets) if self._targets.get(key, 0) != targets.get(key, 0)}
        self._targets = dict(targets)
        for version in changed:
            self._choose(version, now)

    def observe(self, instance: str, cpu_ns: int, memory_peak: int, now: int) -> None:
        """Measured: CPU time since it began, ns; the most memory it had, bytes."""
        life = self._lives.get(instance)
        if life is None:
            return
        used = max(0, cpu_ns - life.cpu_ns)
        life.cpu_ns = max(life.cpu_ns, cpu_ns)
        self._changes.sums.add(life.version, now // MINUTE, cpu_ns=used)
        self._changes.sums.peak(life.version, now // MINUTE, memory_peak)
        self._changes.lives[instance] = life

    def tick(self, now: int) -> None:
        """Count everybody's time up to now."""
        for instance, life in self._lives.items():
            self._book(instance, life, now)

    def take(self) -> Changes:
        """What is to be written down; if that fails, `put_back`."""
        taken, self._changes = self._changes, Changes()
        taken.lives = {
            instance: Life(**asdict(self._lives[instance])) for instance in taken.lives if instance in self._lives
        }
        return taken

    def put_back(self, changes: Changes) -> None:
        changes.sums.merge(self._changes.sums)
        self._changes.sums = changes.sums
        for instance, stretches in changes.provisioned.items():
            self._changes.provisioned.setdefault(instance, []).extend(stretches)
        self._changes.versions |= changes.versions
        self._changes.lives |= {each: self._lives[each] for each in changes.lives if each in self._lives}
        self._changes.ended |= changes.ended - self._lives.keys()

    # ── inside ──

    def _book(self, instance: str, life: Life, now: int) -> None:
        if now <= life.booked:
            return
        stretch = (life.booked, now)
        life.booked = now
        self._changes.lives[instance] = life
        if stretch[1] - stretch[0] > LONGEST:
            return
        state = "frozen_ns" if life.frozen else "ready_ns"
        for minute, amount in nanoseconds(stretch):
            kept = {"provisioned_ns": amount} if life.provisioned else {}
            self._changes.sums.add(life.version, minute, **{state: amount}, **kept)
        if life.provisioned:
            stretches = self._changes.provisioned.setdefault(instance, [])
            stretches[:] = union([*stretches, stretch])
            self._changes.versions[instance] = life.version

    def _end(self, instance: str, life: Life) -> None:
        del self._lives[instance]
        self._changes.lives.pop(instance, None)
        self._changes.ended.add(instance)

    def _choose(self, version: VersionKey, now: int) -> None:
        """Which of a version's instances are the provisioned ones: the oldest."""
        ours = [each for each in self._lives.items() if each[1].version == version]
        ours.sort(key=lambda each: (each[1].since, each[0]))
        for place, (instance, life) in enumerate(ours):
            provisioned = place < self._targets.get(version, 0)
            if provisioned != life.provisioned:
                self._book(instance, life, now)
                life.provisioned = provisioned
                self._changes.lives[instance] = life

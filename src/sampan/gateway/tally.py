"""Counts that quotas are held against: requests under way, and the time a rate has been used up to.

A gateway that is alone counts in its own memory. Several count in files they share, one per quota, each change
under the file's lock: so a quota is exact whichever gateway a request comes to. What a gateway that died had
counted is forgotten by the one that takes its place.
"""

import fcntl
import hashlib
import mmap
import os
import struct
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

MOST = 64  # gateway processes, as the setting allows
_NS = 1_000_000_000
_NAME = 32  # characters of a file's name
_TIME = struct.Struct("=q")  # monotonic ns, the machine's own clock: all processes read the same
_COUNTS = struct.Struct(f"={MOST}I")


class Tally(Protocol):
    """One quota's counts."""

    def enter(self, limit: int) -> bool:
        """Count a request in, unless `limit` are under way."""

    def leave(self) -> None:
        """The request is over."""

    def spend(self, rate: float) -> float:
        """Use up a request of `rate` a second, a second's worth of which may come at once.

        Seconds until the next one would be allowed; 0: this one is.
        """

    def refund(self, rate: float) -> None:
        """What was spent was not used."""


Tallies = Callable[[str], Tally]
"""The tally of a quota by the quota's name; the same one each time."""


def spent(used_up_to: int, now: int, rate: float) -> tuple[int, float]:
    """The generic cell rate algorithm (ITU-T I.371), times in ns: (used up to, seconds to wait). Pure."""
    interval = int(_NS / rate)
    tolerance = max(0, _NS - interval)
    used_up_to = min(used_up_to, now + max(_NS, interval))  # more is of a lower rate, or of before a reboot
    begin = max(used_up_to, now)
    if begin - now > tolerance:
        return used_up_to, (begin - now - tolerance) / _NS
    return begin + interval, 0.0


class Alone:
    """Of the only gateway."""

    def __init__(self) -> None:
        self._under_way = self._used_up_to = 0

    def enter(self, limit: int) -> bool:
        if self._under_way >= limit:
            return False
        self._under_way += 1
        return True

    def leave(self) -> None:
        self._under_way -= 1

    def spend(self, rate: float) -> float:
        self._used_up_to, wait = spent(self._used_up_to, time.monotonic_ns(), rate)
        return wait

    def refund(self, rate: float) -> None:
        self._used_up_to -= int(_NS / rate)


class Shared:
    """Of one of several gateways."""

    def __init__(self, file: Path, place: int, places: int = MOST) -> None:
        """place: of this gateway among all, from 0.  places: how many there are.  Raises: OSError."""
        self._place = place
        self._fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        os.ftruncate(self._fd, _TIME.size + _COUNTS.size)
        self._memory = mmap.mmap(self._fd, _TIME.size + _COUNTS.size)
        with _Locked(self._fd):
            for dead in (place, *range(places, MOST)):
                self._memory[_at(dead) : _at(dead) + 4] = bytes(4)

    def enter(self, limit: int) -> bool:
        with _Locked(self._fd):
            if sum(self._counts()) >= limit:
                return False
            self._count(1)
        return True

    def leave(self) -> None:
        with _Locked(self._fd):
            self._count(-1)

    def spend(self, rate: float) -> float:
        with _Locked(self._fd):
            used_up_to, wait = spent(_TIME.unpack_from(self._memory)[0], time.monotonic_ns(), rate)
            _TIME.pack_into(self._memory, 0, used_up_to)
        return wait

    def refund(self, rate: float) -> None:
        with _Locked(self._fd):
            _TIME.pack_into(self._memory, 0, _TIME.unpack_from(self._memory)[0] - int(_NS / rate))

    def close(self) -> None:
        self._memory.close()
        os.close(self._fd)

    def _counts(self) -> tuple[int, ...]:
        return _COUNTS.unpack_from(self._memory, _TIME.size)

    def _count(self, change: int) -> None:
        at = _at(self._place)
        now = int.from_bytes(self._memory[at : at + 4], sys.byteorder)
        counted = max(0, now + change)  # a successor that came before our end has begun anew
        self._memory[at : at + 4] = counted.to_bytes(4, sys.byteorder)


def _at(place: int) -> int:
    return _TIME.size + 4 * place


class _Locked:
    """The file's lock, while it lasts. A process that dies lets go of it."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __enter__(self) -> None:
        fcntl.flock(self._fd, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        fcntl.flock(self._fd, fcntl.LOCK_UN)


def alone() -> Tallies:
    return _kept(lambda _: Alone())


def shared(directory: Path, place: int, places: int = MOST) -> Tallies:
    """place: of this gateway among the `places` that share `directory`. A file that cannot be had is done without.

    What a predecessor had counted is forgotten now: others must not wait until a request of that quota comes here.
    """

    def open_file(quota: str) -> Tally:
        with suppress(OSError):
            return Shared(directory / hashlib.sha256(quota.encode()).hexdigest()[:_NAME], place, places)
        return Alone()

    with suppress(OSError):
        for file in directory.iterdir():
            if len(file.name) == _NAME:
                with suppress(OSError):
                    Shared(file, place, places).close()

    return _kept(open_file)


def _kept(make: Callable[[str], Tally]) -> Tallies:
    made: dict[str, Tally] = {}

    def tally(quota: str) -> Tally:
        found = made.get(quota)
        if found is None:
            found = made[quota] = make(quota)
        return found

    return tally

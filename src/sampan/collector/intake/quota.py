"""How much one sender may send: so much a second, so much at once."""

import math
from collections import OrderedDict
from collections.abc import Callable

MOST = 4096  # senders remembered; the one that was idle longest is forgotten, and begins anew with a full measure


class Bucket:
    """A token bucket; it may be overdrawn by what was already there when it was asked."""

    __slots__ = ("_burst", "_clock", "_left", "_rate", "_since")

    def __init__(self, rate: float, burst: float, clock: Callable[[], float]) -> None:
        """rate: tokens a second; burst: tokens at once. clock: monotonic seconds."""
        self._rate, self._burst, self._clock = rate, burst, clock
        self._left, self._since = burst, clock()

    def grant(self, wanted: int) -> int:
        """How many of them are given."""
        self._fill()
        granted = min(wanted, max(int(self._left), 0))
        self._left -= granted
        return granted

    def charge(self, amount: int) -> None:
        """Take what has come anyway, into debt if need be."""
        self._fill()
        self._left -= amount

    def refund(self, amount: int) -> None:
        self._left = min(self._burst, self._left + amount)

    def wait(self, wanted: int = 1) -> float:
        """Seconds until there are so many, or all there can ever be; 0: there are."""
        self._fill()
        missing = min(wanted, self._burst) - self._left
        if missing <= 0:
            return 0.0
        return missing / self._rate if self._rate > 0 else math.inf

    def _fill(self) -> None:
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._since) * self._rate)
        self._since = now


class Buckets:
    """One for each sender."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float]) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._of: OrderedDict[str, Bucket] = OrderedDict()

    def __call__(self, sender: str) -> Bucket:
        bucket = self._of.get(sender)
        if bucket is None:
            bucket = self._of[sender] = Bucket(self._rate, self._burst, self._clock)
            if len(self._of) > MOST:
                self._of.popitem(last=False)
        self._of.move_to_end(sender)
        return bucket


class Room:
    """What may be held at once, in all and by each: bytes, connections."""

    def __init__(self, most: int, each: int) -> None:
        self._most, self._each = most, each
        self._of: dict[str, int] = {}
        self.held = 0

    def enter(self, who: str, amount: int = 1) -> bool:
        """False: there is no room, and nothing is held."""
        mine = self._of.get(who, 0) + amount
        if mine > self._each or self.held + amount > self._most:
            return False
        self._of[who] = mine
        self.held += amount
        return True

    def leave(self, who: str, amount: int = 1) -> None:
        self.held -= amount
        mine = self._of[who] - amount
        if mine:
            self._of[who] = mine
        else:
            del self._of[who]

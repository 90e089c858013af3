"""How many to start: pure arithmetic, no state."""

import math


def starts_needed(
    need: int, slots: int, coming: int, busy: int, duration: float, start_time: float, waited: float
) -> int:
    """Instances to start now for `need` waiting requests.

    slots: per instance.  coming: instances that will be ready without us.  busy: slots now in use.
    duration, start_time: seconds, moving averages; 0 when unknown.  waited: seconds the oldest has waited.

    What running instances will take over before a new one could be ready needs no start (Little's law: `busy`
    slots finish `busy / duration` requests a second). Once somebody has waited as long as a start takes, that
    promise was broken and everybody left counts.
    """
    uncovered = need - coming * slots
    if need <= 0 or uncovered <= 0:
        return 0
    if busy and duration > 0 and start_time > 0 and waited < start_time:
        uncovered -= int(busy * start_time / duration)
    return max(0, math.ceil(uncovered / slots))


def average(old: float, new: float, weight: float) -> float:
    """Moving average; `old` 0 means there is none yet."""
    return new if old == 0 else old + (new - old) * weight


def backoff(failures: int, cap: float) -> float:
    """Seconds until a version that failed `failures` times in a row is tried again."""
    return min(cap, 0.5 * 2.0 ** min(failures - 1, 30))

"""Durations as counts in buckets of equal ratio: what was counted apart adds up, and percentiles are right to 2 %.

Bucket i holds durations from LEAST·GAMMA^i to LEAST·GAMMA^(i+1). Source: DDSketch (VLDB 2019), with fixed accuracy.
"""

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate

ACCURACY = 0.02  # relative, of a percentile
LEAST = 1_000  # nanoseconds; what is shorter counts as this
MOST = 800  # the last bucket, from 22 hours on; FC ends an invocation after 24

_GAMMA = (1 + ACCURACY) / (1 - ACCURACY)
_MIDDLE = 2 * _GAMMA / (1 + _GAMMA)  # of a bucket, from its lower end: as far from both ends, relatively
_BEGINS = [math.ceil(LEAST * _GAMMA**at) for at in range(1, MOST + 1)]  # nanoseconds, of all but the first

Sketch = dict[int, int]
"""Bucket → count."""


def bucket(nanoseconds: int) -> int:
    """Where a duration is counted."""
    return bisect_right(_BEGINS, nanoseconds)


def tally(into: Sketch, durations: Iterable[int]) -> None:
    """Count durations, in nanoseconds."""
    for each in durations:
        at = bisect_right(_BEGINS, each)
        into[at] = into.get(at, 0) + 1


def middle(at: int) -> float:
    """What a bucket stands for, in seconds."""
    return LEAST * float(_GAMMA**at) * _MIDDLE / 1e9


def add(into: Sketch, other: Mapping[int, int]) -> None:
    """Count in `into` what was counted in `other`."""
    for at, count in other.items():
        into[at] = into.get(at, 0) + count


def percentiles(sketch: Mapping[int, int], shares: Sequence[float]) -> list[float | None]:
    """Seconds that so large a share of all durations does not exceed; None when there are none."""
    if not sketch:
        return [None] * len(shares)
    buckets = sorted(sketch)
    below = list(accumulate(sketch[at] for at in buckets))
    return [middle(buckets[_first(below, max(1, math.ceil(share * below[-1])))]) for share in shares]


def _first(below: Sequence[int], rank: int) -> int:
    return next(at for at, count in enumerate(below) if count >= rank)

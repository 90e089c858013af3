"""Stretches of time: united, cut, counted in milliseconds. Pure; integers throughout, so sums are exact.

Concurrent requests share an instance's time: what counts is the union of their intervals, each merged stretch
rounded up to a millisecond once. That a function with concurrency 10 which serves three requests of 10 s at once is
charged for 10 s is Function Compute's rule. Source: Function Compute, "Configure instance concurrency".

A stretch is `(begin, end)`, ns. All that is counted is a function of the set of stretches, so it is the same in
whatever order they became known.
"""

from collections.abc import Iterable, Iterator, Sequence

MS = 1_000_000
MINUTE = 60_000_000_000

Stretch = tuple[int, int]


def union(stretches: Iterable[Stretch]) -> list[Stretch]:
    """Disjoint, in order; those that touch are one, and those without length are none."""
    ordered = sorted([one for one in stretches if one[0] < one[1]])
    if not ordered:
        return []
    merged: list[Stretch] = []
    since, until = ordered[0]
    for begin, end in ordered:
        if begin > until:
            merged.append((since, until))
            since, until = begin, end
        elif end > until:
            until = end
    return [*merged, (since, until)]


def without(stretches: Sequence[Stretch], taken: Sequence[Stretch]) -> list[Stretch]:
    """What of `stretches` is not in `taken`. Both disjoint and in order."""
    left: list[Stretch] = []
    at = 0
    for begin, end in stretches:
        while at < len(taken) and taken[at][1] <= begin:
            at += 1
        look = at
        while look < len(taken) and taken[look][0] < end:
            if taken[look][0] > begin:
                left.append((begin, taken[look][0]))
            begin = max(begin, taken[look][1])
            look += 1
        if begin < end:
            left.append((begin, end))
    return left


def common(ones: Sequence[Stretch], others: Sequence[Stretch]) -> list[Stretch]:
    """What is in both. Both disjoint and in order."""
    found: list[Stretch] = []
    one = other = 0
    while one < len(ones) and other < len(others):
        begin, end = max(ones[one][0], others[other][0]), min(ones[one][1], others[other][1])
        if begin < end:
            found.append((begin, end))
        if ones[one][1] <= others[other][1]:
            one += 1
        else:
            other += 1
    return found


def milliseconds(stretch: Stretch) -> Iterator[tuple[int, int]]:
    """Per minute the milliseconds of a stretch, which are in all its length rounded up.

    A millisecond that lies across the end of a minute counts in the later one.
    """
    begin, end = stretch
    counted, whole = 0, -(-(end - begin) // MS)
    for minute in range(begin // MINUTE, (end - 1) // MINUTE + 1):
        until = whole if end <= (minute + 1) * MINUTE else ((minute + 1) * MINUTE - begin) // MS
        if until > counted:
            yield minute, until - counted
        counted = until


def nanoseconds(stretch: Stretch) -> Iterator[tuple[int, int]]:
    """Per minute the nanoseconds of a stretch."""
    begin, end = stretch
    while begin < end:
        minute = begin // MINUTE
        until = min(end, (minute + 1) * MINUTE)
        yield minute, until - begin
        begin = until

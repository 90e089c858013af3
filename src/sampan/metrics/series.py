"""A stretch of the history as points of equal steps. Pure."""

import math

import msgspec

from sampan.metrics.minutes import Minute
from sampan.metrics.sketch import percentiles
from sampan.model.errors import InvalidArgument

POINTS = 1_500  # of one answer; 31 days by the half hour
MINUTE = 60  # seconds; nothing is known in finer steps
LAST = 4_102_444_800  # the year 2100

_SHARES, _NAMES = (0.5, 0.95, 0.99), ("p50", "p95", "p99")


class Point(msgspec.Struct, frozen=True, rename="camel"):
    """One step of a series. Percentiles are in seconds and None where nothing ended; maxima are within the step."""

    time: int  # Unix seconds at which the step begins
    calls: int
    cold: int
    errors: dict[str, int]  # client, server, function, throttled, 5xx
    duration: dict[str, float | None]  # in the function: p50, p95, p99
    latency: dict[str, float | None]  # received to answered: p50, p95, p99
    seconds: float  # in functions, in all
    bytes_in: int
    bytes_out: int
    cpu: float  # seconds of CPU time
    active: int  # most requests in instances at once
    waiting: int  # most requests without a slot at once
    memory: int  # most bytes that instances held
    instances: dict[str, int]  # most at once, by state


def steps(since: float, until: float, step: int) -> range:
    """The beginnings of all steps, in Unix minutes; the first one holds `since`. Raises: InvalidArgument."""
    if step < MINUTE or step % MINUTE:
        raise InvalidArgument("step", step, f"a multiple of {MINUTE} seconds")
    if not 0 <= since < until <= LAST:
        raise InvalidArgument("since", since, "Unix seconds before until")
    first, last = int(since // step), math.ceil(until / step)
    if last - first > POINTS:
        least = math.ceil((until - since) / (POINTS - 1) / MINUTE) * MINUTE
        raise InvalidArgument("step", step, f"at least {least} seconds for so long a time")
    per = step // MINUTE
    return range(first * per, last * per, per)


def point(minute: int, numbers: Minute) -> Point:
    """Of the step that begins with `minute`."""
    return Point(
        time=minute * MINUTE,
        calls=numbers.calls,
        cold=numbers.cold,
        errors=numbers.errors,
        duration=dict(zip(_NAMES, percentiles(numbers.durations, _SHARES), strict=True)),
        latency=dict(zip(_NAMES, percentiles(numbers.latencies, _SHARES), strict=True)),
        seconds=round(numbers.seconds, 6),
        bytes_in=numbers.bytes_in,
        bytes_out=numbers.bytes_out,
        cpu=numbers.cpu_ns / 1e9,
        active=numbers.active,
        waiting=numbers.waiting,
        memory=numbers.memory,
        instances=numbers.instances,
    )

"""Invocation records from a gateway's hand into the database: how many a second, and how late.

A gateway's own end of the link (`gateway.reports`, with a journal) reports to the collector of a whole platform.
Unpaced, it keeps as much under way as the protocol allows; what is confirmed is committed. Then at a steady pace:
the lag of a record is the time from making it to knowing that it is kept.
"""

import asyncio
import statistics
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

import uvloop

from bench.cold import Figure
from bench.platform import Platform, platform
from sampan.gateway.reports import UNDERWAY, Reports
from sampan.link.messages import ServedVersion
from sampan.model.invocation import InvocationRecord, Outcome
from sampan.model.names import InstanceId, new_request_id, version_key

T = TypeVar("T")

FUNCTIONS = 10
RECORDS = 200_000
TRACED = 200_000
AT_ONCE = 500  # records made between two looks at the link
LOOK = 0.001  # seconds between two looks at what is confirmed
PACE = 2_000  # records a second, where the lag is measured
SECONDS = 5.0


def metering() -> Iterator[Figure]:
    with platform("telemetry.trace_mb=64") as one:
        rate = uvloop.run(_reporting(one, lambda reports: _all(reports, RECORDS, False)))
        yield Figure("invocation records committed", rate, None, rate, None, "1/s")
        lags = uvloop.run(_reporting(one, _lags))
        middle = statistics.median(lags) * 1000
        late = statistics.quantiles(lags, n=100)[98] * 1000
        yield Figure(f"lag of a record at {PACE:,} a second, p50", middle, None, middle, None, "ms")
        yield Figure(f"lag of a record at {PACE:,} a second, p99", late, None, late, None, "ms")
        rate = uvloop.run(_reporting(one, lambda reports: _all(reports, TRACED, True)))
        yield Figure("invocation records committed, all sampled", rate, None, rate, None, "1/s")


async def _reporting(one: Platform, work: Callable[[Reports], Awaitable[T]]) -> T:
    layout = one.layout
    reports = Reports(layout.reports_socket, "gateway-64", layout.journals)
    running = asyncio.get_running_loop().create_task(reports.run())
    try:
        return await work(reports)
    finally:
        await reports.close()
        running.cancel()


async def _all(reports: Reports, count: int, sampled: bool) -> float:
    """Records a second, from the first made to the last confirmed."""
    versions = [_version(number) for number in range(FUNCTIONS)]
    reports.record(_record(versions[0], False), versions[0])
    await _confirmed(reports)  # the link stands
    begun = time.perf_counter()
    for number in range(count):
        version = versions[number % FUNCTIONS]
        reports.record(_record(version, sampled), version)
        if number % AT_ONCE == 0:
            await asyncio.sleep(0)
            while reports.unconfirmed > UNDERWAY:  # noqa: ASYNC110  # confirming tells nobody
                await asyncio.sleep(LOOK)
    await _confirmed(reports)
    return count / (time.perf_counter() - begun)


async def _lags(reports: Reports) -> list[float]:
    """Seconds, of each record, to within a millisecond."""
    version = _version(0)
    reports.record(_record(version, False), version)
    await _confirmed(reports)
    made: deque[float] = deque()
    lags: list[float] = []
    begun = time.perf_counter()
    count = 0
    while (now := time.perf_counter()) < begun + SECONDS or reports.unconfirmed:
        while now < begun + SECONDS and count < (now - begun) * PACE:
            reports.record(_record(version, False), version)
            made.append(now)
            count += 1
        while len(made) > reports.unconfirmed:
            lags.append(now - made.popleft())
        await asyncio.sleep(LOOK)
    return lags


async def _confirmed(reports: Reports) -> None:
    while reports.unconfirmed:  # noqa: ASYNC110  # confirming tells nobody
        await asyncio.sleep(LOOK)


def _version(number: int) -> ServedVersion:
    name = f"metered-{number}"
    return ServedVersion(version_key(name, "LATEST", 1), name, "LATEST", 10, 60.0, 512, "index.handler", 1.0, 60.0)


def _record(version: ServedVersion, sampled: bool) -> InvocationRecord:
    request, now = new_request_id(), time.time_ns()
    return InvocationRecord(
        request, version.key, InstanceId(f"c-{1:024x}"), Outcome.OK, 200, now - 5_000_000, now - 4_000_000, now,
        False, 0, 38, "LATEST", "GET", "/", "127.0.0.1", now - 1_000_000, "", sampled,
    )  # fmt: skip

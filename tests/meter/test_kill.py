"""The ledger in a process that is killed while a gateway reports to it, and started again, ten times."""

import asyncio
import contextlib
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from sqlalchemy import func, select

from sampan.gateway import reports
from sampan.gateway.reports import Reports
from sampan.link.messages import ServedVersion
from sampan.meter import tables
from sampan.meter.prices import FUNCTION_COMPUTE
from sampan.meter.statements import Statements
from sampan.meter.stretches import MINUTE
from sampan.model.invocation import Outcome
from sampan.store.database import Database
from tests.meter.making import MS, START, WEB, database_url, kept, recomputed, record, written

KILLS = 10
PATIENCE = 60.0  # seconds until a wait counts as hung
WAKING = 0.2  # seconds, on a busy machine
SERVED = ServedVersion(WEB, "web", "LATEST", 10, 3.0, 512, "", 1.0, 10.0, cpu=0.35, disk_mb=512)

CHILD = """
import asyncio, sys
from pathlib import Path
from sampan.collector.reports import Reports
from sampan.meter.ledger import Ledger
from sampan.store.database import Database

class Nobody:
    def recorded(self, records, versions): print("recorded", flush=True)
    def gauged(self, gateway, gauges): pass
    def told(self, told): pass

async def main():
    collector = Reports(Ledger(Database(sys.argv[1])), Nobody())
    await collector.listen(Path(sys.argv[2]))
    await collector.run()

asyncio.run(main())
"""


GATEWAY = """
import asyncio, sys, time
from pathlib import Path
from sampan.gateway.reports import Reports
from tests.meter.making import MS, record
from tests.meter.test_kill import SERVED

async def main():
    gateway = Reports(Path(sys.argv[1]), "gateway-1", None)
    linking = asyncio.ensure_future(gateway.run())
    for number in range(1_000_000):
        gateway.record(record(number, number * 3 * MS, MS), SERVED)
        print(number, time.monotonic(), flush=True)
        await asyncio.sleep(0.001)

asyncio.run(main())
"""
"""One that has no memory to share; it says what it has recorded, and when."""


class Collector:
    """Runs until it is killed."""

    def __init__(self, url: str, socket: Path) -> None:
        self.url, self._socket = url, socket
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", CHILD, self.url, str(self._socket), stdout=asyncio.subprocess.PIPE
        )

    async def transactions(self, count: int) -> None:
        """Until it has committed so many."""
        assert self._process is not None
        assert self._process.stdout is not None
        for _ in range(count):
            assert await self._process.stdout.readline(), "the collector ended by itself"

    async def kill(self) -> None:
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid, signal.SIGKILL)
        await self._process.wait()
        if (transport := getattr(self._process, "_transport", None)) is not None:
            transport.close()


@pytest.fixture
async def collector(tmp_path: Path) -> AsyncIterator[Collector]:
    one = Collector(database_url(tmp_path), tmp_path / "reports.sock")
    yield one
    await one.kill()


async def test_after_ten_kills_the_bill_is_the_sum_of_the_records(
    tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "BATCH", 0.002)  # many small transactions: more places to be killed in
    monkeypatch.setattr(reports, "RETRY", 0.01)
    chance = random.Random(7)
    gateway = Reports(tmp_path / "reports.sock", "gateway-1", None)
    linking = asyncio.ensure_future(gateway.run())
    made = []
    ending = asyncio.Event()

    async def serve() -> None:
        """Requests end, two instances, some at once."""
        while not ending.is_set():
            for _ in range(chance.randrange(1, 40) if gateway.unconfirmed < 300 else 0):
                number = len(made)
                begin = number * 3 * MS + chance.randrange(5 * MS)
                outcome = Outcome.FUNCTION_ERROR if number % 17 == 0 else Outcome.OK
                length = chance.randrange(1, 9 * MS)
                one = record(number, begin, length, instance=f"c-{number % 2}", outcome=outcome)
                made.append(one)
                gateway.record(one, SERVED)
            await asyncio.sleep(0.001)

    serving = asyncio.ensure_future(serve())
    async with asyncio.timeout(PATIENCE):
        for _ in range(KILLS):
            await collector.start()
            await collector.transactions(chance.randrange(1, 6))
            await asyncio.sleep(chance.random() * 0.02)  # anywhere in a transaction
            await collector.kill()
        await collector.start()
        ending.set()
        await serving
        await until(lambda: gateway.unconfirmed == 0)
    await gateway.close()
    linking.cancel()
    await asyncio.gather(linking, return_exceptions=True)
    await collector.kill()

    store = Database(collector.url)
    assert gateway.lost == 0
    assert await written(store) == recomputed(made)
    async with store.read() as connection:
        missing = (await connection.execute(select(func.sum(tables.lives.c.missing)))).scalar()
    assert sorted(each.request for each in await kept(store)) == sorted(each.request for each in made)
    assert missing == 0
    statements = Statements(store, FUNCTION_COMPUTE)
    (used,) = await statements.used(START // MINUTE, START // MINUTE + 100_000)
    assert used.sums["active_ms"] == sum(row["active_ms"] for row in recomputed(made).values())
    await store.close()


@pytest.mark.parametrize("enough", [400, 731])
async def test_a_kill_of_a_gateway_without_shared_memory_costs_its_last_moment_and_no_more(
    tmp_path: Path, collector: Collector, enough: int
) -> None:
    """50 ms, by SPEC.md; here with what a busy machine may take to wake it."""
    await collector.start()
    await until((tmp_path / "reports.sock").exists)
    gateway = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        GATEWAY,
        str(tmp_path / "reports.sock"),
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert gateway.stdout is not None
    made: dict[int, float] = {}
    async with asyncio.timeout(PATIENCE):
        while len(made) < enough:
            number, when = (await gateway.stdout.readline()).split()
            made[int(number)] = float(when)
        gateway.kill()
        rest, _ = await gateway.communicate()
        for line in rest.splitlines():
            if len(told := line.split()) == 2:
                made[int(told[0])] = float(told[1])
        store = Database(collector.url)
        ended = max(made.values())
        due = {number for number, when in made.items() if when < ended - reports.BATCH - WAKING}
        assert due
        wanted = {record(number, 0, 1).request for number in due}
        found: list[str] = []
        while not wanted <= set(found):
            await asyncio.sleep(0.05)
            found = [each.request for each in await kept(store)]
        assert len(found) == len(set(found)), "none is there twice"
        await store.close()


async def until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110  # a condition over another process has no event of its own
        await asyncio.sleep(0.005)

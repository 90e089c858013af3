import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest

from sampan.gateway import reports
from sampan.gateway.reports import Reports
from sampan.link import channel
from sampan.link.journal import leftovers
from sampan.link.messages import Observed, ServedVersion
from sampan.link.reports import Down, Gauge, Gauges, Hello, Kept, Records, Started, Up
from sampan.model.invocation import Outcome
from sampan.model.names import InstanceId
from tests.gateway.conftest import MakeStage
from tests.gateway.stage import Request, echo
from tests.link.memory import in_memory
from tests.meter.making import WEB, record

SERVED = ServedVersion(WEB, "web", "LATEST", 10, 3.0, 512, "", 1.0, 10.0, cpu=0.5, disk_mb=1024)
PATIENCE = 20.0


class Collector:
    """Hears, and confirms when it is told to."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self.heard: list[Up] = []
        self.confirms = True
        self._some = asyncio.Event()
        self._channels: list[channel.Channel[Up, Down]] = []
        self._listener: asyncio.AbstractServer | None = None

    async def start(self) -> None:
        decoder = msgspec.msgpack.Decoder(Up)
        self._listener = await channel.serve(
            self._socket,
            lambda: channel.Channel(decoder, self._hear, self._channels.remove, self._channels.append),
        )

    def stop(self) -> None:
        assert self._listener is not None
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        for one in list(self._channels):
            one.close()

    def _hear(self, one: "channel.Channel[Up, Down]", message: Up) -> None:
        self.heard.append(message)
        self._some.set()
        if isinstance(message, Records) and self.confirms:
            one.send(Kept(message.seq + len(message.records) - 1))

    def confirm(self, seq: int) -> None:
        for one in self._channels:
            one.send(Kept(seq))

    def numbers(self) -> list[int]:
        batches = [each for each in self.heard if isinstance(each, Records)]
        return [batch.seq + at for batch in batches for at in range(len(batch.records))]

    async def hears(self, count: int) -> list[int]:
        async with asyncio.timeout(PATIENCE):
            while len(self.numbers()) < count:
                self._some.clear()
                await self._some.wait()
        return self.numbers()


@pytest.fixture
def journals() -> Iterator[Path]:
    with in_memory() as directory:
        yield directory


@pytest.fixture
async def collector(tmp_path: Path) -> AsyncIterator[Collector]:
    one = Collector(tmp_path / "reports.sock")
    await one.start()
    yield one
    one.stop()


@pytest.fixture
async def gateway(tmp_path: Path, journals: Path) -> AsyncIterator[Reports]:
    one = Reports(tmp_path / "reports.sock", "gateway-1", journals)
    running = asyncio.ensure_future(one.run())
    yield one
    await one.close()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_records_are_told_in_batches_with_what_their_versions_are(
    gateway: Reports, collector: Collector
) -> None:
    for number in range(3):
        gateway.record(record(number), SERVED)
    assert await collector.hears(3) == [1, 2, 3]
    gateway.record(record(3), SERVED)
    await collector.hears(4)
    hello, first, second = (each for each in collector.heard if not isinstance(each, Gauges))
    assert isinstance(hello, Hello)
    assert hello.name == "gateway-1"
    assert isinstance(first, Records)
    assert first.records == tuple(record(number) for number in range(3))
    facts = first.versions[WEB]
    assert (facts.function, facts.version, facts.memory_mb, facts.cpu, facts.disk_mb) == (
        "web", "LATEST", 512, 0.5, 1024,
    )  # fmt: skip
    assert isinstance(second, Records)
    assert second.versions == {}, "once on a connection"


async def test_the_record_of_a_cold_start_comes_after_its_stages_though_these_are_known_later(
    gateway: Reports, collector: Collector
) -> None:
    gateway.record(record(0), SERVED)
    await collector.hears(1)
    gateway.record(record(1), SERVED)
    gateway.record(record(2, cold=True), SERVED)
    gateway.record(record(3), SERVED)
    await asyncio.sleep(2 * reports.BATCH)  # longer than others wait
    gateway.started(InstanceId("c-1"), ())
    assert await collector.hears(4) == [1, 2, 3, 4]
    told = [type(each) for each in collector.heard if isinstance(each, Records | Started)]
    assert told == [Records, Started, Records]


async def test_a_collector_that_was_away_is_told_how_instances_started_before_it_hears_their_records(
    gateway: Reports, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "STARTS", 2)
    collector.stop()
    for number in range(3):
        gateway.started(InstanceId(f"c-{number}"), ())
    gateway.record(record(0, cold=True), SERVED)
    collector.heard.clear()
    await collector.start()
    await collector.hears(1)
    told = [each for each in collector.heard if isinstance(each, Records | Started)]
    assert [each.instance for each in told if isinstance(each, Started)] == ["c-1", "c-2"], "the newest"
    assert isinstance(told[-1], Records)


async def test_a_cold_starts_record_waits_no_longer_than_for_its_stages(
    gateway: Reports, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "STAGES", 1e6)
    gateway.record(record(1, cold=True), SERVED)
    gateway.started(InstanceId("c-1"), ())
    assert await collector.hears(1) == [1]
    gateway.record(record(2, cold=True), SERVED)  # of an instance that has told all there is
    gateway.record(record(3, cold=True, instance=""), SERVED)  # of none that could tell
    assert await collector.hears(3) == [1, 2, 3]


async def test_what_is_not_confirmed_is_told_once_more_under_the_same_numbers(
    gateway: Reports, collector: Collector
) -> None:
    collector.confirms = False
    for number in range(4):
        gateway.record(record(number), SERVED)
    await collector.hears(4)
    collector.confirm(2)
    collector.cut()
    assert await collector.hears(6) == [1, 2, 3, 4, 3, 4]
    lives = {each.life for each in collector.heard if isinstance(each, Hello)}
    assert len(lives) == 1
    again = [each for each in collector.heard if isinstance(each, Records)][-1]
    assert WEB in again.versions, "a new connection knows nothing yet"
    collector.confirm(4)


async def test_records_wait_for_a_collector_that_is_away(gateway: Reports, tmp_path: Path) -> None:
    for number in range(5):
        gateway.record(record(number), SERVED)
    collector = Collector(tmp_path / "reports.sock")
    await collector.start()
    assert await collector.hears(5) == [1, 2, 3, 4, 5]
    collector.stop()


async def test_only_so_many_are_sent_that_are_not_confirmed(
    gateway: Reports, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "UNDERWAY", 10)
    monkeypatch.setattr(reports, "BATCH_BYTES", 2000)
    collector.confirms = False
    for number in range(100):
        gateway.record(record(number), SERVED)
    heard = await collector.hears(10)
    assert len(heard) < 30
    collector.confirms = True
    collector.confirm(heard[-1])
    assert await collector.hears(100) == list(range(1, 101))


async def test_the_end_of_a_gateway_waits_until_the_last_record_is_confirmed(
    tmp_path: Path, journals: Path, collector: Collector
) -> None:
    one = Reports(tmp_path / "reports.sock", "gateway-1", journals)
    running = asyncio.ensure_future(one.run())
    one.record(record(1), SERVED)
    await collector.hears(1)
    one.record(record(2), SERVED)
    await one.close()
    assert collector.numbers() == [1, 2]
    assert list(journals.iterdir()) == []
    one.record(record(3), SERVED)  # of a request that was cut off
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_gateway_that_ends_while_the_collector_is_away_leaves_its_journal(
    tmp_path: Path, journals: Path
) -> None:
    one = Reports(tmp_path / "reports.sock", "gateway-1", journals)
    one.record(record(1), SERVED)
    await one.close()
    (left,) = leftovers(journals)
    assert left.records == [record(1)]
    left.close(taken=True)


async def test_a_gateway_without_a_collector_keeps_nothing(journals: Path) -> None:
    one = Reports(None, "gateway-1", None)
    one.record(record(1), SERVED)
    await one.run()
    assert one.unconfirmed == 0
    await one.close()


async def test_what_goes_on_now_is_told(
    gateway: Reports, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Gauges((Gauge("web", 2, 1),), 3)
    gateway.gauges = lambda: told
    async with asyncio.timeout(PATIENCE):
        while told not in collector.heard:
            collector._some.clear()
            await collector._some.wait()


CHILD = """
import asyncio, sys
from pathlib import Path
from sampan.gateway.reports import Reports
from tests.gateway.test_reports import SERVED
from tests.meter.making import record

async def main():
    one = Reports(Path(sys.argv[1]), "gateway-1", Path(sys.argv[2]))
    running = asyncio.ensure_future(one.run())
    for number in range(1, 100_000):
        one.record(record(number), SERVED)
        print(number, flush=True)
        if number % 50 == 0:
            await asyncio.sleep(0.001)

asyncio.run(main())
"""


async def test_a_killed_gateway_loses_no_record_it_had_made(
    tmp_path: Path, journals: Path, collector: Collector
) -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CHILD, str(tmp_path / "reports.sock"), str(journals), stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    try:
        await collector.hears(200)
    finally:
        os.kill(child.pid, signal.SIGKILL)
    made = [int(line) for line in (await child.stdout.read()).split()]
    await child.wait()
    confirmed = set(collector.numbers())
    (left,) = leftovers(journals)
    found = confirmed | set(range(left.first, left.first + len(left.records)))
    assert found >= set(range(1, max(made) + 1))
    assert len(found) <= max(made) + 1, "and one at most that it had no time to speak of"
    left.close(taken=True)


async def test_a_call_is_reported_to_the_collector_and_its_load_to_control(stage: MakeStage) -> None:
    s = await stage()
    await s.serve()
    await s.call("POST", "/", b"hello")
    told = await s.record()
    assert told.outcome is Outcome.OK
    assert told.received <= told.leased <= told.ended
    await s.until(lambda: bool(s.said(Observed)))
    (load,) = s.loads()
    assert (load.version, load.count) == (told.version, 1)
    assert load.busy == pytest.approx((told.ended - told.leased) / 1e9)


async def test_gauges_count_what_is_in_functions_and_what_waits(stage: MakeStage) -> None:
    s = await stage()
    go = asyncio.Event()

    async def slow(request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go.wait()
        await echo(request, reader, writer)

    await s.serve(slow)
    calls = [asyncio.ensure_future(s.call()) for _ in range(3)]
    await s.until(lambda: s.gateway.leases.gauges() == (Gauge("web", 1, 2),))
    go.set()
    await asyncio.gather(*calls)
    await s.until(lambda: s.gateway.leases.gauges() == ())

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from sampan.collector import reports as module
from sampan.collector.reports import Reports
from sampan.gateway.reports import Reports as GatewayReports
from sampan.link import channel
from sampan.link.journal import SUFFIX, Journal
from sampan.link.messages import ServedVersion
from sampan.link.reports import Down, Gauge, Gauges, Hello, Ran, Records, Started, Told, Up
from sampan.meter import tables
from sampan.meter.ledger import Batch, Ledger
from sampan.model.instance import Stage as Step
from sampan.model.invocation import InvocationRecord, Outcome, VersionFacts
from sampan.model.names import InstanceId, VersionKey
from sampan.store.database import Database
from tests.link.memory import in_memory
from tests.link.test_journal import LIFE, abandon
from tests.meter.making import FACTS, MS, START, WEB, database, recomputed, record, written

PATIENCE = 20.0
SERVED = ServedVersion(WEB, "web", "LATEST", 10, 3.0, 512, "", 1.0, 10.0)


class Ears:
    """What the others are told."""

    def __init__(self) -> None:
        self.records: list[InvocationRecord] = []
        self.starts: list[tuple[InstanceId, tuple[Step, ...]]] = []
        self.gauges: list[tuple[str, Gauges | None]] = []
        self.functions: list[Told] = []
        self._some = asyncio.Event()

    def recorded(self, records: tuple[InvocationRecord, ...], versions: dict[VersionKey, VersionFacts]) -> None:
        self.records += records
        self._some.set()

    def started(self, instance: InstanceId, startup: tuple[Step, ...]) -> None:
        self.starts.append((instance, startup))
        self._some.set()

    def gauged(self, gateway: str, gauges: Gauges | None) -> None:
        self.gauges.append((gateway, gauges))
        self._some.set()

    def told(self, told: Told) -> None:
        self.functions.append(told)
        self._some.set()

    def ran(self, run: Ran, kept: Callable[[], None]) -> None:
        kept()

    async def until(self, count: int) -> None:
        """Of all kinds."""
        async with asyncio.timeout(PATIENCE):
            while len(self.records) + len(self.gauges) + len(self.functions) < count:
                await self.next()

    async def next(self) -> None:
        self._some.clear()
        await self._some.wait()


class Failing(Ledger):
    """A ledger whose disk is full, or that dies just after a commit, when it is told so."""

    before: BaseException | None = None
    after: BaseException | None = None

    async def add(self, batches: Iterable[Batch]) -> list[tuple[InvocationRecord, ...]]:
        if self.before is not None:
            raised, self.before = self.before, None
            raise raised
        found = await super().add(batches)
        if self.after is not None:
            raised, self.after = self.after, None
            raise raised
        return found


class Stage:
    def __init__(self, directory: Path, journals: Path | None = None) -> None:
        self.socket = directory / "reports.sock"
        self.store: Database = database(directory)
        self.ledger, self.ears, self._journals = Failing(self.store), Ears(), journals
        self._closing: list[asyncio.Task[None]] = []
        self.answers: asyncio.Queue[int] = asyncio.Queue()

    async def start(self) -> None:
        self.reports = Reports(self.ledger, self.ears, self._journals)
        await self.reports.listen(self.socket)
        self._closing.append(asyncio.ensure_future(self.reports.run()))

    async def stop(self) -> None:
        for task in self._closing:
            task.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)
        self._closing.clear()
        await self.reports.close()

    async def connect(self, *messages: Up) -> "channel.Channel[Down, Up]":
        decoder = msgspec.msgpack.Decoder(Down)
        lost = asyncio.Event()
        one: channel.Channel[Down, Up] = await channel.connect(
            self.socket,
            lambda: channel.Channel(
                decoder, lambda _, kept: self.answers.put_nowait(kept.seq), lambda _: lost.set()
            ),
        )
        self.lost = lost
        for message in messages:
            one.send(message)
        return one

    async def answer(self) -> int:
        async with asyncio.timeout(PATIENCE):
            return await self.answers.get()


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    with in_memory() as journals:
        one = Stage(tmp_path, journals)
        one.journals = journals  # type: ignore[attr-defined]
        await one.start()
        yield one
        await one.stop()
        await one.store.close()


def batch(first: int, count: int) -> Records:
    return Records(first, tuple(record(number) for number in range(first, first + count)), FACTS)


async def test_what_is_confirmed_is_in_the_database(stage: Stage) -> None:
    one = await stage.connect(Hello("g1", "life"), batch(1, 3))
    assert await stage.answer() == 3
    assert await written(stage.store) == recomputed(batch(1, 3).records)
    assert stage.ears.records == list(batch(1, 3).records)
    one.close()


async def test_it_is_known_that_records_come_faster_than_they_are_written(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BEHIND", 2)
    begun, go, add = asyncio.Event(), asyncio.Event(), stage.ledger.add

    async def slow(batches: Iterable[Batch]) -> list[tuple[InvocationRecord, ...]]:
        begun.set()
        await go.wait()
        return await add(batches)

    monkeypatch.setattr(stage.ledger, "add", slow)
    assert not stage.reports.behind
    one = await stage.connect(Hello("g1", "life"), batch(1, 3))
    async with asyncio.timeout(PATIENCE):
        await begun.wait()
    assert stage.reports.behind
    go.set()
    assert await stage.answer() == 3
    assert not stage.reports.behind
    one.close()


async def test_what_is_reported_twice_counts_once_and_is_confirmed_twice(stage: Stage) -> None:
    one = await stage.connect(Hello("g1", "life"), batch(1, 3))
    await stage.answer()
    one.close()
    two = await stage.connect(Hello("g1", "life"), batch(1, 3), batch(4, 1))
    assert [await stage.answer(), await stage.answer()] == [3, 4]
    assert stage.ears.records == list(batch(1, 4).records)
    assert await written(stage.store) == recomputed(batch(1, 4).records)
    two.close()


async def test_a_commit_whose_confirmation_was_lost_is_not_counted_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AGAIN", 0.0)
    stage.ledger.after = OperationalError("commit", None, OSError("gone"))
    one = await stage.connect(Hello("g1", "life"), batch(1, 5))
    assert await stage.answer() == 5
    assert await written(stage.store) == recomputed(batch(1, 5).records)
    one.close()


async def test_a_full_disk_confirms_nothing_and_loses_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AGAIN", 0.0)
    stage.ledger.before = OperationalError("insert", None, OSError("database or disk is full"))
    one = await stage.connect(Hello("g1", "life"), batch(1, 5))
    assert await stage.answer() == 5
    assert stage.ears.records == list(batch(1, 5).records)
    one.close()


async def test_a_record_that_no_database_takes_holds_nobody_up_and_counts_as_missing(stage: Stage) -> None:
    broken = Records(4, (msgspec.structs.replace(record(4), bytes_in=2**63),), {})
    one = await stage.connect(Hello("g1", "life"), batch(1, 3), broken, batch(5, 2))
    assert [await stage.answer() for _ in range(3)] == [3, 4, 6]
    other = await stage.connect(Hello("g2", "other"), batch(1, 1))
    assert await stage.answer() == 1
    assert len(stage.ears.records) == 3 + 2 + 1
    async with stage.store.read() as connection:
        missing = dict((await connection.execute(select(tables.lives.c.life, tables.lives.c.missing))).all())
    assert missing == {"life": 1, "other": 0}
    one.close()
    other.close()


async def test_lives_of_several_gateways_are_counted_apart(stage: Stage) -> None:
    channels = [await stage.connect(Hello(f"g{n}", f"life-{n}"), batch(1, 2)) for n in range(3)]
    assert {await stage.answer() for _ in channels} == {2}
    await stage.ears.until(6)
    assert len(stage.ears.records) == 6
    for one in channels:
        one.close()


async def test_who_speaks_before_it_said_who_it_is_is_cut_off(stage: Stage) -> None:
    await stage.connect(batch(1, 1))
    async with asyncio.timeout(PATIENCE):
        await stage.lost.wait()
    assert await written(stage.store) == {}


def started(instance: str, length: int = MS) -> Started:
    return Started(InstanceId(instance), (Step("initialize", START - length, START),))


async def test_a_start_that_was_told_beside_its_record_completes_it(stage: Stage) -> None:
    """Those that were granted before the instance was ready do not say how it started."""
    whole = record(3, cold=True, startup=started("c-1", 5 * MS).startup)
    cold, other = record(1, cold=True), record(2, cold=True, instance="c-2")
    one = await stage.connect(
        Hello("g1", "life"), started("c-1"), Records(1, (cold, record(4), other, whole), FACTS)
    )
    assert await stage.answer() == 4
    startup = started("c-1").startup
    completed = msgspec.structs.replace(cold, startup=startup)
    assert stage.ears.records == [completed, record(4), other, whole], "warm, another's and complete ones stay"
    assert await written(stage.store) == recomputed(stage.ears.records)
    again = await stage.connect(Hello("g2", "other"), Records(1, (cold,), FACTS))
    await stage.answer()
    assert stage.ears.records[-1].startup == startup, "whichever gateway's record it is"
    one.close()
    again.close()


async def test_a_start_that_failed_is_known_as_a_cold_one_wherever_it_is_counted(stage: Stage) -> None:
    broken = record(1, instance="", outcome=Outcome.START_FAILED)
    full = record(2, instance="", outcome=Outcome.THROTTLED)
    one = await stage.connect(Hello("g1", "life"), Records(1, (broken, full), FACTS))
    assert await stage.answer() == 2
    assert [(each.outcome, each.cold) for each in stage.ears.records] == [
        (Outcome.START_FAILED, True),
        (Outcome.THROTTLED, False),
    ]
    assert await written(stage.store) == recomputed(stage.ears.records)
    one.close()


async def test_a_start_that_is_told_while_its_record_is_written_down_completes_it(stage: Stage) -> None:
    writing, written_down = asyncio.Event(), asyncio.Event()
    add = stage.ledger.add

    async def slow(batches: Iterable[Batch]) -> list[tuple[InvocationRecord, ...]]:
        fresh = await add(batches)
        writing.set()
        await written_down.wait()
        return fresh

    stage.ledger.add = slow  # type: ignore[method-assign]
    one = await stage.connect(Hello("g1", "life"), Records(1, (record(1, cold=True),), FACTS))
    await writing.wait()
    one.send(started("c-1"))
    async with asyncio.timeout(PATIENCE):
        while not stage.ears.starts:
            await stage.ears.next()
    written_down.set()
    await stage.answer()
    assert stage.ears.starts == [("c-1", started("c-1").startup)]
    assert [each.startup for each in stage.ears.records] == [started("c-1").startup]
    one.close()


async def test_of_starts_a_bounded_number_is_remembered(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STARTUPS", 2)
    cold = tuple(record(number, cold=True, instance=f"c-{number}") for number in (1, 2, 3))
    told = [started(each.instance) for each in cold]
    one = await stage.connect(Hello("g1", "life"), *told, Records(1, cold, FACTS))
    await stage.answer()
    assert [bool(each.startup) for each in stage.ears.records] == [False, True, True]
    one.close()


async def test_a_hook_that_is_kept_is_confirmed_by_its_number(stage: Stage) -> None:
    one = await stage.connect(Hello("control", "life"), Ran(5, InstanceId("c-1"), WEB, START, START + MS))
    assert await stage.answer() == 5
    one.close()


async def test_gauges_and_functions_are_passed_on_and_a_gateway_that_leaves_has_none(stage: Stage) -> None:
    gauges, told = Gauges((Gauge("web", 1, 0),), 2), Told("1", "local", (), ())
    one = await stage.connect(Hello("g1", "life"), gauges, told)
    await stage.ears.until(2)
    one.close()
    await stage.ears.until(3)
    assert stage.ears.gauges == [("g1", gauges), ("g1", None)]
    assert stage.ears.functions == [told]


async def test_a_killed_gateways_journal_is_taken_over_once(stage: Stage) -> None:
    """Some of it had been confirmed, and of that the gateway had not heard."""
    one = await stage.connect(Hello("g1", LIFE), batch(1, 3))
    await stage.answer()
    one.close()
    journals: Path = stage.journals  # type: ignore[attr-defined]
    left = Journal(LIFE, journals / f"g1{SUFFIX}")
    for each in batch(1, 8).records:
        left.add(each)
    abandon(left)
    await stage.ears.until(1 + 8)  # the gateway's leaving, and the records
    assert stage.ears.records == list(batch(1, 8).records)
    assert await written(stage.store) == recomputed(batch(1, 8).records)
    await stage.stop()
    await stage.start()
    again = await stage.connect(Hello("g1", LIFE), batch(1, 8))
    assert await stage.answer() == 8
    assert await written(stage.store) == recomputed(batch(1, 8).records)
    assert list(journals.iterdir()) == []
    again.close()


async def test_what_a_gateway_leaves_at_the_very_end_is_written_down_before_the_end(stage: Stage) -> None:
    journals: Path = stage.journals  # type: ignore[attr-defined]
    await asyncio.sleep(0)  # it has begun, and looked
    left = Journal(LIFE, journals / f"g1{SUFFIX}")
    for each in batch(1, 8).records:
        left.add(each)
    abandon(left)
    (journals / "g2.new").write_bytes(b"")  # killed while it began
    await stage.stop()
    assert await written(stage.store) == recomputed(batch(1, 8).records)
    assert list(journals.iterdir()) == []


async def test_an_end_does_not_wait_for_ever_for_a_database_that_takes_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sampan.collector.reports.FAREWELL", 0.05)
    journals: Path = stage.journals  # type: ignore[attr-defined]
    left = Journal(LIFE, journals / f"g1{SUFFIX}")
    left.add(record())
    abandon(left)
    stage.ledger.before = OperationalError("INSERT", {}, OSError("disk full"))
    await stage.stop()
    assert [file.name for file in journals.iterdir()] == [f"g1{SUFFIX}"]
    await stage.start()
    await stage.ears.until(1)
    assert list(journals.iterdir()) == []


async def test_a_collector_that_is_started_anew_misses_nothing(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    gateway = GatewayReports(stage.socket, "g1", None)
    running = asyncio.ensure_future(gateway.run())
    made = []
    for turn in range(3):
        await stage.start()
        for number in range(20):
            made.append(record(turn * 20 + number, begin=number * 1_000_000))
            gateway.record(made[-1], SERVED)
        await stage.ears.until(turn * 20 + 1)
        await stage.stop()
    await stage.start()
    async with asyncio.timeout(PATIENCE):
        while gateway.unconfirmed:  # of a socket's other end
            await stage.ears.until(len(made))
            await asyncio.sleep(0.01)  # the confirmation is on its way
    assert await written(stage.store) == recomputed(made)
    await gateway.close()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await stage.stop()
    await stage.store.close()

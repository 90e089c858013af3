"""What instances print is collected: all of it, once, in order."""

import asyncio
import random
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event
from sqlalchemy.exc import OperationalError

from sampan.collector import output, output_writer
from sampan.collector.output import FAST, OutputCollector
from sampan.collector.output_reading import CHUNK
from sampan.collector.output_writer import WINDOW
from sampan.engine.engine import SandboxSpec, Stream
from sampan.model.errors import Failure, FailureKind, StartFailed
from sampan.model.names import InstanceId, version_key
from sampan.output.levels import Level
from sampan.output.lines import Line
from sampan.output.store import Batch, OutputStore, Place
from sampan.output.upkeep import Upkeep
from sampan.store.database import Database
from tests.collector.output_platform import IMAGE, PATIENCE, WEB, Platform, Watched, facts

API = version_key("api", "LATEST", 1)


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncIterator[Platform]:
    platform = Platform(tmp_path)
    yield platform
    await platform.database.close()


async def test_lines_are_kept_with_whose_they_are(platform: Platform) -> None:
    async with platform.collecting():
        instance = await platform.start()
        platform.engine.say(
            instance, b"FC Invoke Start RequestId: 1-a\nERROR hello\nFC Invoke End RequestId: 1-a\n"
        )
        lines = await platform.until(lambda lines: len(lines) == 3)
        assert [(line.request, line.text, line.level) for line in lines] == [
            ("1-a", "FC Invoke Start RequestId: 1-a", Level.UNKNOWN),
            ("1-a", "ERROR hello", Level.ERROR),
            ("1-a", "FC Invoke End RequestId: 1-a", Level.UNKNOWN),
        ]
        assert {(line.instance, line.version, line.stream) for line in lines} == {("c-1", WEB, "stdout")}


async def test_stderr_is_told_apart_and_its_request_found_by_time(platform: Platform) -> None:
    async with platform.collecting():
        instance = await platform.start()
        platform.engine.say(instance, b"FC Invoke Start RequestId: 1-a\n")
        platform.engine.say(instance, b"oops\n", Stream.STDERR)
        lines = await platform.until(lambda lines: len(lines) == 1, stream="stderr")
        assert [(line.text, line.request) for line in lines] == [("oops", "1-a")]


async def test_what_is_printed_is_kept_after_the_instance_is_gone(platform: Platform) -> None:
    async with platform.collecting():
        instance = await platform.start()
        platform.engine.say(instance, b"last words\nwithout an end")
        platform.engine.exit(instance, 1)
        await platform.ended(instance)
        assert await platform.texts() == ["last words", "without an end"]


async def test_an_instance_that_never_became_ready_has_its_output_kept(platform: Platform) -> None:
    platform.engine.start_delay = 0.05
    async with platform.collecting():
        instance = await platform.create()
        platform.engine.say(instance, b"no such module\n", Stream.STDERR)
        platform.engine.fail_start(Failure(FailureKind.EXITED, "the program exited with code 1"))
        with pytest.raises(StartFailed):
            await platform.engine.start(instance, 1)
        await platform.ended(instance)
        assert await platform.texts() == ["no such module"]


async def test_a_frozen_instance_is_read_once_more_and_then_left_alone(platform: Platform) -> None:
    engine = Watched(platform.engine, lambda sandbox, stream: None)
    async with platform.collecting(engine):  # type: ignore[arg-type]
        frozen = await platform.start("c-1")
        platform.engine.say(frozen, b"before\n")
        await platform.engine.freeze(frozen)
        await platform.until(lambda lines: len(lines) == 1)
        awake = await platform.start("c-2", API)
        engine.asked.clear()
        for number in range(3):
            platform.engine.say(awake, b"%d\n" % number)
            await platform.until(lambda lines, least=number: len(lines) > least, function="api")  # type: ignore[misc]
        assert engine.asked.count(frozen) <= 2  # a look that was under way
        await platform.engine.freeze(frozen, on=False)
        platform.engine.say(frozen, b"after\n")
        assert len(await platform.until(lambda lines: len(lines) == 2)) == 2


async def test_instances_and_versions_of_a_function_are_read_together(platform: Platform) -> None:
    async with platform.collecting():
        for number in range(6):
            version = version_key("web", "LATEST" if number % 2 else "3", 1 + number)
            instance = await platform.start(f"c-{number}", version)
            platform.engine.say(instance, b"hello\n")
            platform.engine.exit(instance, 0)
        await platform.ended(*(f"c-{number}" for number in range(6)))
        assert {line.instance for line in await platform.lines(version="3")} == {"c-0", "c-2", "c-4"}
        assert len(await platform.lines()) == 6


async def test_what_ended_while_nobody_collected_is_read_to_its_end(platform: Platform) -> None:
    async with platform.collecting():
        instance = await platform.start()
        platform.engine.say(instance, b"one\n")
        await platform.until(lambda lines: len(lines) == 1)
    platform.engine.say(instance, b"two\nthree")
    platform.engine.exit(instance, 0)
    async with platform.collecting():
        await platform.ended(instance)
        assert await platform.texts() == ["one", "two", "three"]


async def test_what_came_and_went_while_nobody_collected_is_found_through_its_requests(platform: Platform) -> None:
    instance = await platform.start()
    platform.engine.say(instance, b"one\n")
    platform.engine.exit(instance, 0)
    async with platform.collecting() as collector:
        for _ in range(3):
            collector.know(instance, WEB)
            collector.know(InstanceId(""), WEB)
            await platform.ended(instance)
    async with platform.collecting() as collector:
        collector.know(instance, WEB)
        other = await platform.start("c-2")
        platform.engine.say(other, b"two\n")
        await platform.until(lambda lines: len(lines) == 2)
        assert await platform.texts() == ["one", "two"]


async def test_what_came_and_went_while_nobody_collected_and_served_nobody_is_read_too(
    platform: Platform,
) -> None:
    async with platform.collecting():
        known = await platform.start("c-1")
        platform.engine.say(known, b"one\n")
        platform.engine.exit(known, 0)
        await platform.ended(known)
    foreign = SandboxSpec(InstanceId("c-8"), IMAGE, ("/x",), 80)
    await platform.engine.create(foreign)
    for each in (await platform.start("c-2"), foreign.id):
        platform.engine.say(each, b"two\n")
        platform.engine.exit(each, 1)
    async with platform.collecting():
        await platform.ended(InstanceId("c-2"))
        assert await platform.texts() == ["one", "two"]


async def test_what_is_too_old_is_not_read_again_once_it_is_forgotten(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "UPKEEP", 1e6)
    async with platform.collecting():
        instance = await platform.start()
        platform.engine.say(instance, b"one\n")
        platform.engine.exit(instance, 0)
        await platform.ended(instance)
    platform.keep = 1e-9
    async with platform.collecting() as collector:
        await collector._upkeep.once()
        assert await platform.store.place(instance) is None
    async with platform.collecting():
        other = await platform.start("c-2")
        platform.engine.say(other, b"two\n")
        await platform.until(lambda lines: [line.text for line in lines][-1:] == ["two"])
        assert await platform.store.place(instance) is None
        assert await platform.texts() == ["two"]


async def test_a_sandbox_of_somebody_else_is_none_of_ours(platform: Platform) -> None:
    async with platform.collecting():
        foreign = SandboxSpec(InstanceId("c-9"), IMAGE, ("/x",), 80)
        await platform.engine.create(foreign)
        platform.engine.say(foreign.id, b"not ours\n")
        instance = await platform.start()
        platform.engine.say(instance, b"ours\n")
        assert len(await platform.until(lambda lines: len(lines) == 1)) == 1
        assert await platform.store.place(foreign.id) is None


class Killed(Exception):
    """The process ends here."""


def dying(at: str, after: int) -> Any:
    """Prepares a store to end the process at a point of its `after`th commit."""
    commits = count(1)

    def prepare(store: OutputStore) -> None:
        real_commit, real_write = store.commit, store._write

        async def commit(batches: Sequence[Batch]) -> frozenset[str]:
            number = next(commits)
            if number == after and at == "before":
                raise Killed
            if number == after and at == "during":
                store._write = dead  # type: ignore[method-assign]
            gone = await real_commit(batches)
            if number == after and at == "behind":
                raise Killed
            return gone

        async def dead(*given: Any) -> None:
            await real_write(*given)
            raise Killed

        store.commit = commit  # type: ignore[method-assign]

    return prepare


@pytest.mark.parametrize("at", ["before", "during", "behind"])
@pytest.mark.parametrize("after", [1, 2, 3, 5])
async def test_a_kill_at_any_point_neither_loses_nor_repeats_a_line(
    platform: Platform, at: str, after: int
) -> None:
    instances = ["c-1", "c-2"]
    printed: dict[str, list[str]] = {name: [] for name in instances}
    number = count()

    def before(sandbox: InstanceId, stream: Stream) -> None:
        """Each look finds the end of a line that was half read, a whole one, and half of the next."""
        if stream is Stream.STDOUT:
            half, whole = printed[sandbox][-1][3:], f"{sandbox} {next(number)}"
            printed[sandbox] += [whole, f"{sandbox} {next(number)}"]
            platform.engine.say(sandbox, f"{half}\n{whole}\n{sandbox}".encode())

    for name in instances:
        await platform.start(name)
        printed[name].append(f"{name} {next(number)}")
        platform.engine.say(InstanceId(name), name.encode())
    for _ in range(3):
        engine: Any = Watched(platform.engine, before)
        async with platform.collecting(engine, dying(at, after)):
            await asyncio.wait_for(platform.died.wait(), PATIENCE)
    async with platform.collecting():
        for name in instances:
            platform.engine.say(InstanceId(name), printed[name][-1][3:].encode())
            platform.engine.exit(InstanceId(name), 0)
        await platform.ended(*instances)
        for name in instances:
            assert await platform.texts(instance=name) == printed[name]


async def test_a_line_half_read_at_the_kill_is_whole_afterwards(platform: Platform) -> None:
    async with platform.collecting():
        instance = await platform.start()
        platform.engine.say(instance, b"whole\nha")
        await platform.until(lambda lines: len(lines) == 1)
    async with platform.collecting():
        platform.engine.say(instance, b"lf\n")
        lines = await platform.until(lambda lines: len(lines) == 2)
        assert [line.text for line in lines] == ["whole", "half"]


async def test_whose_request_it_is_survives_a_kill(platform: Platform) -> None:
    async with platform.collecting():
        instance = await platform.start()
        platform.engine.say(instance, b"FC Invoke Start RequestId: 1-a\n")
        await platform.until(lambda lines: len(lines) == 1)
    async with platform.collecting():
        platform.engine.say(instance, b"still at it\n")
        lines = await platform.until(lambda lines: len(lines) == 2)
        assert lines[1].request == "1-a"


async def test_what_the_ring_dropped_is_counted_and_said_where_it_is_missing(platform: Platform) -> None:
    async with platform.collecting():
        instance = await platform.start(log_mb=1)
        platform.engine.say(instance, b"first\n")
        await platform.until(lambda lines: len(lines) == 1)
    before = len(b"first\n")
    flood = b"".join(b"%063d\n" % number for number in range(40_000))
    platform.engine.say(instance, flood)
    platform.engine.say(instance, b"last\n")
    platform.engine.exit(instance, 0)
    lost = before + len(flood) + 5 - (1 << 20) - before
    async with platform.collecting():
        await platform.ended(instance)
        texts = await platform.texts()
        assert texts[0] == "first"
        assert texts[1].startswith(f"… {lost:,} bytes were not kept")
        assert texts[-1] == "last"
        kept = sum(len(text) + 1 for text in texts[2:])
        assert kept + lost + before == before + len(flood) + 5
        assert [each.lost for each in await platform.store.counts()] == [lost]


async def test_a_full_disk_loses_nothing_and_is_said_once(
    platform: Platform, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output_writer, "PATIENCE", (0.01, 0.02))
    caplog.set_level("INFO", "output")
    refusals = 0

    def prepare(store: OutputStore) -> None:
        real = store._write

        async def write(*given: Any) -> None:
            nonlocal refusals
            if refusals < 5:
                refusals += 1
                raise OperationalError("insert", {}, sqlite3.OperationalError("database or disk is full"))
            await real(*given)

        store._write = write  # type: ignore[method-assign]

    async with platform.collecting(prepare=prepare):
        instance = await platform.start()
        for number in range(50):
            platform.engine.say(instance, b"%d\n" % number)
        lines = await platform.until(lambda lines: len(lines) == 50)
        assert [line.text for line in lines] == [str(number) for number in range(50)]
    assert refusals == 5
    said = [record.getMessage() for record in caplog.records if record.name == "output"]
    assert said.count("function logs cannot be kept; trying on, nothing more is read meanwhile") == 1
    assert said.count("function logs are kept again") == 1


async def test_a_database_that_is_really_full_loses_nothing(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """SQLite itself refuses, in the middle of a transaction."""
    monkeypatch.setattr(output_writer, "PATIENCE", (0.01, 0.02))
    async with platform.database.read() as connection:
        pages = (await connection.exec_driver_sql("PRAGMA page_count")).scalar() or 0
    most = pages + 20

    def prepare(store: OutputStore) -> None:
        @event.listens_for(store.database._engine.sync_engine, "begin")
        def begin(connection: Connection) -> None:
            connection.exec_driver_sql(f"PRAGMA max_page_count={most}")

    async with platform.collecting(prepare=prepare):
        instance = await platform.start()
        printed = [f"{number} {random.Random(number).randbytes(400).hex()}" for number in range(1000)]
        platform.engine.say(instance, "".join(f"{text}\n" for text in printed).encode())
        async with asyncio.timeout(PATIENCE):
            while "cannot be kept" not in caplog.text:  # noqa: ASYNC110 - the log has no event
                await asyncio.sleep(0.01)
        kept = await platform.texts()
        assert kept == printed[: len(kept)]
        assert len(kept) < len(printed)
        most = 1 << 30
        platform.engine.exit(instance, 0)
        await platform.ended(instance)
        assert await platform.texts() == printed
    assert "database or disk is full" in str([getattr(each, "fields", "") for each in caplog.records])


async def test_while_the_disk_is_full_no_more_is_held_than_there_is_room_for(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = asyncio.Event()
    full = True

    def prepare(store: OutputStore) -> None:
        real = store._write

        async def write(*given: Any) -> None:
            if full:
                refused.set()
                raise OperationalError("insert", {}, sqlite3.OperationalError("database or disk is full"))
            await real(*given)

        store._write = write  # type: ignore[method-assign]

    monkeypatch.setattr(output_writer, "PATIENCE", (0.05, 0.05))
    async with platform.collecting(prepare=prepare) as collector:
        instance = await platform.start()
        flood = b"".join(b"%0127d\n" % number for number in range(60_000))
        platform.engine.say(instance, flood)
        await refused.wait()
        async with asyncio.timeout(60):
            while collector._writer._has_room("web"):  # noqa: ASYNC110 - it fills while others run
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        assert collector._writer._size <= 2 * output_writer.OF_ONE + (1 << 20)
        full = False
        platform.engine.exit(instance, 0)
        await platform.ended(instance)
        assert await platform.texts() == [line.decode() for line in flood.split()]


async def test_bytes_that_are_no_text_and_lines_without_end_break_nothing(platform: Platform) -> None:
    async with platform.collecting():
        instance = await platform.start()
        platform.engine.say(instance, bytes(range(256)) * 20)
        platform.engine.say(instance, b"z" * 300_000)
        platform.engine.say(instance, b"\n" * 20_000)
        platform.engine.say(instance, b"end\n")
        lines = await platform.until(lambda lines: bool(lines) and lines[-1].text == "end")
        assert sum(line.text.count("z") for line in lines) == 300_000 + 20


async def test_another_process_that_read_on_is_noticed_and_nothing_is_kept_twice(platform: Platform) -> None:
    async with platform.collecting():
        instance = await platform.start()
        platform.engine.say(instance, b"one\n")
        await platform.until(lambda lines: len(lines) == 1)
        elsewhere = OutputStore(platform.database, lambda: 0)
        place = await elsewhere.place(instance)
        assert place is not None
        platform.engine.say(instance, b"two\n")
        lines = await platform.until(lambda lines: len(lines) == 2)
        place = await elsewhere.place(instance)
        assert place is not None
        moved = type(place)(place.instance, place.version, place.stdout + 6)
        assert not await elsewhere.commit([Batch("web", [], {instance: (place, moved)})])
        platform.engine.say(instance, b"three\nfour\n")
        lines = await platform.until(lambda lines: len(lines) == 3)
        assert [line.text for line in lines] == ["one", "two", "four"]


async def test_an_engine_that_is_away_is_waited_for(platform: Platform) -> None:
    failures = 3

    def before(sandbox: InstanceId, stream: Stream) -> None:
        nonlocal failures
        if failures:
            failures -= 1
            raise StartFailed(Failure(FailureKind.ENGINE_FAILED, "the engine's process does not answer"))

    engine: Any = Watched(platform.engine, before)
    async with platform.collecting(engine):
        instance = await platform.start()
        platform.engine.say(instance, b"one\n")
        assert len(await platform.until(lambda lines: len(lines) == 1)) == 1


async def test_a_failure_nobody_foresaw_costs_a_pause_and_no_line(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("sampan.collector.output.AGAIN", 0.05)
    broken = 0

    def before(sandbox: InstanceId, stream: Stream) -> None:
        nonlocal broken
        if sandbox == "c-1" and stream is Stream.STDERR and broken < 3:
            broken += 1  # stdout has been read already
            raise ZeroDivisionError

    engine: Any = Watched(platform.engine, before)
    async with platform.collecting(engine):
        for name in ("c-1", "c-2"):
            instance = await platform.start(name)
            platform.engine.say(instance, b"one\ntwo\n")
        lines = await platform.until(lambda lines: len(lines) >= 4)
        assert sorted((line.instance, line.text) for line in lines) == [
            ("c-1", "one"),
            ("c-1", "two"),
            ("c-2", "one"),
            ("c-2", "two"),
        ]
    assert broken == 3
    assert "output cannot be read; trying anew" in caplog.text


class InMemory(OutputStore):
    """Keeps without a database, so that a virtual clock works."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, lambda: 0)
        self.kept: list[tuple[float, Line]] = []  # when, what
        self.lost = 0

    async def unfinished(self) -> list[Place]:
        return []

    async def commit(self, batches: Sequence[Batch]) -> frozenset[str]:
        now = asyncio.get_running_loop().time()
        self.kept += [(now, line) for batch in batches for line in batch.lines]
        self.lost += sum(batch.lost for batch in batches)
        return frozenset()


@pytest.mark.looptime
async def test_a_function_that_prints_without_end_costs_itself_and_not_the_others(platform: Platform) -> None:
    """100 MB/s, of which 2 are read, beside a function that prints a line now and then."""
    loop, engine, store = asyncio.get_running_loop(), platform.engine, InMemory(platform.database)
    upkeep = Upkeep(platform.database, lambda: 0, 1, 1)
    collector = OutputCollector(engine, store, upkeep, facts, rate=2.0)
    running = asyncio.create_task(collector.run())
    noisy, quiet = await platform.start("c-1", API, log_mb=2), await platform.start("c-2")
    said, printed, seconds = {}, 0, 8.0
    while loop.time() < seconds:
        flood = b"".join(b"%099d\n" % (printed // 100 + number) for number in range(20_000))
        engine.say(noisy, flood)
        printed += len(flood)
        engine.say(quiet, b"%d\n" % len(said))
        said[str(len(said))] = loop.time()
        await asyncio.sleep(0.02)
    engine.exit(noisy, 0)
    await asyncio.sleep(2)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    waits = [when - said[line.text] for when, line in store.kept if line.instance == quiet]
    assert len(waits) == len(said)
    assert max(waits) < FAST + WINDOW + 0.05
    loud = [line.text for _, line in store.kept if line.instance == noisy]
    gaps = [text for text in loud if text.startswith("…")]
    numbers = [int(text) for text in loud if len(text) == 99 and text.isdigit()]
    read = sum(len(text) + 1 for text in loud if not text.startswith("…"))
    assert 1.8e6 * seconds < read < 2.2e6 * (seconds + 2) + 2e6
    assert numbers == sorted(numbers)
    assert sum(int(text.split()[1].replace(",", "")) for text in gaps) == store.lost
    assert 0 < len(gaps) <= 2e6 / CHUNK * (seconds + 3)  # one before each answer: the ring is small
    assert printed - read - 2 * len(gaps) <= store.lost <= printed - read + 2 * len(gaps)

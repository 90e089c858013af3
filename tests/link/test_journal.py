import contextlib
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.link import journal
from sampan.link.journal import Journal, leftovers
from sampan.link.reports import EncodedRecords, Records, lying
from sampan.model.invocation import InvocationRecord
from tests.link.memory import in_memory
from tests.meter.making import record

LIFE = "0123456789abcdef" * 2
PAGE = 4096


@pytest.fixture
def directory() -> Iterator[Path]:
    with in_memory() as made:
        yield made


def taken(one: Journal, after: int) -> tuple[int, list[InvocationRecord]]:
    first, count, entries = one.take(after, 1 << 30)
    return first, read(count, entries)


def read(count: int, entries: bytes) -> list[InvocationRecord]:
    """As the collector reads what is sent."""
    told = msgspec.msgpack.encode(EncodedRecords(1, lying(count, entries), {}))
    records = msgspec.msgpack.decode(told, type=Records).records
    assert len(records) == count
    return list(records)


def abandon(one: Journal) -> None:
    """As a killed process leaves it: the file stays as it is, the lock is gone."""
    one._memory.close()
    os.close(one._fd)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 30)),
        st.tuples(st.just("take"), st.integers(1, 3000)),
        st.tuples(st.just("confirm"), st.integers(0, 100)),
    ),
    max_size=40,
)


@settings(max_examples=60)
@given(STEPS)
def test_whatever_happened_before_a_kill_the_newest_records_are_found_whole(steps: list[tuple[str, int]]) -> None:
    """Regions of 32 KiB that grow by 8: they fill, grow, move and start over."""
    with in_memory() as directory:
        one = Journal(LIFE, directory / f"g{journal.SUFFIX}", region=8 * PAGE, step=2 * PAGE)
        made: dict[int, InvocationRecord] = {}
        sent = 0
        for step, much in steps:
            if step == "add":
                for _ in range(much):
                    before = one.number
                    new = record(before + 1, length=before)
                    one.add(new)
                    made[one.number] = new
            elif step == "take":
                first, count, entries = one.take(sent, much)
                assert first > sent or not count
                for number, each in enumerate(read(count, entries), first):
                    assert each == made[number]
                sent = max(sent, first + count - 1)
            else:
                one.confirm(one.kept + (one.number - one.kept) * much // 100)
        first, kept = taken(one, one.kept)
        assert first + len(kept) - 1 == one.number
        assert first == one.kept + 1 or one.lost, "only what is counted as lost is missing"
        number, confirmed = one.number, one.kept
        abandon(one)
        found = list(leftovers(directory))
        if confirmed < number:
            (left,) = found
            assert left.life == LIFE
            assert left.first <= first
            assert left.records[first - left.first :] == kept
            assert left.first + len(left.records) - 1 == number
        for left in found:
            left.close(taken=True)
        assert list(directory.iterdir()) == []


def test_a_journal_of_a_living_process_is_nobodys_to_take(directory: Path) -> None:
    one = Journal(LIFE, directory / f"g{journal.SUFFIX}")
    one.add(record())
    assert list(leftovers(directory)) == []
    abandon(one)
    (left,) = leftovers(directory)
    assert list(leftovers(directory)) == [], "who has found it has it alone"
    left.close(taken=False)
    (again,) = leftovers(directory)
    assert again.records == [record()]
    again.close(taken=True)


def test_only_a_journal_without_unconfirmed_records_goes_at_the_end(directory: Path) -> None:
    file = directory / f"g{journal.SUFFIX}"
    one = Journal(LIFE, file)
    one.add(record())
    one.close()
    assert file.exists()
    (left,) = leftovers(directory)
    left.close(taken=True)
    two = Journal(LIFE, file)
    two.add(record())
    two.confirm(1)
    two.close()
    assert not file.exists()


def test_a_full_journal_drops_the_oldest_and_counts_it(directory: Path) -> None:
    one = Journal(LIFE, directory / f"g{journal.SUFFIX}", region=8 * PAGE, step=2 * PAGE)
    for number in range(1000):
        one.add(record(number))
    first, kept = taken(one, 0)
    assert first == one.lost + 1
    assert [each.request for each in kept] == [record(number).request for number in range(first - 1, 1000)]
    assert 60 < len(kept) < 400
    one.confirm(1000)
    assert taken(one, 1000) == (1001, [])
    abandon(one)


def test_while_reports_are_confirmed_in_time_the_journal_stays_small(directory: Path) -> None:
    file = directory / f"g{journal.SUFFIX}"
    one = Journal(LIFE, file)
    for number in range(60_000):
        one.add(record(number))
        if number % 100 == 0:
            one.take(number - 100, 1 << 20)
            one.confirm(number - 50)
    assert one.lost == 0
    assert file.stat().st_blocks * 512 <= 2 * journal.STEP + PAGE
    abandon(one)


def test_memory_that_an_outage_took_is_given_back(directory: Path) -> None:
    file = directory / f"g{journal.SUFFIX}"
    one = Journal(LIFE, file)
    for number in range(60_000):
        one.add(record(number))
    grown = file.stat().st_blocks * 512
    one.confirm(one.number)
    assert grown > 2 * journal.STEP >= file.stat().st_blocks * 512
    one.add(record(7))
    assert taken(one, 60_000) == (60_001, [record(7)])
    abandon(one)


def test_a_full_file_system_costs_old_records_and_never_the_process(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Journal(LIFE, directory / f"g{journal.SUFFIX}", region=64 * PAGE, step=2 * PAGE)
    for number in range(100):
        one.add(record(number))

    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    for number in range(100, 1000):
        one.add(record(number))
    first, kept = taken(one, 0)
    assert kept[-1].request == record(999).request
    assert first + len(kept) - 1 == one.number
    assert one.number + one.lost >= 1000
    abandon(one)


@pytest.mark.parametrize(
    "content", [b"", b"x" * 100, bytes(3 * PAGE), os.urandom(3 * PAGE), b"sampan journal 2" * 999]
)
def test_a_file_that_is_no_journal_gives_nothing(directory: Path, content: bytes) -> None:
    (directory / f"g{journal.SUFFIX}").write_bytes(content)
    assert list(leftovers(directory)) == []


CHILD = """
import sys
from pathlib import Path
from sampan.link.journal import Journal
from tests.meter.making import record
one = Journal("0123456789abcdef" * 2, Path(sys.argv[1]), region=1 << 16, step=1 << 14)
number = 0
while True:
    number += 1
    one.add(record(number))
    print(one.number, flush=number % 8 == 0)
    if number % 23 == 0:
        one.take(number - 40, 1 << 20)
        one.confirm(number - 11)
"""


@pytest.mark.parametrize("turn", range(5))
def test_a_killed_process_leaves_every_record_it_had_made(directory: Path, turn: int) -> None:
    file = directory / f"g{journal.SUFFIX}"
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(file)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    said = [int(child.stdout.readline()) for _ in range(random.Random(turn).randrange(100, 3000))]
    with contextlib.suppress(ProcessLookupError):
        os.kill(child.pid, signal.SIGKILL)
    said += [int(line) for line in child.stdout.read().splitlines() if line.strip()]
    child.stdout.close()
    child.wait()
    (left,) = leftovers(directory)
    last = left.first + len(left.records) - 1
    assert last >= max(said), "what it said was made is there"
    assert left.first <= last - 11 + 1, "and all that was not confirmed before it"
    assert [each.request for each in left.records] == [record(n).request for n in range(left.first, last + 1)]
    left.close(taken=True)

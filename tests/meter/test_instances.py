import asyncio
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import OperationalError

from sampan.meter.instances import Instances
from sampan.meter.ledger import Batch, Ledger
from sampan.meter.lifetimes import Changes
from sampan.model.names import InstanceId
from tests.meter.making import MS, START, WEB, Sums, database, record, swept, written

ONE, TWO = InstanceId("c-1"), InstanceId("c-2")
S = 1000 * MS


class Stage:
    """Instances over a real database, and a clock that is set."""

    def __init__(self, directory: Path) -> None:
        self.store = database(directory)
        self.ledger = Ledger(self.store)
        self.now = START
        self.instances = Instances(self.ledger, lambda: self.now)

    async def after(self, ns: int) -> None:
        self.now += ns

    async def again(self) -> None:
        """The process was killed, and its successor begins."""
        self.instances = Instances(self.ledger, lambda: self.now)
        await self.instances.load()

    async def total(self, name: str) -> int:
        sums: Sums = await written(self.store)
        return sum(row.get(name, 0) for row in sums.values())


async def test_time_ready_and_time_frozen_are_kept_apart(tmp_path: Path) -> None:
    s = Stage(tmp_path)
    s.instances.instance_seen(ONE, WEB, frozen=False)
    await s.after(5 * S)
    s.instances.instance_seen(ONE, WEB, frozen=True)
    await s.after(100 * S)
    s.instances.instance_seen(ONE, WEB, frozen=False)
    await s.after(1 * S)
    s.instances.instance_gone(ONE)
    await s.instances.close()
    assert (await s.total("ready_ns"), await s.total("frozen_ns")) == (6 * S, 100 * S)
    assert len(await written(s.store)) == 2, "each minute has its part"
    assert await s.ledger.lives() == {}
    await s.store.close()


async def test_the_oldest_instances_are_the_provisioned_ones(tmp_path: Path) -> None:
    s = Stage(tmp_path)
    s.instances.provision({WEB: 1})
    s.instances.instance_seen(ONE, WEB, frozen=False)
    await s.after(10 * S)
    s.instances.instance_seen(TWO, WEB, frozen=False)
    await s.after(10 * S)
    s.instances.instance_gone(ONE)
    await s.after(10 * S)
    s.instances.provision({})
    await s.after(10 * S)
    await s.instances.close()
    assert await s.total("provisioned_ns") == 30 * S
    assert await s.total("ready_ns") == 20 * S + 30 * S
    await s.store.close()


async def test_a_killed_collector_counts_on_from_what_it_wrote(tmp_path: Path) -> None:
    s = Stage(tmp_path)
    s.instances.provision({WEB: 2})
    for instance in (ONE, TWO):
        s.instances.instance_seen(instance, WEB, frozen=False)
    await s.after(10 * S)
    await s.instances.write()
    await s.after(10 * S)
    await s.again()
    s.instances.instance_seen(ONE, WEB, frozen=False)
    s.instances.synced()
    await s.instances.close()
    assert await s.total("ready_ns") == 20 * S + 10 * S, "what ended while nobody looked: until it was seen last"
    assert set(await s.ledger.lives()) == {ONE}
    await s.store.close()


async def test_an_engine_that_tells_all_once_more_ends_nobody(tmp_path: Path) -> None:
    s = Stage(tmp_path)
    for _ in range(2):
        s.instances.instance_seen(ONE, WEB, frozen=False)
        s.instances.synced()
    await s.instances.close()
    assert set(await s.ledger.lives()) == {ONE}
    await s.store.close()


async def test_measured_cpu_time_is_counted_once_and_the_peak_kept(tmp_path: Path) -> None:
    s = Stage(tmp_path)
    s.instances.instance_seen(ONE, WEB, frozen=False)
    s.instances.observe(ONE, 3 * S, 50 << 20)
    await s.instances.write()
    await s.again()
    s.instances.instance_seen(ONE, WEB, frozen=False)
    s.instances.observe(ONE, 5 * S, 40 << 20)
    s.instances.observe(TWO, 9 * S, 90 << 20)  # nobody knows whose it is
    await s.instances.close()
    assert await s.total("cpu_ns") == 5 * S
    assert await s.total("memory_peak") == 50 << 20
    await s.store.close()


async def test_what_could_not_be_written_is_written_later(tmp_path: Path) -> None:
    s = Stage(tmp_path)
    s.instances.provision({WEB: 1})
    s.instances.instance_seen(ONE, WEB, frozen=False)
    book, s.ledger.book = s.ledger.book, _full  # type: ignore[method-assign]
    for _ in range(2):
        await s.after(10 * S)
        try:
            await s.instances.write()
            raise AssertionError
        except OperationalError:
            s.instances.instance_seen(ONE, WEB, frozen=True)
    s.ledger.book = book  # type: ignore[method-assign]
    await s.instances.close()
    assert (await s.total("ready_ns"), await s.total("frozen_ns")) == (10 * S, 10 * S)
    assert await s.total("provisioned_ns") == 20 * S
    await s.store.close()


async def _full(changes: Changes) -> None:
    raise OperationalError("insert", None, OSError("disk full"))


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.integers(1, 40 * S)),
        st.tuples(st.just("request"), st.tuples(st.integers(0, 60 * S), st.integers(1, 30 * S))),
        st.tuples(st.just("frozen"), st.booleans()),
        st.tuples(st.just("provision"), st.integers(0, 1)),
        st.tuples(st.just("write"), st.none()),
        st.tuples(st.just("again"), st.none()),
    ),
    max_size=14,
)


@settings(max_examples=60)
@given(STEPS)
def test_provisioned_time_without_a_request_is_exact_whenever_records_come(
    steps: list[tuple[str, object]],
) -> None:
    async def play(directory: Path) -> None:
        s = Stage(directory)
        s.instances.instance_seen(ONE, WEB, frozen=False)
        wanted, phases, requests = 0, [], []
        for number, (step, much) in enumerate(steps):
            match step, much:
                case "wait", int(ns):
                    if wanted:
                        phases.append((s.now, s.now + ns))
                    await s.after(ns)
                case "request", (int(begin), int(length)):
                    requests.append((START + begin, START + begin + length))
                    await s.ledger.add([Batch(f"life-{number}", 1, [record(number, begin, length)])])
                case "frozen", bool(frozen):
                    s.instances.instance_seen(ONE, WEB, frozen)
                case "provision", int(count):
                    wanted = count
                    s.instances.provision({WEB: count})
                case "write", _:
                    await s.instances.write()
                case "again", _:
                    await s.instances.write()
                    await s.again()
                    s.instances.provision({WEB: wanted})
                    s.instances.instance_seen(ONE, WEB, frozen=False)
                    s.instances.synced()
        await s.instances.close()
        covered = sum(
            min(end, until) - max(begin, since)
            for begin, end in swept(phases)
            for since, until in swept(requests)
            if max(begin, since) < min(end, until)
        )
        assert await s.total("provisioned_ns") == sum(end - begin for begin, end in phases)
        assert await s.total("covered_ns") == covered
        assert await s.total("ready_ns") + await s.total("frozen_ns") == s.now - START
        await s.store.close()

    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(play(Path(directory)))

"""An exporter in virtual time: batches, pauses, ageing; nothing is lost without being counted."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress

import looptime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.collector.export import exporter as module
from sampan.collector.export.buffer import Budget
from sampan.collector.export.exporter import Exporter
from sampan.collector.export.patience import Limits
from sampan.collector.export.transport import Refused, Taken, TooLarge, Unavailable
from tests.collector.export.backend import Backend

pytestmark = pytest.mark.looptime
BUSY = Unavailable("it answered 503")


@pytest.fixture(autouse=True)
def _full_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.random, "random", lambda: 1.0)


def made(backend: Backend, budget: Budget | None = None, **limits: float) -> Exporter[str]:
    return Exporter("http://c:4318", backend, len, Limits(**limits), budget)  # type: ignore[arg-type]


@asynccontextmanager
async def running(exporter: Exporter[str]) -> AsyncIterator[None]:
    task = asyncio.create_task(exporter.run())
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_a_full_batch_goes_at_once_and_a_part_of_one_after_its_linger() -> None:
    backend = Backend()
    exporter = made(backend, batch_items=3, linger=1.0)
    async with running(exporter):
        assert exporter.offer(["a", "b", "c", "d"]) == 4
        await asyncio.sleep(0.1)
        assert backend.taken == ["a", "b", "c"]
        exporter.offer(["e"])
        await asyncio.sleep(2)
    assert backend.requests == [(0.0, ["a", "b", "c"]), (pytest.approx(1.0, abs=0.01), ["d", "e"])]
    assert exporter.state().sent == 5


async def test_a_batch_is_bounded_in_bytes_and_one_item_may_be_larger() -> None:
    backend = Backend()
    exporter = made(backend, batch_size=10)
    async with running(exporter):
        exporter.offer(["aaaa", "bbbb", "cccc", "d" * 40, "e"])
        await asyncio.sleep(2)
    assert [items for _, items in backend.requests] == [["aaaa", "bbbb"], ["cccc"], ["d" * 40], ["e"]]


async def test_items_of_different_keys_go_in_different_requests() -> None:
    backend = Backend()
    exporter = made(backend)
    async with running(exporter):
        exporter.offer(["x/1", "y/1", "x/2"])
        await asyncio.sleep(2)
    assert sorted(items for _, items in backend.requests) == [["x/1", "x/2"], ["y/1"]]


async def test_what_is_over_the_bounds_is_dropped_newest_first_and_counted() -> None:
    backend = Backend()
    exporter = made(backend, items=3, size=100)
    assert exporter.offer(["a", "b", "c", "d", "e"]) == 3
    assert exporter.offer(["f"]) == 0
    assert exporter.state().dropped == {"full": 3}
    await exporter.close()
    assert backend.taken == ["a", "b", "c"]


async def test_bytes_are_bounded_and_what_is_on_its_way_counts() -> None:
    backend = Backend(took=10.0)
    exporter = made(backend, size=10, batch_items=1)
    async with running(exporter):
        assert exporter.offer(["aaaaa", "bbbbb", "c"]) == 2
        await asyncio.sleep(5)
        assert exporter.offer(["c"]) == 0
        await asyncio.sleep(6)
        assert exporter.offer(["c"]) == 1
    assert exporter.state().dropped == {"full": 2}


async def test_exporters_share_a_budget_and_give_it_back() -> None:
    budget, backend = Budget(10), Backend()
    first, second = made(backend, budget), made(Backend(), budget)
    assert first.offer(["aaaaaaaa"]) == 1
    assert second.offer(["bbb"]) == 0
    await first.close()
    assert second.offer(["bbb"]) == 1


async def test_what_is_unavailable_is_tried_again_with_growing_pauses() -> None:
    backend = Backend(BUSY, BUSY, BUSY, BUSY)
    exporter = made(backend, linger=0.0)
    async with running(exporter):
        exporter.offer(["a"])
        await asyncio.sleep(3)
        state = exporter.state()
        assert (state.failing_since, state.last_error) == (pytest.approx(0, abs=0.01), "it answered 503")
        await asyncio.sleep(30)
    assert backend.times() == pytest.approx([0, 1, 3, 7, 15], abs=0.05)
    state = exporter.state()
    assert (state.sent, state.dropped, state.failing_since, state.held) == (1, {}, None, 0)


async def test_all_requests_wait_as_long_as_the_back_end_asks() -> None:
    backend = Backend(Unavailable("it answered 429", 20.0))
    exporter = made(backend, linger=0.0, batch_items=1, in_flight=2)
    async with running(exporter):
        exporter.offer(["a"])
        await asyncio.sleep(1)
        exporter.offer(["b", "c"])
        await asyncio.sleep(30)
    assert backend.times() == pytest.approx([0, 20, 20, 20], abs=0.05)
    assert sorted(backend.taken) == ["a", "b", "c"]


async def test_what_cannot_be_sent_is_given_up_when_it_is_too_old() -> None:
    backend = Backend(*[BUSY] * 100)
    exporter = made(backend, linger=0.0, age=60.0)
    async with running(exporter):
        exporter.offer(["a"])
        await asyncio.sleep(300)
        assert exporter.state().dropped == {"aged": 1}
        assert backend.times()[-1] < 60
        backend.answers.clear()
        exporter.offer(["b"])
        await asyncio.sleep(60)
    assert backend.taken == ["b"]


async def test_what_grew_old_in_the_buffer_is_never_sent() -> None:
    backend = Backend(*[BUSY] * 100)
    exporter = made(backend, linger=0.0, age=60.0, batch_items=2, in_flight=1)
    async with running(exporter):
        exporter.offer(["a", "b", "c", "d"])
        await asyncio.sleep(300)
    assert exporter.state().dropped == {"aged": 4}
    assert exporter.state().held == 0
    assert all(items == ["a", "b"] for _, items in backend.requests)


async def test_what_is_refused_is_dropped_and_the_next_waits_a_little() -> None:
    backend = Backend(Refused("it answered 400"))
    exporter = made(backend, linger=0.0, batch_items=1, in_flight=1)
    async with running(exporter):
        exporter.offer(["a", "b"])
        await asyncio.sleep(10)
    assert backend.taken == ["b"]
    assert backend.times() == pytest.approx([0, 1], abs=0.05)
    assert exporter.state().dropped == {"refused": 1}


async def test_requests_that_fail_together_count_as_one_failure() -> None:
    backend = Backend(*[BUSY] * 6, took=0.1)
    exporter = made(backend, linger=0.0, batch_items=1, in_flight=2)
    async with running(exporter):
        exporter.offer(["a", "b"])
        await asyncio.sleep(20)
    assert backend.times() == pytest.approx([0, 0, 1.1, 1.1, 3.2, 3.2, 7.3, 7.3], abs=0.05)
    assert sorted(backend.taken) == ["a", "b"]


async def test_what_is_too_large_goes_in_halves() -> None:
    backend = Backend(TooLarge("it answered 413"), TooLarge("it answered 413"))
    exporter = made(backend, linger=0.0)
    async with running(exporter):
        exporter.offer(["a", "b", "c", "d"])
        await asyncio.sleep(1)
    assert [items for _, items in backend.requests] == [["a", "b", "c", "d"], ["a", "b"], ["a"], ["b"], ["c", "d"]]
    assert exporter.state().sent == 4


async def test_a_back_end_that_finds_all_too_large_is_not_flooded() -> None:
    backend = Backend(*[TooLarge("it answered 413")] * 10_000)
    exporter = made(backend, linger=0.0)
    async with running(exporter):
        exporter.offer([str(n) for n in range(64)])
        await asyncio.sleep(60)
    assert len(backend.requests) < 20


async def test_one_item_that_cannot_be_encoded_costs_no_other() -> None:
    backend = Backend()
    exporter = made(backend, linger=0.0)
    async with running(exporter):
        exporter.offer(["a", "b", "hostile", "c", "odd", "d"])
        await asyncio.sleep(1)
    assert sorted(backend.taken) == ["a", "b", "c", "d"]
    assert exporter.state().dropped == {"unencodable": 2}


async def test_a_bug_in_a_transport_costs_the_batch_and_not_the_process() -> None:
    backend = Backend(ZeroDivisionError("oh"))
    exporter = made(backend, linger=0.0, batch_items=1)
    async with running(exporter):
        exporter.offer(["a", "b"])
        await asyncio.sleep(5)
    assert exporter.state().dropped == {"failed": 1}
    assert exporter.state().last_error == "ZeroDivisionError in the exporter"
    assert exporter.state().sent == 1


async def test_what_a_back_end_rejects_of_a_batch_is_counted() -> None:
    backend = Backend(Taken(2, "too old"), Taken(99, ""), Taken(-5, ""))
    exporter = made(backend, linger=0.0, batch_items=3, in_flight=1)
    async with running(exporter):
        exporter.offer(list("abcdefghi"))
        await asyncio.sleep(5)
    assert (exporter.state().sent, exporter.state().rejected) == (4, 5)


async def test_few_requests_are_on_their_way_at_once() -> None:
    backend = Backend(took=1.0)
    exporter = made(backend, linger=0.0, batch_items=1, in_flight=2)
    async with running(exporter):
        exporter.offer(list("abcdef"))
        await asyncio.sleep(2.5)
        assert len(backend.taken) == 4
    assert backend.most_at_once == 2


async def test_closing_sends_what_is_held() -> None:
    backend = Backend(took=0.5)
    exporter = made(backend, batch_items=2, linger=100.0)
    async with running(exporter):
        exporter.offer(list("abcde"))
        await asyncio.sleep(0.1)
        await exporter.close()
    assert sorted(backend.taken) == list("abcde")
    assert backend.closed
    assert exporter.offer(["late"]) == 0
    assert exporter.state().dropped == {"closed": 1}


async def test_closing_sends_what_was_on_its_way_when_the_work_was_cancelled() -> None:
    backend = Backend(took=10.0)
    exporter = made(backend, batch_items=2, linger=0.0)
    async with running(exporter):
        exporter.offer(list("abcde"))
        await asyncio.sleep(1)
    assert exporter.state().held == 5
    backend.took = 0.0
    await exporter.close()
    assert sorted(backend.taken) == list("abcde")
    assert exporter.state().held == 0


async def test_closing_takes_a_bounded_time_and_counts_what_is_left() -> None:
    backend = Backend(took=1000.0)
    exporter = made(backend, batch_items=2, linger=0.0)
    async with running(exporter):
        exporter.offer(list("abcdefgh"))
        await asyncio.sleep(1)
        await exporter.close(grace=5.0)
    assert asyncio.get_running_loop().time() == pytest.approx(6.0, abs=0.1)
    assert exporter.state().dropped == {"closed": 8}
    assert exporter.state().held == 0
    assert backend.closed


async def test_closing_does_not_wait_for_a_back_end_that_fails() -> None:
    backend = Backend(*[BUSY] * 100)
    exporter = made(backend, linger=0.0)
    async with running(exporter):
        exporter.offer(["a"])
        await asyncio.sleep(2)
        exporter.offer(["b"])
        await asyncio.sleep(0.5)
        await exporter.close(grace=60.0)
    assert asyncio.get_running_loop().time() == pytest.approx(2.5, abs=0.1)
    assert exporter.state().dropped == {"closed": 2}


async def test_the_log_is_told_seldom(caplog: pytest.LogCaptureFixture) -> None:
    backend = Backend(*[BUSY] * 20)
    exporter = made(backend, linger=0.0, items=1, backoff_max=1.0)
    with caplog.at_level(logging.INFO):
        async with running(exporter):
            for _ in range(500):
                exporter.offer(["a", "b"])
                await asyncio.sleep(0.1)
    said = [record.getMessage() for record in caplog.records]
    assert sorted(said) == ["export drops", "export fails", "export works again"]


@given(st.data())
def test_everything_offered_is_sent_or_counted(data: st.DataObject) -> None:
    """Whatever a back-end answers, in whatever order: no item is lost without a count, none is counted twice."""
    answers = data.draw(
        st.lists(
            st.sampled_from(
                [Taken(), Taken(1), BUSY, Unavailable("429", 3.0), Refused("400"), TooLarge("413"), KeyError("bug")]
            ),
            max_size=40,
        )
    )
    offers = data.draw(st.lists(st.tuples(st.integers(0, 9), st.floats(0, 40)), max_size=12))

    async def story() -> None:
        backend = Backend(*answers, took=0.5)
        exporter = made(backend, items=20, size=60, batch_items=4, age=30.0)
        offered = taken = 0
        async with running(exporter):
            for count, wait in offers:
                offered += count
                taken += exporter.offer(
                    ["hostile" if n == 7 else "odd" if n == 8 else f"{n}" for n in range(count)]
                )
                await asyncio.sleep(wait)
            await exporter.close()
        state = exporter.state()
        assert state.held == 0
        assert state.sent + state.rejected + sum(state.dropped.values()) == offered
        assert offered - taken == state.dropped.get("full", 0)

    loop = looptime.new_event_loop()
    with closing(loop):
        loop.run_until_complete(story())

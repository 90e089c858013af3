"""Quotas on requests: exact, whichever of several gateways a request comes to."""

import asyncio
import multiprocessing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.gateway.tally import Alone, Shared, Tally, shared, spent
from tests.gateway.conftest import MakeStage
from tests.gateway.stage import Request, read_body, reply

LIMIT, TRIES, PROCESSES = 7, 3000, 3


@pytest.fixture(params=["alone", "shared"])
def tally(request: pytest.FixtureRequest, tmp_path: Path) -> Tally:
    return Alone() if request.param == "alone" else Shared(tmp_path / "quota", 1)


def test_no_more_than_the_limit_are_under_way(tally: Tally) -> None:
    assert [tally.enter(2) for _ in range(3)] == [True, True, False]
    tally.leave()
    assert tally.enter(2)
    assert not tally.enter(0)


def test_a_rate_is_used_up_and_given_back(tally: Tally) -> None:
    rate = 0.01
    assert tally.spend(rate) == 0.0
    assert 0 < tally.spend(rate) <= 1 / rate
    tally.refund(rate)
    assert tally.spend(rate) == 0.0


def test_a_rate_lets_a_second_s_worth_come_at_once_and_then_one_after_the_other() -> None:
    now, used, waits = 10**18, 0, []
    for _ in range(7):
        used, wait = spent(used, now, 5.0)
        waits.append(round(wait, 3))
    assert waits == [0.0] * 5 + [0.2] * 2
    assert spent(used, now + 200_000_000, 5.0)[1] == 0.0


@given(st.floats(0.1, 1000), st.lists(st.integers(0, 2_000_000_000), max_size=200))
def test_over_any_time_no_more_is_allowed_than_the_rate_and_one_second_s_worth(
    rate: float, gaps: list[int]
) -> None:
    now, used, allowed, begin = 10**18, 0, 0, 10**18
    for gap in gaps:
        now += gap
        used, wait = spent(used, now, rate)
        allowed += wait == 0
        assert wait == 0 or wait <= 1 / rate + 1e-6
        assert allowed <= (now - begin) / 1e9 * rate + max(1, rate) + 1


def _contend(file: str, place: int, most: Any) -> None:
    tally = Shared(Path(file), place)
    for _ in range(TRIES):
        if tally.enter(LIMIT):
            with most.get_lock():
                most.value += 1
                assert most.value <= LIMIT
            with most.get_lock():
                most.value -= 1
            tally.leave()
    tally.close()


def test_processes_that_share_a_quota_never_exceed_it_together(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    inside = context.Value("i", 0)
    processes = [
        context.Process(target=_contend, args=(str(tmp_path / "quota"), n, inside)) for n in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * PROCESSES
    assert Shared(tmp_path / "quota", 0).enter(1), "something was left counted"


def test_what_a_dead_gateway_had_under_way_is_forgotten_by_its_successor(tmp_path: Path) -> None:
    first, other = Shared(tmp_path / "quota", 0), Shared(tmp_path / "quota", 1)
    assert first.enter(2)
    assert other.enter(2)
    first.close()
    successor = Shared(tmp_path / "quota", 0)
    assert successor.enter(2)
    assert not other.enter(2)


def test_a_successor_need_not_see_a_request_to_forget_what_the_dead_one_counted(tmp_path: Path) -> None:
    dead, other = shared(tmp_path, 0), shared(tmp_path, 1)
    assert dead("web under way").enter(1)
    assert not other("web under way").enter(1)
    shared(tmp_path, 0)
    assert other("web under way").enter(1)


def test_places_that_no_gateway_has_any_more_count_nothing(tmp_path: Path) -> None:
    assert shared(tmp_path, 3, 4)("web under way").enter(1)
    assert shared(tmp_path, 0, 2)("web under way").enter(1)


def test_a_gateway_that_ends_after_its_successor_came_counts_nothing_below_zero(tmp_path: Path) -> None:
    old = shared(tmp_path, 0)("web under way")
    assert old.enter(1)
    new = shared(tmp_path, 0)("web under way")
    old.leave()
    assert [new.enter(1), new.enter(1)] == [True, False]


def test_time_used_up_by_a_lower_rate_or_before_a_reboot_does_not_keep_a_higher_one_waiting() -> None:
    now = 10**15
    far = now + 10**18
    used, wait = spent(far, now, 10.0)
    assert 0 < wait <= 0.1
    assert spent(used, now + 10**9, 10.0)[1] == 0.0


def test_a_quota_whose_file_cannot_be_had_counts_by_itself(tmp_path: Path) -> None:
    tally = shared(tmp_path / "missing", 0)("web under way")
    assert tally.enter(1)
    assert not tally.enter(1)


# ── at the gateway ────────────────────────────────────────────────────────────────────────────────────


class Held:
    """A function that answers once it is let go."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def __call__(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_body(request, reader)
        await self.go.wait()
        writer.write(reply(b"done"))


async def test_a_function_s_rate_answers_429_and_says_when_to_come_again(stage: MakeStage) -> None:
    s = await stage()
    await s.serve(slots=5, rate=0.01)
    answers = [await s.call() for _ in range(2)]
    assert [answer.status for answer in answers] == [200, 429]
    assert b"request rate (0.01 per second) of function 'web'" in answers[1].body
    assert b'"ResourceExhausted"' in answers[1].body
    assert 0 < int(answers[1]["retry-after"]) <= 100
    assert 0 < int(answers[1]["x-acs-retry-after"]) <= 100_000


async def test_a_tag_s_rate_overrules_the_setting_for_all_functions(stage: MakeStage) -> None:
    s = await stage(function_rate=0.01)
    await s.serve(slots=5, rate=1000.0)
    assert [(await s.call()).status for _ in range(4)] == [200] * 4


async def test_the_account_s_rate_counts_all_functions_and_gives_the_function_s_share_back(
    stage: MakeStage,
) -> None:
    s = await stage(account_rate=0.01)
    await s.serve(slots=5, rate=1000.0)
    answers = [await s.call() for _ in range(2)]
    assert [answer.status for answer in answers] == [200, 429]
    assert b"of the account" in answers[1].body


async def test_the_account_s_concurrency_counts_what_waits_and_what_runs(stage: MakeStage) -> None:
    s = await stage(account_concurrency=2)
    held = Held()
    await s.serve(held, slots=1)
    calls = [asyncio.ensure_future(s.call()) for _ in range(2)]
    await s.until(lambda: len(s.gateway.leases._waiting) == 1)
    refused = await s.call()
    assert refused.status == 429
    assert b"concurrency (2) of the account" in refused.body
    held.go.set()
    assert [(await call).status for call in calls] == [200, 200]
    assert (await s.call()).status == 200


async def test_a_full_queue_of_all_functions_answers_503_at_once(stage: MakeStage) -> None:
    s = await stage(queue_total=1)
    held = Held()
    await s.serve(held, slots=1)
    calls = [asyncio.ensure_future(s.call()) for _ in range(2)]
    await s.until(lambda: len(s.gateway.leases._waiting) == 1)
    refused = await s.call()
    assert refused.status == 503
    assert b"gateway.queue_total" in refused.body
    held.go.set()
    assert [(await call).status for call in calls] == [200, 200]


async def test_what_cannot_be_served_counts_towards_no_quota(stage: MakeStage) -> None:
    s = await stage(account_concurrency=2)
    await s.serve(slots=5, reserved_concurrency=2)
    broken = await s.route("broken", qualifiers={}, reserved_concurrency=2)
    assert broken.function == "broken"
    refused = [await s.call(host="broken.localhost") for _ in range(5)]
    assert [answer.status for answer in refused] == [404] * 5
    assert [(await s.invoke(function="broken")).status for _ in range(5)] == [404] * 5
    assert (await s.call()).status == 200


async def test_a_function_called_account_is_not_the_account(stage: MakeStage) -> None:
    s = await stage(account_concurrency=3)
    held = Held()
    await s.serve(held, slots=5)
    function = await s.function()
    version = await s.route("account", reserved_concurrency=2, concurrency=5)
    s.grant(version.key, function, 5)
    calls = [asyncio.ensure_future(s.call()) for _ in range(2)]
    await s.until(lambda: sum(one.busy for one in s.gateway.leases._instances.values()) == 2)
    assert (await s.call(host="account.localhost")).status == 200
    held.go.set()
    assert [(await call).status for call in calls] == [200, 200]

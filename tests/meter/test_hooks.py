"""Hooks are charged by their time. Source: container-contract.md A3."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from sampan.link.reports import Ran
from sampan.meter.hooks import Hooks
from sampan.meter.ledger import Batch, Ledger
from sampan.meter.lifetimes import Lifetimes
from sampan.meter.sums import LONGEST
from sampan.model.instance import Stage
from sampan.model.names import InstanceId
from sampan.store.database import Database
from tests.meter.making import MS, START, WEB, database, record, written

RUN = Ran(1, InstanceId("c-1"), WEB, START + 10 * MS, START + 30 * MS)
MINUTE = (WEB, START // 60_000_000_000)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Database]:
    one = database(tmp_path)
    yield one
    await one.close()


async def test_a_hook_is_charged_once_however_often_it_is_told_and_is_no_call(store: Database) -> None:
    hooks = Hooks(store)
    await hooks.add([RUN, RUN])
    await hooks.add([RUN])
    assert await written(store) == {MINUTE: {"active_ms": 20}}


async def test_a_hook_beside_a_request_takes_no_more_time_than_both(store: Database) -> None:
    stage = Stage("initialize", RUN.begin - MS, RUN.end)
    await Hooks(store).add([RUN])
    first = record(1, begin=31 * MS, length=4 * MS, cold=True, startup=(stage,))
    await Ledger(store).add([Batch("life", 1, [first, record(2, begin=25 * MS, length=2 * MS)])])
    assert (await written(store))[MINUTE]["active_ms"] == 21 + 4


async def test_a_hook_in_a_provisioned_instance_is_no_idle_time(store: Database) -> None:
    lives = Lifetimes({})
    lives.provision({WEB: 1}, START)
    lives.seen("c-1", WEB, False, START)
    lives.tick(START + 20 * MS)
    await Ledger(store).book(lives.take())
    await Hooks(store).add([RUN])
    assert (await written(store))[MINUTE]["covered_ns"] == 10 * MS


async def test_what_a_clock_that_was_set_makes_of_a_hook_is_not_charged(store: Database) -> None:
    await Hooks(store).add([replace(RUN, end=RUN.begin - 1), replace(RUN, end=RUN.begin + LONGEST + 1)])
    assert await written(store) == {}

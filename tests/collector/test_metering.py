import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import httpx
import pytest
from sqlalchemy.exc import OperationalError
from starlette.applications import Starlette

from sampan.collector import metering as module
from sampan.collector.metering import Metering
from sampan.engine.engine import Gone, Sandbox, Seen, Stats, Synced
from sampan.link.reports import FunctionTelemetry, Ran, Told
from sampan.meter import instances
from sampan.meter.ledger import Batch
from sampan.meter.prices import BadPrices
from sampan.model.instance import InstanceState
from sampan.model.names import InstanceId
from sampan.settings import Telemetry
from sampan.store.database import Database
from tests.meter.making import FACTS, MS, START, WEB, database, record, written

ONE, TWO = InstanceId("c-1"), InstanceId("c-2")
PATIENCE = 20.0
TOLD = Told("1", "local", (FunctionTelemetry("web", versions=((WEB, FACTS[WEB]),), provisioned=((WEB, 1),)),), ())


def seen(id_: InstanceId, state: InstanceState) -> Seen:
    return Seen(Sandbox(id_, state, "10.0.0.2", 9000, "sha256:0", 0, {"version": WEB}))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Database]:
    one = database(tmp_path)
    yield one
    await one.close()


async def run_until(metering: Metering, true: object) -> None:
    """Run it until the awaitable condition holds."""
    running = asyncio.ensure_future(metering.run())
    async with asyncio.timeout(PATIENCE):
        while not await true():  # type: ignore[operator]  # noqa: ASYNC110  # a condition over the database
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_what_engine_and_control_tell_is_written_and_answered(
    store: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instances, "EVERY", 0.01)
    metering = Metering(store, Telemetry())
    await metering.load()
    metering.told(TOLD)
    metering.watched(seen(TWO, InstanceState.CREATED))
    metering.watched(seen(ONE, InstanceState.READY))
    metering.watched(Synced())
    metering.measured(ONE, Stats(cpu_ns=5 * MS, memory=1 << 20, memory_peak=2 << 20))
    await metering.ledger.add([Batch("life", 1, [record()])])

    async def measured() -> bool:
        rows = (await written(store)).values()
        return any("cpu_ns" in row for row in rows) and any("provisioned_ns" in row for row in rows)

    await run_until(metering, measured)
    assert set(await metering.ledger.lives()) == {ONE}, "what is only created is no instance"
    metering.watched(seen(ONE, InstanceState.FROZEN))
    metering.watched(Gone(ONE, None))
    await metering.close()
    assert await metering.ledger.lives() == {}
    assert sum(row.get("cpu_ns", 0) for row in (await written(store)).values()) == 5 * MS
    app = Starlette(routes=metering.routes())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://collector") as client:
        told = (await client.get("/usage", params={"since": "2025-01-01"})).json()
    assert told["total"]["complete"]
    assert told["total"]["vcpuSeconds"] > 0
    assert told["total"]["memoryPeak"] == 2 << 20


async def test_what_versions_are_is_written_once_the_disk_has_room(
    store: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AGAIN", 0.0)
    metering = Metering(store, Telemetry())
    learn, learned = metering.ledger.learn, asyncio.Event()
    refusals = iter([OperationalError("insert", None, OSError("full"))])

    async def once_full(versions: object) -> None:
        for error in refusals:
            raise error
        await learn(versions)  # type: ignore[arg-type]
        learned.set()

    monkeypatch.setattr(metering.ledger, "learn", once_full)
    metering.told(TOLD)

    async def known() -> bool:
        return learned.is_set()

    await run_until(metering, known)


async def test_a_hook_is_confirmed_once_it_is_written(store: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AGAIN", 0.0)
    metering = Metering(store, Telemetry())
    add, kept = metering._hooks.add, []
    refusals = iter([OperationalError("insert", None, OSError("full"))])

    async def once_full(runs: Sequence[Ran]) -> None:
        for error in refusals:
            raise error
        assert not kept
        await add(runs)

    monkeypatch.setattr(metering._hooks, "add", once_full)
    for number in (1, 2):
        run = Ran(number, ONE, WEB, START + number * 10 * MS, START + number * 10 * MS + 3 * MS)
        metering.ran(run, lambda number=number: kept.append(number))  # type: ignore[misc]

    async def confirmed() -> bool:
        return len(kept) == 2

    await run_until(metering, confirmed)
    assert kept == [1, 2]
    assert [row["active_ms"] for row in (await written(store)).values()] == [6]


async def test_prices_that_cannot_be_read_stop_the_start(store: Database) -> None:
    with pytest.raises(BadPrices):
        Metering(store, Telemetry(prices="/nowhere"))

"""`/metrics`, `/history` and `/now`."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as plain_text
from starlette.applications import Starlette

from sampan.collector import metrics_api
from sampan.link.reports import Gauge, Gauges
from sampan.metrics.history import History
from sampan.metrics.now import Now
from sampan.metrics.registry import Registry
from sampan.model.instance import InstanceState
from sampan.model.invocation import Outcome
from sampan.model.names import InstanceId, version_key
from sampan.store.database import Database, migrate, sqlite_url
from tests.collector.asgi import Answered, application, get
from tests.metrics.making import MOMENT, SECOND, VERSIONS, Clock, facts, record


class Served:
    def __init__(self, database: Database) -> None:
        self.clock = Clock(MOMENT + metrics_api.LOOK_BACK + 0.1)
        self.database = database
        self.registry = Registry(self.clock)
        self.history = History(database, self.registry, 86400.0, self.clock.seconds)
        self.app: Starlette = application(metrics_api.routes(self.registry, self.history, self.clock.seconds))

    async def get(self, target: str, lines: int = 0, **headers: str) -> Answered:
        return await get(self.app, target, headers, lines)

    async def now(self, target: str = "/now") -> Now:
        answered = await self.get(target)
        assert answered.status == 200
        return msgspec.json.decode(answered.body, type=Now)


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    url = sqlite_url(tmp_path / "db" / "telemetry.db")
    migrate(url, "telemetry")
    database = Database(url)
    yield Served(database)
    await database.close()


async def test_metrics_come_in_the_format_that_is_asked_for(served: Served) -> None:
    served.registry.observe([record()], VERSIONS)
    plain = await served.get("/metrics")
    assert plain.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "fc_function_invocations" in {family.name for family in plain_text(plain.body.decode())}
    opened = await served.get("/metrics", accept="application/openmetrics-text; version=1.0.0")
    assert opened.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert "fc_function_invocations" in {family.name for family in open_metrics(opened.body.decode())}


async def test_history_is_a_series_of_the_last_hour_by_the_minute(served: Served) -> None:
    async with served.database.write() as connection:
        await served.history.keep(connection, [record(ended=MOMENT - 120)], VERSIONS)
    told = msgspec.json.decode((await served.get("/history?function=web")).body)
    assert (told["function"], told["step"], len(told["points"])) == ("web", 60, 61)
    assert sum(point["calls"] for point in told["points"]) == 1
    assert {"time", "calls", "bytesIn", "errors", "latency"} <= told["points"][0].keys()
    together = msgspec.json.decode((await served.get("/history")).body)
    assert (together["function"], sum(point["calls"] for point in together["points"])) == (None, 1)


@pytest.mark.parametrize(
    "target",
    [
        "/history?step=61",
        "/history?step=60.5",
        "/history?since=lately",
        "/history?since=inf",
        "/history?since=-1",
        "/history?since=5&until=4",
        "/history?since=0",
        f"/history?until={'9' * 400}",
        "/now?limit=0",
        "/now?limit=1001",
        "/now?limit=nan",
        "/now?follow=maybe",
    ],
)
async def test_what_cannot_be_asked_is_a_400_that_says_why(served: Served, target: str) -> None:
    answered = await served.get(target)
    assert answered.status == 400
    assert msgspec.json.decode(answered.body)["Code"] == "InvalidArgument"


async def test_now_tells_each_function_of_the_last_ten_whole_seconds(served: Served) -> None:
    api = version_key("api", "1", 4)
    calls = [record(0.1, ended=MOMENT - 1 - at % 10) for at in range(50)]
    old = [record(9.0, ended=MOMENT - 11), record(9.0, ended=MOMENT - 59), record(9.0, ended=MOMENT - 61)]
    begun = record(9.0, ended=MOMENT)  # in a second that is not over
    failed = record(outcome=Outcome.FUNCTION_ERROR, ended=MOMENT - 5, version=api, cold=True)
    served.registry.observe([*old, *calls, failed, begun], {**VERSIONS, api: facts("api", "1")})
    served.registry.gauges("g", Gauges((Gauge("web", 3, 2),), 11))
    served.registry.instance(InstanceId("c-1"), "web", "LATEST", InstanceState.CREATED)
    served.registry.instance(InstanceId("c-1"), "web", "LATEST", InstanceState.READY)
    served.clock.forward(0.5)
    served.registry.stats(InstanceId("c-1"), SECOND // 4, 5 << 20)
    told = await served.now()
    web, other = told.functions
    assert (web.function, web.rate, web.errors, web.active, web.waiting) == ("web", 5.0, 0.0, 3, 2)
    assert web.p50 == pytest.approx(0.1, rel=0.02)
    assert web.p99 == pytest.approx(0.1, rel=0.02)
    assert (web.instances, web.cpu, web.memory) == ({"ready": 1}, 50.0, 5 << 20)
    assert (len(web.recent), sum(web.recent), web.recent[-1], web.recent[-11], web.recent[1]) == (60, 52, 5, 1, 1)
    assert (other.function, other.errors, other.cold) == ("api", 0.1, 0.1)
    totals = told.totals
    assert (totals.functions, totals.rate, totals.connections, totals.waiting) == (2, 5.1, 11, 2)
    assert (sum(totals.recent), totals.memory) == (53, 5 << 20)


async def test_now_tells_the_busiest_and_counts_all(served: Served) -> None:
    for at in range(20):
        key = version_key(f"f{at}", "LATEST", 1)
        calls = [record(ended=MOMENT - 2, version=key)] * (at + 1)
        served.registry.observe(calls, {key: facts(f"f{at}")})
    told = await served.now("/now?limit=3")
    assert [each.function for each in told.functions] == ["f19", "f18", "f17"]
    assert (told.totals.functions, told.totals.rate) == (20, 21.0)


async def test_who_asks_at_the_same_moment_is_told_the_same(served: Served) -> None:
    keys = [version_key(f"f{at}", "LATEST", 1) for at in range(3)]
    served.registry.observe([record(ended=MOMENT - 2, version=key) for key in keys], {})
    first = await served.now("/now?limit=1")
    served.registry.observe([record(ended=MOMENT - 2, version=keys[0])], {})
    second = await served.now("/now?limit=3")
    assert (len(first.functions), len(second.functions), second.totals) == (1, 3, first.totals)
    served.clock.forward(metrics_api.FRESH)
    assert (await served.now()).totals.rate == pytest.approx(first.totals.rate + 0.1)


async def test_nothing_at_all_is_told_as_nothing(served: Served) -> None:
    told = await served.now()
    assert (told.functions, told.totals.functions, told.totals.p99) == ((), 0, None)


async def test_a_function_that_was_idle_for_a_minute_is_not_told(served: Served) -> None:
    served.registry.observe([record()], VERSIONS)
    served.clock.forward(60)
    assert (await served.now()).functions
    served.clock.forward(1)
    assert (await served.now()).functions == ()


async def test_what_gateways_held_back_takes_bounded_room(served: Served) -> None:
    late = [record(ended=MOMENT - 10_000 + at) for at in range(10_000)]
    served.registry.observe(late[::-1], VERSIONS)
    assert len(served.registry.recent["web"].seconds) <= 240


@pytest.mark.looptime
async def test_followed_it_tells_a_line_a_second_until_the_reader_leaves(served: Served) -> None:
    loop = asyncio.get_running_loop()
    served.registry.observe([record()], VERSIONS)
    begin = loop.time()
    answered = await served.get("/now?follow=true", lines=4)
    assert loop.time() - begin == pytest.approx(3)
    assert answered.headers["content-type"] == "application/x-ndjson"
    lines = [msgspec.json.decode(line, type=Now) for line in answered.body.splitlines()]
    assert [line.functions[0].function for line in lines] == ["web"] * 4


@pytest.mark.looptime
async def test_there_are_never_too_many_followers_and_who_leaves_makes_room(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics_api, "FOLLOWERS", 2)
    two = [asyncio.ensure_future(served.get("/now?follow=true", lines=5)) for _ in range(2)]
    await asyncio.sleep(1.5)
    refused = await served.get("/now?follow=true", lines=1)
    assert (refused.status, b"live views" in refused.body) == (400, True)
    await asyncio.gather(*two)
    assert (await served.get("/now?follow=true", lines=1)).status == 200

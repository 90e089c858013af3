"""The process put together: over a fake engine, a real database and real sockets."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import msgspec
import pytest
from msgspec.structs import replace

from sampan.collector import collector as module
from sampan.collector import late_stages
from sampan.collector.app import app
from sampan.collector.collector import Collector
from sampan.collector.export.guard import Guard
from sampan.collector.intake.sockets import IntakeSockets, Ports, listen
from sampan.engine.engine import SandboxSpec
from sampan.engine.fake import FakeEngine
from sampan.link import channel
from sampan.link.journal import SUFFIX, Journal
from sampan.link.reports import Down, FunctionTelemetry, Gauge, Gauges, Hello, Records, Started, Told, Up
from sampan.model.access import AccessKey
from sampan.model.errors import InvalidArgument
from sampan.model.image import Image, ImageConfig
from sampan.model.invocation import InvocationRecord, Outcome, VersionFacts
from sampan.model.names import InstanceId, VersionKey, version_key
from sampan.model.trace import Span
from sampan.output.lines import OTLP
from sampan.settings import Telemetry
from sampan.store.database import Database, sqlite_url
from sampan.telemetry.spans import coverage
from sampan.traces.store import TraceStore
from sampan.wire.otlp import JSON
from tests.link.memory import in_memory
from tests.link.test_journal import LIFE, abandon
from tests.meter.making import database
from tests.telemetry.records import COLD, FACTS, TRACED, cold_record, record

PATIENCE = 30.0
ANY = Ports(0, 0, 0, (0, 0))
WEB = version_key("web", "LATEST", 1)
KEY = AccessKey("LTAI-1", "s3cret", "7")
TOLD = Told("7", "local", (FunctionTelemetry("web", versions=((WEB, FACTS),)),), (KEY,))
NOTHING = Told("7", "local", (), ())


class Stage:
    """A collector that runs; what control and a gateway tell it comes over its socket."""

    def __init__(self, directory: Path, journals: Path | None, **settings: Any) -> None:
        self.reports, self._journals = directory / "reports.sock", journals
        self.database: Database = database(directory)
        self.engine = FakeEngine(self._address)
        given = Telemetry(**settings)
        self.collector = Collector(given, self.database, self.engine, Guard(), "1", "nowhere")
        self.sockets = IntakeSockets()
        self.kept: asyncio.Queue[int] = asyncio.Queue()
        self._links: list[channel.Channel[Down, Up]] = []

    async def _address(self, spec: SandboxSpec) -> tuple[str, int]:
        return "127.0.0.1", spec.port

    async def say(self, *messages: Up, as_: str = "gateway-1") -> None:
        decoder = msgspec.msgpack.Decoder(Down)
        link: channel.Channel[Down, Up] = await channel.connect(
            self.reports,
            lambda: channel.Channel(decoder, lambda _, kept: self.kept.put_nowait(kept.seq), lambda _: None),
        )
        self._links.append(link)
        for message in (Hello(as_, f"life of {as_}"), *messages):
            link.send(message)

    async def reported(self, *records: InvocationRecord, versions: dict[VersionKey, VersionFacts]) -> None:
        """Returns when they are in the database."""
        await self.say(Records(1, records, versions))
        async with asyncio.timeout(PATIENCE):
            assert await self.kept.get() == len(records)

    async def until(self, true: Callable[[], Any]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not true():  # noqa: ASYNC110 - what came over a socket and tells nobody
                await asyncio.sleep(0.01)

    async def trace(self, id: str = TRACED.trace) -> list[Span]:
        """Once there is any of it."""
        async with asyncio.timeout(PATIENCE):
            while not (spans := await self.collector.traces.trace(id)):  # noqa: ASYNC110 - a condition over the database
                await asyncio.sleep(0.02)
        return spans

    def close(self) -> None:
        for link in self._links:
            link.close()


@asynccontextmanager
async def staged(
    directory: Path, journals: Path | None = None, intake: bool = False, **settings: Any
) -> AsyncIterator[Stage]:
    stage = Stage(directory, journals, **settings)
    if intake:
        stage.sockets = listen("127.0.0.1", ANY)
    await stage.collector.load()
    running = asyncio.ensure_future(stage.collector.run(stage.reports, journals, stage.sockets))
    async with asyncio.timeout(PATIENCE):
        await stage.collector.listening()
    try:
        yield stage
    finally:
        stage.close()
        running.cancel()
        await asyncio.sleep(0)
        running.cancel()  # as a group of tasks that is left does
        await asyncio.gather(running, return_exceptions=True)
        await stage.collector.close()
        await stage.database.close()


async def test_what_a_gateway_leaves_at_the_very_end_is_written_down(tmp_path: Path) -> None:
    with in_memory() as journals:
        async with staged(tmp_path, journals):
            left = Journal(LIFE, journals / f"g1{SUFFIX}")
            left.add(record())
            abandon(left)
        assert list(journals.iterdir()) == []


async def test_traces_give_way_while_records_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sampan.collector.reports.BEHIND", 1)
    async with staged(tmp_path) as stage:
        assert not stage.collector.traces._busy()
        written, ledger = asyncio.Event(), stage.collector.metering.ledger
        add = ledger.add

        async def slow(batches: Any) -> Any:
            await written.wait()
            return await add(batches)

        monkeypatch.setattr(ledger, "add", slow)
        await stage.say(Records(1, (record(1), record(2)), {}))
        await stage.until(stage.collector.traces._busy)
        written.set()
        await stage.until(lambda: not stage.collector.traces._busy())


def ask(stage: Stage) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app(stage.collector.routes()))
    return httpx.AsyncClient(transport=transport, base_url="http://collector")


async def test_stages_that_come_after_their_record_are_in_its_trace(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.reported(cold_record(startup=()), versions={WEB: FACTS})
        await stage.say(Started(InstanceId("c-1"), COLD), as_="gateway-2")
        spans = await stage.trace()
        assert {span.name for span in spans} >= {"web", "Schedule", "ColdStart", "Initializer", "Invocation"}
        assert coverage(spans) == 1.0
        assert len(spans) == len({span.span for span in spans})


async def test_a_trace_whose_stages_nobody_tells_comes_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(late_stages, "PATIENCE", 0.05)
    async with staged(tmp_path) as stage:
        await stage.reported(cold_record(startup=()), versions={WEB: FACTS})
        assert [span.name for span in await stage.trace()] == ["web", "ColdStart", "Invocation"]


async def test_what_waits_for_its_stages_is_kept_at_the_end_and_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(late_stages, "MOST", 1)
    other = replace(TRACED, trace="ab" * 16)
    records = (
        cold_record(startup=()),
        replace(cold_record(startup=(), standing=other), instance="c-2"),
    )
    async with staged(tmp_path) as stage:
        await stage.reported(*records, versions={WEB: FACTS})
        assert await stage.trace(), "the first had to make room"
    again = Database(sqlite_url(tmp_path / "telemetry" / "telemetry.db"))
    assert await TraceStore(again, 3600, 100).trace(other.trace)
    await again.close()


async def test_a_record_becomes_the_platforms_spans(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.say(TOLD, as_="control")
        await stage.until(lambda: stage.collector.key(KEY.id))
        await stage.reported(cold_record(), versions={WEB: FACTS})
        spans = await stage.trace()
        assert {span.name for span in spans} >= {"web", "Schedule", "ColdStart", "Initializer", "Invocation"}
        [root] = [span for span in spans if not span.parent]
        assert (root.function, root.platform, root.resource["cloud.account.id"]) == ("web", True, "7")
        async with ask(stage) as client:
            [found] = (await client.get("/traces", params={"function": "web"})).json()["traces"]
            assert found["traceId"] == TRACED.trace
            otlp = (await client.get(f"/traces/{TRACED.trace}", params={"format": "otlp"})).json()
            ids = {
                span["traceId"]
                for group in otlp["resourceSpans"]
                for scoped in group["scopeSpans"]
                for span in scoped["spans"]
            }
            assert ids == {TRACED.trace}
            page = (await client.get("/metrics")).text
        assert "faas_invocations_total{" in page


async def test_a_record_that_control_has_not_explained_yet_has_its_spans_all_the_same(tmp_path: Path) -> None:
    """A collector that was just started anew hears of gateways first."""
    async with staged(tmp_path) as stage:
        await stage.reported(record(), versions={WEB: FACTS})
        [root] = [span for span in await stage.trace() if not span.parent]
        assert (root.resource["cloud.account.id"], root.resource["cloud.region"]) == ("1", "nowhere")


@pytest.mark.parametrize(
    ("always", "kept"),
    [("", set()), ("errors", {"failed", "late"}), ("cold", {"cold"}), ("errors,cold", {"failed", "late", "cold"})],
)
@pytest.mark.parametrize("begun_here", [False, True])
async def test_what_is_not_sampled_is_kept_only_where_its_end_says_so(
    tmp_path: Path, always: str, kept: set[str], begun_here: bool
) -> None:
    kinds: dict[str, tuple[Callable[..., InvocationRecord], dict[str, Any]]] = {
        "good": (record, {}),
        "failed": (record, {"status": 502}),
        "late": (record, {"outcome": Outcome.TIMED_OUT, "status": 504}),
        "cold": (cold_record, {}),
        "mistaken": (record, {"outcome": Outcome.REFUSED, "status": 403}),
        "sampled": (record, {}),
    }
    records = {
        name: replace(
            make(standing=replace(TRACED, trace=f"{number:032x}", sampled=name == "sampled"), **more),
            request=f"1-{number:08x}-{number:024x}",
        )
        for number, (name, (make, more)) in enumerate(kinds.items(), 1)
    }
    if begun_here:
        records = {name: replace(one, standing=name == "sampled") for name, one in records.items()}
    async with staged(tmp_path, always=always) as stage:
        await stage.reported(*records.values(), versions={WEB: FACTS})
        assert records["sampled"].traced is not None
        await stage.trace(records["sampled"].traced.trace)  # they are all written together
        found = {
            name
            for name, one in records.items()
            if one.traced is not None and await stage.collector.traces.trace(one.traced.trace)
        }
        assert found == kept | {"sampled"}


async def test_what_is_told_replaces_what_was_told_before(tmp_path: Path) -> None:
    first = Told("7", "local", (FunctionTelemetry("web"), FunctionTelemetry("old")), (KEY,))
    second = Told("7", "local", (FunctionTelemetry("web"), FunctionTelemetry("new")), (replace(KEY, id="LTAI-2"),))
    async with staged(tmp_path, sampling=0.5) as stage:
        assert stage.collector._functions == set()
        await stage.say(first, as_="control")
        await stage.until(lambda: stage.collector.key("LTAI-1"))
        assert stage.collector._functions == {"web", "old"}
        await stage.say(second, as_="control")
        await stage.until(lambda: stage.collector.key("LTAI-2"))
        assert stage.collector.key("LTAI-1") is None
        assert stage.collector._functions == {"web", "new"}


async def test_a_functions_own_share_goes_before_the_platforms(tmp_path: Path) -> None:
    params = {"endpoint": "http://192.0.2.1/api/traces", "samplingRate": "0.25"}
    async with staged(tmp_path, intake=True, sampling=0.5) as stage, aiohttp.ClientSession() as session:
        port = stage.sockets.http[0].getsockname()[1]

        async def ratio(service: str) -> float:
            url = f"http://127.0.0.1:{port}/sampling?service={service}"
            async with session.get(url) as answer:
                assert answer.status == 200
                return float((await answer.json())["probabilisticSampling"]["samplingRate"])

        assert await ratio("web") == 0.5
        await stage.say(replace(TOLD, functions=(FunctionTelemetry("web", "Jaeger", params),)), as_="control")
        await stage.until(lambda: stage.collector.key(KEY.id))
        assert [await ratio("web"), await ratio("other")] == [0.25, 0.5]


async def test_the_last_records_of_a_version_that_is_no_more_have_their_spans(tmp_path: Path) -> None:
    """Its gateway told what it was long ago, and does not once more."""
    async with staged(tmp_path) as stage:
        await stage.say(TOLD, as_="control")
        await stage.until(lambda: stage.collector.key(KEY.id))
        await stage.say(NOTHING, as_="control")
        await stage.until(lambda: stage.collector.key(KEY.id) is None)
        await stage.reported(record(), versions={})
        assert await stage.trace()


def test_of_versions_that_are_no_more_a_bounded_number_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAST", 3)

    async def tell() -> None:
        stage = Stage(tmp_path, None)
        keys = [version_key("web", "LATEST", number) for number in range(2, 10)]
        for key in keys:
            stage.collector.told(replace(TOLD, functions=(FunctionTelemetry("web", versions=((key, FACTS),)),)))
            stage.collector.recorded((), {key: FACTS})
        assert [key for key in keys if stage.collector._facts_of(key)] == keys[-4:], "the one there is, and three"
        await stage.collector.close()
        await stage.database.close()

    asyncio.run(tell())


async def test_what_a_killed_gateway_left_becomes_spans_though_it_names_no_version(tmp_path: Path) -> None:
    with in_memory() as journals:
        left = Journal(LIFE, journals / f"g1{SUFFIX}")
        left.add(record())
        abandon(left)
        async with staged(tmp_path, journals) as stage:
            await stage.say(TOLD, as_="control")
            assert await stage.trace()
            assert list(journals.iterdir()) == []


async def test_gauges_are_a_gateways_until_it_leaves(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.say(Gauges((Gauge("web", 3, 2),), 5))
        await stage.until(lambda: stage.collector.registry.under_way() == {"web": (3, 2)})
        stage.close()
        await stage.until(lambda: stage.collector.registry.under_way() == {})


async def _post(url: str, body: Any) -> int:
    async with aiohttp.ClientSession() as session, session.post(url, json=body) as answer:
        assert answer.content_type == JSON
        return answer.status


async def test_what_an_instance_sends_is_its_own_and_told_beside_what_it_prints(tmp_path: Path) -> None:
    async with staged(tmp_path, intake=True) as stage:
        await stage.say(TOLD, as_="control")
        await stage.until(lambda: stage.collector.key(KEY.id))
        spec = SandboxSpec(
            InstanceId("c-1"), Image("web", "s", ImageConfig()), ("/x",), 80, labels={"version": WEB}
        )
        await stage.engine.create(spec)
        await stage.engine.start(spec.id, 1)
        await stage.until(lambda: stage.collector._instances.who("127.0.0.1"))
        stage.engine.say(spec.id, b"printed\n")
        root = f"http://127.0.0.1:{stage.sockets.http[0].getsockname()[1]}"
        now = 1_790_000_000 * 10**9
        said = {"timeUnixNano": str(now), "severityNumber": 17, "body": {"stringValue": "sent"}}
        assert await _post(f"{root}/v1/logs", {"resourceLogs": [{"scopeLogs": [{"logRecords": [said]}]}]}) == 200
        span = {"traceId": "a" * 32, "spanId": "b" * 16, "name": "inside", "startTimeUnixNano": str(now)}
        assert await _post(f"{root}/v1/traces", {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}) == 200
        [kept] = await stage.trace("a" * 32)
        assert (kept.function, kept.version, kept.instance, kept.platform) == ("web", "LATEST", "c-1", False)
        async with ask(stage) as client:

            async def lines() -> set[tuple[str, str, str]]:
                answer = await client.get("/functions/web/logs")
                told = [msgspec.json.decode(line) for line in answer.text.splitlines()]
                return {(line["text"], line["stream"], line["level"]) for line in told}

            await _until_equal(lines, {("printed", "stdout", ""), ("sent", OTLP, "error")})


async def _until_equal(seen: Callable[[], Awaitable[object]], wanted: object) -> None:
    async with asyncio.timeout(PATIENCE):
        while await seen() != wanted:  # noqa: ASYNC110 - a condition over the database
            await asyncio.sleep(0.02)


async def test_the_port_for_other_tools_tells_of_traces_and_numbers_alone(tmp_path: Path) -> None:
    stage = Stage(tmp_path, None)
    paths = {route.path for route in stage.collector.query_routes()}
    assert "/metrics" in paths
    assert {path for path in paths if not path.startswith("/api/")} == {"/metrics"}
    await stage.collector.close()
    await stage.database.close()


async def test_settings_that_cannot_be_followed_stop_the_start(tmp_path: Path) -> None:
    store = database(tmp_path)
    for wrong in ({"always": "sometimes"}, {"otlp_endpoint": "ftp://nowhere"}):
        with pytest.raises((InvalidArgument, ValueError)):
            Collector(Telemetry(**wrong), store, FakeEngine(), Guard(), "1", "local")
    await store.close()

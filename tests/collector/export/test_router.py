"""Which spans go where, as functions' configurations come and go."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

import pytest

from sampan.collector.export.exporter import Exporter
from sampan.collector.export.guard import Guard
from sampan.collector.export.patience import Limits
from sampan.collector.export.router import Router
from sampan.collector.export.targets import Targets
from sampan.collector.export.transport import Taken, Unavailable
from sampan.collector.export.transports import Encoded, OtlpHttp
from sampan.collector.export.weights import span_size
from sampan.link.reports import FunctionTelemetry
from sampan.model.trace import Span
from sampan.telemetry.tracing_config import Format, TracingTarget
from tests.collector.export.peers import encode_batch, encode_traces, grpc_server, http_server, span

virtual = pytest.mark.looptime


class Place:
    """A transport that keeps what it gets."""

    def __init__(self, url: str = "") -> None:
        self.url, self.names, self.closed = url, list[str](), False

    def key(self, item: Span) -> None:
        return None

    def encode(self, items: Sequence[Span]) -> bytes:
        return "\n".join(one.name for one in items).encode()

    async def send(self, body: bytes) -> Taken:
        assert not self.closed
        self.names += body.decode().split("\n")
        return Taken()

    async def close(self) -> None:
        self.closed = True


class Watched(OtlpHttp[Span]):
    """Says when it has failed, and when two batches are sent."""

    def __init__(self, url: str, encode: Callable[[Sequence[Span]], Encoded]) -> None:
        super().__init__(url, encode)
        self.failed, self.all, self.sent = asyncio.Event(), asyncio.Event(), 0

    async def send(self, body: bytes) -> Taken:
        try:
            taken = await super().send(body)
        except Unavailable:
            self.failed.set()
            raise
        self.sent += 1
        if self.sent == 2:
            self.all.set()
        return taken


class Places:
    """Builds places, and remembers them by URL."""

    def __init__(self) -> None:
        self.built: dict[str, list[Place]] = {}

    def __call__(self, target: TracingTarget) -> Place:
        place = Place(target.url)
        self.built.setdefault(target.url, []).append(place)
        return place


def told(function: str, endpoint: str = "", type: str = "Jaeger") -> FunctionTelemetry:
    return FunctionTelemetry(function, type if endpoint else "", {"endpoint": endpoint} if endpoint else {})


A, B = "http://a:14268/api/traces", "http://b:4318/v1/traces"


@asynccontextmanager
async def running(router: Router) -> AsyncIterator[None]:
    task = asyncio.create_task(router.run())
    await asyncio.sleep(0)
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


@virtual
async def test_spans_for_which_all_are_full_need_not_be_made_and_are_counted() -> None:
    places = Places()
    platform = Exporter("http://all", Place(), span_size, Limits(items=2))
    router = Router(places, platform)
    router.learn([told("web", A)])
    assert router.wants("plain", 3)
    router.offer([span(1, "plain"), span(2, "plain")])
    assert not router.wants("plain", 3)
    assert platform.state().dropped == {"full": 3}
    assert router.wants("web", 3), "its own has room"
    assert platform.state().dropped == {"full": 3}
    assert not Router(places).wants("plain", 3), "nobody asks for any"


@virtual
async def test_all_spans_go_to_the_platforms_and_a_functions_to_its_own() -> None:
    places, everything = Places(), Place()
    platform = Exporter("http://all", everything, span_size)
    router = Router(places, platform)
    router.learn([told("web", A), told("api", B), told("plain")])
    async with running(router):
        router.offer([span(1, "web"), span(2, "api"), span(3, "plain"), span(4, ""), span(5, "web")])
        await asyncio.sleep(2)
    assert everything.names == [f"work {n}" for n in range(1, 6)]
    assert places.built[A][0].names == ["work 1", "work 5"]
    assert places.built[B][0].names == ["work 2"]
    assert [state.target for state in router.states()] == ["http://all", "http://b:4318", "http://a:14268"]
    assert sum(state.sent for state in router.states()) == 8


@virtual
async def test_functions_share_the_exporter_of_an_endpoint() -> None:
    places = Places()
    router = Router(places)
    router.learn([told("web", A), told("api", A)])
    async with running(router):
        router.offer([span(1, "web"), span(2, "api")])
        await asyncio.sleep(2)
    assert [place.names for place in places.built[A]] == [["work 1", "work 2"]]


@virtual
async def test_an_endpoint_that_is_named_no_more_gets_what_was_held_and_nothing_else() -> None:
    places = Places()
    router = Router(places)
    router.learn([told("web", A)])
    async with running(router):
        router.offer([span(1, "web")])
        router.learn([told("web", B)])
        router.offer([span(2, "web")])
        await asyncio.sleep(2)
        router.learn([])
        router.offer([span(3, "web")])
        await asyncio.sleep(2)
    assert places.built[A][0].names == ["work 1"]
    assert places.built[B][0].names == ["work 2"]
    assert places.built[A][0].closed
    assert places.built[B][0].closed
    assert router.states() == []


@virtual
async def test_being_told_the_same_again_changes_nothing() -> None:
    places = Places()
    router = Router(places)
    async with running(router):
        for _ in range(3):
            router.learn([told("web", A)])
            router.offer([span(1, "web")])
            await asyncio.sleep(2)
    assert [place.names for place in places.built[A]] == [["work 1"] * 3]


@virtual
async def test_endpoints_are_bounded_in_number_and_who_has_none_is_told() -> None:
    places = Places()
    router = Router(places, max_endpoints=2)
    router.learn([told(f"f{n}", f"http://h{n}/api/traces") for n in range(4)])
    assert sorted(places.built) == ["http://h0/api/traces", "http://h1/api/traces"]
    assert set(router.refused()) == {"f2", "f3"}
    router.learn([told(f"f{n}", f"http://h{n}/api/traces") for n in range(1, 4)])
    assert set(router.refused()) == {"f3"}
    await router.close()


@virtual
async def test_a_config_that_cannot_be_followed_costs_no_other(caplog: pytest.LogCaptureFixture) -> None:
    places = Places()
    router = Router(places)
    for _ in range(3):
        router.learn([told("bad", "gopher://x"), told("odd", A, "Zipkin"), told("web", B)])
    assert set(router.refused()) == {"bad", "odd"}
    assert list(places.built) == [B]
    assert [record.getMessage() for record in caplog.records] == ["tracingConfig is not followed"] * 2
    await router.close()


@virtual
async def test_closing_sends_what_all_hold() -> None:
    places, everything = Places(), Place()
    router = Router(places, Exporter("http://all", everything, span_size))
    router.learn([told("web", A), told("api", B)])
    router.offer([span(1, "web"), span(2, "api")])
    router.learn([told("api", B)])
    await router.close()
    assert everything.names == ["work 1", "work 2"]
    assert places.built[A][0].names == ["work 1"]
    assert places.built[B][0].names == ["work 2"]
    assert places.built[B][0].closed


async def test_each_format_reaches_its_back_end() -> None:
    async with http_server() as http, grpc_server() as rpc:
        targets = Targets(Guard(local=True), encode_traces, encode_batch)
        router = Router(targets.build)
        router.learn([told("web", http.url + "/v1/traces"), told("old", http.url + "/api/traces")])
        router.offer([span(1, "web"), span(2, "old")])
        grpc_target = TracingTarget(Format.OTLP_GRPC, rpc.url)
        transport = targets.build(grpc_target)
        assert await transport.send(transport.encode([span(3)])) == Taken()
        await transport.close()
        await router.close()
    assert sorted(path for path, _, _ in http.requests) == ["/api/traces", "/v1/traces"]
    assert rpc.spans() == ["work 3"]


async def test_an_outage_is_bridged() -> None:
    """A back-end that is away for a while gets all that was held, once each."""
    async with http_server() as backend:
        url = backend.url
    port = int(url.rpartition(":")[2])
    limits = Limits(linger=0.0, backoff=0.05, backoff_max=0.1)
    transport = Watched(url + "/v1/traces", encode_traces)
    exporter = Exporter(url, transport, span_size, limits)
    work = asyncio.create_task(exporter.run())
    exporter.offer([span(n) for n in range(1000)])
    await transport.failed.wait()
    assert exporter.state().failing_since is not None
    async with http_server(port=port) as backend:
        await transport.all.wait()
        await exporter.close()
    await work
    assert sorted(backend.spans()) == sorted(f"work {n}" for n in range(1000))
    assert exporter.state().failing_since is None

"""The process put together: what is taken in where, and who hears of it."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from starlette.routing import Route

from sampan.collector import metrics_api, output_api, traces_api
from sampan.collector.export.exporter import Exporter
from sampan.collector.export.guard import Guard
from sampan.collector.export.operator import exporter
from sampan.collector.export.otlp_grpc import LOGS, TRACES
from sampan.collector.export.router import Router
from sampan.collector.export.targets import Targets
from sampan.collector.export.weights import span_size
from sampan.collector.instances import Instances
from sampan.collector.intake.intake import Intake
from sampan.collector.intake.sockets import IntakeSockets
from sampan.collector.late_stages import LateStages
from sampan.collector.metering import Metering
from sampan.collector.output import OutputCollector
from sampan.collector.output_logs import to_lines, to_records
from sampan.collector.reports import Reports
from sampan.collector.senders import STRANGER
from sampan.collector.shrinking import shrink
from sampan.engine.engine import Engine
from sampan.link.reports import Gauges, Ran, Told
from sampan.metrics.families import OTHER
from sampan.metrics.history import History
from sampan.metrics.registry import Registry
from sampan.model.access import AccessKey
from sampan.model.instance import Stage
from sampan.model.invocation import InvocationRecord, VersionFacts
from sampan.model.names import InstanceId, VersionKey
from sampan.model.trace import Span
from sampan.output.store import OutputStore
from sampan.output.upkeep import Upkeep
from sampan.settings import Telemetry
from sampan.store.database import Database
from sampan.telemetry.logs import Log
from sampan.telemetry.spans import always_kept, count, kept
from sampan.telemetry.tracing_config import sampling
from sampan.traces.rows import Invoked
from sampan.traces.store import TraceStore
from sampan.wire import jaeger, otlp, otlp_logs
from sampan.wire.otlp_logs import LogRecord

ROLL = 60.0  # seconds between two looks for series of functions that are no more
PAST = 10_000  # versions that are known besides those there are: their last records come late
OFFERED = 100  # invocations whose spans are made at once for other back-ends
LINE = 200  # bytes that a log record takes besides its text, about

log = Log("collector")


class Collector:
    """All parts. `run` for ever, then `close`."""

    def __init__(
        self, given: Telemetry, database: Database, engine: Engine, guard: Guard, account: str, region: str
    ) -> None:
        """Raises: InvalidArgument, BadPrices, of settings that cannot be followed."""
        self._settings, self._database = given, database
        self._always = always_kept(given.always)
        self._account, self._region = account, region
        self._facts: dict[VersionKey, VersionFacts] = {}
        self._past: dict[VersionKey, VersionFacts] = {}
        self._functions: frozenset[str] = frozenset()
        self._keys: dict[str, AccessKey] = {}
        self._ratios: dict[str, float | None] = {}
        self.registry = Registry()
        self.history = History(database, self.registry, given.metrics_keep)
        self.metering = Metering(database, given, self.history.keep)
        self._reports: Reports | None = None
        self.traces = TraceStore(database, given.trace_keep, given.trace_mb, busy=self._behind)
        self._logs: Exporter[LogRecord] | None = (
            exporter(given, LOGS, otlp_logs.encode_logs, lambda record: LINE + len(record.text))
            if given.otlp_logs
            else None
        )
        self._router = Router(
            Targets(guard, otlp.encode_traces, jaeger.encode_batch).build,
            exporter(given, TRACES, otlp.encode_traces, span_size),
        )
        sink = None if self._logs is None else lambda lines: self._export(to_records(lines))
        self.output_store = OutputStore(database, time.time_ns, sink)
        upkeep = Upkeep(database, time.time_ns, given.log_keep, given.log_mb * 1_000_000)
        self._output = OutputCollector(engine, self.output_store, upkeep, self._facts_of, given.log_rate)
        self._instances = Instances(engine, self.registry, self.metering.watched, self.metering.measured)
        self._intake = Intake(self._instances.who, self._take, self._take_logs, self._ratio, given)
        self._late = LateStages(lambda record: self._tell((record,)))
        self._listens = asyncio.Event()
        self._count()

    def routes(self) -> list[Route]:
        """For the API, which has asked who asks."""
        return [
            *traces_api.routes(self.traces, otlp.traces_json),
            *output_api.routes(self.output_store, time.time_ns),
            *metrics_api.routes(self.registry, self.history),
            *self.metering.routes(),
        ]

    def query_routes(self) -> list[Route]:
        """For other people's tools."""
        page = [route for route in metrics_api.routes(self.registry, self.history) if route.path == "/metrics"]
        return [*traces_api.jaeger_routes(self.traces), *page]

    def key(self, id: str) -> AccessKey | None:
        return self._keys.get(id)

    async def load(self) -> None:
        """Go on from what was written down. Before anything else."""
        await self.metering.load()

    async def run(self, socket: Path, journals: Path | None, sockets: IntakeSockets) -> None:
        """For ever. socket: that gateways report to.  journals: the directory of theirs."""
        reports = self._reports = Reports(self.metering.ledger, self, journals)
        await reports.listen(socket)
        self._listens.set()
        async with asyncio.TaskGroup() as group:
            for part in (reports, self.metering, self.history, self.traces, self._router, self._instances):
                group.create_task(part.run())
            group.create_task(self._output.run())
            group.create_task(self._intake.serve(sockets))
            group.create_task(self._roll())
            group.create_task(shrink(self._database))
            if self._logs is not None:
                group.create_task(self._logs.run())

    async def listening(self) -> None:
        """Returns once everything that is to be taken in is."""
        await self._listens.wait()
        await self._intake.listening.wait()

    async def close(self) -> None:
        """After `run`: write and send what is held, what killed gateways left included."""
        if self._reports is not None:
            await self._reports.close()  # its records make series and spans
        self._late.close()
        leaving = [self.traces.close(), self.history.close(), self.metering.close(), self._router.close()]
        if self._logs is not None:
            leaving.append(self._logs.close())
        for result in await asyncio.gather(*leaving, return_exceptions=True):
            if isinstance(result, Exception):
                log.failure("not all could be written", result)

    # ── what gateways and control report ──

    def recorded(self, records: tuple[InvocationRecord, ...], versions: dict[VersionKey, VersionFacts]) -> None:
        """Invocations that are in the database since now."""
        self._remember(versions)
        self.registry.observe(records, versions)
        for instance, version in {record.instance: record.version for record in records}.items():
            self._output.know(InstanceId(instance), version)
        self._tell([record for record in records if kept(record, self._always) and not self._late.wait(record)])

    def started(self, instance: InstanceId, startup: tuple[Stage, ...]) -> None:
        self._late.started(instance, startup)

    def gauged(self, gateway: str, gauges: Gauges | None) -> None:
        if gauges is None:
            self.registry.gateway_gone(gateway)
        else:
            self.registry.gauges(gateway, gauges)

    def told(self, told: Told) -> None:
        self._account, self._region = told.account, told.region
        self._functions = frozenset(each.function for each in told.functions)
        before, self._facts = self._facts, dict(each for function in told.functions for each in function.versions)
        self._remember(before)
        self._keys = {key.id: key for key in told.keys}
        self._ratios = {each.function: sampling(each.tracing_type, each.tracing_params) for each in told.functions}
        self.metering.told(told)
        self._router.learn(told.functions)
        self.registry.functions(self._functions)

    def ran(self, run: Ran, kept: Callable[[], None]) -> None:
        self.metering.ran(run, kept)

    def _tell(self, records: Sequence[InvocationRecord]) -> None:
        """Traces of invocations: to the store as they are, and their spans to back-ends that want any."""
        facts = {version: self._facts_of(version) for version in {record.version for record in records}}
        told = [
            Invoked(record, known.function, known.version, known.memory_mb, self._account, self._region)
            for record in records
            if (known := facts[record.version]) is not None
        ]
        self.traces.add_invocations(told)
        for at in range(0, len(told), OFFERED):
            some = [
                each for each in told[at : at + OFFERED] if self._router.wants(each.function, count(each.record))
            ]
            if some:
                self._router.offer([span for each in some for span in each.spans()])

    def _behind(self) -> bool:
        """Whether records wait: traces let them."""
        return self._reports is not None and self._reports.behind

    def _facts_of(self, version: VersionKey) -> VersionFacts | None:
        return self._facts.get(version) or self._past.get(version)

    def _remember(self, versions: dict[VersionKey, VersionFacts]) -> None:
        """Those that are not there, or not told of yet; the newest."""
        self._past |= {key: facts for key, facts in versions.items() if key not in self._facts}
        for key in list(self._past)[: max(0, len(self._past) - PAST)]:
            del self._past[key]

    # ── what functions report ──

    def _take(self, spans: Sequence[Span]) -> int:
        before = self.traces.losses.full
        self.traces.add(spans)
        self._router.offer(spans)
        return len(spans) - (self.traces.losses.full - before)

    def _take_logs(self, records: Sequence[LogRecord]) -> int:
        """All of a batch or none: it is one instance's."""
        if not all(self._output.report(*each) for each in to_lines(records, self._instances.version).items()):
            return 0
        self._export(records)
        return len(records)

    def _export(self, records: Sequence[LogRecord]) -> None:
        if self._logs is not None:
            self._logs.offer(records)

    def _count(self) -> None:
        """What was lost on the way is told with the other numbers."""
        counter, losses, intake = self.registry.counter, self.traces.losses, self._intake
        counter("sampan_spans_taken", "Spans and log records that functions reported.", intake.taken.total)
        self.registry.counters(
            "sampan_spans_refused",
            "Spans, log records and requests with such that were not taken.",
            ("faas_name", "reason"),
            self._refused,
        )
        counter("sampan_datagrams_lost", "Datagrams that the kernel dropped.", intake.lost)
        counter(
            "sampan_spans_lost",
            "Spans that could not be kept: the queue was full, they were none, or too large.",
            lambda: losses.full + losses.invalid + losses.large + losses.crowded,
        )
        counter(
            "sampan_spans_exported",
            "Spans that other back-ends have taken.",
            lambda: sum(state.sent for state in self._router.states()),
        )
        counter(
            "sampan_spans_not_exported",
            "Spans that other back-ends did not get.",
            lambda: sum(sum(state.dropped.values()) + state.rejected for state in self._router.states()),
        )

    def _refused(self) -> Counter[tuple[str, ...]]:
        """By function and reason; of functions that are no more together."""
        found: Counter[tuple[str, ...]] = Counter()
        for (function, reason), lost in self._intake.dropped.items():
            known = function in self._functions or function == STRANGER.function
            found[function if known else OTHER, reason] += lost
        return found

    def _ratio(self, function: str) -> float:
        ratio = self._ratios.get(function)
        return self._settings.sampling if ratio is None else ratio

    async def _roll(self) -> None:
        while True:
            await asyncio.sleep(ROLL)
            self.registry.functions(self._functions)

"""Which spans go where: all to the operator's back-end, a function's to the one that its `tracingConfig` names.

A function's are those that say so in `Span.function`: the platform's of its invocations, and those it reports.
Functions that name the same endpoint share an exporter; one that is named no more sends what it holds and ends.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence

from sampan.collector.export.buffer import Budget
from sampan.collector.export.exporter import Exporter, ExportState
from sampan.collector.export.patience import Limits
from sampan.collector.export.transport import Transport
from sampan.collector.export.weights import span_size
from sampan.link.reports import FunctionTelemetry
from sampan.model.errors import InvalidArgument
from sampan.model.trace import Span
from sampan.telemetry.logs import Log
from sampan.telemetry.tracing_config import TracingTarget, parse

log = Log("collector.export")

MAX_ENDPOINTS = 64  # that functions name, all together
_HELD = 64 << 20  # bytes held for functions' endpoints, all together
_LIMITS = Limits(items=8192, size=8 << 20, in_flight=1)  # of one of them

_Build = Callable[[TracingTarget], Transport[Span]]
_Place = tuple[str, str]  # format and URL


class Router:
    """Spans on their way out. `run` does the work; `close` sends what is left, for a bounded time."""

    def __init__(
        self,
        build: _Build,
        platform: Exporter[Span] | None = None,
        limits: Limits = _LIMITS,
        max_endpoints: int = MAX_ENDPOINTS,
    ) -> None:
        """build: the transport to a function's target.  platform: where all go besides.  limits: per endpoint."""
        self._build, self._platform = build, platform
        self._limits, self._max_endpoints = limits, max_endpoints
        self._budget = Budget(_HELD)
        self._exporters: dict[_Place, Exporter[Span]] = {}
        self._of: dict[str, Exporter[Span]] = {}  # function → its
        self._refused: dict[str, str] = {}  # function → why its config is not followed
        self._group: asyncio.TaskGroup | None = None
        self._leaving: set[asyncio.Task[None]] = set()

    def learn(self, functions: Iterable[FunctionTelemetry]) -> None:
        """All functions there are. Replaces what was told before."""
        before, self._refused = self._refused, {}
        wanted = self._wanted(functions)
        for place in self._exporters.keys() - {_place(target) for target in wanted.values()}:
            self._end(self._exporters.pop(place))
        self._of = {}
        for function, target in wanted.items():
            if (exporter := self._exporter(function, target)) is not None:
                self._of[function] = exporter
        for function, why in self._refused.items():
            if before.get(function) != why:
                log.warning("tracingConfig is not followed", function=function, why=why)

    def wants(self, function: str, count: int) -> bool:
        """Whether there is somebody, with room, for `count` spans of a function that are still to be made.

        Where all are full they count as dropped.
        """
        exporters = [one for one in (self._platform, self._of.get(function)) if one is not None]
        if not all(one.full for one in exporters):
            return True
        for one in exporters:
            one.miss(count)
        return False

    def offer(self, spans: Sequence[Span]) -> None:
        """Hand them on; what there is no room for is dropped and counted. Never waits."""
        if self._platform is not None:
            self._platform.offer(spans)
        if not self._of:
            return
        parts: dict[Exporter[Span], list[Span]] = {}
        for span in spans:
            if (exporter := self._of.get(span.function)) is not None:
                parts.setdefault(exporter, []).append(span)
        for exporter, part in parts.items():
            exporter.offer(part)

    def states(self) -> list[ExportState]:
        """The operator's back-end first."""
        platform = [] if self._platform is None else [self._platform.state()]
        return platform + [exporter.state() for exporter in self._exporters.values()]

    def refused(self) -> dict[str, str]:
        """Functions whose tracingConfig is not followed, and why."""
        return dict(self._refused)

    async def run(self) -> None:
        """For ever."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            for exporter in self._all():
                self._begin(exporter)
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self._group = None

    async def close(self, grace: float = 5.0) -> None:
        """All at once, each within `grace` seconds."""
        await asyncio.gather(*(exporter.close(grace) for exporter in self._all()), *self._leaving)

    # ── inside ──

    def _all(self) -> list[Exporter[Span]]:
        platform = [] if self._platform is None else [self._platform]
        return platform + list(self._exporters.values())

    def _wanted(self, functions: Iterable[FunctionTelemetry]) -> dict[str, TracingTarget]:
        found = {}
        for one in sorted(functions, key=lambda one: one.function):
            try:
                target = parse(one.tracing_type, one.tracing_params)
            except InvalidArgument as error:  # of a configuration from before it was checked
                self._refused[one.function] = str(error)
            else:
                if target is not None and target.url:
                    found[one.function] = target
        return found

    def _exporter(self, function: str, target: TracingTarget) -> Exporter[Span] | None:
        place = _place(target)
        if (found := self._exporters.get(place)) is not None:
            return found
        if len(self._exporters) >= self._max_endpoints:
            self._refused[function] = (
                f"functions name more than {self._max_endpoints} endpoints; let some share one"
            )
            return None
        made = Exporter(target.shown, self._build(target), span_size, self._limits, self._budget)
        self._exporters[place] = made
        self._begin(made)
        return made

    def _begin(self, exporter: Exporter[Span]) -> None:
        if self._group is not None:
            self._group.create_task(exporter.run())

    def _end(self, exporter: Exporter[Span]) -> None:
        """Let it send what it holds, beside the others' work."""
        task = asyncio.get_running_loop().create_task(exporter.close())
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)


def _place(target: TracingTarget) -> _Place:
    return target.format.value, target.url

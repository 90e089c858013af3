"""Traces over HTTP: this platform's own `/traces`, and Jaeger's query API under `/api`.

`GET /traces` lists traces, newest first. Query, all optional: `function`, `service`, `operation`, `since` and
`until` (as `wire/moments`; when the trace began), `minDuration` and `maxDuration` (1.5s, 100ms),
`errors` and `cold` (true or false), `requestId`, `attribute` (key=value, any number of them), `limit` (1 to 1500;
20), `nextToken`.
`GET /traces/{id}` tells one, by its id or by that of a request it served; `format=otlp`: as OTLP/JSON.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sampan.model.errors import InvalidArgument, SampanError, TraceNotFound
from sampan.model.trace import Span
from sampan.traces.query import MOST, Dependency, Found, Operation, Query, TraceSummary
from sampan.wire import errors, jaeger_query, moments, trace_shapes

DAY = 86400 * 10**9
BYTES = 32 << 20  # of spans in one answer of Jaeger's API, twice that as JSON; what is beyond is left out and said
AT_ONCE = 50  # traces read at once
IDS = 50  # traces that may be asked for by their ids at once
_LEFT_OUT = "left out: too many spans in one answer; ask for fewer traces"

Otlp = Callable[[Sequence[Span]], bytes]
"""Spans as an OTLP/JSON document."""


class Traces(Protocol):
    """What is asked: `traces.store.TraceStore`."""

    async def search(self, query: Query) -> Found: ...
    async def trace(self, id: str) -> list[Span] | None: ...
    async def several(self, ids: Sequence[str]) -> list[list[Span]]: ...
    async def services(self) -> list[str]: ...
    async def operations(self, service: str) -> list[Operation]: ...
    async def dependencies(self, end: int, lookback: int) -> list[Dependency]: ...


def routes(store: Traces, otlp: Otlp, clock: Callable[[], int] = time.time_ns) -> list[Route]:
    """clock: Unix nanoseconds. Raises from its endpoints: InvalidArgument, TraceNotFound."""

    async def search(request: Request) -> Response:
        found = await store.search(query_of(request.query_params.multi_items(), clock()))
        page = trace_shapes.Summaries(traces=tuple(map(_summary, found.traces)), next_token=found.after or None)
        return _json(msgspec.json.encode(page))

    async def trace(request: Request) -> Response:
        shape = request.query_params.get("format", "")
        if shape not in ("", "json", "otlp"):
            raise InvalidArgument("format", shape[:40], "json or otlp")
        id = request.path_params["id"]
        spans = await store.trace(id)
        if not spans:
            raise TraceNotFound(id[:100])
        return _json(await asyncio.to_thread(otlp if shape == "otlp" else _own, spans))

    return [Route("/traces", search), Route("/traces/{id}", trace)]


def _own(spans: Sequence[Span]) -> bytes:
    return msgspec.json.encode(trace_shapes.told(spans))


def query_of(parameters: Sequence[tuple[str, str]], now: int) -> Query:
    """now: Unix nanoseconds. Raises: InvalidArgument."""
    given = dict(parameters)
    attributes = [_attribute(text) for name, text in parameters if name == "attribute"]
    return Query(
        function=given.get("function", ""),
        service=given.get("service", ""),
        operation=given.get("operation", ""),
        start=moments.parse("since", given["since"], now) if given.get("since") else 0,
        end=moments.parse("until", given["until"], now) if given.get("until") else 0,
        min_duration=jaeger_query.duration(given, "minDuration"),
        max_duration=jaeger_query.duration(given, "maxDuration"),
        errors=_truth(given, "errors"),
        cold=_truth(given, "cold"),
        request=given.get("requestId", ""),
        attributes=dict(attributes),
        limit=jaeger_query.number(given, "limit", 20),
        after=given.get("nextToken", ""),
    )


def _attribute(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise InvalidArgument("attribute", text[:80], "key=value")
    return key, value


def _truth(given: dict[str, str], name: str) -> bool | None:
    text = given.get(name, "").lower()
    if text not in ("", "true", "false", "1", "0"):
        raise InvalidArgument(name, text[:40], "true or false")
    return text in ("true", "1") if text else None


def _summary(found: TraceSummary) -> trace_shapes.Summary:
    return trace_shapes.Summary(
        trace_id=found.trace,
        name=found.name,
        service=found.service,
        function=found.function,
        request_id=found.request,
        start=found.start,
        duration=found.duration,
        spans=found.spans,
        errors=found.errors,
        cold=found.cold,
        services=tuple(
            trace_shapes.ServiceShare(name=one.name, spans=one.spans, errors=one.errors) for one in found.services
        ),
    )


def _json(body: bytes, status: int = 200) -> Response:
    return Response(body, status, media_type="application/json")


# ── Jaeger's ──────────────────────────────────────────────────────────────────────────────────────────


def jaeger_routes(store: Traces, clock: Callable[[], float] = time.time) -> list[Route]:
    """Jaeger's query API; its errors in its own shape. clock: Unix seconds."""
    api = _Jaeger(store, clock)
    ways = {
        "/api/services": api.services,
        "/api/services/{service:path}/operations": api.names,
        "/api/operations": api.operations,
        "/api/traces": api.search,
        "/api/traces/{id}": api.trace,
        "/api/dependencies": api.dependencies,
    }
    return [Route(path, _told(endpoint)) for path, endpoint in ways.items()]


class _Jaeger:
    def __init__(self, store: Traces, clock: Callable[[], float]) -> None:
        self._store, self._clock = store, clock

    def _now(self) -> int:
        return int(self._clock() * 1e9)

    async def services(self, request: Request) -> jaeger_query.Envelope:
        found = await self._store.services()
        return jaeger_query.Envelope(found, total=len(found))

    async def names(self, request: Request) -> jaeger_query.Envelope:
        found = await self._store.operations(request.path_params["service"])
        names = list(dict.fromkeys(each.name for each in found))
        return jaeger_query.Envelope(names, total=len(names))

    async def operations(self, request: Request) -> jaeger_query.Envelope:
        service = request.query_params.get("service", "")
        if not service:
            raise InvalidArgument("service", "", "the name of a service; GET /api/services lists them")
        kind = jaeger_query.kind(request.query_params.get("spanKind", ""))
        found = [each for each in await self._store.operations(service) if kind in (None, each.kind)]
        data = [jaeger_query.JaegerOperation(each.name, jaeger_query.KINDS[each.kind]) for each in found]
        return jaeger_query.Envelope(data, total=len(data))

    async def search(self, request: Request) -> jaeger_query.Envelope:
        asked = jaeger_query.asked(request.query_params.multi_items(), self._now(), MOST)
        if asked.traces:
            return await self._by_id(asked.traces[:IDS])
        found = await self._found(asked)
        data: list[msgspec.Raw] = []
        left, size = list(found), 0
        while left and size + left[0].packed <= BYTES:
            some = left[:AT_ONCE]
            while sum(each.packed for each in some) > BYTES - size:
                some.pop()
            del left[: len(some)]
            size += sum(each.packed for each in some)
            data += await asyncio.to_thread(_encoded, await self._store.several([each.trace for each in some]))
        problems = tuple(jaeger_query.Problem(_LEFT_OUT, trace_id=each.trace) for each in left)
        return jaeger_query.Envelope(data, errors=problems or None)

    async def _by_id(self, ids: Sequence[str]) -> jaeger_query.Envelope:
        data: list[msgspec.Raw] = []
        problems, size = [], 0
        for id in ids:
            if size > 2 * BYTES:
                problems.append(jaeger_query.Problem(_LEFT_OUT, trace_id=id))
            elif spans := await self._store.trace(id):
                data += await asyncio.to_thread(_encoded, [spans])
                size += len(bytes(data[-1]))
            else:
                problems.append(jaeger_query.Problem("trace not found", trace_id=id))
        return jaeger_query.Envelope(data, errors=tuple(problems) or None)

    async def _found(self, asked: jaeger_query.Asked) -> Sequence[TraceSummary]:
        tags, errors = dict(asked.tags), None
        if tags.get("error") in ("true", "false"):
            errors = tags.pop("error") == "true"
        query = Query(
            service=asked.service,
            operation=asked.operation,
            start=asked.start,
            end=asked.end,
            min_duration=asked.min_duration,
            max_duration=asked.max_duration,
            errors=errors,
            attributes=tags,
            limit=asked.limit,
        )
        return (await self._store.search(query)).traces

    async def trace(self, request: Request) -> jaeger_query.Envelope:
        id = request.path_params["id"]
        spans = await self._store.trace(id)
        if not spans:
            raise TraceNotFound(id[:100])
        return jaeger_query.Envelope(await asyncio.to_thread(_encoded, [spans]))

    async def dependencies(self, request: Request) -> jaeger_query.Envelope:
        given = dict(request.query_params)
        end = jaeger_query.number(given, "endTs", self._now() // 10**6) * 10**6
        lookback = jaeger_query.number(given, "lookback", DAY // 10**6) * 10**6
        service = given.get("service", "")
        found = await self._store.dependencies(end, lookback)
        kept = [each for each in found if service in ("", each.parent, each.child)]
        return jaeger_query.Envelope(
            [jaeger_query.JaegerDependency(each.parent, each.child, each.calls) for each in kept]
        )


def _encoded(traces: Sequence[Sequence[Span]]) -> list[msgspec.Raw]:
    """As JSON, which is work for a thread where there are many."""
    return [msgspec.Raw(msgspec.json.encode(jaeger_query.trace(spans))) for spans in traces]


def _told(
    endpoint: Callable[[Request], Awaitable[jaeger_query.Envelope]],
) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint, its failures told as Jaeger tells them."""

    async def answer(request: Request) -> Response:
        try:
            return _json(jaeger_query.encode(await endpoint(request)))
        except SampanError as error:
            status, _, _ = errors.answer(error, "")
            problem = jaeger_query.Problem("trace not found" if status == 404 else str(error), code=status)
            return _json(jaeger_query.encode(jaeger_query.Envelope(None, errors=(problem,))), status)

    return answer

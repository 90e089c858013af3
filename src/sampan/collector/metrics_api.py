"""Numbers over HTTP: a page for Prometheus, the history as series, a snapshot for a live view.

GET /metrics                                   text; OpenMetrics where the Accept header asks for it
GET /history?function=&since=&until=&step=     JSON; times as `wire/moments`, by default the last hour by the minute
GET /now?limit=&follow=true                    JSON; followed, one line a second
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from sampan.metrics import exposition
from sampan.metrics.history import History
from sampan.metrics.now import Now, snapshot
from sampan.metrics.registry import Registry
from sampan.metrics.series import MINUTE, Point
from sampan.model.errors import InvalidArgument, LimitExceeded
from sampan.wire import moments

HOUR = 3600.0  # seconds of history that are told where nothing is asked
FUNCTIONS, MOST_FUNCTIONS = 100, 1_000  # of one snapshot
FOLLOWERS = 64  # at once; each costs a snapshot a second
EVERY = 1.0  # seconds between a follower's lines
FRESH = 0.5  # seconds that a snapshot is given out
LOOK_BACK = 0.2  # seconds that gateways take to tell of what has ended: a second is told once it is whole


class Series(msgspec.Struct, frozen=True, rename="camel"):
    """function None: all together. step: seconds."""

    function: str | None
    step: int
    points: list[Point]


def routes(registry: Registry, history: History, clock: Callable[[], float] = time.time) -> list[Route]:
    """clock: Unix seconds."""
    api = _Api(registry, history, clock)
    return [
        Route("/metrics", api.metrics, methods=["GET"]),
        Route("/history", api.history, methods=["GET"]),
        Route("/now", api.now, methods=["GET"]),
    ]


class _Api:
    def __init__(self, registry: Registry, history: History, clock: Callable[[], float]) -> None:
        self._registry, self._history, self._clock = registry, history, clock
        self._followers = 0
        self._made: Now | None = None

    async def metrics(self, request: Request) -> Response:
        media = exposition.media_type(", ".join(request.headers.getlist("accept")))
        page = await exposition.write(self._registry.metrics(), media)
        return Response(page, headers={"content-type": media, "vary": "accept"})

    async def history(self, request: Request) -> Response:
        """Raises: InvalidArgument."""
        function = request.query_params.get("function") or None
        until = _moment(request, "until", self._clock(), self._clock())
        since = _moment(request, "since", self._clock(), until - HOUR)
        step = _number(request, "step", MINUTE)
        if step != int(step):
            raise InvalidArgument("step", step, "whole seconds")
        points = await self._history.query(function, since, until, int(step))
        return _json(Series(function, int(step), points))

    async def now(self, request: Request) -> Response:
        """Raises: InvalidArgument, LimitExceeded."""
        limit = int(_number(request, "limit", FUNCTIONS))
        if not 1 <= limit <= MOST_FUNCTIONS:
            raise InvalidArgument("limit", limit, f"a number from 1 to {MOST_FUNCTIONS}")
        if not _flag(request, "follow"):
            return _json(self._snapshot(limit))
        if self._followers >= FOLLOWERS:
            raise LimitExceeded(f"{FOLLOWERS} live views are open already; end one of them")
        return StreamingResponse(self._lines(limit), media_type="application/x-ndjson")

    async def _lines(self, limit: int) -> AsyncIterator[bytes]:
        self._followers += 1
        try:
            while True:
                yield msgspec.json.encode(self._snapshot(limit)) + b"\n"
                await asyncio.sleep(EVERY)
        finally:
            self._followers -= 1

    def _snapshot(self, limit: int) -> Now:
        """However many ask, one is made per `FRESH`: of a thousand functions it takes 0.04 s."""
        now = self._clock() - LOOK_BACK
        if self._made is None or not 0 <= now - self._made.time < FRESH:
            self._made = snapshot(self._registry, now, MOST_FUNCTIONS)
        return msgspec.structs.replace(self._made, functions=self._made.functions[:limit])


def _json(told: msgspec.Struct) -> Response:
    return Response(msgspec.json.encode(told), media_type="application/json")


def _moment(request: Request, name: str, now: float, default: float) -> float:
    """Unix seconds. Raises: InvalidArgument."""
    text = request.query_params.get(name)
    return moments.parse(name, text, int(now * moments.SECOND)) / moments.SECOND if text else default


def _number(request: Request, name: str, default: float) -> float:
    """Raises: InvalidArgument."""
    text = request.query_params.get(name)
    if not text:
        return default
    try:
        value = float(text) if len(text) <= 20 else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise InvalidArgument(name, text[:40], "a number from 0")
    return value


def _flag(request: Request, name: str) -> bool:
    """Raises: InvalidArgument."""
    text = request.query_params.get(name, "").lower()
    if text not in ("", "true", "false", "1", "0"):
        raise InvalidArgument(name, text[:40], "true or false")
    return text in ("true", "1")

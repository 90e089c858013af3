"""The platform in numbers: now, and by the minute. Pure."""

from urllib.parse import quote, urlencode

import msgspec

from sampan.sdk.describing import read
from sampan.sdk.errors import UnexpectedAnswer
from sampan.sdk.exchange import Call, Reply
from sampan.sdk.methods import Lines

ROOT = "/sampan/v1"
SILENCE = 15.0  # seconds a live view may say nothing; it has a line a second


class Told(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What these have in common: JSON made from one always has all members."""


class Load(Told, frozen=True, kw_only=True):
    """How busy something is. Rates are per second and, as percentiles, of the last ten seconds."""

    rate: float = 0.0
    errors: float = 0.0
    cold: float = 0.0
    p50: float | None = None  # seconds from received to answered; None: nothing ended
    p99: float | None = None
    active: int = 0  # requests in instances
    waiting: int = 0  # requests without a slot
    instances: dict[str, int] = {}  # by state
    cpu: float = 0.0  # per cent of one core
    memory: int = 0  # bytes
    recent: tuple[int, ...] = ()  # calls in each of the last 60 seconds, the newest last


class FunctionNow(Load, frozen=True, kw_only=True):
    """One function."""

    function: str


class Totals(Load, frozen=True, kw_only=True):
    """All functions together."""

    functions: int = 0
    connections: int = 0  # of clients


class Now(Told, frozen=True, kw_only=True):
    """The platform at one moment; the busiest functions first."""

    time: float  # Unix seconds
    totals: Totals = Totals()
    functions: tuple[FunctionNow, ...] = ()


class Point(Told, frozen=True, kw_only=True):
    """One step of a series. Percentiles (p50, p95, p99) are in seconds; maxima are within the step."""

    time: int  # Unix seconds at which the step begins
    calls: int = 0
    cold: int = 0
    errors: dict[str, int] = {}  # client, server, function, throttled, 5xx
    duration: dict[str, float | None] = {}  # in the function
    latency: dict[str, float | None] = {}  # received to answered
    seconds: float = 0.0  # in functions, in all
    bytes_in: int = 0
    bytes_out: int = 0
    cpu: float = 0.0  # seconds of CPU time
    active: int = 0  # most requests in instances at once
    waiting: int = 0  # most requests without a slot at once
    memory: int = 0  # most bytes that instances held
    instances: dict[str, int] = {}  # most at once, by state


class Series(Told, frozen=True, kw_only=True):
    """A stretch of the history. function None: all together. step: seconds."""

    function: str | None = None
    step: int
    points: tuple[Point, ...] = ()


def now(limit: int = 100) -> Call[Now]:
    """How each function does now, of the `limit` busiest ones."""
    return Call(
        action="Now",
        method="GET",
        target=f"{ROOT}/now?{urlencode({'limit': limit})}",
        decode=lambda reply: read(reply, Now),
    )


def follow_now(limit: int = 100) -> Lines[Now]:
    """The same, once a second, for ever."""
    call: Call[object] = Call(
        action="FollowNow",
        method="GET",
        target=f"{ROOT}/now?{urlencode({'limit': limit, 'follow': 'true'})}",
        decode=_nothing,
        timeout=SILENCE,
    )
    return Lines(call, _now)


def history(
    function: str | None = None, *, since: float | None = None, until: float | None = None, step: int = 60
) -> Call[Series]:
    """What was, in steps of whole minutes. Unix seconds; by default the last hour. function None: all together."""
    asked = {"function": function, "since": since, "until": until, "step": step}
    query = urlencode({name: str(value) for name, value in asked.items() if value is not None}, quote_via=quote)
    return Call(
        action="GetHistory",
        method="GET",
        target=f"{ROOT}/history?{query}",
        decode=lambda reply: read(reply, Series),
    )


def metrics() -> Call[str]:
    """All metrics as Prometheus reads them, as text."""
    return Call(action="GetMetrics", method="GET", target=f"{ROOT}/metrics", decode=lambda reply: reply.text)


def _nothing(reply: Reply) -> None:
    """Followed answers are read line by line."""


def _now(line: str) -> Now:
    try:
        return msgspec.json.decode(line, type=Now)
    except msgspec.MsgspecError as error:
        raise UnexpectedAnswer(f"the live view holds a line that is none: {error}") from error

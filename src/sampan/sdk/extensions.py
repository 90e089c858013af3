"""What this platform answers beyond FC: why and how a function runs, its log, the platform itself. Pure."""

from collections.abc import Callable, Mapping
from typing import TypeVar
from urllib.parse import quote, urlencode

import msgspec

from sampan.sdk.describing import read, segment
from sampan.sdk.errors import UnexpectedAnswer
from sampan.sdk.exchange import Call, Reply
from sampan.sdk.methods import Lines
from sampan.wire import shapes

T = TypeVar("T")
ROOT = "/sampan/v1"
QUIET = 86400.0  # seconds a followed log may say nothing


class Told(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What these have in common: JSON made from one always has all members."""


class LogLine(Told, frozen=True):
    """One line a function wrote."""

    time: str
    instance: str
    text: str
    version: str = ""
    stream: str = "stdout"
    request_id: str = ""
    level: str = ""  # trace, debug, info, warning, error or fatal, where the line says so
    token: str = ""  # where the line is: `after` and `before` take it


def logs(
    name: str,
    *,
    follow: bool = False,
    tail: int | None = None,
    instance: str | None = None,
    version: str | None = None,
    stream: str | None = None,
    request: str | None = None,
    level: str | None = None,
    since: str | None = None,
    until: str | None = None,
    fields: Mapping[str, str] | None = None,
    grep: str | None = None,
    after: str | None = None,
    before: str | None = None,
) -> Lines[LogLine]:
    """The function's output, oldest first. `tail`: only that many of the newest lines. `follow`: and what comes.

    level: that one and graver ones.  since, until: RFC 3339, Unix seconds, or how long ago (90s, 15m, 1h30m, 2d).
    fields: members of lines that are JSON, inner ones with dots.  grep: a regular expression (RE2).
    after, before: the token of a line to go on from, or back from.
    """
    asked = {
        "follow": "true" if follow else None,
        "tail": tail,
        "instance": instance,
        "version": version,
        "stream": stream,
        "request": request,
        "level": level,
        "since": since,
        "until": until,
        "grep": grep,
        "after": after,
        "before": before,
    }
    given = [(key, str(value)) for key, value in asked.items() if value is not None]
    given += [("field", f"{key}={value}") for key, value in (fields or {}).items()]
    query = urlencode(given, quote_via=quote)
    path = f"{ROOT}/functions/{segment(name)}/logs" + (f"?{query}" if query else "")
    call: Call[object] = Call(
        action="FollowLogs", method="GET", target=path, decode=_nothing, timeout=QUIET if follow else None
    )
    return Lines(call, _log_line)


def _nothing(reply: Reply) -> None:
    """Followed answers are read line by line."""


def _log_line(line: str) -> LogLine:
    try:
        return msgspec.json.decode(line, type=LogLine)
    except msgspec.MsgspecError as error:
        raise UnexpectedAnswer(f"the log holds a line that is none: {error}") from error


class TimeLimits(Told, frozen=True):
    """Every limit that can end a request, in seconds."""

    queue_wait: float | None = None
    start: float | None = None
    initialize: float | None = None
    run: float | None = None
    drain: float | None = None
    keepalive: float | None = None


class StartFailure(Told, frozen=True):
    """Why the newest failed start failed."""

    kind: str
    message: str
    log_tail: str = ""
    exit_code: int | None = None
    version: str = ""
    time: str = ""


class Layer(Told, frozen=True):
    """How far one layer of an image being fetched has come. Bytes."""

    layer: str
    done: int
    total: int
    stage: str


class Description(Told, frozen=True):
    """A function, and everything that bears on how it runs."""

    function: shapes.Function
    versions: tuple[shapes.Version, ...] = ()
    aliases: tuple[shapes.Alias, ...] = ()
    triggers: tuple[shapes.Trigger, ...] = ()
    instances: tuple[shapes.InstanceInfo, ...] = ()
    time_limits: TimeLimits | None = None
    last_start_failure: StartFailure | None = None
    progress: tuple[Layer, ...] = ()
    warnings: tuple[str, ...] = ()


def describe(name: str) -> Call[Description]:
    """The function with its versions, aliases, triggers, instances, time limits and newest failed start."""
    return _get("Describe", f"/functions/{segment(name)}", lambda reply: read(reply, Description))


class PlatformStatus(Told, frozen=True):
    """How the platform is."""

    version: str = ""
    functions: int | None = None
    instances: int | None = None
    platform: dict[str, object] = {}  # what the platform's parts tell of themselves


def status() -> Call[PlatformStatus]:
    """How the platform is."""
    return _get("Status", "/status", lambda reply: read(reply, PlatformStatus))


class StoredImage(Told, frozen=True):
    """An image on the platform's machine."""

    reference: str
    digest: str
    size: int = 0  # bytes
    functions: tuple[str, ...] = ()


class _Images(Told, frozen=True):
    images: tuple[StoredImage, ...]


def images() -> Call[tuple[StoredImage, ...]]:
    """The images functions are made of."""
    return _get("ListImages", "/images", lambda reply: read(reply, _Images).images)


def _get(action: str, path: str, decode: Callable[[Reply], T]) -> Call[T]:
    return Call(action=action, method="GET", target=ROOT + path, decode=decode)

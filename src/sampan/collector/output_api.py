"""`GET /functions/{name}/logs`: what a function printed, a JSON object a line.

Query: `tail` (only that many lines, the last ones), `follow` (and those to come), `after` and `before` (tokens of
lines, to go on from or back from one), and what the lines must be: `instance`, `version`, `stream`, `request`,
`level` (or a graver one), `since` and `until` (as `wire/moments`), `field` (name=value of a JSON line, may be
repeated), `grep` (RE2). While a followed log is silent an empty line comes now and then.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from sampan.link.reports import THERE
from sampan.model.errors import FunctionNotFound, InstanceNotFound, InvalidArgument
from sampan.output.blocks import version_of
from sampan.output.levels import NAMES, WORDS, Level
from sampan.output.lines import STREAMS, Line, moment
from sampan.output.matching import FOREVER, Matcher, Wanted
from sampan.output.search import Search
from sampan.output.store import OutputStore
from sampan.wire.moments import parse

MAX_TAIL = 1_000_000  # lines
PIECE = 64 << 10  # bytes of an answer sent together, about

_ENDS = tuple((sign.encode(), f"\\u{ord(sign):04x}".encode()) for sign in "\x85\u2028\u2029")


class LogLine(msgspec.Struct, frozen=True, rename="camel"):
    """One line as it is told."""

    time: str
    instance: str
    version: str
    stream: str
    text: str
    token: str  # says where the line is: `after` and `before` take it
    request_id: str = ""  # "": not known whose
    level: str = ""  # trace, debug, info, warning, error, fatal; "" where the line does not say


def routes(store: OutputStore, clock: Callable[[], int]) -> list[Route]:
    """Who asks says with `THERE` that there is such a function.  clock: Unix nanoseconds."""
    api = _Api(store, clock)
    return [Route("/functions/{name}/logs", api.logs, methods=["GET"])]


class _Api:
    def __init__(self, store: OutputStore, clock: Callable[[], int]) -> None:
        self._store = store
        self._search = Search(store)
        self._clock = clock

    async def logs(self, request: Request) -> Response:
        """What may be wrong is found before the answer begins. Raises: InvalidArgument, NotFound."""
        name, query = request.path_params["name"], request.query_params
        if THERE not in request.headers and not await self._store.has(name):
            raise FunctionNotFound(name)
        matcher = Matcher(wanted(name, list(query.multi_items()), self._clock()))
        instance = matcher.wanted.instance
        if instance and not await self._knows(name, instance):
            raise InstanceNotFound(instance)
        lines = self._search.lines(
            matcher,
            tail=_number("tail", query.get("tail"), MAX_TAIL) if query.get("tail") else None,
            after=_number("after", query.get("after"), FOREVER),
            before=_number("before", query.get("before"), FOREVER),
            follow=_flag("follow", query.get("follow", "")),
        )
        return StreamingResponse(_told(lines), media_type="application/x-ndjson")

    async def _knows(self, name: str, instance: str) -> bool:
        place = await self._store.place(instance)
        return place is not None or await self._search.known_instance(name, instance)


async def _told(lines: AsyncGenerator[list[Line], None]) -> AsyncGenerator[bytes, None]:
    encode = msgspec.json.Encoder().encode
    async with aclosing(lines) as batches:
        async for batch in batches:
            piece = bytearray(b"" if batch else b"\n")
            for line in batch:
                piece += _one_line(encode(told(line))) + b"\n"
                if len(piece) >= PIECE:
                    yield bytes(piece)
                    piece.clear()
            if piece:
                yield bytes(piece)


def _one_line(json: bytes) -> bytes:
    """JSON in which nothing ends a line for whoever goes by Unicode: NEL, LINE and PARAGRAPH SEPARATOR."""
    for given, escaped in _ENDS:
        if given in json:
            json = json.replace(given, escaped)
    return json


def told(line: Line) -> LogLine:
    return LogLine(
        time=moment(line.time),
        instance=line.instance,
        version=version_of(line.version),
        stream=line.stream,
        text=line.text,
        token=str(line.seq),
        request_id=line.request,
        level=NAMES[line.level],
    )


def wanted(function: str, query: list[tuple[str, str]], now: int) -> Wanted:
    """What a query asks for. now: Unix nanoseconds. Raises: InvalidArgument."""
    first = dict(reversed(query))
    stream, level = first.get("stream", ""), first.get("level", "").lower()
    if stream and stream not in STREAMS:
        raise InvalidArgument("stream", stream[:40], " or ".join(STREAMS))
    if level and level not in WORDS:
        raise InvalidArgument("level", level[:40], ", ".join(filter(None, NAMES.values())))
    return Wanted(
        function=function,
        instance=first.get("instance", ""),
        version=first.get("version", ""),
        stream=stream,
        request=first.get("request", ""),
        since=parse("since", first["since"], now) if first.get("since") else 0,
        until=parse("until", first["until"], now) if first.get("until") else FOREVER,
        level=WORDS[level] if level else Level.UNKNOWN,
        fields=tuple(_field(text) for name, text in query if name == "field"),
        grep=first.get("grep", ""),
    )


def _field(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise InvalidArgument("field", text[:80], "name=value, inner members with dots: http.status=500")
    return name, value


def _number(name: str, text: str | None, most: int) -> int:
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= most):
        allowed = f"a number up to {most}" if name == "tail" else "the token of a line"
        raise InvalidArgument(name, text[:40], allowed)
    return int(text)


def _flag(name: str, text: str) -> bool:
    if text.lower() not in ("", "true", "false", "1", "0"):
        raise InvalidArgument(name, text[:40], "true or false")
    return text.lower() in ("true", "1")

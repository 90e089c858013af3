"""What was used, asked for: `/usage`, the bill, and `/invocations`, one by one. JSON, or CSV.

CSV by `format=csv` or an `accept` that prefers it. Numbers of a bill are exact: JSON numbers with all their digits.
"""

import csv
import io
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sampan.meter.report import ERRORS, Bill, By, Line
from sampan.meter.singles import Wanted
from sampan.meter.statements import Invocation, Statements
from sampan.model.errors import InvalidArgument
from sampan.model.invocation import Outcome
from sampan.wire import moments

DEFAULT_PAGE, MAX_PAGE = 100, 1000  # invocations
LONGEST = 3660  # days of one bill

_encode = msgspec.json.Encoder(decimal_format="number").encode
_TOKEN = re.compile(r"\d{1,19}\.\d{1,18}\Z")


class Page(msgspec.Struct, frozen=True, rename="camel"):
    """Invocations, the newest first."""

    invocations: tuple[Invocation, ...]
    next_token: str


def routes(statements: Statements, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> list[Route]:
    """The endpoints. Bad input raises InvalidArgument."""

    async def usage(request: Request) -> Response:
        query = request.query_params
        now = clock()
        month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        since = moment("since", query.get("since"), month, now)
        until = moment("until", query.get("until"), now + timedelta(minutes=1), now)
        if not since < until <= since + timedelta(days=LONGEST):
            raise InvalidArgument("until", query.get("until"), f"a time after `since`, by at most {LONGEST} days")
        by = _by(query.get("by"))
        bill = await statements.bill(by, since, until, query.get("function") or None)
        if _csv_wanted(request):
            return _csv(_USAGE, (_usage_row(line, bill) for line in bill.lines))
        return Response(_encode(bill), media_type="application/json")

    async def invocations(request: Request) -> Response:
        query = request.query_params
        token = query.get("nextToken", "")
        if token and not _TOKEN.match(token):
            raise InvalidArgument("nextToken", token, "what the page before gave")
        found, more = await statements.invocations(_wanted(query, clock()), _limit(query.get("limit")), token)
        if _csv_wanted(request):
            names = Invocation.__struct_fields__
            rows = ([getattr(each, name) for name in names] for each in found)
            response = _csv(Invocation.__struct_encode_fields__, rows)
            response.headers["x-next-token"] = more
            return response
        return Response(_encode(Page(tuple(found), more)), media_type="application/json")

    endpoints: dict[str, Callable[[Request], Awaitable[Response]]] = {
        "/usage": usage,
        "/invocations": invocations,
    }
    return [Route(path, endpoint, methods=["GET"]) for path, endpoint in endpoints.items()]


def moment(name: str, given: str | None, default: datetime, now: datetime) -> datetime:
    """A time as a query has it; without a zone it is UTC. Raises: InvalidArgument."""
    if not given:
        return default
    seconds, rest = divmod(moments.parse(name, given, int(now.timestamp()) * moments.SECOND), moments.SECOND)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000)


def _by(given: str | None) -> By:
    try:
        return By(given or By.FUNCTION.value)
    except ValueError:
        raise InvalidArgument("by", given, ", ".join(each.value for each in By)) from None


def _wanted(query: Mapping[str, str], now: datetime) -> Wanted:
    version = query.get("version", "")
    function = query.get("function", "")
    if version and not function:
        raise InvalidArgument("version", version, "a version of a `function` that is named, too")
    outcomes = tuple(each for each in query.get("outcome", "").split(",") if each)
    known = [each.value for each in Outcome]
    for each in outcomes:
        if each not in known:
            raise InvalidArgument("outcome", each, ", ".join(known))
    return Wanted(
        function=function,
        version=version,
        outcomes=outcomes,
        request=query.get("request", ""),
        instance=query.get("instance", ""),
        since=_ns("since", query.get("since"), now),
        until=_ns("until", query.get("until"), now),
    )


def _ns(name: str, given: str | None, now: datetime) -> int:
    return moments.parse(name, given, int(now.timestamp()) * moments.SECOND) if given else 0


def _limit(given: str | None) -> int:
    if not given:
        return DEFAULT_PAGE
    if not re.fullmatch(r"\d{1,6}", given) or not 1 <= int(given) <= MAX_PAGE:
        raise InvalidArgument("limit", given, f"1–{MAX_PAGE}")
    return int(given)


def _csv_wanted(request: Request) -> bool:
    given = request.query_params.get("format")
    if given not in (None, "", "json", "csv"):
        raise InvalidArgument("format", given, "json, csv")
    return given == "csv" or (not given and request.headers.get("accept", "").startswith("text/csv"))


# Always the same columns, and no total: a spreadsheet that sums a column must not count it twice.
_USAGE = (
    *(name for name in Line.__struct_encode_fields__ if name not in ("errors", "complete")),
    *ERRORS,
    "currency",
)


def _usage_row(line: Line, bill: Bill) -> Iterable[object]:
    key = dict(
        zip(Line.__struct_encode_fields__, (getattr(line, each) for each in Line.__struct_fields__), strict=True)
    )
    return [
        *(key[name] for name in _USAGE[: -len(ERRORS) - 1]),
        *(line.errors.get(name, 0) for name in ERRORS),
        bill.currency,
    ]


def _csv(names: Iterable[str], rows: Iterable[Iterable[Any]]) -> Response:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(names)
    writer.writerows([_cell(each) for each in row] for row in rows)
    return Response(text.getvalue(), media_type="text/csv; charset=utf-8")


def _cell(value: Any) -> Any:
    """Callers choose paths and methods: a spreadsheet must not take one for a formula."""
    if isinstance(value, str):
        return f"'{value}" if value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
    return value if isinstance(value, int | float) else format(value, "f")

import csv
import io
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from sampan.collector.meter_api import routes
from sampan.meter.ledger import Batch, Ledger
from sampan.meter.prices import FUNCTION_COMPUTE
from sampan.meter.statements import Statements
from sampan.model.errors import SampanError
from sampan.model.invocation import InvocationRecord, Outcome
from sampan.wire.errors import answer
from tests.meter.making import FACTS, JOB, MS, START, database, record

NOW = datetime.fromtimestamp(START / 1e9, UTC)
DAY = NOW.date().isoformat()
Get = Callable[..., Any]


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    store = database(tmp_path)
    yield Ledger(store)
    await store.close()


@pytest.fixture
async def client(ledger: Ledger) -> AsyncIterator[httpx.AsyncClient]:
    async def refuse(request: Request, error: Exception) -> Response:
        status, _, body = answer(error, "1-r")
        return Response(body, status)

    statements = Statements(ledger._database, FUNCTION_COMPUTE)
    app = Starlette(routes=routes(statements, lambda: NOW), exception_handlers={SampanError: refuse})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://collector") as client:
        yield client


def used() -> list[InvocationRecord]:
    return [
        record(1, 0, 100 * MS, cold=True),
        record(2, 1000 * MS, 50 * MS, outcome=Outcome.FUNCTION_ERROR),
        record(3, 0, 2000 * MS, version=JOB, instance="c-9"),
        record(4, 2000 * MS, 1 * MS, instance="", outcome=Outcome.THROTTLED),
    ]


async def test_a_bill_has_exact_numbers_by_function(client: httpx.AsyncClient, ledger: Ledger) -> None:
    await ledger.add([Batch("life", 1, used(), FACTS)])
    answered = await client.get("/usage")
    told = msgspec.json.decode(answered.content, type=dict[str, Any])
    assert (told["currency"], told["unit"], told["by"]) == ("USD", "CU", "function")
    job, web = told["lines"]
    assert (job["function"], job["calls"], job["activeMs"]) == ("job", 1, 2000)
    assert (job["vcpuSeconds"], job["gbSeconds"], job["diskGbSeconds"]) == (2, 2, 20)
    assert (web["calls"], web["billedCalls"], web["coldStarts"]) == (3, 2, 1)
    assert web["errors"] == {"function_error": 1, "throttled": 1}
    numbers = msgspec.json.decode(answered.content, type=_Costs)
    units = 1 * Decimal("0.0075") + 2 + 2 * Decimal("0.15") + 19 * Decimal("0.05")
    assert numbers.lines[0].cost == units * Decimal("0.00002")
    assert numbers.total.cost == sum(line.cost for line in numbers.lines)


class _Cost(msgspec.Struct):
    cost: Decimal


class _Costs(msgspec.Struct):
    lines: tuple[_Cost, ...]
    total: _Cost


@pytest.mark.parametrize(
    ("query", "lines"),
    [
        ({"by": "version"}, [("job", "3", ""), ("web", "LATEST", "")]),
        ({"by": "day"}, [("", "", DAY)]),
        ({"function": "web"}, [("web", "", "")]),
        ({"since": "2026-01-01"}, []),
        ({"since": "1970-06-01", "until": "1971-06-01"}, []),
        ({"since": "2026-01-02", "until": "2026-01-01"}, None),
        ({"until": DAY}, []),
    ],
)
async def test_a_bill_is_put_together_as_asked(
    client: httpx.AsyncClient, ledger: Ledger, query: dict[str, str], lines: list[tuple[str, str, str]] | None
) -> None:
    await ledger.add([Batch("life", 1, used(), FACTS)])
    query = {"since": "2025-01-01", "until": "2026-06-01"} | query
    answered = await client.get("/usage", params=query)
    if lines is None:
        assert answered.status_code == 400
        return
    assert [(line["function"], line["version"], line["day"]) for line in answered.json()["lines"]] == lines


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/usage", {"by": "colour"}),
        ("/usage", {"since": "lately"}),
        ("/usage", {"since": "99999999999"}),
        ("/usage", {"since": "2026-02-30"}),
        ("/usage", {"since": "2026-01-02", "until": "2026-01-01"}),
        ("/usage", {"since": "1980-01-01", "until": "2150-01-01"}),
        ("/usage", {"format": "xml"}),
        ("/invocations", {"limit": "0"}),
        ("/invocations", {"limit": "many"}),
        ("/invocations", {"nextToken": "1;drop"}),
        ("/invocations", {"outcome": "fine"}),
        ("/invocations", {"version": "1"}),
        ("/invocations", {"since": "9" * 400}),
    ],
)
async def test_what_makes_no_sense_is_refused_with_what_is_allowed(
    client: httpx.AsyncClient, path: str, query: dict[str, str]
) -> None:
    answered = await client.get(path, params=query)
    assert answered.status_code == 400
    assert "allowed is" in answered.json()["Message"]


async def test_a_bill_in_csv_has_a_line_each_and_no_total_that_would_be_summed(
    client: httpx.AsyncClient, ledger: Ledger
) -> None:
    await ledger.add([Batch("life", 1, used(), FACTS)])
    answered = await client.get("/usage", headers={"accept": "text/csv"})
    assert answered.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answered.text)))
    assert [row["function"] for row in rows] == ["job", "web"]
    assert [row["activeMs"] for row in rows] == ["2000", "150"]
    assert [row["throttled"] for row in rows] == ["0", "1"]
    assert {row["currency"] for row in rows} == {"USD"}
    told = (await client.get("/usage")).json()
    members = {*told["lines"][0]} - {"errors", "complete"}
    assert {*rows[0]} == members | {outcome.value for outcome in Outcome if outcome is not Outcome.OK} | {
        "currency"
    }
    empty = await client.get("/usage", params={"format": "csv", "function": "nobody"})
    assert empty.text.splitlines() == answered.text.splitlines()[:1], "the same columns, whatever happened"


async def test_an_empty_bill_is_no_error(client: httpx.AsyncClient) -> None:
    told = (await client.get("/usage")).json()
    assert told["lines"] == []
    assert told["total"]["cost"] == 0


async def test_invocations_come_newest_first_page_by_page(client: httpx.AsyncClient, ledger: Ledger) -> None:
    await ledger.add([Batch("life", 1, [record(n, n * MS, 0) for n in range(25)])])
    await ledger.add([Batch("other", 1, [record(n, 10 * MS, 0) for n in range(100, 110)])])
    seen, token, pages = [], "", 0
    while True:
        told = (await client.get("/invocations", params={"limit": "7", "nextToken": token})).json()
        seen += [each["requestId"] for each in told["invocations"]]
        pages += 1
        if not (token := told["nextToken"]):
            break
    assert pages == 5
    assert len(seen) == len(set(seen)) == 35
    assert seen[0] == record(24).request
    assert seen[-1] == record(0).request


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ({"function": "web"}, [4, 2, 1]),
        ({"function": "job", "version": "3"}, [3]),
        ({"function": "job", "version": "LATEST"}, []),
        ({"outcome": "function_error,throttled"}, [4, 2]),
        ({"request": record(3).request}, [3]),
        ({"instance": "c-9"}, [3]),
        ({"since": str(START // 1_000_000_000 + 1)}, [4, 3, 2]),
        ({"until": str(START // 1_000_000_000 + 1)}, [1]),
    ],
)
async def test_invocations_are_chosen(
    client: httpx.AsyncClient, ledger: Ledger, query: dict[str, str], numbers: list[int]
) -> None:
    await ledger.add([Batch("life", 1, used(), FACTS)])
    told = (await client.get("/invocations", params=query)).json()["invocations"]
    assert [each["requestId"] for each in told] == [record(number).request for number in numbers]


async def test_an_invocation_in_csv_is_never_a_formula(client: httpx.AsyncClient, ledger: Ledger) -> None:
    evil = msgspec.structs.replace(record(1), path="=HYPERLINK(1)", method="GET", client="@x")
    await ledger.add([Batch("life", 1, [evil])])
    answered = await client.get("/invocations", params={"format": "csv", "limit": "1"})
    (row,) = csv.DictReader(io.StringIO(answered.text))
    assert (row["path"], row["client"], row["durationMs"]) == ("'=HYPERLINK(1)", "'@x", "5.0")
    assert answered.headers["x-next-token"] == ""

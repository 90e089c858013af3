"""Traces over HTTP, from a real store."""

import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from sampan.collector.traces_api import jaeger_routes, routes
from sampan.model.errors import SampanError
from sampan.model.trace import Span
from sampan.store.database import Database, migrate, sqlite_url
from sampan.traces.store import TraceStore
from sampan.wire import errors
from tests.traces.samples import MS, REQUEST, START, TRACE, cold, span

OTHER = "ab" * 16
NOW = START / 1e9 + 60


@pytest.fixture
async def http(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    url = sqlite_url(tmp_path / "db" / "telemetry.db")
    migrate(url, "telemetry")
    database = Database(url)
    store = TraceStore(database, 3600, 100, lambda: NOW)
    store.add([*cold(), span(1, 0, "GET /", 1000, 1020, trace=OTHER, service="a/b", function="web")])
    await store.flush()

    def otlp(spans: Sequence[Span]) -> bytes:
        return json.dumps({"resourceSpans": [{"spans": len(spans)}]}).encode()

    async def refused(request: Request, error: Exception) -> Response:
        status, _, body = errors.answer(error, "1-2")
        return Response(body, status, media_type="application/json")

    app = Starlette(
        routes=[*routes(store, otlp), *jaeger_routes(store, lambda: NOW)], exception_handlers={SampanError: refused}
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://telemetry") as client:
        yield client
    await database.close()


async def get(http: httpx.AsyncClient, path: str, status: int = 200, **query: object) -> object:
    answer = await http.get(path, params={key: str(value) for key, value in query.items()} or None)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    return answer.json()


async def ids(http: httpx.AsyncClient, **query: object) -> list[str]:
    answer = await get(http, "/traces", **query)
    assert isinstance(answer, dict)
    return [each["traceId"] for each in answer["traces"]]


async def test_traces_are_listed_newest_first_in_pages(http: httpx.AsyncClient) -> None:
    first = await get(http, "/traces", limit=1)
    assert isinstance(first, dict)
    assert [each["traceId"] for each in first["traces"]] == [OTHER]
    rest = await get(http, "/traces", limit=1, nextToken=first["nextToken"])
    assert isinstance(rest, dict)
    (summary,) = rest["traces"]
    assert rest["nextToken"] is None
    assert summary["services"][0] == {"name": "pay", "spans": 3, "errors": 2}
    assert {key: summary[key] for key in ("function", "requestId", "start", "duration", "errors", "cold")} == {
        "function": "shop",
        "requestId": REQUEST,
        "start": START,
        "duration": 1204 * MS,
        "errors": 5,
        "cold": True,
    }


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"function": "shop"}, [TRACE]),
        ({"service": "a/b", "operation": "GET /"}, [OTHER]),
        ({"errors": "true"}, [TRACE]),
        ({"errors": "false"}, [OTHER]),
        ({"cold": "1"}, [TRACE]),
        ({"minDuration": "1s"}, [TRACE]),
        ({"maxDuration": "25ms"}, [OTHER]),
        ({"since": START / 1e9 + 0.5}, [OTHER]),
        ({"until": START / 1e9 + 0.5}, [TRACE]),
        ({"requestId": REQUEST}, [TRACE]),
        ({"attribute": "db.statement=SELECT * FROM item WHERE id = 7"}, [TRACE]),
    ],
)
async def test_each_parameter_finds_what_it_says(
    http: httpx.AsyncClient, query: dict[str, object], found: list[str]
) -> None:
    assert await ids(http, **query) == found


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=x", "errors=maybe", "since=-1", "since=nan", "minDuration=3", "attribute=x", "nextToken=!"],
)
async def test_a_parameter_that_is_none_is_refused_by_name(http: httpx.AsyncClient, query: str) -> None:
    answer = await http.get(f"/traces?{query}")
    assert answer.status_code == 400
    assert answer.json()["Code"] == "InvalidArgument"


async def test_a_trace_is_told_by_its_id_and_by_its_request(http: httpx.AsyncClient) -> None:
    by_id, by_request = await get(http, f"/traces/{TRACE}"), await get(http, f"/traces/{REQUEST}")
    assert by_id == by_request
    assert isinstance(by_id, dict)
    assert len(by_id["spans"]) == 116
    assert by_id["spans"][0]["kind"] == "server"
    assert by_id["spans"][0]["status"] == "error"
    assert await get(http, f"/traces/{TRACE}", format="otlp") == {"resourceSpans": [{"spans": 116}]}
    await get(http, f"/traces/{TRACE}", 400, format="xml")
    missing = await get(http, "/traces/1-none", 404)
    assert isinstance(missing, dict)
    assert missing["Code"] == "TraceNotFound"


async def test_jaegers_lists(http: httpx.AsyncClient) -> None:
    assert await get(http, "/api/services") == {
        "data": ["a/b", "pay", "postgres", "shop"],
        "total": 4,
        "limit": 0,
        "offset": 0,
        "errors": None,
    }
    names = await get(http, "/api/services/a%2Fb/operations")
    assert isinstance(names, dict)
    assert names["data"] == ["GET /"]
    kinds = await get(http, "/api/operations", service="pay", spanKind="server")
    assert isinstance(kinds, dict)
    assert kinds["data"] == [{"name": "pay", "spanKind": "server"}]
    calls = await get(http, "/api/dependencies", endTs=int(NOW * 1000), lookback=3_600_000)
    assert isinstance(calls, dict)
    assert calls["data"] == [
        {"parent": "shop", "child": "pay", "callCount": 1},
        {"parent": "shop", "child": "postgres", "callCount": 100},
    ]


async def test_jaegers_search_and_trace(http: httpx.AsyncClient) -> None:
    found = await get(http, "/api/traces", service="postgres", tags='{"error":"true"}', minDuration="1s")
    assert isinstance(found, dict)
    assert [(each["traceID"], len(each["spans"])) for each in found["data"]] == [(TRACE, 116)]
    one = await get(http, f"/api/traces/{TRACE[16:]}")
    assert isinstance(one, dict)
    assert one["data"] == found["data"]
    several = await http.get(f"/api/traces?traceID={OTHER}&traceID=ff")
    assert [each["traceID"] for each in several.json()["data"]] == [OTHER]
    assert several.json()["errors"] == [{"msg": "trace not found", "traceID": "ff"}]
    none = await get(http, "/api/traces", service="postgres", end=1)
    assert isinstance(none, dict)
    assert none["data"] == []


async def test_jaegers_search_leaves_out_what_is_too_much_and_says_so(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sampan.collector.traces_api.BYTES", 1000)
    found = await get(http, "/api/traces", service="shop")
    assert isinstance(found, dict)
    assert found["data"] == []
    assert [each["traceID"] for each in found["errors"]] == [TRACE]
    assert "fewer traces" in found["errors"][0]["msg"]


@pytest.mark.parametrize(
    ("path", "status", "told"),
    [
        ("/api/traces", 400, "service"),
        ("/api/traces?service=a&start=x", 400, "start"),
        ("/api/operations", 400, "service"),
        ("/api/operations?service=a&spanKind=odd", 400, "spanKind"),
        ("/api/traces/ffff", 404, "trace not found"),
        ("/api/dependencies?endTs=x", 400, "endTs"),
    ],
)
async def test_jaegers_errors_have_its_shape(http: httpx.AsyncClient, path: str, status: int, told: str) -> None:
    answer = await get(http, path, status)
    assert isinstance(answer, dict)
    assert answer["data"] is None
    (error,) = answer["errors"]
    assert error["code"] == status
    assert told in error["msg"]

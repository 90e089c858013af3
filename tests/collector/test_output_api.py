"""`/functions/{name}/logs`."""

import json
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from sampan.collector.output_api import routes
from sampan.link.reports import THERE
from sampan.model.errors import SampanError
from sampan.model.names import version_key
from sampan.output.levels import level_of
from sampan.output.lines import Line
from sampan.output.store import Batch, OutputStore
from sampan.store.database import Database, migrate, sqlite_url
from sampan.wire import errors

SECOND = 1_000_000_000
NOW = 1_700_000_000 * SECOND
PATH = "/functions/web/logs"


def line(text: str, ago: int, instance: str = "c-1", version: str = "LATEST", stream: str = "stdout") -> Line:
    return Line(NOW - ago * SECOND, instance, version_key("web", version, 1), stream, "1-a", level_of(text), text)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[OutputStore]:
    url = sqlite_url(tmp_path / "db" / "telemetry.db")
    migrate(url, "telemetry")
    database = Database(url)
    store = OutputStore(database, time.time_ns)
    lines = [
        line("hello", 300),
        line("ERROR bad", 200, stream="stderr"),
        line('{"level":"info","user":"ann"}', 100, "c-2", "3"),
    ]
    await store.commit([Batch("web", lines)])
    yield store
    await database.close()


def app(store: OutputStore) -> Starlette:
    def refused(request: Request, error: Exception) -> Response:
        status, _, body = errors.answer(error, "1-x")
        return Response(body, status)

    return Starlette(
        routes=routes(store, lambda: NOW),
        exception_handlers={SampanError: refused},
    )


@pytest.fixture
async def client(store: OutputStore) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app(store)), base_url="http://x") as client:
        yield client


async def told(client: httpx.AsyncClient, **query: str | list[str]) -> list[dict[str, Any]]:
    answer = await client.get(PATH, params=query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(each) for each in answer.text.splitlines()]


async def test_a_line_is_told_with_all_that_is_known_of_it(client: httpx.AsyncClient) -> None:
    assert (await told(client))[1] == {
        "time": "2023-11-14T22:10:00.000Z",
        "instance": "c-1",
        "version": "LATEST",
        "stream": "stderr",
        "requestId": "1-a",
        "level": "error",
        "text": "ERROR bad",
        "token": "2",
    }


@pytest.mark.parametrize(
    ("query", "tokens"),
    [
        ({"tail": "2"}, ["2", "3"]),
        ({"tail": "0"}, []),
        ({"after": "1"}, ["2", "3"]),
        ({"before": "3", "tail": "1"}, ["2"]),
        ({"instance": "c-2"}, ["3"]),
        ({"version": "3"}, ["3"]),
        ({"stream": "stderr"}, ["2"]),
        ({"since": "250s", "until": "2m"}, ["2"]),
        ({"since": "2023-11-14T22:11:40Z"}, ["3"]),
        ({"level": "WARN"}, ["2"]),
        ({"field": "user=ann"}, ["3"]),
        ({"field": ["user=ann", "level=warn"]}, []),
        ({"grep": "l+o"}, ["1"]),
        ({"request": "1-a", "grep": "bad"}, ["2"]),
        ({"request": "1-b"}, []),
    ],
)
async def test_what_is_asked_for_is_told(
    client: httpx.AsyncClient, query: dict[str, str | list[str]], tokens: list[str]
) -> None:
    assert [each["token"] for each in await told(client, **query)] == tokens


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ({"tail": "many"}, "tail"),
        ({"tail": "-1"}, "tail"),
        ({"after": "x"}, "the token of a line"),
        ({"stream": "stdin"}, "stdout or stderr"),
        ({"level": "loud"}, "trace, debug, info"),
        ({"since": "lately"}, "how long ago"),
        ({"field": "user"}, "name=value"),
        ({"field": [f"a{number}=b" for number in range(17)]}, "at most 16"),
        ({"grep": "("}, "regular expression"),
        ({"follow": "perhaps"}, "true or false"),
    ],
)
async def test_what_cannot_be_asked_is_refused_and_said(
    client: httpx.AsyncClient, query: dict[str, str | list[str]], says: str
) -> None:
    answer = await client.get(PATH, params=query)
    assert answer.status_code == 400
    assert answer.json()["Code"] == "InvalidArgument"
    assert says in answer.json()["Message"]


async def test_a_line_is_one_line_for_every_reader(client: httpx.AsyncClient, store: OutputStore) -> None:
    text = "a\x85b\u2028c\u2029d\x0be\x0cf\x1cg\r\0é"
    await store.commit([Batch("web", [line(text, 0)])])
    assert [each["text"] for each in await told(client, after="3")] == [text]


async def test_functions_and_instances_that_are_not_there_are_not_found(client: httpx.AsyncClient) -> None:
    for path, code in (
        ("/functions/none/logs", "FunctionNotFound"),
        (PATH + "?instance=c-9", "InstanceNotFound"),
    ):
        answer = await client.get(path)
        assert (answer.status_code, answer.json()["Code"]) == (404, code)
    silent = await client.get("/functions/silent/logs", headers={THERE: "yes"})
    assert (silent.status_code, silent.text) == (200, ""), "control knows what there is"
    assert (await client.get(PATH)).status_code == 200, "what it printed outlives it"


async def test_a_followed_log_goes_on_from_a_token_without_gap_or_repetition(store: OutputStore) -> None:
    seen: list[str] = []
    for number in range(4):
        after = seen[-1] if seen else "0"
        async with aclosing(followed(store, f"follow=true&after={after}")) as tokens:
            await store.commit([Batch("web", [line(f"new {number}", 0), line("more", 0)])])
            async for token in tokens:
                seen.append(token)
                if token == str(4 + 2 * number):
                    break
    assert seen == [str(token) for token in range(1, 11)]


async def test_a_follower_that_leaves_is_forgotten(store: OutputStore) -> None:
    async with aclosing(followed(store, "follow=true")) as tokens:
        assert await anext(tokens) == "1"
        assert store.followed("web")
    assert not store.followed("web")


async def followed(store: OutputStore, query: str) -> AsyncIterator[str]:
    """The tokens as they come."""
    scope = {
        "type": "http",
        "method": "GET",
        "path": PATH,
        "headers": [],
        "query_string": query.encode(),
        "path_params": {"name": "web"},
    }
    answer = await routes(store, lambda: NOW)[0].endpoint(Request(scope))
    assert isinstance(answer, StreamingResponse)
    body: Any = answer.body_iterator
    async with aclosing(body):
        async for piece in body:
            for each in piece.splitlines():
                if each:
                    yield json.loads(each)["token"]

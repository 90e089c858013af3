"""The platform in numbers, from both clients."""

import json

import pytest

from sampan.sdk import AsyncClient, Client, UnexpectedAnswer
from tests.sdk.loopback import KEY, Answer, Loopback

NOW, HISTORY = ("GET", "/sampan/v1/now"), ("GET", "/sampan/v1/history")
TOLD = {
    "time": 1.5,
    "totals": {"functions": 1, "rate": 2.0, "newer": "members are passed over"},
    "functions": [{"function": "web", "rate": 2.0, "p50": None, "recent": [1, 2]}],
}
POINT = {"time": 60, "calls": 3, "errors": {"client": 1}, "latency": {"p50": 0.1}, "bytesIn": 7}


def test_now_is_read_into_shapes(server: Loopback, client: Client) -> None:
    server.script[NOW] = Answer(200, TOLD)
    now = client.now(limit=5)
    assert server.asked[0].query == {"limit": "5"}
    assert (now.totals.functions, now.functions[0].function, now.functions[0].recent) == (1, "web", (1, 2))
    assert now.functions[0].p50 is None


def test_a_followed_view_comes_line_by_line(server: Loopback, client: Client) -> None:
    server.script[NOW] = Answer(200, b"".join(json.dumps({**TOLD, "time": at}).encode() + b"\n" for at in (1, 2)))
    assert [now.time for now in client.follow_now()] == [1, 2]


def test_a_line_that_is_none_is_told(server: Loopback, client: Client) -> None:
    server.script[NOW] = Answer(200, b"<html>\n")
    with pytest.raises(UnexpectedAnswer, match="live view"):
        list(client.follow_now())


def test_history_asks_for_what_is_given_and_nothing_else(server: Loopback, client: Client) -> None:
    server.script[HISTORY] = Answer(200, {"function": "a b", "step": 300, "points": [POINT]})
    series = client.history("a b", since=0.5, step=300)
    client.history()
    assert [asked.query for asked in server.asked] == [
        {"function": "a b", "since": "0.5", "step": "300"},
        {"step": "60"},
    ]
    [point] = series.points
    assert (point.calls, point.errors, point.latency, point.bytes_in) == (3, {"client": 1}, {"p50": 0.1}, 7)


def test_metrics_are_text(server: Loopback, client: Client) -> None:
    server.script["GET", "/sampan/v1/metrics"] = Answer(200, b"# TYPE up gauge\nup 1.0\n")
    assert client.metrics() == "# TYPE up gauge\nup 1.0\n"


async def test_the_async_client_has_the_same(server: Loopback) -> None:
    line = json.dumps(TOLD).encode() + b"\n"
    server.script[NOW] = [Answer(200, TOLD), Answer(200, line)]
    server.script[HISTORY] = Answer(200, {"step": 60, "points": []})
    async with AsyncClient(server.url, KEY.id, KEY.secret, environment={}) as sampan:
        assert (await sampan.now()).time == 1.5
        assert [now.time async for now in sampan.follow_now()] == [1.5]
        assert (await sampan.history()).points == ()

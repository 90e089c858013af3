"""What is telemetry's is passed on to the collector, and its answer back, both as they are."""

import asyncio
import http.client

import pytest

from sampan.api import passing
from sampan.link.reports import THERE
from sampan.model.errors import CollectorAway
from tests.api.collecting import END
from tests.api.raw import call, connect, create_web, send, signed

LOGS = "/sampan/v1/functions/web/logs"
PATIENCE = 30.0


@pytest.fixture
def collecting(api):
    api.run(api.collecting.start())
    return api.collecting


@pytest.fixture
def asked(api, clock):
    """Asks for a path and gives the answer, unread."""
    connections: list[http.client.HTTPConnection] = []

    def ask(target: str, **headers: str) -> http.client.HTTPResponse:
        connection = connect(api)
        connections.append(connection)
        connection.request("GET", target, None, signed(api, clock, "GET", target) | headers)
        return connection.getresponse()

    yield ask
    for connection in connections:
        connection.close()


@pytest.mark.parametrize(
    "rest",
    [
        "traces",
        "traces/0af7651916cd43dd8448eb211c80319c?format=otlp",
        "traces/a%2Fb%20c%7e",
        "traces?attribute=http.route%3D%2Fa%20b&attribute=x%3d1&attribute=x%3d1&empty=&bare",
        "traces?q=~a+b%2Bc%7E&'(*)!=;,&%C3%A9=%c3%a9&%FF=%ff",
        "usage?since=2025-01-01T00:00:00%2B02:00",
        "invocations?limit=5&nextToken=YQ==",
        "metrics?name[]=a&name[]=b",
        "history?to=1&from=2&from=1",
        "now?",
    ],
)
def test_path_and_query_arrive_as_they_were_signed(api, clock, collecting, rest):
    api.run(collecting.say(b"{}", END))
    assert call(api, clock, "GET", f"/sampan/v1/{rest}")[0] == 200
    [(target, _)] = collecting.asked
    assert target == f"/{rest}".removesuffix("?")


def test_a_functions_logs_are_asked_for_as_they_were(api, clock, collecting):
    create_web(api)
    api.run(collecting.say(b"{}", END))
    query = "?field=a%3D1&field=b%3D%26&grep=%5E%2B&tail=1"
    assert call(api, clock, "GET", LOGS + query)[0] == 200
    assert [target for target, _ in collecting.asked] == ["/functions/web/logs" + query]


def test_the_collector_is_told_that_a_function_exists_of_which_it_may_not_have_heard(api, clock, collecting):
    create_web(api)
    api.run(collecting.say(b"{}", END))
    call(api, clock, "GET", LOGS)
    api.run(collecting.say(b"{}", END))
    call(api, clock, "GET", LOGS.replace("/web/", "/gone/"))  # its output may be there still
    assert [headers.get(THERE) for _, headers in collecting.asked] == ["yes", None]


def test_the_collector_hears_of_what_is_wanted_and_nothing_of_who_wants_it(api, collecting, asked):
    api.run(collecting.say(b"x", END))
    asked("/sampan/v1/metrics", accept="application/openmetrics-text", cookie="a=b").read()
    [(_, headers)] = collecting.asked
    assert headers["accept"] == "application/openmetrics-text"
    assert headers["accept-encoding"] == "identity"
    assert {"authorization", "cookie", "x-acs-date"} & set(headers) == set()
    assert api.key.id not in str(headers)


def test_status_headers_and_body_come_back_as_they_are(api, collecting, asked):
    collecting.status = 404
    collecting.headers = [
        ("content-type", "text/plain; version=0.0.4"),
        ("cache-control", "no-store"),
        ("vary", "accept"),
        ("x-fc-request-id", "the collector's own"),
        ("set-cookie", "a=b"),
    ]
    body = bytes(range(256)) * 4000
    api.run(collecting.say(body[:100], body[100:500_000], body[500_000:], END))
    answer = asked("/sampan/v1/traces")
    assert (answer.status, answer.getheader("content-type")) == (404, "text/plain; version=0.0.4")
    assert (answer.getheader("cache-control"), answer.getheader("vary")) == ("no-store", "accept")
    assert answer.getheader("set-cookie") is None
    assert answer.getheader("x-fc-request-id") not in ("the collector's own", None)
    assert answer.read() == body


def test_a_redirect_is_an_answer_and_not_followed(api, collecting, asked):
    collecting.status, collecting.headers = 302, [("location", "http://127.0.0.1:1/")]
    api.run(collecting.say(END))
    assert asked("/sampan/v1/traces").status == 302
    assert len(collecting.asked) == 1


def test_a_followed_line_arrives_before_the_next_is_there(api, collecting, asked):
    create_web(api)
    api.run(collecting.say(b"one\n"))
    answer = asked(LOGS + "?follow=true")
    for line in (b"one\n", b"\n", b"three\n"):
        assert answer.readline() == line
        api.run(collecting.say({b"one\n": b"\n", b"\n": b"three\n", b"three\n": END}[line]))
    assert answer.readline() == b""


def test_who_leaves_a_followed_log_ends_the_collectors_side(api, collecting, asked):
    create_web(api)
    api.run(collecting.say(b"one\n"))
    answer = asked(LOGS + "?follow=true")
    assert answer.readline() == b"one\n"
    assert not collecting.left.is_set()
    answer.fp.raw._sock.close()  # what `close` of the connection leaves open while the answer is not read
    answer.close()
    assert collecting.left.wait(PATIENCE)


def test_an_answer_that_breaks_off_is_seen_to_break_off(api, collecting, asked, caplog):
    create_web(api)
    api.run(collecting.say(b"one\n"))
    answer = asked(LOGS + "?follow=true")
    assert answer.readline() == b"one\n"
    api.run(collecting.stop())
    with pytest.raises(http.client.IncompleteRead):
        answer.read()
    assert "in the middle of an answer" in caplog.text
    assert "Traceback" not in caplog.text


def test_a_collector_that_is_away_is_a_503_that_says_what_to_do(api, clock, collecting):
    create_web(api)
    for ending in (None, collecting.stop):
        if ending:
            api.run(ending())
            for target in ("/sampan/v1/traces", LOGS):
                status, _, body = call(api, clock, "GET", target)
                assert (status, body["Code"]) == (503, "ServiceUnavailable")
                assert "try again" in body["Message"]
                assert "sampan status" in body["Message"]
        else:
            api.run(collecting.say(b"{}", END))
            assert call(api, clock, "GET", "/sampan/v1/traces")[0] == 200
    assert call(api, clock, "GET", "/sampan/v1/functions/web")[0] == 200, "what the catalog knows it tells"


def test_a_collector_that_was_restarted_is_asked_anew(api, clock, collecting):
    for _ in range(3):
        api.run(collecting.say(b"{}", END))
        assert call(api, clock, "GET", "/sampan/v1/now")[0] == 200
        api.run(collecting.stop())
        api.run(collecting.start())


def test_the_log_of_a_function_that_was_deleted_is_the_collectors_to_tell(api, clock, collecting):
    api.run(collecting.say(b"{}", END))
    assert call(api, clock, "GET", LOGS)[0] == 200
    assert [target for target, _ in collecting.asked] == ["/functions/web/logs"]


def test_that_there_is_no_such_function_is_known_without_the_collector(api, clock):
    status, _, body = call(api, clock, "GET", LOGS)
    assert (status, body["Code"]) == (404, "FunctionNotFound")


@pytest.mark.parametrize("path", ["traces", "traces/1", "usage", "invocations", "metrics", "history", "now"])
def test_what_is_not_signed_never_reaches_the_collector(api, clock, collecting, path):
    target = f"/sampan/v1/{path}"
    assert send(api, "GET", target, {})[0] in (400, 403)
    assert send(api, "GET", target + "?x=1", signed(api, clock, "GET", target))[0] == 403
    assert send(api, "POST", target, signed(api, clock, "POST", target))[2]["Code"] == "PathNotSupported"
    assert collecting.asked == []


def test_unsigned_calls_for_logs_never_reach_the_collector(api, collecting):
    create_web(api)
    assert send(api, "GET", LOGS, {})[0] in (400, 403)
    assert collecting.asked == []


@pytest.mark.parametrize("hangs", [False, True])
async def test_a_collector_that_hangs_is_told_of_long_before_one_that_is_slow(tmp_path, monkeypatch, hangs):
    """One that is slow says at once that it is there, and is waited for."""
    monkeypatch.setattr(passing, "LOOK", 0.05)
    monkeypatch.setattr(passing, "PATIENCE", 1.0)
    connections = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(asyncio.current_task())
        head = await reader.readuntil(b"\r\n\r\n")
        if hangs:
            await reader.read()  # to the end: as if it were stopped
        elif head.startswith(b"GET"):
            await asyncio.sleep(0.5)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        writer.close()

    collector = passing.Collector(tmp_path / "collector")
    async with asyncio.timeout(PATIENCE), await asyncio.start_unix_server(answer, tmp_path / "collector"):
        if hangs:
            with pytest.raises(CollectorAway):
                await collector.ask("/traces", "")
        else:
            assert (await collector.ask("/traces", "")).status == 200
        await collector.aclose()
        await asyncio.gather(*connections)
    assert len(connections) > 1, "it was looked whether it answers"

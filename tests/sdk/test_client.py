import base64
import inspect
import json

import pytest

from sampan.sdk import (
    AlreadyExists,
    ApiError,
    AsyncClient,
    Client,
    Conflict,
    Denied,
    InvalidCall,
    InvalidRequest,
    NotFound,
    PlatformFailed,
    SdkError,
    StartFailed,
    Throttled,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
    shapes,
)
from sampan.sdk.client import Operations
from sampan.sdk.errors import api_error
from tests.sdk.loopback import KEY, Answer, Loopback, function, refusal

ROOT = "/2023-03-30/functions"


def test_creating_sends_the_shape_and_reads_the_function(server: Loopback, client: Client) -> None:
    server.script["POST", ROOT] = Answer(201, function(state="Pending"))
    container = shapes.CustomContainerConfig(image="localhost:5000/web:1", port=8080)
    made = client.create_function(
        shapes.CreateFunctionInput(function_name="web", custom_container_config=container)
    )
    assert (made.function_name, made.state) == ("web", "Pending")
    asked = server.asked[0]
    assert asked.headers["x-acs-action"] == "CreateFunction"
    assert asked.json == {
        "functionName": "web",
        "runtime": "custom-container",
        "handler": "index.handler",
        "customContainerConfig": {"image": "localhost:5000/web:1", "port": 8080},
    }


def test_an_empty_name_asks_for_nothing_else(server: Loopback, client: Client) -> None:
    for ask in (client.trace, client.get_function, client.delete_function):
        with pytest.raises(InvalidCall, match="is empty"):
            ask("")
    assert server.asked == []


def test_a_name_with_odd_signs_stays_one_segment_and_is_signed_so(server: Loopback, client: Client) -> None:
    server.script["GET", f"{ROOT}/a%2Fb%20%24c"] = Answer(200, function("odd"))
    assert client.get_function("a/b $c", "my alias").function_name == "odd"
    assert server.asked[0].query == {"qualifier": "my alias"}


def test_a_listing_goes_through_all_pages_as_it_is_used(server: Loopback, client: Client) -> None:
    pages = [{"functions": [function("a"), function("b")], "nextToken": "t+/="}, {"functions": [function("c")]}]
    server.script["GET", ROOT] = [Answer(200, page) for page in pages]
    listing = client.list_functions(prefix="x", page_size=2)
    assert next(listing).function_name == "a"
    assert len(server.asked) == 1
    assert [each.function_name for each in listing] == ["b", "c"]
    assert [each.query.get("nextToken") for each in server.asked] == [None, "t+/="]
    assert server.asked[1].query["prefix"] == "x"


def test_an_invocation_brings_body_log_and_figures(server: Loopback, client: Client) -> None:
    headers = {
        "x-fc-request-id": "1-a",
        "x-fc-log-result": base64.b64encode("gearbeitet ✓".encode()).decode(),
        "x-fc-invocation-duration": "12.5",
        "x-fc-instance-id": "c-1",
    }
    server.script["POST", f"{ROOT}/web/invocations"] = Answer(200, b"\x00\xff", headers)
    result = client.invoke("web", b"\x01", qualifier="prod", log=True)
    assert (result.body, result.log, result.duration_ms, result.instance) == (
        b"\x00\xff",
        "gearbeitet ✓",
        12.5,
        "c-1",
    )
    assert not result.failed
    asked = server.asked[0]
    assert (asked.body, asked.query["qualifier"], asked.headers["x-fc-log-type"]) == (b"\x01", "prod", "Tail")


def test_a_failed_function_is_a_result_and_no_exception(server: Loopback, client: Client) -> None:
    answer = Answer(200, b"{}", {"x-fc-request-id": "1-a", "x-fc-error-type": "UnhandledInvocationError"})
    server.script["POST", f"{ROOT}/web/invocations"] = answer
    assert client.invoke("web").error_type == "UnhandledInvocationError"


def test_a_functions_own_url_is_called_signed_and_its_status_is_its_own(server: Loopback, client: Client) -> None:
    server.script["POST", "/fn/web:prod/users/%C3%BC"] = Answer(418, b"short and stout", {"x-own": "1"})
    reply = client.http(
        "web", "post", "/users/ü", qualifier="prod", query={"q": "a b&c"}, body="x", headers={"X-A": "b"}
    )
    assert (reply.status, reply.text, reply.headers["x-own"]) == (418, "short and stout", "1")
    asked = server.asked[0]
    assert (asked.query, asked.body, asked.headers["x-a"]) == ({"q": "a b&c"}, b"x", "b")
    assert "x-acs-action" not in asked.headers


def test_logs_come_line_by_line_and_signs_of_life_are_skipped(server: Loopback, client: Client) -> None:
    lines = [
        {
            "time": "2026-01-02T03:04:05.6Z",
            "instance": "c-1",
            "version": "LATEST",
            "stream": "stderr",
            "requestId": "1-a",
            "text": text,
        }
        for text in ("eins", "zwei")
    ]
    body = "\n".join([json.dumps(lines[0]), "", json.dumps(lines[1]), ""]).encode()
    server.script["GET", "/sampan/v1/functions/web/logs"] = Answer(200, body)
    assert [(each.text, each.request_id) for each in client.logs("web", follow=True, tail=5)] == [
        ("eins", "1-a"),
        ("zwei", "1-a"),
    ]
    assert server.asked[0].query == {"follow": "true", "tail": "5"}


def test_what_logs_are_asked_for_is_sent(server: Loopback, client: Client) -> None:
    line = {"time": "t", "instance": "c-1", "text": "x", "level": "error", "token": "7"}
    server.script["GET", "/sampan/v1/functions/web/logs"] = Answer(200, json.dumps(line).encode() + b"\n")
    found = client.logs(
        "web",
        version="3",
        stream="stderr",
        request="1-a",
        level="warning",
        since="15m",
        until="2026-11-27T10:00:00+01:00",
        fields={"user": "a&b=c"},
        grep="a+b",
        after="6",
        before="9",
    )
    assert [(each.level, each.token) for each in found] == [("error", "7")]
    assert server.asked[0].query == {
        "version": "3",
        "stream": "stderr",
        "request": "1-a",
        "level": "warning",
        "since": "15m",
        "until": "2026-11-27T10:00:00+01:00",
        "field": "user=a&b=c",
        "grep": "a+b",
        "after": "6",
        "before": "9",
    }


def test_a_refused_stream_raises_its_error(server: Loopback, client: Client) -> None:
    server.script["GET", "/sampan/v1/functions/web/logs"] = refusal(404, "FunctionNotFound")
    with pytest.raises(NotFound):
        list(client.logs("web"))


def test_tags_are_sent_as_the_api_spells_them(server: Loopback, client: Client) -> None:
    server.script["POST", "/2023-03-30/tags-v2"] = Answer(204)
    server.script["DELETE", "/2023-03-30/tags-v2"] = Answer(204)
    client.tag("acs:fc:local:1:functions/web", {"team": "a"})
    client.untag("acs:fc:local:1:functions/web", ("team",))
    assert server.asked[0].json["Tag"] == [{"Key": "team", "Value": "a"}]
    assert json.loads(server.asked[1].query["TagKey"]) == ["team"]


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "InvalidArgument", InvalidRequest),
        (403, "SignatureNotMatch", Denied),
        (404, "FunctionNotFound", NotFound),
        (409, "ConcurrentUpdateError", Conflict),
        (409, "AliasAlreadyExists", AlreadyExists),
        (412, "CAExited", StartFailed),
        (412, "PreconditionFailed", Conflict),
        (429, "ResourceExhausted", Throttled),
        (500, "InternalServerError", PlatformFailed),
        (503, "ResourceThrottled", Unavailable),
        (418, "Teapot", InvalidRequest),
    ],
)
def test_every_refusal_has_its_family(status: int, code: str, kind: type[ApiError]) -> None:
    assert type(api_error(code, status, "why")) is kind


@pytest.mark.parametrize("body", [b"<html>502</html>", b"", b"[]", b'{"a":1}', b'"text"'])
def test_an_error_that_is_none_of_the_api_is_told_so(server: Loopback, client: Client, body: bytes) -> None:
    server.script["GET", f"{ROOT}/web"] = Answer(502, body)
    with pytest.raises(UnexpectedAnswer):
        client.get_function("web")


def test_a_good_status_with_a_strange_body_is_told_so(server: Loopback, client: Client) -> None:
    server.script["GET", f"{ROOT}/web"] = Answer(200, b"hello")
    with pytest.raises(UnexpectedAnswer, match="Function"):
        client.get_function("web")


async def test_the_async_client_is_the_same_text_awaited(server: Loopback) -> None:
    server.script["GET", f"{ROOT}/web"] = [
        refusal(503, "ResourceThrottled", **{"retry-after": "0"}),
        Answer(200, function()),
    ]
    server.script["GET", ROOT] = [
        Answer(200, {"functions": [function("a")], "nextToken": "b"}),
        Answer(200, {"functions": [function("b")]}),
    ]
    server.script["GET", "/sampan/v1/functions/web/logs"] = Answer(
        200, b'{"time":"t","instance":"c-1","text":"x"}\n'
    )
    server.script["GET", f"{ROOT}/gone"] = refusal(404, "FunctionNotFound")
    async with AsyncClient(server.url, KEY.id, KEY.secret, environment={}) as client:
        assert (await client.get_function("web")).function_name == "web"
        assert [each.function_name async for each in client.list_functions()] == ["a", "b"]
        assert [each.text async for each in client.logs("web")] == ["x"]
        with pytest.raises(NotFound):
            await client.get_function("gone")


def test_every_method_says_what_it_does_and_shows_its_parameters() -> None:
    client = Client("http://127.0.0.1:1", "a", "b", environment={})
    names = [name for name in vars(Operations) if not name.startswith("_")]
    assert len(names) > 35
    for name in names:
        method = getattr(client, name)
        assert method.__doc__, name
        assert "token" not in inspect.signature(method).parameters, name
    client.close()


@pytest.mark.parametrize("endpoint", ["http://[", "http://a:port", "http://h\x00st"])
def test_an_endpoint_that_is_no_url_is_refused_in_words(endpoint: str) -> None:
    with Client(endpoint, "a", "b", environment={}) as client, pytest.raises(SdkError):
        client.get_function("web")


def test_a_header_that_cannot_be_sent_is_refused_in_words(client: Client) -> None:
    with pytest.raises(InvalidCall):
        client.invoke("web", headers={"x-a": "✓"})


def test_an_answer_packed_wrongly_is_no_crash(server: Loopback, client: Client) -> None:
    server.script["GET", f"{ROOT}/web"] = Answer(200, b"not gzip", {"content-encoding": "gzip"})
    with pytest.raises(Unreachable):
        client.get_function("web")


def test_instances_go_on_behind_the_last_id(server: Loopback, client: Client) -> None:
    def instance(number: int) -> dict[str, object]:
        return {
            "instanceId": f"c-{number}",
            "versionId": "0",
            "qualifier": "LATEST",
            "status": "Running",
            "createdTimeMs": 1,
        }

    pages = [[instance(1), instance(2)], [instance(3)]]
    server.script["GET", f"{ROOT}/web/instances"] = [
        Answer(200, {"instances": page, "requestId": "1"}) for page in pages
    ]
    assert [each.instance_id for each in client.list_instances("web", page_size=2)] == ["c-1", "c-2", "c-3"]
    assert [each.query.get("startKey") for each in server.asked] == [None, "c-2"]

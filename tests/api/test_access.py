"""Who is let in, and what everybody is answered."""

import pytest

from sampan.api.app import MAX_BODY
from tests.api.raw import call, connect, create_web, send, signed

LIST = "/2023-03-30/functions"


def test_a_signed_call_is_answered_with_a_request_id(api, clock):
    status, headers, body = call(api, clock, "GET", LIST)
    assert (status, body) == (200, {"functions": []})
    assert headers["x-fc-request-id"].startswith("1-")


@pytest.mark.parametrize("target", [LIST, "/sampan/v1/status", "/", "/nowhere", "/a%0Ab"])
def test_an_unsigned_call_is_refused_whatever_it_asks_for(api, target):
    status, headers, body = send(api, "GET", target, {})
    assert status in (400, 404)
    assert body["Code"] in ("MissingRequiredHeader", "PathNotSupported")
    assert body["RequestId"] == headers["x-fc-request-id"]


def test_an_expired_call_is_refused(api, clock):
    headers = signed(api, clock, "GET", LIST)
    clock.now += 901
    assert send(api, "GET", LIST, headers)[2]["Code"] == "RequestTimeTooSkewed"


def test_a_replayed_call_is_refused(api, clock):
    headers = signed(api, clock, "GET", LIST)
    assert send(api, "GET", LIST, headers)[0] == 200
    status, _, body = send(api, "GET", LIST, headers)
    assert (status, body["Code"]) == (403, "SignatureNonceUsed")


def test_a_body_that_was_changed_on_the_way_is_refused(api, clock):
    headers = signed(api, clock, "POST", LIST, b'{"functionName":"a"}')
    status, _, body = send(api, "POST", LIST, headers, b'{"functionName":"b"}')
    assert (status, body["Code"]) == (403, "SignatureNotMatch")


def test_a_path_that_was_changed_on_the_way_is_refused(api, clock):
    status, _, body = send(api, "GET", LIST + "/x", signed(api, clock, "GET", LIST))
    assert (status, body["Code"]) == (403, "SignatureNotMatch")


def test_a_body_over_the_limit_is_refused_before_it_is_read(api, clock):
    headers = signed(api, clock, "POST", LIST) | {"content-length": str(MAX_BODY + 1)}
    connection = connect(api)
    connection.request("POST", LIST, None, headers)
    answer = connection.getresponse()
    assert answer.status == 400
    assert b"EntityTooLarge" in answer.read()
    connection.close()


def test_nobody_without_a_key_gets_a_body_read(api):
    connection = connect(api)
    connection.request("POST", LIST, None, {"content-length": str(MAX_BODY)})
    assert connection.getresponse().status == 400
    connection.close()


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff", b'{"cpu":"much"}', b'{"functionName":null}', b""])
def test_a_body_that_makes_no_sense_is_the_callers_mistake(api, clock, body):
    status, _, answer = call(api, clock, "POST", LIST, body)
    assert (status, answer["Code"]) == (400, "InvalidArgument")


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "limit=1e3", "tags=x", "tags={}", "nextToken=a"])
def test_a_query_that_makes_no_sense_is_the_callers_mistake(api, clock, query):
    status, _, answer = call(api, clock, "GET", f"{LIST}?{query}")
    assert (status, answer["Code"]) == (400, "InvalidArgument")


@pytest.mark.parametrize(
    ("method", "target", "code"),
    [
        ("GET", "/", "PathNotSupported"),
        ("PATCH", LIST, "PathNotSupported"),
        ("OPTIONS", LIST, "PathNotSupported"),
        ("POST", "/sampan/v1/status", "PathNotSupported"),
        ("GET", "/sampan/v1/functions/", "PathNotSupported"),
        ("GET", "/a%0Ab", "PathNotSupported"),
        ("POST", "/2023-03-30/functions/web/invocations", "NotSupported"),
    ],
)
def test_a_path_that_leads_nowhere_is_said_so(api, clock, method, target, code):
    status, _, body = call(api, clock, method, target)
    assert (status, body["Code"]) == (400, code)


def test_no_answer_holds_a_secret(api, clock):
    body = (
        b'{"functionName":"web","runtime":"custom-container","handler":"x","customContainerConfig":{"image":"a",'
        b'"registryConfig":{"authConfig":{"userName":"me","password":"hush"}}}}'
    )
    made = call(api, clock, "POST", LIST, body)
    api.roll_out()
    targets = (f"{LIST}/web", LIST, "/sampan/v1/functions/web", "/sampan/v1/status", "/sampan/v1/images")
    answers = [made, *(call(api, clock, "GET", target) for target in targets)]
    assert {status for status, _, _ in answers} == {200}
    assert "hush" not in str(answers)
    assert api.key.secret not in str(answers)


def test_a_calls_own_members_are_ignored_when_unknown(api, clock):
    create_web(api)
    assert (
        call(api, clock, "PUT", f"{LIST}/web", b'{"newInAMonth":{"a":1},"description":"d"}')[2]["description"]
        == "d"
    )

"""InvokeFunction: function-compute-api.md §6."""

import asyncio
import base64

import msgspec
import pytest

from sampan.link.messages import Refuse, TailWanted
from sampan.model.access import AccessKey
from sampan.model.errors import Failure, FailureKind
from sampan.model.invocation import Outcome
from tests.gateway.conftest import MakeStage
from tests.gateway.stage import KEY, Request, read_body, reply

R, W = asyncio.StreamReader, asyncio.StreamWriter


async def test_an_event_is_posted_and_only_the_body_comes_back(stage: MakeStage) -> None:
    s = await stage()

    async def play(request: Request, reader: R, writer: W) -> None:
        await read_body(request, reader)
        writer.write(reply(b"result", "500 Oops", "X-Mine: 1", "Content-Type: text/plain"))

    function = await s.serve(play, trigger=False)
    answer = await s.invoke(b"event", x_other="no", traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01")
    seen = function.requests[0]
    assert (seen.line, seen.body) == ("POST /invoke HTTP/1.1", b"event")
    assert seen["x-fc-control-path"] == "/invoke"
    assert seen["content-type"] == "application/octet-stream"
    assert seen["host"] == f"127.0.0.1:{function.port}"
    assert seen["traceparent"].startswith("00-aaaa")
    assert not {"x-other", "authorization", "x-acs-date"} & {name.lower() for name, _ in seen.headers}
    assert (answer.status, answer.body) == (200, b"result")
    assert not {"x-mine", "x-fc-error-type"} & {name.lower() for name, _ in answer.headers}
    assert answer["content-type"] == "application/octet-stream"
    assert answer["x-fc-request-id"] == seen["x-fc-request-id"]
    assert answer["x-fc-instance-id"].startswith("c-")
    assert answer["x-fc-invocation-function-version"] == "latest"
    assert int(answer["x-fc-invocation-duration"]) >= 0
    assert (await s.record()).outcome is Outcome.OK


async def test_a_function_that_says_it_failed_is_believed(stage: MakeStage) -> None:
    s = await stage()

    async def play(request: Request, reader: R, writer: W) -> None:
        writer.write(reply(b"{}", "200 OK", "x-fc-status: 404"))

    await s.serve(play)
    answer = await s.invoke()
    assert (answer.status, answer["x-fc-error-type"], answer.body) == (200, "UnhandledInvocationError", b"{}")
    assert (await s.record()).outcome is Outcome.FUNCTION_ERROR


@pytest.mark.parametrize(
    ("hang", "message"), [(False, "The function closed the connection"), (True, "Function time out after")]
)
async def test_a_function_that_breaks_is_told_with_200(stage: MakeStage, hang: bool, message: str) -> None:
    s = await stage()

    async def play(request: Request, reader: R, writer: W) -> None:
        if hang:
            await reader.read(1)
        writer.close()

    await s.serve(play, timeout=0.1 if hang else 10.0)
    answer = await s.invoke()
    assert (answer.status, answer["x-fc-error-type"]) == (200, "UnhandledInvocationError")
    assert msgspec.json.decode(answer.body)["errorMessage"].startswith(message)


@pytest.mark.parametrize(
    ("kind", "status", "name"),
    [(FailureKind.INITIALIZER_FAILED, 200, "InitializationError"), (FailureKind.EXITED, 412, "CAExited")],
)
async def test_a_start_that_fails_is_told(stage: MakeStage, kind: FailureKind, status: int, name: str) -> None:
    s = await stage()
    await s.route()
    s.on_want = lambda want: s.tell(Refuse(want.version, failure=Failure(kind, "it broke", "last line")))
    answer = await s.invoke()
    assert answer.status == status
    assert name.encode() in answer.body
    assert b"it broke" in answer.body
    if status == 200:
        assert answer["x-fc-error-type"] == name


async def test_the_log_tail_comes_with_the_answer(stage: MakeStage) -> None:
    s = await stage()
    s.log = "FC Invoke Start RequestId: 1\nhello\nFC Invoke End RequestId: 1\n"
    await s.serve()
    answer = await s.invoke(x_fc_log_type="Tail")
    text = base64.b64decode(answer["x-fc-log-result"]).decode()
    assert text.startswith("FC Invoke Start RequestId: 1\r\nhello\r\nFC Invoke End RequestId: 1\r\n\nDuration: ")
    assert "Memory Size: 512 MB" in text
    assert [wanted.since for wanted in s.said(TailWanted)] == [None, (len(s.log), 0)]


async def test_no_log_tail_of_an_instance_that_serves_several_at_once(stage: MakeStage) -> None:
    s = await stage()
    await s.serve(slots=2)
    assert "x-fc-log-result" not in await s.invoke(x_fc_log_type="Tail")
    assert not s.said(TailWanted)


@pytest.mark.parametrize(
    ("key", "code"),
    [
        (AccessKey("LTAI-other", "s3cret", "1"), "InvalidAccessKeyID"),
        (AccessKey(KEY.id, "wrong", "1"), "SignatureNotMatch"),
    ],
)
async def test_a_call_by_a_stranger_is_refused(stage: MakeStage, key: AccessKey, code: str) -> None:
    s = await stage()
    function = await s.serve()
    answer = await s.invoke(b"event", key=key)
    assert (answer.status, msgspec.json.decode(answer.body)["Code"]) == (403, code)
    assert not function.requests


async def test_a_body_other_than_the_signed_one_is_refused(stage: MakeStage) -> None:
    s = await stage()
    function = await s.serve()
    answer = await s.invoke(b"event", content_length="6")
    assert answer.status in (400, 403)
    assert not function.requests


async def test_an_event_over_the_limit_is_refused(stage: MakeStage) -> None:
    s = await stage(max_event=1000)
    await s.serve()
    assert b"EntityTooLarge" in (await s.invoke(b"x" * 1001)).body
    assert (await s.invoke(b"x" * 1000)).status == 200


async def test_an_asynchronous_event_is_not_accepted(stage: MakeStage) -> None:
    s = await stage()
    await s.serve()
    answer = await s.invoke(x_fc_invocation_type="Async")
    assert (answer.status, msgspec.json.decode(answer.body)["Code"]) == (400, "NotSupported")


@pytest.mark.parametrize(
    ("function", "query", "code"),
    [
        ("nobody", "", "FunctionNotFound"),
        ("web", "?qualifier=7", "VersionNotFound"),
        ("web", "?qualifier=prod", "AliasNotFound"),
    ],
)
async def test_what_does_not_exist_is_named(stage: MakeStage, function: str, query: str, code: str) -> None:
    s = await stage()
    await s.serve()
    answer = await s.invoke(function=function, query=query)
    assert (answer.status, msgspec.json.decode(answer.body)["Code"]) == (404, code)

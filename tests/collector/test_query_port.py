"""The port for other people's tools asks for an access key by HTTP Basic authentication. Source: RFC 7617."""

import base64
import logging

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from sampan.collector import query_port
from sampan.model.access import AccessKey

KEYS = {
    "LTAI-a": AccessKey("LTAI-a", "s3cret:with colon", "1"),
    "LTAI-é": AccessKey("LTAI-é", "geheim-ü", "1"),
    "": AccessKey("", "nobody's", "1"),
}


async def _traces(request: Request) -> PlainTextResponse:
    return PlainTextResponse("told")


@pytest.fixture
async def client():
    app = query_port.app([Route("/api/traces", _traces)], KEYS.get)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://query") as asking:
        yield asking


def basic(user: str, password: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


async def test_who_has_a_key_is_let_in(client: httpx.AsyncClient) -> None:
    for key in (KEYS["LTAI-a"], KEYS["LTAI-é"]):
        answer = await client.get("/api/traces", headers=basic(key.id, key.secret))
        assert (answer.status_code, answer.text) == (200, "told")
    odd = basic("LTAI-a", "s3cret:with colon")["authorization"].replace("Basic ", "bASIC   ")
    assert (await client.get("/api/traces", headers={"authorization": odd})).status_code == 200, "RFC 7235 §2.1"


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Basic",
        "Basic ",
        "Basic !!!",
        "Basic " + base64.b64encode(b"\xff\xfe:\xff").decode(),
        "Basic " + base64.b64encode(b"LTAI-a").decode(),
        "Basic " + base64.b64encode(b"LTAI-a:").decode(),
        "Basic " + base64.b64encode(b"LTAI-a:s3cret").decode(),
        "Basic " + base64.b64encode(b"LTAI-a:s3cret:with colon ").decode(),
        "Basic " + base64.b64encode("LTAI-a:•••".encode()).decode(),
        "Basic " + base64.b64encode(b"LTAI-b:s3cret:with colon").decode(),
        "Basic " + base64.b64encode(b"ltai-a:s3cret:with colon").decode(),
        "Basic " + base64.b64encode(b":").decode(),
        "Basic LTAI-a:s3cret:with colon",
        "Bearer " + base64.b64encode(b"LTAI-a:s3cret:with colon").decode(),
        base64.b64encode(b"LTAI-a:s3cret:with colon").decode(),
        "Basic " + "A" * 60_000,
    ],
)
async def test_nobody_else_is(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture, authorization: str
) -> None:
    caplog.set_level(logging.DEBUG, "sampan")
    for path in ("/api/traces", "/nowhere"):
        answer = await client.get(path, headers={"authorization": authorization})
        assert answer.status_code == 401, path
        assert answer.headers["www-authenticate"] == 'Basic realm="sampan", charset="UTF-8"'
        assert "access key" in answer.text
        assert "sampan config" in answer.text
        assert not [word for word in ("LTAI", "s3cret", "told") if word in answer.text + caplog.text]


async def test_bytes_that_are_no_text_are_refused_like_any_other(client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/traces", headers=[(b"authorization", b"Basic \xff\xfe\xfd")])
    assert answer.status_code == 401


async def test_a_path_that_is_none_says_what_there_is(client: httpx.AsyncClient) -> None:
    answer = await client.get("/", headers=basic("LTAI-a", "s3cret:with colon"))
    assert answer.status_code == 404
    assert "/metrics" in answer.text


async def test_a_key_that_was_taken_back_opens_nothing(client: httpx.AsyncClient) -> None:
    keys = dict(KEYS)
    app = query_port.app([Route("/api/traces", _traces)], keys.get)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://query") as asking:
        headers = basic("LTAI-a", "s3cret:with colon")
        assert (await asking.get("/api/traces", headers=headers)).status_code == 200
        del keys["LTAI-a"]
        assert (await asking.get("/api/traces", headers=headers)).status_code == 401

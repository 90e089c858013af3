"""What pages of other origins are told, over real sockets. Source: triggers.md §3; the Fetch standard §3.2."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.gateway.cors import ANYBODY, Policy, prepare
from sampan.link.messages import DomainChanged
from sampan.model.domain import Domain, PathRoute
from sampan.model.trigger import AuthType, Bearer, Cors
from tests.gateway.conftest import MakeStage
from tests.gateway.stage import Request, read_body, reply

R, W = asyncio.StreamReader, asyncio.StreamWriter
APP, OTHER = "https://app.example.org", "https://other.example.org"
RULES = Cors(
    origins=(APP, "http://localhost:3000"),
    methods=("GET", "PUT"),
    headers=("X-Token", "Content-Type"),
    exposed=("X-Total",),
    credentials=True,
    max_age=600,
)


def cors_of(answer: Request) -> dict[str, str]:
    return {n.lower(): v for n, v in answer.headers if n.lower().startswith("access-control-")}


def asking(method: str = "PUT", headers: str = "", origin: str = APP) -> dict[str, str]:
    asked = {"Access-Control-Request-Headers": headers} if headers else {}
    return {"Origin": origin, "Access-Control-Request-Method": method} | asked


async def test_a_matching_preflight_is_answered_here(stage: MakeStage) -> None:
    s = await stage()
    function = await s.serve(cors=RULES, methods=("GET", "PUT"), auth=AuthType.FUNCTION)
    answer = await s.call("OPTIONS", "/a", **asking(headers="x-token, content-type"))
    assert answer.status == 204
    assert cors_of(answer) == {
        "access-control-allow-origin": APP,
        "access-control-allow-credentials": "true",
        "access-control-allow-methods": "GET, PUT",
        "access-control-allow-headers": "x-token, content-type",
        "access-control-max-age": "600",
    }
    assert answer["vary"] == "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"
    assert answer["x-fc-request-id"]
    assert "content-length" not in answer
    assert not function.requests
    assert not s.records()


async def test_a_preflight_wakes_nobody_and_its_connection_goes_on(stage: MakeStage) -> None:
    s = await stage()
    await s.route(cors=RULES)
    client = await s.client()
    for _ in range(2):
        assert (await client.call("OPTIONS", "/", **asking())).status == 204
    assert not s.heard[1:]


@pytest.mark.parametrize(
    "asked",
    [
        asking(origin=OTHER),
        asking(origin="null"),
        asking(origin=APP + ".evil.org"),
        asking(origin="http://app.example.org"),
        asking(method="DELETE"),
        asking(method="put"),
        asking(headers="x-token, x-other"),
        {"Origin": APP},
        {"Access-Control-Request-Method": "PUT"},
        {},
    ],
)
async def test_any_other_preflight_is_the_functions_to_answer(stage: MakeStage, asked: dict[str, str]) -> None:
    s = await stage()
    function = await s.serve(cors=RULES)
    assert (await s.call("OPTIONS", "/", **asked)).body == b"OPTIONS / "
    assert function.requests[0].method == "OPTIONS"


async def test_a_preflight_that_neither_answers_is_refused(stage: MakeStage) -> None:
    s = await stage()
    await s.serve(cors=RULES, methods=("GET",))
    answer = await s.call("OPTIONS", "/", **asking(origin=OTHER))
    assert (answer.status, cors_of(answer)) == (405, {})


async def test_a_url_that_is_switched_off_answers_no_preflight(stage: MakeStage) -> None:
    s = await stage()
    await s.serve(cors=RULES, url_disabled=True)
    assert (await s.call("OPTIONS", "/", **asking())).status == 403


async def test_an_answer_tells_an_allowed_page_and_nobody_else(stage: MakeStage) -> None:
    s = await stage()
    await s.serve(cors=RULES)
    allowed, other, none = [await s.call(**o) for o in ({"Origin": APP}, {"Origin": OTHER}, {})]
    assert cors_of(allowed) == {
        "access-control-allow-origin": APP,
        "access-control-allow-credentials": "true",
        "access-control-expose-headers": "X-Total",
    }
    assert cors_of(other) == cors_of(none) == {}
    assert allowed["vary"] == other["vary"] == none["vary"] == "Origin"


async def test_everyone_is_told_alike_and_without_credentials(stage: MakeStage) -> None:
    s = await stage()
    await s.serve(cors=Cors(origins=("*",), headers=("*",)))
    answer = await s.call(Origin=OTHER)
    assert cors_of(answer) == {"access-control-allow-origin": "*"}
    assert "vary" not in answer
    preflight = await s.call("OPTIONS", "/", **asking("PATCH", "x-any, x-thing", OTHER))
    assert preflight["access-control-allow-origin"] == "*"
    assert preflight["access-control-allow-headers"] == "x-any, x-thing"
    assert preflight["access-control-allow-methods"] == "GET, POST, PUT, DELETE, HEAD, PATCH"
    assert preflight["access-control-max-age"] == "3600"


async def test_every_page_over_tls(stage: MakeStage) -> None:
    s = await stage()
    await s.serve(cors=Cors(origins=("https://*",)))
    assert cors_of(await s.call(Origin=OTHER)) == {"access-control-allow-origin": OTHER}
    for origin in ("http://app.example.org", "https://", "null"):
        assert cors_of(await s.call(Origin=origin)) == {}


async def test_without_rules_every_page_is_told_by_name(stage: MakeStage) -> None:
    s = await stage()
    function = await s.serve()
    answer = await s.call(Origin=OTHER)
    assert answer["access-control-allow-origin"] == OTHER
    assert answer["access-control-allow-credentials"] == "true"
    assert answer["access-control-expose-headers"].startswith("Date, x-fc-request-id, ")
    assert answer["vary"] == "Origin"
    preflight = await s.call("OPTIONS", "/", **asking())
    assert preflight.body == b"OPTIONS / "
    assert "access-control-allow-methods" not in preflight
    assert len(function.requests) == 2
    plain = await s.call()
    assert (cors_of(plain), "vary" in plain) == ({}, False)


@pytest.mark.parametrize("rules", [None, RULES, Cors(origins=("*",))])
async def test_what_the_function_says_itself_stands(stage: MakeStage, rules: Cors | None) -> None:
    said: list[str] = []

    async def play(request: Request, reader: R, writer: W) -> None:
        await read_body(request, reader)
        writer.write(reply(b"", "200 OK", *said))

    s = await stage()
    await s.serve(play, cors=rules)
    said[:] = ["access-control-allow-ORIGIN: https://mine.example.org"]
    assert cors_of(await s.call(Origin=APP)) == {"access-control-allow-origin": "https://mine.example.org"}
    said[:] = ["Access-Control-Expose-Headers: X-Mine", "Access-Control-Allow-Credentials: false", "Vary: Accept"]
    answer = await s.call(Origin=APP)
    assert (answer["access-control-expose-headers"], answer["access-control-allow-credentials"]) == (
        "X-Mine",
        "false",
    )
    assert answer["access-control-allow-origin"] == ("*" if rules and rules.origins == ("*",) else APP)


async def test_a_page_can_read_why_it_was_refused(stage: MakeStage) -> None:
    s = await stage()
    await s.serve(cors=RULES, auth=AuthType.BEARER, check=Bearer(("a" * 32,)))
    answer = await s.call(Origin=APP)
    assert (answer.status, answer["access-control-allow-origin"]) == (403, APP)
    assert (await s.call("OPTIONS", "/", **asking())).status == 204  # it carries no credentials, and needs none
    assert cors_of(await s.call("GET", "/", host="nowhere.org", Origin=APP)) == {}


async def test_the_api_is_left_alone(stage: MakeStage) -> None:
    async def play(request: Request, reader: R, writer: W) -> None:
        writer.write(reply(b"{}"))

    s = await stage()
    await s.api(play)
    answer = await s.call("GET", "/2023-03-30/functions", host="localhost", Origin=APP)
    assert (answer.status, cors_of(answer)) == (200, {})


async def test_a_domains_own_rules_count_before_the_triggers(stage: MakeStage) -> None:
    s = await stage()
    await s.serve(cors=RULES)
    way = (PathRoute("/*", "web", "LATEST"),)
    own = Domain("a.example.org", ("HTTP",), way, cors=Cors(origins=("*",)))
    plain = Domain("b.example.org", ("HTTP",), way)
    for domain in (own, plain):
        s.gateway.routes.change_domain(DomainChanged(domain.name, domain))
    assert cors_of(await s.call(host=own.name, Origin=OTHER)) == {"access-control-allow-origin": "*"}
    for host in (plain.name, "web.localhost"):
        assert cors_of(await s.call(host=host, Origin=OTHER)) == {}
        assert cors_of(await s.call(host=host, Origin=APP))["access-control-allow-origin"] == APP


ORIGINS = st.sampled_from(("*", "https://*", APP, OTHER, "http://localhost:3000"))


@settings(deadline=None)
@given(
    st.lists(ORIGINS, min_size=1, unique=True),
    st.binary(max_size=40).filter(lambda raw: b"\r" not in raw and b"\n" not in raw) | ORIGINS.map(str.encode),
    st.booleans(),
)
def test_no_origin_is_told_that_is_not_allowed(origins: list[str], origin: bytes, credentials: bool) -> None:
    everyone = "*" in origins
    policy = Policy(Cors(tuple(origins), credentials=credentials and not everyone), ("GET",))
    lines = policy.lines(origin, ()).split(b"\r\n")
    told = [line for line in lines if line.startswith(b"Access-Control-Allow-Origin: ")]
    secure = "https://*" in origins and origin.startswith(b"https://") and origin != b"https://"
    allowed = bool(origin) and (everyone or secure or (origin.decode("latin-1") in origins and b"*" not in origin))
    assert told == ([b"Access-Control-Allow-Origin: " + (b"*" if everyone else origin)] if allowed else [])
    assert (b"Access-Control-Allow-Credentials: true" in lines) <= bool(allowed and credentials and not everyone)
    assert (b"Vary: Origin" in lines) is not everyone


def test_no_rules_are_prepared_where_there_are_none() -> None:
    assert prepare(None, ("GET",)) is None
    assert ANYBODY.lines(b"", ()) == b"Vary: Origin\r\n"  # never asked: without an Origin nobody has this policy

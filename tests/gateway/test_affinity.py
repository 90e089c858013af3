"""Session affinity on the wire: headers, cookies, and where requests go. Source: function-compute-api.md §7.12."""

import asyncio

import msgspec
import pytest

from sampan.gateway.affinity import begin
from sampan.link.messages import Gone, Sessions, Want
from sampan.model.affinity import Affinity, AffinityKind
from sampan.model.names import LATEST, version_key
from tests.gateway.conftest import MakeStage
from tests.gateway.stage import Function, Play, Request, Stage, orphan, reply

COOKIE = Affinity(AffinityKind.COOKIE, ttl=600.0, idle=60.0, per_instance=2)
HEADER = msgspec.structs.replace(COOKIE, kind=AffinityKind.HEADER, header="my-session")


def named(name: str) -> Play:
    async def play(request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(reply(name.encode()))

    return play


async def crew(stage: Stage, affinity: Affinity, slots: int = 2) -> list[Function]:
    """Three instances, `a`, `b` and `c`; the one that is asked first is `c`."""
    version = await stage.route(concurrency=slots, affinity=affinity)
    functions = [await stage.function(named(name)) for name in "abc"]
    for function in functions:
        stage.grant(version.key, function, slots)
    await stage.until(lambda: len(stage.gateway.leases.held()) == 3)
    return functions


def cookie_of(answer: Request) -> str:
    return answer["set-cookie"].partition(";")[0]


async def test_a_caller_without_a_cookie_gets_one_that_leads_back(stage: MakeStage) -> None:
    one = await stage()
    await crew(one, COOKIE)
    answers = [await one.call() for _ in range(6)]
    assert sorted(answer.body for answer in answers) == [b"a", b"a", b"b", b"b", b"c", b"c"], "two sessions in each"
    assert len({cookie_of(answer) for answer in answers}) == 6
    for answer in answers * 2:
        again = await one.call(cookie=f"theme=dark; {cookie_of(answer)}; x=1")
        assert again.body == answer.body
        assert "set-cookie" not in again


async def test_the_cookie_is_only_for_the_front_door(stage: MakeStage) -> None:
    one = await stage()
    await crew(one, COOKIE)
    pair, *attributes = (part.strip() for part in (await one.call())["set-cookie"].split(";"))
    name, _, value = pair.partition("=")
    assert name == "x-fc-cookie-session-id"
    assert len(value) == 32
    assert set(attributes) == {"Max-Age=21600", "Path=/", "HttpOnly", "SameSite=Lax"}


async def test_over_tls_the_cookie_is_for_tls_only() -> None:
    exchange = orphan()
    exchange.secure = True
    begin(exchange, COOKIE)
    assert exchange.added.endswith(b"; HttpOnly; SameSite=Lax; Secure\r\n")


async def test_a_function_may_set_cookies_of_its_own(stage: MakeStage) -> None:
    async def play(request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(reply(b"", "200 OK", "Set-Cookie: mine=1"))

    one = await stage()
    await one.serve(play, affinity=COOKIE)
    answer = await one.call()
    assert [value.partition("=")[0] for name, value in answer.headers if name.lower() == "set-cookie"] == [
        "mine",
        "x-fc-cookie-session-id",
    ]


async def test_a_cookie_nobody_knows_begins_a_session_under_its_own_name(stage: MakeStage) -> None:
    one = await stage()
    await crew(one, COOKIE)
    first = await one.call(cookie="x-fc-cookie-session-id=fromlastweek")
    assert "set-cookie" not in first
    for _ in range(4):
        await one.call()
    assert (await one.call(cookie="x-fc-cookie-session-id=fromlastweek")).body == first.body


@pytest.mark.parametrize("value", ["", "-x", "a b", "a" * 65, "é", "a,b"])
async def test_a_cookie_that_is_none_of_ours_is_replaced(stage: MakeStage, value: str) -> None:
    one = await stage()
    await crew(one, COOKIE)
    assert "set-cookie" in await one.call(cookie=f"x-fc-cookie-session-id={value}")


async def test_a_header_leads_to_one_instance_and_reaches_the_function(stage: MakeStage) -> None:
    one = await stage()
    functions = await crew(one, HEADER)
    homes = {id_: (await one.call(My_Session=id_)).body for id_ in ("s1", "s2", "s3", "s4", "s5", "s6")}
    assert sorted(homes.values()) == [b"a", b"a", b"b", b"b", b"c", b"c"]
    for id_, home in homes.items():
        assert (await one.call(MY_SESSION=id_)).body == home
    assert {request["my-session"] for function in functions for request in function.requests} == set(homes)


async def test_requests_of_a_session_that_has_no_instance_yet_wait_for_the_same(stage: MakeStage) -> None:
    one = await stage()
    version = await one.route(concurrency=2, affinity=HEADER)
    calls = [asyncio.create_task(one.call(My_Session="new")) for _ in range(2)]
    await one.until(lambda: bool(one.said(Want)))
    one.grant(version.key, await one.function(named("a")), 2)
    assert [(await call).body for call in calls] == [b"a", b"a"]


async def test_requests_of_a_session_that_gets_no_instance_end_in_time(stage: MakeStage) -> None:
    one = await stage()
    await one.route(concurrency=2, affinity=HEADER, queue_wait=0.2)
    answers = await asyncio.gather(one.call(My_Session="new"), one.call(My_Session="new"))
    assert [answer.status for answer in answers] == [503, 503]


async def test_a_caller_without_the_header_is_told_a_session_to_use(stage: MakeStage) -> None:
    one = await stage()
    await crew(one, HEADER)
    first = await one.call()
    for _ in range(3):
        await one.call()
    again = await one.call(My_Session=first["my-session"])
    assert again.body == first.body
    assert "my-session" not in again


@pytest.mark.parametrize("value", ["-x", "a b", "a" * 65, "a/b"])
async def test_a_header_that_is_no_session_id_is_refused(stage: MakeStage, value: str) -> None:
    one = await stage()
    await crew(one, HEADER)
    answer = await one.call(My_Session=value)
    assert answer.status == 400
    assert b"my-session" in answer.body


async def test_invoke_function_follows_the_header_too(stage: MakeStage) -> None:
    one = await stage()
    await crew(one, HEADER)
    homes = {id_: (await one.invoke(My_Session=id_)).body for id_ in ("s1", "s2", "s3", "s4")}
    assert len(set(homes.values())) == 2
    for id_, home in homes.items():
        assert (await one.call(My_Session=id_)).body == home
        assert (await one.invoke(My_Session=id_)).body == home
    told = await one.invoke()
    assert (await one.invoke(My_Session=told["my-session"])).body == told.body


async def test_invoke_function_opens_no_session_for_a_cookie_nobody_would_keep(stage: MakeStage) -> None:
    one = await stage()
    await crew(one, COOKIE)
    assert {(await one.invoke()).body for _ in range(5)} == {b"c"}
    assert not one.said(Sessions)


async def test_a_function_without_affinity_hears_nothing_of_all_this(stage: MakeStage) -> None:
    one = await stage()
    await one.serve()
    answer = await one.call(My_Session="s", cookie="x-fc-cookie-session-id=a")
    assert answer.status == 200
    assert "set-cookie" not in answer
    assert not one.said(Sessions)


async def test_a_session_outlives_its_instance(stage: MakeStage) -> None:
    one = await stage()
    functions = await crew(one, COOKIE)
    first = await one.call()
    cookie = cookie_of(first)
    assert first.body == b"c"
    await functions[2].stop()
    second = await one.call(cookie=cookie)
    assert (second.status, second.body) == (200, b"b"), "c accepts no connection any more"
    assert "set-cookie" not in second
    assert (await one.call(cookie=cookie)).body == b"b"


async def test_an_instance_held_by_nobody_is_asked_for_and_its_end_is_heard(stage: MakeStage) -> None:
    one = await stage()
    functions = await crew(one, HEADER)
    assert (await one.call(My_Session="s")).body == b"c"
    (bound,) = one.said(Sessions)[0].sessions
    one.tell(Sessions((msgspec.structs.replace(bound, instance="c-elsewhere"),)))
    call = asyncio.ensure_future(one.call(My_Session="s"))
    await one.until(lambda: bool(one.said(Want)))
    assert [(want.waiting, want.bound) for want in one.said(Want)] == [(0, ("c-elsewhere",))]
    one.grant(bound.version, functions[0], 2, instance="c-elsewhere")
    assert (await call).body == b"a"
    one.tell(Sessions((msgspec.structs.replace(bound, instance="c-gone"),)))
    call = asyncio.ensure_future(one.call(My_Session="s"))
    await one.until(lambda: any(want.bound == ("c-gone",) for want in one.said(Want)))
    one.tell(Gone("c-gone"))
    assert (await call).status == 200


async def test_an_id_that_may_not_be_used_again_is_not(stage: MakeStage) -> None:
    one = await stage()
    await crew(one, msgspec.structs.replace(HEADER, reuse=False))
    assert (await one.call(My_Session="s")).status == 200
    for binding in one.gateway.sessions._bindings._all.values():
        binding.until = 0.0
    answer = await one.call(My_Session="s")
    assert answer.status == 400
    assert b"disableSessionIdReuse" in answer.body
    await one.route(concurrency=2, affinity=msgspec.structs.replace(COOKIE, reuse=False))
    cookie = cookie_of(await one.call())
    for binding in one.gateway.sessions._bindings._all.values():
        binding.until = 0.0
    assert cookie_of(await one.call(cookie=cookie)) != cookie


async def test_a_session_stays_with_the_version_that_an_alias_drew_for_it(stage: MakeStage) -> None:
    one = await stage()
    wide = msgspec.structs.replace(HEADER, per_instance=200)
    old = await one.route(concurrency=1, affinity=wide, methods=("GET",))
    new = msgspec.structs.replace(old, key=version_key("web", "2", 2), version="2")
    half = {LATEST: ((0.5, old.key), (0.5, new.key))}
    await one.route(concurrency=1, affinity=wide, versions=(old, new), qualifiers=half)
    for name, version in (("old", old), ("new", new)):
        one.grant(version.key, await one.function(named(name)))
    await one.until(lambda: len(one.gateway.leases.held()) == 2)
    homes = {f"s{n}": (await one.call(My_Session=f"s{n}")).body for n in range(40)}
    assert set(homes.values()) == {b"old", b"new"}
    for _ in range(3):
        assert {id_: (await one.call(My_Session=id_)).body for id_ in homes} == homes
    await one.route(concurrency=1, affinity=wide, versions=(old,), qualifiers={LATEST: ((1.0, old.key),)})
    assert {(await one.call(My_Session=id_)).body for id_ in homes} == {b"old"}


async def test_an_upgraded_connection_begins_a_session_as_well(stage: MakeStage) -> None:
    async def play(request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n")

    one = await stage()
    await one.serve(play, affinity=COOKIE)
    client = await one.client()
    client.request("GET", "/", connection="Upgrade", upgrade="chat")
    head = await client.head()
    assert head.status == 101
    assert cookie_of(head).startswith("x-fc-cookie-session-id=")

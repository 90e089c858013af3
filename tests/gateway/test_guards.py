"""Who is let in by JWT, password or bearer token, over real sockets. Source: triggers.md §3."""

import base64
import json
import posixpath
import re
import time
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.gateway.guards import Closed, prepare
from sampan.gateway.paths import Paths
from sampan.link.messages import DomainChanged
from sampan.model.domain import Domain, PathRoute, Rewrite
from sampan.model.invocation import Outcome
from sampan.model.trigger import AuthType, Basic, Bearer, Check, ClaimPass, Jwt, TokenLookup
from sampan.wire import signature
from tests.gateway.conftest import MakeStage
from tests.gateway.stage import KEY, Function, Request, Stage
from tests.wire.keys import issuer

TOKEN, OTHER = "a-token-" * 5, "another-" * 5
HEADER = TokenLookup("header", "Authorization", "Bearer")
FORM = "application/x-www-form-urlencoded"
ME = issuer("P-256")


def jwt_check(**changes: Any) -> Jwt:
    jwks = json.dumps({"keys": [ME.jwk]})
    return Jwt(**({"jwks": jwks, "lookups": (HEADER,)} | changes))


async def guarded(stage: MakeStage, check: Check | None, auth: AuthType | None = None) -> tuple[Stage, Function]:
    s = await stage()
    kinds = {Jwt: AuthType.JWT, Basic: AuthType.BASIC, Bearer: AuthType.BEARER}
    return s, await s.serve(auth=auth or kinds[type(check)], check=check)


def bearing(**claims: Any) -> str:
    return f"Bearer {ME.sign('ES256', **claims)}"


def denied(answer: Request, message: str, status: int = 403) -> None:
    told = json.loads(answer.body)
    assert (answer.status, told["Code"], told["Message"][: len(message)]) == (status, "AccessDenied", message)


# ── JWT ──


async def test_a_good_token_lets_its_bearer_in_and_reaches_the_function(stage: MakeStage) -> None:
    s, function = await guarded(stage, jwt_check())
    token = bearing()
    assert (await s.call("GET", "/a?b=c", authorization=token)).body == b"GET /a?b=c "
    assert function.requests[0]["authorization"] == token


async def test_without_a_good_token_the_function_is_not_called(stage: MakeStage) -> None:
    s, function = await guarded(stage, jwt_check())
    denied(await s.call(), "invalid or expired jwt: there is none in header Authorization")
    for token in (
        bearing(exp=1),
        bearing() + "x",
        f"Bearer {issuer('RSA').sign('RS256')}",
        "Bearer " + "a" * 7_000,
    ):
        denied(await s.call(authorization=token), "invalid or expired jwt")
    denied(await s.call(authorization="Basic " + bearing()[7:]), "invalid or expired jwt")
    client = await s.client()
    client.send("GET / HTTP/1.1\r\nHost: web.localhost\r\nAuthorization: Bearer é.è.ê\r\n\r\n".encode())
    denied(await client.answer(), "invalid or expired jwt")
    assert not function.requests
    record = await s.record()
    assert (record.outcome, record.status, record.leased) == (Outcome.REFUSED, 403, 0)


@pytest.mark.parametrize(
    ("lookup", "target", "headers"),
    [
        (TokenLookup("header", "x-token"), "/", {"X-Token": "T"}),
        (TokenLookup("header", "Authorization", "Bearer"), "/", {"authorization": "bearer   T"}),
        (TokenLookup("cookie", "auth"), "/", {"Cookie": "a=b; auth=T; c=d"}),
        (TokenLookup("query", "t"), "/?a=b&t=T", {}),
    ],
)
async def test_a_token_is_found_where_the_trigger_says(
    stage: MakeStage, lookup: TokenLookup, target: str, headers: dict[str, str]
) -> None:
    s, _ = await guarded(stage, jwt_check(lookups=(TokenLookup("header", "not-there"), lookup)))
    token = ME.sign("ES256")
    told = {name: value.replace("T", token) for name, value in headers.items()}
    assert (await s.call("GET", target.replace("T", token), **told)).status == 200
    assert (await s.call("GET", "/", authorization="x", cookie="auth=x")).status == 403


async def test_the_next_place_is_tried_when_the_token_in_one_is_bad(stage: MakeStage) -> None:
    s, _ = await guarded(stage, jwt_check(lookups=(HEADER, TokenLookup("query", "t"))))
    assert (await s.call("GET", f"/?t={ME.sign('ES256')}", authorization="Bearer x")).status == 200
    assert (await s.call("GET", "/?t=x", authorization=bearing())).status == 200
    assert (await s.call("GET", f"/?t={ME.sign('ES256')}&%74=x")).status == 403


async def test_a_token_in_a_form_is_found_and_the_form_still_arrives(stage: MakeStage) -> None:
    s, function = await guarded(stage, jwt_check(lookups=(TokenLookup("form", "t"),)))
    form = f"a=1&t={ME.sign('ES256')}&b=2".encode()
    answer = await s.call("POST", "/f", form, content_type=FORM + "; charset=utf-8")
    assert answer.body == b"POST /f " + form
    client = await s.client()  # in chunks, after a 100-continue
    head = f"POST /f HTTP/1.1\r\nHost: web.localhost\r\nContent-Type: {FORM}\r\nTransfer-Encoding: chunked\r\n"
    client.send(head + "Expect: 100-continue\r\n\r\n")
    assert (await client.head()).status == 100
    client.send(b"%x\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (9, form[:9], len(form) - 9, form[9:]))
    assert (await client.answer()).body == b"POST /f " + form
    assert [request.body for request in function.requests] == [form, form]


async def test_a_form_that_is_none_or_is_too_long_is_refused(stage: MakeStage) -> None:
    s, function = await guarded(stage, jwt_check(lookups=(TokenLookup("form", "t"),)))
    form = f"t={ME.sign('ES256')}".encode()
    denied(await s.call("POST", "/", form), "invalid or expired jwt: there is none in form t")
    denied(await s.call("GET", "/", content_type=FORM), "invalid or expired jwt")
    huge = b"t=" + b"a" * 30_000
    denied(await s.call("POST", "/", huge, content_type=FORM), "invalid or expired jwt")
    answer = await s.call("POST", "/", form + b"&x=" + b"y" * (64 << 10), content_type=FORM)
    assert (answer.status, json.loads(answer.body)["Code"]) == (400, "EntityTooLarge")
    assert not function.requests


PASSED = (ClaimPass("header", "sub", "X-User"), ClaimPass("query", "uid", "uid"), ClaimPass("header", "no", "X-No"))


async def test_claims_are_told_to_the_function(stage: MakeStage) -> None:
    s, function = await guarded(stage, jwt_check(claims=PASSED))
    await s.call("GET", "/p?a=1", authorization=bearing(sub="jürgen", uid=[1, "&=é"]))
    request = function.requests[0]
    assert request["x-user"] == "jürgen".encode().decode("latin-1")
    assert request.target == "/p?a=1&uid=%5B1%2C%22%26%3D%C3%A9%22%5D"
    assert "x-no" not in request


async def test_a_caller_cannot_forge_a_claim(stage: MakeStage) -> None:
    s, function = await guarded(stage, jwt_check(claims=PASSED, paths=("/free",)))
    client = await s.client()
    forged = "X-User: root\r\nx_user: root\r\nX-NO: root\r\nX_No: root\r\nConnection: x-user, X-No, keep-alive\r\n"
    query = "uid=0&UID=0&a=1&u%69d=0&uid[]=0&uid%5B%5D=0&b=2;uid=0&+uid=0"
    for target, token in (("/", bearing(sub="me", uid=7)), ("/free", "Bearer forged")):
        client.send(
            f"GET {target}?{query} HTTP/1.1\r\nHost: web.localhost\r\n{forged}Authorization: {token}\r\n\r\n"
        )
        assert (await client.answer()).status == 200
    told, free = function.requests
    users = lambda one: [v for n, v in one.headers if n.lower().replace("_", "-") in ("x-user", "x-no")]  # noqa: E731
    assert (users(told), told.target) == (["me"], "/?a=1&uid=7")
    assert (users(free), free.target) == ([], "/free?a=1")


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\0b", " a", "a ", "\ud800"])
async def test_a_claim_that_would_not_arrive_as_it_is_is_refused(stage: MakeStage, value: str) -> None:
    s, function = await guarded(stage, jwt_check(claims=PASSED))
    denied(await s.call(authorization=bearing(sub=value)), "invalid or expired jwt")
    assert not function.requests


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/free", 200), ("/free?x=1", 200), ("/fr%65e", 403), ("/public/", 200), ("/public/a/b", 200),
        ("/", 403), ("/free/", 403), ("/freedom", 403), ("/public", 403), ("/publi", 403),
        ("/public/../admin", 403), ("/public/%2e%2e/admin", 403), ("/public/..%2fadmin", 403), ("/public/..", 403),
        ("/public/%252e%252e/admin", 403), ("/public/..;/admin", 403), ("/public/..\\admin", 403),
        ("/public/%c0%ae%c0%ae/admin", 403),
        ("/public/caf%C3%A9", 200),
        ("/public//../admin", 403), ("//public/a", 403), ("/public/./a", 403), ("/?/public/", 403),
    ],
)  # fmt: skip
async def test_a_whitelist_frees_its_paths_and_no_way_around(stage: MakeStage, path: str, status: int) -> None:
    s, _ = await guarded(stage, jwt_check(paths=("/free", "/public/*")))
    assert (await s.call("GET", path)).status == status
    assert (await s.call("GET", path, authorization=bearing())).status == 200
    assert (await s.call("GET", "/fn/web" + path, host="localhost")).status == status


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 200), ("/a/b", 200), ("/administration", 200),
        ("/admin", 403), ("/secret/", 403), ("/secret/a", 403), ("/%61dmin", 403), ("/%73ecret/a", 403),
        ("//admin", 403), ("/a/../admin", 403), ("/a/%2e%2e/admin", 403), ("/%2561dmin", 403), ("/./admin", 403),
        ("/admin/", 403), ("/admin#x", 400), ("/admin;x=1", 403), ("/a\\..\\admin", 403),
    ],
)  # fmt: skip
async def test_a_blacklist_binds_its_paths_however_they_are_spelt(stage: MakeStage, path: str, status: int) -> None:
    s, _ = await guarded(stage, jwt_check(paths=("/admin", "/secret/*"), only_paths=True))
    assert (await s.call("GET", path)).status == status


SEGMENTS = st.sampled_from(
    (
        "public",
        "admin",
        ".",
        "..",
        "",
        "%2e%2e",
        "..%2f..",
        "%2F",
        "a;b",
        "%5c..",
        "%252e%252e",
        "p%75blic",
        "x",
        "%",
    )
)


@settings(deadline=None)
@given(st.lists(SEGMENTS, max_size=6).map("/".join), st.booleans())
def test_no_free_path_leads_to_a_bound_one(rest: str, only: bool) -> None:
    """However often a program decodes and in which way it resolves dots, slashes and parameters."""
    paths = Paths(("/admin", "/admin/*") if only else ("/public/*",), only)
    if not paths.exempt(f"/{rest}".encode()):
        return
    read = f"/{rest}"
    for _ in range(3):
        for one in (read, read.replace("\\", "/"), re.sub(";[^/]*", "", read)):
            seen = posixpath.normpath(re.sub("/+", "/", one))
            bound = f"{seen}/".startswith("/admin/") if only else not f"{seen}/".startswith("/public/")
            assert not bound, one
        read = unquote(read)


# ── bearer ──


async def test_one_of_the_tokens_lets_in(stage: MakeStage) -> None:
    s, _ = await guarded(stage, Bearer((TOKEN, OTHER)))
    for good in (f"Bearer {TOKEN}", f"bearer {OTHER}", f"Bearer   {TOKEN}"):
        assert (await s.call(authorization=good)).status == 200
    denied(await s.call(), "Authorization header is expected but missing")
    for bad in (TOKEN, f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", "Bearer", "Bearer é"):
        denied(await s.call(authorization=bad), "access denied due to invalid bearer token")


async def test_with_every_token_disabled_nobody_is_let_in(stage: MakeStage) -> None:
    s, _ = await guarded(stage, Bearer(()))
    denied(await s.call(authorization="Bearer "), "access denied due to invalid bearer token")


# ── basic ──


def basic(text: str | bytes) -> str:
    return "Basic " + base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


async def test_a_user_is_let_in_by_password(stage: MakeStage) -> None:
    s, _ = await guarded(stage, Basic((("me", "a:b"), ("jürgen", "pässword"))))
    for good in (basic("me:a:b"), basic("jürgen:pässword"), basic("me:a:b").replace("Basic", "basic")):
        assert (await s.call(authorization=good)).status == 200
    for bad in (
        "",
        basic("me:a"),
        basic("me"),
        basic(":"),
        basic("jürgen:a:b"),
        basic(b"\xff"),
        "Basic ?",
        "Basic",
    ):
        answer = await s.call(authorization=bad)
        denied(answer, "access denied: user name and password", 401)
        assert answer["www-authenticate"] == 'Basic realm="function", charset="UTF-8"'


# ── all of them ──


@pytest.mark.parametrize("check", [jwt_check(), Basic((("me", "x"),)), Bearer((TOKEN,))])
async def test_of_two_authorization_headers_none_counts(stage: MakeStage, check: Check) -> None:
    """The function might take its caller from the other one."""
    s, function = await guarded(stage, check)
    good = {Jwt: bearing(), Basic: basic("me:x"), Bearer: f"Bearer {TOKEN}"}[type(check)]
    for first, second in ((good, basic("root:x")), (basic("root:x"), good)):
        client = await s.client()
        lines = f"Authorization: {first}\r\nAuthorization: {second}\r\n"
        client.send(f"GET / HTTP/1.1\r\nHost: web.localhost\r\n{lines}\r\n")
        assert (await client.answer()).status in (401, 403)
    assert not function.requests


@pytest.mark.parametrize("check", [jwt_check(), Basic((("me", "x"),)), Bearer((TOKEN,))])
async def test_who_can_sign_as_the_account_needs_nothing_else(stage: MakeStage, check: Check) -> None:
    s, function = await guarded(stage, check)
    signed = signature.sign_trigger(KEY, "GET", "/fn/web/x", {"host": "localhost"}, time.time())
    assert (await s.call("GET", "/fn/web/x", **signed)).status == 200
    assert (await s.call("GET", "/fn/web/y", **signed)).status == 403
    signed["authorization"] = signed["authorization"].replace(KEY.id, "LTAI-other")
    assert (await s.call("GET", "/fn/web/x", **signed)).status in (401, 403)
    assert len(function.requests) == 1


@pytest.mark.parametrize("auth", [AuthType.JWT, AuthType.BASIC, AuthType.BEARER])
@pytest.mark.parametrize("check", [None, Jwt("no json", ()), Jwt('{"keys":[]}', ())])
async def test_a_check_that_cannot_be_read_closes_the_function_and_no_other(
    stage: MakeStage, auth: AuthType, check: Check | None
) -> None:
    s, function = await guarded(stage, check, auth)
    for authorization in ("", bearing(), f"Bearer {TOKEN}", basic("me:x")):
        denied(await s.call(authorization=authorization), "access denied: this gateway cannot read")
    assert not function.requests


async def test_a_function_that_is_not_active_says_why_only_to_who_may_call_it(stage: MakeStage) -> None:
    s = await stage()
    await s.serve(auth=AuthType.BEARER, check=Bearer((TOKEN,)))
    await s.route(
        auth=AuthType.BEARER, check=Bearer((TOKEN,)), timeout=11.0, state="Failed", reason="no image", qualifiers={}
    )
    denied(await s.call(), "Authorization header is expected")
    assert b"no image" in (await s.call(authorization=f"Bearer {TOKEN}")).body


async def test_a_domains_check_is_of_the_paths_it_is_asked_for_and_a_triggers_of_those_it_sees(
    stage: MakeStage,
) -> None:
    s, function = await guarded(stage, jwt_check(paths=("/inner/*",), only_paths=True))
    await s.route("open")
    s.grant(next(iter(s.routes["open"].versions)).key, function)
    rule = Rewrite("wildcard", "^/old/*", "/inner/$1")
    ways = tuple(PathRoute(f"/old/{name}", name, "LATEST", (), (rule,)) for name in ("web", "open"))
    check = jwt_check(paths=("/old/*",), only_paths=True)
    for host, auth, own in (("a.example", AuthType.JWT, check), ("b.example", AuthType.ANONYMOUS, None)):
        s.gateway.routes.change_domain(DomainChanged(host, Domain(host, ("HTTP",), ways, auth, own)))
    for host, name, status in (("a", "open", 403), ("a", "web", 403), ("b", "open", 200), ("b", "web", 403)):
        assert (await s.call("GET", f"/old/{name}", host=f"{host}.example")).status == status
    told = await s.call("GET", "/old/open", host="a.example", authorization=bearing())
    assert told.body == b"GET /inner/open "


async def test_a_domains_own_check_counts_before_the_triggers(stage: MakeStage) -> None:
    s, _ = await guarded(stage, Bearer((TOKEN,)))
    way = (PathRoute("/*", "web", "LATEST"),)
    plain = Domain("a.example.org", ("HTTP",), way)
    own = Domain("b.example.org", ("HTTP",), way, AuthType.BASIC, Basic((("me", "x"),)))
    signed = Domain("c.example.org", ("HTTP",), way, AuthType.FUNCTION)
    for domain in (plain, own, signed):
        s.gateway.routes.change_domain(DomainChanged(domain.name, domain))
    bearer, basic = f"Bearer {TOKEN}", "Basic " + base64.b64encode(b"me:x").decode()
    for host, authorization, status in (
        ("web.localhost", bearer, 200),
        (plain.name, bearer, 200),
        (plain.name, basic, 403),
        (own.name, bearer, 401),
        (own.name, basic, 200),
        (signed.name, bearer, 400),
        (signed.name, basic, 400),
    ):
        answer = await s.call(host=host, authorization=authorization)
        assert answer.status == status, (host, authorization, answer.body)


def test_only_the_auth_types_that_check_have_a_guard() -> None:
    for auth in (AuthType.ANONYMOUS, AuthType.FUNCTION):
        assert prepare(auth, None) is prepare(auth, Bearer((TOKEN,))) is None
    assert type(prepare(AuthType.JWT, Bearer((TOKEN,)))) is Closed

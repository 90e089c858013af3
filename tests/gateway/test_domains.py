"""Custom domains at the gateway: which host is which domain, which path which route, and what the function sees."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.gateway.domains import Site
from sampan.gateway.route import ApiTarget, HttpTarget, RouteTable
from sampan.link.messages import DomainChanged, RouteChanged, Routes
from sampan.model.domain import Domain, PathRoute, Rewrite
from sampan.model.errors import (
    DomainRouteNotFound,
    FunctionNotFound,
    ProtocolNotServed,
    RouteMethodNotAllowed,
    RouteNotFound,
)
from sampan.model.rewrite import KINDS, BadRewrite, compiled, rewritten, step
from sampan.model.trigger import Cors
from tests.gateway.conftest import MakeStage
from tests.gateway.test_route import route

NAME = "shop.example.org"


def domain(
    *paths: str | PathRoute, name: str = NAME, protocols: tuple[str, ...] = ("HTTP",), cors: Cors | None = None
) -> Domain:
    routes = tuple(PathRoute(path, "web", "LATEST") if isinstance(path, str) else path for path in paths)
    return Domain(name, protocols, routes, cors=cors)


def table(*domains: Domain) -> RouteTable:
    made = RouteTable("fn.example.com")
    made.replace(Routes("1", "local", (route("web", prod=((1.0, "1"),)), route("api")), (), domains))
    return made


# ── hosts ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("host", "name"),
    [
        (b"a.com", "a.com"),
        (b"A.Com:443", "a.com"),
        (b"a.com.", "a.com"),
        (b"x.a.com", "*.a.com"),
        (b"y.a.com", "y.a.com"),
        (b"z.y.a.com", None),
        (b"com", None),
        (b"*.a.com", "*.a.com"),
        (b"", None),
        (b"b.com", None),
        (b"fn.example.com", None),
        (b"web.fn.example.com", ""),
        (b"x.fn.example.com", None),
    ],
)
def test_a_host_is_a_domain_exactly_or_one_level_below_a_wildcard(host: bytes, name: str | None) -> None:
    pages = {
        "a.com": "https://one",
        "*.a.com": "https://two",
        "y.a.com": "https://three",
        "*.example.com": "https://four",
    }
    routes = table(*(domain("/*", name=one, cors=Cors((page,))) for one, page in pages.items()))
    for _ in range(2):  # also when the host's spelling is remembered
        if name is None:
            with pytest.raises(RouteNotFound):
                routes.resolve(b"GET", host, b"/")
            continue
        target = routes.resolve(b"GET", host, b"/")
        assert isinstance(target, HttpTarget)
        policy = target.endpoint.cors
        assert {page for page in pages.values() if policy and b"Origin: h" in policy.lines(page.encode(), ())} == (
            {pages[name]} if name else set()
        )


def test_no_wildcard_takes_the_api_away() -> None:
    routes = table(domain("/*", name="*.example.com"))
    assert isinstance(routes.resolve(b"GET", b"fn.example.com", b"/2023-03-30/functions"), ApiTarget)


def test_all_paths_of_a_domain_are_its_functions() -> None:
    for path in (b"/healthz", b"/2023-03-30/functions", b"/fn/api/x"):
        target = table(domain("/*")).resolve(b"POST", NAME.encode(), path)
        assert isinstance(target, HttpTarget)
        assert (target.endpoint.route.function, target.base_path, target.path) == ("web", b"", path)


def test_a_route_may_go_to_an_alias() -> None:
    routes = table(domain(PathRoute("/*", "web", "prod")))
    target = routes.resolve(b"GET", NAME.encode(), b"/")
    assert isinstance(target, HttpTarget)
    assert target.endpoint.qualifier == "prod"


def test_changes_count_from_the_next_request_on() -> None:
    routes = table()
    host = NAME.encode()
    with pytest.raises(RouteNotFound):
        routes.resolve(b"GET", host, b"/")
    routes.change_domain(DomainChanged(NAME, domain("/")))
    assert isinstance(routes.resolve(b"GET", host, b"/"), HttpTarget)
    routes.change_domain(DomainChanged(NAME, domain("/new")))
    with pytest.raises(DomainRouteNotFound):
        routes.resolve(b"GET", host, b"/")
    routes.change_domain(DomainChanged(f"*.{NAME.partition('.')[2]}", domain("/", name="*.example.org")))
    routes.change_domain(DomainChanged(NAME, None))
    assert isinstance(routes.resolve(b"GET", host, b"/"), HttpTarget)
    routes.replace(Routes("1", "local", (), ()))
    with pytest.raises(RouteNotFound):
        routes.resolve(b"GET", host, b"/")


def test_a_route_to_a_function_that_is_gone_says_so() -> None:
    routes = table(domain("/*"))
    routes.change(RouteChanged("web", None))
    with pytest.raises(FunctionNotFound, match="web"):
        routes.resolve(b"GET", NAME.encode(), b"/")


# ── paths ─────────────────────────────────────────────────────────────────────────────────────────────

PATHS = ("/", "/a", "/a/*", "/a/b", "/a/b/*", "/c/*")


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/", "/"),
        (b"/?x=/a", "/"),
        (b"/a", "/a"),
        (b"/a/", "/a/*"),
        (b"/a/x", "/a/*"),
        (b"/a/b", "/a/b"),
        (b"/a/b?c", "/a/b"),
        (b"/a/b/", "/a/b/*"),
        (b"/a/b/c/d", "/a/b/*"),
        (b"/a/bb", "/a/*"),
        (b"/c/*", "/c/*"),
        (b"/a%2Fb", None),
        (b"/A", None),
        (b"/c", None),
        (b"/d", None),
        (b"*", None),
    ],
)
def test_the_exact_path_wins_then_the_longest_prefix(target: bytes, path: str | None) -> None:
    site = Site(domain(*PATHS))
    if path is None:
        with pytest.raises(DomainRouteNotFound, match="no route found in domain"):
            site.take(b"GET", target, False)
    else:
        assert site.take(b"GET", target, False)[0].route.path == path


@given(
    st.sets(st.lists(st.sampled_from("ab"), max_size=3).map("/".join), min_size=1),
    st.sets(st.lists(st.sampled_from("ab"), max_size=3).map("/".join)),
    st.lists(st.sampled_from("abc"), max_size=4).map("/".join),
)
def test_a_path_is_found_as_the_rule_says(exact: set[str], below: set[str], asked: str) -> None:
    prefixes = {f"/{one}/*".replace("//", "/") for one in below}
    site, path = Site(domain(*(f"/{one}" for one in exact), *prefixes)), f"/{asked}"
    fits = [one for one in prefixes if path.startswith(one[:-1])]
    wanted = path if asked in exact else max(fits, key=len, default=None)
    try:
        found: str | None = site.take(b"GET", path.encode(), False)[0].route.path
    except DomainRouteNotFound:
        found = None
    assert found == wanted


def test_a_route_answers_its_methods_only() -> None:
    site = Site(domain(PathRoute("/", "web", "LATEST", ("GET", "PUT"))))
    assert site.take(b"PUT", b"/", False)[1] == b"/"
    with pytest.raises(RouteMethodNotAllowed, match="'/' of domain 'shop") as refused:
        site.take(b"POST", b"/", False)
    assert refused.value.allowed == ("GET", "PUT")


def test_a_preflight_is_the_domains_affair_where_it_has_cors_rules() -> None:
    plain = domain(PathRoute("/", "web", "LATEST", ("GET",)))
    with pytest.raises(RouteMethodNotAllowed):
        Site(plain).take(b"OPTIONS", b"/", False)
    site = Site(msgspec.structs.replace(plain, cors=Cors(("*",))))
    assert site.take(b"OPTIONS", b"/", False)[0].function == "web"
    with pytest.raises(RouteMethodNotAllowed):
        site.take(b"POST", b"/", False)


@pytest.mark.parametrize(
    ("protocols", "plain", "secure"),
    [(("HTTP",), True, False), (("HTTPS",), False, True), (("HTTP", "HTTPS"), True, True)],
)
def test_a_domain_answers_its_protocols_only(protocols: tuple[str, ...], plain: bool, secure: bool) -> None:
    routes = table(domain("/*", protocols=protocols))
    for over_tls, allowed in ((False, plain), (True, secure)):
        if allowed:
            assert isinstance(routes.resolve(b"GET", NAME.encode(), b"/", over_tls), HttpTarget)
        else:
            with pytest.raises(ProtocolNotServed, match=NAME):
                routes.resolve(b"GET", NAME.encode(), b"/", over_tls)


# ── rewrites ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("kind", "match", "replacement", "target", "seen"),
    [
        # the vendor's own examples, from its page "Configure a rewrite policy"
        ("equal", "/old", "/new", b"/old", b"/new"),
        ("equal", "/old", "/new", b"/test/old", None),
        ("equal", "/serviceName.Qualifier", "/serviceA", b"/serviceName.Qualifier", b"/serviceA"),
        ("wildcard", "/old", "/new", b"/old", b"/new"),
        ("wildcard", "/old", "/new", b"/test/old", b"/new"),
        ("wildcard", "^/old", "/new", b"/old", b"/new"),
        ("wildcard", "^/old", "/new", b"/test/old", None),
        ("wildcard", "/api/*", "/$1", b"/api/getFunctionName", b"/getFunctionName"),
        ("wildcard", "/api/*", "/$1", b"/api/getFunctionName&Version=1", b"/getFunctionName&Version=1"),
        ("wildcard", "/css/*", "/public/static/css/$1", b"/css/style.css", b"/public/static/css/style.css"),
        (
            "wildcard",
            "/ServiceName/*/FunctionName/*/Qualifier/*",
            "/$1.$3/$2",
            b"/ServiceName/svc-a/FunctionName/func-a/Qualifier/1",
            b"/svc-a.1/func-a",
        ),
        ("regex", "^/api/.+?/(.*)", "/api/v2/$1", b"/api/v1/users", b"/api/v2/users"),
        # the query
        ("equal", "/old", "/new", b"/old?a=1", b"/new?a=1"),
        ("equal", "/old", "/new?b=2", b"/old?a=1", b"/new?b=2"),
        ("wildcard", "/old", "/new", b"/old?a=1", b"/new?a=1"),
        ("wildcard", "/api/*", "/$1", b"/api/x?a=1", b"/x?a=1"),
        ("wildcard", "/api/*", "/q?path=$1", b"/api/x", b"/q?path=x"),
        ("wildcard", "/old", "/new", b"/x?next=/old", None),
        ("regex", r"^/item\?id=(\d+)$", "/items/$1", b"/item?id=7", b"/items/7"),
        ("regex", "^/(a)", "/b?was=$1", b"/a/x?y=1", b"/b?was=a"),
        # signs with a meaning elsewhere are themselves in a wildcard
        ("wildcard", "/a.b+(c)/*", "/$1", b"/a.b+(c)/d", b"/d"),
        ("wildcard", "/a.b/*", "/$1", b"/axb/d", None),
        ("wildcard", "/a^b", "/c", b"/a^b", b"/c"),
        # references
        ("regex", "^/(?P<year>[0-9]+)/(x)?", "/y/${year}/$2", b"/2026/", b"/y/2026/"),
        ("regex", "^/(a)(b)", "/$2$1$0", b"/ab", b"/ba/ab"),
        ("regex", "^/(a)", "/$$1", b"/a", b"/$1"),
        ("regex", "^/(.*)", "$1", b"/a", b"/a"),
        ("regex", "^/(.*)", "/$1", b"/\xff\x80", b"/\xff\x80"),
        ("regex", "/a|", "/b", b"/c", b"/b"),
    ],
)
def test_a_rule_rewrites_what_it_matches(
    kind: str, match: str, replacement: str, target: bytes, seen: bytes | None
) -> None:
    assert step(Rewrite(kind, match, replacement))(target) == seen


def test_rules_are_tried_by_kind_and_the_first_that_matches_wins() -> None:
    rules = (
        Rewrite("regex", "^/a", "/regex"),
        Rewrite("wildcard", "/a*", "/wildcard"),
        Rewrite("wildcard", "/a", "/second"),
        Rewrite("equal", "/a", "/equal"),
    )
    assert rewritten(compiled(rules), b"/a") == b"/equal"
    assert rewritten(compiled(rules), b"/ab") == b"/wildcard"
    assert rewritten(compiled(rules[:1]), b"/ab") == b"/regex"
    assert rewritten(compiled(rules), b"/x") == b"/x"
    assert rewritten((), b"/x?y") == b"/x?y"


TEXT = st.text(st.sampled_from("ab/*^.?$1(){}+\\"), min_size=1, max_size=12)


@given(st.sampled_from(KINDS), TEXT, TEXT, st.binary(max_size=40).map(lambda text: b"/" + text))
def test_whatever_the_rule_the_function_sees_a_path(kind: str, match: str, new: str, target: bytes) -> None:
    try:
        steps = compiled((Rewrite(kind, match, new),))
    except BadRewrite:
        return
    assert rewritten(steps, target).startswith(b"/")


def test_no_pattern_holds_the_gateway_up() -> None:
    """A backtracking engine would need 2⁶⁰ steps for this one."""
    steps = compiled((Rewrite("regex", "^/(a+)+$", "/"),))
    assert rewritten(steps, b"/" + b"a" * 60 + b"!") == b"/" + b"a" * 60 + b"!"


# ── through a gateway ─────────────────────────────────────────────────────────────────────────────────


async def test_a_function_is_called_through_a_domain(stage: MakeStage) -> None:
    s = await stage()
    function = await s.serve()
    client = await s.client()

    async def tell(told: Domain | None) -> None:
        s.tell(DomainChanged(NAME, told))
        await s.until(lambda: s.gateway.routes.domain(NAME) == told)

    rule = Rewrite("wildcard", "^/api/*", "/v1/$1")
    await tell(domain(PathRoute("/api/*", "web", "LATEST", ("GET",), (rule,))))
    assert (await client.call("GET", "/api/x?y=1", host=NAME)).status == 200
    assert (function.requests[0].target, function.requests[0]["host"]) == ("/v1/x?y=1", NAME)
    refused = await client.call("POST", "/api/x", host=NAME)
    assert (refused.status, refused["allow"]) == (405, "GET")
    missing = await client.call("GET", "/other", host=NAME)
    assert missing.status == 404
    assert b'"Code":"DomainRouteNotFound"' in missing.body
    await tell(domain("/*", protocols=("HTTPS",)))
    secret = await client.call("GET", "/", host=NAME)
    assert (secret.status, b"HTTPS" in secret.body) == (403, True)
    await tell(None)
    assert (await client.call("GET", "/api/x", host=NAME)).status == 404
    assert len(function.requests) == 1


async def test_a_domain_that_cannot_be_read_closes_itself_alone(stage: MakeStage) -> None:
    s = await stage()
    function = await s.serve()
    for rule in (Rewrite("regex", "(", "/"), Rewrite("of the future", "/", "/")):
        broken = domain(PathRoute("/*", "web", "LATEST", (), (rule,)), name="x.a.com")
        s.domains = [broken, domain("/*", name="*.a.com")]
        s.tell(s._all_routes())
        s.tell(DomainChanged("y.a.com", msgspec.structs.replace(broken, name="y.a.com")))
        await s.until(lambda: s.gateway.routes.domain("y.a.com") is not None)
        assert [(await s.call(host=f"{one}.a.com")).status for one in "xyz"] == [404, 404, 200]
        s.gateway.routes.change_domain(DomainChanged("y.a.com", None))
    assert len(function.requests) == 2
    assert s.gateway.control.connected


async def test_a_route_s_methods_bound_what_is_no_preflight_after_all(stage: MakeStage) -> None:
    s = await stage()
    function = await s.serve()
    rules = Cors(("https://page.example",), methods=("GET",))
    told = domain(PathRoute("/*", "web", "LATEST", ("GET",)), cors=rules)
    s.tell(DomainChanged(NAME, told))
    await s.until(lambda: s.gateway.routes.domain(NAME) == told)
    asked = {"origin": "https://page.example", "access_control_request_method": "GET"}
    assert (await s.call("OPTIONS", "/x", host=NAME, **asked)).status == 204
    for stray in ({}, {"origin": "https://page.example"}, asked | {"origin": "https://other.example"}):
        refused = await s.call("OPTIONS", "/x", host=NAME, **stray)
        assert (refused.status, refused["allow"]) == (405, "GET")
    assert (await s.call("GET", "/x", host=NAME)).status == 200
    assert [request.method for request in function.requests] == ["GET"]

"""Which version a host or a path means."""

import pytest

from sampan.gateway.route import ApiTarget, EventTarget, HealthTarget, HttpTarget, RouteTable
from sampan.link.messages import FunctionRoute, RouteChanged, Routes, ServedVersion
from sampan.model.errors import FunctionNotFound, RouteNotFound, VersionNotFound
from sampan.model.names import LATEST, version_key


def version(function: str, id_: str = LATEST) -> ServedVersion:
    return ServedVersion(version_key(function, id_, 1), function, id_, 1, 3.0, 512, "", 1.0, 10.0)


def route(function: str, **aliases: tuple[tuple[float, str], ...]) -> FunctionRoute:
    versions = (version(function), version(function, "1"), version(function, "2"))
    keys = {one.version: one.key for one in versions}
    qualifiers = {id_: ((1.0, key),) for id_, key in keys.items()}
    qualifiers |= {
        name: tuple((weight, keys.get(id_, version_key(function, id_, 1))) for weight, id_ in choices)
        for name, choices in aliases.items()
    }
    return FunctionRoute(function, "Active", "", None, None, versions, qualifiers, ())


def table(*routes: FunctionRoute) -> RouteTable:
    made = RouteTable("fn.example.com")
    made.replace(Routes("1", "local", routes, ()))
    return made


@pytest.mark.parametrize(
    ("host", "function", "qualifier"),
    [
        (b"web.fn.example.com", "web", LATEST),
        (b"WEB.Fn.Example.Com:9000", "web", LATEST),
        (b"web.localhost.", "web", LATEST),
        (b"prod--web.localhost:80", "web", "prod"),
        (b"2--web.localhost", "web", "2"),
        (b"a--b.localhost", "a--b", LATEST),
        (b"mixed.localhost", "Mixed", LATEST),
    ],
)
def test_a_function_is_found_by_its_host(host: bytes, function: str, qualifier: str) -> None:
    routes = table(route("web", prod=((1.0, "1"),)), route("a--b"), route("b", a=((1.0, "1"),)), route("Mixed"))
    for _ in range(2):  # also when the host's spelling is remembered
        target = routes.resolve(b"GET", host, b"/2023-03-30/x")
        assert isinstance(target, HttpTarget)
        assert (target.endpoint.route.function, target.endpoint.qualifier) == (function, qualifier)
        assert target.path == b"/2023-03-30/x"


@pytest.mark.parametrize(
    "host", [b"web.other.com", b"no.localhost", b"localhost", b"[::1]:9000", b"", b"x.web.localhost"]
)
def test_an_unknown_host_serves_no_function(host: bytes) -> None:
    with pytest.raises(RouteNotFound):
        table(route("web")).resolve(b"GET", host, b"/")


def test_only_a_post_to_invocations_is_an_event() -> None:
    routes = table(route("web", prod=((1.0, "1"),)))
    path = b"/2023-03-30/functions/web/invocations"
    target = routes.resolve(b"POST", b"localhost", path + b"?x=1&qualifier=prod")
    assert isinstance(target, EventTarget)
    assert target.endpoint.qualifier == "prod"
    assert isinstance(routes.resolve(b"GET", b"localhost", path), ApiTarget)
    assert isinstance(routes.resolve(b"POST", b"localhost", b"/2023-03-30/functions"), ApiTarget)
    assert isinstance(routes.resolve(b"GET", b"localhost", b"/sampan/console"), ApiTarget)
    assert isinstance(routes.resolve(b"GET", b"localhost", b"/healthz"), HealthTarget)


def test_an_alias_is_drawn_by_weight() -> None:
    target = table(route("web", prod=((0.75, "1"), (0.25, "2")))).resolve(b"GET", b"prod--web.localhost", b"/")
    assert isinstance(target, HttpTarget)
    drawn = [target.endpoint.pick().version.version for _ in range(2000)]
    assert set(drawn) == {"1", "2"}
    assert 0.6 < drawn.count("1") / 2000 < 0.9  # ten standard deviations either way


def test_an_alias_of_a_deleted_version_is_an_error_at_the_call() -> None:
    target = table(route("web", old=((1.0, "9"),))).resolve(b"GET", b"x", b"/fn/web:old/")
    assert isinstance(target, HttpTarget)
    with pytest.raises(VersionNotFound):
        target.endpoint.pick()


def test_a_function_that_is_deleted_is_forgotten_and_one_that_changes_is_seen_anew() -> None:
    routes = table(route("web"))
    assert isinstance(routes.resolve(b"GET", b"web.localhost", b"/"), HttpTarget)
    routes.change(RouteChanged("web", route("web", new=((1.0, "1"),))))
    assert isinstance(routes.resolve(b"GET", b"new--web.localhost", b"/"), HttpTarget)
    routes.change(RouteChanged("web", None))
    with pytest.raises(RouteNotFound):
        routes.resolve(b"GET", b"web.localhost", b"/")
    with pytest.raises(FunctionNotFound):
        routes.resolve(b"GET", b"", b"/fn/web/")

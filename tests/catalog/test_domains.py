"""Custom domains in the catalog: kept, told to gateways, and what they route to kept with them."""

import asyncio

import pytest

from sampan.catalog.catalog import Catalog
from sampan.catalog.changes import Changed, Kind
from sampan.catalog.plans import Defaults
from sampan.model.domain import Certificate, Domain, PathRoute, Rewrite
from sampan.model.errors import (
    AliasNotFound,
    DomainAlreadyExists,
    DomainNotFound,
    DomainRoutesHere,
    FunctionNotFound,
    InvalidArgument,
    TriggerNotFound,
    VersionNotFound,
)
from sampan.model.trigger import AuthType
from sampan.store.database import Database, sqlite_url
from sampan.wire.domain_shapes import (
    AuthConfig,
    CertConfig,
    CreateCustomDomainInput,
    PathConfig,
    RewriteConfig,
    RewriteRule,
    RouteConfig,
    UpdateCustomDomainInput,
)
from sampan.wire.shapes import CreateAliasInput, CreateTriggerInput
from tests.catalog.certificates import Authority
from tests.catalog.making import active

HTTP = '{"methods":["GET"],"authType":"anonymous"}'


def routes(*given):
    made = [PathConfig(path=path, function_name=function, qualifier=q) for path, function, q in given]
    return RouteConfig(routes=tuple(made))


def domain(name="shop.example.org", *given, **members):
    return CreateCustomDomainInput(domain_name=name, route_config=routes(*given), **members)


async def trigger(catalog, function="web", qualifier=None):
    given = CreateTriggerInput(
        trigger_name=f"http-{qualifier}", trigger_type="http", trigger_config=HTTP, qualifier=qualifier
    )
    await catalog.triggers.create(function, given)


@pytest.fixture
async def web(catalog):
    """A function with a version and an alias, each with an HTTP trigger."""
    await active(catalog)
    await catalog.versions.publish("web", "")
    await catalog.aliases.create("web", CreateAliasInput(alias_name="prod", version_id="1"))
    for qualifier in (None, "1", "prod"):
        await trigger(catalog, qualifier=qualifier)
    return catalog


async def test_a_domain_is_told_to_gateways_as_it_was_given(web):
    chain, key = Authority().issue("shop.example.org")
    rules = RewriteConfig(
        regex_rules=(RewriteRule(match="^/a/(.*)", replacement="/$1"),),
        equal_rules=(RewriteRule(match="/b", replacement="/c"),),
    )
    route = PathConfig(path="/a/*", function_name="web", qualifier="prod", methods=("GET",), rewrite_config=rules)
    await web.domains.create(
        CreateCustomDomainInput(
            domain_name="Shop.Example.org",
            protocol="HTTP,HTTPS",
            route_config=RouteConfig(routes=(route,)),
            cert_config=CertConfig(cert_name="c", certificate=chain, private_key=key),
            auth_config=AuthConfig(auth_type="function"),
        )
    )
    told = Domain(
        name="shop.example.org",
        protocols=("HTTP", "HTTPS"),
        routes=(
            PathRoute(
                "/a/*", "web", "prod", ("GET",), (Rewrite("equal", "/b", "/c"), Rewrite("regex", "^/a/(.*)", "/$1"))
            ),
        ),
        auth=AuthType.FUNCTION,
        certificate=Certificate("c", chain, key),
    )
    assert (await web.routes()).domains == (told,)
    assert await web.domain("shop.example.org") == told
    assert await web.domain("other.example.org") is None


async def test_a_domain_outlives_the_process(web, tmp_path):
    made = await web.domains.create(domain("shop.example.org", ("/*", "web", None)))
    database = Database(sqlite_url(tmp_path / "db" / "catalog.db"))
    again = Catalog(database, Defaults(account="1"))
    assert await again.domains.get("SHOP.example.org") == made
    await database.close()


async def test_a_domain_exists_once_and_goes(web):
    await web.domains.create(domain())
    with pytest.raises(DomainAlreadyExists, match=r"shop\.example\.org"):
        await web.domains.create(domain("SHOP.example.org"))
    await web.domains.delete("Shop.example.org")
    for gone in (
        web.domains.get("shop.example.org"),
        web.domains.delete("shop.example.org"),
        web.domains.update("shop.example.org", UpdateCustomDomainInput()),
    ):
        with pytest.raises(DomainNotFound, match=r"shop\.example\.org"):
            await gone


async def test_domains_are_found_by_the_beginning_of_their_names(web):
    for name in ("b.org", "a.org", "*.a.org"):
        await web.domains.create(domain(name))
    assert [record.name for record in await web.domains.matching("")] == ["*.a.org", "a.org", "b.org"]
    assert [record.name for record in await web.domains.matching("A")] == ["a.org"]


@pytest.mark.parametrize(
    ("error", "function", "qualifier"),
    [
        (FunctionNotFound, "nope", None),
        (VersionNotFound, "web", "9"),
        (AliasNotFound, "web", "nope"),
        (TriggerNotFound, "bare", None),
    ],
)
async def test_a_route_goes_to_what_is_there_and_has_a_trigger(web, error, function, qualifier):
    await active(web, "bare")
    with pytest.raises(error, match=r"'(nope|9|bare)'"):
        await web.domains.create(domain("shop.example.org", ("/", function, qualifier)))
    await web.domains.create(domain())
    with pytest.raises(error):
        await web.domains.update(
            "shop.example.org", UpdateCustomDomainInput(route_config=routes(("/", function, qualifier)))
        )
    assert (await web.domains.get("shop.example.org")).routes == ()


async def test_the_platforms_own_names_are_refused(web):
    with pytest.raises(InvalidArgument, match="domainName"):
        await web.domains.create(domain("web.localhost"))


async def test_what_a_domain_routes_to_cannot_be_deleted(web):
    await web.domains.create(domain("a.org", ("/v", "web", "1"), ("/p", "web", "prod"), ("/l", "web", None)))
    for qualifier in (None, "1", "prod"):
        await web.triggers.delete("web", f"http-{qualifier}")
    with pytest.raises(DomainRoutesHere, match=r"alias 'prod' of function 'web'.*'a\.org'.*'/p'"):
        await web.aliases.delete("web", "prod")
    await web.domains.update("a.org", UpdateCustomDomainInput(route_config=routes(("/v", "web", "1"))))
    await web.aliases.delete("web", "prod")
    with pytest.raises(DomainRoutesHere, match="version '1'"):
        await web.versions.delete("web", "1")
    with pytest.raises(DomainRoutesHere, match="function 'web'"):
        await web.functions.delete("web")
    await web.domains.delete("a.org")
    await web.versions.delete("web", "1")
    await web.functions.delete("web")


async def test_a_route_that_was_there_is_not_asked_for_its_trigger_again(web):
    await web.domains.create(domain("a.org", ("/", "web", None)))
    await web.triggers.delete("web", "http-None")
    await web.domains.update("a.org", UpdateCustomDomainInput(auth_config=AuthConfig(auth_type="function")))
    assert (await web.domain("a.org")).auth is AuthType.FUNCTION


async def test_every_change_of_a_domain_is_told_once_it_is_durable(web):
    changes = web.changes.subscribe()
    with pytest.raises(FunctionNotFound):
        await web.domains.create(domain("a.org", ("/", "nope", None)))
    assert not changes.waiting
    for change in (
        web.domains.create(domain("a.org")),
        web.domains.update("a.org", UpdateCustomDomainInput()),
        web.domains.delete("a.org"),
    ):
        await change
        async with asyncio.timeout(10):
            assert await anext(changes) == Changed("a.org", Kind.DOMAIN)

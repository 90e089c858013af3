"""What a custom domain may be; each refusal names its field."""

from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from sampan.catalog import certificates, domain_rules
from sampan.model.errors import FieldNotSupported, InvalidArgument
from sampan.wire.domain_shapes import (
    AuthConfig,
    CertConfig,
    CreateCustomDomainInput,
    PathConfig,
    RewriteConfig,
    RewriteRule,
    RouteConfig,
    TlsConfig,
    UpdateCustomDomainInput,
    WafConfig,
)
from sampan.wire.shapes import CorsConfig
from tests.catalog.certificates import NOW, Authority

DOMAIN = "shop.example.org"
AUTHORITY = Authority()
CHAIN, KEY = AUTHORITY.issue(DOMAIN)
SECONDS = NOW.timestamp()


def merged(given, old=None, name=DOMAIN):
    return domain_rules.merged(name, old or UpdateCustomDomainInput(), given, SECONDS)


def one_route(**members):
    route = PathConfig(**{"path": "/", "function_name": "web", **members})
    return UpdateCustomDomainInput(route_config=RouteConfig(routes=(route,)))


def rule(match, replacement):
    return (RewriteRule(match=match, replacement=replacement),)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("Shop.Example.ORG", "shop.example.org"),
        ("*.example.org", "*.example.org"),
        ("a.b", "a.b"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("fn.example.com.evil.org", "fn.example.com.evil.org"),
    ],
)
def test_a_domains_name_is_kept_in_lower_case(given, name):
    assert domain_rules.domain_name(given, "fn.example.com") == name


@pytest.mark.parametrize(
    "given",
    [
        None, "", "a", "localhost", "web.localhost", "*.localhost", "fn.example.com", "web.fn.example.com",
        "*.fn.example.com", "a..b", ".a.b", "a.b.", "-a.b", "a-.b", "a_b.c", "a b.c", "*.*.a.b", "a.*.b", "*",
        "*.a",
        "10.0.0.1", "[::1]", "a.b:80", "http://a.b", "bücher.example",
        "a" * 64 + ".b", "a." * 127 + "bc", "a.b\n",
    ],
)  # fmt: skip
def test_names_that_are_no_domain_or_not_the_users_own_are_refused(given):
    with pytest.raises(InvalidArgument, match="domainName"):
        domain_rules.domain_name(given, "fn.example.com")


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("protocol", UpdateCustomDomainInput(protocol="http")),
        ("protocol", UpdateCustomDomainInput(protocol="HTTPS,HTTP")),
        ("certConfig", UpdateCustomDomainInput(protocol="HTTPS")),
        ("certConfig", UpdateCustomDomainInput(protocol="HTTP,HTTPS")),
        ("routeConfig.routes[0].path", one_route(path=None)),
        ("routeConfig.routes[0].path", one_route(path="login")),
        ("routeConfig.routes[0].path", one_route(path="/a*")),
        ("routeConfig.routes[0].path", one_route(path="/*/a")),
        ("routeConfig.routes[0].path", one_route(path="/a?b")),
        ("routeConfig.routes[0].path", one_route(path="/a b")),
        ("routeConfig.routes[0].path", one_route(path="/ä")),
        ("routeConfig.routes[0].path", one_route(path="/" + "a" * 1024)),
        ("routeConfig.routes[0].functionName", one_route(function_name=None)),
        ("routeConfig.routes[0].functionName", one_route(function_name="a b")),
        ("routeConfig.routes[0].qualifier", one_route(qualifier="a b")),
        ("routeConfig.routes[0].methods", one_route(methods=("FETCH",))),
        (
            "routeConfig.routes[1].path",
            UpdateCustomDomainInput(
                route_config=RouteConfig(routes=(PathConfig(path="/a", function_name="web"),) * 2)
            ),
        ),
        (
            "routeConfig.routes",
            UpdateCustomDomainInput(
                route_config=RouteConfig(
                    routes=tuple(PathConfig(path=f"/{at}", function_name="web") for at in range(101))
                )
            ),
        ),
        ("tlsConfig.minVersion", UpdateCustomDomainInput(tls_config=TlsConfig(min_version="TLSv1.0"))),
        ("tlsConfig.maxVersion", UpdateCustomDomainInput(tls_config=TlsConfig(max_version="SSLv3"))),
        (
            "tlsConfig.maxVersion",
            UpdateCustomDomainInput(tls_config=TlsConfig(min_version="TLSv1.3", max_version="TLSv1.2")),
        ),
    ],
)
def test_a_refusal_names_the_field(field, given):
    with pytest.raises(InvalidArgument) as refused:
        merged(given)
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("field", "config"),
    [
        ("equalRules[0].match", RewriteConfig(equal_rules=rule("old", "/new"))),
        ("equalRules[0].match", RewriteConfig(equal_rules=rule("/old?a=1", "/new"))),
        ("equalRules[0].replacement", RewriteConfig(equal_rules=rule("/old", ""))),
        ("equalRules[0].replacement", RewriteConfig(equal_rules=rule("/old", "/a\r\nX: y"))),
        ("equalRules[0].replacement", RewriteConfig(equal_rules=rule("/old", "/a b"))),
        ("wildcardRules[0].match", RewriteConfig(wildcard_rules=rule("", "/"))),
        ("wildcardRules[0].replacement", RewriteConfig(wildcard_rules=rule("/api/*", "/$2"))),
        ("regexRules[0].match", RewriteConfig(regex_rules=rule("(", "/"))),
        ("regexRules[0].match", RewriteConfig(regex_rules=rule(r"(a)\1", "/"))),
        ("regexRules[0].match", RewriteConfig(regex_rules=rule("a" * 513, "/"))),
        ("regexRules[0].match", RewriteConfig(regex_rules=rule("((((a{30}){30}){30}){30})", "/"))),
        ("regexRules[0].replacement", RewriteConfig(regex_rules=rule("(a)", "/$b"))),
        ("regexRules[0].replacement", RewriteConfig(regex_rules=rule("(?P<a>a)", "/${b}"))),
        ("regexRules[0].replacement", RewriteConfig(regex_rules=rule("(a)", "/" + "$1" * 17))),
    ],
)
def test_a_rewrite_rule_that_cannot_be_carried_out_is_refused_by_its_place(field, config):
    with pytest.raises(InvalidArgument) as refused:
        merged(one_route(rewrite_config=config))
    assert refused.value.field == f"routeConfig.routes[0].rewriteConfig.{field}"


def test_there_is_an_end_to_the_rules_of_a_route():
    config = RewriteConfig(regex_rules=rule("a", "/") * 33)
    with pytest.raises(InvalidArgument, match="at most 32"):
        merged(one_route(rewrite_config=config))


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("wafConfig.enableWAF", CreateCustomDomainInput(waf_config=WafConfig(enable_waf=True))),
        ("isE2B", CreateCustomDomainInput(is_e2b=True)),
        ("tlsConfig.cipherSuites", UpdateCustomDomainInput(tls_config=TlsConfig(cipher_suites=("TLS_X",)))),
    ],
)
def test_what_the_platform_cannot_do_is_said_so(field, given):
    with pytest.raises(FieldNotSupported) as refused:
        merged(given)
    assert refused.value.operation == field


def test_defaults_are_filled_in():
    made = merged(one_route(methods=("GET", "GET", "PUT")))
    assert (made.protocol, made.auth_config) == ("HTTP", AuthConfig(auth_type="anonymous"))
    assert made.route_config.routes == (
        PathConfig(path="/", function_name="web", qualifier="LATEST", methods=("GET", "PUT")),
    )


def test_what_an_update_leaves_out_stays_and_what_it_sends_empty_is_cleared():
    full = merged(
        UpdateCustomDomainInput(
            protocol="HTTP,HTTPS",
            route_config=one_route().route_config,
            cert_config=CertConfig(cert_name="c", certificate=CHAIN, private_key=KEY),
            tls_config=TlsConfig(min_version="TLSv1.3"),
            auth_config=AuthConfig(auth_type="function"),
        )
    )
    assert full.tls_config == TlsConfig(min_version="TLSv1.3", max_version="TLSv1.3")
    assert merged(UpdateCustomDomainInput(), full) == full
    bare = UpdateCustomDomainInput(
        protocol="HTTP",
        route_config=RouteConfig(routes=()),
        cert_config=CertConfig(cert_name="", certificate="", private_key=""),
        tls_config=TlsConfig(),
        auth_config=AuthConfig(),
        cors_config=CorsConfig(),
    )
    assert merged(bare, full) == UpdateCustomDomainInput(
        protocol="HTTP", route_config=RouteConfig(routes=()), auth_config=AuthConfig(auth_type="anonymous")
    )
    with pytest.raises(InvalidArgument, match="certConfig"):
        merged(UpdateCustomDomainInput(cert_config=bare.cert_config), full)


def test_a_certificate_sent_back_as_a_reply_showed_it_keeps_its_key():
    old = merged(UpdateCustomDomainInput(cert_config=CertConfig(cert_name="c", certificate=CHAIN, private_key=KEY)))
    again = CertConfig(cert_name="renamed", certificate=CHAIN, private_key="")
    assert merged(UpdateCustomDomainInput(cert_config=again), old).cert_config.private_key == KEY
    other = CertConfig(cert_name="c", certificate=AUTHORITY.issue(DOMAIN)[0], private_key="")
    with pytest.raises(InvalidArgument, match="privateKey"):
        merged(UpdateCustomDomainInput(cert_config=other), old)


def test_a_certificate_with_its_chain_serves_its_domain():
    certificates.check(DOMAIN, CHAIN + AUTHORITY.pem, KEY, SECONDS)
    chain, key = AUTHORITY.issue("other.org", "*.Example.org")
    certificates.check(DOMAIN, chain, key, SECONDS)
    certificates.check("*.example.org", chain, key, SECONDS)
    for other in (rsa.generate_private_key(65537, 2048), ed25519.Ed25519PrivateKey.generate()):
        certificates.check(DOMAIN, *AUTHORITY.issue(DOMAIN, key=other), SECONDS)


def _with(names, **more):
    chain, key = AUTHORITY.issue(*names, **more)
    return chain, key


@pytest.mark.parametrize(
    ("field", "said", "chain", "key"),
    [
        ("privateKey", "the key of another certificate", CHAIN, AUTHORITY.issue(DOMAIN)[1]),
        ("privateKey", "with a password", *_with([DOMAIN], password=b"secret")),
        ("privateKey", "shorter", *_with([DOMAIN], key=rsa.generate_private_key(65537, 1024))),
        ("privateKey", "0 characters", CHAIN, ""),
        ("privateKey", "no private key", CHAIN, "no key"),
        ("privateKey", "no private key", CHAIN, CHAIN),
        ("privateKey", "characters", CHAIN, KEY + " " * (16 << 10)),
        ("certificate", "0 characters", "", KEY),
        ("certificate", "no certificate", "no certificate", KEY),
        ("certificate", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", KEY),
        ("certificate", "another order", CHAIN + Authority().pem, KEY),
        ("certificate", "expired", *_with([DOMAIN], until=NOW - timedelta(days=1))),
        ("certificate", "one for other.org", *_with(["other.org"])),
        ("certificate", "one for no name", *_with([])),
        ("certificate", "one for", *_with(["*.shop.example.org", "*.org", "example.org"])),
    ],
)
def test_a_certificate_that_cannot_serve_is_refused_without_telling_the_key(field, said, chain, key):
    with pytest.raises(InvalidArgument) as refused:
        certificates.check(DOMAIN, chain, key, SECONDS)
    assert refused.value.field == f"certConfig.{field}"
    assert said in str(refused.value)
    assert not any(line in str(refused.value) for line in key.splitlines() if len(line) > 20 and "CERT" not in line)


def test_secrets_do_not_show():
    shown = repr(CertConfig(cert_name="c", certificate=CHAIN, private_key=KEY)) + repr(AuthConfig(auth_info="hush"))
    assert KEY.splitlines()[1] not in shown
    assert "hush" not in shown


@given(st.text(max_size=80))
def test_any_text_is_a_name_or_refused(text):
    try:
        name = domain_rules.domain_name(text, "fn.example.com")
    except InvalidArgument:
        return
    assert name == text.lower()
    assert domain_rules.domain_name(name, "fn.example.com") == name

"""What auth types and CORS rules may say. Source: triggers.md §3."""

import json

import msgspec
import pytest

from sampan.catalog.guards import cors, guard
from sampan.catalog.rules import http_trigger
from sampan.model.errors import FieldNotSupported, InvalidArgument
from sampan.model.trigger import AuthType, Basic, Bearer, ClaimPass, Cors, HttpTrigger, Jwt, TokenLookup
from sampan.wire.shapes import CorsConfig, CreateTriggerInput, HttpTriggerConfig
from tests.catalog.making import active
from tests.wire.keys import issuer

SECRET = "t0p-s3cret-" * 4
JWKS = {"keys": [issuer("P-256").jwk]}


def jwt(**members):
    return guard("jwt", json.dumps({"jwks": JWKS} | members), "triggerConfig")[1]


def bearer(*tokens):
    return guard("bearer", json.dumps({"tokens": list(tokens)}), "triggerConfig")[1]


def basic(*users):
    return guard("basic", json.dumps({"users": [{"username": u, "password": p} for u, p in users]}), "x")[1]


@pytest.mark.parametrize(
    ("kind", "auth"),
    [
        ("anonymous", AuthType.ANONYMOUS),
        ("function", AuthType.FUNCTION),
        (None, AuthType.FUNCTION),
        ("", AuthType.FUNCTION),
    ],
)
@pytest.mark.parametrize("config", [None, "", "{}", "null"])
def test_auth_types_without_a_configuration(kind, auth, config):
    assert guard(kind, config, "triggerConfig") == (auth, None)


def test_a_jwt_config_by_either_spelling():
    told = {
        "JWKS": JWKS,
        "TokenLookup": "header:Authorization:Bearer,cookie:AuthorizationCookie, query:t ,form:token",
        "ClaimPassBy": "query:uid:uid,header:name:x-user",
        "Whitelist": ["/login", "/public/*"],
    }
    lower = {name[0].lower() + name[1:]: value for name, value in told.items() if name != "JWKS"} | {"jwks": JWKS}
    for one in (told, lower):
        auth, check = guard("jwt", json.dumps(one), "triggerConfig")
        assert auth is AuthType.JWT
        assert check == Jwt(
            jwks=json.dumps(JWKS, separators=(",", ":")),
            lookups=(
                TokenLookup("header", "Authorization", "Bearer"),
                TokenLookup("cookie", "AuthorizationCookie"),
                TokenLookup("query", "t"),
                TokenLookup("form", "token"),
            ),
            claims=(ClaimPass("query", "uid", "uid"), ClaimPass("header", "name", "x-user")),
            paths=("/login", "/public/*"),
            only_paths=False,
        )


def test_a_jwt_is_looked_for_in_the_authorization_header_unless_told_otherwise():
    assert jwt().lookups == (TokenLookup("header", "Authorization", "Bearer"),)
    assert jwt(claimPassBy="", tokenLookup="").claims == ()


def test_a_blacklist_names_the_paths_that_are_checked():
    check = jwt(blacklist=["/admin/*"])
    assert (check.paths, check.only_paths) == (("/admin/*",), True)


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"jwks": None}, "jwks.keys"),
        ({"jwks": {"keys": [issuer("P-256").jwk, issuer("RSA").jwk]}}, "jwks.keys[1].kid"),
        ({"tokenLookup": "body:x"}, "tokenLookup"),
        ({"tokenLookup": "header"}, "tokenLookup"),
        ({"tokenLookup": "header:a b"}, "tokenLookup"),
        ({"tokenLookup": "header:a:b\r\n"}, None),
        ({"tokenLookup": ["header:a"]}, "tokenLookup"),
        ({"tokenLookup": ",".join(["header:a"] * 11)}, "tokenLookup"),
        ({"claimPassBy": "header:uid"}, "claimPassBy"),
        ({"claimPassBy": "nowhere:uid:uid"}, "claimPassBy"),
        ({"claimPassBy": "header:uid:a\nb"}, "claimPassBy"),
        ({"claimPassBy": "header:uid:x-fc-request-id"}, "claimPassBy"),
        ({"claimPassBy": "header:uid:X_FC_Request_Id"}, "claimPassBy"),
        ({"claimPassBy": "header:uid:Host"}, "claimPassBy"),
        ({"claimPassBy": "header:uid:Content-Length"}, "claimPassBy"),
        ({"claimPassBy": "header:uid:X-Forwarded-For"}, "claimPassBy"),
        ({"whitelist": "/a"}, "whitelist"),
        ({"whitelist": ["a"]}, "whitelist"),
        ({"whitelist": ["/a*b"]}, "whitelist"),
        ({"blacklist": ["/a b"]}, "blacklist"),
        ({"whitelist": ["/a"], "blacklist": ["/b"]}, "blacklist"),
        ({"Whitelist": ["/a"], "whitelist": ["/b"]}, ""),
        ({"audience": "me"}, "audience"),
    ],
)
def test_a_bad_jwt_config_is_refused_by_its_field(members, field):
    if field is None:
        assert jwt(**members).lookups == (TokenLookup("header", "a", "b"),)  # blanks around are nothing
        return
    with pytest.raises(InvalidArgument) as error:
        jwt(**members)
    assert error.value.field == "triggerConfig.authConfig" + (field and f".{field}")


@pytest.mark.parametrize("place", ["cookie", "form"])
def test_a_claim_cannot_go_by_cookie_or_form_yet(place):
    with pytest.raises(FieldNotSupported, match="claimPassBy"):
        jwt(claimPassBy=f"{place}:uid:uid")


def test_disabled_tokens_are_dropped():
    check = bearer(
        {"enable": True, "tokenData": "a" * 32, "tokenName": "one"},
        {"enable": False, "tokenData": "b" * 128},
        {"TokenData": "c" * 40},
    )
    assert check == Bearer(("a" * 32, "c" * 40))


@pytest.mark.parametrize(
    ("tokens", "field"),
    [
        ([], ".tokens"),
        ([{"tokenData": f"{n:040}"} for n in range(21)], ".tokens"),
        (["a" * 32], ".tokens[0]"),
        ([{}], ".tokens[0].tokenData"),
        ([{"tokenData": "a" * 31}], ".tokens[0].tokenData"),
        ([{"tokenData": "a" * 129}], ".tokens[0].tokenData"),
        ([{"tokenData": "a" * 31 + " "}], ".tokens[0].tokenData"),
        ([{"tokenData": "é" * 32}], ".tokens[0].tokenData"),
        ([{"tokenData": "a" * 32, "enable": "yes"}], ".tokens[0].enable"),
        ([{"tokenData": "a" * 32, "expires": 1}], ".tokens[0].expires"),
    ],
)
def test_bad_bearer_tokens_are_refused_by_their_field(tokens, field):
    with pytest.raises(InvalidArgument) as error:
        bearer(*tokens)
    assert error.value.field == f"triggerConfig.authConfig{field}"


def test_users_have_a_name_and_a_password():
    assert basic(("me", "a:b"), ("you", "é")) == Basic((("me", "a:b"), ("you", "é")))


@pytest.mark.parametrize(
    "users",
    [
        [], [("", "x")], [("a:b", "x")], [("me", "")], [("me", "x"), ("me", "y")], [("me", "a\nb")], [("me", None)],
        [("m" * 129, "x")], [("me", "x" * 129)], [(f"u{n}", "x") for n in range(21)],
    ],
)  # fmt: skip
def test_bad_users_are_refused(users):
    with pytest.raises(InvalidArgument, match=r"x\.authConfig\.users"):
        basic(*users)


@pytest.mark.parametrize("kind", ["jwt", "basic", "bearer"])
@pytest.mark.parametrize("config", [None, "", "{}", "[]", "no json", '"x"', "[" * 5000])
def test_an_auth_type_that_checks_needs_something_to_check_with(kind, config):
    with pytest.raises(InvalidArgument, match=r"authConfig\.authInfo"):
        guard(kind, config, "authConfig", "authInfo")


def test_an_unknown_auth_type_and_a_config_that_nobody_reads_are_refused():
    with pytest.raises(InvalidArgument, match=r"triggerConfig\.authType.*bearer"):
        guard("oauth", None, "triggerConfig")
    with pytest.raises(InvalidArgument, match=r"triggerConfig\.authConfig"):
        guard("anonymous", '{"tokens":[]}', "triggerConfig")


def test_no_error_and_no_repr_holds_a_secret():
    for kind, config in (
        ("basic", {"users": [{"username": "me", "password": SECRET}, {"username": "me", "password": SECRET}]}),
        ("basic", {"users": [{"username": "me", "password": SECRET * 4}]}),
        ("bearer", {"tokens": [{"tokenData": SECRET + " "}]}),
        ("bearer", {"tokens": [SECRET]}),
        ("jwt", {"jwks": {"keys": [{"kty": "oct", "k": SECRET, "alg": "RS256"}]}}),
        ("jwt", {"jwks": {"keys": [{"kty": "RSA", "n": SECRET, "e": SECRET}]}}),
        ("anonymous", {"tokens": SECRET}),
    ):
        with pytest.raises(InvalidArgument) as error:
            guard(kind, json.dumps(config), "triggerConfig")
        assert "t0p-s3cret" not in str(error.value)
    secret = {"kty": "oct", "k": SECRET}
    for check in (bearer({"tokenData": SECRET}), basic(("me", SECRET)), jwt(jwks={"keys": [secret]})):
        assert "t0p-s3cret" not in repr(check)
    config = json.dumps({"tokens": [{"tokenData": SECRET}]})
    given = HttpTriggerConfig(methods=("GET",), auth_type="bearer", auth_config=config)
    assert "t0p-s3cret" not in repr(http_trigger(given))


# ── CORS ──


def test_cors_rules_with_their_defaults():
    assert cors(None, "corsConfig") is None
    assert cors(CorsConfig(allow_origins=("*",)), "corsConfig") == Cors(origins=("*",), max_age=3600)
    assert cors(
        CorsConfig(
            allow_origins=(
                "HTTPS://App.Example.org:443",
                "http://localhost:3000",
                "https://*",
                "http://[::1]:8080",
            ),
            allow_methods=("get", "PUT"),
            allow_headers=("X-A", "*"),
            expose_headers=("X-B",),
            allow_credentials=True,
            max_age=0,
        ),
        "corsConfig",
    ) == Cors(
        origins=("https://app.example.org", "http://localhost:3000", "https://*", "http://[::1]:8080"),
        methods=("GET", "PUT"),
        headers=("X-A", "*"),
        exposed=("X-B",),
        credentials=True,
        max_age=0,
    )


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"allow_origins": None}, "allowOrigins"),
        ({"allow_origins": ("https://*.example.org",)}, "allowOrigins"),
        ({"allow_origins": ("http://*",)}, "allowOrigins"),
        ({"allow_origins": ("example.org",)}, "allowOrigins"),
        ({"allow_origins": ("https://example.org/",)}, "allowOrigins"),
        ({"allow_origins": ("https://example.org/a",)}, "allowOrigins"),
        ({"allow_origins": ("https://a.org\r\nX: 1",)}, "allowOrigins"),
        ({"allow_origins": ("null",)}, "allowOrigins"),
        ({"allow_methods": ("OPTIONS",)}, "allowMethods"),
        ({"allow_methods": ("GET", "*")}, "allowMethods"),
        ({"allow_methods": ("TRACE",)}, "allowMethods"),
        ({"allow_headers": ("a b",)}, "allowHeaders"),
        ({"expose_headers": ("a\r\nb",)}, "exposeHeaders"),
        ({"max_age": -1}, "maxAge"),
        ({"max_age": 86401}, "maxAge"),
        ({"allow_credentials": True}, "allowCredentials"),
    ],
)
def test_bad_cors_rules_are_refused_by_their_field(config, field):
    with pytest.raises(InvalidArgument) as error:
        cors(CorsConfig(**({"allow_origins": ("*",)} | config)), "triggerConfig.corsConfig")
    assert error.value.field == f"triggerConfig.corsConfig.{field}"


def test_a_trigger_keeps_what_it_was_given():
    config = json.dumps({"jwks": JWKS})
    rules = CorsConfig(allow_origins=("https://*",))
    given = HttpTriggerConfig(methods=("GET",), auth_type="jwt", auth_config=config, cors_config=rules)
    kept = http_trigger(given)
    assert (kept.auth_type, kept.auth_config, kept.cors_config) == ("jwt", config, rules)


async def test_gateways_are_told_what_callers_are_checked_against(catalog):
    await active(catalog)
    text = {"methods": ["GET"], "authType": "jwt", "authConfig": json.dumps({"jwks": JWKS})}
    text["corsConfig"] = {"allowOrigins": ["https://app.example.org"]}
    given = CreateTriggerInput(trigger_name="http", trigger_type="http", trigger_config=json.dumps(text))
    await catalog.triggers.create("web", given)
    (trigger,) = (await catalog.route("web")).triggers
    assert (trigger.auth, trigger.check) == (AuthType.JWT, jwt())
    assert trigger.cors == Cors(origins=("https://app.example.org",))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(trigger), type=HttpTrigger) == trigger

"""JSON web keys and tokens, and what is tried against them. Source: RFC 7515–7519, RFC 8725."""

import hmac
import json
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.model.errors import InvalidArgument, TokenRefused
from sampan.wire.tokens import KeySet, public_part, read_keys
from tests.wire.keys import SECRET, b64, issuer, unsigned

ALGORITHMS = {
    "RSA": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    "P-256": ("ES256",),
    "P-384": ("ES384",),
    "P-521": ("ES512",),
    "Ed25519": ("EdDSA",),
    "Ed448": ("EdDSA",),
    "oct": ("HS256", "HS384", "HS512"),
}
PAIRS = [(kind, algorithm) for kind, some in ALGORITHMS.items() for algorithm in some]


def keys(*jwks: object) -> KeySet:
    return read_keys({"keys": list(jwks)}, "jwks")


def refused(known: KeySet, token: str | bytes) -> None:
    with pytest.raises(TokenRefused) as error:
        known.claims(token.encode() if isinstance(token, str) else token)
    assert str(error.value) == "invalid or expired jwt"


@pytest.mark.parametrize(("kind", "algorithm"), PAIRS)
def test_a_key_verifies_what_its_owner_signs_by_each_of_its_algorithms(kind: str, algorithm: str) -> None:
    token = issuer(kind).sign(algorithm, sub="you", aud="somebody")
    assert keys(issuer(kind).jwk).claims(token.encode())["sub"] == "you"


@pytest.mark.parametrize(("kind", "algorithm"), PAIRS)
def test_a_token_of_another_kind_of_key_is_refused(kind: str, algorithm: str) -> None:
    others = [issuer(other).jwk | {"kid": other} for other in ALGORITHMS if other != kind]
    for other in others:
        refused(keys(other), issuer(kind).sign(algorithm, kid=other["kid"]))


def test_a_key_that_names_its_algorithm_takes_no_other() -> None:
    one = keys(issuer("RSA").jwk | {"alg": "RS256"})
    assert one.claims(issuer("RSA").sign("RS256").encode())
    refused(one, issuer("RSA").sign("RS512"))
    refused(one, issuer("RSA").sign("PS256"))


@pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE", "", None, "HS256 ", 1, ["none"]])
def test_an_unsigned_token_is_refused(name: object) -> None:
    for signature in (b"", b"x"):
        token = unsigned({"alg": name, "typ": "JWT"}, {"sub": "me"}, signature)
        for kind in ALGORITHMS:
            refused(keys(issuer(kind).jwk), token)
    refused(keys(issuer("RSA").jwk), unsigned({"typ": "JWT"}, {"sub": "me"}))


def test_a_public_key_is_no_shared_secret() -> None:
    """The classic confusion: signed by HMAC with what everybody knows."""
    rsa = issuer("RSA")
    for secret in (rsa.pem(), rsa.pem().strip(), rsa.jwk["n"].encode(), json.dumps(rsa.jwk).encode()):
        for name, digest in (("HS256", "sha256"), ("HS512", "sha512")):
            body = unsigned({"alg": name}, {"sub": "admin"}).rstrip(".")
            token = f"{body}.{b64(hmac.digest(secret, body.encode(), digest))}"
            refused(keys(rsa.jwk), token)
            refused(keys(rsa.jwk, issuer("oct").named("s")), token)


def test_a_key_that_a_token_brings_along_counts_for_nothing() -> None:
    mine, theirs = issuer("P-256"), issuer("Ed25519")
    header = {"alg": "EdDSA", "jwk": theirs.jwk, "jku": "http://127.0.0.1/keys", "x5u": "http://127.0.0.1/x"}
    body = unsigned(header, {"sub": "admin"}).rstrip(".")
    refused(keys(mine.jwk), f"{body}.{b64(theirs.key.sign(body.encode()))}")


def test_a_token_says_by_kid_which_key_it_means() -> None:
    a, b, plain = issuer("P-256"), issuer("P-384"), issuer("Ed25519")
    known = keys(a.named("a"), b.named("b"), plain.jwk)
    assert known.claims(a.sign("ES256", kid="a").encode())
    assert known.claims(b.sign("ES384", kid="b").encode())
    assert known.claims(plain.sign("EdDSA").encode())
    assert known.claims(plain.sign("EdDSA", kid="unknown").encode())
    refused(known, a.sign("ES256", kid="b"))
    refused(known, a.sign("ES256"))
    refused(keys(a.named("a")), a.sign("ES256", kid="b"))
    refused(keys(a.named("a")), unsigned({"alg": "ES256", "kid": ["a"]}, {}))


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": 1},
        {"exp": int(time.time()) - 40},
        {"nbf": int(time.time()) + 600},
        {"iat": int(time.time()) + 600},
        {"exp": "soon"},
        {"exp": [1]},
        {"nbf": {}},
        {"exp": 1e400},
        {"exp": -1e400},
    ],
)
def test_a_token_out_of_its_time_is_refused(claims: dict[str, object]) -> None:
    claims = {"exp": None} | claims
    refused(keys(issuer("oct").jwk), issuer("oct").sign("HS256", **claims))


def test_clocks_may_differ_a_little() -> None:
    now = int(time.time())
    known = keys(issuer("oct").jwk)
    assert known.claims(issuer("oct").sign("HS256", exp=now - 10).encode())
    assert known.claims(issuer("oct").sign("HS256", nbf=now + 10, iat=now + 10).encode())


def test_an_extension_that_must_be_understood_is_not() -> None:
    body = unsigned({"alg": "HS256", "crit": ["b64"], "b64": False}, {"sub": "me"}).rstrip(".")
    refused(keys(issuer("oct").jwk), f"{body}.{b64(hmac.digest(SECRET, body.encode(), 'sha256'))}")
    body = unsigned({"alg": "HS256", "crit": ["x"], "x": 1}, {"sub": "me"}).rstrip(".")
    refused(keys(issuer("oct").jwk), f"{body}.{b64(hmac.digest(SECRET, body.encode(), 'sha256'))}")


def test_a_changed_byte_anywhere_is_noticed() -> None:
    token = issuer("Ed25519").sign("EdDSA")
    known = keys(issuer("Ed25519").jwk)
    for at in range(len(token) - 2):  # the last characters hold bits that mean nothing
        other = "A" if token[at] != "A" else "B"
        refused(known, token[:at] + other + token[at + 1 :])


@pytest.mark.parametrize(
    "token",
    [
        "", ".", "..", "...", "a.b.c", "a" * 17_000, "e30.e30.", "é.è.ê", "\0", "null.null.null",
        f"{b64(b'[' * 9000)}.e30.e30", f"{b64(b'[]')}.e30.e30", f"{b64(bytes(range(256)))}.e30.e30",
        unsigned({"alg": "HS256", "kid": "x" * 5000}, {}),
    ],
)  # fmt: skip
def test_what_is_no_token_is_refused(token: str) -> None:
    for kind in ALGORITHMS:
        refused(keys(issuer(kind).jwk), token)


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_bytes_of_any_kind_are_refused_and_nothing_else(raw: bytes) -> None:
    refused(keys(issuer("oct").jwk), raw)


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=8), st.text() | st.integers() | st.none() | st.lists(st.text())))
def test_headers_of_any_kind_are_refused_and_nothing_else(header: dict[str, object]) -> None:
    refused(keys(issuer("oct").jwk), unsigned({"alg": "HS256"} | header, {"sub": "me"}, b"x"))


@pytest.mark.parametrize(
    ("jwks", "field"),
    [
        (None, "jwks.keys"),
        ([], "jwks.keys"),
        ({"keys": []}, "jwks.keys"),
        ({"keys": {}}, "jwks.keys"),
        ({"keys": ["x"]}, "jwks.keys[0]"),
        ({"keys": [{}]}, "jwks.keys[0].kty"),
        ({"keys": [{"kty": "XX"}]}, "jwks.keys[0].kty"),
        ({"keys": [{"kty": ["RSA"]}]}, "jwks.keys[0].kty"),
        ({"keys": [{"kty": "RSA"}]}, "jwks.keys[0].n"),
        ({"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}]}, "jwks.keys[0]"),
        ({"keys": [{"kty": "EC", "crv": "secp256k1", "x": "", "y": ""}]}, "jwks.keys[0].crv"),
        ({"keys": [{"kty": "EC", "crv": "P-256", "x": "AQ", "y": "AQ"}]}, "jwks.keys[0]"),
        ({"keys": [{"kty": "OKP", "crv": "X25519", "x": "AQ"}]}, "jwks.keys[0].crv"),
        ({"keys": [{"kty": "oct", "k": b64(b"short")}]}, "jwks.keys[0].k"),
        ({"keys": [{"kty": "oct", "k": b64(issuer("RSA").pem())}]}, "jwks.keys[0]"),
        ({"keys": [issuer("weak").jwk]}, "jwks.keys[0].n"),
        ({"keys": [issuer("RSA").jwk | {"alg": "HS256"}]}, "jwks.keys[0].alg"),
        ({"keys": [issuer("RSA").jwk | {"alg": "none"}]}, "jwks.keys[0].alg"),
        ({"keys": [issuer("RSA").jwk | {"kid": 1}]}, "jwks.keys[0].kid"),
        ({"keys": [issuer("RSA").jwk, issuer("oct").jwk]}, "jwks.keys[1].kid"),
        ({"keys": [issuer("RSA").named("a"), issuer("oct").named("a")]}, "jwks.keys[1].kid"),
        ({"keys": [issuer("RSA").jwk | {"use": "enc"}]}, "jwks.keys"),
    ],
)
def test_a_key_set_that_cannot_be_is_refused_by_its_field(jwks: object, field: str) -> None:
    with pytest.raises(InvalidArgument) as error:
        read_keys(jwks, "jwks")
    assert error.value.field == field
    assert b64(b"short") not in str(error.value)


def test_keys_for_encryption_beside_those_for_signatures_are_passed_over() -> None:
    both = keys(issuer("RSA").named("e", use="enc", alg="RSA-OAEP"), issuer("P-256").named("s", use="sig"))
    assert both.claims(issuer("P-256").sign("ES256", kid="s").encode())


def test_what_only_a_signer_needs_goes_no_further() -> None:
    given = {"keys": [issuer("P-256").named("a") | {"d": "private"}, issuer("oct").named("b")]}
    kept = json.loads(public_part(given))
    assert kept == {"keys": [issuer("P-256").named("a"), issuer("oct").named("b")]}
    assert read_keys(kept, "jwks").claims(issuer("oct").sign("HS256", kid="b").encode())


_LATER = """
import json, sys
import sampan.wire.tokens as tokens
before = set(sys.modules)
for jwk, token in json.load(sys.stdin):
    assert tokens.read_keys({"keys": [jwk]}, "jwks").claims(token.encode())
print(*sorted(set(sys.modules) - before))
"""


def test_nothing_is_imported_once_privileges_are_dropped() -> None:
    """Source: ADR 5."""
    pairs = [(issuer(kind).jwk, issuer(kind).sign(algorithm)) for kind, algorithm in PAIRS]
    run = subprocess.run([sys.executable, "-c", _LATER], input=json.dumps(pairs), capture_output=True, text=True)
    assert (run.stdout.strip(), run.stderr, run.returncode) == ("", "", 0)

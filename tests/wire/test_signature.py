import calendar
import hashlib
from urllib.parse import quote, urlencode

import pytest
from alibabacloud_tea_openapi.utils import Utils as VendorUtils
from darabonba.request import DaraRequest
from hypothesis import given
from hypothesis import strategies as st

from sampan.model.access import AccessKey
from sampan.model.errors import (
    InvalidAccessKey,
    MissingHeader,
    NonceReplayed,
    RequestTimeSkewed,
    SignatureMismatch,
)
from sampan.wire.signature import (
    EMPTY_SHA256,
    WINDOW,
    Nonces,
    canonical_query,
    sign,
    sign_trigger,
    verify,
    verify_trigger,
)

# Source: function-compute-api.md §2.3
KEY = AccessKey("testAK", "testSK", "1")
NOW = calendar.timegm((2026, 1, 2, 3, 4, 5))
NONCE = "0123456789abcdef0123456789abcdef"
BODY_A = (
    b'{"functionName":"hello","runtime":"custom-container","handler":"index.handler",'
    b'"customContainerConfig":{"image":"registry.local/hello:v1","port":9000}}'
)
SIGNATURE_A = "5237066ca153972ab6d8ef08c979a6a3becf44a32d853dcdd03a5736f8b49bf5"
SIGNATURE_B = "dc9167f52176e581b73fb2511e7bfd1eaf8665590d93ab87af9994a3552de6fc"
QUERY_B = {"limit": "10", "prefix": "a b*~/", "tags": '[{"Key":"k","Value":"v"}]'}


def headers(action, **more):
    return {"host": "127.0.0.1:9000", "x-acs-action": action, "x-acs-version": "2023-03-30", **more}


def check(signed, method="GET", target="/", now=NOW, nonces=None, body=None, key=KEY):
    find = {key.id: key}.get
    return verify(method, target, list(signed.items()), find, now, Nonces() if nonces is None else nonces, body)


def test_vector_a_a_post_with_a_body():
    content = {"content-type": "application/json; charset=utf-8"}
    signed = sign(KEY, "POST", "/2023-03-30/functions", headers("CreateFunction") | content, BODY_A, NOW, NONCE)
    assert signed["authorization"].endswith(f"Signature={SIGNATURE_A}")
    assert check(signed, "POST", "/2023-03-30/functions") == KEY


@pytest.mark.parametrize("target", [urlencode(QUERY_B), urlencode(QUERY_B, quote_via=quote), None])
def test_vector_b_a_query_however_it_is_written(target):
    query = target or 'tags=[{"Key":"k","Value":"v"}]&prefix=a+b*~/&limit=10'
    assert canonical_query(query) == (
        "limit=10&prefix=a%20b%2A~%2F&tags=%5B%7B%22Key%22%3A%22k%22%2C%22Value%22%3A%22v%22%7D%5D"
    )
    signed = sign(KEY, "GET", f"/2023-03-30/functions?{query}", headers("ListFunctions"), None, NOW, NONCE)
    assert signed["authorization"].endswith(f"Signature={SIGNATURE_B}")


TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
QUERY = st.dictionaries(TEXT.filter(bool), TEXT, max_size=5)
SEGMENTS = st.lists(TEXT, max_size=4).map(lambda parts: "/" + "/".join(quote(part, safe="") for part in parts))


@given(SEGMENTS, QUERY, st.binary(max_size=50), st.sampled_from(["GET", "POST", "PUT", "DELETE"]))
def test_what_is_signed_is_verified_and_nothing_else(path, query, body, method):
    target = f"{path}?{urlencode(query)}" if query else path
    signed = sign(KEY, method, target, {"Host": "h"}, body, NOW, NONCE)
    digest = hashlib.sha256(body).hexdigest()
    assert check(signed, method, target, body=digest) == KEY
    for other in (target + "x", target + ("&" if query else "?") + "x=y"):
        with pytest.raises(SignatureMismatch):
            check(signed, method, other, body=digest)
    with pytest.raises(SignatureMismatch):
        check(signed, method, target, body=hashlib.sha256(body + b"x").hexdigest())
    with pytest.raises(SignatureMismatch):
        check(signed, "PATCH", target, body=digest)


# The vendor's signer leaves names as they are; FC's own hold nothing to encode.
NAMED = st.dictionaries(st.from_regex(r"[A-Za-z0-9_.~-]+", fullmatch=True), TEXT, max_size=5)


@given(SEGMENTS, NAMED, st.binary(max_size=50), st.sampled_from(["GET", "POST", "PUT", "DELETE"]))
def test_the_vendors_signer_agrees(path, query, body, method):
    request = DaraRequest()
    request.method, request.pathname, request.query = method, path, query
    digest = hashlib.sha256(body).hexdigest()
    request.headers = headers(
        "X", **{"x-acs-date": "2026-01-02T03:04:05Z", "x-acs-signature-nonce": NONCE, "accept": "application/json"}
    )
    request.headers["x-acs-content-sha256"] = digest
    request.headers["authorization"] = VendorUtils.get_authorization(
        request, "ACS3-HMAC-SHA256", digest, KEY.id, KEY.secret
    )
    target = f"{path}?{urlencode(query)}" if query else path
    assert check(request.headers, method, target, body=digest) == KEY


def signed_get(**more):
    return sign(KEY, "GET", "/", {"host": "h", **more}, None, NOW, NONCE)


@pytest.mark.parametrize(
    "name", ["authorization", "x-acs-date", "x-acs-signature-nonce", "x-acs-content-sha256", "host"]
)
def test_a_header_that_is_missing_is_named(name):
    signed = signed_get()
    del signed[name]
    with pytest.raises(MissingHeader, match=name):
        check(signed)


@pytest.mark.parametrize("name", ["host", "x-acs-content-sha256", "x-acs-signature-nonce", "x-acs-version"])
def test_a_signed_header_that_was_changed_is_noticed(name):
    signed = signed_get(**{"x-acs-version": "2023-03-30"})
    signed[name] += "0"
    with pytest.raises(SignatureMismatch):
        check(signed)


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer x",
        "ACS3-HMAC-SHA256 Credential=testAK",
        "ACS3-RSA-SHA256 Credential=testAK,SignedHeaders=host,Signature=" + "0" * 64,
        "ACS3-HMAC-SHA256 Credential=testAK,SignedHeaders=host,Signature=" + "0" * 64,
        "ACS3-HMAC-SHA256 Credential=testAK,SignedHeaders=host;x-acs-date;x-acs-signature-nonce,Signature=é",
    ],
)
def test_an_authorization_that_proves_nothing_is_refused(authorization):
    with pytest.raises(SignatureMismatch):
        check(signed_get() | {"authorization": authorization})


def test_date_and_nonce_must_be_among_the_signed_headers():
    bare = sign_trigger(KEY, "GET", "/", {"host": "h"}, NOW)
    with pytest.raises(SignatureMismatch):
        check(bare | {"x-acs-signature-nonce": NONCE, "x-acs-content-sha256": ""})


def test_an_unknown_key_is_refused():
    with pytest.raises(InvalidAccessKey, match="testAK"):
        check(signed_get(), key=AccessKey("other", "x", "1"))


def test_a_wrong_secret_is_refused():
    with pytest.raises(SignatureMismatch):
        check(signed_get(), key=AccessKey("testAK", "other", "1"))


@pytest.mark.parametrize("late", [WINDOW + 1, -WINDOW - 1])
def test_an_expired_signature_is_refused(late):
    with pytest.raises(RequestTimeSkewed):
        check(signed_get(), now=NOW + late)
    assert check(signed_get(), now=NOW + late - (1 if late > 0 else -1)) == KEY


@pytest.mark.parametrize(
    "date", ["", "yesterday", "2026-02-31T00:00:00Z", "2026-01-02T03:04:05", "٢026-01-02T03:04:05Z"]
)
def test_a_date_that_is_none_is_refused(date):
    with pytest.raises(RequestTimeSkewed):
        check(signed_get() | {"x-acs-date": date})


def test_a_replayed_request_is_refused():
    nonces = Nonces()
    check(signed_get(), nonces=nonces)
    with pytest.raises(NonceReplayed):
        check(signed_get(), nonces=nonces)


def test_a_request_with_a_wrong_signature_does_not_use_up_its_nonce():
    nonces = Nonces()
    with pytest.raises(SignatureMismatch):
        check(signed_get(), target="/other", nonces=nonces)
    assert check(signed_get(), nonces=nonces) == KEY


def test_nonces_are_forgotten_when_their_date_is_refused_anyway():
    nonces = Nonces()
    for second in range(10):
        nonces.use("k", "n", NOW + second, NOW + second)
    nonces.use("k", "n", NOW + 3 * WINDOW, NOW + 3 * WINDOW)
    assert len(nonces) == 1


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 5)), max_size=200))
def test_full_memory_never_lets_a_replay_in(requests):
    nonces, accepted = Nonces(capacity=10), set()
    for second, nonce in requests:
        try:
            nonces.use("k", str(nonce), NOW + second, NOW)
        except (NonceReplayed, RequestTimeSkewed):
            continue
        assert (second, nonce) not in accepted
        accepted.add((second, nonce))
        assert len(nonces) <= 10


def check_trigger(signed, target, now=NOW):
    return verify_trigger("GET", target, list(signed.items()), {KEY.id: KEY}.get, now)


def test_a_trigger_call_signs_no_body_and_needs_only_a_date():
    """Source: triggers.md §3."""
    signed = sign_trigger(KEY, "GET", "/a$b?x=1&x=2", {"host": "h"}, NOW)
    assert "x-acs-content-sha256" not in signed
    assert check_trigger(signed, "/a$b?x=1&x=2") == KEY
    assert check_trigger(signed, "/a%24b?x=1") == KEY
    with pytest.raises(SignatureMismatch):
        check_trigger(signed, "/a$b?x=2")
    with pytest.raises(RequestTimeSkewed):
        check_trigger(signed, "/a$b?x=1", now=NOW + WINDOW + 1)
    del signed["x-acs-date"]
    with pytest.raises(MissingHeader):
        check_trigger(signed, "/a$b?x=1")


def test_an_api_signature_does_not_open_a_trigger():
    with pytest.raises(SignatureMismatch):
        check_trigger(signed_get(), "/")


def test_repeated_headers_are_sorted_and_joined():
    signed = sign(KEY, "GET", "/", {"host": "h", "x-acs-x": "a,b"}, None, NOW, NONCE)
    several = [pair for pair in signed.items() if pair[0] != "x-acs-x"] + [("x-acs-x", " b"), ("x-acs-x", "a ")]
    assert verify("GET", "/", several, {KEY.id: KEY}.get, NOW, Nonces(), EMPTY_SHA256) == KEY

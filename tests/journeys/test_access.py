"""Who may call, with real processes: what the command line set is checked by an unprivileged gateway."""

import json
from collections.abc import Iterator

import pytest

from tests.journeys.platform import Platform
from tests.wire.keys import b64, issuer

pytestmark = pytest.mark.root

ME = issuer("P-256")
SECRET = b64(b"a secret that is shared by two, 32+")
CONFIG = {
    "jwks": {"keys": [ME.named("me"), issuer("RSA").named("r"), {"kty": "oct", "kid": "s", "k": SECRET}]},
    "tokenLookup": "header:Authorization:Bearer",
    "claimPassBy": "header:sub:X-User",
    "whitelist": ["/free/*"],
}
APP = "https://app.example.org"
ASKING = {"origin": APP, "access-control-request-method": "POST", "access-control-request-headers": "authorization"}


@pytest.fixture
def checked(platform: Platform) -> Iterator[str]:
    """A function whose callers show a JSON web token, and which pages of one origin may call."""
    image = platform.push("misbehave")
    size = ("--memory", "128", "--cpu", "0.1", "--port", "8080")
    auth = ("--auth", "jwt", "--auth-config", "-", "--cors", APP)
    platform.cli("deploy", "checked", "--image", image, *size, *auth, stdin=json.dumps(CONFIG))
    yield "checked"
    platform.cli("rm", "checked", "--yes", "--force")


def test_callers_and_pages_are_let_in_by_the_rules_that_deploy_set(platform: Platform, checked: str) -> None:
    for name, algorithm, kid in (("P-256", "ES256", "me"), ("RSA", "PS256", "r")):
        bearing = {"authorization": f"Bearer {issuer(name).sign(algorithm, kid, sub='me')}", "x-user": "root"}
        told = platform.get(checked, "/head", headers=bearing)
        assert (told.status_code, "X-User: me\r\n" in told.text, "root" in told.text) == (200, True, False)
    for headers in ({}, {"authorization": f"Bearer {ME.sign('ES256', 'r')}"}):
        refused = platform.get(checked, "/head", headers={"origin": APP, **headers})
        assert (refused.status_code, refused.json()["Code"]) == (403, "AccessDenied")
        assert refused.headers["access-control-allow-origin"] == APP
    free = platform.get(checked, "/free/x", headers={"x-user": "root"})
    assert free.status_code != 403
    asked = platform.http.options(platform.endpoint, headers={"host": f"{checked}.localhost", **ASKING})
    assert (asked.status_code, asked.headers["access-control-allow-headers"]) == (204, "authorization")
    assert platform.cli("invoke", checked, "--path", "/head").stdout.startswith(b"GET /head ")
    shown = platform.cli("describe", checked, "-o", "json").stdout.decode() + platform.logs()
    assert SECRET not in shown
    assert "authConfig" not in shown

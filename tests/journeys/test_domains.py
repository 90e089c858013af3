"""A function behind a host of its owner's own, from the command line to the container and back."""

import httpx
import pytest

from sampan.sdk import domain_shapes as shapes
from tests.catalog.certificates import Authority
from tests.journeys.platform import Platform, until

pytestmark = pytest.mark.root

DOMAIN = "shop.example.org"


def get(platform: Platform, path: str, host: str = DOMAIN) -> httpx.Response:
    return platform.http.get(f"{platform.endpoint}{path}", headers={"host": host})


def route(path: str, match: str, replacement: str) -> shapes.PathConfig:
    rule = shapes.RewriteRule(match=match, replacement=replacement)
    return shapes.PathConfig(
        path=path,
        function_name="shop",
        methods=("GET",),
        rewrite_config=shapes.RewriteConfig(wildcard_rules=(rule,)),
    )


def test_a_function_answers_at_a_host_of_its_owners_own(platform: Platform) -> None:
    image = platform.push("misbehave")
    platform.cli("deploy", "shop", "--image", image, "--memory", "128", "--cpu", "0.1", "--public")
    assert get(platform, "/head").status_code == 404

    platform.cli("domain", "add", DOMAIN, "--route", "/*=shop")
    first = until(lambda: (answer := get(platform, "/head")).status_code == 200 and answer, "the domain is known")
    lines = first.text.split("\r\n")
    assert lines[0].startswith("GET /head ")
    assert f"host: {DOMAIN}" in [line.lower() for line in lines]

    with platform.client() as client:
        changes = shapes.RouteConfig(routes=(route("/what/*", "^/what/*", "/head?was=$1"),))
        client.update_domain(DOMAIN, shapes.UpdateCustomDomainInput(route_config=changes))
        until(lambda: get(platform, "/head").status_code == 404, "the old route is gone")
        assert get(platform, "/head").json()["Code"] == "DomainRouteNotFound"
        assert get(platform, "/what/ever").text.startswith("GET /head?was=ever ")
        refused = platform.http.post(f"{platform.endpoint}/what/ever", headers={"host": DOMAIN})
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET")

        for process in ("control", "gateway-1"):  # kept by the one, told again to the other
            platform.kill(process)
            assert get(platform, "/what/ever").text.startswith("GET /head?was=ever ")

        chain, key = Authority().issue(DOMAIN)  # checked where the installation can no longer be read
        certificate = shapes.CertConfig(cert_name="shop", certificate=chain, private_key=key)
        shown = client.update_domain(
            DOMAIN, shapes.UpdateCustomDomainInput(protocol="HTTPS", cert_config=certificate)
        )
        assert shown.cert_config is not None
        assert (shown.cert_config.certificate, shown.cert_config.private_key) == (chain, "")
        until(lambda: get(platform, "/what/ever").status_code == 403, "plain HTTP is refused")

        assert "route to" in platform.cli("rm", "shop", "--yes", check=False).stderr.decode()
        client.delete_domain(DOMAIN)
        until(lambda: get(platform, "/what/ever").status_code == 404, "the domain is gone")
    for log in platform.layout.logs.glob("*.log"):
        assert key.splitlines()[1] not in log.read_text(errors="replace")
    platform.cli("rm", "shop", "--yes")

"""`sampan domain …`, against the real API."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sampan.cli.app import DOMAIN, app
from sampan.cli.failures import Code
from tests.catalog.certificates import Authority
from tests.cli.test_against_api import environment  # noqa: F401  a fixture
from tests.cli.test_app import DOCS, OPTION


@pytest.mark.parametrize("command", [each.name for each in DOMAIN])
def test_every_command_and_every_option_of_it_is_documented(command: str) -> None:
    screen = {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}
    result = CliRunner().invoke(app, ["domain", command, "--help"], env=screen)
    assert result.exit_code == 0
    section = DOCS.partition("\n### sampan domain\n")[2].partition("\n### ")[0]
    assert f"`domain {command}" in section
    for option in set(OPTION.findall(result.stdout)) - {"--help", "--output"}:
        assert f"`{option}" in section, f"{command} {option}"


def test_a_domains_life(environment: dict[str, str], tmp_path: Path) -> None:  # noqa: F811
    def sampan(*arguments: str, code: int = Code.OK) -> str:
        result = CliRunner().invoke(app, list(arguments), env=environment)
        assert result.exit_code == code, (arguments, result.output, result.exception)
        return result.stdout if code == Code.OK else result.stderr

    name = "shop.example.org"
    chain, key = Authority().issue(name)
    files = []
    for flag, text in (("--cert", chain), ("--key", key)):
        path = tmp_path / f"{flag}.pem"
        path.write_text(text)
        files += [flag, str(path)]
    for function in ("web", "api"):
        sampan("deploy", function, "--image", "localhost:5000/web:1")
    sampan("publish", "api", "--alias", "prod")

    sampan("domain", "add", name, "--route", "/=web", "--route", "/api/*=api")
    assert "/ → web, /api/* → api" in sampan("domain", "ls")
    assert "TriggerNotFound" in sampan("domain", "add", name, "--route", "/api/*=api:prod", code=Code.NOT_FOUND)
    sampan("domain", "add", name, "--route", "/x=web", *files, "--https-only")
    shown = sampan("domain", "describe", name, "-o", "json")
    told = json.loads(shown)
    assert [route["path"] for route in told["routeConfig"]["routes"]] == ["/", "/api/*", "/x"]
    assert (told["protocol"], told["certConfig"]["certName"]) == ("HTTPS", "cert_shop_example_org")
    sampan("domain", "add", name, *files)
    people = sampan("domain", "describe", name)
    assert "cert_shop_example_org" in people
    assert json.loads(sampan("domain", "ls", "shop", "-o", "json"))[0]["protocol"] == "HTTPS"
    assert key.splitlines()[1] not in shown + people

    (tmp_path / "der").write_bytes(bytes(range(256)))
    der = str(tmp_path / "der")
    assert "no certificate" in sampan("domain", "add", name, "--cert", der, *files[2:], code=Code.FAILED)
    sampan("domain", "add", "*.example.org", "--route", "/*=web")
    sampan("domain", "rm", "*.example.org", "--yes")
    assert name in sampan("rm", "web", "--yes", code=Code.FAILED)
    assert json.loads(sampan("describe", "web", "-o", "json"))["triggers"]
    assert "go together" in sampan("domain", "add", name, *files[:2], code=Code.USAGE)
    assert "--yes" in sampan("domain", "rm", name, code=Code.USAGE)
    sampan("domain", "rm", name, "--yes")
    assert "sampan domain ls" in sampan("domain", "describe", name, code=Code.NOT_FOUND)
    assert sampan("domain", "ls", "-o", "json") == "[]\n"

import json

import pytest

from sampan.cli.failures import Code
from sampan.cli.wishes import parse_affinity
from tests.cli.conftest import Run
from tests.cli.test_commands import DESCRIBE, FUNCTIONS, WEB, script_deploy
from tests.sdk.loopback import Answer, Loopback, function


@pytest.mark.parametrize(
    ("text", "meant"),
    [("none", ("NONE", "")), ("cookie", ("GENERATED_COOKIE", "")), ("header:My-Id", ("HEADER_FIELD", "My-Id"))],
)
def test_affinity_is_told_in_a_word(text: str, meant: tuple[str, str]) -> None:
    assert parse_affinity(text) == meant


@pytest.mark.parametrize("text", ["", "cookies", "cookie:x", "header", "header:", "none:", "HEADER_FIELD"])
def test_another_word_is_refused_before_anything_is_asked(sampan: Run, server: Loopback, text: str) -> None:
    result = sampan("deploy", "web", "--affinity", text)
    assert result.exit_code == Code.USAGE
    assert "header:NAME" in result.stderr
    assert not server.requests("GET", WEB)


def test_a_new_function_with_sessions(sampan: Run, server: Loopback) -> None:
    script_deploy(server, {"state": "Active"})
    assert sampan("deploy", "web", "--image", "web:1", "--affinity", "header:My-Session").exit_code == 0
    (made,) = server.requests("POST", FUNCTIONS)
    assert made.json["sessionAffinity"] == "HEADER_FIELD"
    assert json.loads(made.json["sessionAffinityConfig"]) == {"affinityHeaderFieldName": "My-Session"}


def test_how_long_sessions_last_stays_when_their_kind_changes(sampan: Run, server: Loopback) -> None:
    script_deploy(server, {}, exists=True, triggers=True)
    config = json.dumps({"affinityHeaderFieldName": "My-Session", "sessionTTLInSeconds": 60})
    present = function(sessionAffinity="HEADER_FIELD", sessionAffinityConfig=config)
    server.script["GET", WEB] = Answer(200, present)
    assert sampan("deploy", "web", "--affinity", "cookie").exit_code == 0
    assert sampan("deploy", "web", "--affinity", "none").exit_code == 0
    cookie, none = server.requests("PUT", WEB)
    assert cookie.json["sessionAffinity"] == "GENERATED_COOKIE"
    assert json.loads(cookie.json["sessionAffinityConfig"]) == {"sessionTTLInSeconds": 60}
    assert none.json == {"customContainerConfig": {}, "sessionAffinity": "NONE"}


def test_describe_says_by_what_sessions_are_known(sampan: Run, server: Loopback) -> None:
    config = json.dumps({"affinityHeaderFieldName": "My-Session"})
    shown = function(sessionAffinity="HEADER_FIELD", sessionAffinityConfig=config)
    server.script[DESCRIBE] = Answer(200, {"function": shown})
    assert "by the header My-Session" in sampan("describe", "web").stdout
    server.script[DESCRIBE] = Answer(200, {"function": function(sessionAffinity="GENERATED_COOKIE")})
    assert "by a cookie" in sampan("describe", "web").stdout

import base64
import json
from pathlib import Path

import pytest

from sampan.cli.failures import Code
from sampan.cli.images import default_name
from sampan.cli.screen import ago, printable, size
from tests.cli.conftest import Run
from tests.sdk.loopback import Answer, Asked, Loopback, function, refusal

FUNCTIONS = "/2023-03-30/functions"
WEB = f"{FUNCTIONS}/web"
DESCRIBE = ("GET", "/sampan/v1/functions/web")
TRIGGER = {
    "triggerName": "http",
    "triggerId": "t",
    "triggerType": "http",
    "triggerConfig": '{"methods":["GET"],"authType":"function"}',
    "qualifier": "LATEST",
    "targetArn": "acs:fc:local:1:functions/web",
    "status": "",
    "createdTime": "2026-01-02T03:04:05Z",
    "lastModifiedTime": "2026-01-02T03:04:05Z",
    "httpTrigger": {"urlInternet": "http://web.localhost:9000"},
}
TIMES = {"createdTime": "2026-01-02T03:04:05Z", "lastModifiedTime": "2026-01-02T03:04:05Z"}


def alias(name: str, version: str, **weights: float) -> dict[str, object]:
    return {"aliasName": name, "versionId": version, **TIMES, "additionalVersionWeight": weights}


def script_deploy(server: Loopback, *states: dict[str, str], exists: bool = False, triggers: bool = False) -> None:
    """A platform on which deploying goes through `states`."""
    server.script["GET", WEB] = Answer(200, function()) if exists else refusal(404, "FunctionNotFound")
    server.script["POST", FUNCTIONS] = server.script["PUT", WEB] = Answer(200, function(state="Pending"))
    server.script["GET", f"{WEB}/triggers"] = Answer(200, {"triggers": [TRIGGER] if triggers else []})
    server.script["POST", f"{WEB}/triggers"] = Answer(200, TRIGGER)

    def changed(asked: Asked) -> Answer:
        return Answer(200, {**TRIGGER, "triggerConfig": asked.json["triggerConfig"]})

    server.script["PUT", f"{WEB}/triggers/http"] = changed
    server.script[DESCRIBE] = [
        Answer(200, {"function": function(**state), "warnings": ["no .pyc"]}) for state in states
    ]


def test_the_first_deploy_makes_the_function_and_a_signed_url(sampan: Run, server: Loopback) -> None:
    script_deploy(server, {"state": "Pending"}, {"state": "Active"})
    result = sampan(
        "deploy",
        "web",
        "--image",
        "localhost:5000/web:1",
        "--port",
        "8080",
        "--memory",
        "1024",
        "--entrypoint",
        "/bin/app 'a b'",
        "--health-path",
        "/up",
        "--init",
        "--concurrency",
        "10",
        "-e",
        "A=1=2",
    )
    assert result.exit_code == 0, result.output
    assert "http://web.localhost:9000" in result.stdout
    assert "signed" in result.stdout
    assert "no .pyc" in result.stderr
    (made,) = server.requests("POST", FUNCTIONS)
    assert made.json == {
        "functionName": "web",
        "runtime": "custom-container",
        "handler": "index.handler",
        "customContainerConfig": {
            "image": "localhost:5000/web:1",
            "port": 8080,
            "entrypoint": ["/bin/app", "a b"],
            "healthCheckConfig": {"httpGetUrl": "/up"},
        },
        "memorySize": 1024,
        "instanceConcurrency": 10,
        "environmentVariables": {"A": "1=2"},
        "instanceLifecycleConfig": {"initializer": {"handler": "/initialize"}},
    }
    (trigger,) = server.requests("POST", f"{WEB}/triggers")
    assert json.loads(trigger.json["triggerConfig"])["authType"] == "function"
    assert len(server.requests(*DESCRIBE)) == 3


def test_deploying_again_changes_only_what_is_said(sampan: Run, server: Loopback) -> None:
    script_deploy(server, {}, exists=True, triggers=True)
    server.script["GET", WEB] = Answer(200, function(environmentVariables={"KEEP": "1", "DROP": "2"}))
    result = sampan("deploy", "web", "--env", "NEW=3", "--unset-env", "DROP", "--public", "-o", "json")
    assert result.exit_code == 0, result.output
    (change,) = server.requests("PUT", WEB)
    assert change.json == {"customContainerConfig": {}, "environmentVariables": {"KEEP": "1", "NEW": "3"}}
    (trigger,) = server.requests("PUT", f"{WEB}/triggers/http")
    assert json.loads(trigger.json["triggerConfig"]) == {"methods": ["GET"], "authType": "anonymous"}
    shown = json.loads(result.stdout)
    assert (shown["created"], shown["authType"], shown["url"]) == (False, "anonymous", "http://web.localhost:9000")
    assert set(shown) == {
        "functionName",
        "functionArn",
        "created",
        "state",
        "lastUpdateStatus",
        "image",
        "resolvedImageUri",
        "url",
        "authType",
        "warnings",
    }


BEARER = {"tokens": [{"tokenData": "a" * 32}]}


def test_auth_and_cors_change_the_trigger_and_keep_the_rest(sampan: Run, server: Loopback, tmp_path: Path) -> None:
    config = tmp_path / "tokens.json"
    config.write_text(json.dumps(BEARER, indent=2))
    script_deploy(server, {}, exists=True, triggers=True)
    origins = ("--cors", "https://a.org", "--cors", "http://localhost:3000")
    result = sampan("deploy", "web", "--auth", "bearer", "--auth-config", str(config), *origins)
    assert result.exit_code == 0, result.output
    assert "callers with a bearer token" in result.stdout + result.stderr
    assert "a" * 32 not in result.stdout + result.stderr
    (trigger,) = server.requests("PUT", f"{WEB}/triggers/http")
    sent = json.loads(trigger.json["triggerConfig"])
    assert json.loads(sent.pop("authConfig")) == BEARER
    assert sent == {
        "methods": ["GET"],
        "authType": "bearer",
        "corsConfig": {"allowOrigins": ["https://a.org", "http://localhost:3000"], "allowHeaders": ["*"]},
    }


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        ((), None),
        (("--auth", "bearer"), None),
        (("--no-cors",), {"authType": "bearer", "authConfig": json.dumps(BEARER)}),
        (("--public",), {"authType": "anonymous", "corsConfig": {"allowOrigins": ["*"]}}),
        (
            ("--cors-config", "rules"),
            {
                "authType": "bearer",
                "authConfig": json.dumps(BEARER),
                "corsConfig": {"allowOrigins": ["x"], "maxAge": 1},
            },
        ),
    ],
)
def test_what_is_not_said_about_callers_stays(
    sampan: Run, server: Loopback, tmp_path: Path, options: tuple[str, ...], sent: dict[str, object] | None
) -> None:
    (tmp_path / "rules").write_text('{"allowOrigins": ["x"], "maxAge": 1}')
    script_deploy(server, {}, exists=True, triggers=True)
    there = {
        "methods": ["GET"],
        "authType": "bearer",
        "authConfig": json.dumps(BEARER),
        "corsConfig": {"allowOrigins": ["*"]},
    }
    server.script["GET", f"{WEB}/triggers"] = Answer(
        200, {"triggers": [{**TRIGGER, "triggerConfig": json.dumps(there)}]}
    )
    result = sampan("deploy", "web", *[str(tmp_path / one) if one == "rules" else one for one in options])
    assert result.exit_code == 0, result.output
    changes = [json.loads(one.json["triggerConfig"]) for one in server.requests("PUT", f"{WEB}/triggers/http")]
    assert changes == ([] if sent is None else [{"methods": ["GET"]} | sent])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--auth", "jwt"), "--auth-config"),
        (("--auth", "oauth"), "jwt"),
        (("--auth", "jwt", "--public"), "--public"),
        (("--auth", "function", "--auth-config", "-"), "--auth-config"),
        (("--auth-config", "-"), "--auth"),
        (("--cors", "*", "--no-cors"), "--no-cors"),
        (("--auth", "basic", "--auth-config", "broken"), "line 1"),
        (("--cors-config", "broken"), "--cors-config"),
        (("--cors-config", "wrong"), "maxAge"),
    ],
)
def test_options_that_make_no_sense_change_nothing(
    sampan: Run, server: Loopback, tmp_path: Path, options: tuple[str, ...], told: str
) -> None:
    (tmp_path / "broken").write_text("{s3cret")
    (tmp_path / "wrong").write_text('{"maxAge": "s3cret"}')
    script_deploy(server, {}, exists=True, triggers=True)
    files = ("broken", "wrong")
    result = sampan("deploy", "web", *[str(tmp_path / one) if one in files else one for one in options], input="{}")
    assert result.exit_code == Code.USAGE
    assert told in result.stderr
    assert "s3cret" not in result.stderr
    assert not [asked for asked in server.asked if asked.method != "GET"]


def test_min_and_max_become_scaling_and_concurrency(sampan: Run, server: Loopback) -> None:
    script_deploy(server, {}, exists=True, triggers=True)
    arn = "acs:fc:local:1:functions/web"
    server.script["PUT", f"{WEB}/scaling-config"] = Answer(
        200, {"functionArn": arn, "minInstances": 1, "currentInstances": 0, "targetInstances": 1}
    )
    server.script["PUT", f"{WEB}/concurrency"] = Answer(200, {"functionArn": arn, "reservedConcurrency": 5})
    assert sampan("deploy", "web", "--min", "1", "--max", "5").exit_code == 0
    assert server.requests("PUT", f"{WEB}/scaling-config")[0].json == {"minInstances": 1}
    assert server.requests("PUT", f"{WEB}/concurrency")[0].json == {"reservedConcurrency": 5}


def test_a_deploy_that_fails_ends_with_1_and_shows_why_and_its_last_lines(sampan: Run, server: Loopback) -> None:
    reason = "exited with 3\nLogs:\nno such module"
    script_deploy(server, {"state": "Failed", "stateReasonCode": "CAExited", "stateReason": reason})
    result = sampan("deploy", "web", "--image", "x")
    assert result.exit_code == Code.FAILED
    for part in ("CAExited", "exited with 3", "no such module", "sampan logs web"):
        assert part in result.stderr


def test_the_first_deploy_needs_an_image(sampan: Run, server: Loopback) -> None:
    script_deploy(server, {})
    result = sampan("deploy", "web")
    assert result.exit_code == Code.USAGE
    assert "--image" in result.stderr
    assert server.requests("POST", FUNCTIONS) == []


def test_a_registrys_password_comes_from_stdin_and_is_never_shown(sampan: Run, server: Loopback) -> None:
    script_deploy(server, {})
    server.script["POST", FUNCTIONS] = refusal(400, "InvalidArgument", "image: bad")
    result = sampan(
        "deploy", "web", "--image", "x", "--registry-user", "me", "--registry-password-stdin", input="pa55word\n"
    )
    sent = server.requests("POST", FUNCTIONS)[0].json["customContainerConfig"]["registryConfig"]
    assert sent == {"authConfig": {"userName": "me", "password": "pa55word"}}
    assert result.exit_code == Code.FAILED
    assert "pa55word" not in result.output


def test_a_broken_env_file_is_named_by_its_line_and_not_quoted(sampan: Run, tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("# comment\nA=1\nhidden\n")
    result = sampan("deploy", "web", "--env-file", str(file))
    assert result.exit_code == Code.USAGE
    assert "line 3" in result.stderr
    assert "hidden" not in result.output


def test_ls_in_a_pipe_cuts_nothing_off(sampan: Run, server: Loopback) -> None:
    image = "registry.example:5000/" + "long/" * 40 + "name:1"
    server.script["GET", FUNCTIONS] = Answer(200, {"functions": [function(customContainerConfig={"image": image})]})
    result = sampan("ls")
    assert image in result.stdout
    assert len(result.stdout.splitlines()) == 2
    assert json.loads(sampan("ls", "-o", "json").stdout)[0]["customContainerConfig"]["image"] == image


def test_an_empty_list_is_empty_json_and_a_word_for_people(sampan: Run, server: Loopback) -> None:
    server.script["GET", FUNCTIONS] = Answer(200, {"functions": []})
    assert json.loads(sampan("ls", "-o", "json").stdout) == []
    result = sampan("ls")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "sampan deploy" in result.stderr


def test_describe_tells_it_all_but_no_value_of_the_environment(sampan: Run, server: Loopback) -> None:
    server.script[DESCRIBE] = Answer(
        200,
        {
            "function": function(environmentVariables={"TOKEN": "s3cret"}),
            "versions": [{"versionId": "2", **TIMES}, {"versionId": "1", **TIMES}],
            "aliases": [alias("prod", "1", **{"2": 0.1})],
            "triggers": [TRIGGER],
            "instances": [
                {
                    "instanceId": "c-1",
                    "versionId": "0",
                    "qualifier": "LATEST",
                    "status": "Running",
                    "createdTimeMs": 1,
                }
            ],
            "timeLimits": {"queueWait": 150, "run": 3},
            "lastStartFailure": {"kind": "exited", "message": "boom", "logTail": "trace\x1b[2J", "exitCode": 1},
        },
    )
    result = sampan("describe", "web")
    assert result.exit_code == 0
    for part in (
        "localhost:5000/web:1",
        "prod 90%",
        "prod 10%",
        "http://web.localhost:9000",
        "c-1",
        "150 s",
        "boom",
        "trace",
        "TOKEN",
    ):
        assert part in result.stdout, part
    assert "s3cret" not in result.stdout
    assert "\x1b" not in result.stdout
    assert json.loads(sampan("describe", "web", "-o", "json").stdout)["timeLimits"]["queueWait"] == 150


def test_invoke_prints_the_body_untouched_and_speaks_beside_it(sampan: Run, server: Loopback) -> None:
    log = base64.b64encode(b"worked hard\r\n").decode()
    headers = {"x-fc-request-id": "1-a", "x-fc-log-result": log, "x-fc-instance-id": "c-1"}
    server.script["POST", f"{WEB}/invocations"] = Answer(200, b"\x00\x01\xff", headers)
    result = sampan("invoke", "web", "--file", "-", "--log", input=b"\xfe\xff")
    assert result.exit_code == 0
    assert result.stdout_bytes == b"\x00\x01\xff"
    assert "worked hard" in result.stderr
    assert "1-a" in result.stderr
    assert server.asked[0].body == b"\xfe\xff"
    shown = json.loads(sampan("invoke", "web", "-o", "json").stdout)
    assert (base64.b64decode(shown["body"]), shown["bodyEncoding"], shown["errorType"]) == (
        b"\x00\x01\xff",
        "base64",
        None,
    )


def test_where_no_log_comes_with_the_answer_it_says_where_it_is(sampan: Run, server: Loopback) -> None:
    server.script["POST", f"{WEB}/invocations"] = Answer(200, b"{}", {"x-fc-request-id": "1-a"})
    assert "`sampan logs web --request 1-a`" in sampan("invoke", "web", "--log").stderr
    assert "sampan logs" not in sampan("invoke", "web").stderr


def test_a_function_that_failed_ends_with_1_and_names_its_error(sampan: Run, server: Loopback) -> None:
    headers = {"x-fc-request-id": "1-a", "x-fc-error-type": "UnhandledInvocationError"}
    server.script["POST", f"{WEB}/invocations"] = Answer(200, b'{"errorMessage":"x"}', headers)
    result = sampan("invoke", "web", "--data", "{}")
    assert result.exit_code == Code.FAILED
    assert "--request 1-a`" in result.stderr
    assert "`sampan trace 1-a`" in result.stderr
    assert "UnhandledInvocationError" in result.stderr
    assert "sampan logs web" in result.stderr
    assert result.stdout == '{"errorMessage":"x"}'


def test_a_start_that_failed_shows_the_containers_last_lines(sampan: Run, server: Loopback) -> None:
    server.script["POST", f"{WEB}/invocations"] = refusal(412, "CAExited", "exited with 1\nLogs:\nTraceback: boom")
    result = sampan("invoke", "web")
    assert result.exit_code == Code.FAILED
    assert "│ Traceback: boom" in result.stderr
    assert "sampan logs web" in result.stderr


def test_invoke_by_http_goes_to_the_functions_url(sampan: Run, server: Loopback) -> None:
    server.script["POST", "/fn/web:prod/users"] = Answer(201, b"made", {"x-fc-request-id": "1-a"})
    result = sampan("invoke", "web", "--path", "/users?id=1", "-d", "x", "-q", "prod", "-H", "X-A: b")
    assert (result.exit_code, result.stdout) == (0, "made")
    asked = server.asked[0]
    assert (asked.query, asked.headers["x-a"], asked.body) == ({"id": "1"}, "b", b"x")


def test_an_http_answer_of_400_or_more_ends_with_1(sampan: Run, server: Loopback) -> None:
    server.script["GET", "/fn/web/"] = Answer(
        404, b'{"Code":"FunctionNotFound","Message":"mine"}', {"x-fc-request-id": "1-a"}
    )
    result = sampan("invoke", "web", "--path", "/")
    assert (result.exit_code, "mine" in result.stdout) == (Code.FAILED, True)


def test_a_refusal_by_the_platform_on_a_url_is_told_from_the_functions_own_word(
    sampan: Run, server: Loopback
) -> None:
    server.script["GET", "/fn/web/"] = refusal(404, "FunctionNotFound", "function 'web' does not exist")
    result = sampan("invoke", "web", "--path", "/")
    assert (result.exit_code, result.stdout) == (Code.NOT_FOUND, "")


def test_logs_show_lines_with_their_instance_and_nothing_that_moves_the_cursor(
    sampan: Run, server: Loopback
) -> None:
    line = {
        "time": "2026-01-02T03:04:05.678Z",
        "instance": "c-abcdef0123",
        "version": "LATEST",
        "stream": "stdout",
        "requestId": "",
        "level": "",
        "token": "1",
        "text": "red \x1b[31m[bold]",
    }
    server.script["GET", "/sampan/v1/functions/web/logs"] = Answer(200, json.dumps(line).encode() + b"\n")
    result = sampan("logs", "web", "--tail", "5")
    assert result.stdout == "03:04:05.678 abcdef01 red �[31m[bold]\n"
    assert json.loads(sampan("logs", "web", "-o", "json").stdout) == line


def test_an_alias_is_made_or_moved(sampan: Run, server: Loopback) -> None:
    server.script["GET", f"{WEB}/aliases/prod"] = [refusal(404, "AliasNotFound"), Answer(200, alias("prod", "1"))]
    server.script["POST", f"{WEB}/aliases"] = Answer(200, alias("prod", "1"))
    server.script["PUT", f"{WEB}/aliases/prod"] = Answer(200, alias("prod", "1", **{"2": 0.1}))
    assert sampan("alias", "web", "prod", "1").exit_code == 0
    result = sampan("alias", "web", "prod", "1", "--weight", "2=0.1")
    assert "version 1 for 90% and version 2 for 10%" in result.stderr
    assert server.requests("PUT", f"{WEB}/aliases/prod")[0].json == {
        "versionId": "1",
        "additionalVersionWeight": {"2": 0.1},
    }


def test_rollback_moves_an_alias_to_the_version_before(sampan: Run, server: Loopback) -> None:
    server.script["GET", f"{WEB}/versions"] = Answer(
        200, {"versions": [{"versionId": each, **TIMES} for each in ("10", "9", "2")]}
    )
    server.script["GET", f"{WEB}/aliases/prod"] = Answer(200, alias("prod", "9", **{"10": 0.5}))
    server.script["PUT", f"{WEB}/aliases/prod"] = Answer(200, alias("prod", "2"))
    result = sampan("rollback", "web", "--alias", "prod", "-o", "json")
    assert json.loads(result.stdout) == {"functionName": "web", "alias": "prod", "versionId": "2"}
    assert server.requests("PUT", f"{WEB}/aliases/prod")[0].json == {
        "versionId": "2",
        "additionalVersionWeight": {},
    }


def test_rollback_of_the_first_version_says_there_is_none_before(sampan: Run, server: Loopback) -> None:
    server.script["GET", f"{WEB}/versions"] = Answer(200, {"versions": [{"versionId": "1", **TIMES}]})
    server.script["GET", f"{WEB}/aliases/prod"] = Answer(200, alias("prod", "1"))
    assert sampan("rollback", "web", "--alias", "prod").exit_code == Code.NOT_FOUND


def test_rollback_of_latest_brings_back_the_very_image(sampan: Run, server: Loopback) -> None:
    pinned = "localhost:5000/web@sha256:" + "a" * 64
    old = function(customContainerConfig={"image": "localhost:5000/web:1", "resolvedImageUri": pinned, "port": 80})
    server.script["GET", f"{WEB}/versions"] = Answer(200, {"versions": [{"versionId": "1", **TIMES}]})
    server.script["GET", WEB] = Answer(200, old)
    server.script["PUT", WEB] = Answer(200, old)
    server.script[DESCRIBE] = Answer(200, {"function": old})
    assert sampan("rollback", "web").exit_code == 0
    sent = server.requests("PUT", WEB)[0].json
    assert server.requests("GET", WEB)[0].query == {"qualifier": "1"}
    assert (sent["customContainerConfig"]["image"], sent["environmentVariables"]) == (pinned, {})


def test_publish_can_move_an_alias_along(sampan: Run, server: Loopback) -> None:
    server.script["POST", f"{WEB}/versions"] = Answer(200, {"versionId": "3", **TIMES})
    server.script["GET", f"{WEB}/aliases/prod"] = Answer(200, alias("prod", "2"))
    server.script["PUT", f"{WEB}/aliases/prod"] = Answer(200, alias("prod", "3"))
    assert sampan("publish", "web", "-m", "new", "--alias", "prod").exit_code == 0
    assert server.requests("POST", f"{WEB}/versions")[0].json == {"description": "new"}
    assert server.requests("PUT", f"{WEB}/aliases/prod")[0].json["versionId"] == "3"


def test_rm_takes_the_url_along_and_asks_for_force_when_more_hangs_on_it(sampan: Run, server: Loopback) -> None:
    server.script["GET", WEB] = Answer(200, function())
    server.script["GET", f"{WEB}/triggers"] = Answer(200, {"triggers": [TRIGGER]})
    server.script["GET", f"{WEB}/aliases"] = [Answer(200, {"aliases": [alias("prod", "1")]})]
    server.script["DELETE", WEB] = server.script["DELETE", f"{WEB}/triggers/http"] = Answer(204)
    server.script["DELETE", f"{WEB}/aliases/prod"] = Answer(204)
    server.script["GET", "/2023-03-30/custom-domains"] = Answer(200, {"customDomains": []})
    refused = sampan("rm", "web", "--yes")
    assert (refused.exit_code, "alias prod" in refused.stderr, "--force" in refused.stderr) == (
        Code.FAILED,
        True,
        True,
    )
    assert sampan("rm", "web", "--force").exit_code == Code.USAGE  # nobody there to say yes
    assert not [each for each in server.asked if each.method == "DELETE"]
    assert sampan("rm", "web", "--force", "--yes").exit_code == 0
    deleted = [each.path for each in server.asked if each.method == "DELETE"]
    assert deleted == [f"{WEB}/triggers/http", f"{WEB}/aliases/prod", WEB]


def test_instances_and_images_have_stable_json(sampan: Run, server: Loopback) -> None:
    instance = {
        "instanceId": "c-1",
        "versionId": "0",
        "qualifier": "LATEST",
        "status": "Running",
        "createdTimeMs": 1,
    }
    server.script["GET", f"{WEB}/instances"] = Answer(200, {"instances": [instance], "requestId": "1"})
    assert json.loads(sampan("instances", "web", "-o", "json").stdout) == [instance]
    assert "c-1" in sampan("instances", "web").stdout
    image = {
        "reference": "localhost:5000/web:1",
        "digest": "sha256:" + "ab" * 32,
        "size": 2048,
        "functions": ["web"],
    }
    server.script["GET", "/sampan/v1/images"] = Answer(200, {"images": [image]})
    assert json.loads(sampan("images", "-o", "json").stdout) == [image]
    assert "2.0 KiB" in sampan("images").stdout


def test_config_says_where_each_value_comes_from_and_hides_the_secret(
    sampan: Run, environment: dict[str, str]
) -> None:
    shown = json.loads(sampan("config", "-o", "json").stdout)
    assert shown["access_key_secret"] == {"value": "set, not shown", "source": "SAMPAN_ACCESS_KEY_SECRET"}
    assert environment["SAMPAN_ACCESS_KEY_SECRET"] not in sampan("config").output
    assert sampan("config", "path").stdout.strip() == f"{environment['SAMPAN_STATE']}/credentials.toml"
    assert (
        json.loads(sampan("--endpoint", "http://x", "config", "-o", "json").stdout)["endpoint"]["source"]
        == "argument"
    )


def test_import_without_a_registry_says_what_to_set(sampan: Run, tmp_path: Path) -> None:
    result = sampan("import", str(tmp_path))
    assert result.exit_code == Code.UNREACHABLE
    assert "SAMPAN_REGISTRY" in result.stderr


@pytest.mark.parametrize(
    ("file", "name"), [("web.tar", "web:latest"), ("My App_1.tar.gz", "my-app-1:latest"), ("___", "image:latest")]
)
def test_an_archives_name_becomes_an_images(file: str, name: str) -> None:
    assert default_name(Path("/tmp") / file) == name


def test_output_of_a_function_cannot_steer_the_terminal() -> None:
    assert printable("a\tb\x1b]0;title\x07\r\x9bc é ✓") == "a\tb�]0;title���c é ✓"


def test_people_read_sizes_and_ages() -> None:
    assert [size(each) for each in (0, 1023, 1536, 5 << 30)] == ["0 B", "1023 B", "1.5 KiB", "5.0 GiB"]
    assert ago("1970-01-01T00:00:00Z", now=7200.0) == "2h ago"
    assert [ago(1000, now=now) for now in (0.0, 30.0, 90000.0)] == ["0s ago", "29s ago", "1d ago"]
    assert (ago(""), ago(0)) == ("", "")

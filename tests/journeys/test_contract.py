"""What a container is promised: the requests, headers and variables it gets, its hooks, its log.

Source: container-contract.md A2 to A6, B1.
"""

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sampan.engine.node.network import door_address
from sampan.sdk import Client, StartFailed
from sampan.wire import shapes
from tests.journeys.platform import PATIENCE, Platform, until

pytestmark = pytest.mark.root

SMALL: dict[str, Any] = {"memory_size": 128, "cpu": 0.1, "timeout": 20}
PUBLIC = json.dumps({"methods": ["GET", "POST"], "authType": "anonymous"})
# Source: container-contract.md A2.1, the headers a function on the service was observed to receive.
HEADERS = {
    *("x-fc-request-id", "x-fc-control-path", "x-fc-region", "x-fc-account-id", "x-fc-qualifier"),
    *("x-fc-version-id", "x-fc-function-name", "x-fc-function-handler", "x-fc-function-memory"),
    *("x-fc-function-timeout", "x-fc-retry-count", "x-fc-service-name", "x-fc-service-logproject"),
    *("x-fc-service-logstore", "x-fc-access-key-id", "x-fc-access-key-secret", "x-fc-security-token"),
    *("x-fc-api-server-ip", "x-fc-eagleeye-traceid", "x-fc-eagleeye-rpcid", "x-fc-eagleeye-userdata"),
    *("x-fc-tracing-opentracing-span-context", "x-fc-tracing-opentracing-span-baggages"),
    "x-fc-tracing-jaeger-endpoint",
}
HTTP_HEADERS = HEADERS | {"x-fc-base-path", "x-fc-client-ip"}


@pytest.fixture(scope="module")
def image(platform: Platform) -> str:
    return platform.push("misbehave")


@contextmanager
def function(client: Client, name: str, image: str, words: str = "", **members: Any) -> Iterator[str]:
    """A public function that is active; `words` tell the image how to misbehave."""
    container = shapes.CustomContainerConfig(
        image=image, port=8080, health_check_config=members.pop("health_check_config", None)
    )
    wanted = {"environment_variables": {"MISBEHAVE": words}, "handler": "index.handler", **SMALL, **members}
    client.create_function(
        shapes.CreateFunctionInput(function_name=name, custom_container_config=container, **wanted)
    )
    try:
        until(lambda: client.get_function(name).state != "Pending", f"{name} is active or failed")
        public(client, name)
        yield name
    finally:
        for trigger in list(client.list_triggers(name)):
            client.delete_trigger(name, trigger.trigger_name)
        for alias in list(client.list_aliases(name)):
            client.delete_alias(name, alias.alias_name)
        client.delete_function(name)


def public(client: Client, name: str, qualifier: str = "LATEST") -> None:
    given = shapes.CreateTriggerInput(
        trigger_name=f"http-{qualifier}", trigger_type="http", trigger_config=PUBLIC, qualifier=qualifier
    )
    client.create_trigger(name, given)


@pytest.fixture(scope="module")
def told(client: Client, image: str) -> Iterator[str]:
    """A function with two versions and an alias."""
    with function(client, "told", image, environment_variables={"GREETING": "hello, ü", "PORT": "1"}) as name:
        client.publish_version(name)
        client.create_alias(name, "prod", "1")
        public(client, name, "prod")
        yield name


def headers_of(head: str) -> dict[str, str]:
    """Header lines as a container received them; names in lower case, no name twice."""
    lines = [line.partition(":") for line in head.split("\r\n")[1:] if line]
    found = {name.lower(): value.strip() for name, _, value in lines}
    assert len(found) == len(lines), head
    return found


def fc(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.startswith("x-fc-")}


def door(platform: Platform) -> str:
    """Where sandboxes find the platform."""
    return door_address(platform.settings.platform.realm)


def lines_of(client: Client, name: str) -> list[str]:
    return [line.text for line in client.logs(name)]


# ── headers and variables ─────────────────────────────────────────────────────────────────────────────


def test_an_http_call_brings_every_header_of_the_contract(platform: Platform, told: str) -> None:
    answer = platform.get(told, "/head")
    found = fc(headers_of(answer.text))
    assert set(found) == HTTP_HEADERS
    trace, span, *rest = found.pop("x-fc-tracing-opentracing-span-context").split(":")
    assert (len(trace), len(span), rest) == (32, 16, ["0", "1"])
    assert {name: value for name, value in found.items() if value} == {
        "x-fc-request-id": answer.headers["x-fc-request-id"],
        "x-fc-control-path": "/http-invoke",
        "x-fc-function-name": told,
        "x-fc-function-handler": "index.handler",
        "x-fc-function-memory": "128",
        "x-fc-function-timeout": "20",
        "x-fc-region": platform.settings.platform.region,
        "x-fc-account-id": platform.settings.platform.account,
        "x-fc-qualifier": "LATEST",
        "x-fc-retry-count": "0",
        "x-fc-client-ip": "127.0.0.1",
        "x-fc-tracing-opentracing-span-baggages": "e30=",
        "x-fc-tracing-jaeger-endpoint": f"http://{door(platform)}:14268/api/traces",
    }


def test_a_call_through_an_alias_names_it_and_the_version(platform: Platform, told: str) -> None:
    found = headers_of(platform.get(f"prod--{told}", "/head").text)
    assert (found["x-fc-qualifier"], found["x-fc-version-id"]) == ("prod", "1")


def test_an_event_is_a_post_to_invoke(platform: Platform, client: Client, told: str) -> None:
    result = client.invoke(told, "/head", qualifier="prod", headers={"x-own": "never", "x-fc-own": "never"})
    assert result.text.startswith("POST /invoke HTTP/1.1\r\n")
    found = headers_of(result.text)
    assert set(fc(found)) == HEADERS
    assert "x-own" not in found
    assert found["content-type"] == "application/octet-stream"
    assert found["content-length"] == "5"
    assert found["host"].endswith(":8080")
    assert found["x-fc-control-path"] == "/invoke"
    assert found["x-fc-request-id"] == result.request_id
    assert (found["x-fc-qualifier"], found["x-fc-version-id"]) == ("prod", "1")
    assert (result.version, result.failed) == ("1", False)


def test_a_program_finds_where_it_is_in_its_environment(platform: Platform, client: Client, told: str) -> None:
    result = client.invoke(told, "/environment", qualifier="prod")
    found = dict(line.partition("=")[::2] for line in result.text.splitlines())
    expected = {
        "FC_FUNC_CODE_PATH": "/code",
        "FC_ACCOUNT_ID": platform.settings.platform.account,
        "FC_REGION": platform.settings.platform.region,
        "FC_FUNCTION_NAME": told,
        "FC_FUNCTION_HANDLER": "index.handler",
        "FC_FUNCTION_MEMORY_SIZE": "128",
        "FC_CUSTOM_LISTEN_PORT": "8080",
        "FC_INSTANCE_ID": result.instance,
        "FC_VER_ID": "1",
        "FC_FUNCTION_VERSION": "1",
        "PORT": "8080",
        "K_SERVICE": told,
        "K_CONFIGURATION": told,
        "GREETING": "hello, ü",
        "JAEGER_AGENT_HOST": door(platform),
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{door(platform)}:4318",
        "OTEL_SERVICE_NAME": told,
    }
    assert {name: found.get(name) for name in expected} == expected
    assert found["K_REVISION"].startswith(told)
    assert found["PATH"]


# ── answers ───────────────────────────────────────────────────────────────────────────────────────────


def test_an_event_comes_back_byte_for_byte(client: Client, told: str) -> None:
    event = bytes(range(256)) * 4096
    result = client.invoke(told, event)
    assert (result.body, result.error_type) == (event, "")


def test_a_status_of_500_is_no_failure_of_an_event(client: Client, told: str) -> None:
    result = client.invoke(told, "/status?code=500")
    assert (result.body, result.error_type) == (b"as told\n", "")


def test_a_function_says_that_it_failed_with_fc_status(platform: Platform, client: Client, told: str) -> None:
    result = client.invoke(told, "/status?code=200&fc=404")
    assert (result.body, result.error_type) == (b"as told\n", "UnhandledInvocationError")
    answer = platform.get(told, "/status?code=201&fc=404")
    assert (answer.status_code, answer.text) == (201, "as told\n")
    assert "x-fc-status" not in answer.headers

    def ends() -> list[str]:
        return [line for line in lines_of(client, told) if line.endswith("Error: Unhandled Exception")]

    requests = (result.request_id, answer.headers["x-fc-request-id"])
    until(lambda: len(ends()) == 2, "both ends are in the log")
    assert ends() == [f"FC Invoke End RequestId: {request}, Error: Unhandled Exception" for request in requests]


# ── hooks ─────────────────────────────────────────────────────────────────────────────────────────────


def test_an_instance_is_initialized_once_and_told_before_it_is_stopped(
    platform: Platform, client: Client, image: str
) -> None:
    hooks = shapes.InstanceLifecycleConfig(
        initializer=shapes.LifecycleHook(handler="index.initialize", timeout=10),
        pre_stop=shapes.LifecycleHook(handler="index.pre_stop", timeout=10),
    )
    with function(client, "hooked", image, "init=200ms", instance_lifecycle_config=hooks, idle_timeout=1) as name:
        for _ in range(3):
            assert platform.get(name).status_code == 200
        until(lambda: not platform.instances(name), "it has scaled to zero")
        until(lambda: "terminated" in lines_of(client, name), "the log of the ended instance is there")
        found = lines_of(client, name)
        initialized = next(line for line in found if line.startswith("initialize "))
        stopped = next(line for line in found if line.startswith("pre-stop "))
        assert initialized.startswith("initialize /initialize 1-")
        assert stopped.startswith("pre-stop /pre-stop 1-")
        first, last = initialized.split()[-1], stopped.split()[-1]
        assert found[:4] == [
            "misbehave listens",
            f"FC Initialize Start RequestId: {first}",
            initialized,
            f"FC Initialize End RequestId: {first}",
        ]
        assert found[-4:] == [
            f"FC PreStop Start RequestId: {last}",
            stopped,
            f"FC PreStop End RequestId: {last}",
            "terminated",
        ]
        assert [line.split()[1:3] for line in found[4:-4]] == [["Invoke", "Start"], ["Invoke", "End"]] * 3


def test_hooks_that_were_not_asked_for_are_never_called(platform: Platform, client: Client, image: str) -> None:
    with function(client, "unhooked", image, idle_timeout=1) as name:
        assert platform.get(name).status_code == 200
        until(lambda: "terminated" in lines_of(client, name), "it has ended")
        found = lines_of(client, name)
        assert found[0] == "misbehave listens"
        assert len(found) == 4


def test_an_initializer_that_fails_is_told_to_the_caller(client: Client, image: str) -> None:
    hooks = shapes.InstanceLifecycleConfig(initializer=shapes.LifecycleHook(handler="i", timeout=5))
    with function(client, "unfit", image, "init=500", instance_lifecycle_config=hooks) as name:
        result = client.invoke(name, "x")
        assert result.error_type == "InitializationError"
        assert "500" in result.text


def test_a_health_check_decides_whether_an_instance_is_ready(
    platform: Platform, client: Client, image: str
) -> None:
    def check(path: str) -> shapes.HealthCheckConfig:
        return shapes.HealthCheckConfig(http_get_url=path, period_seconds=1, failure_threshold=1)

    with function(client, "healthy", image, health_check_config=check("/status?code=302")) as name:
        assert platform.get(name).status_code == 200
        assert platform.get(name, "/load").text.startswith("requests 3 ")  # the check was the first
    with function(client, "sick", image, health_check_config=check("/status?code=500")) as name:
        with pytest.raises(StartFailed) as failed:
            client.invoke(name, "x")
        assert failed.value.code == "FunctionNotStarted"
        assert "status code: 500" in str(failed.value)


def test_an_instance_that_control_finds_again_is_checked_on(platform: Platform, client: Client, image: str) -> None:
    check = shapes.HealthCheckConfig(http_get_url="/status?code=200", period_seconds=1)
    with function(client, "watched", image, health_check_config=check, instance_concurrency=10) as name:
        asked = 0

        def checks() -> int:
            """How often it was checked. Asked all the time, it is not frozen."""
            nonlocal asked
            asked += 1
            return int(platform.get(name, "/load").text.split()[1]) - asked

        until(lambda: checks() > 1, "it is checked again after its start")
        platform.kill("control")
        before = checks()
        until(lambda: checks() > before + 1, "it is checked by the next control, too")
        assert len(platform.instances(name)) == 1


# ── logs ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_request_is_framed_in_the_log_and_its_lines_carry_its_id(
    platform: Platform, client: Client, image: str
) -> None:
    with function(client, "framed", image) as name:
        ids = [platform.get(name, f"/print?lines={n}&bytes=20").headers["x-fc-request-id"] for n in (1, 2)]
        until(lambda: len(lines_of(client, name)) == 8, "all of it is in the log")
        rows = [json.loads(line) for line in platform.cli("logs", name, "-o", "json").stdout.splitlines()]
        assert [(row["text"], row["requestId"]) for row in rows] == [
            ("misbehave listens", ""),
            (f"FC Invoke Start RequestId: {ids[0]}", ids[0]),
            ("line 0 0000", ids[0]),
            (f"FC Invoke End RequestId: {ids[0]}", ids[0]),
            (f"FC Invoke Start RequestId: {ids[1]}", ids[1]),
            ("line 0 0000", ids[1]),
            ("line 1 0000", ids[1]),
            (f"FC Invoke End RequestId: {ids[1]}", ids[1]),
        ]
        assert {row["stream"] for row in rows} == {"stdout"}
        assert {row["version"] for row in rows} == {"LATEST"}
        assert {row["instance"] for row in rows} == {platform.instances(name)[0]["instanceId"]}


def test_what_a_request_printed_comes_with_its_answer(client: Client, image: str) -> None:
    with function(client, "tailed", image) as name:
        client.invoke(name, "/print?lines=2&bytes=20")
        result = client.invoke(name, "/print?lines=1&bytes=22", log=True)
        assert "line 0 000000" in result.log
        assert "line 1" not in result.log
        assert f"FC Invoke Start RequestId: {result.request_id}" in result.log
        assert f"FC Invoke End RequestId: {result.request_id}" in result.log
        assert "Memory Size: 128 MB" in result.log


def test_a_log_outlives_its_instance_and_the_processes_that_tell_it(
    platform: Platform, client: Client, image: str
) -> None:
    with function(client, "kept", image, idle_timeout=1) as name:
        platform.get(name, "/print?lines=1&bytes=20")
        until(lambda: "terminated" in lines_of(client, name), "its first instance has ended")
        before = lines_of(client, name)
        assert "line 0 0000" in before
        for process in ("control", "collector"):
            platform.kill(process)
            assert lines_of(client, name) == before
        platform.get(name, "/print?lines=1&bytes=22")
        until(lambda: "line 0 000000" in lines_of(client, name), "its second instance is in the log")
        assert lines_of(client, name)[: len(before)] == before


def test_a_log_is_followed_into_instances_to_come(platform: Platform, client: Client, image: str) -> None:
    with function(client, "followed", image) as name, following(platform, name) as lines:
        platform.get(name, "/print?lines=1&bytes=20")
        assert lines.get(timeout=PATIENCE).endswith("misbehave listens")
        rest = [lines.get(timeout=PATIENCE) for _ in range(3)]
        assert rest[1].endswith("line 0 0000")
        platform.get(name, "/print?lines=1&bytes=22&to=stderr")
        more = [lines.get(timeout=PATIENCE) for _ in range(3)]
        assert [line for line in more if line.endswith("line 0 000000")]


@contextmanager
def following(platform: Platform, name: str) -> Iterator["queue.Queue[str]"]:
    """The lines that `sampan logs -f` shows, as it shows them."""
    lines: queue.Queue[str] = queue.Queue()
    program = str(Path(sys.executable).with_name("sampan"))
    command = [program, "--state", str(platform.state), "logs", "-f", name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:

        def read() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                lines.put(line.rstrip())

        reader = threading.Thread(target=read)
        reader.start()
        try:
            yield lines
        finally:
            process.kill()
            reader.join()

"""The vendor's own SDK, unmodified, against a whole platform; and ours through the same story."""

import asyncio
import base64
import io
import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from alibabacloud_fc20230330 import models as fc
from alibabacloud_fc20230330.client import Client
from alibabacloud_tea_openapi.exceptions import AlibabaCloudException
from alibabacloud_tea_openapi.utils_models import Config
from darabonba.runtime import RuntimeOptions

from sampan import sdk
from sampan.wire import shapes
from tests.journeys.platform import PATIENCE, Platform, until

pytestmark = pytest.mark.root

RUNTIME = {"runtime": "custom-container", "handler": "x"}
SMALL: dict[str, Any] = {"memory_size": 128, "cpu": 0.1, "timeout": 20}
OPEN = json.dumps({"methods": ["GET"], "authType": "anonymous"})


def client_of(platform: Platform, secret: str = "") -> Client:
    with platform.client() as ours:
        key = ours.credentials.key
    return Client(
        Config(
            access_key_id=key.id,
            access_key_secret=secret or key.secret,
            endpoint=platform.endpoint,
            protocol="HTTP",
            region_id="local",
        )
    )


@pytest.fixture(scope="module")
def client(platform: Platform) -> Client:
    return client_of(platform)


@pytest.fixture(scope="module")
def image(platform: Platform) -> str:
    return platform.push("misbehave")


def create(client: Client, image: str, name: str, **members: Any) -> None:
    container = fc.CustomContainerConfig(image=image, port=9000)
    given = fc.CreateFunctionInput(
        function_name=name, custom_container_config=container, **{**RUNTIME, **SMALL, **members}
    )
    made = client.create_function(fc.CreateFunctionRequest(body=given)).body
    assert made.state == "Pending"
    until(lambda: get(client, name).state != "Pending", f"{name} is active or failed")
    assert get(client, name).state == "Active", get(client, name).state_reason


def get(client: Client, name: str) -> fc.Function:
    return client.get_function(name, fc.GetFunctionRequest()).body


def update(client: Client, name: str, **members: Any) -> None:
    changed = client.update_function(name, fc.UpdateFunctionRequest(body=fc.UpdateFunctionInput(**members))).body
    assert (changed.state, changed.last_update_status) == ("Active", "InProgress")
    until(lambda: get(client, name).last_update_status != "InProgress", f"{name} is updated")


def publish(client: Client, name: str) -> str:
    request = fc.PublishFunctionVersionRequest(body=fc.PublishVersionInput(description="of a test"))
    return str(client.publish_function_version(name, request).body.version_id)


class Called:
    """One synchronous invocation."""

    def __init__(
        self, client: Client, name: str, event: bytes = b"", qualifier: str | None = None, log: bool = False
    ) -> None:
        request = fc.InvokeFunctionRequest(body=io.BytesIO(event), qualifier=qualifier)
        headers = fc.InvokeFunctionHeaders(x_fc_log_type="Tail" if log else "None")
        patience = RuntimeOptions(read_timeout=int(PATIENCE * 1000))
        answer = client.invoke_function_with_options(name, request, headers, patience)
        self.status: int = answer.status_code
        self.headers: dict[str, str] = answer.headers
        self.body: bytes = answer.body.read()

    @property
    def error(self) -> str | None:
        return self.headers.get("x-fc-error-type")

    @property
    def log(self) -> str:
        return base64.b64decode(self.headers["x-fc-log-result"]).decode()


@pytest.fixture
def web(client: Client, image: str) -> Iterator[str]:
    """A function whose GENERATION is 1."""
    create(client, image, "web", environment_variables={"GENERATION": "1"})
    yield "web"
    remove(client, "web")


def remove(client: Client, name: str) -> None:
    with suppress(AlibabaCloudException):
        for trigger in client.list_triggers(name, fc.ListTriggersRequest()).body.triggers:
            client.delete_trigger(name, trigger.trigger_name)
        for alias in client.list_aliases(name, fc.ListAliasesRequest()).body.aliases:
            client.delete_alias(name, alias.alias_name)
        client.delete_function(name)


def generation(client: Client, name: str, qualifier: str | None = None) -> str:
    """What the version that a call reaches has in its environment."""
    lines = Called(client, name, b"/environment", qualifier).body.decode().splitlines()
    return next(line.partition("=")[2] for line in lines if line.startswith("GENERATION="))


def refused(call: Any) -> AlibabaCloudException:
    with pytest.raises(AlibabaCloudException) as error:
        call()
    found: AlibabaCloudException = error.value
    return found


def test_an_event_goes_in_and_comes_back(client: Client, web: str) -> None:
    event = bytes(range(256)) * 1000
    called = Called(client, web, event)
    assert (called.status, called.body, called.error) == (200, event, None)
    assert called.headers["x-fc-request-id"].startswith("1-")
    assert int(called.headers["x-fc-invocation-duration"]) >= 0


def test_the_log_of_a_call_comes_with_its_answer(client: Client, web: str) -> None:
    called = Called(client, web, b"/print?lines=2&bytes=20", log=True)
    assert called.body == b"printed 2\n"
    for line in ("FC Invoke Start RequestId: ", "line 0 0000", "line 1 0000", "FC Invoke End RequestId: "):
        assert line in called.log
    assert called.headers["x-fc-request-id"] in called.log
    assert "Duration: " in called.log
    assert "x-fc-log-result" not in Called(client, web, b"/print?lines=2").headers


def test_a_process_that_exits_is_an_error_of_the_function(client: Client, web: str) -> None:
    called = Called(client, web, b"/exit?code=3")
    assert (called.status, called.error) == (200, "UnhandledInvocationError")
    told = json.loads(called.body)
    assert "exited" in told["errorMessage"]
    assert told["errorType"]
    assert Called(client, web, b"next").body == b"next"


def test_a_call_that_takes_too_long_is_an_error_of_the_function(client: Client, web: str) -> None:
    update(client, web, timeout=1)
    called = Called(client, web, b"/slow?ms=15000")
    assert (called.status, called.error) == (200, "UnhandledInvocationError")
    assert "time out after 1 seconds" in json.loads(called.body)["errorMessage"]


def test_an_update_changes_what_is_called(platform: Platform, client: Client, web: str) -> None:
    assert generation(client, web) == "1"
    update(client, web, environment_variables={"GENERATION": "2"})
    found = get(client, web)
    assert (found.last_update_status, found.environment_variables) == ("Successful", {"GENERATION": "2"})
    assert generation(client, web) == "2"
    static = fc.CustomContainerConfig(image=platform.push("static"), port=9000)
    update(client, web, custom_container_config=static)
    assert get(client, web).custom_container_config.image.endswith("/static:latest")
    assert Called(client, web, b"anything").body == b"hello\n"


def test_an_update_to_an_image_that_is_not_there_leaves_the_old_one(
    platform: Platform, client: Client, web: str
) -> None:
    missing = fc.CustomContainerConfig(image=f"{platform.registry}/missing:1", port=9000)
    update(client, web, custom_container_config=missing)
    found = get(client, web)
    assert (found.state, found.last_update_status) == ("Active", "Failed")
    assert found.last_update_status_reason_code == "ImageNotFound"
    assert generation(client, web) == "1"


def test_versions_stay_and_an_alias_shares_its_calls_out(client: Client, web: str) -> None:
    assert publish(client, web) == "1"
    update(client, web, environment_variables={"GENERATION": "2"})
    assert publish(client, web) == "2"
    update(client, web, environment_variables={"GENERATION": "3"})
    alias = fc.CreateAliasInput(alias_name="prod", version_id="1", additional_version_weight={"2": 0.5})
    client.create_alias(web, fc.CreateAliasRequest(body=alias))
    assert [generation(client, web, qualifier) for qualifier in ("1", "2", "LATEST", None)] == ["1", "2", "3", "3"]
    assert {generation(client, web, "prod") for _ in range(40)} == {"1", "2"}  # all alike: once in 5·10¹¹ runs
    moved = fc.UpdateAliasInput(version_id="2", additional_version_weight={})
    client.update_alias(web, "prod", fc.UpdateAliasRequest(body=moved))
    assert {generation(client, web, "prod") for _ in range(10)} == {"2"}
    called = Called(client, web, qualifier="prod")
    assert called.headers["x-fc-invocation-function-version"] == "2"
    assert refused(lambda: Called(client, web, qualifier="9")).code == "VersionNotFound"
    assert refused(lambda: client.delete_function_version(web, "2")).status_code == 409
    client.delete_alias(web, "prod")
    client.delete_function_version(web, "2")
    assert refused(lambda: Called(client, web, qualifier="prod")).code == "AliasNotFound"


def test_a_trigger_gives_a_url_and_takes_it_away(client: Client, platform: Platform, web: str) -> None:
    given = fc.CreateTriggerInput(trigger_name="http", trigger_type="http", trigger_config=OPEN)
    url = client.create_trigger(web, fc.CreateTriggerRequest(body=given)).body.http_trigger.url_internet
    assert url == f"http://{web}.localhost:{platform.settings.gateway.port}"
    host = {"Host": url.removeprefix("http://")}  # not every resolver knows *.localhost
    assert platform.http.get(platform.endpoint, headers=host).status_code == 200
    assert platform.http.post(platform.endpoint, headers=host).status_code == 405
    client.delete_trigger(web, "http")
    assert platform.http.get(platform.endpoint, headers=host).status_code == 404


def test_reserved_concurrency_of_none_refuses_every_call(client: Client, web: str) -> None:
    none = fc.PutConcurrencyConfigRequest(body=fc.PutConcurrencyInput(reserved_concurrency=0))
    client.put_concurrency_config(web, none)
    error = refused(lambda: Called(client, web, b"x"))
    assert error.status_code == 429
    client.delete_concurrency_config(web)
    assert Called(client, web, b"x").body == b"x"


def test_provisioned_instances_are_there_before_the_first_call(client: Client, web: str) -> None:
    def running() -> set[str]:
        listed = client.list_instances(web, fc.ListInstancesRequest()).body.instances
        return {one.instance_id for one in listed if one.status == "Running"}

    until(lambda: len(running()) == 1, "only the one of the deploy runs, none of an earlier function of that name")
    request = fc.PutProvisionConfigRequest(qualifier="LATEST", body=fc.PutProvisionConfigInput(default_target=2))
    client.put_provision_config(web, request)
    until(lambda: len(running()) == 2, "two instances run")
    found = client.get_provision_config(web, fc.GetProvisionConfigRequest(qualifier="LATEST")).body
    assert (found.target, found.current) == (2, 2)
    called = Called(client, web, b"x")
    assert called.headers["x-fc-instance-id"] in running()
    client.delete_provision_config(web, fc.DeleteProvisionConfigRequest(qualifier="LATEST"))
    found = client.get_provision_config(web, fc.GetProvisionConfigRequest(qualifier="LATEST")).body
    assert found.target == 0


def test_invocation_is_switched_off_and_on(client: Client, web: str) -> None:
    client.disable_function_invocation(web, fc.DisableFunctionInvocationRequest(reason="too dear"))
    error = refused(lambda: Called(client, web, b"x"))
    assert error.status_code == 403
    assert "too dear" in error.message
    client.enable_function_invocation(web)
    assert Called(client, web, b"x").body == b"x"


def test_tags_are_kept(client: Client, web: str) -> None:
    arn = get(client, web).function_arn
    tags = [fc.Tag(key="team", value="blue"), fc.Tag(key="stage", value="test")]
    put = fc.TagResourcesInput(resource_id=[arn], resource_type="function", tag=tags)
    client.tag_resources(fc.TagResourcesRequest(body=put))
    client.untag_resources(fc.UntagResourcesRequest(resource_id=[arn], resource_type="function", tag_key=["stage"]))
    assert [(tag.key, tag.value) for tag in get(client, web).tags] == [("team", "blue")]
    found = client.list_functions(fc.ListFunctionsRequest(tags=[fc.Tag(key="team", value="blue")])).body
    assert [function.function_name for function in found.functions] == [web]


def test_what_was_deleted_is_gone(client: Client, image: str) -> None:
    create(client, image, "brief")
    assert Called(client, "brief", b"x").body == b"x"
    client.delete_function("brief")
    error = refused(lambda: Called(client, "brief", b"x"))
    assert (error.code, error.status_code) == ("FunctionNotFound", 404)


def test_a_wrong_secret_may_do_nothing(platform: Platform, client: Client, web: str) -> None:
    stranger = client_of(platform, secret="wrong")
    for call in (
        lambda: get(stranger, web),
        lambda: Called(stranger, web, b"x"),
        lambda: stranger.delete_function(web),
    ):
        error = refused(call)
        assert (error.code, error.status_code) == ("SignatureNotMatch", 403)
    assert get(client, web).state == "Active"


def test_what_is_not_supported_says_so(client: Client, web: str) -> None:
    retries = fc.PutAsyncInvokeConfigInput(max_async_retry_attempts=1)
    error = refused(lambda: client.put_async_invoke_config(web, fc.PutAsyncInvokeConfigRequest(body=retries)))
    assert (error.code, error.status_code) == ("NotSupported", 400)
    assert "PutAsyncInvokeConfig" in error.message
    headers = fc.InvokeFunctionHeaders(x_fc_invocation_type="Async")
    request = fc.InvokeFunctionRequest(body=io.BytesIO(b"x"))
    error = refused(lambda: client.invoke_function_with_options(web, request, headers, RuntimeOptions()))
    assert (error.code, error.status_code) == ("NotSupported", 400)


async def test_the_vendors_asynchronous_client_works_too(client: Client, web: str) -> None:
    found = await client.get_function_async(web, fc.GetFunctionRequest())
    assert found.body.state == "Active"


# ── our own SDK ───────────────────────────────────────────────────────────────────────────────────────


def wanted(name: str, image: str) -> shapes.CreateFunctionInput:
    container = shapes.CustomContainerConfig(image=image, port=9000)
    return shapes.CreateFunctionInput(function_name=name, custom_container_config=container, **SMALL)


def test_our_client_tells_the_same_story(platform: Platform, image: str) -> None:
    with platform.client() as ours:
        ours.create_function(wanted("ours", image))
        until(lambda: ours.get_function("ours").state == "Active", "it is active")
        result = ours.invoke("ours", b"/print?lines=1&bytes=20", log=True)
        assert (result.body, result.failed) == (b"printed 1\n", False)
        assert "line 0 0000" in result.log
        assert ours.invoke("ours", b"/exit?code=1").error_type == "UnhandledInvocationError"
        assert ours.http("ours", "GET", "/status?code=418").status == 418
        version = ours.publish_version("ours").version_id
        ours.create_alias("ours", "prod", version)
        assert ours.invoke("ours", b"x", qualifier="prod").version == version
        assert ours.describe("ours").aliases[0].alias_name == "prod"
        assert list(ours.list_instances("ours"))
        with pytest.raises(sdk.Conflict):
            ours.delete_function("ours")
        ours.delete_alias("ours", "prod")
        ours.delete_function("ours")
        with pytest.raises(sdk.NotFound):
            ours.invoke("ours")


async def test_our_asynchronous_client_tells_it_too(platform: Platform, image: str) -> None:
    async with sdk.AsyncClient(state=platform.state) as ours:
        await ours.create_function(wanted("ours-async", image))
        await active(ours, "ours-async")
        assert (await ours.invoke("ours-async", b"event")).body == b"event"
        version = (await ours.publish_version("ours-async")).version_id
        assert [one.version_id async for one in ours.list_versions("ours-async")] == [version]
        assert (await ours.http("ours-async", path="/status?code=404", qualifier=version)).status == 404
        async with asyncio.timeout(PATIENCE):  # what is printed is gathered once a second
            async for line in ours.logs("ours-async", follow=True):
                if line.text.startswith("FC Invoke End RequestId: "):
                    break
        await ours.delete_function("ours-async")
        with pytest.raises(sdk.NotFound):
            await ours.get_function("ours-async")


async def active(ours: sdk.AsyncClient, name: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while (await ours.get_function(name)).state != "Active":  # noqa: ASYNC110  another process's state
            await asyncio.sleep(0.02)

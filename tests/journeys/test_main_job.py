"""The main job: an image that knows nothing of us becomes a function, is called, scales, and is updated."""

import concurrent.futures
from collections.abc import Iterator

import pytest

from sampan.wire import shapes
from tests.journeys.load import Load
from tests.journeys.platform import Platform, until

pytestmark = pytest.mark.root

SMALL = ("--memory", "128", "--cpu", "0.1", "--public")


@pytest.fixture(scope="module")
def hello(platform: Platform) -> str:
    image = platform.push("static")
    platform.cli("deploy", "hello", "--image", image, *SMALL)
    return "hello"


def test_a_deployed_image_answers_at_its_url_cold_and_warm(platform: Platform, hello: str) -> None:
    cold = platform.get(hello)
    warm = platform.get(hello)
    assert cold.status_code == 200, cold.text
    assert cold.text == "hello\n"
    assert (warm.status_code, warm.text) == (200, "hello\n")
    assert cold.headers["x-fc-request-id"] != warm.headers["x-fc-request-id"]


def test_it_answers_by_path_for_clients_without_wildcard_names(platform: Platform, hello: str) -> None:
    assert platform.get("localhost", f"/fn/{hello}/").text == "hello\n"
    assert platform.get("localhost", f"/fn/{hello}:LATEST/").text == "hello\n"


def test_a_private_function_refuses_the_unsigned(platform: Platform) -> None:
    image = platform.push("static")
    platform.cli("deploy", "secret", "--image", image, "--memory", "128", "--cpu", "0.1")
    refused = platform.get("secret")
    assert refused.status_code in (400, 403)
    assert "Code" in refused.json()
    assert platform.cli("invoke", "secret", "--path", "/").stdout == b"hello\n"


def test_fifty_requests_at_once_start_fifty_instances_and_use_each(platform: Platform) -> None:
    image = platform.push("misbehave")
    platform.cli("deploy", "burst", "--image", image, *SMALL, "--timeout", "30")
    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: platform.get("burst", "/slow?ms=15000"), range(50)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.headers["x-boot"] for answer in answers}) == len(platform.instances("burst")) >= 45
    platform.cli("rm", "burst", "--yes", "--force")


def test_an_idle_function_scales_to_zero_and_comes_back(platform: Platform) -> None:
    image = platform.push("static")
    platform.cli("deploy", "drowsy", "--image", image, *SMALL, "--idle-timeout", "1")
    assert platform.get("drowsy").status_code == 200
    assert len(platform.instances("drowsy")) == 1
    until(lambda: not platform.instances("drowsy"), "no instance is left")
    assert platform.get("drowsy").status_code == 200


@pytest.fixture
def steady(platform: Platform) -> Iterator[str]:
    image = platform.push("misbehave")
    platform.cli("deploy", "steady", "--image", image, *SMALL, "--env", "GENERATION=0")
    yield "steady"
    platform.cli("rm", "steady", "--yes", "--force")


def test_twenty_updates_and_alias_shifts_fail_no_request(platform: Platform, steady: str) -> None:
    platform.cli("publish", steady)
    platform.cli("alias", steady, "prod", "1")
    with (
        platform.client() as client,
        Load(platform, steady, "/environment") as latest,
        Load(platform, f"prod--{steady}", "/environment", wait=True) as alias,
    ):
        trigger = shapes.CreateTriggerInput(
            trigger_name="prod",
            trigger_type="http",
            qualifier="prod",
            trigger_config='{"authType": "anonymous", "methods": ["GET"]}',
        )
        client.create_trigger(steady, trigger)
        alias.begin()
        for generation in range(1, 11):
            platform.change(steady, environment_variables={"GENERATION": str(generation)})
            version = client.publish_version(steady).version_id
            client.update_alias(steady, "prod", version)
    assert latest.failures == []
    assert alias.failures == []
    assert min(latest.answers, alias.answers) > 50
    assert len(latest.generations) == 11

"""The main job: an image that knows nothing of us becomes a function, is called, scales, and is updated."""

import concurrent.futures
import threading
import time
from collections.abc import Iterator

import pytest

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
        answers = list(pool.map(lambda _: platform.get("burst", "/slow?ms=3000"), range(50)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.headers["x-boot"] for answer in answers}) == len(platform.instances("burst")) >= 45
    platform.cli("rm", "burst", "--yes", "--force")


def test_an_idle_function_scales_to_zero_and_comes_back(platform: Platform) -> None:
    image = platform.push("static")
    platform.cli("deploy", "brief", "--image", image, *SMALL, "--idle-timeout", "1")
    assert platform.get("brief").status_code == 200
    assert len(platform.instances("brief")) == 1
    until(lambda: not platform.instances("brief"), "no instance is left")
    assert platform.get("brief").status_code == 200


class Load:
    """Constant load on one URL until it is left; every answer that is not 200 and every broken connection counts."""

    def __init__(self, platform: Platform, function: str, path: str = "/", clients: int = 4) -> None:
        self.platform, self.function, self.path = platform, function, path
        self.failures: list[str] = []
        self.answers = 0
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._call) for _ in range(clients)]

    def _call(self) -> None:
        while not self._end.is_set():
            try:
                answer = self.platform.get(self.function, self.path)
                if answer.status_code != 200:
                    self.failures.append(f"{answer.status_code} {answer.text[:300]}")
            except Exception as error:
                self.failures.append(repr(error))
            self.answers += 1
            time.sleep(0.01)

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def steady(platform: Platform) -> Iterator[str]:
    image = platform.push("misbehave")
    platform.cli("deploy", "steady", "--image", image, *SMALL, "--env", "GENERATION=0")
    yield "steady"
    platform.cli("rm", "steady", "--yes", "--force")


def test_twenty_updates_and_alias_shifts_fail_no_request(platform: Platform, steady: str) -> None:
    client = platform.client()
    platform.cli("publish", steady)
    platform.cli("alias", steady, "prod", "1")
    with Load(platform, steady) as latest:
        for generation in range(1, 11):
            platform.cli("deploy", steady, "--env", f"GENERATION={generation}")
            version = client.publish_version(steady).version_id
            platform.cli("alias", steady, "prod", str(version))
    assert latest.failures == []
    assert latest.answers > 100
    client.close()

"""Two gateways behind one port: they share instances and quotas, and either may die."""

import concurrent.futures
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.load import Load
from tests.journeys.platform import Platform, running, until

pytestmark = pytest.mark.root

SMALL = ("--memory", "128", "--cpu", "0.1", "--public")


@pytest.fixture(scope="module")
def two() -> Iterator[Platform]:
    state = Path(tempfile.mkdtemp(prefix="sampan-two-"))
    with running(state, **{"gateway.processes": 2, "scheduler.spares": 0}) as platform:
        yield platform
    assert platform.traces() == []


def at_once(platform: Platform, function: str, path: str, count: int) -> list[tuple[int, str]]:
    """Status and instance of each of `count` calls, each on a connection of its own."""
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        answers = list(pool.map(lambda _: platform.get(function, path), range(count)))
    return [(answer.status_code, answer.headers.get("x-boot", "")) for answer in answers]


def test_both_gateways_use_one_instance(two: Platform) -> None:
    """Twenty connections all fall to one of two listening sockets once in half a million runs."""
    two.cli("deploy", "shared", "--image", two.push("misbehave"), *SMALL, "--concurrency", "80")
    assert two.get("shared").status_code == 200
    answers = at_once(two, "shared", "/slow?ms=300", 20)
    assert {status for status, _ in answers} == {200}
    assert len({boot for _, boot in answers}) == 1
    assert len(two.instances("shared")) == 1


def test_one_slot_for_all_goes_round(two: Platform) -> None:
    """At an instance limit of one, calls at either gateway are answered in turn."""
    two.cli("deploy", "single", "--image", two.push("misbehave"), *SMALL, "--max", "1", "--timeout", "60")
    with Load(two, "single", "/", clients=1) as load:
        until(lambda: load.answers > 60, "sixty calls, at whichever gateway")
    assert load.failures == []


def test_either_gateway_may_die(two: Platform) -> None:
    two.cli("deploy", "steady", "--image", two.push("misbehave"), *SMALL, "--concurrency", "40")
    for name in ("gateway-1", "gateway-2"):
        two.kill(name)
        assert {status for status, _ in at_once(two, "steady", "/slow?ms=50", 10)} == {200}

"""Sessions keep to their instances: real clients, two gateways, containers that tell which of them answered."""

import concurrent.futures
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from sampan.wire import shapes
from tests.journeys.platform import PATIENCE, Platform, running

pytestmark = pytest.mark.root

SMALL = ("--memory", "128", "--cpu", "0.1", "--timeout", "30", "--public")
SESSIONS = [f"s{n}" for n in range(8)]


@pytest.fixture(scope="module")
def town() -> Iterator[Platform]:
    """Two gateways behind one port; each call connects anew, so it comes to either."""
    with running(Path(tempfile.mkdtemp(prefix="sampan-town-")), **{"gateway.processes": 2}) as platform:
        platform.push("misbehave")
        yield platform


def deploy(platform: Platform, name: str, *words: str) -> None:
    platform.cli("deploy", name, "--image", f"{platform.registry}/misbehave:latest", *SMALL, *words)


def boots(platform: Platform, function: str, path: str, rounds: int) -> dict[str, set[str]]:
    """Which instances answered each session, by calls that overlap."""
    found: dict[str, set[str]] = {id_: set() for id_ in SESSIONS}
    calls = SESSIONS * rounds
    random.Random(7).shuffle(calls)
    with concurrent.futures.ThreadPoolExecutor(len(SESSIONS)) as pool:
        ask = lambda id_: (id_, platform.get(function, path, headers={"my-session": id_}))  # noqa: E731
        for id_, answer in pool.map(ask, calls):
            assert answer.status_code == 200, answer.text
            found[id_].add(answer.headers["x-boot"])
    return found


def one_each(found: dict[str, set[str]]) -> dict[str, str]:
    """Session → its instance, of which it has one."""
    assert {id_: len(there) for id_, there in found.items()} == dict.fromkeys(SESSIONS, 1)
    return {id_: there.pop() for id_, there in found.items()}


@pytest.mark.parametrize("concurrency", ["1", "4"])
def test_sessions_stay_where_they_are_over_scale_out_gateways_and_restarts(
    town: Platform, concurrency: str
) -> None:
    name = f"keep{concurrency}"
    deploy(town, name, "--concurrency", concurrency, "--affinity", "header:My-Session")
    homes = one_each(boots(town, name, "/slow?ms=400", 1))
    assert len(set(homes.values())) >= 2, "they overlapped, so there has to be more than one instance"
    assert one_each(boots(town, name, "/slow?ms=20", 6)) == homes
    for process in ("gateway-1", "control", "gateway-2"):
        town.kill(process)
        assert one_each(boots(town, name, "/slow?ms=20", 3)) == homes, f"after the death of {process}"
    town.cli("rm", name, "--yes", "--force")


def test_a_session_goes_on_elsewhere_when_its_instance_ends(town: Platform) -> None:
    deploy(town, "mortal", "--concurrency", "2", "--affinity", "header:My-Session")
    homes = one_each(boots(town, "mortal", "/slow?ms=400", 1))
    victim = SESSIONS[0]
    told = {"host": "mortal.localhost", "my-session": victim}
    town.http.post(f"{town.endpoint}/exit?code=3", headers=told)  # a GET may be sent twice
    new = one_each(boots(town, "mortal", "/slow?ms=20", 3))
    assert new[victim] != homes[victim]
    assert {id_ for id_ in SESSIONS if new[id_] != homes[id_]} == {
        id_ for id_ in SESSIONS if homes[id_] == homes[victim]
    }
    town.cli("rm", "mortal", "--yes", "--force")


def test_browsers_keep_to_their_instances_by_the_cookie(town: Platform) -> None:
    deploy(town, "shop", "--affinity", "cookie")
    town.change("shop", session_affinity_config='{"sessionConcurrencyPerInstance": 1}')
    seen: dict[str, set[str]] = {}
    for n in range(4):
        with httpx.Client(base_url=town.endpoint, timeout=PATIENCE, trust_env=False) as browser:
            answers = [browser.get("/", headers={"host": "shop.localhost"}) for _ in range(5)]
        assert [answer.status_code for answer in answers] == [200] * 5
        assert ["set-cookie" in answer.headers for answer in answers] == [True] + [False] * 4
        seen[f"browser {n}"] = {answer.headers["x-boot"] for answer in answers}
    assert [len(there) for there in seen.values()] == [1] * 4
    assert len(set().union(*seen.values())) == 4, "each instance takes one session"
    with town.client() as client:
        found = client.get_function("shop")
    assert found.session_affinity == "GENERATED_COOKIE"
    config = shapes.read(found.session_affinity_config or "", shapes.SessionAffinityConfig)
    assert config.session_concurrency_per_instance == 1
    town.cli("rm", "shop", "--yes", "--force")

"""kill -9 of each process in turn, under load: only what is inside a killed gateway may fail; nothing leaks."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.load import Load
from tests.journeys.platform import Platform, running, until

pytestmark = pytest.mark.root

SMALL = ("--memory", "128", "--cpu", "0.1", "--public")


@pytest.fixture(scope="module")
def mortal() -> Iterator[Platform]:
    """A platform of its own with one function that has instances."""
    with running(Path(tempfile.mkdtemp(prefix="sampan-deaths-"))) as platform:
        image = platform.push("misbehave")
        platform.cli("deploy", "steady", "--image", image, *SMALL)
        assert platform.get("steady").status_code == 200
        yield platform


def ids(platform: Platform) -> set[str]:
    """The instances that are there."""
    return {row["instanceId"] for row in platform.instances("steady")}


@pytest.mark.parametrize("name", ["control", "sandboxd", "containerd", "registry", "collector"])
def test_no_request_fails_and_no_instance_is_lost_when_it_dies(mortal: Platform, name: str) -> None:
    before = ids(mortal)
    with Load(mortal, "steady") as load:
        until(lambda: load.answers > 20, "some load")
        mortal.kill(name)
        answered = load.answers
        until(lambda: load.answers > answered + 50, "load goes on")
    assert load.failures == []
    assert before, "there was nothing to adopt"
    until(lambda: before <= ids(mortal), "all instances are adopted")


def test_only_requests_inside_a_killed_gateway_fail(mortal: Platform) -> None:
    before = ids(mortal)
    with Load(mortal, "steady", clients=3) as load:
        until(lambda: load.answers > 20, "some load")
        mortal.kill("gateway-1")
        answered = load.answers
        until(lambda: load.answers > answered + 50, "load goes on")
    assert len(load.failures) <= 3, load.failures  # one a client at the most: each had one request inside
    assert all("Connect" not in failure for failure in load.failures), "a connection was refused"
    assert before <= ids(mortal)


def test_a_cold_start_under_way_survives_the_death_of_control_and_sandboxd(mortal: Platform) -> None:
    for name in ("control", "sandboxd"):
        mortal.cli(
            "deploy", "cold", "--env", f"DIED={name}", "--image", f"{mortal.registry}/misbehave:latest", *SMALL
        )
        with Load(mortal, "cold", clients=4) as load:
            mortal.kill(name)
            until(lambda: load.answers > 20, "load goes on")
        assert load.failures == []
        mortal.cli("rm", "cold", "--yes", "--force")


def test_nothing_has_leaked_after_all_that(mortal: Platform) -> None:
    """What runs is what is listed (and at most one spare a version)."""
    cgroups = Path(f"/sys/fs/cgroup/memory/sampan-{mortal.settings.platform.realm}")
    if not cgroups.exists():
        cgroups = Path(f"/sys/fs/cgroup/sampan-{mortal.settings.platform.realm}")

    def settled() -> bool:
        sandboxes = {path.name for path in cgroups.iterdir() if path.is_dir()}
        listed = {row["instanceId"] for row in mortal.instances("steady")}
        return listed <= sandboxes and len(sandboxes - listed) <= 1

    until(settled, "sandboxes and listed instances agree")
    mortal.cli("rm", "steady", "--yes", "--force")
    until(lambda: not [path for path in cgroups.iterdir() if path.is_dir()], "every sandbox is gone")

"""`/healthz` and `/readyz`: which part is ill, and why."""

import msgspec
import pytest

from sampan.gateway.health import STALE, Health
from sampan.link.messages import Health as HealthTold
from sampan.model.health import Part
from tests.gateway.conftest import MakeStage
from tests.gateway.stage import Stage

WELL = (Part("sandboxd", ok=True), Part("registry", ok=True, needed=False))


async def ask(stage: Stage, path: str) -> tuple[int, str, dict[str, str]]:
    """The status, the platform's condition, and why each ill part is."""
    answer = await stage.call("GET", path, host="127.0.0.1")
    assert answer["content-type"] == "application/json"
    told = msgspec.json.decode(answer.body)
    return answer.status, told["status"], {each["name"]: each["why"] for each in told["parts"] if not each["ok"]}


async def told(stage: Stage, *parts: Part) -> None:
    before = stage.gateway.control.health.answers(True, 0)
    stage.tell(HealthTold(parts))
    await stage.until(lambda: stage.gateway.control.health.answers(True, 0) is not before)


async def test_all_is_well(stage: MakeStage) -> None:
    s = await stage()
    await told(s, *WELL)
    for path in ("/healthz", "/readyz"):
        assert await ask(s, path) == (200, "ok", {})


@pytest.mark.parametrize("name", ["sandboxd", "containerd", "database"])
async def test_a_part_that_is_needed_and_ill_makes_it_alive_but_not_ready(stage: MakeStage, name: str) -> None:
    s = await stage()
    await told(s, *WELL, Part(name, ok=False, why="it accepts no connection"))
    assert await ask(s, "/healthz") == (200, "ill", {name: "it accepts no connection"})
    assert await ask(s, "/readyz") == (503, "ill", {name: "it accepts no connection"})
    await told(s, *WELL)
    assert await ask(s, "/readyz") == (200, "ok", {})


@pytest.mark.parametrize("name", ["collector", "registry"])
async def test_a_part_that_can_be_missed_makes_it_degraded_but_ready(stage: MakeStage, name: str) -> None:
    s = await stage()
    await told(s, Part("sandboxd", ok=True), Part(name, ok=False, why="it accepts no connection", needed=False))
    for path in ("/healthz", "/readyz"):
        assert await ask(s, path) == (200, "degraded", {name: "it accepts no connection"})


async def test_without_control_it_is_alive_but_not_ready_until_control_is_back(stage: MakeStage) -> None:
    s = await stage()
    s.stop_control()
    await s.until(lambda: not s.gateway.control.connected)
    why = {"control": "this gateway has no connection to it"}
    assert await ask(s, "/healthz") == (200, "ill", why)
    assert await ask(s, "/readyz") == (503, "ill", why)
    await s.start_control()
    await s.until(lambda: s.gateway.control.connected)
    assert await ask(s, "/readyz") == (200, "ok", {})


async def test_what_an_earlier_connection_told_is_not_told_on(stage: MakeStage) -> None:
    s = await stage()
    await told(s, Part("database", ok=False, why="full"))
    s.stop_control()
    await s.until(lambda: not s.gateway.control.connected)
    await s.start_control()
    await s.until(lambda: s.gateway.control.connected)
    assert await ask(s, "/readyz") == (200, "ok", {})


async def test_a_host_of_a_function_keeps_these_paths_to_itself(stage: MakeStage) -> None:
    s = await stage()
    await s.serve()
    for path in ("/healthz", "/readyz"):
        assert (await s.call("GET", path)).body == f"GET {path} ".encode()


def test_control_that_says_nothing_any_more_is_not_relied_on() -> None:
    health = Health()
    health.joined(100.0)
    assert health.answers(True, 100.0 + STALE).ready == 200
    assert health.answers(True, 100.1 + STALE).ready == 503
    health.hear(WELL, 200.0)
    assert health.answers(True, 200.0 + STALE).ready == 200
    silent = health.answers(True, 201.0 + STALE)
    assert (silent.ready, b"has not said how it is for 20 seconds" in silent.body) == (503, True)


def test_an_answer_is_made_once_for_all_who_ask() -> None:
    health = Health()
    health.hear(WELL, 1.0)
    first = health.answers(True, 2.0)
    health.hear(tuple(WELL), 3.0)
    assert health.answers(True, 4.0) is first

"""`up`, `down` and `status` hand over to `serve/up`; what they hand over is tested here, what it does there."""

import json
import sys
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

from sampan.cli.failures import Code
from sampan.settings import Settings
from tests.cli.conftest import Run
from tests.sdk.loopback import Answer, Loopback


class ProcessStatus(msgspec.Struct, frozen=True):
    name: str
    pid: int
    state: str
    since: float
    restarts: int


class Supervisor(ModuleType):
    """Stands where `serve/up` is and keeps what it was told."""

    def __init__(self) -> None:
        super().__init__("sampan.serve.up")
        self.told: list[tuple[object, ...]] = []
        self.code = 0

    def up(self, settings: Settings, detach: bool) -> int:
        self.told.append((settings, detach))
        return self.code

    def down(self, settings: Settings, keep_sandboxes: bool, timeout: float) -> int:
        self.told.append((settings, keep_sandboxes, timeout))
        return self.code

    def status(self, settings: Settings) -> list[ProcessStatus]:
        return [ProcessStatus("gateway", 7, "running", 1.0, 2)]


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Supervisor:
    made = Supervisor()
    monkeypatch.setitem(sys.modules, "sampan.serve.up", made)
    return made


def test_up_hands_over_flags_settings_and_the_file(sampan: Run, supervisor: Supervisor, tmp_path: Path) -> None:
    file = tmp_path / "sampan.toml"
    file.write_text("[gateway]\nport = 1111\nprocesses = 3\n")
    arguments = (
        "--state",
        "/s",
        "--port",
        "9100",
        "--registry-port",
        "5100",
        "--set",
        "scheduler.spares=4",
        "--detach",
    )
    assert sampan("up", "--config", str(file), *arguments).exit_code == 0
    settings, detach = supervisor.told[0]
    assert isinstance(settings, Settings)
    assert (settings.platform.state, settings.gateway.port, settings.gateway.processes) == ("/s", 9100, 3)
    assert (settings.registry.port, settings.scheduler.spares, detach) == (5100, 4, True)


def test_the_state_directory_is_the_one_that_clients_read(
    sampan: Run, supervisor: Supervisor, environment: dict[str, str]
) -> None:
    sampan("up")
    settings = supervisor.told[0][0]
    assert isinstance(settings, Settings)
    assert settings.platform.state == environment["SAMPAN_STATE"]


def test_an_unknown_setting_ends_with_2(sampan: Run, supervisor: Supervisor) -> None:
    result = sampan("up", "--set", "gateway.prot=1")
    assert (result.exit_code, "gateway.prot" in result.stderr) == (Code.USAGE, True)
    assert supervisor.told == []


def test_down_hands_over_what_to_keep_and_ends_with_its_code(sampan: Run, supervisor: Supervisor) -> None:
    supervisor.code = 1
    assert sampan("down", "--keep-sandboxes", "--timeout", "5").exit_code == 1
    assert supervisor.told[0][1:] == (True, 5.0)


def test_status_shows_processes_and_platform(sampan: Run, supervisor: Supervisor, server: Loopback) -> None:
    server.script["GET", "/sampan/v1/status"] = Answer(200, {"version": "0.1.0"})
    shown = json.loads(sampan("status", "-o", "json").stdout)
    assert shown["processes"][0]["name"] == "gateway"
    assert (shown["platform"]["version"], shown["error"]) == ("0.1.0", None)
    assert "gateway" in sampan("status").stdout


def test_status_shows_which_part_is_ill_and_why(sampan: Run, supervisor: Supervisor, server: Loopback) -> None:
    parts = {"sandboxd": "ok", "registry": "it accepts no connection"}
    told = {"version": "0.1.0", "platform": {"condition": "degraded", "parts": parts}}
    server.script["GET", "/sampan/v1/status"] = Answer(200, told)
    shown = [line.split(maxsplit=1) for line in sampan("status").stdout.splitlines()]
    assert ["condition", "degraded"] in shown
    assert ["sandboxd", "ok"] in shown
    assert ["registry", "it accepts no connection"] in shown
    assert json.loads(sampan("status", "-o", "json").stdout)["platform"]["platform"]["parts"] == parts


def test_status_shows_processes_even_when_the_platform_is_silent(
    sampan: Run, supervisor: Supervisor, environment: dict[str, str]
) -> None:
    environment["SAMPAN_ENDPOINT"] = "http://127.0.0.1:1"
    result = sampan("status")
    assert (result.exit_code, "gateway" in result.stdout) == (Code.UNREACHABLE, True)

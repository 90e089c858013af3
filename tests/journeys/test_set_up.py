"""`up`, `status`, `down`: what a platform does to a machine, and that it undoes it."""

import os
import shutil
import signal
import socket
import threading
from pathlib import Path

import httpx
import pytest

from sampan.serve.machine import CannotRun
from sampan.serve.up import up
from tests.journeys.platform import Platform, running, until

pytestmark = pytest.mark.root

SMALL = ("--memory", "128", "--cpu", "0.1", "--public")


def dead(pid: int) -> bool:
    """Gone, or only waiting for its parent to notice."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def test_a_platform_comes_up_serves_and_leaves_nothing_behind(own_state: Path) -> None:
    with running(own_state) as platform:
        assert {row.state for row in platform.processes().values()} == {"ready"}
        assert set(platform.json("status")["platform"]["platform"]["parts"].values()) == {"ok"}, (
            "what is ready is well at once"
        )
        credentials = platform.layout.credentials
        assert credentials.stat().st_mode & 0o777 == 0o600
        image = platform.push("static")
        platform.cli("deploy", "hello", "--image", image, *SMALL)
        assert platform.get("hello").text == "hello\n"

        second = platform.cli("up", *platform.flags, check=False)
        assert second.returncode != 0
        assert b"in use by process" in second.stderr
        assert b"sampan down" in second.stderr
    assert platform.traces() == []


def test_gateway_and_control_run_as_an_unprivileged_user(platform: Platform) -> None:
    for name, row in platform.processes().items():
        status = Path(f"/proc/{row.pid}/status").read_text()
        uid = int(status.split("Uid:")[1].split()[0])
        if name in ("control", "gateway-1", "registry", "collector"):
            assert uid != 0, name
            assert "NoNewPrivs:\t1" in status, name
            assert "CapEff:\t0000000000000000" in status, name


def test_requests_in_flight_finish_when_it_is_taken_down(own_state: Path) -> None:
    with running(own_state) as platform:
        image = platform.push("misbehave")
        platform.cli("deploy", "slow", "--image", image, *SMALL, "--timeout", "30")
        assert platform.get("slow").status_code == 200
        answers: list[httpx.Response] = []
        call = threading.Thread(target=lambda: answers.append(platform.get("slow", "/slow?ms=3000")))
        call.start()
        until(lambda: any(row["state"] == "ready" for row in platform.instances("slow")), "it is being served")
        platform.down()
        call.join()
    assert [answer.status_code for answer in answers] == [200]
    assert platform.traces() == []


def test_after_a_crash_everything_is_found_again_or_cleaned(own_state: Path) -> None:
    with running(own_state) as platform:
        image = platform.push("misbehave")
        platform.cli("deploy", "steady", "--image", image, *SMALL)
        before = platform.get("steady").headers["x-boot"]
        for row in platform.processes().values():
            os.kill(row.pid, signal.SIGSTOP)  # so that none can tidy up
        supervisor = int(platform.layout.lock.read_text())
        os.kill(supervisor, signal.SIGKILL)
        for row in platform.processes().values():
            os.kill(row.pid, signal.SIGKILL)
        until(lambda: dead(supervisor), "it is dead")
        platform.up()
        assert platform.get("steady").headers["x-boot"] == before, "the instance was not adopted"
    assert platform.traces() == []


def test_sandboxes_can_be_left_running_over_an_upgrade(own_state: Path) -> None:
    with running(own_state) as platform:
        image = platform.push("misbehave")
        platform.cli("deploy", "steady", "--image", image, *SMALL)
        before = platform.get("steady").headers["x-boot"]
        platform.down("--keep-sandboxes")
        platform.up()
        assert platform.get("steady").headers["x-boot"] == before
    assert platform.traces() == []


@pytest.mark.parametrize("setting", ["gateway.port", "registry.port", "telemetry.port"])
def test_a_port_in_use_is_named(own_state: Path, setting: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        other = Platform(own_state, **{setting: port})
        done = other.cli("up", *other.flags, check=False)
    assert done.returncode != 0
    assert f"127.0.0.1:{port} is in use; choose another with --set {setting}=N" in done.stderr.decode()
    assert other.traces() == []
    shutil.rmtree(own_state)


def test_without_root_it_says_what_to_do(own_state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Platform(own_state)
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    with pytest.raises(CannotRun, match="sudo sampan up"):
        up(other.settings, detach=False)
    shutil.rmtree(own_state)

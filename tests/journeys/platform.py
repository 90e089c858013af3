"""A whole platform for a test: real processes, containerd, runc, a registry, in a state directory of its own."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec

from sampan.sdk import Client
from sampan.serve.child import ProcessStatus
from sampan.serve.layout import Layout
from sampan.settings import Settings, load
from sampan.wire import shapes
from tests.images import archive

PATIENCE = 60.0  # seconds for anything that a test waits for; far above what it takes


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def until(done: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """Wait for something to become true, and return it."""
    deadline = time.monotonic() + patience
    while not (found := done()):
        assert time.monotonic() < deadline, f"not within {patience:g} s: {what}"
        time.sleep(0.02)
    return found


class Platform:
    """One platform. `up`, `down`, its command line, its client, its processes."""

    def __init__(self, state: Path, **settings: object) -> None:
        self.state = state
        self.flags: list[str] = []
        ports = {"gateway.port": free_port(), "registry.port": free_port()}
        given = {"platform.log_level": "debug", "engine.network_pool": 2, "telemetry.port": 0, **ports, **settings}
        for name, value in given.items():
            self.flags += ["--set", f"{name}={value}"]
        self.settings: Settings = load(None, {}, {"platform.state": str(state), **given})
        self.layout = Layout(self.settings)
        self.endpoint = f"http://127.0.0.1:{ports['gateway.port']}"
        limits = httpx.Limits(max_connections=200, max_keepalive_connections=0)  # each call connects anew
        self.http = httpx.Client(timeout=PATIENCE, limits=limits, trust_env=False)
        self.registry = f"localhost:{ports['registry.port']}"

    # the platform itself

    def up(self) -> None:
        self.cli("up", "--detach", *self.flags)

    def down(self, *flags: str) -> None:
        self.cli("down", *flags)

    def cli(self, *words: str, check: bool = True, stdin: str | bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run the `sampan` command against this platform."""
        done = subprocess.run(
            [str(Path(sys.executable).with_name("sampan")), *words],
            env={**os.environ, "SAMPAN_STATE": str(self.state), "NO_COLOR": "1", "COLUMNS": "160"},
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            capture_output=True,
            timeout=180,
            check=False,
        )
        if check and done.returncode != 0:
            raise AssertionError(
                f"sampan {' '.join(words)} → {done.returncode}\n{done.stdout.decode()}{done.stderr.decode()}"
                f"{self.logs()}"
            )
        return done

    def change(self, function: str, **members: Any) -> None:
        """Update a function through the SDK and wait until that has come to something."""
        with self.client() as client:
            client.update_function(function, shapes.UpdateFunctionInput(**members))

            def settled() -> bool:
                status: str | None = client.get_function(function).last_update_status
                assert status != "Failed", client.get_function(function).last_update_status_reason
                return status == "Successful"

            until(settled, f"the update of {function}")

    def json(self, *words: str) -> Any:
        return json.loads(self.cli(*words, "--output", "json").stdout)

    def client(self) -> Client:
        return Client(state=self.state)

    # its parts

    def processes(self) -> dict[str, ProcessStatus]:
        with contextlib.suppress(OSError):
            rows = msgspec.json.decode(self.layout.status.read_bytes(), type=list[ProcessStatus])
            return {row.name: row for row in rows}
        return {}

    def kill(self, name: str) -> None:
        """kill -9 one process, and wait until the supervisor has it back."""
        before = self.processes()[name]
        os.kill(before.pid, signal.SIGKILL)

        def back() -> bool:
            now = self.processes().get(name)
            return now is not None and now.restarts > before.restarts and now.state == "ready"

        until(back, f"{name} is back")

    def push(self, name: str) -> str:
        """A test image, in this platform's registry."""
        self.cli("import", str(archive(name)), f"{name}:latest")
        return f"{self.registry}/{name}:latest"

    def get(self, function: str, path: str = "/", **options: Any) -> httpx.Response:
        headers = {"host": f"{function}.localhost", **options.pop("headers", {})}
        return self.http.get(f"{self.endpoint}{path}", headers=headers, **options)

    def instances(self, function: str) -> list[dict[str, Any]]:
        """Live instances, spares left out."""
        rows: list[dict[str, Any]] = self.json("instances", function)
        return rows

    def logs(self) -> str:
        """The end of every process's log, for a test that failed."""
        files = sorted(self.layout.logs.glob("*.log"))
        return "".join(f"\n── {file.name}\n{file.read_text(errors='replace')[-1500:]}" for file in files)

    # what it leaves behind

    def traces(self) -> list[str]:
        """Everything of this platform that is on the machine: none after `down`."""
        realm = self.settings.platform.realm
        found = [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(self.state) in line]
        found += [line for line in Path("/proc/self/mounts").read_text().splitlines() if f"sampan-{realm}" in line]
        found += [str(path) for path in Path("/sys/fs/cgroup").glob(f"*/sampan-{realm}")]
        found += [str(path) for path in Path("/sys/fs/cgroup").glob(f"sampan-{realm}")]
        found += [str(path) for path in Path("/dev/shm").glob(f"sampan-{realm}")]
        links = os.listdir("/sys/class/net")
        found += [link for link in links if link.startswith(f"s{realm}") or link == f"br{realm}"]
        tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=False).stdout
        found += [line for line in tables.splitlines() if f"sampan_{realm}" in line]
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                cgroups = (process / "cgroup").read_text()
                ours = str(self.layout.run) in command or f"sampan-{realm}" in cgroups
                if ours and command:  # without a command line it is dead, and waits for its parent to notice
                    found.append(f"process {process.name}: {command}")
        loops = subprocess.run(["losetup", "-a"], capture_output=True, text=True, check=False).stdout
        found += [line for line in loops.splitlines() if f"sampan-{realm}" in line or str(self.state) in line]
        return found


@contextlib.contextmanager
def running(state: Path, **settings: object) -> Iterator[Platform]:
    """A platform that is up; whatever happens, nothing of it is left."""
    platform = Platform(state, **settings)
    platform.up()
    try:
        yield platform
    finally:
        try:
            platform.down()
        finally:
            for line in platform.traces():
                if line.startswith("process "):
                    with contextlib.suppress(OSError):
                        os.kill(int(line.split()[1].rstrip(":")), signal.SIGKILL)
            shutil.rmtree(state, ignore_errors=True)

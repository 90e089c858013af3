"""A platform of its own for the benchmarks: fresh state, free ports, functions deployed by the command line."""

import http.client
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sampan.sdk import Client
from tests import images

SAMPAN = Path(sys.executable).with_name("sampan")
DEADLINE = 120.0
"""Seconds for one command, and for instances to come or go."""


class Broken(Exception):
    """The platform did not do what the measurement needs; says what."""


class Platform:
    """What the measurements ask of a running platform. Made by `platform`."""

    def __init__(self, state: Path, port: int, registry_port: int) -> None:
        self.port = port
        self._state = state
        self._registry = f"localhost:{registry_port}"
        self._client: Client | None = None

    def command(self, *arguments: str) -> None:
        """Raises: Broken."""
        done = subprocess.run(
            [SAMPAN, "--state", self._state, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=DEADLINE, check=False,
        )  # fmt: skip
        if done.returncode:
            raise Broken(f"sampan {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")

    def deploy(self, function: str, image: str, *options: str) -> None:
        """Raises: Broken, BuildFailed."""
        self.command("import", str(images.archive(image)), f"{image}:bench")
        self.command("deploy", function, "--image", f"{self._registry}/{image}:bench", "--public", *options)

    def call(self, function: str, path: str = "/") -> float:
        """Seconds from connecting to the first byte of the answer. Raises: Broken."""
        return self.exchange(function, path)[0]

    def exchange(self, function: str, path: str = "/") -> tuple[float, http.client.HTTPMessage]:
        """Seconds to the first byte, and the headers, of a call that must answer 200. Raises: Broken."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        begun = time.perf_counter()
        try:
            connection.request("GET", path, headers={"Host": f"{function}.localhost:{self.port}"})
            response = connection.getresponse()
            taken = time.perf_counter() - begun
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise Broken(f"{function}{path}: {error}") from error
        finally:
            connection.close()
        if response.status != 200:
            raise Broken(f"{function}{path} answered {response.status}: {body[:300]!r}")
        return taken, response.headers

    def states(self, function: str) -> list[str]:
        """The state of each of the function's instances."""
        if self._client is None:
            self._client = Client(state=self._state, environment={})
        return [each.status for each in self._client.list_instances(function)]

    def until(self, function: str, count: int, state: str | None = None) -> None:
        """Waits for exactly `count` instances, all in `state` when one is named. Raises: Broken."""
        deadline = time.monotonic() + DEADLINE
        seen: list[str] = []
        while time.monotonic() < deadline:
            seen = self.states(function)
            if len(seen) == count and all(state in (None, each) for each in seen):
                return
            time.sleep(0.02)
        raise Broken(f"{function}: waited for {count} instances {state or ''}, there are {seen}")

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
        self.command("down")


@contextmanager
def platform(*settings: str) -> Iterator[Platform]:
    """A running platform with these settings ("section.field=value"). Raises: Broken."""
    port, registry_port = free_ports(2)
    with tempfile.TemporaryDirectory(prefix="sampan-bench-", dir="/var/tmp") as directory:
        os.chmod(directory, 0o755)
        one = Platform(Path(directory) / "state", port, registry_port)
        given = [word for each in settings for word in ("--set", each)]
        try:
            one.command("up", "--detach", "--port", str(port), "--registry-port", str(registry_port), *given)
            yield one
        finally:
            one.close()


def free_ports(count: int) -> list[int]:
    """Different ports of 127.0.0.1 that nobody listens on now."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()

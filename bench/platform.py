"""A platform of its own for the benchmarks: fresh state, free ports, functions deployed by the command line."""

import http.client
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.floor import first_byte
from sampan import settings
from sampan.sdk import Client
from sampan.sdk.errors import NotFound
from sampan.serve.layout import Layout
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
        self.realm = settings.Platform(state=str(state)).realm
        self.layout = Layout(settings.Settings(platform=settings.Platform(state=str(state))))
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
        """A function of one whole core, for the floors have no quota either. Raises: Broken, BuildFailed."""
        self.command("import", str(images.archive(image)), f"{image}:bench")
        size = ("--cpu", "1", "--memory", "1024")
        self.command("deploy", function, "--image", f"{self._registry}/{image}:bench", "--public", *size, *options)

    def call(self, function: str) -> float:
        """Seconds from connecting to the first byte of the answer, asked as the floors are. Raises: Broken."""
        try:
            taken, answer = first_byte("127.0.0.1", self.port, f"{function}.localhost:{self.port}")
        except OSError as error:
            raise Broken(f"{function}: {error}") from error
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise Broken(f"{function} answered {answer[:500]!r}")
        return taken

    def exchange(self, function: str, path: str) -> http.client.HTTPMessage:
        """The headers of a call that must answer 200. Raises: Broken."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        try:
            connection.request("GET", path, headers={"Host": f"{function}.localhost:{self.port}"})
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise Broken(f"{function}{path}: {error}") from error
        finally:
            connection.close()
        if response.status != 200:
            raise Broken(f"{function}{path} answered {response.status}: {body[:300]!r}")
        return response.headers

    def started(self, function: str) -> int:
        """How many instances the function has whose program runs; spares are not counted."""
        return sum(each.status != "Creating" for each in self.client.list_instances(function))

    @property
    def client(self) -> Client:
        if self._client is None:
            self._client = self.new_client()
        return self._client

    def new_client(self) -> Client:
        """One more, for another thread."""
        return Client(state=self._state, environment={})

    def has_trace(self, id: str) -> bool:
        """Whether anything of a trace is in the store."""
        try:
            return bool(self.client.trace(id).spans)
        except NotFound:
            return False

    def stored_spans(self, service: str) -> int:
        """How many spans of a service are in the store."""
        traces = self.client.traces(service=service, page_size=1500)
        return sum(share.spans for trace in traces for share in trace.services if share.name == service)

    def until(self, function: str, count: int) -> None:
        """Waits for exactly `count` started instances. Raises: Broken."""
        self.wait(lambda: self.started(function) == count, f"{function}: not {count} instances")

    def wait(self, condition: Callable[[], bool], otherwise: str) -> None:
        """Raises: Broken."""
        deadline = time.monotonic() + DEADLINE
        while not condition():
            if time.monotonic() > deadline:
                raise Broken(f"{otherwise} after {DEADLINE:.0f} s")
            time.sleep(0.02)

    def programs(self) -> list[int]:
        """Process ids in this platform's sandboxes."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if f"/sampan-{self.realm}/" in (entry / "cgroup").read_text():
                    found.append(int(entry.name))
            except OSError:
                continue  # it ended meanwhile
        return found

    def processes(self) -> list[int]:
        """Process ids of the platform itself."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if f"/run/sampan-{self.realm}/" in (entry / "cmdline").read_text():
                    found.append(int(entry.name))
            except OSError:
                continue  # it ended meanwhile
        return found

    def frozen(self) -> bool:
        """Whether this platform's sandboxes, if it has any, are all frozen."""
        pids = self.programs()
        return bool(pids) and all(_frozen(pid) for pid in pids)

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
        self.command("down")


def _frozen(pid: int) -> bool:
    """By cgroup v1's freezer or cgroup2's own file, whichever this machine has."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
        paths = {line.split(":", 2)[1]: line.split(":", 2)[2] for line in lines}
        if "freezer" in paths:
            return "FROZEN" in Path(f"/sys/fs/cgroup/freezer{paths['freezer']}/freezer.state").read_text()
        return Path(f"/sys/fs/cgroup{paths['']}/cgroup.freeze").read_text().strip() == "1"
    except OSError:
        return False  # it ended meanwhile


@contextmanager
def platform(*given: str) -> Iterator[Platform]:
    """A running platform with these settings ("section.field=value"). Raises: Broken."""
    port, registry_port = free_ports(2)
    with tempfile.TemporaryDirectory(prefix="sampan-bench-", dir="/var/tmp") as directory:
        os.chmod(directory, 0o755)
        one = Platform(Path(directory) / "state", port, registry_port)
        options = [word for each in ("telemetry.port=0", *given) for word in ("--set", each)]
        try:
            one.command("up", "--detach", "--port", str(port), "--registry-port", str(registry_port), *options)
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

"""A node engine of a test's own on this machine, its sandboxes' programs, and what it may not leave behind."""

import asyncio
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from sampan import settings
from sampan.engine.engine import Sandbox, SandboxSpec
from sampan.engine.node.network import DoorPorts
from sampan.engine.node.node import NodeEngine
from sampan.engine.node.records import Records
from tests.engine.contract import DEADLINE, Bench
from tests.engine.trees import TreeImages

_CLOSED = DoorPorts()


class MachineBench(Bench):
    """Real sandboxes of one tree."""

    def __init__(self, tree: Path, directory: Path, realm: str) -> None:
        self.images = TreeImages(tree)
        self.image = self.images.image(tree)
        self.directory, self.realm = directory, realm

    def node(self, ports: DoorPorts = _CLOSED, **changes: object) -> NodeEngine:
        """An engine, to be opened."""
        chosen = settings.Engine(**{"network_pool": 2} | changes)  # type: ignore[arg-type]
        run, state = self.directory / "run", self.directory / "state"
        return NodeEngine(chosen, self.realm, run, state, None, ports, self.images)

    def never_opens(self) -> SandboxSpec:
        return self.spec(argv=("/bin/sleep", "1000"))

    async def get(self, sandbox: Sandbox, path: str) -> str:
        """The body of an answer. Raises: OSError."""
        async with asyncio.timeout(DEADLINE):
            reader, writer = await asyncio.open_connection(sandbox.host, sandbox.port)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: sandbox\r\n\r\n".encode())
                answer = (await reader.read()).decode()
            finally:
                writer.close()
        if not answer:
            raise ConnectionError("the sandbox hung up")
        return answer.partition("\r\n\r\n")[2]

    async def exit(self, sandbox: Sandbox, code: int) -> None:
        try:
            await self.get(sandbox, f"/exit/{code}")
        except ConnectionError:
            return
        raise AssertionError("the program answered instead of ending")

    async def say(self, sandbox: Sandbox, lines: int) -> None:
        await self.get(sandbox, f"/say/{lines}")

    def pid(self, sandbox: Sandbox) -> int:
        records = dict(Records(self.directory / "run/sandboxes").read())
        record = records[sandbox.id]
        assert record is not None
        return record.pid

    def kill(self, sandbox: Sandbox) -> None:
        os.kill(self.pid(sandbox), signal.SIGKILL)


def traces(bench: MachineBench) -> Iterator[str]:
    """Everything on the machine that says it belongs to the bench's engine."""
    realm, directory = bench.realm, str(bench.directory)
    yield from re.findall(rf"\b(?:s{realm}\w+|br{realm})\b", output("ip", "-o", "link"))
    yield from re.findall(rf"sampan_{realm}", output("nft", "list", "tables"))
    for parent in (Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").iterdir()):
        if (parent / f"sampan-{realm}").exists():
            yield str(parent / f"sampan-{realm}")
    yield from (line for line in Path("/proc/self/mounts").read_text().splitlines() if directory in line)
    yield from (line for line in output("losetup", "-a").splitlines() if directory in line)
    for left in ("run/sandboxes", "run/runtime", "state/layers"):
        path = bench.directory / left
        yield from (str(entry) for entry in (path.iterdir() if path.exists() else ()))
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            with suppress(OSError):
                if f"/sampan-{realm}" in (process / "cgroup").read_text() and not _reaped(int(process.name)):
                    yield str(process)


def _reaped(pid: int) -> bool:
    """Orphans of an engine's process that was killed become ours, for an engine was opened in this process too."""
    with suppress(ChildProcessError):
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    return False


def settled(bench: MachineBench) -> list[str]:
    """What is left of the bench's engine once the kernel has had time to reap namespaces and devices."""
    deadline = time.monotonic() + DEADLINE
    while (left := list(traces(bench))) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left


def output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=DEADLINE).stdout

"""Real daemons for tests: started, waited for, and exactly these ended. All their state goes with them."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sampan.engine.node.containerd import daemon_config

START = 60.0  # seconds; 1 is usual, but the machine may be busy
USER, PASSWORD = "ada", "open sesame"
HTPASSWD = f"{USER}:$2b$05$a5Ny9S.9f0blMMRdsRP0L.bby6QD63kz.HJSR8uhoyeMaBqSkpDfe\n"  # bcrypt of PASSWORD, cost 5


class Daemon:
    """A process that can be killed and started again."""

    def __init__(self, argv: list[str], log: Path) -> None:
        self.argv, self.log = argv, log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + START
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.argv[0]} did not start: {self.log.read_text()[-2000:]}")
            time.sleep(0.02)

    def answers(self) -> bool:
        raise NotImplementedError

    def kill(self, how: int = signal.SIGKILL) -> None:
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(START)
            self.process = None


class ContainerdDaemon(Daemon):
    def __init__(self, root: Path) -> None:
        self.root, self.socket = root, root / "containerd.sock"
        config = root / "containerd.toml"
        config.write_text(daemon_config(root / "root", root / "state", self.socket))
        super().__init__(["containerd", "-c", str(config)], root / "containerd.log")

    def answers(self) -> bool:
        return _connects(socket.AF_UNIX, str(self.socket))


class RegistryDaemon(Daemon):
    """`host` is what stands before the first "/" of an image name. It is on loopback, so plain http is spoken."""

    def __init__(self, root: Path, port: int, htpasswd: bool) -> None:
        self.root, self.port, self.host = root, port, f"127.0.0.1:{port}"
        auth = ""
        if htpasswd:
            (root / "htpasswd").write_text(HTPASSWD)
            auth = f"auth:\n  htpasswd:\n    realm: test\n    path: {root / 'htpasswd'}\n"
        (root / "registry.yml").write_text(
            "version: 0.1\n"
            "log: {level: warn, accesslog: {disabled: false}}\n"
            f"storage:\n  filesystem: {{rootdirectory: {root / 'storage'}}}\n  delete: {{enabled: true}}\n"
            f"http:\n  addr: 127.0.0.1:{port}\n  secret: not-a-secret\n{auth}"
        )
        super().__init__(["docker-registry", "serve", str(root / "registry.yml")], root / "registry.log")

    def answers(self) -> bool:
        return _connects(socket.AF_INET, ("127.0.0.1", self.port))

    def requests(self, method: str, part: str) -> int:
        """How many requests of this method with `part` in the path it has logged."""
        lines = self.log.read_text().splitlines()
        return sum(f'"{method} ' in line and part in line.split('"')[1] for line in lines if '"' in line)


@contextmanager
def containerd(size_mb: int | None = None) -> Iterator[ContainerdDaemon]:
    """A containerd of one's own. size_mb: of the file system its state lies on; None: the machine's. Needs root."""
    root = Path(tempfile.mkdtemp(prefix="sampan-containerd-", dir="/tmp"))
    if size_mb is not None:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "tmpfs", str(root)], check=True)
    daemon = ContainerdDaemon(root)
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.kill()
        for mount in _mounts_under(root):
            subprocess.run(["umount", "-l", mount], check=False)
        shutil.rmtree(root)


@contextmanager
def registry(htpasswd: bool = False) -> Iterator[RegistryDaemon]:
    """A registry of one's own on loopback. htpasswd: only USER with PASSWORD may use it."""
    root = Path(tempfile.mkdtemp(prefix="sampan-registry-"))
    daemon = RegistryDaemon(root, free_port(), htpasswd)
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.kill()
        shutil.rmtree(root)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _connects(family: int, address: str | tuple[str, int]) -> bool:
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        return probe.connect_ex(address) == 0


def _mounts_under(root: Path) -> list[str]:
    """Innermost first."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    places = [line.split(" ")[4] for line in lines]
    return [place for place in reversed(places) if place == str(root) or place.startswith(f"{root}{os.sep}")]

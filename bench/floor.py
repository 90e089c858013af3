"""The floors: what a start costs with no platform at all, on this machine, in this minute.

    R     bare `runc run -d` of a bundle of the image, until the command returns
    app   the image's program in a chroot, from exec to the first byte of its first answer
    loop  `xargs -P4 runc run -d` over prepared bundles: starts per second

On the command line: `python -m bench.floor [IMAGE…]`.
"""

import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.bundle import CGROUPS, Unpacked, enter_network, networks, reachable, run, unpack, write_bundle
from sampan.engine.node.cgroup import layout, remove_parent
from tests import images

HOST, INSIDE = "10.63.255.1", "10.63.255.2"
"""A /30 that the platform's networks, 10.64.0.0 to 10.127.255.255, do not touch."""

POLL = 0.0002
"""Seconds between two attempts to connect."""

DEADLINE = 20.0
"""Seconds after which a program is held to be broken."""


class Floor:
    """Starts one image without the platform, as often as asked. Made by `floor`."""

    def __init__(self, image: Unpacked, directory: Path, network: Path) -> None:
        self._image = image
        self._directory = directory
        self._network = network
        self._bundle = write_bundle(directory / "bundle", image, network)

    def runtime(self) -> float:
        """R in seconds."""
        name = f"bench-{os.getpid()}"
        begun = time.perf_counter()
        try:
            self._runc("run", "--detach", "--bundle", str(self._bundle), name)
            taken = time.perf_counter() - begun
            first_byte(INSIDE, self._image.port)
        finally:
            self._runc("delete", "--force", name)
        return taken

    def program(self) -> float:
        """app in seconds. The process is there before the clock starts; it only has to exec."""
        begin, go = os.pipe()
        child = os.fork()
        if child == 0:
            self._become(begin)
        os.close(begin)
        try:
            time.sleep(0.02)  # for the child to reach its read
            os.write(go, b"!")
            return first_byte(INSIDE, self._image.port)[0]
        finally:
            os.close(go)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)

    def loop(self, starts: int = 60, at_once: int = 4) -> float:
        """Starts per second of a shell loop over bundles made beforehand."""
        prefix = f"bench-{os.getpid()}"
        with networks(prefix, starts) as paths:
            bundles = [write_bundle(self._directory / path.name, self._image, path) for path in paths]
            command = ["xargs", f"-P{at_once}", "-I{}", "runc", "--root", str(self._directory / "runc"), "run"]
            command += ["--detach", "--bundle", f"{self._directory}/{{}}", "{}"]
            names = "\n".join(path.name for path in paths)
            begun = time.perf_counter()
            try:
                subprocess.run(command, input=names, text=True, check=True, timeout=120, stdout=subprocess.DEVNULL)
                return starts / (time.perf_counter() - begun)
            finally:
                for path, bundle in zip(paths, bundles, strict=True):
                    self._runc("delete", "--force", path.name)
                    shutil.rmtree(bundle)

    def _become(self, begin: int) -> None:
        """In the forked child: the image's program, once `begin` can be read. Never returns."""
        try:
            enter_network(self._network)
            os.chroot(self._image.root)
            os.chdir(self._image.cwd)
            nowhere = os.open("/null", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            for descriptor in (0, 1, 2):
                os.dup2(nowhere, descriptor)
            environment = dict(each.split("=", 1) for each in self._image.env)
            os.read(begin, 1)
            os.execve(self._image.argv[0], self._image.argv, environment)
        finally:
            os._exit(127)

    def _runc(self, *arguments: str) -> None:
        run("runc", "--root", str(self._directory / "runc"), *arguments, check=arguments[0] != "delete")


@contextmanager
def floor(name: str) -> Iterator[Floor]:
    """The floor of the test image `name`."""
    with (
        tempfile.TemporaryDirectory(prefix="sampan-bench-") as directory,
        reachable(f"bench{os.getpid()}"[:13], HOST, INSIDE) as network,
    ):
        try:
            yield Floor(unpack(images.archive(name), Path(directory)), Path(directory), network)
        finally:
            remove_parent(layout(Path("/proc/self/mountinfo").read_text()), CGROUPS)


def first_byte(host: str, port: int, name: str = "bench") -> tuple[float, bytes]:
    """Connects as soon as the port accepts, asks for /. Seconds until the first byte, and the whole answer.

    name: in the Host header.  Raises: TimeoutError.
    """
    begun = time.perf_counter()
    while time.perf_counter() < begun + DEADLINE:
        with socket.socket() as connection:
            connection.settimeout(DEADLINE)
            if connection.connect_ex((host, port)) == 0:
                connection.sendall(f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
                if answer := connection.recv(1 << 16):
                    taken = time.perf_counter() - begun
                    while more := connection.recv(1 << 16):
                        answer += more
                    return taken, answer
        time.sleep(POLL)
    raise TimeoutError(f"nothing answered at {host}:{port} within {DEADLINE:.0f} s")


def main(names: list[str]) -> int:
    for name in names or ["static", "python", "hello-python"]:
        with floor(name) as bare:
            pairs = [(bare.runtime(), bare.program()) for _ in range(20)]
            runtime, program = (statistics.median(side) * 1000 for side in zip(*pairs, strict=True))
            print(f"{name:14} R {runtime:6.1f} ms   app {program:6.1f} ms   loop {bare.loop():5.0f} starts/s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

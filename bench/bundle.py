"""What the floors need of the outside: a root file system, a bundle for the runtime, a network to be reached on."""

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from sampan.engine.engine import SandboxSpec
from sampan.engine.node import seccomp
from sampan.engine.node.spec import CAPABILITIES, Place, oci_spec
from sampan.engine.node.users import User
from sampan.model.image import Image, ImageConfig
from sampan.model.names import InstanceId

libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000
CGROUPS = "/sampan-bench"
"""Parent of the bundles' cgroups."""


class Blob(msgspec.Struct):
    digest: str


class Index(msgspec.Struct):
    manifests: list[Blob]


class Manifest(msgspec.Struct):
    config: Blob
    layers: list[Blob]


class Process(msgspec.Struct, rename="pascal"):
    entrypoint: list[str] = []
    cmd: list[str] = []
    env: list[str] = []
    working_dir: str = "/"
    exposed_ports: dict[str, object] = {}


class Config(msgspec.Struct):
    config: Process


@dataclass(frozen=True)
class Unpacked:
    """An image as a directory, and what its config says of the program."""

    root: Path
    argv: tuple[str, ...]
    env: tuple[str, ...]
    cwd: str
    port: int


def unpack(archive: Path, into: Path) -> Unpacked:
    """Lays the layers of an OCI archive over each other in `into`. The images measured here have no whiteouts."""
    blobs, root = into / "oci", into / "rootfs"
    blobs.mkdir()
    run("tar", "--extract", "--file", str(archive), "--directory", str(blobs))

    def blob(one: Blob) -> Path:
        return blobs / "blobs" / one.digest.replace(":", "/")

    index = msgspec.json.decode((blobs / "index.json").read_bytes(), type=Index)
    manifest = msgspec.json.decode(blob(index.manifests[0]).read_bytes(), type=Manifest)
    process = msgspec.json.decode(blob(manifest.config).read_bytes(), type=Config).config
    root.mkdir()
    for layer in manifest.layers:
        run("tar", "--extract", "--gzip", "--file", str(blob(layer)), "--directory", str(root))
    cwd = process.working_dir or "/"
    (root / cwd.lstrip("/")).mkdir(parents=True, exist_ok=True)  # a runtime would do so
    port = next((int(each.partition("/")[0]) for each in process.exposed_ports), 9000)
    argv = (*process.entrypoint, *process.cmd)
    return Unpacked(root, argv, tuple(process.env), cwd, port)


def write_bundle(directory: Path, image: Unpacked, network: Path) -> Path:
    """The bundle that the platform would give the runtime: the same limits, filters and masks, `network` inside."""
    directory.mkdir()
    sandbox = SandboxSpec(
        id=InstanceId(directory.name),
        image=Image("bench", "", ImageConfig()),
        argv=image.argv,
        port=image.port,
        env=dict(each.split("=", 1) for each in image.env),
        cwd=image.cwd,
        memory_mb=1024,
    )
    place = Place(str(image.root), str(network), f"{CGROUPS}/{directory.name}", file_limit=sandbox.files)
    spec = oci_spec(sandbox, place, User(0, 0, ()), seccomp.load(CAPABILITIES))
    (directory / "config.json").write_bytes(msgspec.json.encode(spec))
    return directory


@contextmanager
def networks(prefix: str, count: int) -> Iterator[list[Path]]:
    """Network namespaces with nothing but loopback in them."""
    names = [f"{prefix}-{number}" for number in range(count)]
    try:
        for name in names:
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        yield [Path("/run/netns") / name for name in names]
    finally:
        for name in names:
            run("ip", "netns", "delete", name, check=False)


@contextmanager
def reachable(name: str, host: str, inside: str) -> Iterator[Path]:
    """A network namespace reached from this machine at the address `inside`; both are /30 neighbours."""
    with networks(name, 1) as [path]:
        run("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", path.name)
        try:
            run("ip", "address", "add", f"{host}/30", "dev", name)
            run("ip", "link", "set", name, "up")
            run("ip", "-n", path.name, "address", "add", f"{inside}/30", "dev", "eth0")
            run("ip", "-n", path.name, "link", "set", "eth0", "up")
            yield path
        finally:  # the kernel would do so some time after the namespace is gone: too late for the next floor
            run("ip", "link", "delete", name, check=False)


def enter_network(path: Path) -> None:
    """Moves the calling process into a network namespace. Raises: OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    if libc.setns(descriptor, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), f"setns {path}")


def run(*command: str, check: bool = True) -> None:
    """Raises: subprocess.SubprocessError."""
    quiet = subprocess.DEVNULL
    subprocess.run(command, check=check, timeout=60, stdin=quiet, stdout=quiet, stderr=quiet)

"""What the runtime is given for one sandbox: its mounted root with the few files of ours in it, and its spec."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from sampan.engine.engine import SandboxSpec
from sampan.engine.node import kernel, rootfs, users
from sampan.engine.node.spec import Place, oci_spec


class Bundle:
    """The directory of one sandbox."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._root = directory / "rootfs"
        self._config = directory / "config.json"

    @contextmanager
    def mounted(self, lower: Sequence[str], layer: Path) -> Iterator[None]:
        """The root is mounted within; a sandbox made meanwhile keeps it. Raises: OSError."""
        self._root.mkdir(parents=True, mode=0o755)
        rootfs.mount_root(lower, layer, self._root)
        try:
            yield
        finally:
            kernel.unmount(str(self._root))

    def write(
        self,
        spec: SandboxSpec,
        address: str,
        resolvers: Sequence[str],
        place: Place,
        filters: Mapping[bool, msgspec.Raw],
    ) -> None:
        """Complete the mounted root and write the runtime's spec. Raises: StartFailed, OSError.

        filters: of system calls, for programs that run as root and for others.
        """
        root = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            user = users.resolve(root, spec.user)
            _add_files(root, etc(spec.hostname or spec.id, address, resolvers))
        finally:
            os.close(root)
        self._config.write_bytes(msgspec.json.encode(oci_spec(spec, place, user, filters[user.uid == 0])))

    def program(self, argv: tuple[str, ...]) -> dict[str, object]:
        """The OCI process that runs `argv` as the sandbox's own program was run."""
        config = msgspec.json.decode(self._config.read_bytes(), type=_Config)
        return config.process | {"args": argv}


class _Config(msgspec.Struct):
    process: dict[str, object]


def etc(hostname: str, address: str, resolvers: Sequence[str]) -> dict[str, str]:
    """Files of /etc that depend on the sandbox."""
    return {
        "hostname": f"{hostname}\n",
        "hosts": f"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n{address}\t{hostname}\n",
        "resolv.conf": "".join(f"nameserver {server}\n" for server in resolvers),
    }


def _add_files(root: int, files: dict[str, str]) -> None:
    """Into the sandbox's own layer, so that they count as its disk; whatever links the image has there."""
    with suppress(FileExistsError):
        os.mkdir("etc", 0o755, dir_fd=root)
    directory = kernel.open_in_root(root, "etc", os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name, text in files.items():
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=directory)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            descriptor = os.open(name, flags, 0o644, dir_fd=directory)
            with os.fdopen(descriptor, "w") as file:
                file.write(text)
    finally:
        os.close(directory)

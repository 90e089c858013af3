"""Images made from directories, so that the node engine is tested without a registry or containerd."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from sampan.engine.engine import RegistryAuth
from sampan.model.errors import Failure, FailureKind, StartFailed
from sampan.model.image import Image, ImageConfig, PullProgress

SOURCE = Path(__file__).with_name("server.c")
PASSWD = "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000::/:/bin/sh\n"
GROUP = "root:x:0:\nweb:x:1000:\nextra:x:2000:web\n"


def build(directory: Path) -> Path:
    """A root file system: a static server at /server, busybox, two users."""
    for name in ("bin", "etc", "tmp", "proc", "sys", "dev"):
        (directory / name).mkdir(parents=True)
    (directory / "tmp").chmod(0o1777)
    (directory / "etc/passwd").write_text(PASSWD)
    (directory / "etc/group").write_text(GROUP)
    shutil.copy("/usr/bin/busybox", directory / "bin/busybox")
    for name in ("sh", "cat", "id", "ls", "sleep", "echo", "ps", "true", "mount", "wget", "hostname"):
        (directory / "bin" / name).symlink_to("busybox")
    subprocess.run(["gcc", "-O2", "-static", "-o", str(directory / "server"), str(SOURCE)], check=True)
    return directory


class TreeImages:
    """`NodeImages` of directories: the reference is the directory."""

    def __init__(self, *trees: Path) -> None:
        self._trees = {f"sha256:{tree.name}": tree for tree in trees}

    def image(self, tree: Path) -> Image:
        return Image(reference=str(tree), digest=f"sha256:{tree.name}", config=ImageConfig())

    async def pull(
        self,
        reference: str,
        auth: RegistryAuth | None,
        progress: Callable[[PullProgress], None] | None = None,
    ) -> Image:
        tree = Path(reference)
        if tree not in self._trees.values():
            raise StartFailed(Failure(FailureKind.IMAGE_NOT_FOUND, f"there is no image {reference}"))
        if progress is not None:
            progress(PullProgress("sha256:0", 1, 1, "done"))
        return self.image(tree)

    async def list(self) -> list[Image]:
        return [self.image(tree) for tree in self._trees.values()]

    async def check(self) -> None:
        """They are directories, and there."""

    async def retain(self, digests: frozenset[str]) -> None:
        pass

    async def lower_directories(self, digest: str) -> tuple[str, ...]:
        return (str(self._trees[digest]),)

"""A sandbox's files: the image's layers below, a layer of its own above, size-limited.

The own layer is a file system of its own: "disk" is an ext4 image behind a loop device, "memory" a tmpfs. Ready
ones are pooled per size. Image, mount and device live on only where they are used: the image is unlinked as
soon as it is attached, the device detaches itself, both mounts leave our namespace as soon as the sandbox holds
them in its own. So nothing is left of a sandbox that ended, or of us after kill -9.

Measured (2026-11, 2 busy cores, kernel 6.18), medians of 50:

    kind    make     discard   kernel memory   make at 10 GB
    disk    1.1 ms   0.8 ms    1.1 MiB         1.2 ms
    memory  0.2 ms   0.1 ms    0.7 MiB         0.2 ms, and what is written is memory of the sandbox

Taken from the pool both cost a start nothing, so "disk" is the default: a program may then fill its disk without
being killed for memory. A template (mkfs.ext4 without a journal, once per size) takes 7 ms and 0.2 MB.
"""

import asyncio
import errno
import logging
import os
import shutil
import subprocess
import tempfile
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path

from sampan.engine.node import kernel

log = logging.getLogger(__name__)

_PAUSE = 1.0  # seconds before a pool that could not be filled is tried again
_LEAST = 16  # MB; a file system of less has no room for itself
_SIZES = 8  # sizes of which ready layers are kept
_MKFS_TIMEOUT = 60.0  # seconds
_MKFS = ("mkfs.ext4", "-q", "-F", "-b", "4096", "-m", "0", "-O", "^has_journal,^resize_inode")
_MKFS_MORE = ("-E", "lazy_itable_init=1,nodiscard,root_owner=0:0")


class LayerFailed(Exception):
    """No writable layer can be had of this kind on this machine."""


class Layers:
    """Writable layers of one kind, some of them ready."""

    def __init__(self, directory: Path, kind: str, pool: int) -> None:
        """directory: for images and mount points.  kind: "disk" or "memory".  pool: kept ready per size."""
        self.kind = kind
        self._directory = directory
        self._pool = pool
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="layers")
        self._ready: OrderedDict[int, deque[Path]] = OrderedDict()
        self._short = asyncio.Event()
        self._names = count()
        self._points: list[Path] = []  # where nothing is mounted

    async def open(self) -> None:
        """Clear what an earlier process left, try one out. Raises: LayerFailed."""
        self._clear()
        self._directory.mkdir(parents=True, mode=0o700)
        try:
            self.discard(await self._make(_LEAST))
        except (OSError, subprocess.SubprocessError) as error:
            raise LayerFailed(f"no writable layer of kind '{self.kind}': {error}") from error

    async def take(self, size_mb: int) -> Path:
        """A mount point whose `upper` and `work` are empty. The caller discards it. Raises: OSError."""
        size_mb = max(size_mb, _LEAST)
        ready = self._ready.setdefault(size_mb, deque())
        self._ready.move_to_end(size_mb)
        self._short.set()
        return ready.popleft() if ready else await self._make(size_mb)

    def discard(self, layer: Path) -> None:
        """Take it out of our sight: it lives as long as a sandbox has it."""
        with suppress(OSError):
            kernel.unmount(str(layer))
        self._points.append(layer)

    async def fill(self) -> None:
        """Keep layers of the sizes last asked for ready, for ever."""
        while True:
            await self._short.wait()
            self._short.clear()
            while len(self._ready) > _SIZES:
                self._drop(self._ready.popitem(last=False)[1])
            try:
                await self._fill_all()
            except (OSError, subprocess.SubprocessError) as error:  # whoever needs one meanwhile is told so
                log.warning("no writable layer can be made ready: %s", error)
                await asyncio.sleep(_PAUSE)
                self._short.set()

    async def _fill_all(self) -> None:
        for size_mb, ready in list(self._ready.items()):
            while len(ready) < self._pool and self._ready.get(size_mb) is ready:
                ready.append(await self._make(size_mb))

    def close(self) -> None:
        """Give up the ready ones and what they were made from."""
        self._thread.shutdown(wait=True)
        for ready in self._ready.values():
            self._drop(ready)
        self._ready.clear()
        self._clear()

    def _drop(self, ready: deque[Path]) -> None:
        while ready:
            self.discard(ready.popleft())

    def _clear(self) -> None:
        with suppress(FileNotFoundError):
            for entry in self._directory.iterdir():
                if entry.is_dir():
                    self.discard(entry)
        shutil.rmtree(self._directory, ignore_errors=True)
        self._points.clear()

    async def _make(self, size_mb: int) -> Path:
        build = self._disk if self.kind == "disk" else self._memory
        making = asyncio.get_running_loop().run_in_executor(self._thread, build, size_mb)
        try:
            return await asyncio.shield(making)
        except asyncio.CancelledError:
            making.add_done_callback(self._unmade)
            raise

    def _unmade(self, making: "asyncio.Future[Path]") -> None:
        if not making.cancelled() and making.exception() is None:
            self.discard(making.result())

    # in the thread

    def _memory(self, size_mb: int) -> Path:
        with self._mount_point() as point:
            kernel.mount("tmpfs", str(point), "tmpfs", kernel.MS_NODEV | kernel.MS_NOATIME, f"size={size_mb}m")
            (point / "upper").mkdir(mode=0o755)
            (point / "work").mkdir(mode=0o700)
        return point

    def _disk(self, size_mb: int) -> Path:
        template = self._template(size_mb)
        with self._mount_point() as point, tempfile.TemporaryFile(dir=self._directory) as image:
            _copy_sparse(template, image.fileno())
            with kernel.loop_device(image.fileno()) as device:
                flags = kernel.MS_NODEV | kernel.MS_NOATIME
                kernel.mount(device, str(point), "ext4", flags, "nobarrier,noinit_itable")
        return point

    @contextmanager
    def _mount_point(self) -> Iterator[Path]:
        if self._points:
            point = self._points.pop()
        else:
            point = self._directory / str(next(self._names))
            point.mkdir(mode=0o700)
        try:
            yield point
        except BaseException:
            self._points.append(point)
            raise

    def _template(self, size_mb: int) -> Path:
        """An empty file system of this size, made once; 0.2 MB on disk whatever its size."""
        template = self._directory / f"{size_mb}.ext4"
        if not template.exists():
            with tempfile.TemporaryDirectory(dir=self._directory) as tree:
                Path(tree).chmod(0o755)
                Path(tree, "upper").mkdir(mode=0o755)
                Path(tree, "work").mkdir(mode=0o700)
                made = template.with_suffix(".new")
                subprocess.run(
                    [*_MKFS, *_MKFS_MORE, "-d", tree, str(made), f"{size_mb}M"],
                    check=True,
                    capture_output=True,
                    timeout=_MKFS_TIMEOUT,
                )
                made.rename(template)
        return template


def _copy_sparse(source: Path, target: int) -> None:
    with open(source, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        os.truncate(target, size)
        at = 0
        while at < size:
            try:
                begin = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:
                    return
                raise
            at = os.lseek(file.fileno(), begin, os.SEEK_HOLE)
            while begin < at:
                begin += os.copy_file_range(file.fileno(), target, at - begin, begin, begin)


def mount_root(lower: Sequence[str], layer: Path, target: Path) -> None:
    """Mount the image's directories, topmost first, below `layer`, at `target`. Raises: OSError.

    The directories are named by open descriptors: their number is then bounded by the option's 4096 bytes at
    about 200, and no character in a path means anything to overlayfs. `volatile`: nothing is synced to a layer
    that ends with its sandbox.
    """
    with ExitStack() as opened:

        def short(path: str) -> str:
            descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            opened.callback(os.close, descriptor)
            return f"/proc/self/fd/{descriptor}"

        below = ":".join(short(path) for path in lower)
        options = (
            f"volatile,lowerdir={below},upperdir={short(str(layer / 'upper'))},workdir={short(str(layer / 'work'))}"
        )
        kernel.mount("overlay", str(target), "overlay", kernel.MS_NODEV, options)

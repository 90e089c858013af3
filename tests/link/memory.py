"""A directory in memory, as the gateways' journals have it: a mapping of a file on a disk may wait for the disk."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SHARED = Path("/dev/shm")


@contextmanager
def in_memory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=SHARED if SHARED.is_dir() else None) as directory:
        yield Path(directory)

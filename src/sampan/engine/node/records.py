"""What is written down about each sandbox, so that the next process finds it again.

One directory per sandbox holds its bundle and its record. A directory whose record names no living process is
what a crash left over. The directory needs to outlive this process, not the machine: nothing is synced to disk.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from sampan.engine.engine import Sandbox, SandboxSpec
from sampan.engine.node import process
from sampan.model.instance import InstanceState, Stage


class Record(msgspec.Struct, frozen=True):
    """One sandbox."""

    spec: SandboxSpec
    address: str
    pid: int
    started: int  # of the process, clock ticks after boot: tells it from a later one with the same pid
    created: int  # Unix nanoseconds
    state: InstanceState  # CREATED or READY; whether it is frozen the cgroup knows

    def sandbox(self, state: InstanceState, log_path: str, stages: tuple[Stage, ...] = ()) -> Sandbox:
        """As others see it."""
        spec = self.spec
        return Sandbox(
            id=spec.id,
            state=state,
            host=self.address,
            port=spec.port,
            image=spec.image.digest,
            created=self.created,
            labels=spec.labels,
            stages=stages,
            log_path=log_path,
        )

    def alive(self) -> bool:
        return process.start_time(self.pid) == self.started


class Records:
    """The directories of all sandboxes of a realm."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)

    def directory(self, sandbox: str) -> Path:
        return self._directory / sandbox

    def write(self, record: Record) -> None:
        """Replace the sandbox's record, all or nothing."""
        directory = self.directory(record.spec.id)
        fresh = directory / "record.new"
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.msgpack.encode(record))
        fresh.rename(directory / "record")

    def remove(self, sandbox: str) -> None:
        shutil.rmtree(self.directory(sandbox), ignore_errors=True)

    def read(self) -> Iterator[tuple[str, Record | None]]:
        """Every directory with its record; None: it has none that can be read."""
        for directory in sorted(self._directory.iterdir()):
            record = None
            with suppress(FileNotFoundError, msgspec.MsgspecError):
                record = msgspec.msgpack.decode((directory / "record").read_bytes(), type=Record)
            yield directory.name, record

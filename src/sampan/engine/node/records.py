"""What is written down about each sandbox, so that the next process finds it again.

One directory per sandbox holds its bundle and its record, a file written once and named for the state. A directory
whose record names no living process, or cannot be read, is what a crash left over. The directory needs to outlive
this process, not the machine: nothing is synced to disk.
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

_STATES = (InstanceState.CREATED, InstanceState.READY)
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


class Record(msgspec.Struct, frozen=True):
    """One sandbox."""

    spec: SandboxSpec
    address: str
    pid: int
    started: int  # of the process, clock ticks after boot: tells it from a later one with the same pid
    created: int  # Unix nanoseconds
    state: InstanceState = InstanceState.CREATED  # or READY; whether it is frozen the cgroup knows

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
        """For a new sandbox. Half a record is none: whoever asked for the sandbox has not been answered then."""
        descriptor = os.open(self._file(record.spec.id, record.state), _NEW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.msgpack.encode(record))

    def ready(self, record: Record) -> Record:
        """The record of a created sandbox, now that it is ready."""
        sandbox = record.spec.id
        os.rename(self._file(sandbox, record.state), self._file(sandbox, InstanceState.READY))
        return msgspec.structs.replace(record, state=InstanceState.READY)

    def remove(self, sandbox: str) -> None:
        shutil.rmtree(self.directory(sandbox), ignore_errors=True)

    def read(self) -> Iterator[tuple[str, Record | None]]:
        """Every directory with its record; None: it has none that can be read."""
        for directory in sorted(self._directory.iterdir()):
            yield directory.name, self._read(directory.name)

    def _read(self, sandbox: str) -> Record | None:
        for state in _STATES:
            with suppress(FileNotFoundError, NotADirectoryError, msgspec.MsgspecError):
                with open(self._file(sandbox, state), "rb") as file:
                    record = msgspec.msgpack.decode(file.read(), type=Record)
                return msgspec.structs.replace(record, state=state)
        return None

    def _file(self, sandbox: str, state: InstanceState) -> str:
        return f"{self._directory}/{sandbox}/{state.value}"

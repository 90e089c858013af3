"""Which instances there were of a function, so that their logs are found after they, and we, have ended."""

import os
from contextlib import suppress
from pathlib import Path

from sampan.model.names import InstanceId, VersionKey, split_version_key

MOST = 1000  # instances remembered; the engine keeps the logs of fewer


class History:
    """One line per instance in a file of ours: `<instance> <version>`, in the order in which they were started."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[InstanceId, VersionKey] = {}
        self._lines = 0  # in the file
        self._file = -1  # kept open: every start writes a line before its program runs
        with suppress(FileNotFoundError):
            for line in path.read_text().splitlines():
                instance, _, key = line.partition(" ")
                if "@" in key:  # else it was cut off by a full disk
                    self._known[InstanceId(instance)] = VersionKey(key)
        self._rewrite()

    def note(self, instance: InstanceId, key: VersionKey) -> None:
        """It has been made. Said again it changes nothing."""
        if instance in self._known:
            return
        self._known[instance] = key
        if self._lines >= 2 * MOST:
            self._rewrite()
            return
        self._lines += 1
        with suppress(OSError):  # a full disk must not keep functions from starting
            os.write(self._file, f"{instance} {key}\n".encode())

    def of(self, function: str) -> list[tuple[InstanceId, VersionKey]]:
        """The instances of a function, oldest first."""
        return [(id_, key) for id_, key in self._known.items() if split_version_key(key)[0] == function]

    def _rewrite(self) -> None:
        """Forget the oldest, in the file, too."""
        for instance in list(self._known)[:-MOST]:
            del self._known[instance]
        self._lines = len(self._known)
        fresh = self._path.with_suffix(".new")
        with suppress(OSError):
            fresh.write_text("".join(f"{instance} {key}\n" for instance, key in self._known.items()))
            fresh.rename(self._path)
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        with suppress(OSError):
            self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)

"""The lines that frame a request in its instance's log. Source: container-contract.md A6."""

import asyncio
import os
from typing import Final

from sampan.model.names import RequestId

GATHER: Final = 0.005  # seconds: each turn of many would be a system call for an instance
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class Frames:
    """Appends to the file behind an instance's stdout. Losing a line never hurts the request it is about.

    Lines of one turn of the loop are written together, and those of `GATHER` where many turns have some. Where an
    instance has one request at a time, so that what it prints in between belongs to that request, the first line is
    written before the request is sent.
    """

    __slots__ = ("_alone", "_due", "_file", "_lines", "_loop", "_written")

    def __init__(self, path: str, alone: bool) -> None:
        """path: empty where the engine frames no logs.  alone: the instance has one request at a time."""
        self._alone = alone
        self._loop = asyncio.get_running_loop()
        self._lines: list[bytes] = []
        self._due = False
        self._written = 0.0  # when last, of the loop's clock
        self._file = -1
        if path:
            try:
                self._file = os.open(path, _FLAGS)
            except OSError:
                self._file = -1

    def start(self, request: RequestId) -> None:
        if self._file >= 0:
            self._lines.append(b"FC Invoke Start RequestId: %b\n" % request.encode())
            if self._alone:
                self._write()
            elif not self._due:
                self._soon()

    def end(self, request: RequestId, error: str = "") -> None:
        if self._file >= 0:
            told = f", Error: {error}".replace("\n", " ") if error else ""
            self._lines.append(f"FC Invoke End RequestId: {request}{told}\n".encode())
            if not self._due:
                self._soon()

    def flush(self) -> None:
        """Before somebody reads on."""
        if self._file >= 0:
            self._write()

    def close(self) -> None:
        if self._file >= 0:
            self._write()
            os.close(self._file)
            self._file = -1

    def _soon(self) -> None:
        self._due = True
        now = self._loop.time()
        if now - self._written >= GATHER:
            self._written = now
            self._loop.call_soon(self._at_turn)
        else:
            self._written += GATHER
            self._loop.call_at(self._written, self._at_turn)

    def _at_turn(self) -> None:
        self._due = False
        if self._file >= 0:
            self._write()

    def _write(self) -> None:
        lines = self._lines
        if not lines:
            return
        self._lines = []
        try:
            os.write(self._file, b"".join(lines))
        except OSError:  # a full disk
            return

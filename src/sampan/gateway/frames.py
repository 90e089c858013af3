"""The lines that frame a request in its instance's log. Source: container-contract.md A6."""

import os

from sampan.model.names import RequestId

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class Frames:
    """Appends to the file behind an instance's stdout. Losing a line never hurts the request it is about."""

    __slots__ = ("_file",)

    def __init__(self, path: str) -> None:
        """path: empty where the engine frames no logs."""
        self._file = -1
        if path:
            try:
                self._file = os.open(path, _FLAGS)
            except OSError:
                self._file = -1

    def start(self, request: RequestId) -> None:
        if self._file >= 0:
            self._append(b"FC Invoke Start RequestId: %b\n" % request.encode())

    def end(self, request: RequestId, error: str = "") -> None:
        if self._file >= 0:
            told = f", Error: {error}".replace("\n", " ") if error else ""
            self._append(f"FC Invoke End RequestId: {request}{told}\n".encode())

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _append(self, line: bytes) -> None:
        try:
            os.write(self._file, line)
        except OSError:  # a full disk
            return

"""Which paths a token guards, however they are spelt. Source: triggers.md §3."""

from urllib.parse import unquote_to_bytes


class Paths:
    """Which paths need no token. A path that could be read in two ways does."""

    def __init__(self, paths: tuple[str, ...], only: bool) -> None:
        """only: these paths alone are checked; otherwise all others are."""
        encoded = [path.encode() for path in paths]
        self._only = only and bool(paths)
        self._given = _Listed(encoded)
        self._decoded = _Listed([unquote_to_bytes(path) for path in encoded])

    def exempt(self, path: bytes) -> bool:
        decoded = unquote_to_bytes(path)
        if b"#" in path or _ambiguous(decoded):
            return False
        if self._only:  # with or without a slash at the end: most programs answer both alike
            return not (self._decoded.has(decoded) or self._decoded.has(decoded.rstrip(b"/")))
        return self._decoded.has(decoded) and self._given.has(path)  # not every program decodes


class _Listed:
    def __init__(self, paths: list[bytes]) -> None:
        self._whole = frozenset(path for path in paths if not path.endswith(b"*"))
        self._begins = tuple(path[:-1] for path in paths if path.endswith(b"*"))

    def has(self, path: bytes) -> bool:
        return path in self._whole or path.startswith(self._begins)


def _ambiguous(decoded: bytes) -> bool:
    """Encoded twice or wrongly, with dots, empty segments, parameters or backslashes: servers differ."""
    if any(byte in decoded for byte in (b"%", b"\\", b"//", b";", b"\0")):
        return True
    try:
        decoded.decode()  # an overlong `.` is one to some
    except UnicodeDecodeError:
        return True
    return any(segment in (b".", b"..") for segment in decoded.split(b"/"))

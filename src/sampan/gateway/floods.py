"""How much of what costs us something, and serves nothing, a connection may send.

Work that is done earns some of it back, and so does time: honest clients cancel, ping and adjust windows.
Source: CVE-2019-9512 (pings), -9515 (settings), -9518 (empty frames), CVE-2023-44487 (rapid reset).
"""

BURST = 1000.0  # frames; nghttp2 allows as many resets at once
PER_SECOND = 33.0  # frames, for ever; nghttp2's figure, too


class Budget:
    """Frames that a connection may still waste."""

    __slots__ = ("_at", "_left")

    def __init__(self, now: float) -> None:
        """now: seconds of a clock that does not jump."""
        self._left, self._at = BURST, now

    def spend(self, now: float, frames: float = 1.0) -> bool:
        """False: that was too much."""
        self._left = min(BURST, self._left + (now - self._at) * PER_SECOND) - frames
        self._at = now
        return self._left >= 0

    def earn(self, frames: float = 1.0) -> None:
        """Something useful was done."""
        self._left = min(BURST, self._left + frames)

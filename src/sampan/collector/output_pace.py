"""How fast one function's output is read. Pure."""

LINE = 64  # bytes that a line counts for at least: what a line costs does not fall with its length
BURST = 1.0  # seconds of its rate that a function may be read at once


class Allowance:
    """Bytes per second; what is taken beyond is made up for by waiting."""

    __slots__ = ("_at", "_left", "_rate")

    def __init__(self, rate: float, now: float) -> None:
        """rate: bytes per second."""
        self._rate = max(rate, 1.0)
        self._left = self._rate * BURST
        self._at = now

    def take(self, size: int, lines: int, now: float) -> None:
        self._refill(now)
        self._left -= max(size, lines * LINE)

    def wait(self, now: float) -> float:
        """Seconds until more may be taken."""
        self._refill(now)
        return max(0.0, -self._left / self._rate)

    def _refill(self, now: float) -> None:
        self._left = min(self._rate * BURST, self._left + (now - self._at) * self._rate)
        self._at = now

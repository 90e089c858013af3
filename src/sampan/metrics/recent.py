"""A function's last minute, second by second: what a live view shows."""

from sampan.metrics.sketch import Sketch, add

SPAN = 60  # seconds kept for a sparkline
WINDOW = 10  # seconds that a rate is taken over
SLACK = 2  # seconds more, so that a second is not dropped while it is looked at
MOST = 4 * SPAN  # seconds in all: what was held back comes late, and a clock may jump


class Second:
    __slots__ = ("calls", "cold", "errors", "latencies")

    def __init__(self) -> None:
        self.calls = self.errors = self.cold = 0
        self.latencies: Sketch = {}


class Recent:
    """Seconds are Unix seconds in which invocations ended."""

    __slots__ = ("seconds",)

    def __init__(self) -> None:
        self.seconds: dict[int, Second] = {}

    def at(self, second: int) -> Second:
        """A new one, to be counted in. Those that are too old go."""
        oldest = second - SPAN - SLACK
        for gone in [known for known in self.seconds if known < oldest]:
            del self.seconds[gone]
        if len(self.seconds) >= MOST:
            del self.seconds[min(self.seconds)]
        made = self.seconds[second] = Second()
        return made

    def calls(self, now: int) -> list[int]:
        """Per second, the last whole one at the end."""
        return [self.seconds[second].calls if second in self.seconds else 0 for second in range(now - SPAN, now)]

    def window(self, now: int) -> "Window":
        """The last whole seconds before `now`."""
        seconds = [self.seconds[each] for each in range(now - WINDOW, now) if each in self.seconds]
        latencies: Sketch = {}
        for second in seconds:
            add(latencies, second.latencies)
        return Window(
            sum(second.calls for second in seconds),
            sum(second.errors for second in seconds),
            sum(second.cold for second in seconds),
            latencies,
        )

    def idle(self, now: int) -> bool:
        """Nothing ended within the span."""
        return all(second < now - SPAN for second in self.seconds)


class Window:
    """Counts of a few seconds."""

    __slots__ = ("calls", "cold", "errors", "latencies")

    def __init__(self, calls: int, errors: int, cold: int, latencies: Sketch) -> None:
        self.calls, self.errors, self.cold, self.latencies = calls, errors, cold, latencies

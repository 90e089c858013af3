"""A million lines from twenty instances: all of them, in order, through the API; and what another function notices.

Each instance prints numbered lines on request. They are read with `follow` while they come, as anybody would read
them, and each instance's numbers are checked one by one. Meanwhile a second function prints a line now and then:
how long it takes until its follower has it is the delay that a flood causes to others.
"""

import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from bench.cold import UNBOUND, Figure
from bench.platform import DEADLINE, Broken, Platform, platform

INSTANCES = 20
LINES = 5_000
"""Of a call."""

CALLS = 200
BYTES = 60  # of a line
PAUSE = 0.25  # seconds between two lines of the second function


def lines() -> Iterator[Figure]:
    rate = f"telemetry.log_rate={64.0}"
    with platform(
        "scheduler.spares=0", "scheduler.keepalive=300", "scheduler.freeze_delay=600", UNBOUND, rate
    ) as one:
        flood = ("--concurrency", "1", "--timeout", "120", "--min", str(INSTANCES))
        one.deploy("flood", "misbehave", *flood)
        one.deploy("quiet", "misbehave", "--min", "1")
        one.until("flood", INSTANCES)
        one.call("flood")
        one.call("quiet")
        checked, other = _Checked(), _Quiet(one)
        with ThreadPoolExecutor(INSTANCES) as callers:
            reading = threading.Thread(target=checked.read, args=(one,), daemon=True)
            reading.start()
            other.start()
            checked.following.wait(DEADLINE)
            begun = time.perf_counter()
            path = f"/print?lines={LINES}&bytes={BYTES}"
            list(callers.map(lambda _: one.exchange("flood", path), range(CALLS)))
            printed = time.perf_counter() - begun
            reading.join(2 * DEADLINE)
            arrived = time.perf_counter() - begun
            delays = other.stop()
        if reading.is_alive():
            raise Broken(f"of {CALLS * LINES} lines {checked.count} arrived in {arrived:.0f} s")
    wanted = CALLS * LINES
    yield Figure(f"lines of {wanted:,} that arrived", checked.count, None, checked.count, wanted, "lines", True)
    yield Figure("lines out of order", checked.astray, None, checked.astray, 0, "lines")
    yield Figure("instances that printed", len(checked.next), None, len(checked.next), INSTANCES, "", True)
    yield Figure("lines/s, printed to read through the API", wanted / arrived, None, wanted / arrived, None, "1/s")
    yield Figure("lines/s, printed", wanted / printed, None, wanted / printed, None, "1/s")
    yield Figure("delay of another function's lines meanwhile, p50", *_same(statistics.median(delays)), None, "ms")
    yield Figure("delay of another function's lines meanwhile, most", *_same(max(delays)), None, "ms")


def _same(seconds: float) -> tuple[float, None, float]:
    return seconds * 1000, None, seconds * 1000


class _Checked:
    """Follows the flood and checks every line of it."""

    def __init__(self) -> None:
        self.count = self.astray = 0
        self.next: dict[str, int] = {}  # instance → the number of its next line
        self.following = threading.Event()

    def read(self, one: Platform) -> None:
        """Until all have come."""
        with one.new_client() as client:
            for line in client.logs("flood", follow=True):
                self.following.set()  # a line of the first call, which printed nothing, has come
                word, _, rest = line.text.partition(" ")
                if word != "line":
                    continue
                number = int(rest.partition(" ")[0])
                self.astray += number != self.next.get(line.instance, 0)
                self.next[line.instance] = (number + 1) % LINES
                self.count += 1
                if self.count == LINES * CALLS:
                    return


class _Quiet:
    """A second function, and how long its lines take to whoever follows it."""

    def __init__(self, one: Platform) -> None:
        self._one = one
        self._came, self._ended = threading.Event(), threading.Event()
        self._delays: list[float] = []
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._follow, self._print)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> list[float]:
        """Seconds, of each line. Raises: Broken, where none came."""
        self._ended.set()
        self._threads[1].join(DEADLINE)
        if not self._delays:
            raise Broken("no line of the second function came")
        return self._delays

    def _follow(self) -> None:
        with self._one.new_client() as client:
            for line in client.logs("quiet", follow=True, tail=0):
                if line.text.startswith("line "):
                    self._came.set()

    def _print(self) -> None:
        while not self._ended.wait(PAUSE):
            self._came.clear()
            begun = time.perf_counter()
            self._one.exchange("quiet", "/print?lines=1")
            if self._came.wait(DEADLINE):
                self._delays.append(time.perf_counter() - begun)

"""Starts through the platform, each measured beside its floor, turn by turn, in the same minute.

A turn measures the floor, then the platform; medians are compared, so that what else the machine does strikes
both sides. Every measurement returns `Figure`s; `bench/report.py` prints them.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import msgspec

from bench.bundle import enter_network
from bench.floor import first_byte, floor
from bench.platform import Platform, platform

TURNS = 20
ROUNDS = 5
"""Of fifty starts each, for starts per second."""

HOLD = 6
"""Seconds that a call keeps its instance from taking another; longer than all starts together."""

UNBOUND = "scheduler.memory_mb=1000000"
"""What instances may use of the machine's memory is not what is measured."""

SETTLE = 0.5
"""Seconds after the last instance is gone, for its removal and the making of spares to end."""


class Figure(msgspec.Struct, frozen=True):
    """One promise, and what was measured. Times in milliseconds."""

    name: str
    measured: float
    floor: float | None
    value: float  # what the promise is about: the ratio of the two, or the measured value itself
    bound: float | None  # None: for orientation
    unit: str  # "×" for a ratio
    at_least: bool = False  # the bound is a floor, not a ceiling

    @property
    def kept(self) -> bool:
        if self.bound is None:
            return True
        return self.value >= self.bound if self.at_least else self.value <= self.bound


def ratio(name: str, measured: float, beside: float, bound: float, at_least: bool = False) -> Figure:
    return Figure(name, measured, beside, measured / beside, bound, "×", at_least)


def absolute(name: str, measured: float, bound: float, unit: str) -> Figure:
    return Figure(name, measured, None, measured, bound, unit)


def turns(*sides: Callable[[], float]) -> list[float]:
    """The median of each side in milliseconds, all sides measured once per turn."""
    taken = [[side() for side in sides] for _ in range(TURNS)]
    return [statistics.median(side) * 1000 for side in zip(*taken, strict=True)]


def cold(one: Platform, function: str) -> Callable[[], float]:
    """A call that finds no instance; what ran before has ended."""

    def measure() -> float:
        one.until(function, 0)
        time.sleep(SETTLE)
        return one.call(function)

    return measure


def nothing_prepared() -> Iterator[Figure]:
    """Cold starts with no sandbox made in advance, beside R + app."""
    bounds = {"static": 1.8, "python": 1.3, "hello-python": 1.3}
    with platform("scheduler.spares=0", "scheduler.keepalive=0.3") as one:
        for image, bound in bounds.items():
            with floor(image) as bare:
                one.deploy(image, image)
                runtime, program, taken = turns(bare.runtime, bare.program, cold(one, image))
                yield ratio(f"cold start, nothing prepared, {image} / (R + app)", taken, runtime + program, bound)


def created() -> Iterator[Figure]:
    """Cold starts that find a created sandbox, beside the program alone."""
    with platform("scheduler.spares=1", "scheduler.keepalive=0.3") as one:
        for image in ("static", "python", "hello-python"):
            with floor(image) as bare:
                one.deploy(image, image)
                one.call(image)
                program, taken = turns(bare.program, cold(one, image))
                if image == "static":  # a program that starts in 1.5 ms has 4 ms; a slower machine gives it more
                    yield Figure(
                        f"cold start, created, {image}", taken, program, taken, max(4.0, 1.2 * program), "ms"
                    )
                else:
                    yield ratio(f"cold start, created, {image} / app", taken, program, 1.2)


def frozen() -> Iterator[Figure]:
    """Calls that find a frozen instance."""
    with platform("scheduler.spares=0", "scheduler.freeze_delay=0.2", "scheduler.keepalive=300") as one:
        one.deploy("static", "static")

        def wake() -> float:
            one.wait(one.frozen, "static: not frozen")
            return one.call("static")

        one.call("static")
        yield absolute("wake from frozen, p50, static", turns(wake)[0], 2.0, "ms")


def throughput() -> Iterator[Figure]:
    """Starts per second, four at once, beside a bare shell loop; then fifty instances at once."""
    with (
        platform("scheduler.spares=0", "scheduler.parallel_starts=4", "scheduler.keepalive=0.3", UNBOUND) as one,
        floor("misbehave") as bare,
    ):
        one.deploy("burst", "misbehave", "--concurrency", "1", "--timeout", "60")
        rounds = [(bare.loop(50), *burst(one, 50)) for _ in range(ROUNDS)]
        beside, rate, _ = map(statistics.median, zip(*rounds, strict=True))
        yield ratio("starts/s, four at once / bare loop", rate, beside, 0.8, at_least=True)
        used = min(used for _, _, used in rounds)
        yield Figure("instances used by 50 calls at once", used, None, used, 50, "", at_least=True)


def burst(one: Platform, count: int) -> tuple[float, int]:
    """`count` calls at once, each holding its instance: instances per second, and how many different ones."""
    one.until("burst", 0)
    time.sleep(SETTLE)
    path = f"/slow?ms={HOLD * 1000}"
    with ThreadPoolExecutor(count) as pool:
        begun = time.perf_counter()
        answers = list(pool.map(lambda _: one.exchange("burst", path), range(count)))
        taken = time.perf_counter() - begun - HOLD
    return count / taken, len({headers["X-Boot"] for headers in answers})


def memory() -> Iterator[Figure]:
    """What fifty idle instances cost beyond their programs: the kernel's memory, and that of our own processes."""
    count = 50
    with platform("scheduler.spares=0", "scheduler.keepalive=0.3", UNBOUND) as one:
        one.deploy("static", "static", "--min", "1")

        def held(instances: int) -> float:
            one.command("deploy", "static", "--min", str(instances))
            one.until("static", instances)
            time.sleep(SETTLE)
            return kernel_memory() + sum(map(resident, one.processes()))

        rounds = [(held(1), held(count), held(1)) for _ in range(ROUNDS)]
        each = [(during - (before + after) / 2) / (count - 1) for before, during, after in rounds]
        yield absolute("memory of an idle instance beyond its program", statistics.median(each), 2.0, "MiB")


def warm() -> Iterator[Figure]:
    """A warm round trip through the gateway, beside the same to the instance's own port."""
    with (
        platform("scheduler.spares=0", "scheduler.freeze_delay=60", "scheduler.keepalive=300") as one,
        ExitStack() as stack,
    ):
        one.deploy("static", "static")
        one.call("static")
        [pid] = one.programs()
        inside = stack.enter_context(ThreadPoolExecutor(1))  # a thread of its own, because it changes its network
        inside.submit(enter_network, Path(f"/proc/{pid}/ns/net")).result()

        def direct() -> float:
            return first_byte("127.0.0.1", 9000)[0]

        beside, taken = turns(lambda: inside.submit(direct).result(), lambda: one.call("static"))
        yield ratio("warm round trip / direct to the instance", taken, beside, 4.0)


def resident(pid: int) -> float:
    """MiB of memory that would be free without this process."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


def kernel_memory() -> float:
    """MiB of the kernel's own and of memory file systems; MemAvailable would tell of everybody's programs."""
    counted = ("Slab", "KernelStack", "PageTables", "Percpu", "Shmem")
    lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    return sum(int(line[1]) for line in lines if line[0].rstrip(":") in counted) / 1024


MEASUREMENTS: dict[str, Callable[[], Iterator[Figure]]] = {
    "nothing-prepared": nothing_prepared,
    "created": created,
    "frozen": frozen,
    "throughput": throughput,
    "memory": memory,
    "warm": warm,
}

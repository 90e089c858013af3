"""What is promised of the gateway, and how each figure is taken.

Turns are interleaved: a turn measures each side once, one right after the other, and a ratio is taken in each turn.
The median of the turns is the figure. So what else the machine does strikes both sides.
"""

import contextlib
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from bench.gateway import machine, sides
from bench.gateway.load import Load, send
from bench.gateway.machine import CORES, Unmeasured
from bench.gateway.sides import HOST, Side

CONNECTIONS = 64
KIB, MIB = 1 << 10, 1 << 20


class Figure(msgspec.Struct, frozen=True):
    """One promise, and what was measured. `bound` None: for orientation."""

    name: str
    unit: str  # of `gateway` and `beside`
    gateway: float
    beside: float | None
    value: float  # what the promise is about
    value_unit: str  # "×" for a ratio
    bound: float | None
    at_least: bool = False
    note: str = ""
    others: dict[str, float] = {}  # for orientation: proxy → the same as `gateway`
    turns: tuple[float, ...] = ()  # the value of each turn

    @property
    def kept(self) -> bool:
        if self.bound is None:
            return True
        return self.value >= self.bound if self.at_least else self.value <= self.bound


@dataclass
class Bench:
    """One run: what all figures need."""

    directory: Path
    quick: bool
    backend: Side
    peaks: dict[str, list[float]] = field(default_factory=dict)  # proxy → requests/s, turn by turn

    @property
    def turns(self) -> int:
        return 3 if self.quick else 7

    @property
    def seconds(self) -> float:
        return 2.0 if self.quick else 4.0

    def interleave(self, *measured: Callable[[], Load]) -> list[tuple[Load, ...]]:
        """All of them once a turn."""
        return [tuple(one() for one in measured) for _ in range(self.turns)]

    def sender(self, side: Side, **how: object) -> Callable[[], Load]:
        return lambda: send(side, self.directory, self.seconds, **how)  # type: ignore[arg-type]


def beside(
    name: str, unit: str, pairs: list[tuple[float, float]], bound: float | None, at_least: bool = False,
    note: str = "", others: dict[str, float] | None = None,
) -> Figure:  # fmt: skip
    """A ratio, pair by pair."""
    ratios = tuple(ours / theirs for ours, theirs in pairs)
    ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    value = statistics.median(ratios)
    return Figure(name, unit, ours, theirs, value, "×", bound, at_least, note, others or {}, ratios)


def small(bench: Bench) -> Iterator[Figure]:
    """Small answers on kept connections, closed loop: requests a second, and what each costs the proxy."""
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(sides.gateway(bench.directory, bench.backend))
        theirs = stack.enter_context(sides.nginx(bench.directory, bench.backend))
        measured, missing = [ours, theirs], ""
        for name, start in sides.ORIENTATION.items():
            try:
                measured.append(stack.enter_context(start(bench.directory, bench.backend)))
            except Unmeasured as error:
                missing += f"; without {name}: {error}"
        for side in measured:
            bench.sender(side, connections=CONNECTIONS)()  # warm
        turns = bench.interleave(*(bench.sender(side, connections=CONNECTIONS) for side in measured))
        loads = dict(zip((side.name for side in measured), zip(*turns, strict=True), strict=True))
        bench.peaks |= {name: [load.rate for load in turn] for name, turn in loads.items()}
        note = (
            "; ".join(f"{name} used {_median(turn, 'busy'):.0%} of its core" for name, turn in loads.items())
            + missing
        )
        other = {name: turn for name, turn in loads.items() if name not in (ours.name, theirs.name)}
        yield beside(
            "requests/s of one process", "1/s", [(turn[0].rate, turn[1].rate) for turn in turns], 0.5, True, note,
            {name: _median(turn, "rate") for name, turn in other.items()},
        )  # fmt: skip
        yield beside(
            "CPU per request", "µs", [(turn[0].cpu_each, turn[1].cpu_each) for turn in turns], 2.0,
            others={name: _median(turn, "cpu_each") for name, turn in other.items()},
        )  # fmt: skip


def _median(loads: tuple[Load, ...], name: str) -> float:
    return statistics.median(float(getattr(load, name)) for load in loads)


def latency(bench: Bench) -> Iterator[Figure]:
    """What a proxy adds, at half the rate that nginx can serve, and at half of what the gateway can."""
    with (
        sides.gateway(bench.directory, bench.backend) as ours,
        sides.nginx(bench.directory, bench.backend) as theirs,
    ):
        for side in (ours, theirs):
            if side.name not in bench.peaks:
                peak = bench.sender(side, connections=CONNECTIONS)
                bench.peaks[side.name] = [peak().rate for _ in range(3)]
        for whose, promised in ((theirs.name, True), (ours.name, False)):
            rate = statistics.median(bench.peaks[whose]) / 2
            turns = bench.interleave(
                *(bench.sender(side, connections=CONNECTIONS, rate=rate) for side in (bench.backend, ours, theirs))
            )
            served = statistics.median(turn[1].rate for turn in turns) / rate
            note = "" if served > 0.98 else f"; only {served:.0%} of that rate is served"
            for part, bound in (("p50", 2.0), ("p99", 3.0)):
                direct = statistics.median(getattr(turn[0], part) for turn in turns)
                yield beside(
                    f"added latency {part} at half of {whose}'s peak", "µs", _added(turns, part),
                    bound if promised else None,
                    note=f"{rate:.0f} requests/s, open loop; a direct connection takes {direct:.0f} µs{note}",
                )  # fmt: skip


def _added(turns: list[tuple[Load, ...]], part: str) -> list[tuple[float, float]]:
    """Raises: Unmeasured, when the noise is larger than what nginx adds."""
    pairs = [
        (getattr(ours, part) - getattr(direct, part), getattr(theirs, part) - getattr(direct, part))
        for direct, ours, theirs in turns
    ]
    sound = [pair for pair in pairs if pair[1] > 0]
    if len(sound) * 2 <= len(pairs):
        raise Unmeasured(
            f"added latency {part}: in {len(pairs) - len(sound)} of {len(pairs)} turns a direct connection was"
            " slower than nginx; the machine is too busy"
        )
    return sound


def processes(bench: Bench) -> Iterator[Figure]:
    """Two gateway processes at once, on two cores, beside one.

    Load generator and backend need the same two cores, so requests a second would tell how these are shared. What
    a process can serve is told by its CPU time: requests per second of it, which falls if the processes hinder
    each other (locks and caches in the kernel, memory bandwidth). Twice that of two at once, over that of one.
    """
    if len(CORES) < 2:
        raise Unmeasured("two processes: there is only one core")
    both = (CORES[0], CORES[-1])
    with (
        sides.backend(bench.directory, both) as behind,
        sides.gateway(bench.directory, behind, [(both[0],)]) as one,
        sides.gateway(bench.directory, behind, [(both[0],), (both[1],)]) as two,
    ):
        turns = bench.interleave(
            *(bench.sender(side, connections=2 * CONNECTIONS, cores=both) for side in (two, one))
        )
        pairs = [(2e6 / of_two.cpu_each, 1e6 / of_one.cpu_each) for of_two, of_one in turns]
        shares = statistics.median(max(of_two.cpu) / sum(of_two.cpu) for of_two, _ in turns)
        note = (
            "not requests/s: requests per CPU second of the gateways, both serving at once on both cores, which"
            f" load generator and backend share; of the CPU time the busier process used {shares:.0%}"
        )
        yield beside("two processes / one", "1/CPU s", pairs, 1.8, True, note)


def bodies(bench: Bench) -> Iterator[Figure]:
    """Large answers and large requests, a few at once."""
    with (
        sides.gateway(bench.directory, bench.backend) as ours,
        sides.nginx(bench.directory, bench.backend) as theirs,
    ):
        for size, told, connections in ((64 * KIB, "64 KiB", 16), (10 * MIB, "10 MiB", 4)):
            ways: dict[str, dict[str, object]] = {
                "download": {"path": f"/bytes/{size}"},
                "upload": {"method": "POST", "body": size},
            }
            for way, how in ways.items():
                turns = bench.interleave(
                    *(bench.sender(side, connections=connections, **how) for side in (ours, theirs))
                )
                busy = [statistics.median(turn[side].busy for turn in turns) for side in (0, 1)]
                pairs = [(ours.bandwidth, theirs.bandwidth) for ours, theirs in turns]
                note = f"{connections} connections; the gateway used {busy[0]:.0%} of its core, nginx {busy[1]:.0%}"
                yield beside(f"{way} of {told}", "MiB/s", pairs, 0.5, True, note)


def idle(bench: Bench) -> Iterator[Figure]:
    """Kept connections that have carried a request and rest."""
    count = 10_000
    with sides.gateway(bench.directory, bench.backend) as side, contextlib.ExitStack() as stack:
        send(side, bench.directory, 1.0, CONNECTIONS)
        before = machine.resident(side.pids[0])
        for _ in range(count):
            _keep(stack, side)
        time.sleep(0.5)
        if (there := machine.descriptors(side.pids[0])) < count:
            raise Unmeasured(
                f"of {count} idle connections the gateway has closed some: it holds {there} descriptors"
            )
        each = (machine.resident(side.pids[0]) - before) / count / KIB
    yield Figure(
        "memory per idle connection", "KiB", each, None, each, "KiB", 20,
        note=f"RSS of the process before and with {count} connections; the kernel's socket buffers are not in it",
    )  # fmt: skip


def _keep(stack: contextlib.ExitStack, side: Side) -> None:
    """A connection that carries a request and stays open. Raises: Unmeasured."""
    one = stack.enter_context(socket.create_connection(("127.0.0.1", side.port), timeout=10))
    one.sendall(f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
    if not (got := one.recv(4096)).startswith(b"HTTP/1.1 200"):
        raise Unmeasured(f"{side.name} answered {got[:200]!r}")


def growth(bench: Bench) -> Iterator[Figure]:
    """RSS after very many requests, in steps on new connections each."""
    whole = 10_000_000
    wanted = 300_000 if bench.quick else whole
    step = 1.5 if bench.quick else 10.0
    with sides.gateway(bench.directory, bench.backend) as side:
        pid = side.pids[0]
        warmed = 0
        while warmed < wanted / 5 and warmed < 200_000:
            warmed += send(side, bench.directory, step, CONNECTIONS).answered
        points = [(0, _rested(pid))]
        while points[-1][0] < wanted:
            done = send(side, bench.directory, step, CONNECTIONS).answered
            points.append((points[-1][0] + done, _rested(pid)))
    (_, before), (sent, after) = points[0], points[-1]
    told = (
        f"RSS went from {before / MIB:.2f} to {after / MIB:.2f} MiB in {sent} requests, after {warmed} to warm up"
    )
    if not bench.quick:
        share = (after - before) / before * 100
        yield Figure("growth of RSS in 10 M requests", "%", share, None, share, "%", 1.0, note=told)
        return
    slope, _ = statistics.linear_regression(*zip(*points, strict=True))
    share = slope * whole / before * 100
    page = machine.PAGE / sent * whole / before * 100
    told += f"; EXTRAPOLATED by a straight line, and not judged, since one page more makes {page:.1f} % of it"
    yield Figure("growth of RSS in 10 M requests (extrapolated)", "%", share, None, share, "%", None, note=told)


def _rested(pid: int) -> int:
    time.sleep(0.3)  # the last records are sent, the connections are gone
    return machine.resident(pid)


def overload(bench: Bench) -> Iterator[Figure]:
    """Five times the requests that the function can serve; what it cannot, the gateway has to refuse."""
    instances, slots, wait, queue = 2, 10, 10, 100
    how = {"path": f"/wait/{wait}"}
    with sides.gateway(bench.directory, bench.backend, instances=instances, slots=slots, queue=queue) as side:
        busy = instances * slots
        peak = bench.sender(side, connections=2 * busy, **how)
        rate = 5 * statistics.median(peak().rate for _ in range(3))

        def flood() -> Load:
            return send(side, bench.directory, bench.seconds, 600, rate, refusals=True, path=how["path"])

        turns = bench.interleave(flood, peak)
    flooded = [turn[0] for turn in turns]
    offered = statistics.median(load.sent / load.seconds for load in flooded)
    note = (
        f"function of {busy} slots and {wait} ms, queue of {queue}; {offered:.0f} requests/s offered,"
        f" {statistics.median(load.refused / load.seconds for load in flooded):.0f} refused;"
        f" {statistics.median(load.busy for load in flooded):.0%} of the gateway's core"
    )
    pairs = [(flood.rate, peak.rate) for flood, peak in turns]
    yield beside("goodput at 5 × overload / own peak", "1/s", pairs, 0.9, True, note)
    slowest = statistics.median(load.p99 for load in flooded) / 1000
    calm = statistics.median(turn[1].p99 for turn in turns) / 1000
    yield Figure(
        "p99 of what is accepted at 5 × overload", "ms", slowest, calm, slowest, "ms", None,
        note=f"beside: at the peak, with {2 * busy} connections; a full queue alone is"
             f" {queue / statistics.median(pair[1] for pair in pairs) * 1000:.0f} ms long",
    )  # fmt: skip


FIGURES: dict[str, Callable[[Bench], Iterator[Figure]]] = {
    "small": small,
    "latency": latency,
    "processes": processes,
    "bodies": bodies,
    "idle": idle,
    "overload": overload,
    "growth": growth,
}

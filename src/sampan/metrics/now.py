"""A snapshot for a live view: each function as it does now."""

import msgspec

from sampan.metrics.instances import Instance, states
from sampan.metrics.recent import WINDOW, Recent, Window
from sampan.metrics.registry import Registry
from sampan.metrics.sketch import Sketch, add, percentiles


class FunctionNow(msgspec.Struct, frozen=True, rename="camel"):
    """One function. Rates are per second and, as percentiles, of the last ten whole seconds."""

    function: str
    rate: float
    errors: float
    cold: float
    p50: float | None  # seconds from received to answered; None: nothing ended
    p99: float | None
    active: int  # requests in instances
    waiting: int  # requests without a slot
    instances: dict[str, int]  # by state
    cpu: float  # per cent of one core
    memory: int  # bytes
    recent: tuple[int, ...]  # calls in each of the last 60 seconds, the newest last


class Totals(msgspec.Struct, frozen=True, rename="camel"):
    """All functions together."""

    functions: int  # that did anything, or run
    rate: float
    errors: float
    cold: float
    p50: float | None
    p99: float | None
    active: int
    waiting: int
    instances: dict[str, int]
    cpu: float
    memory: int
    connections: int  # of clients
    recent: tuple[int, ...]


class Now(msgspec.Struct, frozen=True, rename="camel"):
    """functions: the busiest first, at most as many as were asked for."""

    time: float  # Unix seconds
    totals: Totals
    functions: tuple[FunctionNow, ...]


def snapshot(registry: Registry, now: float, limit: int) -> Now:
    """now: Unix seconds."""
    second = int(now)
    under_way, running = registry.under_way(), registry.instances.by_function()
    told, latencies = [], Sketch()
    for name in {*registry.recent, *under_way, *running}:
        recent = registry.recent.get(name, Recent())
        if name in under_way or name in running or not recent.idle(second):
            window = recent.window(second)
            add(latencies, window.latencies)
            calls = tuple(recent.calls(second))
            told.append(_function(name, window, calls, under_way.get(name, (0, 0)), running.get(name, [])))
    told.sort(key=lambda each: (-each.rate, -each.active - each.waiting, each.function))
    return Now(now, _totals(told, latencies, registry.connections), tuple(told[:limit]))


def _function(
    name: str, window: Window, calls: tuple[int, ...], under_way: tuple[int, int], instances: list[Instance]
) -> FunctionNow:
    p50, p99 = percentiles(window.latencies, (0.5, 0.99))
    return FunctionNow(
        function=name,
        rate=window.calls / WINDOW,
        errors=window.errors / WINDOW,
        cold=window.cold / WINDOW,
        p50=p50,
        p99=p99,
        active=under_way[0],
        waiting=under_way[1],
        instances=states(instances),
        cpu=round(sum(each.rate for each in instances) * 100, 1),
        memory=sum(each.memory for each in instances),
        recent=calls,
    )


def _totals(told: list[FunctionNow], latencies: Sketch, connections: int) -> Totals:
    p50, p99 = percentiles(latencies, (0.5, 0.99))
    count: Sketch = {}
    by_state: dict[str, int] = {}
    for each in told:
        add(count, dict(enumerate(each.recent)))
        for state, number in each.instances.items():
            by_state[state] = by_state.get(state, 0) + number
    return Totals(
        functions=len(told),
        rate=round(sum(each.rate for each in told), 3),
        errors=round(sum(each.errors for each in told), 3),
        cold=round(sum(each.cold for each in told), 3),
        p50=p50,
        p99=p99,
        active=sum(each.active for each in told),
        waiting=sum(each.waiting for each in told),
        instances=by_state,
        cpu=round(sum(each.cpu for each in told), 1),
        memory=sum(each.memory for each in told),
        connections=connections,
        recent=tuple(count.get(at, 0) for at in range(len(told[0].recent) if told else 0)),
    )

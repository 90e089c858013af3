"""What is now: gauges, made of what was told last."""

from collections.abc import Callable, Mapping
from functools import partial

from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from sampan.metrics.families import OTHER
from sampan.metrics.instances import Instance, states
from sampan.model.instance import InstanceState

MOST = 2_000  # functions told one by one in a gauge; the rest is summed

UnderWay = Mapping[str, tuple[int, int]]
"""Function → requests in instances, requests that wait for a slot."""


def gauges(under_way: UnderWay, running: Mapping[str, list[Instance]]) -> list[Callable[[], Metric]]:
    """A maker per metric. running: instances by function."""
    active = {name: float(one) for name, (one, _) in under_way.items()}
    waiting = {name: float(one) for name, (_, one) in under_way.items()}
    memory = {name: float(sum(each.memory for each in all_)) for name, all_ in running.items()}
    cores = {name: sum(each.rate for each in all_) for name, all_ in running.items()}
    count = {name: states(all_) for name, all_ in running.items()}
    both = {name: float(one + other) for name, (one, other) in under_way.items()}
    per_function = (
        ("http_server_active_requests", "Requests under way, waiting ones included.", "faas_name", both),
        ("fc_function_concurrent_requests", "Requests in instances.", "function", active),
        ("fc_function_waiting_requests", "Requests without a slot.", "function", waiting),
        ("fc_function_memory_bytes", "Memory that instances hold.", "function", memory),
        ("fc_function_vcpu_usage", "Cores that instances use.", "function", cores),
    )
    return [*(partial(_gauge, *each) for each in per_function), partial(_instances, count)]


def _bounded(values: dict[str, float]) -> dict[str, float]:
    """The greatest as they are, the rest in one."""
    if len(values) <= MOST:
        return values
    ranked = sorted(values.items(), key=lambda each: -each[1])
    return {**dict(ranked[:MOST]), OTHER: sum(value for _, value in ranked[MOST:])}


def _gauge(name: str, help_: str, label: str, values: dict[str, float]) -> Metric:
    metric = GaugeMetricFamily(name, help_, labels=(label,))
    for function, value in _bounded(values).items():
        metric.add_metric((function,), value)
    return metric


def _instances(count: dict[str, dict[str, int]]) -> Metric:
    metric = GaugeMetricFamily("fc_function_instances", "Instances by state.", labels=("function", "state"))
    for state in InstanceState:
        values = {name: float(found[state.value]) for name, found in count.items() if state.value in found}
        for function, value in _bounded(values).items():
            metric.add_metric((function, state.value), value)
    return metric

"""All that is counted, and where it is told."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from sampan.link.reports import Gauges
from sampan.metrics.catalogue import Catalogue
from sampan.metrics.cells import Cell
from sampan.metrics.families import OTHER, Budget
from sampan.metrics.instances import Instances
from sampan.metrics.present import gauges
from sampan.metrics.recent import Recent
from sampan.model.instance import InstanceState
from sampan.model.invocation import InvocationRecord, VersionFacts
from sampan.model.names import InstanceId, VersionKey, split_version_key

LINGER = (
    900.0  # seconds that a deleted function's numbers can still be read; a slow scraper comes every few minutes
)
CELLS = 20_000  # bound; then they are found anew

Key = tuple[VersionKey, str, bool]
"""Version, qualifier, whether it is an HTTP call."""

Shape = tuple[VersionKey, str, str, int]
"""Version, qualifier, method and status: invocations that are counted alike."""

Values = Mapping[tuple[str, ...], float]  # label values → number


class Registry:
    """Numbers of the platform since this process began. clock: Unix nanoseconds."""

    def __init__(self, clock: Callable[[], int] = time.time_ns, budget: Budget | None = None) -> None:
        self._clock = clock
        self.budget = budget or Budget()
        self.catalogue = Catalogue(self.budget)
        self.instances = Instances(self.catalogue, clock)
        self.recent: dict[str, Recent] = {}
        self.reported: dict[str, Gauges] = {}  # by gateway
        self._cells: dict[Key, Cell] = {}
        self._values: list[tuple[str, str, bool, Callable[[], float]]] = []
        self._families: list[tuple[str, str, Sequence[str], Callable[[], Values]]] = []
        self._absent: dict[str, int] = {}  # functions that are no more, and since when
        self._records = 0
        self.counter("sampan_metrics_records", "Invocations counted.", lambda: self._records)
        self.counter(
            "sampan_metrics_label_sets_refused",
            f"Label sets counted under {OTHER}, there being too many.",
            lambda: self.budget.refused,
        )
        self.gauge("sampan_metrics_series", "Series there are.", lambda: self.budget.used)

    # ── told ──

    def observe(self, records: Sequence[InvocationRecord], versions: dict[VersionKey, VersionFacts]) -> None:
        """Invocations that ended, and what their versions are; of one that is not told the key says enough."""
        self._records += len(records)
        groups: dict[Shape, list[InvocationRecord]] = defaultdict(list)
        for record in records:
            groups[record.version, record.qualifier, record.method, record.status].append(record)
        for (version, qualifier, method, status), some in groups.items():
            key = version, qualifier, method != ""
            cell = self._cells.get(key) or self._bind(key, versions.get(version))
            cell.count(method, status, some)
        for id_, ended in Counter([record.instance for record in records]).items():
            if (instance := self.instances.by_id.get(id_)) is not None:
                instance.ended += ended

    def gauges(self, gateway: str, told: Gauges) -> None:
        """What is under way at a gateway; replaces what it told before."""
        self.reported[gateway] = told

    def gateway_gone(self, gateway: str) -> None:
        """Nothing is under way there any more."""
        self.reported.pop(gateway, None)

    def instance(self, id_: InstanceId, function: str, version: str, state: InstanceState) -> None:
        """version: "LATEST" or a published id."""
        self.instances.tell(id_, function, version, state)

    def gone(self, id_: InstanceId) -> None:
        self.instances.gone(id_)

    def stats(self, id_: InstanceId, cpu_ns: int, memory: int) -> None:
        """CPU time of an instance since it was made, and bytes of memory it holds."""
        self.instances.stats(id_, cpu_ns, memory)

    def counter(self, name: str, help_: str, value: Callable[[], float]) -> None:
        """One more number that only grows; `value` is asked at every reading. name: without `_total`."""
        self._values.append((name, help_, True, value))

    def counters(self, name: str, help_: str, labels: Sequence[str], values: Callable[[], Values]) -> None:
        """As `counter`, one for each set of label values there is."""
        self._families.append((name, help_, labels, values))

    def gauge(self, name: str, help_: str, value: Callable[[], float]) -> None:
        """One more number that goes up and down, e.g. the length of a queue."""
        self._values.append((name, help_, False, value))

    def functions(self, there: Collection[str]) -> None:
        """All functions that exist. Of others the numbers go after `LINGER`; call this once a minute, too."""
        now, known = self._clock(), {*self.recent, *self.budget.functions}
        self._absent = {name: self._absent.get(name, now) for name in known.difference(there)}
        for name, since in list(self._absent.items()):
            recent = self.recent.get(name)
            if now - since >= LINGER * 1e9 and (recent is None or recent.idle(now // 1_000_000_000)):
                self._forget(name)
        self._cells.clear()  # of versions that are no more, or of series that were

    # ── read ──

    def metrics(self) -> "list[Callable[[], Metric]]":
        """A maker per metric or piece of one, so that a reader may let others in between two."""
        return [
            *(piece for family in self.catalogue.all() for piece in family.pieces()),
            *gauges(self.under_way(), self.instances.by_function()),
            *(_maker(*value) for value in self._values),
            *(_family_maker(*family) for family in self._families),
        ]

    def under_way(self) -> dict[str, tuple[int, int]]:
        """Function → requests in instances, requests that wait; of all gateways."""
        found: dict[str, tuple[int, int]] = {}
        for told in self.reported.values():
            for gauge in told.gauges:
                active, waiting = found.get(gauge.function, (0, 0))
                found[gauge.function] = active + gauge.active, waiting + gauge.waiting
        return found

    def cpu_seconds(self) -> dict[str, float]:
        """Function → CPU time that its instances were seen to use."""
        return {labels[0]: counter.value for labels, counter in self.catalogue.fc_vcpu.series.items()}

    @property
    def connections(self) -> int:
        """Of clients."""
        return sum(told.connections for told in self.reported.values())

    # ── within ──

    def _bind(self, key: Key, facts: VersionFacts | None) -> Cell:
        if len(self._cells) >= CELLS:
            self._cells.clear()
        version, qualifier, http = key
        function, named = (facts.function, facts.version) if facts else split_version_key(version)[:2]
        recent = self.recent.setdefault(function, Recent())
        cell = self._cells[key] = Cell(self.catalogue, function, named, qualifier, http, recent)
        return cell

    def _forget(self, function: str) -> None:
        for family in self.catalogue.all():
            family.forget(function)
        self.recent.pop(function, None)
        del self._absent[function]


def _maker(name: str, help_: str, grows: bool, value: Callable[[], float]) -> Callable[[], Metric]:
    def make() -> Metric:
        return (CounterMetricFamily if grows else GaugeMetricFamily)(name, help_, value=value())

    return make


def _family_maker(
    name: str, help_: str, labels: Sequence[str], values: Callable[[], Values]
) -> Callable[[], Metric]:
    def make() -> Metric:
        family = CounterMetricFamily(name, help_, labels=labels)
        for found, value in values().items():
            family.add_metric(found, value)
        return family

    return make

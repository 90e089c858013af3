"""What one kind of invocation counts in: bound once, then a record costs no look-up by labels."""

from bisect import bisect_left

from sampan.metrics import catalogue as names
from sampan.metrics.catalogue import Catalogue, error_kind, throttle_kind
from sampan.metrics.families import TIME, Counter, Exemplar, Family, Histogram
from sampan.metrics.recent import Recent
from sampan.metrics.sketch import bucket
from sampan.model.invocation import InvocationRecord, Outcome, is_error

SHAPES = 1_000  # methods and statuses bound; methods are the callers' words


class Cell:
    """The series of one version under one qualifier, of HTTP calls or of InvokeFunction."""

    __slots__ = (
        "_catalogue",
        "_faas",
        "_fc",
        "_fc_duration",
        "_fc_invocations",
        "_fc_latency",
        "_http",
        "_invocations",
        "_invoke_duration",
        "_net_io",
        "_recent",
        "_told",
    )

    def __init__(
        self, catalogue: Catalogue, function: str, version: str, qualifier: str, http: bool, recent: Recent
    ) -> None:
        self._catalogue, self._recent = catalogue, recent
        self._faas = (function, version, names.HTTP if http else names.OTHER_TRIGGER)
        self._fc = (function, qualifier or version)
        self._invocations = catalogue.invocations.at(*self._faas)
        self._invoke_duration = catalogue.invoke_duration.at(*self._faas)
        self._net_io = catalogue.net_io.at(*self._faas)
        self._fc_invocations = catalogue.fc_invocations.at(*self._fc)
        self._fc_duration = catalogue.fc_duration.at(*self._fc)
        self._fc_latency = catalogue.fc_latency.at(*self._fc)
        self._http: dict[tuple[str, int], Histogram] = {}
        self._told: dict[tuple[Family[Counter], str], Counter] = {}

    def count(self, record: InvocationRecord) -> None:
        """One invocation that ended."""
        ended, leased, outcome, traced = record.ended, record.leased, record.outcome, record.traced
        trace = traced.trace if traced is not None and traced.sampled else ""
        stay = ended - record.received
        if stay < 0:  # the clock was set back
            stay = 0
        whole = stay / 1e9
        at, exemplar = bisect_left(TIME, whole), None
        histogram = self._fc_latency
        histogram.counts[at] += 1
        histogram.sum += whole
        if trace:
            exemplar = histogram.exemplars[at] = (trace, whole, ended / 1e9)
        self._fc_invocations.value += 1
        self._fc_invocations.exemplar = exemplar or self._fc_invocations.exemplar
        if record.method:
            shape = (record.method, record.status)
            served = self._http.get(shape) or self._served(shape)
            served.counts[at] += 1
            served.sum += whole
            if exemplar is not None:
                served.exemplars[at] = exemplar
        if leased:
            self._in_function(record, (ended - leased) / 1e9 if ended > leased else 0.0, trace)
        failed = is_error(record)
        if outcome is Outcome.OK and not failed:
            self._invocations.value += 1
            self._invocations.exemplar = exemplar or self._invocations.exemplar
        else:
            self._failed(record, exemplar)
        if record.cold:
            self._cold(record, exemplar)
        second = self._recent.seconds.get(ended // 1_000_000_000)
        if second is None:
            second = self._recent.at(ended // 1_000_000_000)
        second.calls += 1
        latencies, place = second.latencies, bucket(stay)
        latencies[place] = latencies.get(place, 0) + 1
        if failed:
            second.errors += 1
        if record.cold:
            second.cold += 1

    def _in_function(self, record: InvocationRecord, inside: float, trace: str) -> None:
        at = bisect_left(TIME, inside)
        marked = (trace, inside, record.ended / 1e9) if trace else None
        for histogram in (self._invoke_duration, self._fc_duration):
            histogram.counts[at] += 1
            histogram.sum += inside
            if marked is not None:
                histogram.exemplars[at] = marked
        self._net_io.observe(record.bytes_in + record.bytes_out)

    def _served(self, shape: tuple[str, int]) -> Histogram:
        method, status = shape
        known = method if method in names.METHODS else "_OTHER"
        code = str(status if 100 <= status <= 599 else names.GONE)
        if len(self._http) >= SHAPES:
            self._http.clear()
        found = self._http[shape] = self._catalogue.http.at(self._fc[0], code, known)
        return found

    def _failed(self, record: InvocationRecord, exemplar: Exemplar | None) -> None:
        if record.outcome is Outcome.TIMED_OUT:
            self._add(self._catalogue.timeouts, self._faas, "", exemplar)
        else:
            kind = str(record.status) if record.outcome is Outcome.OK else record.outcome.value
            self._add(self._catalogue.errors, self._faas, kind, exemplar)
        if kind := error_kind(record):
            self._add(self._catalogue.fc_errors, self._fc, kind, exemplar)
        if kind := throttle_kind(record):
            self._add(self._catalogue.fc_throttles, self._fc, kind, exemplar)

    def _cold(self, record: InvocationRecord, exemplar: Exemplar | None) -> None:
        self._add(self._catalogue.coldstarts, self._faas, "", exemplar)
        self._add(self._catalogue.fc_cold_starts, self._fc, "", exemplar)
        stages = [stage for stage in record.startup if stage.name in names.STAGES]
        for stage in stages:
            took = max(0, stage.end - stage.begin) / 1e9
            self._catalogue.fc_stages.at(*self._fc, stage.name).observe(took)
        if stages:
            start, ready = min(stage.begin for stage in stages), max(stage.end for stage in stages)
            self._catalogue.init_duration.at(*self._faas).observe(max(0, ready - start) / 1e9)

    def _add(self, family: Family[Counter], labels: tuple[str, ...], kind: str, exemplar: Exemplar | None) -> None:
        counter = self._told.get((family, kind))
        if counter is None:
            counter = self._told[family, kind] = family.at(*labels, *((kind,) if kind else ()))
        counter.value += 1
        counter.exemplar = exemplar or counter.exemplar

"""What one kind of invocation counts in: bound once, then a record costs no look-up by labels."""

from bisect import bisect_left
from collections.abc import Sequence

from sampan.metrics import catalogue as names
from sampan.metrics.catalogue import Catalogue, error_kind, throttle_kind
from sampan.metrics.families import TIME, Counter, Exemplar, Family, Histogram
from sampan.metrics.recent import Recent
from sampan.metrics.sketch import tally
from sampan.model.invocation import InvocationRecord, Outcome, is_error

SHAPES = 1_000  # methods and statuses bound; methods are the callers' words

_TIME = [round(bound * 1e9) for bound in TIME]


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

    def count(self, method: str, status: int, records: Sequence[InvocationRecord]) -> None:
        """Invocations that ended, all of them called and answered like this."""
        stays = [max(0, record.ended - record.received) for record in records]  # less than 0: a clock was set back
        latencies = [self._fc_latency]
        if method:
            latencies.append(self._http.get((method, status)) or self._served((method, status)))
        _observe(latencies, stays, records)
        self._fc_invocations.value += len(records)
        self._fc_invocations.exemplar = _last(records) or self._fc_invocations.exemplar
        if inside := [record for record in records if record.leased]:
            times = [max(0, record.ended - record.leased) for record in inside]
            _observe([self._invoke_duration, self._fc_duration], times, inside)
            self._count_sizes([record.bytes_in + record.bytes_out for record in inside])
        well = Outcome.OK if status < 500 else None
        failed = [record for record in records if record.outcome is not well]
        fine = records if not failed else [record for record in records if record.outcome is well]
        self._invocations.value += len(fine)
        self._invocations.exemplar = _last(fine) or self._invocations.exemplar
        for record in failed:
            self._failed(record, _last((record,)))
        for record in [record for record in records if record.cold]:
            self._cold(record, _last((record,)))
        self._count_recent(records, stays)

    def _count_sizes(self, sizes: Sequence[int]) -> None:
        histogram = self._net_io
        histogram.sum += sum(sizes)
        for size in sizes:
            histogram.counts[bisect_left(histogram.bounds, size)] += 1

    def _count_recent(self, records: Sequence[InvocationRecord], stays: Sequence[int]) -> None:
        ends = [record.ended // 1_000_000_000 for record in records]
        for at in set(ends):
            these = (
                range(len(ends)) if ends.count(at) == len(ends) else [n for n, end in enumerate(ends) if end == at]
            )
            second = self._recent.seconds.get(at) or self._recent.at(at)
            second.calls += len(these)
            second.errors += len([1 for n in these if is_error(records[n])])
            second.cold += sum([records[n].cold for n in these])
            tally(second.latencies, [stays[n] for n in these])

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
        if record.outcome is Outcome.START_FAILED:  # how long a start takes is told by those that came to their end
            return
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


def _observe(
    histograms: Sequence[Histogram], nanoseconds: Sequence[int], records: Sequence[InvocationRecord]
) -> None:
    """Count a time of each record; of traced ones in each bucket, the last is its example."""
    places = [bisect_left(_TIME, each) for each in nanoseconds]
    whole = sum(nanoseconds) / 1e9
    last = {place: at for at, place in enumerate(places) if records[at].sampled}
    marked = {place: _exemplar(records[at], nanoseconds[at]) for place, at in last.items()}
    for histogram in histograms:
        histogram.sum += whole
        for place in places:
            histogram.counts[place] += 1
        for place, exemplar in marked.items():
            histogram.exemplars[place] = exemplar


def _last(records: Sequence[InvocationRecord]) -> Exemplar | None:
    """The last one that is sampled, by its whole time."""
    for record in reversed(records):
        if record.sampled:
            return _exemplar(record, max(0, record.ended - record.received))
    return None


def _exemplar(record: InvocationRecord, nanoseconds: int) -> Exemplar:
    traced = record.traced
    assert traced is not None
    return traced.trace, nanoseconds / 1e9, record.ended / 1e9

"""What is counted, read back from the page as Prometheus reads it."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as plain_text

from sampan.link.reports import Gauge, Gauges
from sampan.metrics.exposition import OPEN, TEXT, media_type, write
from sampan.metrics.families import OTHER, TIME, Budget
from sampan.metrics.registry import LINGER, Registry
from sampan.model.instance import InstanceState, Stage
from sampan.model.invocation import Outcome, is_error
from sampan.model.names import InstanceId, version_key
from tests.metrics.making import MOMENT, SECOND, VERSIONS, WEB, Clock, facts, record, traced

READY, FROZEN, CREATED = InstanceState.READY, InstanceState.FROZEN, InstanceState.CREATED


class Page:
    """A page, read by the format's own reader."""

    def __init__(self, text: str, media: str) -> None:
        read = open_metrics if media == OPEN else plain_text
        self.families = {family.name: family for family in read(text)}
        self.samples = [sample for family in self.families.values() for sample in family.samples]

    def __call__(self, name: str, **labels: str) -> float:
        """The sum of all samples of this name that have these labels."""
        found = [s for s in self.samples if s.name == name and labels.items() <= s.labels.items()]
        assert found, f"no {name} with {labels}"
        return sum(sample.value for sample in found)

    def has(self, name: str, **labels: str) -> bool:
        return any(s.name == name and labels.items() <= s.labels.items() for s in self.samples)


async def page(registry: Registry, media: str = OPEN) -> Page:
    return Page((await write(registry.metrics(), media)).decode(), media)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def registry(clock: Clock) -> Registry:
    return Registry(clock)


ENDS = {
    "fine": record(),
    "unwell": record(status=503, method="GET"),
    "missing": record(status=404, method="GET"),
    "failed": record(outcome=Outcome.FUNCTION_ERROR),
    "late": record(outcome=Outcome.TIMED_OUT, status=502),
    "throttled": record(inside=None, outcome=Outcome.THROTTLED, status=429),
    "full": record(inside=None, outcome=Outcome.PLATFORM_ERROR, status=503, error="ResourceThrottled"),
    "broken": record(inside=None, outcome=Outcome.PLATFORM_ERROR, status=500, error="InternalServerError"),
    "not started": record(inside=None, outcome=Outcome.START_FAILED, status=412),
    "no disk": record(inside=None, outcome=Outcome.START_FAILED, status=503),
    "refused": record(inside=None, outcome=Outcome.REFUSED, status=403),
    "gone": record(outcome=Outcome.CLIENT_GONE, status=0),
}


@pytest.mark.parametrize("media", [TEXT, OPEN])
async def test_every_way_an_invocation_can_end_is_counted_once(registry: Registry, media: str) -> None:
    registry.observe(list(ENDS.values()), VERSIONS)
    seen = await page(registry, media)
    errors = {s.labels["error_type"]: s.value for s in seen.samples if s.name == "faas_errors_total"}
    assert errors == {
        "503": 1,
        "function_error": 1,
        "throttled": 1,
        "platform_error": 2,
        "start_failed": 2,
        "refused": 1,
        "client_gone": 1,
    }
    assert (seen("faas_invocations_total"), seen("faas_timeouts_total")) == (2, 1)
    assert seen("fc_function_invocations_total", function="web", qualifier="LATEST") == len(ENDS)
    failed = sum(is_error(each) for each in ENDS.values())
    assert failed == sum(second.errors for second in registry.recent["web"].seconds.values()) == 8
    kinds = {kind: seen("fc_function_errors_total", type=kind) for kind in ("client", "server", "function")}
    assert kinds == {"client": 2, "server": 2, "function": 3}
    assert seen("fc_function_throttles_total", reason="concurrency") == 1
    assert seen("fc_function_throttles_total", reason="resource") == 1


@given(
    st.lists(
        st.tuples(st.floats(0, 20), st.floats(0, 1), st.booleans(), st.sampled_from(list(Outcome))), max_size=40
    )
)
async def test_histograms_hold_exactly_the_records(calls: list[tuple[float, float, bool, Outcome]]) -> None:
    registry = Registry(Clock())
    records = [
        record(stay, stay * part, outcome=outcome, method="GET" if http else "")
        for stay, part, http, outcome in calls
    ]
    registry.observe(records, VERSIONS)
    seen = await page(registry)
    if not records:
        assert not seen.has("fc_function_latency_seconds_count")
        return
    stays = [(each.ended - each.received) / SECOND for each in records]
    inside = [(each.ended - each.leased) / SECOND for each in records]
    for name, values in (
        ("fc_function_latency_seconds", stays),
        ("fc_function_duration_seconds", inside),
        ("faas_invoke_duration_seconds", inside),
    ):
        assert seen(name + "_count") == len(values)
        assert seen(name + "_sum") == pytest.approx(math.fsum(values), abs=1e-9)
        for bound in TIME:
            assert seen(name + "_bucket", le=repr(bound)) == sum(value <= bound for value in values)
        assert seen(name + "_bucket", le="+Inf") == len(values)
    http = [each for each in records if each.method]
    assert seen.has("http_server_request_duration_seconds_count") == bool(http)
    if http:
        assert seen("http_server_request_duration_seconds_count") == len(http)


async def test_a_sampled_trace_is_an_exemplar_of_its_bucket_and_an_unsampled_one_is_not(
    registry: Registry,
) -> None:
    registry.observe(
        [
            record(0.02, standing=traced("a" * 32), method="GET"),
            record(3, standing=traced("d" * 32, sampled=False), method="GET"),
        ],
        VERSIONS,
    )
    seen = await page(registry)
    marked = {(s.name, s.labels.get("le", "")): s.exemplar for s in seen.samples if s.exemplar is not None}
    for name in ("fc_function_latency_seconds_bucket", "http_server_request_duration_seconds_bucket"):
        exemplar = marked[name, "0.025"]
        assert (exemplar.labels, exemplar.value) == ({"trace_id": "a" * 32}, 0.02)
        assert float(exemplar.timestamp) == MOMENT
    assert marked["faas_invoke_duration_seconds_bucket", "0.01"].value == 0.01
    assert marked["faas_invocations_total", ""].labels == {"trace_id": "a" * 32}
    assert "d" * 32 not in str(marked)
    assert all(s.exemplar is None for s in (await page(registry, TEXT)).samples), "this format has none"


async def test_a_cold_start_is_told_with_its_stages(registry: Registry) -> None:
    begin = MOMENT * SECOND
    stages = (
        Stage("pull", begin, begin + 2 * SECOND),
        Stage("create", begin + 2 * SECOND, begin + 3 * SECOND),
        Stage("a word of nobody's", begin, begin + 99 * SECOND),
    )
    registry.observe([record(4, 0.5, cold=True, startup=stages), record()], VERSIONS)
    seen = await page(registry)
    assert seen("faas_coldstarts_total", faas_version="LATEST", faas_trigger="other") == 1
    assert seen("fc_function_cold_starts_total") == 1
    assert seen("faas_init_duration_seconds_sum") == 3
    assert seen("fc_function_cold_start_stage_seconds_sum", stage="pull") == 2
    told = {s.labels["stage"] for s in seen.samples if s.name == "fc_function_cold_start_stage_seconds_count"}
    assert told == {"pull", "create"}


async def test_a_start_that_failed_is_a_cold_start_and_no_measure_of_how_long_starts_take(
    registry: Registry,
) -> None:
    begin = MOMENT * SECOND
    stages = (Stage("create", begin, begin + SECOND), Stage("failed", begin + SECOND, begin + 9 * SECOND))
    failed = record(4, None, outcome=Outcome.START_FAILED, status=412, cold=True, startup=stages)
    registry.observe([failed], VERSIONS)
    seen = await page(registry)
    assert seen("faas_coldstarts_total") == seen("fc_function_cold_starts_total") == 1
    assert not seen.has("faas_init_duration_seconds_count")
    assert not seen.has("fc_function_cold_start_stage_seconds_count")


async def test_what_is_under_way_is_summed_over_gateways_and_goes_with_them(registry: Registry) -> None:
    registry.gauges("g-1", Gauges((Gauge("web", 3, 1), Gauge("api", 1, 0)), 7))
    registry.gauges("g-2", Gauges((Gauge("web", 2, 0),), 2))
    seen = await page(registry)
    assert seen("fc_function_concurrent_requests", function="web") == 5
    assert seen("fc_function_waiting_requests", function="web") == 1
    assert seen("http_server_active_requests", faas_name="web") == 6
    assert registry.connections == 9
    registry.gauges("g-1", Gauges(()))
    registry.gateway_gone("g-2")
    assert not (await page(registry)).has("fc_function_concurrent_requests")


async def test_instances_are_told_by_state_with_what_they_use(registry: Registry, clock: Clock) -> None:
    one, two = InstanceId("c-1"), InstanceId("c-2")
    registry.instance(one, "web", "LATEST", CREATED)
    registry.instance(one, "web", "LATEST", READY)
    registry.instance(two, "web", "LATEST", FROZEN)
    clock.forward(1)
    registry.stats(one, cpu_ns=SECOND // 2, memory=64 << 20)
    registry.stats(two, cpu_ns=50 * SECOND, memory=32 << 20)  # found running: what it used before is not ours
    registry.stats(InstanceId("c-unknown"), 1, 1)
    seen = await page(registry)
    assert seen("fc_function_instances", function="web", state="ready") == 1
    assert seen("fc_function_instances", function="web", state="frozen") == 1
    assert seen("fc_function_memory_bytes", function="web") == 96 << 20
    assert seen("fc_function_vcpu_seconds_total", function="web") == 0.5
    assert seen("fc_function_vcpu_usage", function="web") == 0.5
    registry.instance(one, "web", "LATEST", InstanceState.GONE)
    registry.gone(two)
    assert not (await page(registry)).has("fc_function_instances")


async def test_cpu_and_memory_are_shared_out_to_the_invocations_that_ended(
    registry: Registry, clock: Clock
) -> None:
    registry.instance(InstanceId("c-1"), "web", "LATEST", CREATED)
    clock.forward(1)
    registry.stats(InstanceId("c-1"), SECOND // 10, 16 << 20)  # nothing ended yet: kept for who does
    registry.observe([record(), record()], VERSIONS)
    clock.forward(1)
    registry.stats(InstanceId("c-1"), SECOND // 5, 20 << 20)
    seen = await page(registry)
    assert (seen("faas_cpu_usage_seconds_count"), seen("faas_cpu_usage_seconds_sum")) == (2, pytest.approx(0.2))
    assert (seen("faas_mem_usage_bytes_count"), seen("faas_mem_usage_bytes_sum")) == (2, 40 << 20)


async def test_calls_of_odd_methods_and_callers_that_went_away_have_bounded_labels(registry: Registry) -> None:
    odd = [record(method=f"M{at}", status=200) for at in range(3000)]
    registry.observe([*odd, record(method="GET", status=0, outcome=Outcome.CLIENT_GONE)], VERSIONS)
    seen = await page(registry)
    name = "http_server_request_duration_seconds_count"
    assert seen(name, http_request_method="_OTHER", http_response_status_code="200") == 3000
    assert seen(name, http_request_method="GET", http_response_status_code="499") == 1
    assert sum(s.name == name for s in seen.samples) == 2


async def test_one_function_with_labels_without_end_leaves_the_others_theirs(clock: Clock) -> None:
    registry = Registry(clock, Budget(most=500, most_of_one=100))
    attack = [record(qualifier=f"alias-{at}") for at in range(5000)]
    registry.observe(attack, VERSIONS)
    api = version_key("api", "3", 9)
    registry.observe([record(version=api, qualifier="prod")], {api: facts("api", "3")})
    seen = await page(registry)
    assert seen("fc_function_invocations_total", function="api", qualifier="prod") == 1
    assert seen("fc_function_invocations_total", function="web") + seen(
        "fc_function_invocations_total", function=OTHER
    ) == len(attack), "what is not told apart is counted all the same"
    assert seen("sampan_metrics_series") <= 500
    assert seen("sampan_metrics_label_sets_refused_total") > 4000
    assert len(seen.samples) < 500 * 18


async def test_functions_without_end_end_under_other(clock: Clock) -> None:
    registry = Registry(clock, Budget(most=200))
    for at in range(1000):
        key = version_key(f"f{at}", "LATEST", 1)
        registry.observe(
            [record(version=key, outcome=Outcome.FUNCTION_ERROR, method="GET")], {key: facts(f"f{at}")}
        )
    seen = await page(registry)
    assert seen("fc_function_invocations_total") == 1000
    assert seen("fc_function_errors_total", type="function") == 1000
    assert seen("fc_function_invocations_total", function=OTHER) > 900
    assert seen("sampan_metrics_series") <= 200


async def test_a_deleted_functions_numbers_go_after_a_while_and_begin_anew(
    registry: Registry, clock: Clock
) -> None:
    registry.observe([record()], VERSIONS)
    registry.functions(["web"])
    clock.forward(10 * LINGER)
    registry.functions(["web"])
    registry.functions([])
    clock.forward(LINGER - 1)
    registry.functions([])
    assert (await page(registry)).has("fc_function_invocations_total", function="web")
    clock.forward(1)
    registry.functions([])
    assert not (await page(registry)).has("fc_function_invocations_total")
    assert registry.budget.used == 0
    registry.observe([record(ended=clock.seconds())], VERSIONS)
    assert (await page(registry))("fc_function_invocations_total", function="web") == 1


async def test_a_function_that_comes_back_keeps_its_numbers(registry: Registry, clock: Clock) -> None:
    registry.observe([record()], VERSIONS)
    registry.functions([])
    clock.forward(LINGER - 1)
    registry.functions(["web"])
    clock.forward(LINGER)
    registry.functions([])
    registry.observe([record(ended=clock.seconds())], VERSIONS)
    assert (await page(registry))("fc_function_invocations_total", function="web") == 2


async def test_a_version_nobody_told_of_is_known_by_its_key(registry: Registry) -> None:
    registry.observe([record()], {})
    assert (await page(registry))("faas_invocations_total", faas_name="web", faas_version="LATEST") == 1


async def test_other_numbers_are_asked_when_they_are_read(registry: Registry) -> None:
    dropped = [0]
    registry.counter("sampan_spans_dropped", "Spans over a function's rate.", lambda: dropped[0])
    registry.gauge("sampan_export_queue", "Spans that wait to be exported.", lambda: 4)
    dropped[0] = 17
    seen = await page(registry)
    assert (seen("sampan_spans_dropped_total"), seen("sampan_export_queue")) == (17, 4)


async def test_what_is_lost_is_told_by_label(registry: Registry) -> None:
    lost = {("web", "rate"): 3, ("_other", "full"): 1}
    registry.counters("sampan_spans_refused", "Spans not taken.", ("faas_name", "reason"), lambda: lost)
    for media in (TEXT, OPEN):
        seen = await page(registry, media)
        assert seen("sampan_spans_refused_total", faas_name="web", reason="rate") == 3
        assert seen("sampan_spans_refused_total", faas_name="_other", reason="full") == 1


async def test_a_clock_set_back_makes_no_number_smaller(registry: Registry) -> None:
    registry.observe([record(latency=-5, inside=-5)], VERSIONS)
    seen = await page(registry)
    assert (seen("fc_function_latency_seconds_sum"), seen("fc_function_duration_seconds_sum")) == (0, 0)


async def test_labels_with_quotes_and_line_breaks_are_read_back_as_they_were(registry: Registry) -> None:
    name = 'a"b\\c\nd'
    registry.observe([record(qualifier=name)], VERSIONS)
    for media in (TEXT, OPEN):
        assert (await page(registry, media)).has("fc_function_invocations_total", qualifier=name)


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        ("", TEXT),
        ("*/*", TEXT),
        ("text/plain;version=0.0.4", TEXT),
        ("application/openmetrics-text", OPEN),
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", OPEN),
        ("application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", OPEN),
        ("application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;q=0.2", OPEN),
        ("application/openmetrics-text;q=0,text/plain", TEXT),
        ("application/openmetrics-text;version=99", TEXT),
        ("application/openmetrics-text;version=abc;;;=,;q", TEXT),
    ],
)
def test_the_format_is_what_the_reader_asks_for(accept: str, media: str) -> None:
    assert media_type(accept) == media


def test_the_key_of_a_version_is_bound_anew_when_there_are_too_many(
    monkeypatch: pytest.MonkeyPatch, registry: Registry
) -> None:
    monkeypatch.setattr("sampan.metrics.registry.CELLS", 10)
    for revision in range(100):
        registry.observe([record(version=version_key("web", "LATEST", revision))], {WEB: facts()})
    assert registry.catalogue.fc_invocations.at("web", "LATEST").value == 100


@pytest.mark.parametrize("media", [TEXT, OPEN])
async def test_a_metric_of_many_series_is_written_in_pieces_and_read_as_one(
    registry: Registry, media: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sampan.metrics.families.PIECE", 7)
    for at in range(40):
        registry.observe([record(qualifier=f"# q{at}", method="GET")], VERSIONS)
    text = (await write(registry.metrics(), media)).decode()
    assert text.count("# TYPE fc_function_latency_seconds ") == 1
    seen = Page(text, media)
    assert sum(s.name == "fc_function_latency_seconds_count" for s in seen.samples) == 40

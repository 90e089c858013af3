"""The platform's own spans: tracing-contract.md §3, §6.1, §6.2."""

import msgspec
import pytest
from hypothesis import given

from sampan.model.invocation import InvocationRecord, Outcome, Traced
from sampan.model.trace import Kind, Span, Status
from sampan.telemetry.spans import COLD, ERRORS, always_kept, count, coverage, error_type, kept, platform_spans
from tests.telemetry.records import BEGAN, FACTS, REQUEST, TRACED, at, cold_record, record, stage
from tests.telemetry.test_layout import records

ARN = "acs:fc:local:7:functions/web/LATEST"


def spans_of(made: InvocationRecord) -> list[Span]:
    return platform_spans(made, FACTS, "7", "local")


def named(spans: list[Span], name: str) -> Span:
    (found,) = (span for span in spans if span.name == name)
    return found


def test_a_warm_request_has_a_root_a_wait_and_an_invocation() -> None:
    root, wait, invocation = spans_of(record())
    assert (root.name, root.kind, root.span, root.parent) == ("web", Kind.SERVER, "a" * 16, "")
    assert (root.start, root.end) == (BEGAN, at(11))
    assert (wait.name, wait.kind, wait.parent) == ("Schedule", Kind.INTERNAL, root.span)
    assert (invocation.name, invocation.kind) == ("Invocation", Kind.CLIENT)
    assert (invocation.span, invocation.parent) == ("b" * 16, root.span)
    assert [(event.name, event.time) for event in invocation.events] == [("first byte", at(3))]
    for span in (root, wait, invocation):
        assert (span.trace, span.platform, span.status) == (TRACED.trace, True, Status.UNSET)
        assert (span.service, span.function, span.version, span.instance) == ("web", "web", "LATEST", "c-1")


def test_the_root_says_what_the_conventions_ask_for() -> None:
    """§6.1, §6.2, §3"""
    root = platform_spans(record(secure=True), FACTS, "7", "local", max_memory_mb=81.5)[0]
    assert root.attributes == {
        "faas.trigger": "http", "faas.invocation_id": REQUEST, "faas.coldstart": False, "cloud.resource_id": ARN,
        "fc.request_id": REQUEST, "fc.function_arn": ARN, "fc.qualifier": "LATEST", "fc.version_id": "LATEST",
        "fc.instance_id": "c-1", "fc.invocation_type": "Sync", "fc.cold_start": False, "fc.retry_count": 0,
        "fc.outcome": "ok", "fc.memory_mb": 512, "fc.max_memory_mb": 81.5, "fc.billed_duration_ms": 10,
        "http.request.method": "GET", "http.route": "/*", "url.path": "/a/b", "url.scheme": "https",
        "http.response.status_code": 200, "http.request.body.size": 3, "http.response.body.size": 5,
        "client.address": "192.0.2.7", "network.peer.address": "192.0.2.7",
    }  # fmt: skip
    assert root.resource == {
        "service.name": "web", "faas.name": "web", "faas.version": "LATEST", "faas.instance": "c-1",
        "faas.max_memory": 512 << 20, "cloud.region": "local", "cloud.account.id": "7",
    }  # fmt: skip


def test_invoke_function_is_no_http_trigger_and_an_odd_method_is_other() -> None:
    """§6.1, §6.2"""
    event = spans_of(record(method="", path=""))[0].attributes
    assert event["faas.trigger"] == "other"
    assert not [name for name in event if name.startswith(("url.", "http.request.method", "http.route"))]
    odd = spans_of(record(method="BREW"))[0].attributes
    assert (odd["http.request.method"], odd["http.request.method_original"]) == ("_OTHER", "BREW")


def test_a_callers_span_is_the_roots_parent_and_its_state_is_kept() -> None:
    """§8 test 1"""
    traced = Traced("c" * 32, "a" * 16, "b" * 16, "d" * 16, True, "vendor=1", "slow?")
    root, *rest = spans_of(record(standing=traced))
    assert (root.trace, root.parent, root.state) == ("c" * 32, "d" * 16, "vendor=1")
    assert root.attributes["jaeger-debug-id"] == "slow?"
    assert {span.state for span in rest} == {"vendor=1"}


def test_the_spans_of_a_cold_start_hang_together_and_cover_it() -> None:
    """§8 test 3"""
    spans = spans_of(cold_record())
    by_id = {span.span: span for span in spans}
    assert len(by_id) == len(spans) == 16
    paths = {span.name: by_id[span.parent].name for span in spans[1:] if span.name != "Schedule"}
    assert paths == {
        "ColdStart": "web", "PrepareCode": "ColdStart", "pull": "PrepareCode", "prepare": "PrepareCode",
        "RuntimeInitialization": "ColdStart", "create": "RuntimeInitialization", "start": "RuntimeInitialization",
        "ready": "RuntimeInitialization", "Initializer": "web", "Invocation": "web",
    }  # fmt: skip
    cold = named(spans, "ColdStart")
    inside = [span for span in spans if span.parent == cold.span]
    assert sum(span.end - span.start for span in inside) == cold.end - cold.start
    assert coverage(spans) == 1.0
    assert spans[0].attributes["faas.coldstart"] is True
    assert "ColdStart" not in {span.name for span in spans_of(record())}


def test_coverage_sees_a_hole() -> None:
    spans = spans_of(cold_record())
    without = [span for span in spans if span.name != "ready"]
    assert coverage(without) == pytest.approx(1 - 56 / 250)
    assert coverage(spans[:1]) == 0.0


@given(records())
def test_all_of_the_time_is_covered_whatever_happened(made: InvocationRecord) -> None:
    spans = spans_of(made)
    assert coverage(spans) == 1.0
    assert len({span.span for span in spans}) == len(spans) == count(made)
    assert all(span.start <= span.end for span in spans)
    assert all(int(span.span, 16) for span in spans)


def test_a_record_that_is_reported_twice_makes_the_same_spans() -> None:
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(cold_record()), type=InvocationRecord)
    assert spans_of(again) == spans_of(cold_record())
    other = cold_record(standing=msgspec.structs.replace(TRACED, root="e" * 16))
    assert not {span.span for span in spans_of(other)[1:-1]} & {span.span for span in spans_of(again)}


PULLED = (stage("pull", 1, 2),)


@pytest.mark.parametrize(
    ("outcome", "leased", "error", "where", "fc_type"),
    [
        (Outcome.FUNCTION_ERROR, 1, "", "Invocation", "FunctionUnhandledError"),
        (Outcome.FUNCTION_ERROR, 1, "BadResponse", "Invocation", "FunctionUnhandledError"),
        (Outcome.FUNCTION_ERROR, 1, "OutOfMemory", "Invocation", "FunctionOOMError"),
        (Outcome.TIMED_OUT, 1, "BadResponse", "Invocation", "FunctionTimeoutError"),
        (Outcome.THROTTLED, 0, "ResourceExhausted", "Schedule", "ResourceExhausted"),
        (Outcome.START_FAILED, 0, "CAExited", "RuntimeInitialization", "CAExited"),
        (Outcome.START_FAILED, 0, "InitializationError", "Initializer", "InitializationError"),
        (Outcome.PLATFORM_ERROR, 0, "", "Schedule", "platform_error"),
        (Outcome.PLATFORM_ERROR, 1, "InternalServerError", "Invocation", "InternalServerError"),
    ],
)
def test_a_failure_is_said_by_the_root_and_where_it_happened(
    outcome: Outcome, leased: float, error: str, where: str, fc_type: str
) -> None:
    made = record(leased=leased, outcome=outcome, status=500, error=error, startup=PULLED if not leased else ())
    spans = spans_of(made)
    failed = [span for span in spans if span.status is Status.ERROR]
    assert spans[0] in failed
    assert where in {span.name for span in failed}
    for span in failed:
        assert span.attributes["error.type"] == span.message == (error or outcome.value)
        assert span.attributes["fc.error_type"] == fc_type
    assert error_type(made) == fc_type


def test_a_failed_start_says_at_which_stage() -> None:
    spans = spans_of(record(leased=0, outcome=Outcome.START_FAILED, status=412, error="ImagePullDenied"))
    assert named(spans, "ColdStart").attributes["fc.failed_stage"] == "pull"


@pytest.mark.parametrize(
    "made",
    [
        record(status=404),  # §6.2: a server's 4xx is no error of its own
        record(leased=0, outcome=Outcome.REFUSED, status=403, error="AccessDenied"),
        record(outcome=Outcome.CLIENT_GONE, status=0),
    ],
)
def test_what_is_the_callers_affair_is_no_error(made: InvocationRecord) -> None:
    for span in spans_of(made):
        assert span.status is Status.UNSET
        assert "error.type" not in span.attributes
        assert "http.response.status_code" not in span.attributes or made.status


def test_a_functions_own_500_is_an_error_though_it_is_not_the_platforms() -> None:
    """§6.2"""
    root, wait, invocation = spans_of(record(status=503))
    assert (root.status, wait.status, invocation.status) == (Status.ERROR, Status.UNSET, Status.ERROR)
    assert root.attributes["error.type"] == "503"
    assert "fc.error_type" not in root.attributes


def test_an_invocation_that_stands_in_no_trace_has_no_spans() -> None:
    assert spans_of(record(standing=None)) == []
    assert not kept(record(standing=None, outcome=Outcome.TIMED_OUT), {ERRORS, COLD})


UNSAMPLED = msgspec.structs.replace(TRACED, sampled=False)


@pytest.mark.parametrize(
    ("made", "always", "stored"),
    [
        (record(), "", True),
        (record(standing=UNSAMPLED), "errors,cold", False),  # §8 test 5
        (record(standing=UNSAMPLED, outcome=Outcome.TIMED_OUT), "errors", True),
        (record(standing=UNSAMPLED, status=500), "errors", True),
        (record(standing=UNSAMPLED, outcome=Outcome.REFUSED, status=403), "errors", False),
        (record(standing=UNSAMPLED, outcome=Outcome.TIMED_OUT), "cold", False),
        (cold_record(standing=UNSAMPLED), "cold", True),
        (cold_record(standing=UNSAMPLED), "errors", False),
        (cold_record(standing=UNSAMPLED), "", False),
    ],
)
def test_the_tail_rule(made: InvocationRecord, always: str, stored: bool) -> None:
    assert kept(made, always_kept(always)) is stored


@pytest.mark.parametrize(
    ("setting", "names"), [("", set()), (" , ", set()), ("errors", {ERRORS}), ("cold, errors", {ERRORS, COLD})]
)
def test_the_setting_is_a_list(setting: str, names: set[str]) -> None:
    assert always_kept(setting) == names


def test_a_setting_that_names_what_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match="'slow' is none of errors, cold"):
        always_kept("errors,slow")

"""The request-metrics record: tracing-contract.md §7."""

import msgspec
import pytest

from sampan.model.invocation import InvocationRecord, Outcome, Traced
from sampan.telemetry.request_metrics import Place, request_metrics, topic
from tests.telemetry.records import BEGAN, FACTS, REQUEST, cold_record, record, stage

MS = BEGAN // 1_000_000
PLACE = Place(81.5, "node-1", "10.0.0.2", 4, 2)


def metrics(made: InvocationRecord) -> dict[str, object]:
    return request_metrics(made, FACTS, PLACE)


def test_a_warm_request_has_the_members_that_are_always_there() -> None:
    traced = Traced("0" * 16 + "371d3ff242fcee90", "a" * 16, "0371d3ff242fcee9")
    found = metrics(record(method="", ended=11.2346, traced=traced))
    assert found == {
        "functionName": "web", "versionId": "", "qualifier": "LATEST", "requestId": REQUEST,
        "operation": "InvokeFunction", "invocationType": "Sync", "memoryMB": 512, "memoryUsageMB": 81.5,
        "durationMs": 10.235, "isColdStart": False, "hasFunctionError": False, "invokeFunctionLatencyMs": 11.235,
        "invokeFunctionStartTimestamp": MS, "invocationStartTimestamp": MS + 1, "resourceMode": "OnDemand",
        "instanceID": "c-1", "hostname": "node-1", "ipAddress": "10.0.0.2", "activeInstances": 4,
        "activeInstancesPerFunction": 2, "scheduleLatencyMs": 1.0,
        "traceContext": "371d3ff242fcee90:371d3ff242fcee9:0:1", "isSampled": True,
    }  # fmt: skip
    assert len(str(found["invokeFunctionStartTimestamp"])) == 13


def test_a_cold_start_is_told_in_parts_that_make_up_the_whole() -> None:
    found = metrics(cold_record())
    assert found["isColdStart"] is True
    parts = ("coldStart", "prepareCode", "runtimeInitialization")
    assert {name: value for name, value in found.items() if name.startswith(parts)} == {
        "coldStartStartTimestamp": MS + 2, "coldStartLatencyMs": 178.0,
        "prepareCodeStartTimestamp": MS + 2, "prepareCodeLatencyMs": 106.0,
        "runtimeInitializationStartTimestamp": MS + 108, "runtimeInitializationMs": 72.0,
    }  # fmt: skip
    assert found["instanceEvent"] == "ColdStart"
    assert found["scheduleLatencyMs"] == 8.0  # all waits: 2 + 1 + 2 + 1 + 2
    assert found["prepareCodeLatencyMs"] + found["runtimeInitializationMs"] == found["coldStartLatencyMs"]  # type: ignore[operator]


def test_of_a_spare_the_code_was_prepared_before() -> None:
    found = metrics(record(leased=40, ended=50, cold=True, startup=(stage("start", 1, 3), stage("ready", 3, 39))))
    assert (found["prepareCodeStartTimestamp"], found["prepareCodeLatencyMs"]) == (MS + 1, 0.0)
    assert (found["runtimeInitializationStartTimestamp"], found["runtimeInitializationMs"]) == (MS + 1, 38.0)


@pytest.mark.parametrize(
    ("outcome", "error", "kind"),
    [
        (Outcome.FUNCTION_ERROR, "BadResponse", "FunctionUnhandledError"),
        (Outcome.FUNCTION_ERROR, "OutOfMemory", "FunctionOOMError"),
        (Outcome.TIMED_OUT, "BadResponse", "FunctionTimeoutError"),
        (Outcome.START_FAILED, "CAExited", "FunctionUnhandledError"),
        (Outcome.START_FAILED, "OutOfMemory", "FunctionOOMError"),
        (Outcome.THROTTLED, "ResourceExhausted", None),
        (Outcome.REFUSED, "AccessDenied", None),
        (Outcome.OK, "", None),
    ],
)
def test_an_error_of_the_function_has_one_of_three_types(outcome: Outcome, error: str, kind: str | None) -> None:
    found = metrics(record(outcome=outcome, error=error))
    assert found.get("errorType") == kind
    assert found["hasFunctionError"] is (kind is not None)


def test_an_http_call_says_what_was_asked_for_and_no_slot_leaves_zeros() -> None:
    found = metrics(record(leased=0, ended=5, outcome=Outcome.THROTTLED, status=429, traced=None))
    told = [found[name] for name in ("method", "path", "statusCode", "clientIP")]
    assert told == ["GET", "/a/b", 429, "192.0.2.7"]
    assert [found[name] for name in ("durationMs", "invocationStartTimestamp", "instanceID")] == [0.0, 0, ""]
    assert (found["scheduleLatencyMs"], found["invokeFunctionLatencyMs"]) == (5.0, 5.0)
    assert not {"traceContext", "isSampled", "instanceEvent", "errorType"} & set(found)


def test_a_published_version_and_a_kept_instance_are_named() -> None:
    facts = msgspec.structs.replace(FACTS, version="3")
    found = request_metrics(record(), facts, Place(1.0, "", "", 1, 1, provisioned=True))
    assert (found["versionId"], found["resourceMode"]) == ("3", "Provision")
    assert msgspec.json.decode(msgspec.json.encode(found)) == found
    assert topic("web") == "FCRequestMetrics:/web"


def test_times_that_run_backwards_are_never_negative() -> None:
    found = metrics(record(leased=5, ended=2))
    assert all(value >= 0 for name, value in found.items() if name.endswith("Ms"))  # type: ignore[operator]

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sampan.cli.failures import Code
from tests.cli.conftest import Run
from tests.sdk.loopback import Answer, Loopback, refusal

USAGE = ("GET", "/sampan/v1/usage")


def line(**changed: Any) -> dict[str, Any]:
    return {
        "function": "", "version": "", "day": "", "calls": 0, "billedCalls": 0, "coldStarts": 0, "errors": {},
        "activeMs": 0, "idleMs": 0, "readyMs": 0, "frozenMs": 0, "vcpuSeconds": 0, "gbSeconds": 0,
        "diskGbSeconds": 0, "bytesIn": 0, "bytesOut": 0, "cpuUsedSeconds": 0, "memoryPeak": 0, "units": 0,
        "cost": 0, "complete": True,
    } | changed  # fmt: skip


def answered(*lines: dict[str, Any], **total: Any) -> Answer:
    bill = {
        "by": "function", "since": "2024-11-01T00:00:00Z", "until": "2024-11-27T03:00:00Z", "currency": "USD",
        "unit": "CU", "prices": "Function Compute, pay-as-you-go", "lines": lines, "total": line(**total),
    }  # fmt: skip
    return Answer(200, bill)


WEB = line(
    function="web", version="2", day="2026-11-26", calls=12_345, errors={"timed_out": 45}, coldStarts=7,
    activeMs=3_723_004, vcpuSeconds=1303.0514, gbSeconds=1861.502, cost=0.123456789,
)  # fmt: skip
JOB = line(function="job", version="LATEST", day="2026-11-27", calls=1, activeMs=59_999, cost=0.061728394)
TOTAL = {"calls": 12_346, "activeMs": 3_783_003, "cost": 0.185185183, "units": 9259.25915}


def test_a_bill_has_a_line_per_function_and_the_total(sampan: Run, server: Loopback) -> None:
    server.script[USAGE] = answered(WEB, JOB, **TOTAL)
    result = sampan("bill")
    assert result.exit_code == 0, result.output
    rows = [row.split() for row in result.stdout.splitlines()]
    assert rows[0] == ["FUNCTION", "CALLS", "ERRORS", "COLD", "TIME", "vCPU·s", "GB·s", "COST", "USD"]
    assert rows[1][:4] == ["web", "12,345", "45", "7"]
    assert rows[1][4:] == ["1h", "02m", "03s", "1,303.05", "1,861.50", "0.123457", "████████████"]
    assert rows[2] == ["job", "1", "0", "0", "59.999", "s", "0.00", "0.00", "0.061728", "█████▉"]
    assert rows[3] == ["total", "12,346", "0", "0", "1h", "03m", "03s", "0.00", "0.00", "0.185185"]
    assert "2024-11-01 to 2024-11-27 03:00, UTC" in result.stderr
    assert "prices: Function Compute, pay-as-you-go" in result.stderr
    (asked,) = server.requests(*USAGE)
    assert asked.query == {"by": "function"}


@pytest.mark.parametrize(("by", "title"), [("version", "web 2"), ("day", "2026-11-26")])
def test_lines_are_about_what_was_asked(sampan: Run, server: Loopback, by: str, title: str) -> None:
    server.script[USAGE] = answered(WEB)
    result = sampan("bill", "--by", by)
    assert result.stdout.splitlines()[1].startswith(title)
    assert server.requests(*USAGE)[0].query["by"] == by


def test_idle_and_measured_use_are_told_beside_the_table(sampan: Run, server: Loopback) -> None:
    more = {"idleMs": 7_200_000.5, "cpuUsedSeconds": 12.34, "memoryPeak": 64 << 20, "complete": False}
    server.script[USAGE] = answered(WEB, **more)
    told = sampan("bill").stderr
    assert "idle for 2h 00m 00s" in told
    assert "12.3 s of CPU, at most 64.0 MiB" in told
    assert "not priced" in told


def test_nothing_used_says_what_to_do(sampan: Run, server: Loopback) -> None:
    server.script[USAGE] = answered()
    result = sampan("bill")
    assert result.exit_code == 0
    assert result.stdout == ""
    assert "sampan invoke NAME" in result.stderr


def test_nothing_used_by_one_says_by_whom(sampan: Run, server: Loopback) -> None:
    server.script[USAGE] = answered()
    assert "by 'webb'; `sampan ls`" in sampan("bill", "webb").stderr


def test_no_bill_reaches_into_the_future(sampan: Run, server: Loopback) -> None:
    server.script[USAGE] = answered(WEB)
    server.script[USAGE].body["until"] = "2190-01-01T00:00:30Z"
    assert "2190" not in sampan("bill").stderr


def test_json_has_exact_numbers(sampan: Run, server: Loopback) -> None:
    server.script[USAGE] = answered(WEB, **TOTAL)
    told = json.loads(sampan("bill", "--output", "json").stdout)
    assert told["lines"][0]["cost"] == 0.123456789
    assert told["total"]["activeMs"] == 3_783_003


def test_csv_is_for_spreadsheets(sampan: Run, server: Loopback) -> None:
    told = "function,calls\r\nweb,12345\r\njob,1\r\n"
    server.script[USAGE] = Answer(200, told.encode(), {"content-type": "text/csv; charset=utf-8"})
    assert sampan("bill", "web", "-o", "csv", "--by", "version").stdout == "function,calls\nweb,12345\njob,1\n"
    (asked,) = server.requests(*USAGE)
    assert asked.query == {"by": "version", "function": "web", "format": "csv"}


@pytest.mark.parametrize(
    ("given", "ago"),
    [("24h", timedelta(hours=24)), ("7d", timedelta(days=7)), ("30m", timedelta(minutes=30)), ("now", timedelta())],
)
def test_times_are_written_as_people_do(sampan: Run, server: Loopback, given: str, ago: timedelta) -> None:
    server.script[USAGE] = answered()
    before = datetime.now(UTC)
    assert sampan("bill", "web", "--since", given).exit_code == 0
    (asked,) = server.requests(*USAGE)
    assert before - ago <= datetime.fromisoformat(asked.query["since"]) <= datetime.now(UTC) - ago
    assert asked.query["function"] == "web"


def test_dates_are_utc(sampan: Run, server: Loopback) -> None:
    server.script[USAGE] = answered()
    sampan("bill", "--since", "2026-11-02", "--until", "2026-11-03T12:00+02:00")
    (asked,) = server.requests(*USAGE)
    assert datetime.fromisoformat(asked.query["since"]) == datetime(2026, 11, 2, tzinfo=UTC)
    assert datetime.fromisoformat(asked.query["until"]) == datetime(2026, 11, 3, 10, tzinfo=UTC)


def test_a_time_that_is_none_is_refused_before_anything_is_asked(sampan: Run, server: Loopback) -> None:
    result = sampan("bill", "--since", "last tuesday")
    assert result.exit_code == Code.USAGE
    assert "'last tuesday' is no time; write" in " ".join(result.stderr.replace("│", " ").split())
    assert server.asked == []


def test_what_the_platform_refuses_is_told(sampan: Run, server: Loopback) -> None:
    server.script[USAGE] = refusal(400, "InvalidArgument", "until: got '…', allowed is a time after `since`")
    result = sampan("bill")
    assert result.exit_code == Code.FAILED
    assert "allowed is a time after" in result.stderr


def test_invocations_are_listed_page_after_page(server: Loopback) -> None:
    from sampan.sdk import Client
    from tests.sdk.loopback import KEY

    one = {
        "requestId": "1-a",
        "functionName": "web",
        "outcome": "ok",
        "status": 200,
        "ended": "1800000000000000001",
    }
    server.script["GET", "/sampan/v1/invocations"] = [
        Answer(200, {"invocations": [one], "nextToken": "5.1"}),
        Answer(200, {"invocations": [{**one, "requestId": "1-b"}], "nextToken": ""}),
    ]
    with Client(server.url, KEY.id, KEY.secret) as client:
        found = list(client.invocations("web", outcome="ok"))
    assert [each.request_id for each in found] == ["1-a", "1-b"]
    assert found[0].ended == "1800000000000000001"
    first, second = server.requests("GET", "/sampan/v1/invocations")
    assert first.query == {"function": "web", "outcome": "ok"}
    assert second.query["nextToken"] == "5.1"

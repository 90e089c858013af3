"""Records that programs send become lines, and lines become records."""

import pytest

from sampan.collector.output_logs import to_lines, to_records
from sampan.model.names import InstanceId, VersionKey, split_version_key, version_key
from sampan.output.levels import Level
from sampan.output.lines import MAX_LINE, OTLP, Line
from sampan.wire.otlp import JSON, PROTOBUF
from sampan.wire.otlp_logs import LogRecord, decode_logs, encode_logs

WEB = version_key("web", "3", 7)
NOW = 1_790_000_000_000_000_000
KNOWN = {InstanceId("c-1"): WEB}


def record(text: str = "hello", severity: int = 0, instance: str = "c-1", function: str = "web") -> LogRecord:
    return LogRecord(NOW, text, severity, function=function, version="3", instance=instance)


def lines(*records: LogRecord) -> dict[str, list[Line]]:
    return to_lines(records, KNOWN.get)


def line(text: str = "hello", stream: str = "stdout", request: str = "", level: Level = Level.UNKNOWN) -> Line:
    return Line(NOW, "c-1", WEB, stream, request, level, text)


def test_a_record_is_a_line_of_its_instance() -> None:
    assert lines(record(severity=9)) == {"web": [Line(NOW, "c-1", WEB, OTLP, "", Level.INFO, "hello")]}


def test_lines_are_told_apart_by_function_and_stay_in_order() -> None:
    known: dict[InstanceId, VersionKey] = {**KNOWN, InstanceId("c-2"): version_key("job", "LATEST", 1)}
    given = [record("a"), record("b", instance="c-2", function="job"), record("c")]
    found = to_lines(given, known.get)
    assert {function: [each.text for each in some] for function, some in found.items()} == {
        "web": ["a", "c"],
        "job": ["b"],
    }
    assert [split_version_key(each.version)[0] for each in found["job"]] == ["job"]


@pytest.mark.parametrize("instance", ["", "c-9"])
def test_what_no_instance_sent_is_nobodys(instance: str) -> None:
    assert lines(record(instance=instance)) == {}


@pytest.mark.parametrize(
    ("severities", "level"),
    [
        ((0,), Level.UNKNOWN),
        (range(1, 5), Level.TRACE),
        (range(5, 9), Level.DEBUG),
        (range(9, 13), Level.INFO),
        (range(13, 17), Level.WARNING),
        (range(17, 21), Level.ERROR),
        (range(21, 25), Level.FATAL),
        ((10**9,), Level.FATAL),
    ],
)
def test_severities_are_levels_by_fours(severities: range | tuple[int, ...], level: Level) -> None:
    """OpenTelemetry logs data model, SeverityNumber."""
    for severity in severities:
        assert lines(record(severity=severity))["web"][0].level is level


def test_a_record_is_one_line_whatever_is_in_it() -> None:
    [made] = lines(record("Traceback:\n  line 1\n\x00\ud800é"))["web"]
    assert made.text == "Traceback:\\n  line 1\\n\x00?é"


def test_a_record_too_long_for_a_line_is_cut_between_characters() -> None:
    [made] = lines(record("é" * MAX_LINE))["web"]
    assert made.text == "é" * (MAX_LINE // 2)
    [odd] = lines(record("x" + "é" * MAX_LINE))["web"]
    assert odd.text == "x" + "é" * ((MAX_LINE - 1) // 2)


def test_a_line_is_exported_with_all_that_is_known_of_it() -> None:
    [made] = to_records([line("boom", "stderr", "1-a", Level.ERROR)])
    assert made == LogRecord(
        NOW, "boom", 17, "error", "web", "web", "3", "c-1",
        attributes={"log.iostream": "stderr", "faas.invocation_id": "1-a"},
        resource={"service.name": "web", "faas.name": "web", "faas.version": "3", "faas.instance": "c-1"},
    )  # fmt: skip


def test_a_line_that_says_neither_level_nor_request_claims_none() -> None:
    [made] = to_records([line()])
    assert (made.severity, made.level, made.attributes) == (0, "", {"log.iostream": "stdout"})


def test_what_came_as_a_record_is_not_exported_twice() -> None:
    assert to_records(lines(record())["web"]) == []
    assert [each.text for each in to_records([line("a"), line("b", OTLP), line("c")])] == ["a", "c"]


@pytest.mark.parametrize("level", list(Level))
def test_levels_survive_the_way_there_and_back(level: Level) -> None:
    """As another collector reads what is exported."""
    body = encode_logs(to_records([line(level=level)])).SerializeToString()
    [decoded] = decode_logs(body, PROTOBUF)
    assert lines(record(severity=decoded.severity))["web"][0].level is level


def test_a_severity_that_is_none_is_no_level() -> None:
    body = b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"severityNumber":-5,"body":{"stringValue":"x"}}]}]}]}'
    [decoded] = decode_logs(body, JSON)
    assert lines(record(severity=decoded.severity))["web"][0].level is Level.UNKNOWN

"""`sampan trace` and `sampan traces` against an API that answers by a script."""

import io
import json
import time

import msgspec
import pytest
from rich.console import Console

from sampan.cli import traces
from sampan.cli.failures import Code
from sampan.wire import trace_shapes
from tests.cli.conftest import Run
from tests.sdk.loopback import Answer, Loopback, refusal
from tests.traces.samples import MS, REQUEST, START, TRACE, cold

TRACES = ("GET", "/sampan/v1/traces")


def summary(**changed: object) -> dict[str, object]:
    return {
        "traceId": TRACE,
        "name": "web",
        "service": "web",
        "function": "web",
        "requestId": REQUEST,
        "start": START,
        "duration": 1204 * MS,
        "spans": 12,
        **changed,
    }


def test_a_trace_is_drawn(sampan: Run, server: Loopback) -> None:
    body = msgspec.json.encode(trace_shapes.told(cold()))
    server.script["GET", f"/sampan/v1/traces/{REQUEST}"] = Answer(200, body)
    result = sampan("trace", REQUEST, "-a")
    assert result.exit_code == 0, result.output
    assert "shop  GET /basket/17  ✗ 502  1.20 s  cold start" in result.stdout
    assert "…and 97 more SELECT item" in result.stdout
    assert "Where the time went: 610 ms to initialise" in result.stdout
    assert "card = 42" in result.stdout
    full = sampan("trace", REQUEST, "--full")
    assert full.stdout.count("SELECT item") == 101
    told = json.loads(sampan("trace", REQUEST, "-o", "json").stdout)
    assert (told["traceId"], len(told["spans"])) == (TRACE, 116)


def test_a_trace_is_had_as_otlp(sampan: Run, server: Loopback) -> None:
    server.script["GET", f"/sampan/v1/traces/{TRACE}"] = Answer(200, {"resourceSpans": []})
    assert json.loads(sampan("trace", TRACE, "-o", "otlp").stdout) == {"resourceSpans": []}


def test_a_trace_that_is_not_there_says_where_to_look(sampan: Run, server: Loopback) -> None:
    server.script["GET", "/sampan/v1/traces/ab"] = refusal(404, "TraceNotFound")
    result = sampan("trace", "ab")
    assert result.exit_code == Code.NOT_FOUND
    assert "sampan traces" in result.stderr


@pytest.mark.parametrize("id", ["", " "])
def test_no_id_is_said_to_be_none_and_which_would_be_one(sampan: Run, server: Loopback, id: str) -> None:
    result = sampan("trace", id)
    assert result.exit_code == Code.USAGE
    told = " ".join(result.stderr.replace("│", " ").split())
    assert "it is empty" in told
    assert "x-fc-request-id" in told
    assert "`sampan traces`" in told
    assert server.asked == []


def test_traces_are_listed_with_what_matters(sampan: Run, server: Loopback) -> None:
    found = [
        summary(errors=2, cold=True),
        summary(traceId="b" * 32, name="GET /", function="", service="api", duration=MS),
    ]
    server.script[TRACES] = Answer(200, {"traces": found})
    result = sampan("traces")
    assert result.exit_code == 0, result.output
    head, first, second = result.stdout.splitlines()
    assert head.split() == ["BEGAN", "FUNCTION", "OPERATION", "DURATION", "SPANS", "START", "STATUS", "TRACE"]
    assert first.split()[2:] == ["web", "1.20", "s", "12", "cold", "✗", "2", TRACE]
    assert second.split()[2:] == ["api", "GET", "/", "1.0", "ms", "12", "✓", "b" * 32]
    assert json.loads(sampan("traces", "-o", "json").stdout)[0]["traceId"] == TRACE


def test_nothing_in_json_moves_the_cursor(sampan: Run, server: Loopback) -> None:
    name = "\x9b31m\u202eab\x7f\u2028é"
    server.script[TRACES] = Answer(200, {"traces": [summary(name=name)]})
    server.script["GET", f"/sampan/v1/traces/{TRACE}"] = Answer(
        200, json.dumps([name], ensure_ascii=False).encode()
    )
    for shown in (sampan("traces", "-o", "json").stdout, sampan("trace", TRACE, "-o", "otlp").stdout):
        assert not {"\x9b", "\u202e", "\x7f", "\u2028"} & set(shown)
        assert "é" in shown
    assert json.loads(sampan("traces", "-o", "json").stdout)[0]["name"] == name


def test_names_break_no_line_of_the_list(sampan: Run, server: Loopback) -> None:
    forged = "GET /\n01-01 00:00:00   web"
    server.script[TRACES] = Answer(200, {"traces": [summary(name=forged, function="", service="a\nb")]})
    assert len(sampan("traces").stdout.splitlines()) == 2


@pytest.mark.parametrize("width", [80, 120])
def test_on_a_terminal_a_trace_has_one_line_and_its_whole_id(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    file = io.StringIO()
    screen = Console(file=file, force_terminal=True, width=width, color_system=None, markup=False, soft_wrap=True)
    for module in ("screen", "traces"):
        monkeypatch.setattr(f"sampan.cli.{module}.out", lambda: screen)
    found = [summary(name="GET /", errors=2, cold=True, start=time.time_ns()), summary(start=START)]
    traces._listed(msgspec.convert(found, list[trace_shapes.Summary]))
    lines = file.getvalue().splitlines()
    assert len(lines) == 3
    assert all(len(line.rstrip()) <= width for line in lines)
    assert [TRACE in line for line in lines] == [False, True, True]


def test_conditions_are_passed_on(sampan: Run, server: Loopback) -> None:
    server.script[TRACES] = Answer(200, {"traces": [summary()] * 5, "nextToken": "1.2"})
    arguments = "-f web --since 2026-01-01T00:00:00+00:00 --until 2026-01-02T00:00Z --min 250ms --max 2s"
    arguments += " --errors --warm -a k=v --request 1-2"
    result = sampan("traces", *arguments.split(), "--operation", "GET /", "--service", "s", "--limit", "3")
    assert result.exit_code == 0, result.output
    assert len(result.stdout.splitlines()) == 4
    (asked,) = server.asked
    assert asked.query == {
        "function": "web",
        "service": "s",
        "operation": "GET /",
        "since": f"{START / 1e9:.6f}",
        "until": f"{START / 1e9 + 86_400:.6f}",
        "minDuration": "250000000ns",
        "maxDuration": "2000000000ns",
        "errors": "true",
        "cold": "false",
        "requestId": "1-2",
        "limit": "3",
        "attribute": "k=v",
    }


def test_where_there_are_none_it_says_how_to_get_one(sampan: Run, server: Loopback) -> None:
    server.script[TRACES] = Answer(200, {"traces": []})
    assert "sampan invoke" in sampan("traces").stderr
    assert "fewer conditions" in sampan("traces", "--errors").stderr
    assert sampan("traces", "-o", "json").stdout.strip() == "[]"


@pytest.mark.parametrize("arguments", ["--min 5", "--since soon", "--max -1s", "-a novalue", "--limit 0"])
def test_a_condition_that_is_none_is_a_wrong_command_line(sampan: Run, server: Loopback, arguments: str) -> None:
    assert sampan("traces", *arguments.split()).exit_code == Code.USAGE
    assert server.asked == []

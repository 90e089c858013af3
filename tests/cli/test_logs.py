"""`sampan logs`."""

import io
import json
import time
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from sampan.cli import logs
from sampan.cli.failures import Code
from sampan.cli.log_lines import Shown, coloured, readable
from sampan.sdk import LogLine
from tests.cli.conftest import Run
from tests.sdk.loopback import Answer, Loopback, refusal

LOGS = ("GET", "/sampan/v1/functions/web/logs")


def line(text: str, level: str = "", stream: str = "stdout", request: str = "") -> LogLine:
    return LogLine(
        time="2026-01-02T03:04:05.678Z",
        instance="c-abcdef0123",
        text=text,
        stream=stream,
        level=level,
        request_id=request,
    )


def told(*texts: str, token: int = 1) -> Answer:
    lines = [
        {"time": "2026-01-02T03:04:05.6Z", "instance": "c-1", "text": text, "token": str(token + at)}
        for at, text in enumerate(texts)
    ]
    return Answer(200, "".join(json.dumps(each) + "\n" for each in lines).encode())


def test_every_filter_is_sent(sampan: Run, server: Loopback) -> None:
    server.script[LOGS] = told("x")
    before = datetime.now(UTC)
    sampan(
        "logs", "web", "-n", "7", "--since", "15m", "--until", "2026-01-02T10:00:00Z", "-g", "a|b", "-l", "error",
        "--field", "user=ann", "-r", "1-a", "--instance", "c-1", "--version", "3", "--stream", "stderr",
    )  # fmt: skip
    since = datetime.fromisoformat(server.asked[0].query["since"]) + timedelta(minutes=15)
    assert before <= since <= datetime.now(UTC)
    assert server.asked[0].query == {
        "tail": "7",
        "since": server.asked[0].query["since"],
        "until": datetime.fromisoformat("2026-01-02T10:00:00+00:00").astimezone().isoformat(),
        "grep": "a|b",
        "level": "error",
        "field": "user=ann",
        "request": "1-a",
        "instance": "c-1",
        "version": "3",
        "stream": "stderr",
    }


def test_the_newest_hundred_are_asked_for_unless_a_time_or_a_request_is_given(
    sampan: Run, server: Loopback
) -> None:
    server.script[LOGS] = told("x")
    sampan("logs", "web")
    sampan("logs", "web", "--since", "10:30")
    sampan("logs", "web", "--request", "1-a")
    assert server.asked[2].query == {"request": "1-a"}
    assert server.asked[0].query == {"tail": "100"}
    since = datetime.fromisoformat(server.asked[1].query["since"])
    assert (since.hour, since.minute, since.second) == (10, 30, 0)
    assert since.utcoffset() == datetime.now().astimezone().utcoffset()


@pytest.mark.parametrize("given", ["25:00", "2026-13-01", "10:3x"])
def test_a_time_that_is_none_is_a_wrong_command_line(sampan: Run, server: Loopback, given: str) -> None:
    result = sampan("logs", "web", "--since", given)
    assert result.exit_code == Code.USAGE
    assert f"'{given}' is no time" in result.stderr


def test_a_followed_log_that_breaks_off_goes_on_where_it_was(
    sampan: Run, server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "PAUSE", 0.0)
    server.script[LOGS] = [told("one", "two"), told("three", token=3), refusal(404, "FunctionNotFound")]
    result = sampan("logs", "web", "-f", "-n", "2", "-g", "o|t")
    assert [each.split()[-1] for each in result.stdout.splitlines()] == ["one", "two", "three"]
    assert [asked.query for asked in server.asked] == [
        {"follow": "true", "tail": "2", "grep": "o|t"},
        {"follow": "true", "after": "2", "grep": "o|t"},
        {"follow": "true", "after": "3", "grep": "o|t"},
    ]
    assert result.exit_code == Code.NOT_FOUND


def test_a_followed_log_that_breaks_off_before_its_first_line_goes_on(
    sampan: Run, server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "PAUSE", 0.0)
    broken = Answer(200, b"no chunk\r\n", {"transfer-encoding": "chunked"})
    server.script[LOGS] = [broken, told("one"), refusal(404, "FunctionNotFound")]
    assert sampan("logs", "web", "-f", "-n", "0").stdout.split()[-1:] == ["one"]
    first, second, third = server.requests(*LOGS)
    assert first.query == {"follow": "true", "tail": "0"}
    assert second.query.keys() == {"follow", "since"}
    assert abs(float(second.query["since"]) - time.time()) < 3600
    assert third.query == {"follow": "true", "since": second.query["since"], "after": "1"}


def test_nothing_found_is_said(sampan: Run, server: Loopback) -> None:
    server.script[LOGS] = Answer(200, b"")
    assert "nothing written yet" in sampan("logs", "web", "-n", "5").stderr
    assert "no line is like that" in sampan("logs", "web", "-l", "error").stderr


def test_in_a_pipe_lines_are_as_they_were_written(sampan: Run, server: Loopback) -> None:
    text = '{"msg":"hi","level":"info"}'
    server.script[LOGS] = told(text)
    assert sampan("logs", "web").stdout.endswith(f" {text}\n")


def test_json_is_shown_as_its_message_and_the_rest() -> None:
    shown = readable(
        line('{"level":"error","time":1,"msg":"it broke","user":"ann b","http":{"status":503}}', "error")
    )
    assert shown is not None
    assert shown.plain == 'ERROR   it broke  user="ann b"  http={"status":503}'
    odd = readable(line('{"level":"odd","msg":"x"}'))
    assert odd is not None
    assert odd.plain == "x  level=odd"


@pytest.mark.parametrize(
    "text", ["plain", "{", '{"a":1}', '{"msg":1}', "[1]", '{"msg":' + "[" * 5000, '{"msg":"\\ud800"}']
)
def test_what_is_no_such_json_is_shown_as_it_is(text: str) -> None:
    assert readable(line(text)) is None


def test_nothing_in_json_moves_the_cursor() -> None:
    shown = readable(line('{"msg":"\\u001b[2J","\\u001b[1m":"\\u001b[0m"}'))
    assert shown is not None
    assert "\x1b" not in shown.plain


def styles(given: LogLine) -> dict[str, str]:
    text = coloured(given)
    return {text.plain[span.start : span.end]: str(span.style) for span in text.spans}


def test_levels_requests_and_the_platforms_own_lines_have_their_colours() -> None:
    assert styles(line("12:00 ERROR broken", "error")) == {"ERROR": "red"}
    assert styles(line("INFO up", "info", "stderr")) == {"INFO": "green"}
    assert styles(line("Traceback", stream="stderr")) == {"Traceback": "red"}
    assert styles(line("for 1-abc here", request="1-abc")) == {"1-abc": "dim"}
    assert styles(line("FC Invoke Start RequestId: 1-a")) == {"FC Invoke Start RequestId: 1-a": "dim"}
    assert styles(line("… 5 bytes were not kept", "warning")) == {"… 5 bytes were not kept": "yellow"}
    assert styles(line("plain")) == {}


def test_on_a_terminal_the_day_is_told_when_it_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Console(file=io.StringIO(), force_terminal=False, width=100, markup=False, highlight=False)
    monkeypatch.setattr("sampan.cli.log_lines.out", lambda: screen)
    shown = Shown(readable=False, days=True)
    for _ in range(2):
        shown.show(line("x"))
    assert screen.file.getvalue().splitlines() == [  # type: ignore[attr-defined]
        "── 2026-01-02 UTC",
        "03:04:05.678 abcdef01 x",
        "03:04:05.678 abcdef01 x",
    ]

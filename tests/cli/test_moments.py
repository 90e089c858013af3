"""`--since` and `--until`: one way to write a time, whatever is asked."""

from datetime import datetime, timedelta

import pytest

from sampan.cli.failures import Code
from tests.cli.conftest import Run
from tests.sdk.loopback import Answer, Loopback

COMMANDS = {
    "logs": (("logs", "web"), ("GET", "/sampan/v1/functions/web/logs"), Answer(200, b"")),
    "traces": (("traces",), ("GET", "/sampan/v1/traces"), Answer(200, {"traces": []})),
    "bill": (("bill",), ("GET", "/sampan/v1/usage"), Answer(503, {"Code": "ServiceUnavailable", "Message": "x"})),
}
FORMS = (
    "90s", "15m", "1h30m", "2d", "1w", "10:30", "10:30:15", "2026-01-31", "2026-01-31T08:00",
    "2026-01-31T08:00:00+02:00", "2026-01-31 08:00", "today", "yesterday", "now", "1769846400",
)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("option", ["--since", "--until"])
def test_each_command_takes_every_way_to_write_a_time(
    sampan: Run, server: Loopback, command: str, option: str
) -> None:
    arguments, asked, answer = COMMANDS[command]
    server.script[asked] = answer
    for form in FORMS:
        result = sampan(*arguments, option, form)
        assert result.exit_code != Code.USAGE, (form, result.output)
    assert len(server.asked) == len(FORMS)
    assert all(each.query[option[2:]] for each in server.asked)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_time_that_is_none_is_refused_alike(sampan: Run, server: Loopback, command: str) -> None:
    arguments, _, _ = COMMANDS[command]
    result = sampan(*arguments, "--until", "lately")
    assert result.exit_code == Code.USAGE
    told = " ".join(result.stderr.replace("│", " ").split())
    assert "'lately' is no time; write how long ago (90s, 15m, 1h30m, 2d, 1w)" in told
    assert server.asked == []


def test_a_day_begins_where_its_days_do(sampan: Run, server: Loopback) -> None:
    """The bill's days are UTC; what logs and traces show is this machine's time."""
    for arguments, asked, answer in COMMANDS.values():
        server.script[asked] = answer
        sampan(*arguments, "--since", "2026-01-31")
    logs, traces, bill = (each.query["since"] for each in server.asked)
    here = datetime(2026, 1, 31).astimezone()
    assert datetime.fromisoformat(logs) == here
    assert float(traces) == here.timestamp()
    assert datetime.fromisoformat(bill) == datetime.fromisoformat("2026-01-31T00:00Z")
    assert datetime.fromisoformat(bill).utcoffset() == timedelta()

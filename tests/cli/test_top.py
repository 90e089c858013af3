"""`sampan top`: what it draws, and how it behaves on a terminal and in a pipe."""

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sampan.cli.failures import Code
from sampan.cli.top_view import PLAIN_BARS, Sort, View, duration, lines, memory, ordered, rate, sparkline
from sampan.sdk import FunctionNow, Now
from sampan.sdk.measuring import Totals
from tests.cli.conftest import Run
from tests.sdk.loopback import Answer, Loopback, refusal

NOW, STATUS = ("GET", "/sampan/v1/now"), ("GET", "/sampan/v1/status")
PARTS = {"sandboxd": "ok", "database": "ok", "registry": "it accepts no connection"}
PLATFORM = {"parts": PARTS, "memoryMb": 6144, "memoryLimitMb": 14336}
PATIENCE = 30.0  # seconds until a wait counts as hung


def told(function: str, rate: float = 1.0, **more: Any) -> dict[str, object]:
    """A function as the platform tells it."""
    given = {"p50": 0.012, "p99": 0.2, "instances": {"ready": 2}, "recent": [1] * 60}
    return {"function": function, "rate": rate, "errors": 0.0, "active": 0, "waiting": 0, **given, **more}


def snapshot(*functions: dict[str, object]) -> dict[str, object]:
    totals = {"functions": len(functions), "rate": 7.5, "errors": 0.5, "p99": 1.5, "recent": [2] * 60}
    return {"time": 1_700_000_000.0, "totals": {**totals, "instances": {"ready": 3}}, "functions": list(functions)}


WEB, API = told("web", 5.0), told("api", 2.5, errors=0.5, waiting=3, p99=1.5, cpu=250.0, memory=3 << 30)


def view(count: int = 3, **more: Any) -> View:
    functions = tuple(FunctionNow(function=f"function-{at}", rate=float(at)) for at in range(count))
    return View(Now(time=1.0, totals=Totals(functions=count), functions=functions), **more)


# ── what is drawn ──


@pytest.mark.parametrize("width", [20, 50, 80, 110, 160, 300])
@pytest.mark.parametrize("height", [6, 24, 60])
def test_it_fits_any_terminal(width: int, height: int) -> None:
    shown = lines(view(100, platform=PLATFORM), width, height)
    assert len(shown) <= height + 2 * (height < 8)
    assert all(line.cell_len <= width for line in shown[:-1])
    assert shown[-1].no_wrap


def test_a_wide_terminal_shows_all_columns_and_a_narrow_one_the_most_important() -> None:
    titles = {width: lines(view(), width, 24)[5].plain.split() for width in (50, 80, 160)}
    assert titles[160] == [
        *("FUNCTION", "/S", "P50", "P99", "ERR/S", "COLD/S"),
        *("ACTIVE", "WAIT", "INST", "STATES", "CPU%", "MEM", "LAST", "MINUTE"),
    ]
    assert {"/S", "P99", "ERR/S", "WAIT", "INST", "CPU%", "MEM", "LAST"} <= set(titles[80])
    assert set(titles[50]) < set(titles[80])


def test_rows_that_do_not_fit_are_counted() -> None:
    assert "and 92 more" in lines(view(100), 80, 15)[-1].plain
    assert "more" not in lines(view(3), 80, 24)[-1].plain


def test_functions_that_do_nothing_are_counted() -> None:
    assert "7 idle" in lines(view(3, functions=10), 80, 24)[-1].plain
    assert "idle" not in lines(view(3, functions=3), 80, 24)[-1].plain
    assert "idle" not in lines(view(3), 80, 24)[-1].plain, "not known"


def test_nothing_to_show_is_said() -> None:
    assert any("nothing runs" in line.plain for line in lines(view(0), 80, 24))


def test_an_ill_part_stands_first_with_its_reason() -> None:
    line = lines(view(platform=PLATFORM), 160, 24)[3]
    assert line.plain.startswith("● registry: it accepts no connection  ● sandboxd")


def test_trouble_is_told_in_place_of_the_parts() -> None:
    assert lines(view(trouble="no\x1b[2J answer"), 80, 24)[3].plain == "trying again: no�[2J answer"


@pytest.mark.parametrize(
    ("sort", "first"),
    [
        (Sort.RATE, "web"),
        (Sort.ERRORS, "api"),
        (Sort.P99, "api"),
        (Sort.WAITING, "api"),
        (Sort.CPU, "api"),
        (Sort.MEMORY, "api"),
        (Sort.NAME, "api"),
    ],
)
def test_every_order_puts_its_greatest_first(sort: Sort, first: str) -> None:
    one = FunctionNow(function="web", rate=5.0)
    other = FunctionNow(function="api", rate=2.5, errors=0.5, waiting=3, p99=1.5, cpu=250.0, memory=3)
    assert ordered(View(Now(time=1.0, functions=(one, other)), sort=sort))[0].function == first


def test_a_sparkline_shows_the_course_and_leaves_none_blank() -> None:
    assert sparkline([0, 0, 1, 2, 4, 8], 6) == "  ▂▃▅█"
    assert sparkline([0] * 60, 10) == " " * 10
    assert sparkline([8] * 60, 7) == "█" * 7
    assert sparkline([5], 4) == "   █"
    assert sparkline([], 3) == "   "
    assert set(sparkline(list(range(60)), 60, PLAIN_BARS)) <= {*PLAIN_BARS, " "}


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (rate(0), "0.0"),
        (rate(0.01), "<0.1"),
        (rate(12.34), "12.3"),
        (rate(1234.5), "1,234"),
        (duration(None), "–"),
        (duration(0.0004), "0.4ms"),
        (duration(0.012), "12ms"),
        (duration(0.9996), "1.0s"),
        (duration(12.3), "12s"),
        (duration(600), "10m"),
        (duration(86400), "24h"),
        (memory(0), "0B"),
        (memory(123 << 20), "123M"),
        (memory(3 << 29), "1.5G"),
    ],
)
def test_numbers_are_short(shown: str, text: str) -> None:
    assert shown == text


# ── in a pipe ──


def test_in_a_pipe_it_prints_one_whole_table(sampan: Run, server: Loopback) -> None:
    server.script[NOW], server.script[STATUS] = Answer(200, snapshot(WEB, API)), Answer(200, {"platform": PLATFORM})
    result = sampan("top", "--sort", "errors")
    title, first, second = result.stdout.splitlines()
    assert title.split() == [
        *("FUNCTION", "/S", "P50", "P99", "ERR/S", "COLD/S"),
        *("ACTIVE", "WAIT", "INSTANCES", "CPU%", "MEM"),
    ]
    assert first.split() == ["api", "2.5", "12ms", "1.5s", "0.5", "0.0", "0", "3", "ready=2", "250", "3.0G"]
    assert (second.split()[0], result.exit_code) == ("web", 0)


def test_an_order_that_is_none_ends_with_2(sampan: Run) -> None:
    result = sampan("top", "--sort", "colour")
    assert (result.exit_code, "memory" in result.stderr) == (Code.USAGE, True)


def test_json_is_one_object_a_line_for_as_long_as_they_come(sampan: Run, server: Loopback) -> None:
    body = b"".join(json.dumps(snapshot(told("web", at))).encode() + b"\n" for at in range(3))
    server.script[NOW] = Answer(200, body)
    shown = [json.loads(line) for line in sampan("top", "-o", "json").stdout.splitlines()]
    assert [each["functions"][0]["rate"] for each in shown] == [0.0, 1.0, 2.0]
    assert server.requests(*NOW)[0].query == {"limit": "200", "follow": "true"}


def test_json_once_is_one_line(sampan: Run, server: Loopback) -> None:
    server.script[NOW] = Answer(200, snapshot(WEB))
    [line] = sampan("top", "--once", "-o", "json").stdout.splitlines()
    assert json.loads(line)["totals"]["rate"] == 7.5


# ── on a terminal ──


class Terminal:
    """`sampan top` in a terminal of its own."""

    def __init__(self, environment: dict[str, str], *arguments: str) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
        self.before = termios.tcgetattr(slave)
        surroundings = {**os.environ, **environment, "TERM": "xterm", "PYTHONIOENCODING": "utf-8"}
        for name in ("COLUMNS", "NO_COLOR"):
            surroundings.pop(name, None)
        command = [sys.executable, "-c", "from sampan.cli.app import main; main()", "top", *arguments]
        self.process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=surroundings)
        self.slave = slave
        self.seen = ""

    def until(self, text: str) -> None:
        """Read on until `text` has been drawn since the last time."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.seen:
            assert time.monotonic() < deadline, self.seen
            if select.select([self.master], [], [], 0.1)[0]:
                self.seen += os.read(self.master, 65536).decode(errors="replace")
        self.seen = self.seen.partition(text)[2]

    def press(self, key: str) -> None:
        os.write(self.master, key.encode())

    def ended(self) -> int:
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None:
            assert time.monotonic() < deadline
            if select.select([self.master], [], [], 0.1)[0]:
                self.seen += os.read(self.master, 65536).decode(errors="replace")
        return self.process.returncode

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def terminal(environment: dict[str, str]) -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def open_(*arguments: str) -> Terminal:
        opened.append(Terminal(environment, *arguments))
        return opened[-1]

    yield open_
    for one in opened:
        one.close()


def test_on_a_terminal_it_is_drawn_anew_and_keys_are_heard(
    server: Loopback, terminal: Callable[..., Terminal]
) -> None:
    server.script[NOW] = Answer(200, json.dumps(snapshot(WEB, API)).encode() + b"\n")
    server.script[STATUS] = Answer(200, {"platform": PLATFORM})
    shown = terminal()
    shown.until("\x1b[1m[r]ate")  # the order in force is bold
    shown.press("e")
    shown.until("\x1b[1m[e]rrors")
    shown.press("q")
    assert shown.ended() == 0
    assert termios.tcgetattr(shown.slave) == shown.before


def test_a_view_that_breaks_off_is_asked_for_anew_and_keeps_what_it_showed(
    server: Loopback, terminal: Callable[..., Terminal]
) -> None:
    line = Answer(200, json.dumps(snapshot(WEB)).encode() + b"\n")
    later = Answer(200, json.dumps({**snapshot(told("later")), "time": 1_700_000_001.0}).encode() + b"\n")
    server.script[NOW] = [line, refusal(503, "ServiceUnavailable", "the collector is away"), later]
    server.script[STATUS] = Answer(200, {"platform": PLATFORM})
    shown = terminal()
    shown.until("web")
    shown.until("trying again")
    shown.until("later")
    shown.process.send_signal(signal.SIGINT)
    assert shown.ended() == 0


def test_a_platform_that_was_never_there_ends_it_with_5(
    environment: dict[str, str], terminal: Callable[..., Terminal]
) -> None:
    environment["SAMPAN_ENDPOINT"] = "http://127.0.0.1:1"
    assert terminal().ended() == Code.UNREACHABLE


def test_a_refused_key_ends_it_with_4(server: Loopback, terminal: Callable[..., Terminal]) -> None:
    server.script[NOW] = refusal(403, "SignatureNotMatch")
    assert terminal().ended() == Code.DENIED


def test_once_on_a_terminal_draws_one_table(server: Loopback, terminal: Callable[..., Terminal]) -> None:
    server.script[NOW], server.script[STATUS] = Answer(200, snapshot(WEB)), Answer(200, {"platform": PLATFORM})
    shown = terminal("--once")
    shown.until("registry: it accepts no connection")
    shown.until("web")
    assert shown.ended() == 0

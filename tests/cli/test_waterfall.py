"""The waterfall: what is drawn where, for traces as they should be and as they come."""

import io
import random
import time
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from sampan.cli import trace_story
from sampan.cli.span_tree import Node, tree
from sampan.cli.trace_view import lines, show
from sampan.cli.traces import seconds
from sampan.cli.waterfall import bar, is_cold, length, rows, ticks
from sampan.model.trace import Span, Status
from sampan.wire.trace_shapes import told
from tests.traces.samples import MS, START, cold, span


def grown(*spans: Span) -> list[Node]:
    return tree(told(spans).spans)


def drawn(*spans: Span, width: int = 80, attributes: bool = False, full: bool = False) -> str:
    made = lines(told(spans), width, attributes, full, START / 1e9 + 60)
    return "\n".join("".join(piece.text for piece in line).rstrip() for line in made)


def by_name(roots: list[Node]) -> dict[str, Node]:
    return {node.span.name: node for root in roots for node in root.walk()}


# ── the tree ──────────────────────────────────────────────────────────────────────────────────────────


def test_own_time_leaves_out_children_however_they_overlap() -> None:
    nodes = by_name(
        grown(
            span(1, 0, "root", 0, 100),
            span(2, 1, "a", 10, 50),
            span(3, 1, "b", 30, 60),
            span(4, 1, "inside a", 15, 20),
            span(5, 1, "c", 80, 90),
        )
    )
    assert nodes["root"].own == (100 - 50 - 10) * MS
    assert nodes["a"].own == 40 * MS


def test_each_moment_of_the_trace_is_blamed_on_one_span() -> None:
    roots = grown(
        span(1, 0, "root", 0, 100),
        span(2, 1, "a", 10, 50),
        span(3, 1, "b", 30, 60),
        span(4, 1, "beside b", 31, 59),
        span(5, 3, "in b", 40, 55),
    )
    nodes = by_name(roots)
    assert {name: node.path // MS for name, node in nodes.items()} == {
        "root": 50,
        "a": 20,
        "b": 15,
        "beside b": 0,
        "in b": 15,
    }
    assert [name for name, node in nodes.items() if not node.critical] == ["beside b"]


@pytest.mark.parametrize("seed", range(20))
def test_blame_sums_up_to_the_whole_whatever_spans_come(seed: int) -> None:
    chance = random.Random(seed)
    spans = [span(1, 0, "root", 0, 1000)]
    for number in range(2, 200):
        begin = chance.uniform(-100, 1100)
        spans.append(span(number, chance.randrange(0, number + 3), "x", begin, begin + chance.expovariate(0.01)))
    roots = grown(*spans)
    reached = [node for root in roots for node in root.walk()]
    assert sorted(node.span.span_id for node in reached) == sorted(each.span for each in spans)
    root = next(root for root in roots if root.span.name == "root")
    if root is roots[0]:
        assert sum(node.path for node in root.walk()) == 1000 * MS
    for node in reached:
        assert node.own >= 0
        assert node.parent is None or node.parent.begin <= node.begin <= node.end <= node.parent.end


def test_a_child_outside_its_parent_is_cut_and_marked_and_a_little_is_forgiven() -> None:
    nodes = by_name(
        grown(
            span(1, 0, "root", 0, 100),
            span(2, 1, "early", -50, 20),
            span(3, 1, "late", 90, 150),
            span(4, 1, "elsewhere", 500, 600),
            span(5, 1, "rounded", -0.04, 100.04),
        )
    )
    at = {name: ((node.begin - START) // MS, (node.end - START) // MS, node.cut) for name, node in nodes.items()}
    assert at == {
        "root": (0, 100, False),
        "early": (0, 20, True),
        "late": (90, 100, True),
        "elsewhere": (100, 100, True),
        "rounded": (0, 100, False),
    }


def test_circles_and_missing_parents_lose_no_span() -> None:
    roots = grown(
        span(1, 2, "a", 0, 10),
        span(2, 3, "b", 1, 9),
        span(3, 1, "c", 2, 8),
        span(4, 4, "own parent", 0, 1),
        span(5, 99, "orphan", 0, 1),
        span(6, 0, "root", 5, 6, platform=True),
    )
    assert roots[0].span.name == "root"
    assert sorted(node.span.name for root in roots for node in root.walk()) == sorted(
        ["a", "b", "c", "own parent", "orphan", "root"]
    )


def test_a_chain_of_thousands_and_a_crowd_of_thousands_are_drawn() -> None:
    chain = [span(number, number - 1, f"s{number}", number / 100, 200 - number / 100) for number in range(1, 5000)]
    assert "more lines; --full shows all" in drawn(*chain)
    assert drawn(*chain, full=True).count("\n") > 4990
    crowd = [span(1, 0, "root", 0, 5000), *(span(n, 1, "item", n, n + 1) for n in range(2, 5000))]
    assert "…and 4995 more item" in drawn(*crowd)
    assert all(len(line) <= 80 for line in drawn(*chain, *crowd).splitlines())


def test_of_many_alike_those_that_failed_are_shown() -> None:
    spans = cold()
    shown = [row for row in rows(tree(told(spans).spans)) if row.node.span.name == "SELECT item"]
    assert len(shown) == 4
    assert max(row.node.span.duration for row in shown if not row.more) == 12 * MS
    assert len(shown[-1].more) == 97


# ── bars, lengths, ticks ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("begin", "end", "told"),
    [
        (0, 10, "██████████"),
        (0, 5.5, "█████▌"),
        (2, 3, "  █"),
        (2.5, 4, "  ▐█"),
        (2.9, 4, "   █"),
        (3, 3, "   ▏"),
        (3.6, 3.61, "   ▕"),
        (3.25, 3.75, "   ▌"),
        (3.5, 4, "   ▐"),
        (9.99, 10, "         ▕"),
        (-5, 50, "██████████"),
        (50, 60, "         ▕"),
    ],
)
def test_a_bar_is_exact_and_never_nothing(begin: float, end: float, told: str) -> None:
    assert bar(10, begin, end) == told


def test_no_bar_leaves_its_columns() -> None:
    chance = random.Random(3)
    for _ in range(2000):
        begin, end = chance.uniform(-2, 42), chance.uniform(-2, 42)
        text = bar(40, begin, end)
        assert text.strip()
        assert len(text) <= 40


@pytest.mark.parametrize(
    ("nanoseconds", "told"),
    [
        (0, "0"),
        (12, "12 ns"),
        (999, "999 ns"),
        (1500, "2 µs"),
        (999_499, "999 µs"),
        (999_500, "1.0 ms"),
        (9_949_000, "9.9 ms"),
        (9_950_000, "10 ms"),
        (999_499_999, "999 ms"),
        (999_500_000, "1.00 s"),
        (12_340_000_000, "12.3 s"),
        (59_949_000_000, "59.9 s"),
        (60_000_000_000, "1m 00s"),
        (3_725_000_000_000, "1h 02m"),
        (100_000_000_000_000_000, "1157 d"),
        ((1 << 63) - 1, "106752 d"),
    ],
)
def test_a_length_is_told_in_the_unit_that_fits(nanoseconds: int, told: str) -> None:
    assert length(nanoseconds) == told


def test_ticks_are_round_and_few() -> None:
    for total in (1, 999, 12345, 10**6, 1204 * MS, 10**10, 10**14):
        for width in (10, 33, 63, 200):
            made = ticks(width, total)
            assert 1 <= len(made) <= width / 8 + 1 or len(made) == 2
            assert [column for column, _ in made] == sorted({column for column, _ in made})


# ── words ─────────────────────────────────────────────────────────────────────────────────────────────


def test_the_sentence_tells_where_the_time_went_largest_first() -> None:
    (root,) = grown(*cold())
    assert trace_story.shares(root) == [
        ("to initialise shop", 610 * MS),
        ("for the program of shop to listen", 289 * MS),
        ("in pay", 139 * MS),
        ("in shop", 98 * MS),
        ("to get the image of shop", 41_300_000),
        ("to start shop", 20_600_000),
        ("waiting for a slot of shop", 3 * MS),
        ("in the platform besides, for pay", 2 * MS),
        ("in the platform besides, for shop", 1_100_000),
    ]
    assert sum(spent for _, spent in trace_story.shares(root)) == 1204 * MS


def test_a_lone_function_is_not_named_again_in_the_sentence() -> None:
    (root,) = grown(*(one for one in cold() if one.function == "shop"))
    told = [words for words, _ in trace_story.shares(root)]
    assert told[:3] == ["to initialise", "for its program to listen", "in the function"]


def test_what_the_function_called_is_named_by_how_long_it_was_waited_for() -> None:
    (root,) = grown(*cold())
    told = "".join(piece.text for piece in trace_story.busiest(root))
    assert told.startswith("Of that, in spans:   138 ms charge (pay) · ")
    assert "SELECT item (postgres) ×" in told


def test_a_trace_of_the_functions_own_spans_is_told_by_service() -> None:
    (root,) = grown(span(1, 9, "a", 0, 100, service="web"), span(2, 1, "b", 20, 80, service="db"))
    assert trace_story.shares(root) == [("in db", 60 * MS), ("in web", 40 * MS)]


def test_the_parts_of_a_cold_start_are_known_by_their_place() -> None:
    nodes = by_name(grown(*cold()))
    assert {name for name, node in nodes.items() if is_cold(node)} == {
        "ColdStart",
        "PrepareCode",
        "RuntimeInitialization",
        "create",
        "start",
        "ready",
        "Initializer",
    }


# ── the whole ─────────────────────────────────────────────────────────────────────────────────────────


def test_the_waterfall_of_a_cold_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    shown = drawn(*cold(), width=100)
    assert shown == (Path(__file__).parent / "waterfall.txt").read_text().rstrip("\n")


def test_a_narrow_terminal_cuts_names_and_nothing_is_wider_than_it() -> None:
    names = [
        span(1, 0, "a very long name of an operation that nobody would ever give, but somebody does", 0, 10),
        span(2, 1, "資料庫查詢資料庫查詢資料庫查詢資料庫查詢資料庫", 1, 9, service="資料庫"),
        span(3, 2, "line\nfeed\x1b[31m and \x07 bell", 2, 8),
        span(4, 99, "", 2, 8),
    ]
    console = Console(width=60, record=True, color_system=None, file=io.StringIO())

    show(console, told(names))
    text = console.export_text()
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "(no name) shop ?" in text
    for line in text.splitlines():
        if "┊" in line or "█" in line:
            assert cell_len(line) <= 60


def test_attributes_and_what_failed_are_told_under_their_span() -> None:
    shown = drawn(*cold(), attributes=True).splitlines()
    at = next(index for index, line in enumerate(shown) if "charge" in line)
    assert [line.strip() for line in shown[at + 1 : at + 3]] == ["↳ CardRefused: card 42 is blocked", "card = 42"]
    assert any("db.statement = SELECT * FROM item WHERE id = 40" in line for line in shown)


def test_a_reason_is_told_in_whole_on_a_narrow_terminal() -> None:
    why = "Process exited unexpectedly (duration: 558ms): the program was killed for using more than its 128 MB"
    shown = drawn(span(1, 0, "web", 0, 9, status=Status.ERROR, message=why, platform=True), width=60)
    assert why in " ".join(line.strip("↳ ") for line in shown.splitlines() if "█" not in line)
    assert all(len(line) <= 60 for line in shown.splitlines()[4:])
    endless = drawn(span(1, 0, "web", 0, 9, status=Status.ERROR, message="資料庫 " * 999), width=60)
    assert all(cell_len(line) <= 60 for line in endless.splitlines()[4:])
    assert len(endless.splitlines()) < 16


def test_a_start_that_failed_is_no_warm_start() -> None:
    root = span(1, 0, "web", 0, 9, status=Status.ERROR, platform=True, attributes={"fc.cold_start": False})
    start = span(2, 1, "ColdStart", 1, 9, status=Status.ERROR, platform=True)
    assert drawn(root, start).splitlines()[0].endswith("start failed")
    suffered = span(1, 0, "web", 0, 9, status=Status.ERROR, platform=True, attributes={"fc.cold_start": True})
    assert drawn(suffered, start).splitlines()[0].endswith("start failed"), "it is a cold start that failed"
    waited = span(2, 1, "Schedule", 1, 9, platform=True)
    assert "warm" not in drawn(root, waited).splitlines()[0]
    called = span(3, 1, "Invocation", 8, 9, platform=True)
    assert drawn(root, waited, called).splitlines()[0].endswith("warm")


def test_a_status_that_is_the_whole_failure_is_told_once() -> None:
    answered = {"http.response.status_code": 503, "error.type": "503"}
    told = drawn(span(1, 0, "web", 0, 9, status=Status.ERROR, platform=True, attributes=answered)).splitlines()[0]
    assert told.count("503") == 1
    crashed = {"http.response.status_code": 502, "error.type": "FunctionUnhandledError"}
    told = drawn(span(1, 0, "web", 0, 9, status=Status.ERROR, platform=True, attributes=crashed)).splitlines()[0]
    assert "✗ 502 FunctionUnhandledError" in told


def test_attributes_are_told_as_they_are_asked_for() -> None:
    assert "fc.cold_start = true" in drawn(
        span(1, 0, "web", 0, 9, attributes={"fc.cold_start": True}), attributes=True
    )


def test_hostile_attributes_move_no_cursor_and_break_no_line() -> None:
    shown = drawn(span(1, 0, "a", 0, 1, attributes={"x\x1b[2J": "y\ny\ty" * 1000}), attributes=True)
    assert "\x1b" not in shown
    assert all(len(line) <= 80 for line in shown.splitlines())


@pytest.mark.parametrize(("text", "told"), [("10m", 600.0), ("250ms", 0.25), ("1.5s", 1.5), ("7d", 604800.0)])
def test_a_time_with_its_unit_is_read(text: str, told: float) -> None:
    assert seconds(text, "--min") == told

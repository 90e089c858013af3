"""What is wanted is found, all of it and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.model.errors import InvalidArgument
from sampan.model.names import version_key
from sampan.output.blocks import open_, pack
from sampan.output.levels import Level
from sampan.output.lines import Line
from sampan.output.matching import MAX_PATTERN, Matcher, Wanted
from tests.output.making import SECOND, START, line

V3 = version_key("web", "3", 9)
LINES = [
    line("plain", 0),
    line("ERROR broken pipe", 1, stream="stderr"),
    line('{"level":"warn","msg":"slow","http":{"status":503},"user":"ann"}', 2, request="1-a"),
    line('{"level":"info","msg":"fine","http":{"status":200},"http.status":204,"ok":true}', 3, "c-2", V3),
    line("tail of it", 4, "c-2", V3),
]


def pick(lines: list[Line], **wanted: object) -> list[int]:
    columns = open_(pack(lines).data)
    return Matcher(Wanted(function="web", **wanted)).pick(columns, 0, len(lines))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"instance": "c-2"}, [3, 4]),
        ({"version": "3"}, [3, 4]),
        ({"version": "4"}, []),
        ({"stream": "stderr"}, [1]),
        ({"request": "1-a"}, [2]),
        ({"request": "1-b"}, []),
        ({"since": START + SECOND, "until": START + 3 * SECOND}, [1, 2]),
        ({"level": Level.WARNING}, [1, 2]),
        ({"level": Level.INFO}, [1, 2, 3]),
        ({"fields": (("user", "ann"),)}, [2]),
        ({"fields": (("http.status", "503"),)}, [2]),
        ({"fields": (("http.status", "204"),)}, [3]),
        ({"fields": (("ok", "true"),)}, [3]),
        ({"fields": (("ok", "1"),)}, []),
        ({"fields": (("msg", "slow"), ("user", "bob"))}, []),
        ({"fields": (("http", '{"status":503}'),)}, [2]),
        ({"grep": "^plain$"}, [0]),
        ({"grep": "pipe$"}, [1]),
        ({"grep": "(?i)error"}, [1]),
        ({"grep": r"\Atail"}, [4]),
        ({"grep": r"it\z"}, [4]),
        ({"grep": "pipe[^x]*level"}, []),
        ({"grep": ".", "level": Level.ERROR}, [1]),
    ],
)
def test_lines_are_picked(wanted: dict[str, object], found: list[int]) -> None:
    assert pick(LINES, **wanted) == found


@given(
    st.lists(st.text("ab", max_size=4), min_size=1, max_size=300),
    st.sampled_from(["a", "^a", "b$", "^$", "a[^c]*b"]),
)
def test_a_stretch_searched_in_one_go_finds_what_every_line_alone_does(texts: list[str], pattern: str) -> None:
    together = pick([line(text) for text in texts], grep=pattern)
    alone = [at for at, text in enumerate(texts) if pick([line(text)], grep=pattern)]
    assert together == alone


def test_the_bounds_hold_while_picking() -> None:
    columns = open_(pack(LINES).data)
    assert Matcher(Wanted(function="web")).pick(columns, -5, 2) == [0, 1]
    assert Matcher(Wanted(function="web")).pick(columns, 3, 99) == [3, 4]


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+$", "(.*)*x", "(a?){300}a{300}", ".*.*.*.*=x"])
def test_a_hostile_pattern_costs_no_more_than_the_length_of_the_text(pattern: str) -> None:
    """Each of these takes a backtracking engine longer than the universe has lasted."""
    assert pick([line("a" * 60_000 + "!")], grep=pattern) in ([], [0])


@pytest.mark.parametrize(
    "pattern", ["(", "a{1001}", r"(a)\1", "(?=a)", "x" * (MAX_PATTERN + 1), "((a{100}){100}){100}", "\ud800"]
)
def test_a_pattern_that_is_none_is_refused_and_said(pattern: str) -> None:
    with pytest.raises(InvalidArgument, match="grep"):
        Matcher(Wanted(function="web", grep=pattern))


def test_what_is_wrong_with_a_pattern_is_told_in_the_callers_own_words() -> None:
    with pytest.raises(InvalidArgument, match=r"missing \): \(\)"):
        Matcher(Wanted(function="web", grep="("))


def test_json_that_is_deeper_than_any_reader_goes_is_no_match() -> None:
    assert pick([line('{"a":' + "[" * 60_000)], fields=(("a", "b"),)) == []
    assert pick([line('{"a":1')], fields=(("a", "1"),)) == []

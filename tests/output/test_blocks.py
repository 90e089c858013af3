"""Lines in, lines out; and what is known of a block without opening it."""

from hypothesis import given
from hypothesis import strategies as st

from sampan.model.names import version_key
from sampan.output import bloom
from sampan.output.blocks import MOST_LINES, RAW, cut, lines_of, open_, pack
from sampan.output.levels import Level
from sampan.output.lines import Line
from tests.output.making import START, line

TEXT = st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=40)
LINES = st.builds(
    Line,
    time=st.integers(0, 2**62),
    instance=st.sampled_from(["c-1", "c-2"]),
    version=st.sampled_from([version_key("web", "LATEST", 1), version_key("web", "3", 9)]),
    stream=st.sampled_from(["stdout", "stderr"]),
    request=st.sampled_from(["", "1-a", "1-b"]),
    level=st.sampled_from(Level),
    text=TEXT,
)


@given(st.lists(LINES, min_size=1, max_size=30))
def test_what_is_packed_comes_out_again(lines: list[Line]) -> None:
    block = pack(lines)
    out = lines_of(open_(block.data), 7, range(block.lines))
    assert [(each.seq, each.text, each.time, each.level) for each in out] == [
        (7 + at, each.text, each.time, each.level) for at, each in enumerate(lines)
    ]
    assert [(each.instance, each.version, each.stream, each.request) for each in out] == [
        (each.instance, each.version, each.stream, each.request) for each in lines
    ]


def test_a_block_tells_what_it_is_found_by() -> None:
    block = pack([line("ERROR a", 5, request="1-a"), line("b", 3, instance="c-2")])
    assert (block.lines, block.first, block.last, block.level) == (2, START + 3 * 10**9, START + 5 * 10**9, 5)
    assert block.sources == " LATEST c-1 c-2 "
    assert bloom.may_hold(block.requests, "1-a")


def test_a_filter_denies_nothing_it_holds_and_most_of_what_it_does_not() -> None:
    held = bloom.make([f"1-{number:08x}" for number in range(1000)])
    assert all(bloom.may_hold(held, f"1-{number:08x}") for number in range(1000))
    assert sum(bloom.may_hold(held, f"2-{number:08x}") for number in range(1000)) < 50
    assert not bloom.may_hold(bloom.make([]), "1-a")


def test_blocks_are_cut_by_size_and_by_lines() -> None:
    many = cut([line("")] * (MOST_LINES + 1))
    assert [len(some) for some in many] == [MOST_LINES, 1]
    large = cut([line("x" * 60_000)] * 9)
    assert all(sum(len(each.text) for each in some) <= RAW + 60_000 for some in large)
    assert sum(map(len, large)) == 9

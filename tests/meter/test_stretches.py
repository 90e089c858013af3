from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from sampan.meter.stretches import MINUTE, MS, common, milliseconds, nanoseconds, union, without
from tests.meter.making import swept

NEAR = st.tuples(st.integers(0, 40), st.integers(0, 40))
SETS = st.lists(NEAR, max_size=8)
LONG = st.tuples(st.integers(0, 3 * MINUTE), st.integers(1, 4 * MINUTE)).map(lambda one: (one[0], one[0] + one[1]))


def cells(stretches: list[tuple[int, int]]) -> set[int]:
    return {cell for begin, end in stretches for cell in range(begin, end)}


@given(SETS)
def test_a_union_holds_what_any_holds_and_nothing_twice(given: list[tuple[int, int]]) -> None:
    merged = union(given)
    assert cells(merged) == cells(given)
    assert merged == swept(given)
    assert all(one[1] < other[0] for one, other in pairwise(merged))


@given(SETS, SETS)
def test_what_is_taken_away_and_what_is_common_make_the_whole(
    one: list[tuple[int, int]], other: list[tuple[int, int]]
) -> None:
    ours, theirs = union(one), union(other)
    assert cells(without(ours, theirs)) == cells(ours) - cells(theirs)
    assert cells(common(ours, theirs)) == cells(ours) & cells(theirs)


@given(LONG)
def test_minutes_of_a_stretch_add_up_to_its_length_rounded_up_once(stretch: tuple[int, int]) -> None:
    begin, end = stretch
    told = dict(milliseconds(stretch))
    assert sum(told.values()) == -(-(end - begin) // MS)
    assert all(0 < amount <= 60_001 for amount in told.values())
    exact = dict(nanoseconds(stretch))
    assert sum(exact.values()) == end - begin
    assert all(minute * MINUTE < end and (minute + 1) * MINUTE > begin for minute in exact)
    assert told.keys() <= exact.keys()


def test_three_requests_at_once_are_charged_as_one() -> None:
    """Function Compute, "Configure instance concurrency": 10 s each, in one instance: 10 s; in three: 30 s."""
    ten = (0, 10_000 * MS)
    assert union([ten, ten, ten]) == [ten]
    assert sum(amount for _, amount in milliseconds(ten)) == 10_000

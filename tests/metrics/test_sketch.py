import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.metrics.sketch import ACCURACY, LEAST, MOST, Sketch, add, bucket, middle, percentiles

DURATIONS = st.lists(st.integers(LEAST, 86_400_000_000_000), min_size=1, max_size=300)
SHARES = (0.0, 0.5, 0.95, 0.99, 1.0)


def sketch(durations: list[int]) -> Sketch:
    made: Sketch = {}
    for duration in durations:
        add(made, {bucket(duration): 1})
    return made


@given(DURATIONS)
def test_percentiles_are_within_the_accuracy_of_the_real_ones(durations: list[int]) -> None:
    ranked = sorted(durations)
    for share, told in zip(SHARES, percentiles(sketch(durations), SHARES), strict=True):
        real = ranked[max(1, math.ceil(share * len(ranked))) - 1] / 1e9
        assert told is not None
        assert abs(told - real) <= real * (ACCURACY + 1e-9)


@given(DURATIONS, DURATIONS)
def test_counted_apart_and_added_is_counted_together(one: list[int], other: list[int]) -> None:
    apart = sketch(one)
    add(apart, sketch(other))
    assert apart == sketch(one + other)


def test_nothing_has_no_percentiles() -> None:
    assert percentiles({}, SHARES) == [None] * len(SHARES)


@pytest.mark.parametrize("duration", [-(10**18), -1, 0, 1, LEAST])
def test_what_is_too_short_counts_as_the_shortest(duration: int) -> None:
    assert bucket(duration) == 0


@pytest.mark.parametrize("duration", [10**17, 10**30])
def test_there_are_never_more_buckets_than_so_many(duration: int) -> None:
    assert bucket(duration) == MOST


def test_the_longest_invocation_has_a_bucket_of_its_own() -> None:
    day = 86_400_000_000_000
    assert bucket(day) < MOST
    assert middle(bucket(day)) == pytest.approx(86_400, rel=ACCURACY)

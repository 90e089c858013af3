"""What each sender may send, in time that the test tells."""

import math

from hypothesis import given
from hypothesis import strategies as st

from sampan.collector.intake import quota
from sampan.collector.intake.quota import Bucket, Buckets, Room


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_is_given_at_once_and_then_the_rate() -> None:
    clock = Clock()
    bucket = Bucket(10, 100, clock)
    assert [bucket.grant(80), bucket.grant(80), bucket.grant(80)] == [80, 20, 0]
    assert bucket.wait(5) == 0.5
    clock.now = 2.0
    assert bucket.grant(80) == 20
    clock.now = 1e9
    assert bucket.grant(1000) == 100


def test_a_debt_is_paid_before_anything_is_given() -> None:
    clock = Clock()
    bucket = Bucket(10, 100, clock)
    bucket.charge(150)
    assert (bucket.grant(1), bucket.wait(0)) == (0, 5.0)
    clock.now = 6.0
    assert bucket.grant(100) == 10


def test_who_may_send_nothing_waits_for_ever() -> None:
    bucket = Bucket(0, 1, Clock())
    assert (bucket.grant(5), bucket.wait()) == (1, math.inf)


def test_what_was_not_used_is_given_back_up_to_the_burst() -> None:
    bucket = Bucket(0, 10, Clock())
    bucket.grant(4)
    bucket.refund(100)
    assert bucket.grant(100) == 10


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(0, 300)), max_size=30))
def test_never_more_than_the_burst_and_the_rate_is_given(asked: list[tuple[float, int]]) -> None:
    clock = Clock()
    bucket, given = Bucket(20, 50, clock), 0
    for pause, wanted in asked:
        clock.now += pause
        given += bucket.grant(wanted)
        assert given <= 50 + 20 * clock.now + 1e-6


def test_only_so_many_senders_are_remembered() -> None:
    buckets = Buckets(0, 1, Clock())
    for number in range(quota.MOST + 10):
        buckets(str(number)).grant(1)
    assert len(buckets._of) == quota.MOST
    assert buckets(str(quota.MOST)).grant(1) == 0


def test_a_room_is_bounded_in_all_and_for_each() -> None:
    room = Room(10, 6)
    entered = [room.enter("a", 6), room.enter("a"), room.enter("b", 5), room.enter("b", 4)]
    assert entered == [True, False, False, True]
    room.leave("a", 6)
    room.leave("b", 4)
    assert (room.held, room._of) == (0, {})

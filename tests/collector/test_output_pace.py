"""How fast one function is read."""

from sampan.collector.output_pace import LINE, Allowance


def test_what_was_taken_is_made_up_for_by_waiting() -> None:
    allowance = Allowance(1000, now=0)
    assert allowance.wait(0) == 0
    allowance.take(3000, 1, now=0)
    assert allowance.wait(0) == 2
    assert allowance.wait(1.5) == 0.5
    assert allowance.wait(2) == 0


def test_over_time_no_more_than_the_rate_is_taken() -> None:
    allowance, now, taken = Allowance(1000, now=0), 0.0, 0
    while now < 60:
        now += allowance.wait(now) or 0.001
        allowance.take(256, 1, now)
        taken += 256
    assert 59_000 <= taken <= 62_000


def test_a_pause_saves_up_one_second_and_no_more() -> None:
    allowance = Allowance(1000, now=0)
    allowance.take(1000, 1, now=3600)
    assert allowance.wait(3600) == 0
    allowance.take(1, 1, now=3600)
    assert allowance.wait(3600) == LINE / 1000


def test_short_lines_cost_what_lines_cost() -> None:
    allowance = Allowance(1000, now=0)
    allowance.take(100, 100, now=0)
    assert allowance.wait(0) == (100 * LINE - 1000) / 1000

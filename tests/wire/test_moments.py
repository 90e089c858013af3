"""Moments as people write them."""

from datetime import datetime, timedelta, timezone

import pytest

from sampan.model.errors import InvalidArgument
from sampan.wire.moments import SECOND, parse

NOW = 1_700_000_000 * SECOND


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 1_700_000_000 - 90),
        ("15m", 1_700_000_000 - 900),
        ("1h30m", 1_700_000_000 - 5400),
        ("2d", 1_700_000_000 - 172_800),
        ("1w", 1_700_000_000 - 604_800),
        ("1.5h", 1_700_000_000 - 5400),
        ("999999d", 0),
        ("now", 1_700_000_000),
        ("today", 1_699_920_000),
        ("yesterday", 1_699_833_600),
        ("22:13", 1_699_999_980),
        ("22:13:20", 1_700_000_000),
        ("22:14", 1_700_000_040 - 86_400),
        ("2023-11-14", 1_699_920_000),
        ("1699999999", 1_699_999_999),
        ("1699999999.5", 1_699_999_999.5),
        ("2023-11-14T22:13:20Z", 1_700_000_000),
        ("2023-11-15T00:13:20+02:00", 1_700_000_000),
        ("2023-11-14 22:13:20", 1_700_000_000),
        ("0001-01-01", 0),
    ],
)
def test_a_moment_is_understood(text: str, seconds: float) -> None:
    assert parse("since", text, NOW) == seconds * SECOND


def test_times_that_do_not_say_their_zone_are_of_the_readers() -> None:
    east = timezone(timedelta(hours=8))
    assert parse("since", "2023-11-15 06:13:20", NOW, east) == NOW
    assert parse("since", "06:13:20", NOW, east) == NOW
    assert parse("since", "today", NOW, east) == 1_699_977_600 * SECOND
    assert parse("since", "2023-11-14T22:13:20Z", NOW, east) == NOW
    here = datetime.fromtimestamp(1_700_000_000).isoformat()
    assert parse("since", here, NOW, None) == NOW


@pytest.mark.parametrize(
    "text",
    ["", "last week", "25:00", "10:3", "inf", "-1", "-5m", "5 m", "٣m", "2026-13-01", "9" * 40, "1.2.3", "m"],
)
def test_anything_else_is_refused_and_said(text: str) -> None:
    with pytest.raises(InvalidArgument, match="how long ago"):
        parse("since", text, NOW)

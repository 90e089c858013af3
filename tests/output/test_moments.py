"""Moments as people write them."""

import pytest

from sampan.model.errors import InvalidArgument
from sampan.output.moments import SECOND, parse

NOW = 1_700_000_000 * SECOND


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 1_700_000_000 - 90),
        ("15m", 1_700_000_000 - 900),
        ("1h30m", 1_700_000_000 - 5400),
        ("2d", 1_700_000_000 - 172_800),
        ("999999d", 0),
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


@pytest.mark.parametrize("text", ["", "yesterday", "-5m", "5 m", "٣m", "2026-13-01", "9" * 40, "1.2.3", "m"])
def test_anything_else_is_refused_and_said(text: str) -> None:
    with pytest.raises(InvalidArgument, match="how long ago"):
        parse("since", text, NOW)

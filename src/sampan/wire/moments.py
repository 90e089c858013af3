"""Moments as people write them: the same for logs, traces, the bill and the history, by HTTP and in commands.

90s  15m  1h30m  2d  1w            how long ago
10:30  10:30:15                    when it was last so late
2026-11-27  2026-11-27T10:30Z      a date, a time (RFC 3339)
today  yesterday  now              the first two: midnight
1795000000  1795000000.5           Unix seconds
"""

import re
from datetime import UTC, datetime, time, timedelta, tzinfo

from sampan.model.errors import InvalidArgument

ALLOWED = (
    "how long ago (90s, 15m, 1h30m, 2d, 1w), a time (10:30, 2026-11-27, 2026-11-27T10:30:00Z), today, yesterday, "
    "now or Unix seconds"
)
SECOND = 1_000_000_000
MOST = 1 << 62  # nanoseconds; year 2116

_UNITS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
_AGO = re.compile("".join(rf"(?:(\d{{1,9}}(?:\.\d{{1,9}})?){unit})?" for unit in _UNITS), re.ASCII)
_UNIX = re.compile(r"\d{1,11}(?:\.\d{1,9})?", re.ASCII)
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?", re.ASCII)
_DAYS = {"today": 0, "yesterday": 1}


def parse(field: str, text: str, now: int, zone: tzinfo | None = UTC) -> int:
    """Unix nanoseconds.

    now: Unix nanoseconds.  zone: of times that do not say theirs, and of days; None: this machine's.

    Raises: InvalidArgument.
    """
    try:
        return max(0, min(_parsed(text.strip(), now, zone), MOST))
    except (ValueError, OverflowError) as error:
        raise InvalidArgument(field, text[:40], ALLOWED) from error


def _parsed(text: str, now: int, zone: tzinfo | None) -> int:
    """Raises: ValueError, OverflowError."""
    ago = _AGO.fullmatch(text)
    if ago is not None and any(ago.groups()):
        lengths = zip(ago.groups(), _UNITS.values(), strict=True)
        return now - sum(_nanoseconds(part) * unit for part, unit in lengths if part)
    if _UNIX.fullmatch(text):
        return _nanoseconds(text)
    if text == "now":
        return now
    if text in _DAYS:
        return _day(now, zone, _DAYS[text], time())
    if clock := _CLOCK.fullmatch(text):
        hour, minute, second = (int(part or 0) for part in clock.groups())
        today = _day(now, zone, 0, time(hour, minute, second))
        return today if today <= now else _day(now, zone, 1, time(hour, minute, second))
    return _unix(_aware(datetime.fromisoformat(text), zone))


def _nanoseconds(seconds: str) -> int:
    whole, _, rest = seconds.partition(".")
    return int(whole) * SECOND + int(rest.ljust(9, "0") or 0)


def _day(now: int, zone: tzinfo | None, before: int, at: time) -> int:
    """That time of the day so many days before today."""
    today = datetime.fromtimestamp(now / SECOND, zone).date()
    return _unix(_aware(datetime.combine(today - timedelta(days=before), at), zone))


def _aware(moment: datetime, zone: tzinfo | None) -> datetime:
    if moment.tzinfo is not None:
        return moment
    return moment.astimezone() if zone is None else moment.replace(tzinfo=zone)


def _unix(moment: datetime) -> int:
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * SECOND + since.microseconds * 1000

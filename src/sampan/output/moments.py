"""Moments as people write them."""

import re
from datetime import UTC, datetime

from sampan.model.errors import InvalidArgument

ALLOWED = "a time (2026-11-27T10:00:00Z), Unix seconds, or how long ago (90s, 15m, 1h30m, 2d)"
SECOND = 1_000_000_000
MOST = 1 << 62  # nanoseconds; year 2116

_AGO = re.compile(r"(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,9})s)?")
_UNIX = re.compile(r"\d{1,11}(?:\.\d{1,9})?", re.ASCII)


def parse(field: str, text: str, now: int) -> int:
    """Unix nanoseconds. A time without an offset is UTC. now: Unix nanoseconds. Raises: InvalidArgument."""
    ago = _AGO.fullmatch(text) if text.isascii() else None
    if ago is not None and any(ago.groups()):
        days, hours, minutes, seconds = (int(part or 0) for part in ago.groups())
        return max(0, now - (((days * 24 + hours) * 60 + minutes) * 60 + seconds) * SECOND)
    if _UNIX.fullmatch(text):
        whole, _, rest = text.partition(".")
        return min(int(whole) * SECOND + int(rest.ljust(9, "0")[:9] or 0), MOST)
    try:
        moment = datetime.fromisoformat(text)
        aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        since = aware - datetime(1970, 1, 1, tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidArgument(field, text[:40], ALLOWED) from error
    return max(0, min((since.days * 86400 + since.seconds) * SECOND + since.microseconds * 1000, MOST))

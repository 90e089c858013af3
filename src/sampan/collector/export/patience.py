"""How much is kept, how long, and when the next try is: pure rules of an exporter.

Source: OTLP 1.x, "Retryable response codes", "OTLP/HTTP throttling"; tracing-contract.md §5.5.
"""

import math
import time
from email.utils import parsedate_to_datetime

import msgspec


class Limits(msgspec.Struct, frozen=True):
    """Of one exporter. Sizes count what is on its way, too."""

    items: int = 16384  # held
    size: int = 16 << 20  # bytes held, as estimated
    batch_items: int = 512
    batch_size: int = 1 << 20  # bytes; receivers over gRPC take 4 MB where nobody told them otherwise
    linger: float = 1.0  # seconds that an item waits for others
    in_flight: int = 2  # requests
    age: float = 300.0  # seconds after which what could not be sent is given up
    request: float = 10.0  # seconds for one request; OTLP's default
    backoff: float = 1.0  # seconds before the second try; doubles
    backoff_max: float = 30.0


def pause(limits: Limits, failures: int, asked: float | None, jitter: float) -> float:
    """Seconds before the next request.

    failures: in a row, from 1.  asked: seconds that the back-end asked for; never less than that, and never more
    than what is held is worth waiting for.  jitter: uniform in [0, 1).
    """
    wait = min(limits.backoff_max, limits.backoff * 2.0 ** min(failures - 1, 30)) * (1 + jitter) / 2
    return min(max(wait, asked or 0.0), limits.age)


def retry_after(value: str | None) -> float | None:
    """Seconds, from a `Retry-After` header: a number or a date. Source: RFC 9110 §10.2.3."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        seconds = parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, OverflowError, OSError):
        return None
    return max(0.0, seconds) if math.isfinite(seconds) else None

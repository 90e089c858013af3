"""How much of a cold start's time its spans account for: no holes in the waterfall.

Fifty cold starts of each image, half of them with nothing prepared and half finding a created sandbox. Of each the
platform's spans are asked of the API; the root is all of the request's time in the platform, and what the innermost
spans cover of it is counted. The least of all is the figure.
"""

import time
from collections.abc import Iterator, Sequence
from itertools import islice

from bench.cold import Figure, cold
from bench.platform import Broken, Platform, platform
from sampan.wire.trace_shapes import TraceSpan

IMAGES = ("static", "python", "hello-python")
STARTS = 25
"""Of each image, each way."""

HASTE = "scheduler.keepalive=0.3", "scheduler.freeze_delay=0.1", "telemetry.flush_window=0"
"""An instance is gone a second after its call."""

BOUND = 99.0
PATIENCE = 20.0


def coverage() -> Iterator[Figure]:
    with platform("scheduler.spares=0", *HASTE) as bare, platform("scheduler.spares=1", *HASTE) as prepared:
        for image in IMAGES:
            each = [*_started(bare, image), *_started(prepared, image)]
            name = f"time of {len(each)} cold starts in spans, least, {image}"
            yield Figure(name, 100 * min(each), None, 100 * min(each), BOUND, "%", at_least=True)


def _started(one: Platform, image: str) -> list[float]:
    """As `_shares`."""
    one.deploy(image, image)
    begun = time.time()
    call = cold(one, image)
    for _ in range(STARTS):
        call()
    return _shares(one, image, begun)


def _shares(one: Platform, function: str, since: float) -> list[float]:
    """Of each cold start, 0 to 1. Raises: Broken, where one has no trace."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found = list(islice(one.client.traces(function=function, cold=True, since=since), 2 * STARTS))
        if len(found) >= STARTS:
            return [covered(one.client.trace(each.trace_id).spans) for each in found]
        if time.monotonic() > deadline:
            raise Broken(f"{function}: {STARTS} cold starts have {len(found)} traces")
        time.sleep(0.2)


def covered(spans: Sequence[TraceSpan]) -> float:
    """Share of the root's time that its innermost spans cover."""
    own = [span for span in spans if span.platform]
    [root] = [span for span in own if not span.parent_id]
    parents = {span.parent_id for span in own}
    sum_, until = 0, root.start
    for span in sorted(own, key=lambda each: each.start):
        if span is not root and span.span_id not in parents:
            sum_ += max(0, min(span.end, root.end) - max(span.start, until))
            until = max(until, span.end)
    return sum_ / root.duration

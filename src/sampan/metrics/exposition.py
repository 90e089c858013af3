"""Metrics as text: Prometheus 0.0.4, or OpenMetrics 1.0, which alone carries exemplars.

Written a piece at a time, so that a large page does not stand in the way of all else.
Source: the formats' own pages, as prometheus-client writes them.
"""

import asyncio
import re
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import exposition as prometheus
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import exposition as openmetrics

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPEN = "application/openmetrics-text; version=1.0.0; charset=utf-8"
VERSIONS = ("", "0.0.1", "1.0.0")  # of OpenMetrics that ours will do for
_END = b"# EOF\n"
_HEAD = re.compile(rb"\A(?:# .*\n)+")  # what is said once of a metric

_open: Callable[["_One"], bytes] = openmetrics.generate_latest  # without types of its own

Maker = Callable[[], Metric]


class _One:
    """A registry of one metric, as prometheus-client asks for one."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterator[Metric]:
        yield self._metric


def media_type(accept: str) -> str:
    """The format for a request's Accept header: OpenMetrics where it is asked for by name."""
    for accepted in accept.lower().split(","):
        kind, *parameters = (part.strip() for part in accepted.split(";"))
        given = dict(each.split("=", 1) for each in parameters if "=" in each)
        refused = given.get("q", "").strip("0.") == "" and given.get("q", "") != ""
        if kind == "application/openmetrics-text" and given.get("version", "") in VERSIONS and not refused:
            return OPEN
    return TEXT


async def write(makers: Iterable[Maker], media: str) -> bytes:
    """The page in one of the two formats. Pieces of one metric follow one another."""
    pieces: list[bytes] = []
    name = ""
    for make in makers:
        metric = make()
        written = _written(metric, media)
        pieces.append(written if metric.name != name else _HEAD.sub(b"", written))
        name = metric.name
        await asyncio.sleep(0)
    return b"".join(pieces) + (_END if media == OPEN else b"")


def _written(metric: Metric, media: str) -> bytes:
    if media == OPEN:
        return _open(_One(metric)).removesuffix(_END)
    return prometheus.generate_latest(_One(metric))

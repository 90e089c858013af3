"""Invocations, versions and clocks for these tests."""

from typing import Any

from sampan.model.invocation import InvocationRecord, Outcome, Traced, VersionFacts
from sampan.model.names import VersionKey, version_key

SECOND = 1_000_000_000
MOMENT = 1_700_000_000  # Unix seconds
WEB = version_key("web", "LATEST", 1)


def facts(function: str = "web", version: str = "LATEST") -> VersionFacts:
    return VersionFacts(function, version, memory_mb=512, cpu=0.5, disk_mb=512, concurrency=1, timeout=3.0)


VERSIONS: dict[VersionKey, VersionFacts] = {WEB: facts()}


class Clock:
    """Unix nanoseconds that move only when told to."""

    def __init__(self, seconds: float = MOMENT) -> None:
        self.now = round(seconds * SECOND)

    def __call__(self) -> int:
        return self.now

    def seconds(self) -> float:
        return self.now / SECOND

    def forward(self, seconds: float) -> None:
        self.now += round(seconds * SECOND)


def record(
    latency: float = 0.02,
    inside: float | None = 0.01,
    *,
    ended: float = MOMENT,
    version: VersionKey = WEB,
    outcome: Outcome = Outcome.OK,
    **more: Any,
) -> InvocationRecord:
    """latency, inside: seconds in all and in the function; inside None: no slot was had."""
    end = round(ended * SECOND)
    leased = 0 if inside is None else end - round(inside * SECOND)
    given = {"instance": "c-1", "status": 200, "cold": False, "bytes_in": 1, "bytes_out": 2, **more}
    return InvocationRecord(
        request="1-a",
        version=version,
        outcome=outcome,
        received=end - round(latency * SECOND),
        leased=leased,
        ended=end,
        **given,
    )


def traced(trace: str = "a" * 32, sampled: bool = True) -> Traced:
    return Traced(trace, "b" * 16, "c" * 16, sampled=sampled)

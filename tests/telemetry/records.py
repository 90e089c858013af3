"""Records to make spans of: times in milliseconds after the request came."""

from typing import Any

from sampan.model.instance import Stage
from sampan.model.invocation import InvocationRecord, Outcome, Traced, VersionFacts
from sampan.model.names import RequestId, version_key

BEGAN = 1_790_000_000_000_000_000  # Unix ns
REQUEST = RequestId("1-653a0b1c-1f0e0d0c0b0a090807060504")
TRACED = Traced("653a0b1c1f0e0d0c0b0a090807060504", "a" * 16, "b" * 16)
FACTS = VersionFacts("web", "LATEST", 512, 0.5, 512, 1, 3.0)


def at(ms: float) -> int:
    return BEGAN + int(ms * 1_000_000)


def stage(name: str, begin: float, end: float) -> Stage:
    return Stage(name, at(begin), at(end))


COLD = (
    stage("pull", 2, 102),
    stage("prepare", 103, 108),
    stage("create", 108, 120),
    stage("start", 122, 124),
    stage("ready", 124, 180),
    stage("initialize", 181, 200),
)
"""A whole start: with hops between control and sandboxd of a millisecond or two."""


def record(
    leased: float = 1, ended: float = 11, outcome: Outcome = Outcome.OK, status: int = 200, **more: Any
) -> InvocationRecord:
    """leased 0: no slot was had."""
    told: dict[str, Any] = {
        "cold": False, "bytes_in": 3, "bytes_out": 5, "qualifier": "LATEST", "method": "GET", "path": "/a/b",
        "client": "192.0.2.7", "first_byte": at(leased + 2) if leased else 0, "standing": TRACED,
    } | more  # fmt: skip
    return InvocationRecord(
        REQUEST, version_key("web", "LATEST", 1), "c-1" if leased else "", outcome, status,
        BEGAN, at(leased) if leased else 0, at(ended), **told,
    )  # fmt: skip


def cold_record(**more: Any) -> InvocationRecord:
    told: dict[str, Any] = {"leased": 202, "ended": 250, "cold": True, "startup": COLD} | more
    return record(**told)

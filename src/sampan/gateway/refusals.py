"""Why somebody who waited for a slot got none."""

import asyncio
from typing import TypeVar

from sampan.link.messages import Refuse, ServedVersion
from sampan.model.errors import NoCapacity, SampanError, StartFailed, Throttled

Result = TypeVar("Result")


def too_long(version: ServedVersion) -> NoCapacity:
    return NoCapacity(
        f"no instance of '{version.function}' was free within {version.queue_wait:g} seconds (queue wait)"
    )


def expire(waiter: "asyncio.Future[Result]", version: ServedVersion) -> None:
    """End a wait that was too long."""
    if not waiter.done():
        waiter.set_exception(too_long(version))


def too_many(version: ServedVersion, waiting: int) -> Throttled:
    return Throttled(f"{waiting} requests wait for function '{version.function}' already (gateway.queue_length)")


def too_many_in_all(waiting: int) -> NoCapacity:
    return NoCapacity(f"{waiting} requests wait already (gateway.queue_total)")


def refused(refuse: Refuse) -> SampanError:
    """As control says it."""
    if refuse.failure is not None:
        return StartFailed(refuse.failure)
    if refuse.throttled:
        return Throttled(refuse.throttled, refuse.retry_after)
    return NoCapacity(refuse.no_capacity or "the platform has no room", refuse.retry_after)

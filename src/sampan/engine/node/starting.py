"""The start of a sandbox: its program is let run, and listens or fails."""

import asyncio
import time
from collections.abc import Coroutine
from typing import TypeVar

from sampan.engine.node.box import Box
from sampan.engine.node.ending import kill
from sampan.engine.node.realm import Realm
from sampan.engine.node.runtime import RuntimeFailed
from sampan.model.errors import Failure, FailureKind, StartFailed
from sampan.model.instance import InstanceState, Stage

T = TypeVar("T")


async def start(realm: Realm, box: Box, timeout: float) -> tuple[Stage, ...]:
    """Make a created sandbox a ready one. Raises: StartFailed; the sandbox is gone then."""
    begin = time.time_ns()
    spec = box.record.spec
    released: int | None = None
    try:
        async with asyncio.timeout(timeout):
            released = await _unless(box.ended, _release(realm, box))
    except TimeoutError:
        message = f"port {spec.port} did not accept a connection within {timeout:g} s"
        box.failure = Failure(FailureKind.PORT_NEVER_OPENED, message, realm.logs.tail(spec.id))
    except RuntimeFailed as error:
        box.failure = Failure(FailureKind.ENGINE_FAILED, str(error), realm.logs.tail(spec.id))
    if released is None:
        await kill(box)
        failure = box.gone.result() or Failure(FailureKind.ENGINE_FAILED, "the sandbox was stopped")
        raise StartFailed(failure)
    stages = Stage("start", begin, released), Stage("ready", released, time.time_ns())
    box.state = InstanceState.READY
    box.record = realm.records.ready(box.record)
    return stages


async def _release(realm: Realm, box: Box) -> int:
    """Let the program run, wait until it listens; when it was let run, in Unix ns."""
    await realm.runtime.release(box.record.spec.id)
    released = time.time_ns()
    await realm.doors.accepts(box.record.address, box.record.spec.port)
    return released


async def _unless(ended: asyncio.Event, work: Coroutine[None, None, T]) -> T | None:
    """Do `work`, but no longer than until `ended`; None: that came first."""
    task, end = asyncio.ensure_future(work), asyncio.ensure_future(ended.wait())
    try:
        await asyncio.wait([task, end], return_when=asyncio.FIRST_COMPLETED)
        return None if ended.is_set() else task.result()
    finally:
        task.cancel()
        end.cancel()
        await asyncio.gather(task, end, return_exceptions=True)

"""The end of a sandbox: it is asked, it is killed, and what was made for it is undone."""

import asyncio
import logging
import signal
from contextlib import suppress

from sampan.engine.node import process
from sampan.engine.node.box import Box, finish
from sampan.engine.node.realm import Realm
from sampan.model.errors import Failure
from sampan.model.instance import InstanceState

log = logging.getLogger(__name__)


async def ask(box: Box, grace: float) -> None:
    """Send the stop signal and wait, at most `grace` seconds."""
    number = _signal(box.record.spec.stop_signal)
    if box.state is InstanceState.CREATED or process.leaves_to_default(box.record.pid, number):
        return
    box.signal(number)
    if box.state is InstanceState.FROZEN:
        with suppress(FileNotFoundError, TimeoutError):
            await box.cgroup.freeze(False)
    with suppress(TimeoutError):
        async with asyncio.timeout(grace):
            await box.ended.wait()


async def kill(box: Box) -> None:
    """End it if it has not ended; returns, also when cancelled, once it is gone."""
    if not box.ended.is_set():
        box.signal(signal.SIGKILL)
        box.cgroup.kill()
    await finish(box.gone)


async def bury(realm: Realm, box: Box) -> Failure | None:
    """Undo what was made for a sandbox whose first process has ended. Why it ended; None: it was asked to."""
    sandbox = box.record.spec.id
    code = await process.exit_code(box.pidfd)
    failure = box.explain(code, _oom_kills(box), realm.logs.tail(sandbox))
    try:
        await box.cgroup.remove()
    except TimeoutError:
        log.exception("the cgroup of sandbox %s cannot be removed; the next start tries again", sandbox)
    realm.runtime.forget(sandbox)
    realm.network.release(box.record.address)
    realm.logs.end(sandbox)
    realm.records.remove(sandbox)
    return failure


def _oom_kills(box: Box) -> int:
    try:
        return box.cgroup.oom_kills()
    except FileNotFoundError:
        return 0


def _signal(name: str) -> signal.Signals:
    """As an image config writes it: "SIGTERM", "TERM" or "15"."""
    try:
        return signal.Signals(int(name)) if name.isdecimal() else signal.Signals["SIG" + name.removeprefix("SIG")]
    except (KeyError, ValueError):
        return signal.SIGTERM

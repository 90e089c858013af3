"""The sandboxes there are, and whoever watches them."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator

from sampan.engine.engine import Gone, SandboxEvent, Seen, Synced
from sampan.engine.node.box import Box
from sampan.engine.node.ending import bury
from sampan.engine.node.realm import Realm
from sampan.engine.node.records import Record
from sampan.engine.node.tasks import Tasks
from sampan.model.errors import Failure, FailureKind, StartFailed
from sampan.model.instance import InstanceState
from sampan.model.names import InstanceId

_BURIALS = 4  # at once; more only keep the starts from the CPU


class Living:
    """Each sandbox from `keep` until it is buried: once its first process has ended, whoever ended it."""

    def __init__(self, realm: Realm, tasks: Tasks) -> None:
        self._realm = realm
        self._tasks = tasks
        self._boxes: dict[InstanceId, Box] = {}
        self._watchers: set[asyncio.Queue[SandboxEvent]] = set()
        self._burials = asyncio.Semaphore(_BURIALS)

    def __iter__(self) -> Iterator[Box]:
        return iter(list(self._boxes.values()))

    def get(self, sandbox: InstanceId) -> Box | None:
        return self._boxes.get(sandbox)

    def box(self, sandbox: InstanceId) -> Box:
        """Raises: StartFailed (NO_SUCH_SANDBOX)."""
        box = self._boxes.get(sandbox)
        if box is None:
            raise unknown(sandbox)
        return box

    def keep(self, record: Record, state: InstanceState) -> Box:
        """From here on the sandbox exists. Raises: OSError."""
        sandbox = record.spec.id
        realm = self._realm
        box = Box(record, realm.cgroup(sandbox), realm.logs.path(sandbox), os.pidfd_open(record.pid), state)
        self._boxes[sandbox] = box
        asyncio.get_running_loop().add_reader(box.pidfd, self._ended, box)
        self.changed(box)
        return box

    def changed(self, box: Box) -> None:
        """Tell the watchers how it is now."""
        self._publish(Seen(box.sandbox()))

    async def watch(self) -> AsyncIterator[SandboxEvent]:
        """What there is and was, `Synced`, then what changes."""
        events: asyncio.Queue[SandboxEvent] = asyncio.Queue()
        for box in self:
            events.put_nowait(Seen(box.sandbox()))
        for past in self._realm.logs.ended():
            events.put_nowait(past)
        events.put_nowait(Synced())
        self._watchers.add(events)
        try:
            while True:
                yield await events.get()
        finally:
            self._watchers.discard(events)

    def leave(self) -> None:
        """Look after none of them any more; their ends go unnoticed."""
        loop = asyncio.get_running_loop()
        for box in self:
            loop.remove_reader(box.pidfd)

    def close(self) -> None:
        """After `leave`, once no burial is under way."""
        for box in self:
            box.close()
        self._boxes.clear()

    def _ended(self, box: Box) -> None:
        """The first process has ended, and with it all others."""
        asyncio.get_running_loop().remove_reader(box.pidfd)
        box.ended.set()
        self._tasks.start(self._bury(box))

    async def _bury(self, box: Box) -> None:
        async with self._burials:
            failure = await bury(self._realm, box)
        box.close()
        spec = box.record.spec
        del self._boxes[spec.id]
        self._publish(Gone(spec.id, failure, spec.labels))
        box.gone.set_result(failure)

    def _publish(self, event: SandboxEvent) -> None:
        for watcher in self._watchers:
            watcher.put_nowait(event)


def unknown(sandbox: InstanceId) -> StartFailed:
    return StartFailed(Failure(FailureKind.NO_SUCH_SANDBOX, f"there is no sandbox '{sandbox}'"))

"""What the sandboxes of one realm share on this machine, prepared and let go as a whole."""

import fcntl
import logging
import os
from contextlib import ExitStack
from pathlib import Path

from sampan import settings
from sampan.engine.node import leftovers, machine, seccomp
from sampan.engine.node.bundle import Bundle
from sampan.engine.node.cgroup import Cgroup, cgroup, remove_parent
from sampan.engine.node.logs import Logs
from sampan.engine.node.network import DoorPorts, Network
from sampan.engine.node.records import Record, Records
from sampan.engine.node.rootfs import LayerFailed, Layers
from sampan.engine.node.runtime import Runtime
from sampan.engine.node.spec import CAPABILITIES
from sampan.link.readiness import Doors

log = logging.getLogger(__name__)

_LAYER_POOL = 4  # writable layers kept ready per size; one is made in 3 ms


class Realm:
    """Records, logs, networks, layers, runtime and cgroups, of all its sandboxes."""

    def __init__(
        self, engine: settings.Engine, name: str, run: Path, state: Path, group: int | None, ports: DoorPorts
    ) -> None:
        self._settings, self._run, self._state = engine, run, state
        self._parent = f"/sampan-{name}"
        self.resolvers = machine.resolvers(engine.dns)
        self.records = Records(run / "sandboxes")
        self.logs = Logs(state / "logs", group)
        self.network = Network(name, engine.network, ports, self.resolvers, engine.network_pool)
        self.layers = Layers(state / "layers", engine.writable_layer, _LAYER_POOL)
        self.doors = Doors()

    async def open(self, undo: ExitStack) -> list[Record]:
        """Prepare the machine, remove what is left of sandboxes that died; the records of those that live.

        undo: what is to be called when all is let go. Raises: OSError, RuntimeFailed, NetworkFailed, LayerFailed.
        """
        self._lock(undo)
        hugetlb = self._run / "hugetlb" if self._settings.runtime == "crun" else None
        if hugetlb is not None:
            undo.callback(machine.release, hugetlb)
        self.machine = machine.prepare(self._settings.favordynmods, hugetlb)
        self.runtime = Runtime(self._settings.runtime, self._run / "runtime")
        undo.callback(self.runtime.close)
        self.seccomp = {root: seccomp.load(CAPABILITIES if root else ()) for root in (True, False)}
        self.logs.open()
        undo.callback(self.logs.close)
        found = leftovers.living(self.records, self.runtime, self.cgroup)
        keep: set[str] = {record.spec.id for record in found}
        await leftovers.clean(
            keep, self.records, self.runtime, self._run / "runtime", self.machine.cgroups, self._parent
        )
        undo.callback(self.network.close)
        await self.network.open(record.address for record in found)
        await self._open_layers()
        undo.callback(self.layers.close)
        return found

    async def destroy(self) -> None:
        """Remove bridge, rules and cgroups; no sandbox may be left."""
        await self.network.destroy()
        remove_parent(self.machine.cgroups, self._parent)

    def cgroup_path(self, sandbox: str) -> str:
        return f"{self._parent}/{sandbox}"

    def cgroup(self, sandbox: str) -> Cgroup:
        return cgroup(self.machine.cgroups, self.cgroup_path(sandbox))

    def bundle(self, sandbox: str) -> Bundle:
        return Bundle(self.records.directory(sandbox))

    def _lock(self, undo: ExitStack) -> None:
        """One engine per realm. Raises: BlockingIOError."""
        self._run.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._run / "engine.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        undo.callback(os.close, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    async def _open_layers(self) -> None:
        try:
            await self.layers.open()
        except LayerFailed as error:
            if self.layers.kind == "memory":
                raise
            log.warning("%s; sandboxes write to memory instead", error)
            self.layers = Layers(self._state / "layers", "memory", _LAYER_POOL)
            await self.layers.open()

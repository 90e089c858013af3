"""The making of a sandbox: address, writable layer, root, spec, and the runtime's create."""

import errno
import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from sampan.engine.engine import Sandbox, SandboxSpec
from sampan.engine.node import leftovers, process
from sampan.engine.node.box import Box
from sampan.engine.node.bundle import Bundle
from sampan.engine.node.realm import Realm
from sampan.engine.node.records import Record
from sampan.engine.node.runtime import RuntimeFailed
from sampan.engine.node.spec import Place
from sampan.model.errors import Failure, FailureKind, StartFailed
from sampan.model.instance import InstanceState, Stage

Keep = Callable[[Record, InstanceState], Box]
"""From here on the sandbox exists."""


async def make(realm: Realm, spec: SandboxSpec, lower: Sequence[str], begin: int, keep: Keep) -> Sandbox:
    """All or nothing, in milliseconds; not to be cancelled. Raises: StartFailed.

    lower: the image's layers, topmost first.  begin: of the stage "prepare", Unix nanoseconds.
    """
    with ExitStack() as undo:
        try:
            bundle = realm.bundle(spec.id)
            undo.callback(realm.records.remove, spec.id)
            network = await realm.network.take(spec.internet)
            undo.callback(realm.network.release, network.address)
            with ExitStack() as held:
                held.callback(os.close, network.fd)
                layer = await realm.layers.take(spec.disk_mb)
                held.callback(realm.layers.discard, layer)
                held.enter_context(bundle.mounted(lower, layer))
                place = Place(
                    rootfs="rootfs",
                    network=f"/proc/{os.getpid()}/fd/{network.fd}",
                    cgroup=realm.cgroup_path(spec.id),
                    file_limit=realm.machine.file_limit,
                )
                bundle.write(spec, network.address, realm.resolvers, place, realm.seccomp)
                prepared = time.time_ns()
                undo.callback(realm.logs.drop, spec.id)
                pid = await _run_create(realm, spec, bundle)
            box = keep(_record(realm, spec, network.address, pid), InstanceState.CREATED)
        except OSError as error:
            kind = FailureKind.DISK_FULL if error.errno == errno.ENOSPC else FailureKind.ENGINE_FAILED
            raise StartFailed(Failure(kind, f"the sandbox could not be made: {error}")) from error
        undo.pop_all()
    return box.sandbox((Stage("prepare", begin, prepared), Stage("create", prepared, time.time_ns())))


async def _run_create(realm: Realm, spec: SandboxSpec, bundle: Bundle) -> int:
    """The pid of the sandbox's first process. Raises: StartFailed."""
    outputs = realm.logs.begin(spec.id, spec.log_mb << 20, spec.labels)
    try:
        return await realm.runtime.create(spec.id, bundle.directory, *outputs)
    except RuntimeFailed as error:
        # The program has not run: what is in its log is what the runtime said.
        said = str(error) or realm.logs.tail(spec.id).strip()
        await leftovers.end(realm.cgroup(spec.id))
        realm.runtime.forget(spec.id)
        raise StartFailed(_refused(spec, said)) from error
    finally:
        for descriptor in outputs:
            os.close(descriptor)


def _record(realm: Realm, spec: SandboxSpec, address: str, pid: int) -> Record:
    record = Record(
        spec=spec,
        address=address,
        pid=pid,
        started=process.start_time(pid) or 0,
        created=time.time_ns(),
    )
    realm.records.write(record)
    return record


def _refused(spec: SandboxSpec, said: str) -> Failure:
    """Why the runtime would not make it."""
    lost = ("no such file or directory", "executable file not found", "executable file `", "permission denied")
    if "exec" in said and any(words in said for words in lost):
        program = spec.argv[0] if spec.argv else ""
        return Failure(FailureKind.ENTRYPOINT_MISSING, f"the image has no program '{program}'", said)
    if "no space left on device" in said:
        return Failure(FailureKind.DISK_FULL, "there is no space left on the machine's disk", said)
    return Failure(FailureKind.ENGINE_FAILED, f"the sandbox could not be created: {said}")

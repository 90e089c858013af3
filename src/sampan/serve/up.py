"""`sampan up`, `down` and `status` from the outside: a running platform is known by the lock it holds.

Light on purpose: these commands answer at once. What runs the platform is `supervisor`.
"""

import fcntl
import os
import signal
import subprocess
import sys
import time

import msgspec

from sampan.serve.child import ProcessStatus
from sampan.serve.layout import Layout
from sampan.serve.machine import CannotRun, check_machine, check_state, in_use
from sampan.settings import Settings


def up(settings: Settings, detach: bool) -> int:
    """Run the platform; return when it has ended (`detach`: when it is ready). Raises: CannotRun."""
    check_machine(settings)
    check_state(Layout(settings))
    if detach:
        return _detach(settings)
    from sampan.serve import supervisor  # brings the whole house

    return supervisor.supervise(settings)


def down(settings: Settings, keep_sandboxes: bool, timeout: float) -> int:
    """End a running platform and wait until it has. 0: it ended, or there was none. Raises: CannotRun."""
    layout = Layout(settings)
    pid = running(layout)
    if pid == 0:
        return 0
    try:
        os.kill(pid, signal.SIGUSR1 if keep_sandboxes else signal.SIGTERM)
    except PermissionError:
        raise CannotRun(f"process {pid} belongs to root; run: sudo sampan down") from None
    deadline = time.monotonic() + timeout
    while running(layout):
        if time.monotonic() > deadline:
            raise CannotRun(f"process {pid} has not ended within {timeout:g} s; see {layout.logs}/up.log")
        time.sleep(0.05)
    return 0


def status(settings: Settings) -> list[ProcessStatus]:
    """The processes of a platform; empty: it is not running."""
    layout = Layout(settings)
    if not running(layout):
        return []
    try:
        return msgspec.json.decode(layout.status.read_bytes(), type=list[ProcessStatus])
    except (OSError, msgspec.DecodeError):
        return []


def running(layout: Layout) -> int:
    """The pid of the supervisor that holds the state directory; 0: nobody does."""
    try:
        fd = os.open(layout.lock, os.O_RDWR if os.access(layout.lock, os.W_OK) else os.O_RDONLY)
    except OSError:
        return 0
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return int(os.pread(fd, 32, 0) or b"0")
    finally:
        os.close(fd)
    return 0


def _detach(settings: Settings) -> int:
    """Start `up` as a daemon; return when it is ready or has failed."""
    layout = Layout(settings)
    if pid := running(layout):
        raise in_use(layout, pid)
    output = layout.logs / "up.log"
    given = layout.state / "settings.json"
    given.write_bytes(msgspec.json.encode(settings))
    begin = output.stat().st_size if output.exists() else 0
    with output.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "sampan.serve", "supervisor", str(given)],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    while process.poll() is None:
        if b"Sampan is up" in output.read_bytes()[begin:]:
            return 0
        time.sleep(0.05)
    said = output.read_bytes()[begin:].decode(errors="replace").strip()
    raise CannotRun(f"the platform did not come up (exit code {process.returncode}):\n{said[-3000:]}")

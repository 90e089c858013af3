"""`sampan up`: set the machine up, run the processes, keep them running, end them in order.

Order up: containerd, registry, sandboxd, control, gateways. Order down: the reverse, so that requests in flight
finish first. The listening sockets belong to this process and are handed to the gateways: while a gateway is
restarted, connections wait in the socket's queue instead of being refused.
"""

import asyncio
import errno
import fcntl
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from sampan.catalog.catalog import Catalog
from sampan.catalog.plans import Defaults
from sampan.engine.node.network import door_address
from sampan.sdk.config import Credentials, write_file
from sampan.serve.child import Child, NeverReady, ProcessStatus
from sampan.serve.foreign import REGISTRY_PROGRAM, port_accepts, socket_accepts, write_configs
from sampan.serve.layout import Layout
from sampan.serve.privileges import NoSuchUser, ensure_user
from sampan.settings import Settings
from sampan.store.database import Database, migrate, sqlite_url
from sampan.telemetry.logs import Log, configure

IP_FREEBIND = 15  # ip(7): bind an address that is not there yet
BACKLOG = 4096  # connections that may wait for a gateway; the kernel caps it at net.core.somaxconn

PACKAGES = {
    "containerd": "containerd",
    "runc": "runc",
    "crun": "crun",
    "nft": "nftables",
    "mkfs.ext4": "e2fsprogs",
    REGISTRY_PROGRAM: "docker-registry",
}
"""Programs that must be there → the Debian package that brings each."""

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

log = Log("up")


class CannotRun(Exception):
    """The platform cannot be started here and now; the sentence says why and what to do."""


def up(settings: Settings, detach: bool) -> int:
    """Run the platform; return when it has ended (`detach`: when it is ready). Raises: CannotRun."""
    _check_machine(settings)
    if detach:
        return _detach(settings)
    layout = Layout(settings)
    lock = _lock(layout)
    try:
        uid, gid = ensure_user(settings.platform.user)
        layout.make(uid, gid)
        listeners = _listen(settings)
        layout.settings.write_bytes(msgspec.json.encode(settings))
        write_configs(layout, settings.registry)
        asyncio.run(_first_start(settings, layout, uid, gid))
        configure("up", settings.platform.log_level)
        return asyncio.run(_Supervisor(settings, layout, uid, gid, listeners).run())
    except NoSuchUser as error:
        raise CannotRun(str(error)) from error
    finally:
        layout.status.unlink(missing_ok=True)
        os.close(lock)


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


# ── before anything is started ────────────────────────────────────────────────────────────────────────


def _check_machine(settings: Settings) -> None:
    if os.geteuid() != 0:
        raise CannotRun("making sandboxes needs root; run: sudo sampan up")
    wanted = ["containerd"] if not settings.engine.containerd else []
    wanted += [settings.engine.runtime, "nft", "mkfs.ext4"]
    wanted += [REGISTRY_PROGRAM] if settings.registry.enabled else []
    missing = [program for program in wanted if shutil.which(program, path=SYSTEM_PATH) is None]
    if missing:
        packages = " ".join(PACKAGES.get(program, program) for program in missing)
        raise CannotRun(f"missing: {', '.join(missing)}; run: apt-get install {packages}")


def _lock(layout: Layout) -> int:
    """Hold the state directory for as long as this process lives."""
    layout.state.mkdir(parents=True, exist_ok=True)
    fd = os.open(layout.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        pid = os.pread(fd, 32, 0).decode()
        os.close(fd)
        raise CannotRun(
            f"the state directory {layout.state} is in use by process {pid}; "
            "run: sampan down, or give another --state"
        ) from None
    os.ftruncate(fd, 0)
    os.pwrite(fd, str(os.getpid()).encode(), 0)
    return fd


def _listen(settings: Settings) -> list[list[socket.socket]]:
    """Per gateway process its listening sockets: the front door, and its address inside sandboxes' reach."""
    gateway = settings.gateway
    addresses = [gateway.listen]
    if gateway.listen not in ("0.0.0.0", "::"):
        addresses.append(door_address(settings.platform.realm))
    if settings.registry.enabled:
        _check_free(settings.registry.listen, settings.registry.port, "registry.port")
    _check_free(gateway.listen, gateway.port, "gateway.port")
    shared = gateway.processes > 1
    return [[_listener(address, gateway.port, shared) for address in addresses] for _ in range(gateway.processes)]


def _listener(address: str, port: int, shared: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
    listener.bind((address, port))
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener


def _check_free(address: str, port: int, setting: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            why = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
            raise CannotRun(f"{address}:{port} {why}; choose another with --set {setting}=N") from error


async def _first_start(settings: Settings, layout: Layout, uid: int, gid: int) -> None:
    """Bring the database up to date, and see that there is an access key where the command line finds it."""
    url = sqlite_url(layout.database)
    await asyncio.to_thread(migrate, url, (uid, gid))
    database = Database(url)
    try:
        key, _ = await Catalog(database, Defaults()).ensure_key(settings.platform.account)
    finally:
        await database.close()
    for file in layout.database.parent.iterdir():
        os.chown(file, uid, gid)
    registry = f"localhost:{settings.registry.port}" if settings.registry.enabled else ""
    host = settings.gateway.listen if settings.gateway.listen not in ("0.0.0.0", "::") else "127.0.0.1"
    credentials = Credentials(
        endpoint=f"http://{host}:{settings.gateway.port}",
        registry=registry,
        access_key_id=key.id,
        access_key_secret=key.secret,
        account=settings.platform.account,
        region=settings.platform.region,
    )
    write_file(layout.credentials, credentials)
    owner = int(os.environ.get("SUDO_UID", "0"))
    os.chown(layout.credentials, owner, pwd.getpwuid(owner).pw_gid)


# ── while it runs ─────────────────────────────────────────────────────────────────────────────────────


def role(name: str, layout: Layout, *more: str) -> list[str]:
    """The command line of a process of ours."""
    return [sys.executable, "-m", "sampan.serve", name, str(layout.settings), *more]


@dataclass
class _Supervisor:
    settings: Settings
    layout: Layout
    uid: int
    gid: int
    listeners: list[list[socket.socket]]

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[bool] = loop.create_future()

        def end(keep: bool) -> None:
            if not ended.done():
                ended.set_result(keep)

        for sign, keep in ((signal.SIGTERM, False), (signal.SIGINT, False), (signal.SIGUSR1, True)):
            loop.add_signal_handler(sign, end, keep)
        os.environ["PATH"] = SYSTEM_PATH
        children = self._children()
        started: list[Child] = []
        keep = False
        try:
            for child in children:
                if ended.done():
                    break
                started.append(child)
                await child.start()
                print(f"{child.name} ready", flush=True)
            if not ended.done():
                print(
                    f"Sampan is up: http://{self.settings.gateway.listen}:{self.settings.gateway.port}", flush=True
                )
            supervision = [asyncio.ensure_future(child.supervise()) for child in started]
            keep = await ended
            for task in supervision:
                task.cancel()
        except NeverReady as error:
            print(error, file=sys.stderr, flush=True)
            return 1
        else:
            return 0
        finally:
            for child in reversed(started):
                leave = keep or child.name != "sandboxd"
                await child.stop(signal.SIGTERM if leave else signal.SIGUSR2)
            if not keep:
                shutil.rmtree(self.layout.run, ignore_errors=True)

    def _children(self) -> list[Child]:
        settings, layout = self.settings, self.layout
        children: list[Child] = []

        def add(name: str, argv: list[str], **more: object) -> None:
            children.append(
                Child(name, argv, layout.logs / f"{name}.log", on_change=lambda: self._tell(children), **more)  # type: ignore[arg-type]
            )

        if not settings.engine.containerd:
            add(
                "containerd",
                _tied("containerd", "-c", str(layout.containerd_config)),
                ready=socket_accepts(layout.containerd_socket),
            )
        if settings.registry.enabled:
            add(
                "registry",
                _tied(REGISTRY_PROGRAM, "serve", str(layout.registry_config), user=(self.uid, self.gid)),
                ready=port_accepts(settings.registry.listen, settings.registry.port),
            )
        add("sandboxd", role("sandboxd", layout), patience=60.0)
        add("control", role("control", layout))
        for number, listeners in enumerate(self.listeners, 1):
            fds = [listener.fileno() for listener in listeners]
            add(
                f"gateway-{number}",
                role("gateway", layout, f"gateway-{number}", *map(str, fds)),
                pass_fds=fds,
                patience=settings.gateway.drain + 10.0,
            )
        return children

    def _tell(self, children: list[Child]) -> None:
        """Write down how every process is, for `status`."""
        fresh = self.layout.status.with_suffix(".new")
        with suppress(OSError):
            fresh.write_bytes(msgspec.json.encode([child.status for child in children]))
            fresh.replace(self.layout.status)


def _tied(*argv: str, user: tuple[int, int] | None = None) -> list[str]:
    """A foreign program that ends with us, however we end, and runs as `user` where one is given."""
    tied = ["/usr/bin/setpriv", "--pdeathsig", "TERM"]
    if user is not None:
        tied = ["/usr/bin/setpriv", f"--reuid={user[0]}", f"--regid={user[1]}", "--clear-groups", "--no-new-privs"]
        tied += ["--pdeathsig", "TERM"]
    return [*tied, "--", *argv]


def _detach(settings: Settings) -> int:
    """Start `up` as a daemon; return when it is ready or has failed."""
    layout = Layout(settings)
    if pid := running(layout):
        raise CannotRun(
            f"the state directory {layout.state} is in use by process {pid}; "
            "run: sampan down, or give another --state"
        )
    layout.logs.mkdir(parents=True, exist_ok=True)
    output = layout.logs / "up.log"
    given = layout.state / "settings.json"
    given.write_bytes(msgspec.json.encode(settings))
    begin = output.stat().st_size if output.exists() else 0
    with output.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "sampan.serve", "up", str(given)],
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


def run(settings: Settings) -> None:
    """The daemon's own entry."""
    try:
        sys.exit(up(settings, detach=False))
    except CannotRun as error:
        sys.exit(str(error))

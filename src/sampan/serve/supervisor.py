"""The supervisor: set the machine up, run the processes, keep them running, end them in order.

All start at once and find each other by themselves. They end in order, gateways first, so that requests in flight
finish. The listening sockets belong to this process and are handed to the gateways: while a gateway is restarted,
connections wait in the socket's queue instead of being refused.
"""

import asyncio
import errno
import fcntl
import os
import pwd
import signal
import socket
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from sampan.catalog.catalog import Catalog
from sampan.catalog.plans import Defaults
from sampan.collector.intake.sockets import IP_FREEBIND, IntakeSockets, listen
from sampan.engine.node.network import door_address
from sampan.sdk.config import Credentials, write_file
from sampan.serve.child import Child, NeverReady
from sampan.serve.foreign import port_accepts, socket_accepts, write_configs
from sampan.serve.layout import QUERY, TLS, Layout
from sampan.serve.machine import REGISTRY_PROGRAM, SYSTEM_PATH, CannotRun, in_memory, in_use, remove
from sampan.serve.privileges import NoSuchUser, ensure_user
from sampan.settings import Settings
from sampan.store.database import Database, migrate, sqlite_url
from sampan.telemetry.logs import configure

BACKLOG = 4096  # connections that may wait for a gateway; the kernel caps it at net.core.somaxconn


def run(settings: Settings) -> None:
    """The daemon's own entry."""
    try:
        sys.exit(supervise(settings))
    except CannotRun as error:
        sys.exit(str(error))


def supervise(settings: Settings) -> int:
    """Run the platform until a signal ends it. Raises: CannotRun."""
    layout = Layout(settings)
    lock = _lock(layout)
    try:
        uid, gid = ensure_user(settings.platform.user)
        listeners, tls_listeners = _listen(settings), _listen_tls(settings)
        telemetry = _listen_telemetry(settings)
        in_memory(layout.run)
        layout.make(uid, gid)
        if tls_listeners:
            from sampan.serve.self_signed import ensure  # brings `cryptography`, which only TLS needs

            ensure(layout.certificate, settings.gateway.domain)
        layout.settings.write_bytes(msgspec.json.encode(settings))
        write_configs(layout, settings.registry)
        asyncio.run(_first_start(settings, layout, uid, gid))
        configure("up", settings.platform.log_level, settings.platform.log_format)
        return asyncio.run(_Supervisor(settings, layout, uid, gid, listeners, tls_listeners, telemetry).run())
    except NoSuchUser as error:
        raise CannotRun(str(error)) from error
    finally:
        layout.status.unlink(missing_ok=True)
        os.close(lock)


# ── before anything is started ────────────────────────────────────────────────────────────────────────


def _lock(layout: Layout) -> int:
    """Hold the state directory for as long as this process lives."""
    layout.state.mkdir(parents=True, exist_ok=True)
    fd = os.open(layout.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        pid = os.pread(fd, 32, 0).decode()
        os.close(fd)
        raise in_use(layout, pid) from None
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


def _listen_tls(settings: Settings) -> list[socket.socket]:
    """Per gateway process its socket for TLS; none when there is no TLS. Raises: CannotRun."""
    gateway = settings.gateway
    if not gateway.tls_port:
        return []
    if gateway.certificates and not Path(gateway.certificates).is_dir():
        raise CannotRun(f"gateway.certificates: {gateway.certificates} is not a directory; make it or name another")
    _check_free(gateway.listen, gateway.tls_port, "gateway.tls_port")
    shared = gateway.processes > 1
    return [_listener(gateway.listen, gateway.tls_port, shared) for _ in range(gateway.processes)]


@dataclass(frozen=True, slots=True)
class _Telemetry:
    """What the collector listens on."""

    intake: IntakeSockets
    query: tuple[socket.socket, ...]

    def descriptors(self) -> list[int]:
        return [*self.intake.descriptors(), *(one.fileno() for one in self.query)]

    def arguments(self) -> list[str]:
        return [*self.intake.arguments(), *(f"{QUERY}{one.fileno()}" for one in self.query)]


def _listen_telemetry(settings: Settings) -> _Telemetry:
    """The ports that functions report to, at the door's address alone, and the one for other people's tools.

    Raises: CannotRun.
    """
    given, intake = settings.telemetry, IntakeSockets()
    if given.intake:
        try:
            intake = listen(door_address(settings.platform.realm))
        except OSError as error:
            raise CannotRun(f"{error.strerror}; free it, or --set telemetry.intake=false") from error
    if not given.port:
        return _Telemetry(intake, ())
    _check_free(given.listen, given.port, "telemetry.port")
    return _Telemetry(intake, (_listener(given.listen, given.port, shared=False),))


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
    with _taken_back(layout.database.parent, uid, gid):
        url = sqlite_url(layout.database)
        await asyncio.to_thread(migrate, url)
        database = Database(url)
        try:
            key, _ = await Catalog(database, Defaults()).ensure_key(settings.platform.account)
        finally:
            await database.close()
    with _taken_back(layout.telemetry_database.parent, uid, gid):
        await asyncio.to_thread(migrate, sqlite_url(layout.telemetry_database), "telemetry")
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


@contextmanager
def _taken_back(directory: Path, uid: int, gid: int) -> Iterator[None]:
    """The user's directory is root's for a while: nobody else puts a link there that root would follow."""
    os.chown(directory, 0, 0)
    try:
        for file in directory.iterdir():
            if not stat.S_ISREG(file.lstat().st_mode):
                raise CannotRun(f"{file} is not a regular file; remove it, nothing of ours makes such a thing")
        yield
        for file in directory.iterdir():
            os.chown(file, uid, gid, follow_symlinks=False)
    finally:
        os.chown(directory, uid, gid)


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
    tls_listeners: list[socket.socket]
    telemetry: _Telemetry

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[bool] = loop.create_future()
        ready = asyncio.Event()

        def end(keep: bool) -> None:
            if not ended.done():
                ended.set_result(keep)

        for sign, keep in ((signal.SIGTERM, False), (signal.SIGINT, False), (signal.SIGUSR1, True)):
            loop.add_signal_handler(sign, end, keep)
        os.environ["PATH"] = SYSTEM_PATH
        children = self._children()
        keep = False
        try:
            starting = asyncio.gather(*(self._start(child) for child in children))
            starting.add_done_callback(lambda _: ready.set())
            ended.add_done_callback(lambda _: ready.set())
            await ready.wait()
            if starting.done():
                await starting
                print(f"Sampan is up: {self._doors()}", flush=True)
            supervision = [asyncio.ensure_future(child.supervise()) for child in children if starting.done()]
            keep = await ended
            starting.cancel()
            for task in supervision:
                task.cancel()
            await asyncio.gather(starting, *supervision, return_exceptions=True)
        except NeverReady as error:
            print(error, file=sys.stderr, flush=True)
            return 1
        else:
            return 0
        finally:
            for child in reversed(children):
                leave = keep or child.name != "sandboxd"
                await child.stop(signal.SIGTERM if leave else signal.SIGUSR2)
            if not keep:
                remove(self.layout.run)
            if self.layout.journals is not None:
                with suppress(OSError):  # one that is left in it waits for the next start, and is counted then
                    self.layout.journals.rmdir()

    def _doors(self) -> str:
        gateway = self.settings.gateway
        plain = f"http://{gateway.listen}:{gateway.port}"
        return f"{plain} and https://{gateway.listen}:{gateway.tls_port}" if gateway.tls_port else plain

    async def _start(self, child: Child) -> None:
        await child.start()
        print(f"{child.name} ready", flush=True)

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
        add(
            "collector",
            role("collector", layout, *self.telemetry.arguments()),
            pass_fds=self.telemetry.descriptors(),
            patience=30.0,
        )
        for number, listeners in enumerate(self.listeners, 1):
            fds = [listener.fileno() for listener in listeners]
            tls = [listener.fileno() for listener in self.tls_listeners[number - 1 : number]]
            add(
                f"gateway-{number}",
                role("gateway", layout, f"gateway-{number}", *map(str, fds), *(f"{TLS}{fd}" for fd in tls)),
                pass_fds=[*fds, *tls],
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

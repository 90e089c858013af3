"""The gateway process: the data plane on the sockets that the supervisor handed over."""

import asyncio
import signal
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sampan.engine.node.network import door_address
from sampan.gateway import tally
from sampan.gateway.server import Gateway
from sampan.gateway.tracing import Tracing
from sampan.serve import role
from sampan.serve.layout import TLS, Layout
from sampan.settings import Settings
from sampan.telemetry.logs import configure

if TYPE_CHECKING:
    from sampan.gateway.certificates import Certificates


def run(settings: Settings, name: str, *descriptors: str) -> None:
    """Serve until asked to end, then drain."""
    layout = Layout(settings)
    listeners = [socket.socket(fileno=int(fd)) for fd in descriptors if not fd.startswith(TLS)]
    tls_listeners = [socket.socket(fileno=int(fd[len(TLS) :])) for fd in descriptors if fd.startswith(TLS)]
    configure(name, settings.platform.log_level, settings.platform.log_format)
    certificates = _certificates(settings, layout) if tls_listeners else None
    role.become(name, settings, unprivileged=True)

    async def work(asked: "asyncio.Future[signal.Signals]") -> None:
        tallies = None
        if settings.gateway.processes > 1:
            place = int(name.rpartition("-")[2]) - 1
            tallies = tally.shared(layout.gateway_run, place, settings.gateway.processes)
        gateway = Gateway(
            settings.gateway,
            layout.link_socket,
            layout.api_socket,
            name,
            listeners,
            tallies=tallies,
            tls_listeners=tls_listeners,
            certificates=certificates,
            tracing=_tracing(settings),
            reports_socket=layout.reports_socket,
            journals=layout.journals,
            flush_window=settings.telemetry.awake,
        )
        learning = asyncio.get_running_loop().create_task(gateway.learn())
        asked.add_done_callback(lambda _: learning.cancel())
        with suppress(asyncio.CancelledError):
            await learning
        if asked.done():
            return
        role.settle()
        await gateway.start()
        role.ready()
        await asked
        await gateway.stop()

    role.run(work)


def _certificates(settings: Settings, layout: Layout) -> "Certificates":
    """Read while we are root: keys need not be readable by the user we become."""
    from sampan.gateway.certificates import Certificates  # brings `cryptography`, which only TLS needs

    given = settings.gateway.certificates
    return Certificates(Path(given) if given else None, layout.certificate)


def _tracing(settings: Settings) -> Tracing:
    given, door = settings.telemetry, door_address(settings.platform.realm)
    endpoint = f"http://{door}:14268/api/traces" if given.intake else ""
    return Tracing(given.sampling, endpoint, on=given.tracing)

"""The sandboxd process: the node engine behind a socket. The only process of ours that stays root."""

import asyncio
import signal

from sampan.collector.intake.sockets import Ports
from sampan.engine import remote
from sampan.engine.node.containerd import Containerd
from sampan.engine.node.images import NodeImages
from sampan.engine.node.network import DoorPorts
from sampan.engine.node.node import NodeEngine
from sampan.serve import role
from sampan.serve.layout import Layout
from sampan.serve.privileges import ensure_user
from sampan.settings import Settings

DESTROY = signal.SIGUSR2
"""Ends the sandboxes too; the other signals leave them running."""


def run(settings: Settings) -> None:
    """Serve until asked to end."""
    layout = Layout(settings)
    role.become("sandboxd", settings, unprivileged=False)
    _, group = ensure_user(settings.platform.user)

    async def work(asked: "asyncio.Future[signal.Signals]") -> None:
        socket = settings.engine.containerd or str(layout.containerd_socket)
        containerd = Containerd(socket, f"sampan-{settings.platform.realm}")
        images = NodeImages(containerd, lambda: engine.digests_in_use(), fresh=settings.engine.gc_keep)
        engine = NodeEngine(
            settings.engine,
            settings.platform.realm,
            layout.sandboxd_run,
            layout.sandboxd_state,
            group,
            _ports(settings),
            images,
        )
        async with containerd, engine:
            server = await remote.serve(layout.engine_socket, engine, group)
            role.ready()
            sign = await asked
            server.close()
            if sign is DESTROY:
                await engine.destroy_all()

    role.run(work, (signal.SIGTERM, signal.SIGINT, DESTROY))


def _ports(settings: Settings) -> DoorPorts:
    """What sandboxes may reach of us: the front door, and where they report."""
    if not settings.telemetry.intake:
        return DoorPorts((settings.gateway.port,))
    ports = Ports()
    return DoorPorts((settings.gateway.port, ports.grpc, *ports.http), (ports.compact, ports.binary))

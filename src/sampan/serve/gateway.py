"""The gateway process: the data plane on the sockets that the supervisor handed over."""

import asyncio
import signal
import socket
from contextlib import suppress

from sampan.gateway.server import Gateway
from sampan.serve import role
from sampan.serve.layout import Layout
from sampan.settings import Settings


def run(settings: Settings, name: str, *descriptors: str) -> None:
    """Serve until asked to end, then drain."""
    layout = Layout(settings)
    listeners = [socket.socket(fileno=int(fd)) for fd in descriptors]
    role.become(name, settings, unprivileged=True)

    async def work(asked: "asyncio.Future[signal.Signals]") -> None:
        gateway = Gateway(settings.gateway, layout.link_socket, layout.api_socket, name, listeners)
        learning = asyncio.get_running_loop().create_task(gateway.learn())
        asked.add_done_callback(lambda _: learning.cancel())
        with suppress(asyncio.CancelledError):
            await learning
        if asked.done():
            return
        await gateway.start()
        role.ready()
        await asked
        await gateway.stop()

    role.run(work)

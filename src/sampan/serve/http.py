"""uvicorn inside a role: on a Unix socket or on one that is there already."""

import asyncio
import socket
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

LATE = (
    "anyio.*",  # by its own names, each when it is first used; starlette streams with it
    "starlette.*",
    "uvicorn.lifespan.off",  # by uvicorn, when its configuration is loaded
    "uvicorn.protocols.http.httptools_impl",
)
"""Modules that come late; see `role.become`."""


class _Server(uvicorn.Server):
    """uvicorn, but the process's signals stay the role's."""

    def __init__(self, config: uvicorn.Config, begun: asyncio.Event) -> None:
        super().__init__(config)
        self._begun = begun

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._begun.set()

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


async def serve_http(app: ASGIApp, place: Path | socket.socket, begun: asyncio.Event) -> None:
    """For ever, on a Unix socket at a path, which is made anew, or on a listening socket.

    begun: set once it takes connections.
    """
    if isinstance(place, Path):
        place.unlink(missing_ok=True)
    config = uvicorn.Config(
        app,
        uds=str(place) if isinstance(place, Path) else None,
        log_config=None,
        lifespan="off",
        access_log=False,
        loop="none",
        http="httptools",
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    await _Server(config, begun).serve(None if isinstance(place, Path) else [place])

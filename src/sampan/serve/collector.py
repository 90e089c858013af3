"""The collector process: telemetry taken in, kept, given out."""

import asyncio
import signal
import socket
from contextlib import suppress

from sampan.collector import query_port
from sampan.collector.app import app
from sampan.collector.collector import Collector
from sampan.collector.export.guard import Guard
from sampan.collector.intake.sockets import IntakeSockets, Ports
from sampan.engine.node.network import door_address, ranges
from sampan.engine.remote import RemoteEngine
from sampan.serve import http, role
from sampan.serve.layout import QUERY, Layout
from sampan.settings import Settings
from sampan.store.database import Database, sqlite_url

LATE = (
    *http.LATE,
    "aiosqlite",  # by SQLAlchemy, when an engine is made
    "sqlalchemy.dialects.sqlite.aiosqlite",
    "sqlite3",
    "aiohttp",
    "grpc.aio",
    "sampan.wire.jaeger_encoding",  # by `wire.jaeger`, when something is encoded
    "thriftpy2.*",
)


def run(settings: Settings, *arguments: str) -> None:
    """Serve until asked to end. arguments: the descriptors of the intake's sockets and of the query port's."""
    layout, given = Layout(settings), settings.telemetry
    sockets = IntakeSockets.of(each for each in arguments if not each.startswith(QUERY))
    query = [socket.socket(fileno=int(each[len(QUERY) :])) for each in arguments if each.startswith(QUERY)]
    role.become("collector", settings, unprivileged=True, late=LATE)

    async def work(asked: "asyncio.Future[signal.Signals]") -> None:
        database = Database(sqlite_url(layout.telemetry_database))
        engine, platform = RemoteEngine(layout.engine_socket), settings.platform
        collector = Collector(given, database, engine, _guard(settings), platform.account, platform.region)
        await collector.load()
        with suppress(asyncio.CancelledError):
            async with asyncio.TaskGroup() as group:
                begun = asyncio.Event()
                group.create_task(http.serve_http(app(collector.routes()), layout.collector_socket, begun))
                for port in query:  # which takes connections since the supervisor listens on it
                    guarded = query_port.app(collector.query_routes(), collector.key)
                    group.create_task(http.serve_http(guarded, port, asyncio.Event()))
                work = group.create_task(collector.run(layout.reports_socket, layout.journals, sockets))
                await begun.wait()
                await collector.listening()
                role.settle()
                role.ready()
                await asked
                work.cancel()
                raise asyncio.CancelledError
        await collector.close()
        await database.close()

    role.run(work)


def _guard(settings: Settings) -> Guard:
    """What a function's own back-end may not be: the platform's listeners, and sandboxes."""
    gateway, registry, telemetry = settings.gateway, settings.registry, settings.telemetry
    door = door_address(settings.platform.realm)
    ports = Ports()
    listeners = [(gateway.listen, gateway.port), (door, gateway.port)]
    listeners += [(door, port) for port in (ports.grpc, *ports.http)]
    listeners += [(gateway.listen, gateway.tls_port)] if gateway.tls_port else []
    listeners += [(registry.listen, registry.port)] if registry.enabled else []
    listeners += [(telemetry.listen, telemetry.port)] if telemetry.port else []
    return Guard(telemetry.export_local, listeners, ranges(settings.platform.realm))

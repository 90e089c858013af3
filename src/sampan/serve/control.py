"""The control process: catalog, scheduler, API; the gateways' link on one side, the engine's on the other."""

import asyncio
import os
import signal
from contextlib import aclosing, suppress

import aiohttp

from sampan.api.app import app
from sampan.api.passing import Collector
from sampan.catalog.catalog import Catalog
from sampan.catalog.plans import Defaults
from sampan.engine.node.network import door_address
from sampan.engine.remote import RemoteEngine
from sampan.scheduler.hooks import Hooks
from sampan.scheduler.loop import Scheduler
from sampan.scheduler.rollout import Rollouts
from sampan.scheduler.server import Gateways
from sampan.scheduler.state import Cluster, Limits
from sampan.serve import http, role
from sampan.serve.health import Health, probes
from sampan.serve.layout import Layout
from sampan.serve.operations import Operations
from sampan.serve.telling import Telling
from sampan.settings import Settings
from sampan.store.database import Database, sqlite_url

SLACK = 0.5  # seconds more than its delay that an idle lease may take to be given back on a busy machine
GATEWAY_PATIENCE = 3.0  # seconds the gateways are given to say what they hold, after a restart of control

LATE = (
    *http.LATE,
    "aiosqlite",  # by SQLAlchemy, when an engine is made
    "sqlalchemy.dialects.sqlite.aiosqlite",
    "sqlite3",
)


def limits(settings: Settings) -> Limits:
    """What this machine and its settings allow."""
    scheduler = settings.scheduler
    machine_mb = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
    return Limits(
        memory_mb=scheduler.memory_mb or machine_mb * 9 // 10,
        cpu=(os.cpu_count() or 1) * scheduler.cpu_overcommit,
        max_instances=scheduler.max_instances,
        parallel_starts=scheduler.parallel_starts,
        spares=scheduler.spares,
        spare_keep=scheduler.spare_keep,
        backoff_max=scheduler.backoff_max,
        gateways=settings.gateway.processes,
        lease_rest=max(scheduler.freeze_delay, settings.telemetry.awake) + SLACK,
    )


def defaults(settings: Settings) -> Defaults:
    """What a function gets where it says nothing."""
    return Defaults(
        account=settings.platform.account,
        region=settings.platform.region,
        domain=settings.gateway.domain,
        keepalive=settings.scheduler.keepalive,
        freeze_delay=settings.scheduler.freeze_delay,
        queue_wait=settings.gateway.queue_wait,
        max_instances=settings.scheduler.max_instances,
    )


def run(settings: Settings) -> None:
    """Serve until asked to end."""
    layout = Layout(settings)
    role.become("control", settings, unprivileged=True, late=LATE)

    async def work(asked: "asyncio.Future[signal.Signals]") -> None:
        with suppress(asyncio.CancelledError):
            async with asyncio.TaskGroup() as group:
                serving = group.create_task(_serve(settings, layout))
                await asked
                serving.cancel()

    role.run(work)


async def _serve(settings: Settings, layout: Layout) -> None:
    database = Database(sqlite_url(layout.database))
    catalog = Catalog(database, defaults(settings))
    platform = settings.platform
    async with aiohttp.ClientSession() as session:
        engine = RemoteEngine(layout.engine_socket)
        gateways = Gateways(engine, catalog.routes)
        telling = Telling(layout.reports_socket, catalog, catalog.changes.subscribe())
        hooks = Hooks(engine, session, platform.account, platform.region, telling.ran)
        scheduler = Scheduler(
            engine,
            hooks,
            catalog,
            gateways.tell,
            Cluster(limits(settings)),
            platform.account,
            platform.region,
            settings.scheduler.start_timeout,
            settings.scheduler.drain_grace,
            report_to=door_address(platform.realm) if settings.telemetry.intake else "",
            endpoint=f"http://{door_address(platform.realm)}:{settings.gateway.port}",
            was_open=gateways.was_open,
        )
        rollouts = Rollouts(
            catalog,
            catalog.changes.subscribe(),
            engine.images,
            scheduler,
            gateways.route_changed,
            gateways.domain_changed,
        )
        health = Health(probes(settings, engine, database), gateways.health)
        collector = Collector(layout.collector_socket)
        api = app(catalog, scheduler, rollouts, collector, Operations(engine, scheduler, health), settings)
        await rollouts.load()
        async with aclosing(collector), asyncio.TaskGroup() as group:
            group.create_task(scheduler.run())
            await asyncio.sleep(0)  # the scheduler's own group must be open before the first event
            await gateways.listen(layout.link_socket, scheduler)
            begun = asyncio.Event()
            group.create_task(http.serve_http(api, layout.api_socket, begun))
            group.create_task(telling.run())
            group.create_task(rollouts.run())
            group.create_task(health.run())
            await begun.wait()
            role.ready()
            await scheduler.settle(settings.gateway.processes, GATEWAY_PATIENCE)

"""Control's word to the collector: what functions there are, how their telemetry is to be treated, who may ask; and
which hooks ran, for these are charged."""

import asyncio
import secrets
from collections import deque
from contextlib import suppress
from pathlib import Path

import msgspec

from sampan.catalog.catalog import Catalog
from sampan.catalog.changes import Subscription
from sampan.link import channel
from sampan.link.reports import Down, FunctionTelemetry, Hello, Ran, Told, Up, facts_of
from sampan.model.names import InstanceId, VersionKey
from sampan.telemetry.logs import Log

RETRY = 0.5  # seconds between attempts to reach the collector
RAN = 10_000  # hooks' runs that wait for a collector that is away
GATHER = 0.2  # seconds over which changes are gathered

log = Log("telling")

_Link = channel.Channel[Down, Up]


class Telling:
    """Says everything once more whenever something changes, and whenever the collector is new."""

    def __init__(self, path: Path, catalog: Catalog, changes: Subscription) -> None:
        self._path, self._catalog, self._changes = path, catalog, changes
        self._life = secrets.token_hex(8)
        self._link: _Link | None = None
        self._number = 0
        self._ran: deque[Ran] = deque()  # not confirmed

    def ran(self, instance: InstanceId, version: VersionKey, begin: int, end: int) -> None:
        """A hook ran. Unix nanoseconds."""
        self._number += 1
        run = Ran(self._number, instance, version, begin, end)
        self._ran.append(run)
        if len(self._ran) > RAN:
            lost = self._ran.popleft()
            log.warning("a hook's time is not charged; is the collector up?", instance=lost.instance)
        if self._link is not None:
            self._link.send(run)

    def _kept(self, upto: int) -> None:
        while self._ran and self._ran[0].seq <= upto:
            self._ran.popleft()

    async def run(self) -> None:
        """For ever."""
        while True:
            with suppress(OSError):
                await self._talk(asyncio.Event())
            await asyncio.sleep(RETRY)

    async def _talk(self, lost: asyncio.Event) -> None:
        """Over one connection, until that is lost. Raises: OSError."""
        decoder = msgspec.msgpack.Decoder(Down)
        link: _Link = await channel.connect(
            self._path,
            lambda: channel.Channel(decoder, lambda _, kept: self._kept(kept.seq), lambda _: lost.set()),
        )
        link.send(Hello("control", self._life))
        for run in self._ran:
            link.send(run)
        self._link = link
        telling = asyncio.ensure_future(self._tell(link))
        telling.add_done_callback(lambda _: lost.set())
        try:
            await lost.wait()
        finally:
            self._link = None
            link.close()
            telling.cancel()
            [failed] = await asyncio.gather(telling, return_exceptions=True)
            if isinstance(failed, Exception):  # of a catalog that cannot be read now
                log.failure("the collector could not be told what there is; trying again", failed)

    async def _tell(self, link: _Link) -> None:
        while True:
            link.send(await self._told())
            async for _ in self._changes:
                await asyncio.sleep(GATHER)
                while self._changes.waiting:
                    await anext(self._changes)
                break

    async def _told(self) -> Told:
        routes = await self._catalog.routes()
        minimums = {
            plan.function: tuple((each.version.key, each.minimum) for each in plan.versions if each.minimum)
            for plan in await self._catalog.plans()
        }
        tracing = await self._catalog.tracing()
        functions = (
            FunctionTelemetry(
                route.function,
                *tracing.get(route.function, ("", {})),
                versions=tuple((version.key, facts_of(version)) for version in route.versions),
                provisioned=minimums.get(route.function, ()),
            )
            for route in routes.functions
        )
        return Told(routes.account, routes.region, tuple(functions), routes.keys)

"""Bringing new revisions into service: pull, make ready, only then route.

    pending ──pull──▶ prepared ──make one ready, or as many as the old one has──▶ current
       └────────────────── anything fails ──▶ rejected; the old one stays

Which revisions are pending is a row in the catalog, so a restart goes on where this one stopped.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from sampan.catalog.changes import Changed, Kind, Subscription
from sampan.catalog.plans import FunctionPlan, PendingRevision
from sampan.engine.engine import Images
from sampan.link.messages import FunctionRoute
from sampan.model.domain import Domain
from sampan.model.errors import Failure, FailureKind, NotFound, StartFailed
from sampan.model.image import Image, PullProgress
from sampan.model.names import VersionKey
from sampan.model.version import Version
from sampan.scheduler.events import Planned, Target
from sampan.scheduler.loop import Scheduler
from sampan.telemetry.logs import Log
from sampan.wire.errors import last_lines

MOST_WARMED = 4  # instances of a new version that are made ready before it gets traffic, at most
PATIENCE = 150.0  # seconds for them; the start's own limit strikes first
COLLECT = 60.0  # seconds between collections of unused images

log = Log("rollout")


class Catalog(Protocol):
    """What is asked of the catalog."""

    async def pending(self) -> list[PendingRevision]: ...
    async def prepared(self, function: str, revision: int, image: Image) -> Version: ...
    async def activate(self, function: str, revision: int) -> None: ...
    async def reject(self, function: str, revision: int, code: str, reason: str) -> None: ...
    async def plan(self, function: str) -> FunctionPlan | None: ...
    async def plans(self) -> list[FunctionPlan]: ...
    async def route(self, function: str) -> FunctionRoute | None: ...
    async def domain(self, name: str) -> Domain | None: ...
    async def retained_images(self) -> frozenset[str]: ...


class Rollouts:
    """Follows the catalog and makes the scheduler, the gateways and the engine's images follow it."""

    def __init__(
        self,
        catalog: Catalog,
        changes: Subscription,
        images: Images,
        scheduler: Scheduler,
        announce: Callable[[str, FunctionRoute | None], None],
        announce_domain: Callable[[str, Domain | None], None],
    ) -> None:
        self._catalog = catalog
        self._changed = changes
        self._following = False
        self._followed = asyncio.Event()
        self._images = images
        self._scheduler = scheduler
        self._announce, self._announce_domain = announce, announce_domain
        self._working: set[tuple[str, int]] = set()
        self._progress: dict[str, dict[str, PullProgress]] = {}

    async def load(self) -> None:
        """Tell the scheduler every plan there is. Before `run`, and before gateways or sandboxes are heard."""
        for plan in await self._catalog.plans():
            self._scheduler.post(_planned(plan.function, plan))

    async def run(self) -> None:
        """Follow the catalog until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._collect())
            await self._begin(group)
            async for changed in self._changed:
                self._following = True
                await self._heard(changed)
                self._following = False
                self._followed.set()
                await self._begin(group)

    async def caught_up(self) -> None:
        """Return once every change that the catalog has told of has been announced."""
        while self._following or self._changed.waiting:
            self._followed.clear()
            await self._followed.wait()

    def progress(self, function: str) -> list[PullProgress]:
        """How far the image of a pending revision has come, a row per layer."""
        return list(self._progress.get(function, {}).values())

    async def ready(self, versions: list[VersionKey]) -> None:
        """Before an alias moves: where there is traffic, have the new versions ready. Raises: StartFailed."""
        for key in versions:
            version = self._scheduler.version(key)
            if version is None or self._scheduler.counts(key):
                continue
            count = min(self._scheduler.traffic(version.function), MOST_WARMED)
            if count:
                await self._warm(version, count)
                self._scheduler.cool(version)

    async def _heard(self, changed: Changed) -> None:
        if changed.kind is Kind.DOMAIN:
            self._announce_domain(changed.name, await self._catalog.domain(changed.name))
        else:
            await self._follow(changed.name)

    async def _follow(self, function: str) -> None:
        """A function changed: tell the scheduler first, so that a fleet is there before it is wanted."""
        self._scheduler.post(_planned(function, await self._catalog.plan(function)))
        self._announce(function, await self._catalog.route(function))

    async def _collect(self) -> None:
        """Now and then, let images go that no revision is made of any more."""
        while True:
            await asyncio.sleep(COLLECT)
            with suppress(StartFailed):
                await self._images.retain(await self._catalog.retained_images())

    async def _begin(self, group: asyncio.TaskGroup) -> None:
        for pending in await self._catalog.pending():
            key = (pending.function, pending.revision)
            if key not in self._working:
                self._working.add(key)
                group.create_task(self._roll_out(pending))

    async def _roll_out(self, pending: PendingRevision) -> None:
        function, revision = pending.function, pending.revision
        rows = self._progress[function] = {}
        try:
            image = await self._images.pull(
                pending.image, pending.auth, lambda row: rows.__setitem__(row.layer, row)
            )
            version = await self._catalog.prepared(function, revision, image)
            self._scheduler.check_size(version)
            traffic = self._scheduler.traffic(function) if pending.has_current else 0
            await self._try(version, min(max(traffic, 1), MOST_WARMED), pending.has_current)
            await self._catalog.activate(function, revision)
            await self._follow(function)
            self._scheduler.cool(version)
            log.info("revision active", function=function, revision=revision, image=image.digest)
        except StartFailed as error:
            await self._reject(function, revision, error.failure)
        except NotFound:
            log.info("revision withdrawn", function=function, revision=revision)  # deleted meanwhile
        finally:
            self._progress.pop(function, None)
            self._working.discard((function, revision))

    async def _try(self, version: Version, count: int, has_current: bool) -> None:
        """See that it starts, before callers do. Raises: StartFailed, where another revision can go on serving.

        A function's first revision becomes active all the same: what it lacks (a database, say) may come yet. Why
        it did not start is kept with the function.
        """
        try:
            await self._warm(version, count)
        except StartFailed as error:
            if has_current:
                raise
            log.warning("first revision does not start", version=version.key, why=error.failure.message)

    async def _warm(self, version: Version, count: int) -> None:
        try:
            await self._scheduler.warm(version, count, PATIENCE)
        except StartFailed:
            self._scheduler.cool(version)
            raise
        except TimeoutError:
            self._scheduler.cool(version)
            why = f"{count} instances were not ready within {PATIENCE:g} seconds"
            raise StartFailed(Failure(FailureKind.ENGINE_FAILED, why)) from None

    async def _reject(self, function: str, revision: int, failure: Failure) -> None:
        reason = failure.message + last_lines(failure)
        log.warning("revision rejected", function=function, revision=revision, why=failure.message)
        with suppress(NotFound):
            await self._catalog.reject(function, revision, failure.kind.value, reason)


def _planned(function: str, plan: FunctionPlan | None) -> Planned:
    if plan is None:
        return Planned(function, ())
    targets = tuple(Target(item.version, item.minimum) for item in plan.versions)
    return Planned(function, targets, plan.max_instances)

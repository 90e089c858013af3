"""The catalog's front: its parts for people, and what the scheduler and the gateways ask of it."""

import time
from collections.abc import Callable

import msgspec

from sampan.catalog import plans
from sampan.catalog.access import Access
from sampan.catalog.domain_records import served
from sampan.catalog.domains import Domains
from sampan.catalog.functions import Functions
from sampan.catalog.limits import Limits
from sampan.catalog.plans import Defaults, FunctionPlan, PendingRevision
from sampan.catalog.records import load
from sampan.catalog.revisions import Revisions
from sampan.catalog.shelf import Shelf
from sampan.catalog.tags import Tags
from sampan.catalog.triggers import Triggers
from sampan.catalog.versions import Aliases, Versions
from sampan.link.messages import FunctionRoute, Routes
from sampan.model.access import AccessKey
from sampan.model.domain import Domain
from sampan.model.errors import DomainNotFound, Failure, FunctionNotFound
from sampan.model.image import Image
from sampan.model.names import VersionKey
from sampan.model.version import Version
from sampan.store.database import Database


class StartFailure(msgspec.Struct, frozen=True):
    """The last start of a function that failed."""

    version: VersionKey
    failure: Failure
    time: int  # Unix milliseconds


class Catalog:
    """Everything that exists."""

    def __init__(self, database: Database, defaults: Defaults, clock: Callable[[], int] = time.time_ns) -> None:
        """clock: Unix nanoseconds."""
        self._shelf = Shelf(database, defaults, clock)
        self._clock = clock
        self._failures: dict[str, StartFailure] = {}
        self.defaults = defaults
        self.changes = self._shelf.changes
        self.functions = Functions(self._shelf)
        self.revisions = Revisions(self._shelf)
        self.versions = Versions(self._shelf)
        self.aliases = Aliases(self._shelf)
        self.triggers = Triggers(self._shelf)
        self.domains = Domains(self._shelf)
        self.limits = Limits(self._shelf)
        self.tags = Tags(self._shelf)
        self.access = Access(self._shelf)

    # for the scheduler

    async def pending(self) -> list[PendingRevision]:
        """Revisions whose image is to be made local, then `prepared` and `activate`, or `reject`."""
        return await self.revisions.pending()

    async def prepared(self, function: str, revision: int, image: Image) -> Version:
        """The runnable LATEST that it will be. Raises: FunctionNotFound, VersionNotFound when withdrawn."""
        return await self.revisions.prepared(function, revision, image)

    async def activate(self, function: str, revision: int) -> None:
        """Raises: FunctionNotFound, VersionNotFound when withdrawn."""
        await self.revisions.activate(function, revision)

    async def reject(self, function: str, revision: int, code: str, reason: str) -> None:
        """Raises: FunctionNotFound, VersionNotFound when withdrawn."""
        await self.revisions.reject(function, revision, code, reason)

    async def plan(self, function: str) -> FunctionPlan | None:
        """What may run of a function; None: there is no such function."""
        try:
            return plans.plan(await self.functions.get(function), self.defaults)
        except FunctionNotFound:
            return None

    async def plans(self) -> list[FunctionPlan]:
        return [plans.plan(function, self.defaults) for function in await self.functions.all()]

    async def retained_images(self) -> frozenset[str]:
        """Digests of all images that some revision is made of."""
        async with self._shelf.database.read() as connection:
            found = await load(connection)
        revisions = [revision for function in found for revision in function.revisions.values()]
        return frozenset(revision.image.digest for revision in revisions if revision.image is not None)

    def note_failure(self, function: str, version: VersionKey, failure: Failure) -> None:
        """Remember, until the next one or a restart, why a start failed."""
        self._failures[function] = StartFailure(version, failure, self._clock() // 1_000_000)

    def last_failure(self, function: str) -> StartFailure | None:
        return self._failures.get(function)

    # for the gateways

    async def route(self, function: str) -> FunctionRoute | None:
        """Where calls of a function go; None: there is no such function."""
        try:
            return plans.route(await self.functions.get(function), self.defaults)
        except FunctionNotFound:
            return None

    async def domain(self, name: str) -> Domain | None:
        """A custom domain; None: there is no such one."""
        try:
            return served(await self.domains.get(name))
        except DomainNotFound:
            return None

    async def routes(self) -> Routes:
        functions = tuple(plans.route(function, self.defaults) for function in await self.functions.all())
        account, region = self.defaults.account, self.defaults.region
        return Routes(account, region, functions, await self.access.all(), await self.domains.served())

    async def tracing(self) -> dict[str, tuple[str, dict[str, str]]]:
        """Function → the type and the parameters of its tracingConfig, of those that have one."""
        found = {}
        for function in await self.functions.all():
            revision = function.revisions.get(function.current if function.current is not None else -1)
            config = revision.configuration.tracing if revision is not None else None
            if config is not None and config.type:
                found[function.name] = config.type, config.params or {}
        return found

    async def ensure_key(self, account: str) -> tuple[AccessKey, bool]:
        """The first access key of an account, and whether it was made just now."""
        return await self.access.ensure(account)

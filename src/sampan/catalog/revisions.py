"""The life of a revision: pending → prepared → current, or rejected."""

from sqlalchemy import delete, update
from sqlalchemy.ext.asyncio import AsyncConnection

from sampan.catalog import tables
from sampan.catalog.functions import encode
from sampan.catalog.plans import PendingRevision, pending, runnable
from sampan.catalog.records import Function, Revision, load, one
from sampan.catalog.shelf import Shelf, alter
from sampan.model.errors import VersionNotFound
from sampan.model.image import Image
from sampan.model.names import LATEST
from sampan.model.version import Version


class Revisions:
    """Revisions on their way into service."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    async def pending(self) -> list[PendingRevision]:
        """Everything that waits to be prepared."""
        async with self._shelf.database.read() as connection:
            found = [pending(function) for function in await load(connection)]
        return [one for one in found if one is not None]

    async def prepared(self, function: str, revision: int, image: Image) -> Version:
        """Keep the image that was pulled. Nobody is told: nothing that can be called has changed.

        Raises: FunctionNotFound, VersionNotFound when the revision is pending no more.
        """
        async with self._shelf.database.write() as connection:
            found = _pending(await one(connection, function), revision)
            owner = (tables.revisions.c.function == function) & (tables.revisions.c.revision == revision)
            await connection.execute(update(tables.revisions).where(owner).values(image=encode(image)))
        ready = Revision(found.revision, found.configuration, image, found.created)
        return runnable(function, LATEST, ready, self._shelf.defaults.keepalive)

    async def activate(self, function: str, revision: int) -> None:
        """A prepared revision serves LATEST from now on. Raises: FunctionNotFound, VersionNotFound."""
        async with self._shelf.change(function) as (connection, found):
            if _pending(found, revision).image is None:
                raise VersionNotFound(function, f"{LATEST}#{revision}")
            await alter(
                connection,
                function,
                current=revision,
                pending=None,
                state="Active",
                state_code="",
                state_reason="",
                update_status="Successful",
                update_code="",
                update_reason="",
            )
            await _forget_unused(connection, await one(connection, function))

    async def reject(self, function: str, revision: int, code: str, reason: str) -> None:
        """A pending revision will not come. The current one, if there is one, stays.

        Raises: FunctionNotFound, VersionNotFound.
        """
        async with self._shelf.change(function) as (connection, found):
            _pending(found, revision)
            status: dict[str, object] = {"pending": None}
            if found.current is None:
                status |= {"state": "Failed", "state_code": code, "state_reason": reason}
            if found.current is not None or found.update.state == "InProgress":
                status |= {"update_status": "Failed", "update_code": code, "update_reason": reason}
            await alter(connection, function, **status)
            await _forget_unused(connection, await one(connection, function))


def _pending(function: Function, revision: int) -> Revision:
    if function.pending != revision:
        raise VersionNotFound(function.name, f"{LATEST}#{revision}")
    return function.revisions[revision]


async def _forget_unused(connection: AsyncConnection, function: Function) -> None:
    """Revisions that are neither shown, nor current, nor published."""
    needed = {version.revision for version in function.versions.values()} | {function.newest().revision}
    if function.current is not None:
        needed.add(function.current)
    unused = set(function.revisions) - needed
    owner = (tables.revisions.c.function == function.name) & tables.revisions.c.revision.in_(unused)
    await connection.execute(delete(tables.revisions).where(owner))

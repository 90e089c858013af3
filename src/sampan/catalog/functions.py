"""Functions: made, changed, listed, deleted, and switched on and off."""

import uuid
from collections.abc import Callable

import msgspec
from sqlalchemy import delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from sampan.catalog import rules, tables
from sampan.catalog.configuration import Configuration, first, merged, names_image
from sampan.catalog.domain_records import refuse_if_routed
from sampan.catalog.records import Function, load, one
from sampan.catalog.shelf import Shelf, alter
from sampan.model.errors import ConcurrentUpdate, FunctionAlreadyExists, FunctionNotEmpty
from sampan.wire.shapes import CreateFunctionInput, UpdateFunctionInput

CHUNK = 100  # functions read at once while a filter looks for a page of them


def encode(value: object) -> str:
    return msgspec.json.encode(value).decode()


class Functions:
    """Functions and the making of their revisions."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    async def get(self, name: str) -> Function:
        """Raises: FunctionNotFound."""
        return await self._shelf.get(name)

    async def create(self, given: CreateFunctionInput) -> Function:
        """A new function; its first revision is pending. Raises: InvalidArgument, FunctionAlreadyExists."""
        name = rules.function_name(given.function_name)
        configuration, tags = first(given), rules.tags(given.tags or ())
        rules.configuration(configuration)
        now = self._shelf.now()
        async with self._shelf.database.write() as connection:
            taken = select(tables.functions.c.name).where(tables.functions.c.name == name)
            if (await connection.execute(taken)).first() is not None:
                raise FunctionAlreadyExists(name)
            revision = await _first_revision(connection, name)
            await connection.execute(
                insert(tables.functions).values(
                    name=name,
                    id=str(uuid.uuid4()),
                    created=now,
                    modified=now,
                    description=rules.description(given.description),
                    next_revision=revision,
                    next_version=1,
                    state="Pending",
                    state_code="Creating",
                    state_reason="Function creating",
                    update_status="Successful",
                    update_code="",
                    update_reason="",
                )
            )
            for key, value in tags.items():
                await connection.execute(insert(tables.tags).values(function=name, key=key, value=value))
            await self._revise(connection, await one(connection, name), configuration)
            function = await one(connection, name)
        self._shelf.changes.tell(name)
        return function

    async def update(self, name: str, given: UpdateFunctionInput) -> Function:
        """A description changes at once; anything else makes a pending revision, the current one stays meanwhile.

        Naming an image, even the same one, has its name resolved anew.
        Raises: FunctionNotFound, InvalidArgument, ConcurrentUpdate.
        """
        async with self._shelf.change(name) as (connection, function):
            old = function.newest().configuration
            new = merged(old, given)
            rules.configuration(new)
            if given.description is not None:
                await alter(connection, name, description=rules.description(given.description))
            if new != old or names_image(given):
                if function.pending is not None:
                    raise ConcurrentUpdate(name)
                await self._revise(connection, function, new)
                status = {"update_status": "InProgress", "update_code": "ImageOptimizing", "update_reason": ""}
                if function.current is None:
                    status |= {"state": "Pending", "state_code": "Creating", "state_reason": "Function creating"}
                await alter(connection, name, **status)
            await alter(connection, name, modified=self._shelf.now())
            return await one(connection, name)

    async def delete(self, name: str) -> None:
        """The function and its versions. Raises: FunctionNotFound, FunctionNotEmpty, DomainRoutesHere."""
        async with self._shelf.change(name) as (connection, function):
            for what, some in (("triggers", function.triggers), ("aliases", function.aliases)):
                if some:
                    raise FunctionNotEmpty(name, f"active {what} ({', '.join(some)})")
            await refuse_if_routed(connection, name, None, f"function '{name}'")
            await connection.execute(delete(tables.retired).where(tables.retired.c.name == name))
            next_revision = function.next_revision
            await connection.execute(insert(tables.retired).values(name=name, next_revision=next_revision))
            await connection.execute(delete(tables.functions).where(tables.functions.c.name == name))

    async def page(
        self, prefix: str, after: str, limit: int, wanted: Callable[[Function], bool] = lambda _: True
    ) -> tuple[list[Function], str]:
        """At most `limit` functions by name, beginning behind `after`; and the name to go on after, or ""."""
        found: list[Function] = []
        async with self._shelf.database.read() as connection:
            while names := await _names(connection, prefix, after):
                found += [function for function in await load(connection, names) if wanted(function)]
                if len(found) > limit:
                    return found[:limit], found[limit - 1].name
                after = names[-1]
        return found, ""

    async def all(self) -> list[Function]:
        async with self._shelf.database.read() as connection:
            return await load(connection)

    async def disable(self, name: str, reason: str) -> None:
        """Refuse all calls from now on. Raises: FunctionNotFound."""
        async with self._shelf.change(name) as (connection, _):
            await alter(connection, name, disabled=reason, disabled_at=self._shelf.now())

    async def enable(self, name: str) -> None:
        """Raises: FunctionNotFound."""
        async with self._shelf.change(name) as (connection, _):
            await alter(connection, name, disabled=None, disabled_at=self._shelf.now())

    async def _revise(self, connection: AsyncConnection, function: Function, configuration: Configuration) -> None:
        number = function.next_revision
        if function.current is None and function.revisions:  # the ones that never became active
            await connection.execute(delete(tables.revisions).where(tables.revisions.c.function == function.name))
        await connection.execute(
            insert(tables.revisions).values(
                function=function.name,
                revision=number,
                configuration=encode(configuration),
                created=self._shelf.now(),
            )
        )
        await alter(connection, function.name, pending=number, next_revision=number + 1)


async def _first_revision(connection: AsyncConnection, name: str) -> int:
    query = select(tables.retired.c.next_revision).where(tables.retired.c.name == name)
    return (await connection.execute(query)).scalar() or 1


async def _names(connection: AsyncConnection, prefix: str, after: str) -> list[str]:
    name = tables.functions.c.name
    query = select(name).where(name > after, func.substr(name, 1, len(prefix)) == prefix)
    return list((await connection.execute(query.order_by(name).limit(CHUNK))).scalars())

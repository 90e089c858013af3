"""Custom domains: hosts of the users' own, and which functions answer at their paths.

A function, version or alias that a domain routes to cannot be deleted while it does: the route would go to whoever
takes the name next. A trigger can; until there is one again the route answers 404 and names it.
"""

from collections.abc import Collection

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from sampan.catalog import domain_rules, tables
from sampan.catalog.changes import Kind
from sampan.catalog.domain_records import DomainRecord, load, one, served
from sampan.catalog.functions import encode
from sampan.catalog.records import load as load_functions
from sampan.catalog.shelf import Shelf
from sampan.model.domain import Domain
from sampan.model.errors import DomainAlreadyExists, FunctionNotFound, TriggerNotFound
from sampan.wire.domain_shapes import CreateCustomDomainInput, PathConfig, UpdateCustomDomainInput


class Domains:
    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    async def create(self, given: CreateCustomDomainInput) -> DomainRecord:
        """Raises: InvalidArgument, FieldNotSupported, DomainAlreadyExists; NotFound for what a route names."""
        name = domain_rules.domain_name(given.domain_name, self._shelf.defaults.domain)
        now = self._shelf.now()
        config = domain_rules.merged(name, UpdateCustomDomainInput(), given, now / 1e6)
        record = DomainRecord(name, config, now, now)
        async with self._shelf.database.write() as connection:
            taken = select(tables.domains.c.name).where(tables.domains.c.name == name)
            if (await connection.execute(taken)).first() is not None:
                raise DomainAlreadyExists(name)
            await _check_targets(connection, record.routes)
            row = {"name": name, "config": encode(config), "created": now, "modified": now}
            await connection.execute(insert(tables.domains).values(row))
        self._shelf.changes.tell(name, Kind.DOMAIN)
        return record

    async def update(self, name: str, given: UpdateCustomDomainInput) -> DomainRecord:
        """Raises: DomainNotFound, InvalidArgument, FieldNotSupported; NotFound for what a new route names."""
        name, now = name.lower(), self._shelf.now()
        async with self._shelf.database.write() as connection:
            old = await one(connection, name)
            config = domain_rules.merged(name, old.config, given, now / 1e6)
            record = DomainRecord(name, config, old.created, now)
            await _check_targets(connection, [route for route in record.routes if route not in old.routes])
            changed = update(tables.domains).where(tables.domains.c.name == name)
            await connection.execute(changed.values(config=encode(config), modified=now))
        self._shelf.changes.tell(name, Kind.DOMAIN)
        return record

    async def delete(self, name: str) -> None:
        """Raises: DomainNotFound."""
        name = name.lower()
        async with self._shelf.database.write() as connection:
            await one(connection, name)
            await connection.execute(delete(tables.domains).where(tables.domains.c.name == name))
        self._shelf.changes.tell(name, Kind.DOMAIN)

    async def get(self, name: str) -> DomainRecord:
        """Raises: DomainNotFound."""
        async with self._shelf.database.read() as connection:
            return await one(connection, name.lower())

    async def matching(self, prefix: str) -> list[DomainRecord]:
        """Those whose name begins so, by name."""
        async with self._shelf.database.read() as connection:
            return [record for record in await load(connection) if record.name.startswith(prefix.lower())]

    async def served(self) -> tuple[Domain, ...]:
        """All, as gateways get them."""
        return tuple(served(record) for record in await self.matching(""))


async def _check_targets(connection: AsyncConnection, routes: Collection[PathConfig]) -> None:
    """Whoever a route goes to must be there, with an HTTP trigger. Raises: NotFound, of what is missing."""
    wanted = sorted({route.function_name or "" for route in routes})
    functions = {function.name: function for function in await load_functions(connection, wanted)}
    for route in routes:
        function = functions.get(route.function_name or "")
        if function is None:
            raise FunctionNotFound(route.function_name or "")
        qualifier = route.qualifier or ""
        function.at(qualifier)
        if not any(trigger.qualifier == qualifier for trigger in function.triggers.values()):
            raise TriggerNotFound(function.name, f"http ({qualifier})")

"""Published versions and the aliases that point at them."""

from collections.abc import Mapping

from sqlalchemy import delete, insert, update

from sampan.catalog import rules, tables
from sampan.catalog.domain_records import refuse_if_routed
from sampan.catalog.functions import encode
from sampan.catalog.records import Alias, Function, PublishedVersion, Revision
from sampan.catalog.shelf import Shelf, alter
from sampan.model.errors import AliasAlreadyExists, Conflict, InvalidArgument, NothingToPublish, VersionInUse
from sampan.model.names import LATEST, VersionKey, version_key
from sampan.wire.shapes import CreateAliasInput, UpdateAliasInput


class Versions:
    """Frozen revisions under a number that is never used again."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    async def publish(self, function: str, description: str | None) -> PublishedVersion:
        """Freeze the current revision. Raises: FunctionNotFound, FunctionNotActive, NothingToPublish."""
        text = rules.description(description)
        async with self._shelf.change(function) as (connection, found):
            active = found.active()
            if found.versions:
                last = list(found.versions.values())[-1]
                if _same(found.revisions[last.revision], active):
                    raise NothingToPublish(function, last.id)
            number, now = found.next_version, self._shelf.now()
            await connection.execute(
                insert(tables.versions).values(
                    function=function, version=number, revision=active.revision, description=text, created=now
                )
            )
            await alter(connection, function, next_version=number + 1)
        return PublishedVersion(str(number), active.revision, text, now)

    async def delete(self, function: str, version: str) -> None:
        """Raises: FunctionNotFound, VersionNotFound, VersionInUse, DomainRoutesHere, InvalidArgument (LATEST)."""
        if version == LATEST:
            raise InvalidArgument("versionId", version, "a published version; LATEST goes with its function")
        async with self._shelf.change(function) as (connection, found):
            gone = found.version(version)
            for alias in found.aliases.values():
                if version == alias.version or version in alias.weights:
                    raise VersionInUse(function, version, f"alias '{alias.name}'")
            for trigger in found.triggers.values():
                if version == trigger.qualifier:
                    raise VersionInUse(function, version, f"trigger '{trigger.name}'")
            await refuse_if_routed(connection, function, version, f"version '{version}' of function '{function}'")
            owner = (tables.versions.c.function == function) & (tables.versions.c.version == int(version))
            await connection.execute(delete(tables.versions).where(owner))
            users = [one for one in found.versions.values() if one.revision == gone.revision]
            if len(users) == 1 and gone.revision not in (found.current, found.pending):
                of = (tables.revisions.c.function == function) & (tables.revisions.c.revision == gone.revision)
                await connection.execute(delete(tables.revisions).where(of))


class Aliases:
    """Names for versions, with shares of the calls."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    async def foreseen(self, function: str, alias: str | None, given: UpdateAliasInput) -> list[VersionKey]:
        """The versions that would get calls if `given` were carried out and that the alias does not have now.

        `alias` None: it is to be created. Raises: as `create` and `update` would.
        """
        found = await self._shelf.get(function)
        if alias is None:
            before, after = {}, _new(found, given, 0).shares()
        else:
            old = found.alias(alias)
            before, after = old.shares(), _changed(found, old, given, 0).shares()
        return [version_key(function, id_, found.version(id_).revision) for id_ in after if id_ not in before]

    async def create(self, function: str, given: CreateAliasInput) -> Alias:
        """Raises: FunctionNotFound, VersionNotFound, AliasAlreadyExists, InvalidArgument."""
        async with self._shelf.change(function) as (connection, found):
            alias = _new(found, given, self._shelf.now())
            row = {"function": function, "created": alias.created, "name": alias.name, **_columns(alias)}
            await connection.execute(insert(tables.aliases).values(row))
        return alias

    async def update(self, function: str, name: str, given: UpdateAliasInput) -> Alias:
        """Raises: FunctionNotFound, AliasNotFound, VersionNotFound, InvalidArgument."""
        async with self._shelf.change(function) as (connection, found):
            alias = _changed(found, found.alias(name), given, self._shelf.now())
            owner = (tables.aliases.c.function == function) & (tables.aliases.c.name == name)
            await connection.execute(update(tables.aliases).where(owner).values(_columns(alias)))
        return alias

    async def delete(self, function: str, name: str) -> None:
        """With its provision and scaling configs.

        Raises: FunctionNotFound, AliasNotFound, Conflict, DomainRoutesHere.
        """
        async with self._shelf.change(function) as (connection, found):
            found.alias(name)
            for trigger in found.triggers.values():
                if name == trigger.qualifier:
                    raise Conflict(f"alias '{name}' is used by trigger '{trigger.name}'; change that first")
            await refuse_if_routed(connection, function, name, f"alias '{name}' of function '{function}'")
            owner = (tables.aliases.c.function == function) & (tables.aliases.c.name == name)
            await connection.execute(delete(tables.aliases).where(owner))
            for table in (tables.provision, tables.scaling):
                of = (table.c.function == function) & (table.c.qualifier == name)
                await connection.execute(delete(table).where(of))


def _same(one: Revision, other: Revision) -> bool:
    """Whether two revisions run the same: the same configuration, and its image the same to the byte."""
    if one.configuration != other.configuration or one.image is None or other.image is None:
        return False
    return one.image.digest == other.image.digest


def _new(function: Function, given: UpdateAliasInput, now: int) -> Alias:
    name = rules.alias_name(getattr(given, "alias_name", None))
    if name in function.aliases:
        raise AliasAlreadyExists(function.name, name)
    version = rules.version_id("versionId", given.version_id)
    return _checked(
        function,
        Alias(
            name=name,
            version=version,
            weights=_without_zeros(given.additional_version_weight or {}),
            description=rules.description(given.description),
            created=now,
            modified=now,
        ),
    )


def _changed(function: Function, alias: Alias, given: UpdateAliasInput, now: int) -> Alias:
    version, weights = alias.version, alias.weights
    if given.version_id is not None:
        version = rules.version_id("versionId", given.version_id)
        weights = {id_: weight for id_, weight in weights.items() if id_ != version}
    if given.additional_version_weight is not None:
        weights = _without_zeros(given.additional_version_weight)
    description = alias.description if given.description is None else rules.description(given.description)
    return _checked(function, Alias(alias.name, version, weights, description, alias.created, now))


def _checked(function: Function, alias: Alias) -> Alias:
    rules.weights(alias.version, alias.weights)
    for id_ in (alias.version, *alias.weights):
        function.version(id_)
    return alias


def _without_zeros(weights: Mapping[str, float]) -> dict[str, float]:
    return {id_: weight for id_, weight in weights.items() if weight != 0}


def _columns(alias: Alias) -> dict[str, object]:
    return {
        "version": alias.version,
        "weights": encode(alias.weights),
        "description": alias.description,
        "modified": alias.modified,
    }

"""The catalog's contents as values, and how they are read: one function with all that hangs on it, or many."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Select, Table, select
from sqlalchemy.ext.asyncio import AsyncConnection

from sampan.catalog import tables
from sampan.catalog.configuration import Configuration
from sampan.model.errors import (
    AliasNotFound,
    FunctionNotActive,
    FunctionNotFound,
    TriggerNotFound,
    VersionNotFound,
)
from sampan.model.image import Image
from sampan.model.names import LATEST, VERSION_ID
from sampan.wire.limit_shapes import PutProvisionConfigInput, PutScalingConfigInput
from sampan.wire.shapes import HttpTriggerConfig


class Revision(msgspec.Struct, frozen=True):
    """One configuration of a function; its image once that is local."""

    revision: int
    configuration: Configuration
    image: Image | None
    created: int  # Unix microseconds, as all times here


class PublishedVersion(msgspec.Struct, frozen=True):
    id: str
    revision: int
    description: str
    created: int


class Alias(msgspec.Struct, frozen=True):
    name: str
    version: str
    weights: dict[str, float]  # of additional versions; the main one has the rest
    description: str
    created: int
    modified: int

    def shares(self) -> dict[str, float]:
        """Every version behind the alias and its share of calls; those that get none are left out."""
        shares = {self.version: max(0.0, round(1.0 - sum(self.weights.values()), 9)), **self.weights}
        return {version: share for version, share in shares.items() if share > 0}


class Trigger(msgspec.Struct, frozen=True):
    name: str
    id: str
    type: str
    qualifier: str
    config: HttpTriggerConfig
    description: str
    role: str
    created: int
    modified: int


class Status(msgspec.Struct, frozen=True):
    """A state for programs, a code and a reason for people."""

    state: str
    code: str = ""
    reason: str = ""


class Function(msgspec.Struct, frozen=True):
    """A function and everything that hangs on it."""

    name: str
    id: str
    created: int
    modified: int
    description: str
    current: int | None  # the revision that serves LATEST
    pending: int | None  # the revision being prepared
    next_revision: int
    next_version: int
    state: Status  # Pending, Active, Failed
    update: Status  # Successful, InProgress, Failed
    disabled: str | None  # why invocation is disabled; None: enabled
    disabled_at: int | None
    revisions: dict[int, Revision]
    versions: dict[str, PublishedVersion]  # oldest first
    aliases: dict[str, Alias]
    triggers: dict[str, Trigger]
    reserved: int | None
    provision: dict[str, PutProvisionConfigInput]  # by qualifier
    scaling: dict[str, PutScalingConfigInput]  # by qualifier
    tags: dict[str, str]

    def newest(self) -> Revision:
        """What an update builds on and people are shown: being prepared, else current, else the one that failed."""
        number = self.pending if self.pending is not None else self.current
        return self.revisions[max(self.revisions) if number is None else number]

    def active(self) -> Revision:
        """Raises: FunctionNotActive."""
        if self.current is None:
            raise FunctionNotActive(self.name, self.state.state)
        return self.revisions[self.current]

    def version(self, id_: str) -> PublishedVersion:
        """Raises: VersionNotFound."""
        if id_ not in self.versions:
            raise VersionNotFound(self.name, id_)
        return self.versions[id_]

    def alias(self, name: str) -> Alias:
        """Raises: AliasNotFound."""
        if name not in self.aliases:
            raise AliasNotFound(self.name, name)
        return self.aliases[name]

    def trigger(self, name: str) -> Trigger:
        """Raises: TriggerNotFound."""
        if name not in self.triggers:
            raise TriggerNotFound(self.name, name)
        return self.triggers[name]

    def at(self, qualifier: str) -> Revision:
        """What a qualifier means now; of an alias its main version. Raises: VersionNotFound, AliasNotFound."""
        if qualifier == LATEST:
            return self.newest()
        version = qualifier if VERSION_ID.match(qualifier) else self.alias(qualifier).version
        return self.revisions[self.version(version).revision]


async def load(connection: AsyncConnection, names: Sequence[str] | None = None) -> list[Function]:
    """The functions of these names, or all, by name."""
    rows = {}
    for table in (tables.functions, *_PARTS):
        rows[table.name] = (await connection.execute(_of(table, names))).mappings().all()
    parts: dict[str, dict[str, list[Any]]] = {name: defaultdict(list) for name in rows}
    for table in _PARTS:
        for row in rows[table.name]:
            parts[table.name][row["function"]].append(row)
    return [_function(row, parts) for row in rows["functions"]]


async def one(connection: AsyncConnection, name: str) -> Function:
    """Raises: FunctionNotFound."""
    found = await load(connection, [name])
    if not found:
        raise FunctionNotFound(name)
    return found[0]


_PARTS = (
    tables.revisions,
    tables.versions,
    tables.aliases,
    tables.triggers,
    tables.concurrency,
    tables.provision,
    tables.scaling,
    tables.tags,
)

_read = msgspec.json.decode


def _of(table: Table, names: Sequence[str] | None) -> Select[Any]:
    owner = table.c.name if table is tables.functions else table.c.function
    query = select(table).order_by(*table.primary_key.columns)
    return query if names is None else query.where(owner.in_(names))


def _function(row: Any, parts: dict[str, dict[str, list[Any]]]) -> Function:
    def of(table: Table) -> list[Any]:
        return parts[table.name][row["name"]]

    return Function(
        name=row["name"],
        id=row["id"],
        created=row["created"],
        modified=row["modified"],
        description=row["description"],
        current=row["current"],
        pending=row["pending"],
        next_revision=row["next_revision"],
        next_version=row["next_version"],
        state=Status(row["state"], row["state_code"], row["state_reason"]),
        update=Status(row["update_status"], row["update_code"], row["update_reason"]),
        disabled=row["disabled"],
        disabled_at=row["disabled_at"],
        revisions={r["revision"]: _revision(r) for r in of(tables.revisions)},
        versions={str(r["version"]): _version(r) for r in of(tables.versions)},
        aliases={r["name"]: _alias(r) for r in of(tables.aliases)},
        triggers={r["name"]: _trigger(r) for r in of(tables.triggers)},
        reserved=next((r["reserved"] for r in of(tables.concurrency)), None),
        provision={r["qualifier"]: _read(r["config"], type=PutProvisionConfigInput) for r in of(tables.provision)},
        scaling={r["qualifier"]: _read(r["config"], type=PutScalingConfigInput) for r in of(tables.scaling)},
        tags={r["key"]: r["value"] for r in of(tables.tags)},
    )


def _revision(row: Any) -> Revision:
    image = None if row["image"] is None else _read(row["image"], type=Image)
    configuration = _read(row["configuration"], type=Configuration)
    return Revision(row["revision"], configuration, image, row["created"])


def _version(row: Any) -> PublishedVersion:
    return PublishedVersion(str(row["version"]), row["revision"], row["description"], row["created"])


def _alias(row: Any) -> Alias:
    weights = _read(row["weights"], type=dict[str, float])
    return Alias(row["name"], row["version"], weights, row["description"], row["created"], row["modified"])


def _trigger(row: Any) -> Trigger:
    return Trigger(
        name=row["name"],
        id=row["id"],
        type=row["type"],
        qualifier=row["qualifier"],
        config=_read(row["config"], type=HttpTriggerConfig),
        description=row["description"],
        role=row["role"],
        created=row["created"],
        modified=row["modified"],
    )

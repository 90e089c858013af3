"""Triggers: so far those of type `http`, one per version or alias."""

import uuid

import msgspec
from sqlalchemy import delete, insert, update

from sampan.catalog import rules, tables
from sampan.catalog.functions import encode
from sampan.catalog.records import Function, Trigger
from sampan.catalog.shelf import Shelf
from sampan.model.errors import Conflict, InvalidArgument, TriggerAlreadyExists
from sampan.model.names import LATEST
from sampan.wire.shapes import CreateTriggerInput, HttpTriggerConfig, UpdateTriggerInput, read


class Triggers:
    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    async def create(self, function: str, given: CreateTriggerInput) -> Trigger:
        """Raises: FunctionNotFound, TriggerAlreadyExists, Conflict, InvalidArgument, FieldNotSupported."""
        now = self._shelf.now()
        trigger = Trigger(
            name=rules.trigger_name(given.trigger_name),
            id=str(uuid.uuid4()),
            type=rules.trigger_type(given.trigger_type),
            qualifier=given.qualifier or LATEST,
            config=_config(given.trigger_config),
            description=rules.description(given.description),
            role=given.invocation_role or "",
            created=now,
            modified=now,
        )
        async with self._shelf.change(function) as (connection, found):
            if trigger.name in found.triggers:
                raise TriggerAlreadyExists(function, trigger.name)
            _check_qualifier(found, trigger)
            row = {"function": function, **msgspec.structs.asdict(trigger), "config": encode(trigger.config)}
            await connection.execute(insert(tables.triggers).values(row))
        return trigger

    async def update(self, function: str, name: str, given: UpdateTriggerInput) -> Trigger:
        """Raises: FunctionNotFound, TriggerNotFound, Conflict, InvalidArgument, FieldNotSupported."""
        async with self._shelf.change(function) as (connection, found):
            old = found.trigger(name)
            new = msgspec.structs.replace(
                old,
                qualifier=given.qualifier or old.qualifier,
                config=old.config if given.trigger_config is None else _config(given.trigger_config),
                description=old.description if given.description is None else rules.description(given.description),
                role=old.role if given.invocation_role is None else given.invocation_role,
                modified=self._shelf.now(),
            )
            _check_qualifier(found, new)
            row = {**msgspec.structs.asdict(new), "config": encode(new.config)}
            owner = (tables.triggers.c.function == function) & (tables.triggers.c.name == name)
            await connection.execute(update(tables.triggers).where(owner).values(row))
        return new

    async def delete(self, function: str, name: str) -> None:
        """Raises: FunctionNotFound, TriggerNotFound."""
        async with self._shelf.change(function) as (connection, found):
            found.trigger(name)
            owner = (tables.triggers.c.function == function) & (tables.triggers.c.name == name)
            await connection.execute(delete(tables.triggers).where(owner))


def _config(given: str | None) -> HttpTriggerConfig:
    if not given:
        raise InvalidArgument("triggerConfig", given, "a JSON object in a string")
    return rules.http_trigger(read(given, HttpTriggerConfig, "triggerConfig"))


def _check_qualifier(function: Function, trigger: Trigger) -> None:
    function.at(trigger.qualifier)
    for other in function.triggers.values():
        if other.qualifier == trigger.qualifier and other.name != trigger.name:
            raise Conflict(
                f"qualifier '{trigger.qualifier}' of function '{function.name}' has an HTTP trigger already, "
                f"'{other.name}'; there is one per version or alias"
            )

"""How many instances: reserved (at most so many), provisioned and scaled (at least so many)."""

import msgspec
from sqlalchemy import delete, func, insert, select

from sampan.catalog import rules, tables
from sampan.catalog.functions import encode
from sampan.catalog.records import Function
from sampan.catalog.shelf import Shelf
from sampan.model.errors import (
    ConcurrencyConfigNotFound,
    FieldNotSupported,
    InvalidArgument,
    ScalingConfigClash,
)
from sampan.model.names import LATEST
from sampan.wire.limit_shapes import PutProvisionConfigInput, PutScalingConfigInput

_OF = {PutProvisionConfigInput: tables.provision, PutScalingConfigInput: tables.scaling}


class Limits:
    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    async def reserve(self, function: str, reserved: int | None) -> int:
        """Instances a function may have at most; 0 lets none run.

        Reservations may add up to 90 % of the account's instances. Source: function-compute-api.md §8.5.
        Raises: FunctionNotFound, InvalidArgument.
        """
        if reserved is None:
            raise InvalidArgument("reservedConcurrency", None, "a number of instances")
        most = int(self._shelf.defaults.max_instances * rules.RESERVABLE)
        async with self._shelf.change(function) as (connection, _):
            column = tables.concurrency.c.reserved
            others = select(func.coalesce(func.sum(column), 0)).where(tables.concurrency.c.function != function)
            free = max(0, most - int((await connection.execute(others)).scalar_one()))
            if not 0 <= reserved <= free:
                allowed = f"0–{free}: reservations may add up to 90 % of the account's instances, {most}"
                raise InvalidArgument("reservedConcurrency", reserved, allowed)
            await connection.execute(delete(tables.concurrency).where(tables.concurrency.c.function == function))
            await connection.execute(insert(tables.concurrency).values(function=function, reserved=reserved))
        return reserved

    async def unreserve(self, function: str) -> None:
        """Raises: FunctionNotFound, ConcurrencyConfigNotFound."""
        async with self._shelf.change(function) as (connection, found):
            if found.reserved is None:
                raise ConcurrencyConfigNotFound(function)
            await connection.execute(delete(tables.concurrency).where(tables.concurrency.c.function == function))

    async def provision(self, function: str, qualifier: str, given: PutProvisionConfigInput) -> Function:
        """Keep so many instances. Raises: FunctionNotFound, AliasNotFound, InvalidArgument, ScalingConfigClash."""
        for field, value in (("defaultTarget", given.default_target), ("target", given.target)):
            if value is not None:
                rules.in_range(field, value, 0, rules.MAX_TARGET, "instances")
        _refuse("scheduledActions", given.scheduled_actions)
        _refuse("targetTrackingPolicies", given.target_tracking_policies)
        return await self._put(function, qualifier, given)

    async def scale(self, function: str, qualifier: str, given: PutScalingConfigInput) -> Function:
        """As `provision`, in FC's newer words."""
        if given.min_instances is not None:
            rules.in_range("minInstances", given.min_instances, 0, rules.MAX_TARGET, "instances")
        _refuse("horizontalScalingPolicies", given.horizontal_scaling_policies)
        _refuse("scheduledPolicies", given.scheduled_policies)
        _refuse("residentPoolId", given.resident_pool_id)
        if given.enable_on_demand_scaling is False:
            raise FieldNotSupported("enableOnDemandScaling", False, "instances are always added as calls need them")
        return await self._put(function, qualifier, given)

    async def unprovision(self, function: str, qualifier: str) -> None:
        """Raises: FunctionNotFound, AliasNotFound."""
        await self._put(function, qualifier, PutProvisionConfigInput())

    async def unscale(self, function: str, qualifier: str) -> None:
        """Raises: FunctionNotFound, AliasNotFound."""
        await self._put(function, qualifier, PutScalingConfigInput())

    async def _put(
        self, function: str, qualifier: str, given: PutProvisionConfigInput | PutScalingConfigInput
    ) -> Function:
        async with self._shelf.change(function) as (connection, found):
            check_scalable(found, qualifier)
            asks = _number(given)
            if asks and isinstance(given, PutScalingConfigInput) and qualifier in found.provision:
                raise ScalingConfigClash(function, qualifier, "provision")
            if asks and isinstance(given, PutProvisionConfigInput) and qualifier in found.scaling:
                raise ScalingConfigClash(function, qualifier, "scaling")
            table = _OF[type(given)]
            owner = (table.c.function == function) & (table.c.qualifier == qualifier)
            await connection.execute(delete(table).where(owner))
            if asks:
                row = {"function": function, "qualifier": qualifier, "config": encode(given)}
                await connection.execute(insert(table).values(row))
        return await self._shelf.get(function)


def check_scalable(function: Function, qualifier: str) -> None:
    """Source: function-compute-api.md §7.3. Raises: AliasNotFound, InvalidArgument."""
    if qualifier != LATEST:
        if qualifier in function.versions:
            raise InvalidArgument("qualifier", qualifier, f"{LATEST} or an alias, not a version")
        function.alias(qualifier)


def _number(given: PutProvisionConfigInput | PutScalingConfigInput) -> int:
    if isinstance(given, PutScalingConfigInput):
        return given.min_instances or 0
    return (given.target if given.default_target is None else given.default_target) or 0


def _refuse(field: str, given: object) -> None:
    if given:
        shown = given if isinstance(given, str) else msgspec.to_builtins(given)
        raise FieldNotSupported(field, shown, "set a number of instances instead")

"""Reserved concurrency, provisioned instances and scaling configs."""

from collections.abc import Sequence

from sampan.api.call import Call, Reply
from sampan.catalog.limits import check_scalable
from sampan.catalog.plans import target
from sampan.catalog.records import Function
from sampan.model.errors import ConcurrencyConfigNotFound
from sampan.model.names import LATEST, function_arn, version_key
from sampan.wire import limit_shapes as shapes


async def put_concurrency(call: Call) -> Reply:
    given = call.read(shapes.PutConcurrencyInput)
    reserved = await call.catalog.limits.reserve(call.function, given.reserved_concurrency)
    return shapes.ConcurrencyConfig(function_arn=_arn(call, call.function), reserved_concurrency=reserved)


async def get_concurrency(call: Call) -> Reply:
    function = await call.catalog.functions.get(call.function)
    if function.reserved is None:
        raise ConcurrencyConfigNotFound(call.function)
    return shapes.ConcurrencyConfig(function_arn=_arn(call, call.function), reserved_concurrency=function.reserved)


async def delete_concurrency(call: Call) -> Reply:
    await call.catalog.limits.unreserve(call.function)
    return None


async def list_concurrency(call: Call) -> Reply:
    page, token = call.page(
        [
            (function.name, function.reserved)
            for function in await _functions(call)
            if function.reserved is not None
        ],
        lambda item: item[0],
    )
    configs = [
        shapes.ConcurrencyConfig(function_arn=_arn(call, name), reserved_concurrency=reserved)
        for name, reserved in page
    ]
    return shapes.ConcurrencyConfigs(configs=tuple(configs), next_token=token)


async def put_provision(call: Call) -> Reply:
    given = call.read(shapes.PutProvisionConfigInput)
    return _provision(call, await call.catalog.limits.provision(call.function, call.qualifier, given))


async def get_provision(call: Call) -> Reply:
    """Zeros where nothing was put, never 404. Source: function-compute-api.md §8.6."""
    return _provision(call, await _scalable(call))


async def delete_provision(call: Call) -> Reply:
    await call.catalog.limits.unprovision(call.function, call.qualifier)
    return None


async def list_provision(call: Call) -> Reply:
    pairs = [(function, qualifier) for function in await _functions(call) for qualifier in function.provision]
    page, token = call.page(sorted(pairs, key=_order), _order)
    configs = tuple(_provision(call, function, qualifier) for function, qualifier in page)
    return shapes.ProvisionConfigs(provision_configs=configs, next_token=token)


async def put_scaling(call: Call) -> Reply:
    given = call.read(shapes.PutScalingConfigInput)
    return _scaling(call, await call.catalog.limits.scale(call.function, call.qualifier, given))


async def get_scaling(call: Call) -> Reply:
    return _scaling(call, await _scalable(call))


async def delete_scaling(call: Call) -> Reply:
    await call.catalog.limits.unscale(call.function, call.qualifier)
    return None


async def list_scaling(call: Call) -> Reply:
    pairs = [(function, qualifier) for function in await _functions(call) for qualifier in function.scaling]
    page, token = call.page(sorted(pairs, key=_order), _order)
    configs = tuple(_scaling(call, function, qualifier) for function, qualifier in page)
    return shapes.ScalingConfigs(scaling_configs=configs, next_token=token)


async def _functions(call: Call) -> Sequence[Function]:
    if name := call.query.get("functionName"):
        return [await call.catalog.functions.get(name)]
    return await call.catalog.functions.all()


async def _scalable(call: Call) -> Function:
    function = await call.catalog.functions.get(call.function)
    check_scalable(function, call.qualifier)
    return function


def _order(pair: tuple[Function, str]) -> str:
    return f"{pair[0].name}/{pair[1]}"


def _provision(call: Call, function: Function, qualifier: str | None = None) -> shapes.ProvisionConfig:
    """`alwaysAllocateCPU` is told as it is: idle instances are frozen, provisioned ones too."""
    at = qualifier or call.qualifier
    wanted = target(function, at) if at in function.provision else 0
    return shapes.ProvisionConfig(
        function_arn=_arn(call, function.name, at),
        default_target=wanted,
        target=wanted,
        current=_running(call, function, at),
        always_allocate_cpu=False,
        always_allocate_gpu=False,
    )


def _scaling(call: Call, function: Function, qualifier: str | None = None) -> shapes.ScalingConfig:
    at = qualifier or call.qualifier
    wanted = target(function, at) if at in function.scaling else 0
    return shapes.ScalingConfig(
        function_arn=_arn(call, function.name, at),
        min_instances=wanted,
        target_instances=wanted,
        current_instances=_running(call, function, at),
        enable_on_demand_scaling=True,
    )


def _running(call: Call, function: Function, qualifier: str) -> int:
    """Instances that serve a qualifier now."""
    if qualifier == LATEST:
        keys = [] if function.current is None else [version_key(function.name, LATEST, function.current)]
    else:
        shares = function.alias(qualifier).shares()
        keys = [version_key(function.name, id_, function.version(id_).revision) for id_ in shares]
    return sum(call.platform.instances.counts(key) for key in keys)


def _arn(call: Call, function: str, qualifier: str = LATEST) -> str:
    defaults = call.catalog.defaults
    return function_arn(defaults.region, defaults.account, function, "" if qualifier == LATEST else qualifier)

"""Functions: create, get, list, update, delete; switched off and on."""

import msgspec

from sampan.api.call import Call, Reply, moment, token
from sampan.catalog.configuration import RUNTIME, Configuration
from sampan.catalog.plans import Defaults, port_of
from sampan.catalog.records import Function, Revision, Status
from sampan.model.errors import CallerMistake, FieldNotSupported
from sampan.model.image import Image
from sampan.model.names import LATEST, function_arn
from sampan.wire import shapes
from sampan.wire.errors import FAILURES


async def create(call: Call) -> Reply:
    return shape(await call.catalog.functions.create(call.read(shapes.CreateFunctionInput)), call.catalog.defaults)


async def get(call: Call) -> Reply:
    return shape(await call.catalog.functions.get(call.function), call.catalog.defaults, call.qualifier)


async def update(call: Call) -> Reply:
    given = call.read(shapes.UpdateFunctionInput)
    return shape(await call.catalog.functions.update(call.function, given), call.catalog.defaults)


async def delete(call: Call) -> Reply:
    await call.catalog.functions.delete(call.function)
    return None


async def list_(call: Call) -> Reply:
    """Items say nothing of states: tools call GetFunction for them. Source: function-compute-api.md §7.1."""
    tags: tuple[shapes.Tag, ...] = call.json("tags", tuple[shapes.Tag, ...]) or ()
    name, text = call.query.get("functionName"), call.query.get("description", "")
    other = (
        call.query.get("runtime", RUNTIME) != RUNTIME
        or bool(call.query.get("gpuType"))
        or call.query.get("fcVersion", "v3") != "v3"
    )

    def wanted(function: Function) -> bool:
        return (
            not other
            and name in (None, "", function.name)
            and text in function.description
            and all(function.tags.get(tag.key) == tag.value for tag in tags)
        )

    prefix, limit = call.query.get("prefix", ""), call.limit()
    found, last = await call.catalog.functions.page(prefix, call.after(), limit, wanted)
    items = tuple(shape(function, call.catalog.defaults, full=False) for function in found)
    return shapes.Functions(functions=items, next_token=token(last))


async def code(call: Call) -> Reply:
    revision = (await call.catalog.functions.get(call.function)).at(call.qualifier)
    image = revision.configuration.container.image
    raise CallerMistake(f"function '{call.function}' has no code to download: it runs the image '{image}'")


async def disable(call: Call) -> Reply:
    given = call.read(shapes.DisableFunctionInvocationInput)
    if given.abort_ongoing_request:
        raise FieldNotSupported("abortOngoingRequest", True, "calls under way are let finish")
    await call.catalog.functions.disable(call.function, given.reason or "")
    return shapes.Success(success=True)


async def enable(call: Call) -> Reply:
    await call.catalog.functions.enable(call.function)
    return shapes.Success(success=True)


def shape(function: Function, defaults: Defaults, qualifier: str = LATEST, full: bool = True) -> shapes.Function:
    """A function as FC shows it, at a qualifier; `full`: with its states."""
    revision = function.at(qualifier)
    configuration, image = revision.configuration, revision.image
    shown = shapes.Function(
        function_name=function.name,
        function_arn=function_arn(
            defaults.region, defaults.account, function.name, "" if qualifier == LATEST else qualifier
        ),
        function_id=function.id,
        runtime=RUNTIME,
        handler=configuration.handler,
        cpu=configuration.cpu,
        memory_size=configuration.memory_size,
        disk_size=configuration.disk_size,
        timeout=configuration.timeout,
        instance_concurrency=configuration.instance_concurrency,
        internet_access=configuration.internet_access,
        created_time=moment(function.created),
        last_modified_time=moment(function.modified),
        custom_container_config=_container(revision),
        environment_variables=configuration.environment or None,
        description=function.description or None,
        instance_lifecycle_config=_unless_empty(configuration),
        log_config=configuration.log,
        tracing_config=configuration.tracing,
        role=configuration.role or None,
        disable_inject_credentials=configuration.disable_inject_credentials or None,
        idle_timeout=configuration.idle_timeout,
        session_affinity=configuration.session_affinity or None,
        session_affinity_config=configuration.session_affinity_config or None,
        code_size=image.size if image else None,
        tags=tuple(shapes.Tag(key=key, value=value) for key, value in function.tags.items()) or None,
    )
    return _with_states(shown, function) if full else shown


def _with_states(shown: shapes.Function, function: Function) -> shapes.Function:
    return msgspec.structs.replace(
        shown,
        state=function.state.state,
        state_reason=function.state.reason or None,
        state_reason_code=_code(function.state),
        last_update_status=function.update.state,
        last_update_status_reason=function.update.reason or None,
        last_update_status_reason_code=_code(function.update),
        invocation_restriction=_restriction(function),
    )


def _code(status: Status) -> str | None:
    """A failure's kind under the code that errors have for it."""
    kinds = {kind.value: code for kind, (_, code) in FAILURES.items()}
    return kinds.get(status.code, status.code) or None


def _restriction(function: Function) -> shapes.InvocationRestriction | None:
    if function.disabled_at is None:
        return None
    return shapes.InvocationRestriction(
        disable=function.disabled is not None,
        reason=function.disabled or None,
        last_modified_time=moment(function.disabled_at),
    )


def _unless_empty(configuration: Configuration) -> shapes.InstanceLifecycleConfig | None:
    lifecycle = configuration.lifecycle
    return lifecycle if lifecycle != shapes.InstanceLifecycleConfig() else None


def _container(revision: Revision) -> shapes.CustomContainerConfig:
    """Without the registry's password: no reply holds it."""
    container, image = revision.configuration.container, revision.image
    registry = container.registry_config
    if registry is not None and registry.auth_config is not None:
        auth = shapes.RegistryAuthConfig(user_name=registry.auth_config.user_name)
        registry = msgspec.structs.replace(registry, auth_config=auth)
    return msgspec.structs.replace(
        container,
        port=port_of(revision) if image else container.port,
        registry_config=registry,
        acceleration_info=shapes.AccelerationInfo(status="Ready" if image else "Preparing"),
        resolved_image_uri=_pinned(image) if image else None,
    )


def _pinned(image: Image) -> str:
    """The image's name with its digest in the place of its tag."""
    path, slash, last = image.reference.partition("@")[0].rpartition("/")
    return f"{path}{slash}{last.partition(':')[0]}@{image.digest}"

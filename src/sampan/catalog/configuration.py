"""What a user says about a function: read from a create or an update, defaults filled in, merged with what was.

A `Configuration` is stored with its revision and never changes. Absent members of an update keep what was there;
members of `customContainerConfig` and of `instanceLifecycleConfig` one by one, any other nested config as a whole.
"""

import math
from typing import ClassVar, TypeVar

import msgspec

from sampan.model.errors import FieldNotSupported, InvalidArgument
from sampan.model.secret import Guarded
from sampan.wire.shapes import (
    CreateFunctionInput,
    CustomContainerConfig,
    InstanceLifecycleConfig,
    LifecycleHook,
    LogConfig,
    RegistryAuthConfig,
    RegistryConfig,
    TracingConfig,
    UpdateFunctionInput,
)

RUNTIME = "custom-container"
DEFAULT_CPU = 0.35  # vCPU; with DEFAULT_MEMORY what the vendor's own command line takes
DEFAULT_MEMORY = 512  # MB

# What would change how a function runs but cannot be honoured here: refused unless empty.
UNSUPPORTED = {
    "code": "put the program into the image",
    "custom_runtime_config": "put the program into the image",
    "micro_sandbox_config": "use customContainerConfig",
    "vpc_config": "functions reach the network the machine reaches",
    "nas_config": "put files into the image or reach them over the network",
    "oss_mount_config": "put files into the image or reach them over the network",
    "polar_fs_config": "put files into the image or reach them over the network",
    "juice_fs_config": "put files into the image or reach them over the network",
    "gpu_config": "there are no GPUs here",
    "custom_dns": "set the name server for the whole platform",
    "layers": "put them into the image",
}
ONLY = {"runtime": RUNTIME, "instance_isolation_mode": "SHARE"}

V = TypeVar("V")


class Configuration(Guarded, msgspec.Struct, frozen=True, omit_defaults=True):
    """Everything of a function that takes a new revision to change."""

    _hidden: ClassVar[tuple[str, ...]] = ("environment",)
    container: CustomContainerConfig
    cpu: float
    memory_size: int  # MB
    handler: str = ""
    disk_size: int = 512  # MB
    timeout: int = 3  # seconds
    instance_concurrency: int = 1
    environment: dict[str, str] = {}
    lifecycle: InstanceLifecycleConfig = InstanceLifecycleConfig()
    log: LogConfig | None = None
    tracing: TracingConfig | None = None
    internet_access: bool = True
    role: str | None = None
    disable_inject_credentials: str | None = None
    idle_timeout: int | None = None  # seconds
    session_affinity: str | None = None
    session_affinity_config: str | None = None  # JSON, as it was given


def first(given: CreateFunctionInput) -> Configuration:
    """A new function's configuration, unchecked. Raises: InvalidArgument, FieldNotSupported."""
    if given.runtime is None:
        raise InvalidArgument("runtime", None, repr(RUNTIME))
    cpu, memory = resources(given.cpu, given.memory_size)
    return merged(Configuration(CustomContainerConfig(), cpu, memory), given)


def merged(old: Configuration, given: UpdateFunctionInput) -> Configuration:
    """`old` with what is given put in, unchecked. Raises: FieldNotSupported."""
    _refuse_unsupported(given)
    return Configuration(
        container=_container(old.container, given.custom_container_config),
        cpu=_either(given.cpu, old.cpu),
        memory_size=_either(given.memory_size, old.memory_size),
        handler=_either(given.handler, old.handler),
        disk_size=_either(given.disk_size, old.disk_size),
        timeout=_either(given.timeout, old.timeout),
        instance_concurrency=_either(given.instance_concurrency, old.instance_concurrency),
        environment=_either(given.environment_variables, old.environment),
        lifecycle=_lifecycle(old.lifecycle, given.instance_lifecycle_config),
        log=_either(given.log_config, old.log),
        tracing=_either(given.tracing_config, old.tracing),
        internet_access=_either(given.internet_access, old.internet_access),
        role=_either(given.role, old.role),
        disable_inject_credentials=_either(given.disable_inject_credentials, old.disable_inject_credentials),
        idle_timeout=_either(given.idle_timeout, old.idle_timeout),
        session_affinity=_either(given.session_affinity, old.session_affinity),
        session_affinity_config=_either(given.session_affinity_config, old.session_affinity_config),
    )


def names_image(given: UpdateFunctionInput) -> bool:
    """Whether the image's name is to be resolved anew, though it may be the same name as before."""
    return given.custom_container_config is not None and bool(given.custom_container_config.image)


def resources(cpu: float | None, memory: int | None) -> tuple[float, int]:
    """vCPU and MB: as given, and for what was left out the default or the nearest that the ratio 1:1–1:4 allows."""
    if cpu is not None and memory is not None:
        return cpu, memory
    if cpu is not None:
        bound = min(max(cpu, 0.05), 16)  # what is outside is refused later, with its own words
        least, most = math.ceil(bound * 16) * 64, math.floor(bound * 64) * 64  # MB, in steps of 64
        return cpu, min(max(DEFAULT_MEMORY, least), max(most, least))
    size = memory if memory is not None else DEFAULT_MEMORY
    bound_size = min(max(size, 128), 32768)
    steps = min(max(round(DEFAULT_CPU * 20), math.ceil(bound_size / 1024 / 4 * 20)), bound_size * 20 // 1024)
    return steps / 20, size


def has_hook(hook: LifecycleHook | None) -> bool:
    """Whether the hook is on: it is switched off by an empty handler and an empty command.

    One that says only how long it may take is on: for a container the handler's text has no meaning.
    """
    if hook is None:
        return False
    return bool(hook.handler or hook.command) or (hook.handler is None and hook.timeout is not None)


def _either(new: V | None, old: V) -> V:
    return old if new is None else new


def _refuse_unsupported(given: UpdateFunctionInput) -> None:
    names = dict(zip(given.__struct_fields__, given.__struct_encode_fields__, strict=True))
    for field, only in ONLY.items():
        if (value := getattr(given, field)) not in (None, "", only):
            raise FieldNotSupported(names[field], value, f"supported is {only!r}")
    for field, instead in UNSUPPORTED.items():
        if _says_something(value := getattr(given, field)):
            shown = list(value) if not isinstance(value, str) else value
            raise FieldNotSupported(names[field], shown, instead)


def _says_something(value: object) -> bool:
    """Clients clear a nested config by sending it with empty members; numbers alone ask for nothing."""
    match value:
        case str():
            return bool(value)
        case dict():
            return any(_says_something(member) for member in value.values())
        case list() | tuple():
            return any(_says_something(member) for member in value)
        case bool():
            return value
        case int() | float():
            return value > 0
        case _:
            return False


def _container(old: CustomContainerConfig, new: CustomContainerConfig | None) -> CustomContainerConfig:
    if new is None:
        return old
    health = _either(new.health_check_config, old.health_check_config)
    return CustomContainerConfig(
        image=_either(new.image, old.image),
        command=_either(new.command, old.command) or None,
        entrypoint=_either(new.entrypoint, old.entrypoint) or None,
        port=_either(new.port, old.port),
        health_check_config=health if health is not None and health.http_get_url else None,
        registry_config=_registry(old.registry_config, new.registry_config),
        acr_instance_id=_either(new.acr_instance_id, old.acr_instance_id) or None,
        acceleration_type=_either(new.acceleration_type, old.acceleration_type) or None,
    )


def _registry(old: RegistryConfig | None, new: RegistryConfig | None) -> RegistryConfig | None:
    """Replies hold no password: one who sends a reply back, its user name unchanged, keeps the old password."""
    if new is None:
        return old
    auth, before = new.auth_config, old.auth_config if old else None
    if auth is not None and not auth.password and before is not None and before.user_name == auth.user_name:
        auth = RegistryAuthConfig(user_name=before.user_name, password=before.password)
    if auth is not None and not auth.user_name:
        auth = None
    kept = RegistryConfig(auth_config=auth, cert_config=new.cert_config, network_config=new.network_config)
    return kept if kept != RegistryConfig() else None


def _lifecycle(old: InstanceLifecycleConfig, new: InstanceLifecycleConfig | None) -> InstanceLifecycleConfig:
    if new is None:
        return old
    initializer, pre_stop = _either(new.initializer, old.initializer), _either(new.pre_stop, old.pre_stop)
    return InstanceLifecycleConfig(
        initializer=initializer if has_hook(initializer) else None,
        pre_stop=pre_stop if has_hook(pre_stop) else None,
    )

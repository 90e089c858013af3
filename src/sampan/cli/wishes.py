"""What the options of `deploy` mean in the API's terms. Pure."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from sampan.sdk import shapes

METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS")
TRIGGER = "http"
"""The HTTP trigger that `deploy` makes and `rm` takes away again."""


@dataclass(frozen=True)
class Wishes:
    """The options as given; None: say nothing about it."""

    image: str | None = None
    port: int | None = None
    memory: int | None = None  # MB
    cpu: float | None = None
    timeout: int | None = None  # seconds
    concurrency: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    unset: tuple[str, ...] = ()
    idle_timeout: int | None = None  # seconds
    affinity: str | None = None  # cookie, header:NAME or none
    command: str | None = None
    entrypoint: str | None = None
    health_path: str | None = None
    initialize: bool | None = None
    initialize_timeout: int | None = None  # seconds
    internet: bool | None = None
    description: str | None = None
    registry_user: str | None = None
    registry_password: str | None = field(default=None, repr=False)
    registry_insecure: bool | None = None


def changes(wishes: Wishes, present: shapes.Function | None) -> shapes.UpdateFunctionInput:
    """The request's body. `present`: the function as it is; None when it is to be made. Raises: ValueError."""
    affinity, affinity_config = _affinity(wishes.affinity, present)
    return shapes.UpdateFunctionInput(
        description=wishes.description,
        custom_container_config=_container(wishes),
        cpu=wishes.cpu,
        memory_size=wishes.memory,
        timeout=wishes.timeout,
        instance_concurrency=wishes.concurrency,
        environment_variables=_environment(wishes, present),
        instance_lifecycle_config=_lifecycle(wishes),
        idle_timeout=wishes.idle_timeout,
        internet_access=wishes.internet,
        session_affinity=affinity,
        session_affinity_config=affinity_config,
    )


def creation(name: str, body: shapes.UpdateFunctionInput) -> shapes.CreateFunctionInput:
    """The same, as the body of a first request."""
    known = {member: getattr(body, member) for member in body.__struct_fields__}
    return shapes.CreateFunctionInput(function_name=name, **known)


def _container(wishes: Wishes) -> shapes.CustomContainerConfig:
    health = wishes.health_path
    return shapes.CustomContainerConfig(
        image=wishes.image,
        port=wishes.port,
        command=_words(wishes.command),
        entrypoint=_words(wishes.entrypoint),
        health_check_config=None if health is None else shapes.HealthCheckConfig(http_get_url=health),
        registry_config=_registry(wishes),
    )


def _words(text: str | None) -> tuple[str, ...] | None:
    """A command line in the shell's quoting; an empty one means the image's own."""
    return None if text is None else tuple(shlex.split(text))


def _registry(wishes: Wishes) -> shapes.RegistryConfig | None:
    if wishes.registry_user is None and wishes.registry_insecure is None:
        return None
    login = shapes.RegistryAuthConfig(user_name=wishes.registry_user, password=wishes.registry_password)
    return shapes.RegistryConfig(
        auth_config=None if wishes.registry_user is None else login,
        cert_config=(
            None
            if wishes.registry_insecure is None
            else shapes.RegistryCertConfig(insecure=wishes.registry_insecure)
        ),
    )


def _environment(wishes: Wishes, present: shapes.Function | None) -> dict[str, str] | None:
    """The API replaces all variables at once, so those that stay are sent again."""
    if not wishes.environment and not wishes.unset:
        return None
    before = (present.environment_variables or {}) if present is not None else {}
    merged = {**before, **wishes.environment}
    return {name: value for name, value in merged.items() if name not in wishes.unset}


def _lifecycle(wishes: Wishes) -> shapes.InstanceLifecycleConfig | None:
    """A hook is switched off by sending it empty. Source: function-compute-api.md §4."""
    if wishes.initialize is None:
        return None
    if not wishes.initialize:
        hook = shapes.LifecycleHook(handler="", command=())
    else:
        hook = shapes.LifecycleHook(handler="/initialize", timeout=wishes.initialize_timeout)
    return shapes.InstanceLifecycleConfig(initializer=hook)


def parse_affinity(text: str) -> tuple[str, str]:
    """FC's name of a kind of session affinity, and the header's name for the one that has a header.

    Raises: ValueError.
    """
    kind, colon, header = text.partition(":")
    if kind == "header" and header:
        return "HEADER_FIELD", header
    if kind in ("none", "cookie") and not colon:
        return {"none": "NONE", "cookie": "GENERATED_COOKIE"}[kind], ""
    raise ValueError(f"'{text}' is none of cookie, header:NAME and none")


def _affinity(wish: str | None, present: shapes.Function | None) -> tuple[str | None, str | None]:
    """Both fields. What was said before of how long sessions last, and how many share an instance, stays."""
    if wish is None:
        return None, None
    kind, header = parse_affinity(wish)
    if kind == "NONE":
        return kind, None
    text = (present.session_affinity_config if present is not None else None) or "{}"
    before = shapes.read(text, shapes.SessionAffinityConfig, "sessionAffinityConfig")
    config = msgspec.structs.replace(before, affinity_header_field_name=header or None)
    return kind, shapes.write(config).decode()


def parse_env_file(text: str) -> dict[str, str]:
    """`NAME=value` a line, as docker reads it: `#` begins a comment line, quotes mean themselves.

    Raises: ValueError, naming the line but not its content, which may be secret.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        name, equals, value = stripped.partition("=")
        if not equals or not name.strip():
            raise ValueError(f"line {number} is not of the form NAME=VALUE")
        found[name.strip()] = value
    return found


def as_it_was(version: shapes.Function) -> shapes.UpdateFunctionInput:
    """The body that makes LATEST what `version` is; the image by the digest it was resolved to then."""
    container = version.custom_container_config
    off = shapes.LifecycleHook(handler="", command=())
    hooks = version.instance_lifecycle_config or shapes.InstanceLifecycleConfig()
    return shapes.UpdateFunctionInput(
        handler=version.handler,
        description=version.description or "",
        custom_container_config=shapes.CustomContainerConfig(
            image=container.resolved_image_uri or container.image,
            command=container.command or (),
            entrypoint=container.entrypoint or (),
            port=container.port,
            health_check_config=container.health_check_config or shapes.HealthCheckConfig(),
        ),
        cpu=version.cpu,
        memory_size=version.memory_size,
        disk_size=version.disk_size,
        timeout=version.timeout,
        instance_concurrency=version.instance_concurrency,
        environment_variables=version.environment_variables or {},
        instance_lifecycle_config=shapes.InstanceLifecycleConfig(
            initializer=hooks.initializer or off, pre_stop=hooks.pre_stop or off
        ),
        log_config=version.log_config,
        tracing_config=version.tracing_config,
        internet_access=version.internet_access,
        role=version.role,
        disable_inject_credentials=version.disable_inject_credentials,
        idle_timeout=version.idle_timeout,
        session_affinity=version.session_affinity or "NONE",
        session_affinity_config=version.session_affinity_config or "",
    )

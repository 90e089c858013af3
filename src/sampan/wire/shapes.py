"""FC's JSON: every body of a request and of a reply, member by member, under FC's exact names.

Custom domains are in `domain_shapes`, concurrency, provision and scaling in `limit_shapes`.

Source: function-compute-api.md §7. Members that are absent, or null, are `None` and are left out again when
written; unknown members are ignored. Read a body with `read`, write one with `write`. What a value may be is not
decided here but in `catalog/`; here only its JSON type is.
"""

from typing import Any, ClassVar, TypeVar

import msgspec

from sampan.model.errors import CallerMistake, InvalidArgument
from sampan.model.secret import Guarded


class Shape(Guarded, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What all shapes have in common."""


# ── parts of a function ───────────────────────────────────────────────────────────────────────────────


class HealthCheckConfig(Shape, frozen=True):
    http_get_url: str | None = None
    initial_delay_seconds: int | None = None
    period_seconds: int | None = None
    timeout_seconds: int | None = None
    failure_threshold: int | None = None
    success_threshold: int | None = None


class RegistryAuthConfig(Shape, frozen=True):
    """Only ever read: no reply holds one."""

    _hidden: ClassVar[tuple[str, ...]] = ("password",)
    user_name: str | None = None
    password: str | None = None


class RegistryCertConfig(Shape, frozen=True):
    insecure: bool | None = None
    root_ca_cert_base64: str | None = None


class RegistryNetworkConfig(Shape, frozen=True):
    vpc_id: str | None = None
    v_switch_id: str | None = None
    security_group_id: str | None = None


class RegistryConfig(Shape, frozen=True):
    auth_config: RegistryAuthConfig | None = None
    cert_config: RegistryCertConfig | None = None
    network_config: RegistryNetworkConfig | None = None


class AccelerationInfo(Shape, frozen=True):
    status: str | None = None


class CustomContainerConfig(Shape, frozen=True):
    """`entrypoint` is the program, `command` its arguments."""

    image: str | None = None
    command: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    port: int | None = None
    health_check_config: HealthCheckConfig | None = None
    registry_config: RegistryConfig | None = None
    acr_instance_id: str | None = None
    acceleration_type: str | None = None
    acceleration_info: AccelerationInfo | None = None  # replies only
    resolved_image_uri: str | None = None  # replies only


class LifecycleHook(Shape, frozen=True):
    handler: str | None = None
    command: tuple[str, ...] | None = None
    timeout: int | None = None


class InstanceLifecycleConfig(Shape, frozen=True):
    initializer: LifecycleHook | None = None
    pre_stop: LifecycleHook | None = None


class LogConfig(Shape, frozen=True):
    project: str | None = None
    logstore: str | None = None
    enable_request_metrics: bool | None = None
    enable_instance_metrics: bool | None = None
    enable_llm_metrics: bool | None = None
    log_begin_rule: str | None = None


class TracingConfig(Shape, frozen=True):
    type: str | None = None
    params: dict[str, str] | None = None


class SessionAffinityConfig(Shape, frozen=True):
    """The JSON in `sessionAffinityConfig`."""

    session_concurrency_per_instance: int | None = None
    session_ttl_in_seconds: int | None = msgspec.field(default=None, name="sessionTTLInSeconds")
    session_idle_timeout_in_seconds: int | None = None
    disable_session_id_reuse: bool | None = None
    affinity_header_field_name: str | None = None
    sse_endpoint_path: str | None = None


class Tag(Shape, frozen=True, rename="pascal", omit_defaults=False):
    key: str
    value: str = ""


class InvocationRestriction(Shape, frozen=True):
    disable: bool
    reason: str | None = None
    last_modified_time: str | None = None


Unsupported = dict[str, Any]
"""A nested config that this platform cannot honour: kept as JSON, only to tell an empty one from a wish."""


# ── function ──────────────────────────────────────────────────────────────────────────────────────────


class UpdateFunctionInput(Shape, frozen=True):
    """Absent members stay as they are."""

    _hidden: ClassVar[tuple[str, ...]] = ("environment_variables",)
    runtime: str | None = None
    handler: str | None = None
    description: str | None = None
    custom_container_config: CustomContainerConfig | None = None
    cpu: float | None = None  # vCPU
    memory_size: int | None = None  # MB
    disk_size: int | None = None  # MB
    timeout: int | None = None  # seconds
    instance_concurrency: int | None = None
    environment_variables: dict[str, str] | None = None
    instance_lifecycle_config: InstanceLifecycleConfig | None = None
    log_config: LogConfig | None = None
    tracing_config: TracingConfig | None = None
    internet_access: bool | None = None
    role: str | None = None
    disable_inject_credentials: str | None = None
    idle_timeout: int | None = None  # seconds
    instance_isolation_mode: str | None = None
    session_affinity: str | None = None
    code: Unsupported | None = None
    custom_runtime_config: Unsupported | None = None
    vpc_config: Unsupported | None = None
    nas_config: Unsupported | None = None
    oss_mount_config: Unsupported | None = None
    gpu_config: Unsupported | None = None
    custom_dns: Unsupported | None = msgspec.field(default=None, name="customDNS")
    polar_fs_config: Unsupported | None = None
    juice_fs_config: Unsupported | None = None
    micro_sandbox_config: Unsupported | None = None
    layers: tuple[str, ...] | None = None
    session_affinity_config: str | None = None


class CreateFunctionInput(UpdateFunctionInput, frozen=True):
    function_name: str | None = None
    tags: tuple[Tag, ...] | None = None
    resource_group_id: str | None = None


class Function(Shape, frozen=True):
    _hidden: ClassVar[tuple[str, ...]] = ("environment_variables",)
    function_name: str
    function_arn: str
    function_id: str
    runtime: str
    handler: str
    cpu: float
    memory_size: int
    disk_size: int
    timeout: int
    instance_concurrency: int
    internet_access: bool
    created_time: str
    last_modified_time: str
    custom_container_config: CustomContainerConfig
    environment_variables: dict[str, str] | None = None
    description: str | None = None
    instance_lifecycle_config: InstanceLifecycleConfig | None = None
    log_config: LogConfig | None = None
    tracing_config: TracingConfig | None = None
    role: str | None = None
    disable_inject_credentials: str | None = None
    idle_timeout: int | None = None
    session_affinity: str | None = None
    session_affinity_config: str | None = None
    code_size: int | None = None
    tags: tuple[Tag, ...] | None = None
    state: str | None = None
    state_reason: str | None = None
    state_reason_code: str | None = None
    last_update_status: str | None = None
    last_update_status_reason: str | None = None
    last_update_status_reason_code: str | None = None
    invocation_restriction: InvocationRestriction | None = None


class Functions(Shape, frozen=True):
    functions: tuple[Function, ...]
    next_token: str | None = None


class DisableFunctionInvocationInput(Shape, frozen=True):
    reason: str | None = None
    abort_ongoing_request: bool | None = None


class Success(Shape, frozen=True):
    success: bool


# ── versions and aliases ──────────────────────────────────────────────────────────────────────────────


class PublishVersionInput(Shape, frozen=True):
    description: str | None = None


class Version(Shape, frozen=True):
    version_id: str
    created_time: str
    last_modified_time: str
    description: str | None = None


class Versions(Shape, frozen=True):
    versions: tuple[Version, ...]
    direction: str | None = None
    next_token: str | None = None


class UpdateAliasInput(Shape, frozen=True):
    version_id: str | None = None
    description: str | None = None
    additional_version_weight: dict[str, float] | None = None


class CreateAliasInput(UpdateAliasInput, frozen=True):
    alias_name: str | None = None


class Alias(Shape, frozen=True):
    alias_name: str
    version_id: str
    created_time: str
    last_modified_time: str
    description: str | None = None
    additional_version_weight: dict[str, float] | None = None


class Aliases(Shape, frozen=True):
    aliases: tuple[Alias, ...]
    next_token: str | None = None


# ── triggers ──────────────────────────────────────────────────────────────────────────────────────────


class UpdateTriggerInput(Shape, frozen=True):
    """`trigger_config` is JSON in a string; for HTTP triggers it holds an `HttpTriggerConfig`."""

    _hidden: ClassVar[tuple[str, ...]] = ("trigger_config",)
    trigger_config: str | None = None
    qualifier: str | None = None
    description: str | None = None
    invocation_role: str | None = None


class CreateTriggerInput(UpdateTriggerInput, frozen=True):
    trigger_name: str | None = None
    trigger_type: str | None = None
    source_arn: str | None = None


class CorsConfig(Shape, frozen=True):
    allow_origins: tuple[str, ...] | None = None
    allow_methods: tuple[str, ...] | None = None
    allow_headers: tuple[str, ...] | None = None
    expose_headers: tuple[str, ...] | None = None
    allow_credentials: bool | None = None
    max_age: int | None = None


class HttpTriggerConfig(Shape, frozen=True):
    _hidden: ClassVar[tuple[str, ...]] = ("auth_config",)
    methods: tuple[str, ...] | None = None
    auth_type: str | None = None
    auth_config: str | None = None
    disable_url_internet: bool | None = msgspec.field(default=None, name="disableURLInternet")
    cors_config: CorsConfig | None = None


class HttpTriggerUrls(Shape, frozen=True):
    url_internet: str | None = None
    url_intranet: str | None = None


class Trigger(Shape, frozen=True):
    _hidden: ClassVar[tuple[str, ...]] = ("trigger_config",)
    trigger_name: str
    trigger_id: str
    trigger_type: str
    trigger_config: str
    qualifier: str
    target_arn: str
    status: str
    created_time: str
    last_modified_time: str
    description: str | None = None
    invocation_role: str | None = None
    source_arn: str | None = None
    http_trigger: HttpTriggerUrls | None = None


class Triggers(Shape, frozen=True):
    triggers: tuple[Trigger, ...]
    next_token: str | None = None


# ── instances, tags, regions ──────────────────────────────────────────────────────────────────────────


class InstanceInfo(Shape, frozen=True):
    instance_id: str
    version_id: str  # "0": LATEST
    qualifier: str
    status: str
    created_time_ms: int
    destroyed_time_ms: int | None = None
    resource_type: str | None = None
    state: str | None = None  # ours: FC's status does not tell ready from frozen


class Instances(Shape, frozen=True):
    instances: tuple[InstanceInfo, ...]
    request_id: str


class TagResourcesInput(Shape, frozen=True, rename="pascal"):
    resource_id: tuple[str, ...] | None = None
    resource_type: str | None = None
    tag: tuple[Tag, ...] | None = None


class TagResource(Shape, frozen=True, rename="pascal"):
    resource_id: str
    resource_type: str
    tag_key: str
    tag_value: str


class TagResources(Shape, frozen=True, rename="pascal"):
    tag_resources: tuple[TagResource, ...]
    request_id: str
    next_token: str | None = None


class Region(Shape, frozen=True, rename="pascal"):
    region_id: str
    local_name: str


class RegionList(Shape, frozen=True, rename="pascal"):
    region: tuple[Region, ...]


class Regions(Shape, frozen=True, rename="pascal"):
    regions: RegionList


# ── reading and writing ───────────────────────────────────────────────────────────────────────────────

S = TypeVar("S")

_encoder = msgspec.json.Encoder()


def read(body: bytes | str, shape: type[S], what: str = "body") -> S:
    """The body as `shape`. Raises: InvalidArgument, naming `what` and the member that is wrong."""
    try:
        return msgspec.json.decode(body or b"{}", type=shape)
    except msgspec.ValidationError as error:
        text = str(error)
        problem, _, path = text.partition(" - at `$")
        raise InvalidMember(what + path.rstrip("`"), problem) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidArgument(what, "something that cannot be read", f"a JSON object ({error})") from error


def write(shape: msgspec.Struct) -> bytes:
    """As JSON, without the members that are `None`."""
    return _encoder.encode(shape)


class InvalidMember(CallerMistake):
    """A member of a body has the wrong JSON type. Source of the wording: msgspec."""

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(f"{where}: {problem[:1].lower()}{problem[1:]}")

"""What ought to run and where calls go: what the scheduler and the gateways need of a function. Pure."""

import math
from collections.abc import Mapping

import msgspec

from sampan.catalog.affinity import affinity
from sampan.catalog.configuration import Configuration
from sampan.catalog.guards import cors, guard
from sampan.catalog.records import Alias, Function, Revision, Trigger
from sampan.catalog.rules import RATE_TAG, certificate
from sampan.link.messages import FunctionRoute, ServedVersion
from sampan.model.image import RegistryAuth
from sampan.model.names import LATEST, VersionKey, version_key
from sampan.model.trigger import HttpTrigger
from sampan.model.version import HealthCheck, Hook, Version
from sampan.telemetry.tracing_config import sampling
from sampan.wire.shapes import HealthCheckConfig, LifecycleHook, RegistryConfig

DEFAULT_PORT = 9000  # FC's
HOOK_TIMEOUT = 3  # seconds


class Defaults(msgspec.Struct, frozen=True):
    """What the settings say where a function says nothing. Times in seconds."""

    account: str = "1000000000000000"
    region: str = "local"
    domain: str = "localhost"  # functions answer below it; no custom domain may lie there
    keepalive: float = 300.0
    freeze_delay: float = 1.0
    queue_wait: float = 150.0
    max_instances: int = 300  # of the account; reservations are bounded by it


class VersionPlan(msgspec.Struct, frozen=True):
    """A version that can be called now, and how many instances of it are kept whatever the load."""

    version: Version
    minimum: int
    qualifiers: tuple[str, ...]


class FunctionPlan(msgspec.Struct, frozen=True):
    function: str
    versions: tuple[VersionPlan, ...]
    max_instances: int | None


class PendingRevision(msgspec.Struct, frozen=True):
    """A revision whose image is to be made local."""

    function: str
    revision: int
    image: str  # reference, as the user wrote it
    auth: RegistryAuth | None
    has_current: bool  # whether an older revision serves meanwhile


def pending(function: Function) -> PendingRevision | None:
    """What is to be prepared of a function, if anything."""
    if function.pending is None:
        return None
    container = function.revisions[function.pending].configuration.container
    return PendingRevision(
        function=function.name,
        revision=function.pending,
        image=container.image or "",
        auth=_auth(container.registry_config),
        has_current=function.current is not None,
    )


def port_of(revision: Revision) -> int:
    """As the user says, else the lowest TCP port the image exposes, else FC's default."""
    given = revision.configuration.container.port
    if given is not None:
        return given
    exposed = revision.image.config.exposed_ports if revision.image else ()
    return min(exposed, default=DEFAULT_PORT)


def runnable(function: str, version: str, revision: Revision, keepalive: float) -> Version:
    """The revision, its image known, as something that can be run."""
    configuration, image = revision.configuration, revision.image
    assert image is not None, "a revision becomes runnable when its image has been pulled"
    container, tracing = configuration.container, configuration.tracing
    return Version(
        key=version_key(function, version, revision.revision),
        function=function,
        version=version,
        image=image,
        entrypoint=container.entrypoint or (),
        command=container.command or (),
        environment=configuration.environment,
        port=port_of(revision),
        cpu=configuration.cpu,
        memory_mb=configuration.memory_size,
        disk_mb=configuration.disk_size,
        timeout=float(configuration.timeout),
        concurrency=configuration.instance_concurrency,
        handler=configuration.handler,
        initializer=_hook(configuration.lifecycle.initializer),
        pre_stop=_hook(configuration.lifecycle.pre_stop),
        health_check=_health(container.health_check_config),
        keepalive=keepalive_of(configuration, keepalive),
        internet=configuration.internet_access,
        affinity=affinity(configuration),
        sampling=sampling(tracing.type, tracing.params) if tracing is not None else None,
    )


def keepalive_of(configuration: Configuration, default: float) -> float:
    return default if configuration.idle_timeout is None else float(configuration.idle_timeout)


def versions_of(function: Function, keepalive: float) -> dict[str, Version]:
    """Every version that can be called now, by its id; LATEST only once a revision is current."""
    found = {}
    if function.current is not None:
        found[LATEST] = runnable(function.name, LATEST, function.revisions[function.current], keepalive)
    for id_, published in function.versions.items():
        found[id_] = runnable(function.name, id_, function.revisions[published.revision], keepalive)
    return found


def plan(function: Function, defaults: Defaults) -> FunctionPlan:
    """What may run of a function."""
    minimum: dict[str, int] = {}
    for qualifier in (LATEST, *function.aliases):
        for id_, share in _shares(function, qualifier).items():
            minimum[id_] = minimum.get(id_, 0) + math.ceil(target(function, qualifier) * share)
    plans = tuple(
        VersionPlan(version, minimum.get(id_, 0), (id_, *_aliases_of(function, id_)))
        for id_, version in versions_of(function, defaults.keepalive).items()
    )
    return FunctionPlan(function.name, plans, function.reserved)


def target(function: Function, qualifier: str) -> int:
    """Instances that the provision or scaling config of a qualifier asks for."""
    if (provision := function.provision.get(qualifier)) is not None:
        return provision.default_target if provision.default_target is not None else provision.target or 0
    if (scaling := function.scaling.get(qualifier)) is not None:
        return scaling.min_instances or 0
    return 0


def route(function: Function, defaults: Defaults) -> FunctionRoute:
    """Where calls of a function go."""
    versions = versions_of(function, defaults.keepalive)
    qualifiers: dict[str, tuple[tuple[float, VersionKey], ...]] = {
        id_: ((1.0, version.key),) for id_, version in versions.items()
    }
    for name, alias in function.aliases.items():
        qualifiers[name] = tuple((share, versions[id_].key) for id_, share in alias.shares().items())
    return FunctionRoute(
        function=function.name,
        state=function.state.state,
        reason=function.state.reason,
        disabled=function.disabled,
        reserved_concurrency=function.reserved,
        versions=tuple(_served(version, defaults) for version in versions.values()),
        qualifiers=qualifiers,
        triggers=tuple(_trigger(trigger) for trigger in function.triggers.values()),
        rate=rate(function.tags),
    )


def _trigger(trigger: Trigger) -> HttpTrigger:
    config = trigger.config
    auth, check = guard(config.auth_type, config.auth_config, "triggerConfig")
    return HttpTrigger(
        name=trigger.name,
        qualifier=trigger.qualifier,
        methods=config.methods or (),
        auth=auth,
        url_disabled=bool(config.disable_url_internet),
        check=check,
        cors=cors(config.cors_config, "triggerConfig.corsConfig"),
    )


def rate(tags: Mapping[str, str]) -> float | None:
    """Requests per second that a function's tags allow; None: they say nothing."""
    given = tags.get(RATE_TAG)
    return None if given is None else float(given)


def _auth(given: RegistryConfig | None) -> RegistryAuth | None:
    if given is None:
        return None
    auth, cert = given.auth_config, given.cert_config
    return RegistryAuth(
        username=(auth.user_name if auth else None) or "",
        password=(auth.password if auth else None) or "",
        insecure=bool(cert and cert.insecure),
        ca_pem=certificate(cert.root_ca_cert_base64) if cert and cert.root_ca_cert_base64 else "",
    )


def _served(version: Version, defaults: Defaults) -> ServedVersion:
    return ServedVersion(
        key=version.key,
        function=version.function,
        version=version.version,
        concurrency=version.concurrency,
        timeout=version.timeout,
        memory_mb=version.memory_mb,
        handler=version.handler,
        freeze_delay=defaults.freeze_delay,
        queue_wait=defaults.queue_wait,
        affinity=version.affinity,
        sampling=version.sampling,
        cpu=version.cpu,
        disk_mb=version.disk_mb,
    )


def _shares(function: Function, qualifier: str) -> dict[str, float]:
    alias: Alias | None = function.aliases.get(qualifier)
    return {qualifier: 1.0} if alias is None else alias.shares()


def _aliases_of(function: Function, id_: str) -> list[str]:
    return [name for name, alias in function.aliases.items() if id_ in alias.shares()]


def _hook(given: LifecycleHook | None) -> Hook | None:
    if given is None:
        return None
    return Hook(timeout=float(given.timeout or HOOK_TIMEOUT), command=given.command or ())


def _health(given: HealthCheckConfig | None) -> HealthCheck | None:
    if given is None or not given.http_get_url:
        return None
    said = {
        "initial_delay": given.initial_delay_seconds,
        "period": given.period_seconds,
        "timeout": given.timeout_seconds,
        "failures": given.failure_threshold,
        "successes": given.success_threshold,
    }
    return msgspec.convert(
        {"path": given.http_get_url, **{name: value for name, value in said.items() if value is not None}},
        HealthCheck,
    )

"""What this platform tells beyond FC: a function and all that bears on how it runs, the images, the platform."""

import msgspec

from sampan import __version__
from sampan.api import functions, instances, triggers, versions
from sampan.api.call import Call, Reply, moment
from sampan.catalog.configuration import Configuration
from sampan.catalog.plans import keepalive_of
from sampan.catalog.records import Function
from sampan.model.image import Image, PullProgress
from sampan.model.names import split_version_key
from sampan.wire import shapes

# Configuration that is kept and shown but has no effect here, and what to know of it.
WITHOUT_EFFECT = {
    "role": "role: kept, but no credentials are given to the function",
    "log": "logConfig: kept, but logs stay on this platform",
}


class Told(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An answer of this platform's own."""


class TimeLimits(Told, frozen=True):
    """Every limit that can end a request or an instance, in seconds."""

    queue_wait: float
    start: float
    initialize: float | None
    run: float
    drain: float
    keepalive: float


class LastStartFailure(Told, frozen=True):
    kind: str
    message: str
    log_tail: str
    exit_code: int | None
    version: str
    time: str


class Description(Told, frozen=True):
    function: shapes.Function
    versions: tuple[shapes.Version, ...]
    aliases: tuple[shapes.Alias, ...]
    triggers: tuple[shapes.Trigger, ...]
    instances: tuple[shapes.InstanceInfo, ...]
    time_limits: TimeLimits
    last_start_failure: LastStartFailure | None
    progress: tuple[PullProgress, ...]
    warnings: tuple[str, ...]


class StoredImage(Told, frozen=True):
    reference: str
    digest: str
    size: int  # bytes
    functions: tuple[str, ...]


class PlatformStatus(Told, frozen=True):
    version: str
    functions: int
    instances: int
    platform: dict[str, object]  # what the other rooms tell of themselves


class StoredImages(Told, frozen=True):
    images: tuple[StoredImage, ...]


async def describe(call: Call) -> Reply:
    function = await call.catalog.functions.get(call.function)
    platform, defaults = call.platform, call.catalog.defaults
    return Description(
        function=functions.shape(function, defaults),
        versions=tuple(versions.version_shape(version) for version in function.versions.values()),
        aliases=tuple(versions.alias_shape(alias) for alias in function.aliases.values()),
        triggers=tuple(
            triggers.shape(function.name, trigger, defaults, platform.settings, secrets=False)
            for trigger in function.triggers.values()
        ),
        instances=tuple(instances.infos(platform.instances.views(function.name))),
        time_limits=_limits(call, function.newest().configuration),
        last_start_failure=_failure(call, function),
        progress=tuple(platform.shifts.progress(function.name)),
        warnings=warnings(function),
    )


async def images(call: Call) -> Reply:
    """The images that are local, and which functions need them."""
    users: dict[str, set[str]] = {}
    for function in await call.catalog.functions.all():
        for revision in function.revisions.values():
            if revision.image is not None:
                users.setdefault(revision.image.digest, set()).add(function.name)
    local = await call.platform.status.images()
    return StoredImages(images=tuple(_stored(image, users.get(image.digest, set())) for image in local))


async def status(call: Call) -> Reply:
    found = await call.catalog.functions.all()
    running = sum(len(call.platform.instances.views(function.name)) for function in found)
    told = dict(await call.platform.status.status())
    return PlatformStatus(version=__version__, functions=len(found), instances=running, platform=told)


def warnings(function: Function) -> tuple[str, ...]:
    """What its owner should know: of the image, and of configuration without effect."""
    revision = function.newest()
    told = list(revision.image.warnings) if revision.image else []
    for field, warning in WITHOUT_EFFECT.items():
        if getattr(revision.configuration, field):
            told.append(warning)
    return tuple(told)


def _limits(call: Call, configuration: Configuration) -> TimeLimits:
    settings, initializer = call.platform.settings, configuration.lifecycle.initializer
    return TimeLimits(
        queue_wait=settings.gateway.queue_wait,
        start=settings.scheduler.start_timeout,
        initialize=float(initializer.timeout or 3) if initializer else None,
        run=float(configuration.timeout),
        drain=settings.scheduler.drain_grace,
        keepalive=keepalive_of(configuration, settings.scheduler.keepalive),
    )


def _failure(call: Call, function: Function) -> LastStartFailure | None:
    """Of a revision that is known, or was rejected since: one from before a fix, or of a namesake, says nothing."""
    last = call.catalog.last_failure(function.name)
    if last is None:
        return None
    _, version, revision = split_version_key(last.version)
    if revision not in function.revisions and revision < max(function.revisions):
        return None
    return LastStartFailure(
        kind=last.failure.kind.value,
        message=last.failure.message,
        log_tail=last.failure.log_tail,
        exit_code=last.failure.exit_code,
        version=version,
        time=moment(last.time * 1000),
    )


def _stored(image: Image, users: set[str]) -> StoredImage:
    return StoredImage(
        reference=image.reference, digest=image.digest, size=image.size, functions=tuple(sorted(users))
    )

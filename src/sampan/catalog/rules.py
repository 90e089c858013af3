"""What values may be. Each check says which field, what was given and what is allowed; none knows a database.

Source: function-compute-api.md §4 and §7, container-contract.md A1–A5.
"""

import base64
import math
import re
from collections.abc import Iterable, Mapping

from sampan.catalog.affinity import affinity
from sampan.catalog.configuration import Configuration
from sampan.catalog.guards import METHODS, cors, guard
from sampan.model.errors import FieldNotSupported, InvalidArgument, LimitExceeded
from sampan.model.names import ALIAS_NAME, FUNCTION_NAME, LATEST, TRIGGER_NAME, VERSION_ID
from sampan.telemetry import tracing_config
from sampan.wire.shapes import CustomContainerConfig, HealthCheckConfig, HttpTriggerConfig, LifecycleHook, Tag

CPU_STEP = 0.05  # vCPU
MEMORY_STEP = 64  # MB
MIN_GB_PER_CPU, MAX_GB_PER_CPU = 1.0, 4.0
MAX_ENVIRONMENT = 4096  # bytes, names and values together
MAX_DESCRIPTION = 256  # characters
MAX_TARGET = 10_000  # provisioned instances
RESERVABLE = 0.9  # of the account's instances that reservations may add up to
FUNCTION_RESOURCE = ("ALIYUN::FC::FUNCTION", "function")
MAX_TAGS = 20
RATE_TAG = "sampan:rate"
"""The tag that bounds a function's requests per second. FC has no such limit of a function's own."""
_RATE = re.compile(r"[0-9]{1,9}(\.[0-9]{1,6})?")
MAX_TAG_KEYS = 50

_VARIABLE = re.compile(r"[A-Za-z][A-Za-z0-9_]*\Z")
_LETTERS = "letters, digits, '_' and '-', not beginning with a digit or '-'"
_HEALTH = {
    "initial_delay_seconds": ("initialDelaySeconds", 0, 120),
    "period_seconds": ("periodSeconds", 1, 120),
    "timeout_seconds": ("timeoutSeconds", 1, 3),
    "failure_threshold": ("failureThreshold", 1, 120),
    "success_threshold": ("successThreshold", 1, 120),
}


def function_name(given: str | None) -> str:
    return _name("functionName", given, FUNCTION_NAME, f"1–64 {_LETTERS}")


def trigger_name(given: str | None) -> str:
    return _name("triggerName", given, TRIGGER_NAME, f"1–128 {_LETTERS}")


def alias_name(given: str | None) -> str:
    allowed = f"1–64 {_LETTERS}, and not {LATEST}"
    name = _name("aliasName", given, ALIAS_NAME, allowed)
    if name.upper() == LATEST:
        raise InvalidArgument("aliasName", given, allowed)
    return name


def version_id(field: str, given: str | None) -> str:
    return _name(field, given, VERSION_ID, "the id of a published version, such as '1'")


def description(given: str | None) -> str:
    if given is not None and len(given) > MAX_DESCRIPTION:
        raise InvalidArgument("description", f"{len(given)} characters", f"at most {MAX_DESCRIPTION} characters")
    return given or ""


def in_range(field: str, given: float, low: float, high: float, unit: str = "") -> None:
    if not low <= given <= high:
        raise InvalidArgument(field, given, f"{low:g}–{high:g}{unit and ' ' + unit}")


def configuration(of: Configuration) -> None:
    """All rules of a function's configuration. Raises: InvalidArgument."""
    _resources(of.cpu, of.memory_size)
    if of.disk_size not in (512, 10240):
        raise InvalidArgument("diskSize", of.disk_size, "512 or 10240 MB")
    in_range("timeout", of.timeout, 1, 86400, "seconds")
    in_range("instanceConcurrency", of.instance_concurrency, 1, 200)
    if of.idle_timeout is not None:
        in_range("idleTimeout", of.idle_timeout, 1, 86400, "seconds")
    environment(of.environment)
    _container(of.container)
    _hook("instanceLifecycleConfig.initializer", of.lifecycle.initializer, 300, may_command=True)
    _hook("instanceLifecycleConfig.preStop", of.lifecycle.pre_stop, 90, may_command=False)
    if of.tracing is not None:
        tracing_config.parse(of.tracing.type, of.tracing.params)
    affinity(of)
    if of.disable_inject_credentials not in (None, "", "None", "Env", "Request", "All"):
        allowed = "'None', 'Env', 'Request' or 'All'"
        raise InvalidArgument("disableInjectCredentials", of.disable_inject_credentials, allowed)


def environment(given: Mapping[str, str]) -> None:
    """Names and size of environment variables. Values are never repeated: they may be secret."""
    for name, value in given.items():
        field = f"environmentVariables.{name[:64]}"
        if not _VARIABLE.match(name):
            raise InvalidArgument(field, name[:64], "a name of letters, digits and '_' beginning with a letter")
        if name.startswith("FC_"):
            raise InvalidArgument(field, name[:64], "a name that does not begin with FC_, which is reserved")
        if "\0" in value:
            raise InvalidArgument(field, "a value with a NUL character", "a value without")
    size = sum(len(name.encode()) + len(value.encode()) for name, value in given.items())
    if size > MAX_ENVIRONMENT:
        allowed = f"at most {MAX_ENVIRONMENT} bytes of names and values together"
        raise InvalidArgument("environmentVariables", f"{size} bytes", allowed)


def weights(version: str, given: Mapping[str, float]) -> None:
    """An alias's additional versions: each in [0, 1], together at most 1, none of them the main one."""
    for other, weight in given.items():
        field = f"additionalVersionWeight.{other[:16]}"
        version_id(field, other)
        if other == version:
            raise InvalidArgument(field, other, "a version other than the alias's own")
        in_range(field, weight, 0, 1)
    if sum(given.values()) > 1 + 1e-9:
        raise InvalidArgument("additionalVersionWeight", sum(given.values()), "weights that add up to at most 1")


def trigger_type(given: str | None) -> str:
    if given != "http":
        raise FieldNotSupported("triggerType", given, "supported is 'http'")
    return given


def http_trigger(given: HttpTriggerConfig) -> HttpTriggerConfig:
    """Checked, with its defaults filled in. Raises: InvalidArgument, FieldNotSupported."""
    if not given.methods:
        raise InvalidArgument("triggerConfig.methods", given.methods, f"one or more of {', '.join(METHODS)}")
    for method in given.methods:
        if method not in METHODS:
            raise InvalidArgument("triggerConfig.methods", method, ", ".join(METHODS))
    auth, check = guard(given.auth_type, given.auth_config, "triggerConfig")
    cors(given.cors_config, "triggerConfig.corsConfig")
    return HttpTriggerConfig(
        methods=tuple(dict.fromkeys(given.methods)),
        auth_type=auth.value,
        auth_config=given.auth_config if check is not None else None,
        disable_url_internet=bool(given.disable_url_internet),
        cors_config=given.cors_config,
    )


def certificate(given: str) -> str:
    """The PEM inside `rootCaCertBase64`. Raises: InvalidArgument."""
    try:
        return base64.b64decode(given, validate=True).decode("ascii")
    except ValueError:
        field = "customContainerConfig.registryConfig.certConfig.rootCaCertBase64"
        raise InvalidArgument(field, "text that is not base64", "a PEM certificate in base64") from None


def tags(given: Iterable[Tag]) -> dict[str, str]:
    found = {tag.key: tag.value for tag in given}
    if len(found) > MAX_TAGS:
        raise LimitExceeded(f"{len(found)} tags, allowed are {MAX_TAGS}")
    for key, value in found.items():
        if not 1 <= len(key) <= 64 or key.startswith(("aliyun", "acs:")) or _has_url(key):
            allowed = "1–64 characters, not beginning with 'aliyun' or 'acs:', without http:// or https://"
            raise InvalidArgument("Tag.Key", key[:80], allowed)
        if len(value) > 128 or _has_url(value):
            raise InvalidArgument("Tag.Value", value[:140], "at most 128 characters, without http:// or https://")
        if key == RATE_TAG and (not _RATE.fullmatch(value) or float(value) == 0):
            raise InvalidArgument(f"Tag {RATE_TAG}", value, "requests per second, a number above 0")
    return found


def _name(field: str, given: str | None, pattern: re.Pattern[str], allowed: str) -> str:
    if given is None or not pattern.match(given):
        raise InvalidArgument(field, given and given[:160], allowed)
    return given


def _has_url(text: str) -> bool:
    return "http://" in text or "https://" in text


def _resources(cpu: float, memory: int) -> None:
    in_range("cpu", cpu, 0.05, 16, "vCPU")
    if abs(cpu / CPU_STEP - round(cpu / CPU_STEP)) > 1e-6:
        raise InvalidArgument("cpu", cpu, "a multiple of 0.05 vCPU")
    in_range("memorySize", memory, 128, 32768, "MB")
    if memory % MEMORY_STEP:
        raise InvalidArgument("memorySize", memory, f"a multiple of {MEMORY_STEP} MB")
    ratio = memory / 1024 / cpu
    if not MIN_GB_PER_CPU - 1e-9 <= ratio <= MAX_GB_PER_CPU + 1e-9:
        low = math.ceil(cpu * 1024 * MIN_GB_PER_CPU / MEMORY_STEP) * MEMORY_STEP
        high = math.floor(cpu * 1024 * MAX_GB_PER_CPU / MEMORY_STEP) * MEMORY_STEP
        allowed = f"cpu to memory in GB from 1:1 to 1:4, so {low}–{high} MB with {cpu:g} vCPU"
        raise InvalidArgument("memorySize", memory, allowed)


def _container(given: CustomContainerConfig) -> None:
    if not given.image or any(character.isspace() for character in given.image):
        raise InvalidArgument("customContainerConfig.image", given.image, "the name of an image")
    if given.port is not None:
        in_range("customContainerConfig.port", given.port, 1, 65535)
    for field, words in (("command", given.command), ("entrypoint", given.entrypoint)):
        if any("\0" in word for word in words or ()):
            raise InvalidArgument(f"customContainerConfig.{field}", "a NUL character", "words without")
    if given.health_check_config is not None:
        _health(given.health_check_config)
    registry = given.registry_config
    if registry is not None and registry.cert_config is not None and registry.cert_config.root_ca_cert_base64:
        certificate(registry.cert_config.root_ca_cert_base64)


def _health(given: HealthCheckConfig) -> None:
    where = "customContainerConfig.healthCheckConfig"
    if given.http_get_url and (len(given.http_get_url) > 2048 or not _is_path(given.http_get_url)):
        allowed = "a path that begins with '/', at most 2048 printable ASCII characters without blanks"
        raise InvalidArgument(f"{where}.httpGetUrl", given.http_get_url[:80], allowed)
    for attribute, (name, low, high) in _HEALTH.items():
        if (value := getattr(given, attribute)) is not None:
            in_range(f"{where}.{name}", value, low, high)


def _is_path(text: str) -> bool:
    return text.startswith("/") and all("!" <= character <= "~" for character in text)


def _hook(field: str, given: LifecycleHook | None, longest: int, may_command: bool) -> None:
    if given is None:
        return
    if given.timeout is not None:
        in_range(f"{field}.timeout", given.timeout, 1, longest, "seconds")
    if given.command and not may_command:
        raise InvalidArgument(f"{field}.command", list(given.command), "no command: only the initializer has one")
    if given.command and given.handler:
        raise InvalidArgument(field, "handler and command", "one of them")

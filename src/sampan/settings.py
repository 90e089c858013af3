"""Settings: one frozen object per role, each field with its unit, its default and the reason for it.

Read once, in `serve/`: built-in default, then the file, then the environment (`SAMPAN_<SECTION>_<FIELD>`), then
flags. Rooms receive their section; nobody else reads a file or the environment. docs/settings.md lists them all.
"""

import hashlib
import ipaddress
import math
import os
import tomllib
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import msgspec
from msgspec import Meta

LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("text", "json")
RUNTIMES = ("runc", "crun")
OTLP_PROTOCOLS = ("http/protobuf", "grpc")
KEPT_ALWAYS = ("errors", "cold")


class Platform(msgspec.Struct, frozen=True):
    """Shared by all roles."""

    state: Annotated[str, Meta(description="Directory of everything that must survive a reboot.")] = (
        "/var/lib/sampan"
    )
    run: Annotated[str, Meta(description="Directory of sockets, pids and bundles; empty: /run/sampan-<realm>.")] = (
        ""
    )
    user: Annotated[str, Meta(description="User of gateway, control and registry; made if missing.")] = "sampan"
    account: Annotated[str, Meta(description="Account id in ARNs and container headers.")] = "1000000000000000"
    region: Annotated[str, Meta(description="Region id in ARNs and container headers.")] = "local"
    log_level: Annotated[str, Meta(description="debug, info, warning or error.")] = "info"
    log_format: Annotated[str, Meta(description="text, or json: an object a line.")] = "text"

    @property
    def realm(self) -> str:
        """Four hex digits that keep two platforms on one machine apart (cgroups, links, nftables, sockets)."""
        return hashlib.sha256(os.path.realpath(self.state).encode()).hexdigest()[:4]

    @property
    def run_dir(self) -> Path:
        return Path(self.run or f"/run/sampan-{self.realm}")

    @property
    def state_dir(self) -> Path:
        return Path(self.state)


class Gateway(msgspec.Struct, frozen=True):
    """The data plane."""

    listen: Annotated[str, Meta(description="Address of the front door; 0.0.0.0 opens it to the network.")] = (
        "127.0.0.1"
    )
    port: Annotated[int, Meta(description="Port of the front door; FC's own local default.", ge=0, le=65535)] = 9000
    tls_port: Annotated[int, Meta(description="Port of the front door for TLS; 0: none.", ge=0, le=65535)] = 0
    certificates: Annotated[
        str, Meta(description="Directory of <name>.crt and <name>.key, PEM; read anew when they change.")
    ] = ""
    processes: Annotated[int, Meta(description="Gateway processes sharing the port.", ge=1, le=64)] = 1
    domain: Annotated[
        str, Meta(description="Functions answer at <function>.<domain>; *.localhost needs no DNS.")
    ] = "localhost"
    max_request_header: Annotated[int, Meta(description="Bytes of request headers; FC: 8 KB.")] = 8 << 10
    max_response_header: Annotated[int, Meta(description="Bytes of a function's response headers; FC: 8 KB.")] = (
        8 << 10
    )
    max_target: Annotated[int, Meta(description="Bytes of path and query; FC: 4 KB.")] = 4 << 10
    max_event: Annotated[int, Meta(description="Bytes of a synchronous event; FC: 32 MB.")] = 32 << 20
    max_body: Annotated[int, Meta(description="Bytes of an HTTP call's body, streamed; 0: no limit.")] = 0
    idle_timeout: Annotated[float, Meta(description="Seconds a kept-alive client connection may be silent.")] = 75.0
    header_timeout: Annotated[float, Meta(description="Seconds to send a whole request header.")] = 15.0
    queue_wait: Annotated[float, Meta(description="Seconds a request may wait for a slot, starts included.")] = (
        150.0
    )
    queue_length: Annotated[int, Meta(description="Requests that may wait per function.", ge=1)] = 1000
    queue_total: Annotated[int, Meta(description="Requests that may wait in all, per gateway process.", ge=1)] = (
        10000
    )
    function_rate: Annotated[
        float, Meta(description="Requests per second of one function; 0: no limit. Its tag sampan:rate overrules.")
    ] = 0.0
    account_rate: Annotated[float, Meta(description="Requests per second of all functions; 0: no limit.")] = 0.0
    account_concurrency: Annotated[
        int, Meta(description="Requests under way of all functions, waiting ones included; 0: no limit.")
    ] = 0
    drain: Annotated[float, Meta(description="Seconds in-flight requests are given after SIGTERM.")] = 30.0


class Scheduler(msgspec.Struct, frozen=True):
    """What runs, and for how long."""

    freeze_delay: Annotated[float, Meta(description="Seconds without a request before an instance is frozen.")] = (
        1.0
    )
    keepalive: Annotated[
        float, Meta(description="Seconds an idle instance is kept when its function says nothing.")
    ] = 300.0
    spares: Annotated[
        int, Meta(description="Created, not started, sandboxes kept per recently used version.", ge=0)
    ] = 1
    spare_keep: Annotated[float, Meta(description="Seconds after the last request that spares are kept.")] = 600.0
    start_timeout: Annotated[float, Meta(description="Seconds until the port must accept; FC: 120.")] = 120.0
    drain_grace: Annotated[float, Meta(description="Seconds from SIGTERM to SIGKILL.")] = 10.0
    parallel_starts: Annotated[
        int, Meta(description="Starts under way at once; more only queue for the CPU.", ge=1)
    ] = 8
    max_instances: Annotated[
        int, Meta(description="Instances of one function; FC's account default is 100.", ge=1)
    ] = 300
    memory_mb: Annotated[
        int, Meta(description="MB all instances may be configured for; 0: 90 % of the machine.")
    ] = 0
    cpu_overcommit: Annotated[float, Meta(description="Configured vCPU per core; idle instances use none.")] = 100.0
    backoff_max: Annotated[
        float, Meta(description="Seconds between starts of a version that keeps failing, at most.")
    ] = 60.0


class Engine(msgspec.Struct, frozen=True):
    """The node engine (sandboxd)."""

    runtime: Annotated[str, Meta(description="runc or crun.")] = "runc"
    network: Annotated[str, Meta(description="/16 of sandbox addresses; empty: 10.<64..127>.0.0/16 by realm.")] = ""
    network_pool: Annotated[int, Meta(description="Network namespaces kept ready.", ge=0)] = 8
    dns: Annotated[str, Meta(description="Name server inside sandboxes; empty: the machine's own.")] = ""
    writable_layer: Annotated[
        str, Meta(description="disk (own file system, not counted as memory) or memory (tmpfs).")
    ] = "disk"
    favordynmods: Annotated[bool, Meta(description="Remount cgroup2 for 2× faster starts; stays until reboot.")] = (
        True
    )
    containerd: Annotated[str, Meta(description="Socket of an existing containerd; empty: run our own.")] = ""
    gc_keep: Annotated[float, Meta(description="Seconds an unused image is kept.")] = 86400.0


class Registry(msgspec.Struct, frozen=True):
    """The embedded registry."""

    enabled: Annotated[bool, Meta(description="Run a registry beside the platform.")] = True
    listen: Annotated[
        str, Meta(description="Its address; pushing needs no login, so loopback only by default.")
    ] = "127.0.0.1"
    port: Annotated[int, Meta(description="Its port.", ge=1, le=65535)] = 5000


class Telemetry(msgspec.Struct, frozen=True):
    """Traces, logs, metrics and the bill."""

    listen: Annotated[str, Meta(description="Address of the query port; it asks for an access key.")] = "127.0.0.1"
    port: Annotated[
        int, Meta(description="Port of Jaeger's query API and of /metrics; 0: none.", ge=0, le=65535)
    ] = 16686
    intake: Annotated[bool, Meta(description="Take in what functions report (Jaeger, OTLP, Zipkin).")] = True
    tracing: Annotated[bool, Meta(description="Trace requests; else their contexts go through as they came.")] = (
        True
    )
    sampling: Annotated[
        float, Meta(description="Share of new traces that is kept, of functions that say nothing.", ge=0, le=1)
    ] = 1.0
    always: Annotated[
        str, Meta(description="What is kept though not sampled: errors, cold, both with a comma, or empty.")
    ] = "errors,cold"
    span_rate: Annotated[float, Meta(description="Spans per second that a function may report.")] = 2000.0
    span_burst: Annotated[int, Meta(description="Spans it may report at once.", ge=1)] = 20000
    flush_window: Annotated[
        float, Meta(description="Seconds an instance stays awake after a sampled request, to report its spans.")
    ] = 1.5  # Jaeger's clients send once a second (jaeger-client 4.8.0, DEFAULT_FLUSH_INTERVAL)
    trace_keep: Annotated[float, Meta(description="Seconds traces are kept.")] = 7 * 86400.0
    trace_mb: Annotated[int, Meta(description="MB of traces kept, the newest.", ge=1)] = 1024
    log_keep: Annotated[float, Meta(description="Seconds function logs are kept.")] = 7 * 86400.0
    log_mb: Annotated[int, Meta(description="MB of function logs kept, compressed, the newest.", ge=1)] = 1024
    log_rate: Annotated[
        float, Meta(description="MB per second read of one function's output; what it loses is counted.")
    ] = 8.0
    usage_keep: Annotated[float, Meta(description="Seconds single invocation records are kept; sums stay.")] = (
        31 * 86400.0
    )
    usage_records: Annotated[
        int, Meta(description="Single invocation records kept, the newest; sums stay.", ge=1)
    ] = 2_000_000
    metrics_keep: Annotated[float, Meta(description="Seconds of per-minute history.")] = 31 * 86400.0
    otlp_endpoint: Annotated[
        str,
        Meta(
            description="Where all spans go besides: http(s)://host:4318 or, for grpc, host:4317; empty: nowhere."
        ),
    ] = ""
    otlp_protocol: Annotated[str, Meta(description="http/protobuf or grpc.")] = "http/protobuf"
    otlp_headers: Annotated[str, Meta(description="Headers for it, name=value with commas between.")] = ""
    otlp_certificate: Annotated[
        str, Meta(description="File of the authority to trust, PEM; empty: the system's.")
    ] = ""
    otlp_logs: Annotated[bool, Meta(description="Send function logs there, too.")] = False
    export_local: Annotated[
        bool, Meta(description="A function's tracingConfig may name this machine's own addresses, loopback too.")
    ] = False
    prices: Annotated[str, Meta(description="File of prices (TOML); empty: Function Compute's factors.")] = ""

    @property
    def awake(self) -> float:
        """Seconds to report in: the flush window, where anything is traced and taken in at all."""
        return self.flush_window if self.tracing and self.intake else 0.0

    def __repr__(self) -> str:
        return "Telemetry(…)"  # headers for a backend hold its token


class Settings(msgspec.Struct, frozen=True):
    """All of it."""

    platform: Platform = Platform()
    gateway: Gateway = Gateway()
    scheduler: Scheduler = Scheduler()
    engine: Engine = Engine()
    registry: Registry = Registry()
    telemetry: Telemetry = Telemetry()


class BadSettings(Exception):
    """A setting has an unknown name or a value that is not allowed; says which and where."""


def load(file: Path | None, environment: Mapping[str, str], flags: Mapping[str, Any] | None = None) -> Settings:
    """Default, then `file` (TOML), then `environment`, then `flags` ("section.field": value).

    Raises: BadSettings.
    """
    values: dict[str, dict[str, Any]] = {}
    if file is not None:
        try:
            values = tomllib.loads(file.read_text())
        except (OSError, ValueError) as error:  # no TOML, or no UTF-8
            raise BadSettings(f"{file}: {error}") from error
    if misplaced := [name for name, fields in values.items() if not isinstance(fields, dict)]:
        raise BadSettings(f"{file}: '{misplaced[0]}' is no section; write [section] and its fields below")
    sections = get_type_hints(Settings)
    for section, shape in sections.items():
        for field in shape.__struct_fields__:
            if (given := environment.get(f"SAMPAN_{section}_{field}".upper())) is not None:
                values.setdefault(section, {})[field] = given
    for name, value in (flags or {}).items():
        if value is not None:
            section, _, field = name.partition(".")
            values.setdefault(section, {})[field] = value
    for section, fields in values.items():
        if section not in sections:
            raise BadSettings(f"no section [{section}]; there are {', '.join(sections)}")
        for field in fields:
            if field not in sections[section].__struct_fields__:
                raise BadSettings(f"no setting {section}.{field}; see docs/settings.md")
    try:
        settings = msgspec.convert(values, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise BadSettings(str(error)) from error
    _check(settings)
    return settings


def _check(settings: Settings) -> None:
    """What no type says. Raises: BadSettings."""
    for section in Settings.__struct_fields__:
        for field, value in msgspec.structs.asdict(getattr(settings, section)).items():
            if isinstance(value, int | float) and not 0 <= value < math.inf:
                raise BadSettings(f"{section}.{field} is {value}; allowed is a number from 0")
    if settings.platform.log_level.lower() not in LOG_LEVELS:
        raise BadSettings(
            f"platform.log_level is '{settings.platform.log_level}'; there are {', '.join(LOG_LEVELS)}"
        )
    if settings.platform.log_format not in LOG_FORMATS:
        raise BadSettings(
            f"platform.log_format is '{settings.platform.log_format}'; there are {', '.join(LOG_FORMATS)}"
        )
    if settings.engine.runtime not in RUNTIMES:
        raise BadSettings(f"engine.runtime is '{settings.engine.runtime}'; there are {', '.join(RUNTIMES)}")
    telemetry = settings.telemetry
    if telemetry.otlp_protocol not in OTLP_PROTOCOLS:
        raise BadSettings(
            f"telemetry.otlp_protocol is '{telemetry.otlp_protocol}'; there are {', '.join(OTLP_PROTOCOLS)}"
        )
    if unknown := [word for word in telemetry.always.split(",") if word and word not in KEPT_ALWAYS]:
        raise BadSettings(f"telemetry.always names '{unknown[0]}'; there are {', '.join(KEPT_ALWAYS)}")
    if network := settings.engine.network:
        try:
            sixteen = ipaddress.IPv4Network(network).prefixlen == 16
        except ValueError:
            sixteen = False
        if not sixteen:
            raise BadSettings(f"engine.network is '{network}'; allowed is a range like 10.99.0.0/16")
    _check_ports(settings)


def _check_ports(settings: Settings) -> None:
    """Raises: BadSettings, of two that would be one."""
    gateway, registry, telemetry = settings.gateway, settings.registry, settings.telemetry
    ports = [("gateway.port", gateway.listen, gateway.port), ("gateway.tls_port", gateway.listen, gateway.tls_port)]
    ports += [("registry.port", registry.listen, registry.port)] if registry.enabled else []
    ports += [("telemetry.port", telemetry.listen, telemetry.port)]
    for (one, here, port), (other, there, same) in combinations(ports, 2):
        if port and port == same and (here == there or {here, there} & {"0.0.0.0", "::"}):
            raise BadSettings(f"{one} and {other} are both {port}")

"""What a program finds in its environment, and how it is called to life: pure."""

from collections.abc import Mapping

from sampan.engine.engine import SandboxSpec
from sampan.model.names import LATEST, InstanceId
from sampan.model.version import Version

_PROTOCOL = "OTEL_EXPORTER_OTLP_PROTOCOL"
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def argv(version: Version) -> tuple[str, ...]:
    """As Docker has it: an overridden entrypoint also drops the image's command."""
    image = version.image.config
    if version.entrypoint:
        return version.entrypoint + version.command
    return image.entrypoint + (version.command or image.command)


def environment(
    version: Version, instance: InstanceId, account: str, region: str, report_to: str = "", endpoint: str = ""
) -> dict[str, str]:
    """The image's variables, then the user's, then the platform's; whom to report to and to call, only where they
    say nothing.

    report_to: address at which telemetry is taken in; "": nowhere.  endpoint: URL of the front door as sandboxes
    reach it, which clients of the platform look for; a key for it is the user's to give.
    Source: container-contract.md A5 (`FC_*`) and B1 (`PORT`, `K_*`): one image serves both contracts.
    """
    variables = {"PATH": DEFAULT_PATH}
    for line in version.image.config.environment:
        name, _, value = line.partition("=")
        variables[name] = value
    variables.update(version.environment)
    published = "" if version.version == LATEST else version.version
    variables.update(
        FC_FUNC_CODE_PATH="/code",
        FC_ACCOUNT_ID=account,
        FC_REGION=region,
        FC_FUNCTION_NAME=version.function,
        FC_FUNCTION_HANDLER=version.handler,
        FC_FUNCTION_MEMORY_SIZE=str(version.memory_mb),
        FC_CUSTOM_LISTEN_PORT=str(version.port),
        FC_INSTANCE_ID=instance,
        FC_VER_ID=published,
        FC_FUNCTION_VERSION=published,
        PORT=str(version.port),
        K_SERVICE=version.function,
        K_CONFIGURATION=version.function,
        K_REVISION=f"{version.function}-{published or 'latest'}",
    )
    calling = {"SAMPAN_ENDPOINT": endpoint} if endpoint else {}
    reporting = _reporting(version, instance, report_to, variables) if report_to else {}
    return calling | reporting | variables


def _reporting(version: Version, instance: InstanceId, host: str, given: Mapping[str, str]) -> dict[str, str]:
    """What clients of Jaeger, OpenTelemetry and Zipkin look for. Source: tracing-contract.md §6.4.

    Of Jaeger the agent alone: clients told both ways use the other, which not all of them have. The batches of
    OpenTelemetry leave every half second, not every five: an idle instance is frozen after one.

    given: what is said already. A sampler's or a protocol's choice goes with whoever made the other half of it.
    """
    protocol = given.get(_PROTOCOL, "http/protobuf")
    port = 4317 if protocol == "grpc" else 4318
    told = {
        "JAEGER_AGENT_HOST": host,
        "JAEGER_AGENT_PORT": "6831",
        "JAEGER_SAMPLER_TYPE": "const",
        "JAEGER_SAMPLER_PARAM": "1",
        "JAEGER_SERVICE_NAME": version.function,
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{host}:{port}",
        _PROTOCOL: protocol,
        "OTEL_EXPORTER_ZIPKIN_ENDPOINT": f"http://{host}:9411/api/v2/spans",
        "OTEL_SERVICE_NAME": version.function,
        "OTEL_RESOURCE_ATTRIBUTES": ",".join(
            (f"faas.name={version.function}", f"faas.version={version.version}", f"faas.instance={instance}")
        ),
        "OTEL_BSP_SCHEDULE_DELAY": "500",
        "OTEL_BLRP_SCHEDULE_DELAY": "500",
    }
    if "JAEGER_SAMPLER_TYPE" in given:
        del told["JAEGER_SAMPLER_PARAM"]
    if any(name.startswith("OTEL_EXPORTER_OTLP_") and name.endswith("ENDPOINT") for name in given):
        del told[_PROTOCOL]
    return told


def sandbox(
    version: Version, instance: InstanceId, account: str, region: str, report_to: str = "", endpoint: str = ""
) -> SandboxSpec:
    """The sandbox that an instance of this version is."""
    image = version.image.config
    return SandboxSpec(
        id=instance,
        image=version.image,
        argv=argv(version),
        port=version.port,
        env=environment(version, instance, account, region, report_to, endpoint),
        cwd=image.working_directory or "/",
        user=image.user,
        hostname=instance,
        cpu=version.cpu,
        memory_mb=version.memory_mb,
        disk_mb=version.disk_mb,
        internet=version.internet,
        stop_signal=image.stop_signal,
        labels={"version": version.key},
    )

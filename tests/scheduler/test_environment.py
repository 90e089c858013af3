"""What a program finds in its environment. Source: container-contract.md A5, tracing-contract.md §6.4."""

import msgspec
import pytest

from sampan.model.image import Image, ImageConfig
from sampan.model.names import InstanceId
from sampan.model.version import Version
from sampan.scheduler.environment import environment, sandbox
from tests.scheduler.story import version

DOOR = "169.254.30.1"
ONE = InstanceId("c-1")
REPORTING = {
    "JAEGER_AGENT_HOST": DOOR,
    "JAEGER_AGENT_PORT": "6831",
    "JAEGER_SAMPLER_TYPE": "const",
    "JAEGER_SAMPLER_PARAM": "1",
    "JAEGER_SERVICE_NAME": "web",
    "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{DOOR}:4318",
    "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
    "OTEL_EXPORTER_ZIPKIN_ENDPOINT": f"http://{DOOR}:9411/api/v2/spans",
    "OTEL_SERVICE_NAME": "web",
    "OTEL_RESOURCE_ATTRIBUTES": "faas.name=web,faas.version=LATEST,faas.instance=c-1",
    "OTEL_BSP_SCHEDULE_DELAY": "500",
    "OTEL_BLRP_SCHEDULE_DELAY": "500",
}


def made(user: dict[str, str] | None = None, image: tuple[str, ...] = ()) -> Version:
    config = ImageConfig(environment=image)
    plain = version("web", environment=user or {})
    return msgspec.structs.replace(plain, image=Image("web:1", "sha256:00", config))


def reporting(of: Version, door: str = DOOR) -> dict[str, str]:
    """What of the environment is about telemetry."""
    found = environment(of, ONE, "1", "local", door)
    return {name: value for name, value in found.items() if name.startswith(("OTEL_", "JAEGER_"))}


def test_clients_of_all_kinds_find_where_to_report() -> None:
    assert reporting(made()) == REPORTING


def test_where_nothing_is_taken_in_nothing_is_told() -> None:
    assert reporting(made(), "") == {}
    assert environment(made(), ONE, "1", "local")["FC_INSTANCE_ID"] == "c-1"


@pytest.mark.parametrize("name", sorted(set(REPORTING) - {"JAEGER_SAMPLER_TYPE", "OTEL_EXPORTER_OTLP_ENDPOINT"}))
@pytest.mark.parametrize("value", ["theirs", ""])
def test_what_the_user_or_the_image_says_stays(name: str, value: str) -> None:
    assert reporting(made({name: value}))[name] == value
    assert reporting(made(image=(f"{name}={value}",)))[name] == value
    assert reporting(made({name: value}, (f"{name}=the image's",)))[name] == value
    others = {other: told for other, told in REPORTING.items() if other != name}
    assert reporting(made({name: value})) == others | {name: value}


def test_whose_sampler_it_is_says_its_parameter() -> None:
    """`probabilistic` without one means 0.001 to Jaeger's clients, and `const` with ours would mean all."""
    found = reporting(made({"JAEGER_SAMPLER_TYPE": "probabilistic"}))
    assert found["JAEGER_SAMPLER_TYPE"] == "probabilistic"
    assert "JAEGER_SAMPLER_PARAM" not in found


@pytest.mark.parametrize("signal", ["", "TRACES_", "METRICS_", "LOGS_"])
def test_whose_endpoint_it_is_says_its_protocol(signal: str) -> None:
    name = f"OTEL_EXPORTER_OTLP_{signal}ENDPOINT"
    for given in (made({name: "http://192.0.2.1:4317"}), made(image=(f"{name}=http://192.0.2.1:4317",))):
        found = reporting(given)
        assert found[name] == "http://192.0.2.1:4317"
        assert "OTEL_EXPORTER_OTLP_PROTOCOL" not in found


@pytest.mark.parametrize(("protocol", "port"), [("grpc", 4317), ("http/protobuf", 4318), ("http/json", 4318)])
def test_the_endpoint_speaks_the_protocol_that_is_asked_for(protocol: str, port: int) -> None:
    found = reporting(made({"OTEL_EXPORTER_OTLP_PROTOCOL": protocol}))
    assert found["OTEL_EXPORTER_OTLP_PROTOCOL"] == protocol
    assert found["OTEL_EXPORTER_OTLP_ENDPOINT"] == f"http://{DOOR}:{port}"


def test_a_published_version_names_itself() -> None:
    published = msgspec.structs.replace(made(), version="3")
    assert "faas.version=3" in reporting(published)["OTEL_RESOURCE_ATTRIBUTES"]


def test_a_sandbox_is_told_the_same() -> None:
    spec = sandbox(made(), ONE, "1", "local", DOOR)
    assert spec.env == environment(made(), ONE, "1", "local", DOOR)


def test_clients_of_the_platform_find_its_front_door_unless_told_of_another() -> None:
    door = f"http://{DOOR}:9000"
    assert environment(made(), ONE, "1", "local", endpoint=door)["SAMPAN_ENDPOINT"] == door
    elsewhere = made({"SAMPAN_ENDPOINT": "https://other"})
    assert environment(elsewhere, ONE, "1", "local", endpoint=door)["SAMPAN_ENDPOINT"] == "https://other"
    assert "SAMPAN_ENDPOINT" not in environment(made(), ONE, "1", "local")

"""The operator's own back-end, from the settings."""

import logging
from pathlib import Path

import grpc
import msgspec
import pytest

from sampan.collector.export import operator
from sampan.collector.export.otlp_grpc import LOGS, TRACES
from sampan.collector.export.weights import span_size
from sampan.model.errors import InvalidArgument
from sampan.settings import Telemetry
from tests.collector.export.peers import encode_traces, grpc_server, http_server, span
from tests.gateway.authority import Authority


async def sent(settings: Telemetry, method: str = TRACES) -> None:
    exporter = operator.exporter(settings, method, encode_traces, span_size)
    assert exporter is not None
    exporter.offer([span(1)])
    await exporter.close()
    assert exporter.state().sent == 1


async def test_without_an_endpoint_there_is_none() -> None:
    assert operator.exporter(Telemetry(), TRACES, encode_traces, span_size) is None


@pytest.mark.parametrize(
    ("given", "method", "path"),
    [
        ("", TRACES, "/v1/traces"),
        ("/", TRACES, "/v1/traces"),
        ("/otel/", TRACES, "/otel/v1/traces"),
        ("/v1/traces", TRACES, "/v1/traces"),
        ("", LOGS, "/v1/logs"),
        ("/otel/v1/traces", LOGS, "/otel/v1/logs"),
    ],
)
async def test_each_signal_has_its_path(given: str, method: str, path: str) -> None:
    async with http_server() as backend:
        await sent(
            Telemetry(otlp_endpoint=backend.url + given, otlp_headers="x-a=1, authorization=Bearer%20t"), method
        )
    got, headers, _ = backend.requests[0]
    assert got == path
    assert (headers["x-a"], headers["Authorization"]) == ("1", "Bearer t")


@pytest.mark.parametrize("method", [TRACES, LOGS])
async def test_over_grpc_each_signal_has_its_method(method: str) -> None:
    async with grpc_server(method=method) as backend:
        await sent(Telemetry(otlp_endpoint=backend.url, otlp_protocol="grpc", otlp_headers="X-A=1"), method)
    assert backend.metadata[0]["x-a"] == "1"


async def test_the_authority_of_the_settings_is_trusted_over_grpc(tmp_path: Path) -> None:
    authority = Authority()
    chain, key = authority.issue("localhost")
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    async with grpc_server(grpc.ssl_server_credentials([(key, chain)])) as backend:
        certificate = str(tmp_path / "ca.pem")
        await sent(Telemetry(otlp_endpoint=backend.url, otlp_protocol="grpc", otlp_certificate=certificate))


@pytest.mark.parametrize("name", ["x!y", "grpc-timeout", "token-bin", "X~"])
def test_a_header_that_grpc_cannot_carry_is_said_at_start(name: str) -> None:
    settings = Telemetry(otlp_endpoint="http://c:4317", otlp_protocol="grpc", otlp_headers=f"{name}=secret")
    with pytest.raises(InvalidArgument, match=r"telemetry.otlp_headers") as refused:
        operator.transport(settings, TRACES, encode_traces)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
async def test_no_secret_is_in_the_log_or_the_state(protocol: str, caplog: pytest.LogCaptureFixture) -> None:
    async with http_server() as backend:
        pass  # nobody is there any more
    endpoint = backend.url.replace("//", "//me:secret@") + "/secret"
    settings = Telemetry(otlp_endpoint=endpoint, otlp_protocol=protocol, otlp_headers="x-token=secret")
    exporter = operator.exporter(settings, TRACES, encode_traces, span_size)
    assert exporter is not None
    with caplog.at_level(logging.DEBUG):
        exporter.offer([span(1)])
        await exporter.close()
    assert exporter.state().dropped == {"closed": 1}
    assert exporter.state().last_error
    assert "secret" not in repr(exporter.state())
    assert all("secret" not in repr(record.__dict__) for record in caplog.records)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("otlp_endpoint", "c:4317"),
        ("otlp_endpoint", "ftp://me:secret@c"),
        ("otlp_endpoint", "http://c:99999"),
        ("otlp_protocol", "http/json"),
        ("otlp_headers", "secret"),
        ("otlp_headers", "a b=secret"),
        ("otlp_headers", "a=secret%0d%0aX: y"),
        ("otlp_certificate", "/nowhere.pem"),
    ],
)
def test_a_setting_that_is_wrong_is_named_and_holds_no_secret(field: str, value: str) -> None:
    settings = msgspec.structs.replace(Telemetry(otlp_endpoint="http://c:4318"), **{field: value})
    with pytest.raises(InvalidArgument, match=f"telemetry.{field}") as refused:
        operator.transport(settings, TRACES, encode_traces)
    assert "secret" not in str(refused.value)

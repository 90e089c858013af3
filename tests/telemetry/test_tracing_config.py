"""A function's tracingConfig: tracing-contract.md §2."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.model.errors import InvalidArgument
from sampan.telemetry.tracing_config import Format, TracingTarget, parse

JAEGER, HTTP, GRPC = Format.JAEGER, Format.OTLP_HTTP, Format.OTLP_GRPC


@pytest.mark.parametrize(
    ("endpoint", "format", "url"),
    [
        ("http://j:14268/api/traces", JAEGER, "http://j:14268/api/traces"),
        ("http://j:14268/api/traces/", JAEGER, "http://j:14268/api/traces/"),
        (
            "http://j:14268/api/traces?format=jaeger.thrift",
            JAEGER,
            "http://j:14268/api/traces?format=jaeger.thrift",
        ),
        ("https://j/adapt_ab@cd/api/traces", JAEGER, "https://j/adapt_ab@cd/api/traces"),
        ("https://j/adapt_ab@cd/api/otlp/traces", HTTP, "https://j/adapt_ab@cd/api/otlp/traces"),
        ("http://c:4318/v1/traces", HTTP, "http://c:4318/v1/traces"),
        ("http://c:4317", GRPC, "http://c:4317"),
        ("https://[2001:db8::1]:4317/", GRPC, "https://[2001:db8::1]:4317/"),
        ("http://j:14268", JAEGER, "http://j:14268/api/traces"),
        ("http://c:4318", HTTP, "http://c:4318/v1/traces"),
        ("https://c/otel/", HTTP, "https://c/otel/v1/traces"),
        ("http://c:4317/v1/traces", HTTP, "http://c:4317/v1/traces"),
    ],
)
def test_the_path_of_the_endpoint_tells_the_format(endpoint: str, format: Format, url: str) -> None:
    assert parse("Jaeger", {"endpoint": endpoint}) == TracingTarget(format, url)


@pytest.mark.parametrize(("type", "params"), [(None, None), ("", {}), (None, {"endpoint": ""})])
def test_an_empty_config_switches_tracing_off(type: str | None, params: dict[str, str] | None) -> None:
    assert parse(type, params) is None


def test_without_an_endpoint_traces_stay_here() -> None:
    assert parse("Jaeger", {"samplingRate": "0.5"}) == TracingTarget(JAEGER, "", 0.5)


@pytest.mark.parametrize(
    ("rate", "share"),
    [
        ("0", 0.0),
        ("0.01", 0.01),
        ("1", 1.0),
        ("1%", 0.01),
        ("10", 0.1),
        ("100", 1.0),
        ("100%", 1.0),
        ("50.5", 0.505),
    ],
)
def test_a_sampling_rate_is_a_share_or_per_cent(rate: str, share: float) -> None:
    target = parse("Jaeger", {"samplingRate": rate})
    assert target is not None
    assert target.sampling == pytest.approx(share)


@pytest.mark.parametrize("rate", ["-1", "101", "1e2", "nan", "inf", "", " 1", "1 %", "0x1", "²", "1.", "%"])
def test_a_sampling_rate_that_is_none_is_refused(rate: str) -> None:
    if not rate:
        assert parse("Jaeger", {"samplingRate": rate}) == TracingTarget(JAEGER, "")
        return
    with pytest.raises(InvalidArgument) as refused:
        parse("Jaeger", {"samplingRate": rate})
    assert refused.value.field == "tracingConfig.params.samplingRate"
    assert refused.value.given == rate


@pytest.mark.parametrize(
    "endpoint",
    [
        "jaeger:14268/api/traces",
        "ftp://j/api/traces",
        "file:///etc/passwd",
        "http://",
        "http:///api/traces",
        "http://j:0/api/traces",
        "http://j:99999/api/traces",
        "http://j:port/api/traces",
        "http://[::1/api/traces",
        "http://j/api/traces#a",
        "http://j/a b",
        "http://j\r\nX: y/api/traces",
        "http://j\\@k/api/traces",
        "http://jäger/api/traces",
        "http://j/" + "a" * 2048,
    ],
)
def test_an_endpoint_that_is_no_url_of_a_collector_is_refused(endpoint: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        parse("Jaeger", {"endpoint": endpoint})
    assert refused.value.field == "tracingConfig.params.endpoint"


def test_only_jaeger_is_a_type() -> None:
    with pytest.raises(InvalidArgument, match=r"tracingConfig.type: got 'Zipkin', allowed is 'Jaeger'"):
        parse("Zipkin", {})
    with pytest.raises(InvalidArgument, match=r"tracingConfig.type"):
        parse(None, {"endpoint": "http://j/api/traces"})


def test_a_password_in_the_endpoint_is_never_shown() -> None:
    target = parse("Jaeger", {"endpoint": "https://me:secret@c:4318/token/v1/traces"})
    assert target is not None
    assert target.shown == "https://c:4318"
    with pytest.raises(InvalidArgument) as refused:
        parse("Jaeger", {"endpoint": "ftp://me:secret@c/v1/traces"})
    assert "secret" not in str(refused.value)


@given(st.text(), st.text(), st.text())
def test_whatever_is_given_it_is_a_target_or_a_sentence(type: str, endpoint: str, rate: str) -> None:
    for kind in (type, "Jaeger"):
        with suppress(InvalidArgument):
            target = parse(kind, {"endpoint": endpoint, "samplingRate": rate})
            assert target is None or target.url.startswith("http") or not target.url

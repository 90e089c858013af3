"""What a function's `tracingConfig` asks for: where its spans go, and which share of its traces is kept.

Source: tracing-contract.md §2. `endpoint` is a collector's URL; its path tells the format:

    …/api/traces                        Jaeger thrift over HTTP
    …/api/otlp/traces, …/v1/traces      OTLP over HTTP
    no path, port 4317                  OTLP over gRPC
    no path, port 14268                 Jaeger thrift over HTTP, to /api/traces
    anything else                       OTLP over HTTP, to the path with /v1/traces added

`samplingRate` is ours (the reference leaves open where the rate is kept): a share up to 1, per cent above it or
with a %.
"""

import re
from collections.abc import Mapping
from enum import Enum
from urllib.parse import SplitResult, urlsplit

import msgspec

from sampan.model.errors import InvalidArgument

JAEGER = "Jaeger"
ENDPOINT, SAMPLING = "endpoint", "samplingRate"
MAX_ENDPOINT = 2048  # characters

_ENDPOINT_FIELD = f"tracingConfig.params.{ENDPOINT}"
_SAMPLING_FIELD = f"tracingConfig.params.{SAMPLING}"
_ALLOWED = "a collector's URL, such as http://jaeger.example.org:14268/api/traces or https://host:4318/v1/traces"
_ALLOWED_RATE = "a share from 0 to 1, or per cent from 1 to 100 (1 is all; write 1% or 0.01 for one in a hundred)"
_JAEGER_PATH = "/api/traces"
_OTLP_PATHS = ("/api/otlp/traces", "/v1/traces")
_OTLP_PATH = "/v1/traces"
_RATE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,9})?)(%?)", re.ASCII)
_PASSWORD = re.compile(r"//[^/@]*@")


class Format(Enum):
    """How a back-end is spoken to."""

    JAEGER = "jaeger"
    OTLP_HTTP = "http/protobuf"
    OTLP_GRPC = "grpc"


class TracingTarget(msgspec.Struct, frozen=True):
    """Where spans go. url: posted to as it is; of gRPC the scheme, host and port count. "": nowhere but here."""

    format: Format
    url: str
    sampling: float | None = None  # share of new traces that is kept; None: as the platform does

    @property
    def shown(self) -> str:
        """Scheme, host and port: for people. Paths and user names carry tokens at some vendors."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if self.url else "here"


def parse(type: str | None, params: Mapping[str, str] | None) -> TracingTarget | None:
    """None: tracing is not asked for. Raises: InvalidArgument."""
    params = params or {}
    endpoint, rate = params.get(ENDPOINT, ""), params.get(SAMPLING, "")
    if not type and not endpoint and not rate:
        return None
    if type != JAEGER:
        raise InvalidArgument("tracingConfig.type", type, repr(JAEGER))
    sampling = _share(rate) if rate else None
    if not endpoint:
        return TracingTarget(Format.JAEGER, "", sampling)
    return _target(endpoint, sampling)


def _target(endpoint: str, sampling: float | None) -> TracingTarget:
    parts = _split(endpoint)
    path = parts.path.rstrip("/")
    if path.endswith(_OTLP_PATHS):
        return TracingTarget(Format.OTLP_HTTP, endpoint, sampling)
    if path.endswith(_JAEGER_PATH):
        return TracingTarget(Format.JAEGER, endpoint, sampling)
    if not path and parts.port == 4317:
        return TracingTarget(Format.OTLP_GRPC, endpoint, sampling)
    if not path and parts.port == 14268:
        return TracingTarget(Format.JAEGER, parts._replace(path=_JAEGER_PATH).geturl(), sampling)
    return TracingTarget(Format.OTLP_HTTP, parts._replace(path=path + _OTLP_PATH).geturl(), sampling)


def _split(endpoint: str) -> SplitResult:
    shown = _PASSWORD.sub("//…@", endpoint)[:160]
    if len(endpoint) > MAX_ENDPOINT:
        raise InvalidArgument(_ENDPOINT_FIELD, f"{len(endpoint)} characters", f"at most {MAX_ENDPOINT} characters")
    if not all("!" <= character <= "~" for character in endpoint) or "\\" in endpoint:
        raise InvalidArgument(_ENDPOINT_FIELD, shown, f"{_ALLOWED}, in printable ASCII without blanks")
    try:
        parts = urlsplit(endpoint)
        known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and not parts.fragment
    except ValueError:  # a port or an IPv6 address that is none
        known = False
    if not known:
        raise InvalidArgument(_ENDPOINT_FIELD, shown, _ALLOWED)
    return parts


def _share(rate: str) -> float:
    found = _RATE.fullmatch(rate)
    if found is None:
        raise InvalidArgument(_SAMPLING_FIELD, rate[:40], _ALLOWED_RATE)
    value = float(found[1])
    share = value / 100 if found[2] or value > 1 else value
    if share > 1:
        raise InvalidArgument(_SAMPLING_FIELD, rate[:40], _ALLOWED_RATE)
    return share


def sampling(type_: str | None, params: Mapping[str, str] | None) -> float | None:
    """The share of new traces that a stored configuration asks for; None: as the platform does."""
    try:
        target = parse(type_, params)
    except InvalidArgument:  # of a configuration from before it was checked
        return None
    return None if target is None else target.sampling

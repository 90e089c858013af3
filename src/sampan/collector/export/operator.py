"""The operator's own back-end, from the settings (`telemetry.otlp_…`).

Source: OTLP exporter configuration ("Endpoint URLs for OTLP/HTTP", "Specifying headers"); tracing-contract.md §5.5.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote, urlsplit

from sampan.collector.export.exporter import Exporter, Weigh
from sampan.collector.export.otlp_grpc import LOGS, TRACES, GrpcPeer, OtlpGrpc
from sampan.collector.export.patience import Limits
from sampan.collector.export.transport import Transport
from sampan.collector.export.transports import Encoded, OtlpHttp, Peer, trust
from sampan.model.errors import InvalidArgument
from sampan.settings import Telemetry

T = TypeVar("T")

_LIMITS = Limits(items=65536, size=64 << 20)
_PATHS = {TRACES: "/v1/traces", LOGS: "/v1/logs"}
_PROTOCOLS = ("http/protobuf", "grpc")
_GRPC_NAME = re.compile(r"[0-9a-z_.-]+(?<!-bin)", re.ASCII)
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)


def exporter(
    settings: Telemetry,
    method: str,
    encode: Callable[[Sequence[T]], Encoded],
    weigh: Weigh[T],
    limits: Limits = _LIMITS,
) -> Exporter[T] | None:
    """To `telemetry.otlp_endpoint`; None where that is empty. method: TRACES or LOGS. Raises: InvalidArgument."""
    if not settings.otlp_endpoint:
        return None
    host = _checked(settings.otlp_endpoint)
    return Exporter(host, transport(settings, method, encode, limits.request), weigh, limits)


def transport(
    settings: Telemetry, method: str, encode: Callable[[Sequence[T]], Encoded], timeout: float = 10.0
) -> Transport[T]:
    """timeout: seconds per request. Raises: InvalidArgument."""
    _checked(settings.otlp_endpoint)
    headers = parse_headers(settings.otlp_headers)
    file = settings.otlp_certificate
    tls = trust("telemetry.otlp_certificate", file) if file else None
    match settings.otlp_protocol:
        case "grpc":
            for name in headers:
                if not _GRPC_NAME.fullmatch(name.lower()) or name.lower().startswith("grpc-"):
                    allowed = "over gRPC names of letters, digits, '.', '_' and '-', not beginning with grpc-"
                    raise InvalidArgument("telemetry.otlp_headers", name[:64], allowed)
            authorities = Path(file).read_bytes() if file else None
            peer = GrpcPeer(headers=headers, authorities=authorities, timeout=timeout)
            return OtlpGrpc(settings.otlp_endpoint, encode, peer, method)
        case "http/protobuf":
            url = _url(settings.otlp_endpoint, _PATHS[method])
            return OtlpHttp(url, encode, Peer(headers=headers, tls=tls, timeout=timeout))
        case other:
            raise InvalidArgument("telemetry.otlp_protocol", other, " or ".join(_PROTOCOLS))


def parse_headers(text: str) -> dict[str, str]:
    """`name=value,name=value`, values percent-encoded. Values are never repeated. Raises: InvalidArgument."""
    found = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = entry.partition("=")
        name, value = name.strip(), unquote(value.strip())
        if not equals or not _NAME.fullmatch(name):
            raise InvalidArgument("telemetry.otlp_headers", "an entry that is no header", "name=value,name=value")
        if not value.isascii() or not value.isprintable():
            raise InvalidArgument("telemetry.otlp_headers", f"a value of {name}", "printable ASCII characters")
        found[name] = value
    return found


def _checked(endpoint: str) -> str:
    """Scheme, host and port, for people."""
    allowed = "http://host:port or https://host:port, with a path at most"
    try:
        parts = urlsplit(endpoint)
        known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        known = False
    if not known or any(character.isspace() for character in endpoint):
        raise InvalidArgument("telemetry.otlp_endpoint", re.sub(r"//[^/@]*@", "//…@", endpoint)[:160], allowed)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _url(endpoint: str, path: str) -> str:
    """The endpoint is a base that each signal adds its path to, unless it is that signal's already."""
    parts = urlsplit(endpoint)
    base = parts.path.rstrip("/")
    for known in _PATHS.values():
        base = base.removesuffix(known)
    return parts._replace(path=base + path).geturl()

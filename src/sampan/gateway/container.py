"""What the platform tells a container with each request.

Source: container-contract.md A2.1: names and order as observed; values that do not apply are sent empty.
"""

import random
import re

from sampan.link.messages import ServedVersion
from sampan.model.names import RequestId
from sampan.wire.headers import function_headers

HTTP_CALL = "/http-invoke"
EVENT_CALL = "/invoke"

_NOT_APPLICABLE = (
    "X-Fc-Access-Key-Id",
    "X-Fc-Access-Key-Secret",
    "X-Fc-Security-Token",
    "X-Fc-Service-Name",
    "X-Fc-Service-Logproject",
    "X-Fc-Service-Logstore",
    "X-Fc-Api-Server-Ip",
    "X-Fc-Eagleeye-Traceid",
    "X-Fc-Eagleeye-Rpcid",
    "X-Fc-Eagleeye-Userdata",
    "X-Fc-Tracing-Opentracing-Span-Context",
    "X-Fc-Tracing-Opentracing-Span-Baggages",
    "X-Fc-Tracing-Jaeger-Endpoint",
)
_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?\Z")


def container_headers(
    account: str, region: str, version: ServedVersion, qualifier: str, control_path: str
) -> bytes:
    """The header lines that are the same for every request of this version under this qualifier."""
    told = function_headers(account, region, version, qualifier, control_path)
    told |= {"X-Fc-Retry-Count": "0"} | dict.fromkeys(_NOT_APPLICABLE, "")
    lines = [f"{name}: {value}\r\n" for name, value in told.items()]
    return "".join(lines).encode("latin-1", "replace")


def is_traceparent(value: bytes) -> bool:
    """Source: W3C Trace Context §3.2; tracing-contract.md §5.1."""
    return _TRACEPARENT.match(value) is not None and (len(value) == 55 or not value.startswith(b"00"))


def new_traceparent(request: RequestId) -> bytes:
    """A new context: its trace has the request's own digits, so that one is found by the other.

    Sampled, so that a function which follows its parent's choice records its own spans.
    """
    return f"00-{request[2:10]}{request[11:]}-{random.getrandbits(64) | 1:016x}-01".encode()

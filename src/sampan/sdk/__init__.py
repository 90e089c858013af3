"""What users import: a client of the platform, blocking and async. Knows the wire, not the platform.

    from sampan.sdk import Client

    with Client() as sampan:
        result = sampan.invoke("web", b"hello", log=True)

A method is a description of a call (`calls`, `invoking`, `extensions`); `exchange` signs it, decides on repeating
it and reads the answer; `senders` carry it. Errors are in `errors`, the bodies of requests and replies in `shapes`
and, of custom domains, in `domain_shapes`, of limits in `limit_shapes`, of traces in `trace_shapes`.

`instrument()` makes OpenTelemetry spans of calls (`instrumentation`); `trace_context` carries a trace over without
them (`propagation`), for a whole web application with `middleware`.
"""

from sampan.sdk.client import AsyncClient, Client
from sampan.sdk.config import Credentials
from sampan.sdk.errors import (
    AlreadyExists,
    ApiError,
    BrokenOff,
    Conflict,
    Denied,
    InvalidCall,
    InvalidRequest,
    MissingPackage,
    NotConfigured,
    NotFound,
    PlatformFailed,
    SdkError,
    StartFailed,
    Throttled,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
    UnsafeCredentials,
)
from sampan.sdk.exchange import Retries, Timeouts
from sampan.sdk.extensions import Description, LogLine, PlatformStatus, StoredImage
from sampan.sdk.instrumentation import instrument, uninstrument
from sampan.sdk.invoking import HttpReply, Invocation
from sampan.sdk.measuring import FunctionNow, Now, Series
from sampan.sdk.propagation import trace_context
from sampan.wire import domain_shapes, limit_shapes, shapes, trace_shapes

__all__ = [
    "AlreadyExists",
    "ApiError",
    "AsyncClient",
    "BrokenOff",
    "Client",
    "Conflict",
    "Credentials",
    "Denied",
    "Description",
    "FunctionNow",
    "HttpReply",
    "InvalidCall",
    "InvalidRequest",
    "Invocation",
    "LogLine",
    "MissingPackage",
    "NotConfigured",
    "NotFound",
    "Now",
    "PlatformFailed",
    "PlatformStatus",
    "Retries",
    "SdkError",
    "Series",
    "StartFailed",
    "StoredImage",
    "Throttled",
    "Timeouts",
    "Unavailable",
    "UnexpectedAnswer",
    "Unreachable",
    "UnsafeCredentials",
    "domain_shapes",
    "instrument",
    "limit_shapes",
    "shapes",
    "trace_context",
    "trace_shapes",
    "uninstrument",
]

"""Calling a function: with an event through the API, or with plain HTTP at its own URL. Pure."""

import base64
import binascii
from collections.abc import Mapping
from urllib.parse import quote, urlencode

import msgspec

from sampan.sdk.describing import at, segment
from sampan.sdk.exchange import Call, Reply
from sampan.sdk.propagation import Headers, of_trace

INVOKE_TIMEOUT = 900.0  # seconds without a byte: the longest start plus a long-running function


class Invocation(msgspec.Struct, frozen=True):
    """What came of one invocation. Source: function-compute-api.md §6.2, §6.4."""

    body: bytes
    request_id: str
    error_type: str = ""  # "" unless the function failed
    log: str = ""  # the end of this request's log, when it was asked for
    duration_ms: float | None = None
    instance: str = ""
    version: str = ""
    content_type: str = ""

    @property
    def failed(self) -> bool:
        return bool(self.error_type)

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")


class HttpReply(msgspec.Struct, frozen=True):
    """What a function answered over HTTP. Header names are lower-case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def request_id(self) -> str:
        return self.headers.get("x-fc-request-id", "")

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")


def invoke(
    name: str,
    payload: bytes | str = b"",
    *,
    qualifier: str | None = None,
    log: bool = False,
    headers: Mapping[str, str] | None = None,
    trace: Headers | None = None,
    timeout: float = INVOKE_TIMEOUT,
) -> Call[Invocation]:
    """Call the function with an event and wait for its result.

    A function that fails is no exception: look at `error_type`. `log`: ask for the end of the request's log.
    `trace`: headers of the request that this call belongs to; without it that of `sdk.trace_context`.
    `timeout`: seconds without a byte of the answer. Source: function-compute-api.md §6.
    """
    return Call(
        action="InvokeFunction",
        method="POST",
        target=at("InvokeFunction", name, qualifier=qualifier).target,
        decode=_invocation,
        body=payload.encode() if isinstance(payload, str) else payload,
        headers={
            "content-type": "application/octet-stream",
            **({"x-fc-log-type": "Tail"} if log else {}),
            **of_trace(trace),
            **(headers or {}),
        },
        timeout=timeout,
        function=name,
    )


def http(
    name: str,
    method: str = "GET",
    path: str = "/",
    *,
    qualifier: str | None = None,
    query: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    body: bytes | str = b"",
    trace: Headers | None = None,
    timeout: float = INVOKE_TIMEOUT,
) -> Call[HttpReply]:
    """An HTTP request to the function's own URL, signed. Every status is the function's word, none is raised.

    `trace`: as for `invoke`.
    """
    target = f"/fn/{segment(name)}"
    if qualifier:
        target += f":{segment(qualifier)}"
    target += "/" + path.lstrip("/").replace("#", "%23")
    if query:
        target += ("&" if "?" in target else "?") + urlencode(query, quote_via=quote)
    return Call(
        action="",
        method=method.upper(),
        target=target,
        decode=lambda reply: HttpReply(reply.status, reply.headers, reply.body),
        body=body.encode() if isinstance(body, str) else body,
        headers={**of_trace(trace), **(headers or {})},
        timeout=timeout,
        to_function=True,
        function=name,
    )


def _invocation(reply: Reply) -> Invocation:
    headers = reply.headers
    try:
        log = base64.b64decode(headers.get("x-fc-log-result", ""), validate=True).decode(errors="replace")
    except binascii.Error:
        log = ""
    return Invocation(
        body=reply.body,
        request_id=reply.request_id,
        error_type=headers.get("x-fc-error-type", ""),
        log=log,
        duration_ms=_number(headers.get("x-fc-invocation-duration")),
        instance=headers.get("x-fc-instance-id", ""),
        version=headers.get("x-fc-invocation-code-version", ""),
        content_type=headers.get("content-type", ""),
    )


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None

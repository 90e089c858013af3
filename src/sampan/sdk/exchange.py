"""One call, from a plain description to a typed result: signing, retrying, reading the answer. No I/O.

`conversation` is a generator that says what to do next — send this, wait so long — and is told what came of
it. The two clients differ only in who carries that out, so their behaviour cannot drift apart.
"""

import math
import secrets
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import httpx
import msgspec

from sampan.model.access import AccessKey
from sampan.sdk.errors import ApiError, InvalidCall, UnexpectedAnswer, Unreachable, api_error
from sampan.sdk.propagation import passed_on
from sampan.wire.operations import PREFIX
from sampan.wire.signature import sign, sign_trigger

T = TypeVar("T")
VERSION = PREFIX.lstrip("/")


class Reply(msgspec.Struct, frozen=True):
    """A whole answer. Header names are lower-case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")

    @property
    def request_id(self) -> str:
        return self.headers.get("x-fc-request-id", "")


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request, described. `target` is the path and query as they go on the wire."""

    action: str
    method: str
    target: str
    decode: Callable[[Reply], T]
    body: bytes = field(default=b"", repr=False)  # may hold a registry's password
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout: float | None = None  # seconds without a byte; None: the client's own
    to_function: bool = False  # a function's URL: its own signature, and every status is the function's word
    repeatable: bool | None = None  # None: as the method says
    function: str = ""  # the one that is invoked; "": none

    @property
    def safe_to_repeat(self) -> bool:
        """Whether carrying this out twice leaves the same as once."""
        return self.method in {"GET", "HEAD", "PUT", "DELETE"} if self.repeatable is None else self.repeatable


class Retries(msgspec.Struct, frozen=True):
    """How often, and how patiently, a call that may be repeated is repeated."""

    attempts: int = 3  # the first included
    backoff: float = 0.2  # seconds before the second attempt, doubled for each further one
    longest_wait: float = 10.0  # seconds; an answer that asks for more is not waited for


class Timeouts(msgspec.Struct, frozen=True):
    """Seconds. Every wait of the client ends."""

    connect: float = 5.0
    read: float = 60.0  # without a byte, while an answer of the API is awaited


@dataclass(frozen=True, slots=True)
class Settled:
    """What every call of one client has in common."""

    endpoint: str
    key: AccessKey
    retries: Retries
    timeouts: Timeouts
    user_agent: str
    region: str = ""  # "": not known
    clock: Callable[[], float] = time.time  # Unix seconds


@dataclass(frozen=True, slots=True)
class Attempt:
    """One sending of a call."""

    request: httpx.Request
    number: int  # from 1
    action: str
    function: str  # as in `Call`
    region: str


def pause(policy: Retries, attempt: int, outcome: Reply | httpx.RequestError, repeatable: bool) -> float | None:
    """Seconds before the next attempt; None when the outcome stands.

    A refused connection carried nothing, so anything may be sent again. A busy answer is believed only with
    its own time, and only when a repetition is harmless. `attempt`: attempts made, from 1.
    """
    if attempt >= policy.attempts:
        return None
    if isinstance(outcome, (httpx.ConnectError, httpx.ConnectTimeout)):
        return policy.backoff * 2.0 ** (attempt - 1)
    if isinstance(outcome, httpx.RequestError) or not repeatable or outcome.status not in (429, 503):
        return None
    asked = retry_after(outcome.headers)
    return asked if asked is not None and asked <= policy.longest_wait else None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds. `x-acs-retry-after` counts milliseconds. Source: function-compute-api.md §3.1; RFC 9110 §10.2.3."""
    for name, unit in (("x-acs-retry-after", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) * unit
        except (KeyError, ValueError):
            continue
        if math.isfinite(seconds) and seconds >= 0:
            return seconds
    return None


def conversation(
    call: Call[T], settled: Settled
) -> Generator[Attempt | float, httpx.Response | None, httpx.Response]:
    """Yields attempts to send and seconds to wait; returns the answer once it is a good one.

    A failed send is thrown in as its `httpx.RequestError`; a bad answer must have been read.

    Raises: ApiError, Unreachable, UnexpectedAnswer, InvalidCall.
    """
    attempt = 0
    while True:
        attempt += 1
        outcome: Reply | httpx.RequestError
        try:
            request = _written(call, settled)
            response = yield Attempt(request, attempt, call.action, call.function, settled.region)
            assert response is not None
            if response.status_code < 400 or call.to_function:
                return response
            outcome = reply_of(response)
        except httpx.RequestError as error:
            outcome = error
        wait = pause(settled.retries, attempt, outcome, call.safe_to_repeat)
        if wait is not None:
            yield wait
        elif isinstance(outcome, httpx.RequestError):
            raise Unreachable(settled.endpoint, _reason(outcome)) from outcome
        else:
            raise error_of(outcome)


def _written(call: Call[T], settled: Settled) -> httpx.Request:
    try:
        return signed(call, settled)
    except (httpx.InvalidURL, UnicodeError) as error:
        raise InvalidCall(f"{settled.endpoint}{call.target}: {error}") from error


def signed(call: Call[T], settled: Settled) -> httpx.Request:
    """The request with a fresh date, nonce and signature; each attempt needs its own."""
    request = httpx.Request(
        call.method,
        settled.endpoint.rstrip("/") + call.target,
        headers={"user-agent": settled.user_agent, **_api_headers(call), **passed_on(call.headers), **call.headers},
        content=call.body or None,
        extensions={"timeout": _deadlines(call, settled.timeouts)},
    )
    target = request.url.raw_path.decode()  # as httpx will send it
    headers = {name.lower(): value for name, value in request.headers.items()}
    now = settled.clock()
    if call.to_function:
        request.headers = httpx.Headers(sign_trigger(settled.key, call.method, target, headers, now))
    else:
        nonce = secrets.token_hex(16)
        request.headers = httpx.Headers(sign(settled.key, call.method, target, headers, call.body, now, nonce))
    return request


def _api_headers(call: Call[T]) -> dict[str, str]:
    """Source: function-compute-api.md §2.1."""
    if call.to_function:
        return {}
    return {"accept": "application/json", "x-acs-version": VERSION, "x-acs-action": call.action}


def _deadlines(call: Call[T], timeouts: Timeouts) -> dict[str, float | None]:
    read = timeouts.read if call.timeout is None else call.timeout
    connect = timeouts.connect
    return httpx.Timeout(connect=connect, read=read, write=max(read, timeouts.read), pool=connect).as_dict()


def reply_of(response: httpx.Response) -> Reply:
    return Reply(
        response.status_code, {name.lower(): value for name, value in response.headers.items()}, response.content
    )


class _Envelope(msgspec.Struct):
    code: str = msgspec.field(default="", name="Code")
    message: str = msgspec.field(default="", name="Message")
    request_id: str = msgspec.field(default="", name="RequestId")


def error_of(reply: Reply) -> ApiError | UnexpectedAnswer:
    """The typed error of an answer with a status of 400 or more. Source: function-compute-api.md §3.1."""
    try:
        told = msgspec.json.decode(reply.body, type=_Envelope)
    except msgspec.DecodeError:
        told = _Envelope()
    if not told.code:
        return UnexpectedAnswer(f"HTTP {reply.status} without an error code; is the endpoint this platform's?")
    request_id = told.request_id or reply.request_id
    return api_error(told.code, reply.status, told.message, request_id, retry_after(reply.headers))


def _reason(error: httpx.RequestError) -> str:
    if isinstance(error, httpx.ConnectTimeout):
        return "the connection was not accepted in time"
    if isinstance(error, httpx.TimeoutException):
        return "the answer did not come in time"
    return str(error) or type(error).__name__

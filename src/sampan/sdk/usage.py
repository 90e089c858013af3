"""What was used and what it costs, and invocations one by one. Pure."""

from datetime import datetime
from decimal import Decimal
from urllib.parse import quote, urlencode

import msgspec

from sampan.sdk.describing import read
from sampan.sdk.exchange import Call
from sampan.sdk.extensions import ROOT, Told
from sampan.sdk.methods import Page


class UsageLine(Told, frozen=True):
    """What one function, version or day used. Numbers are exact."""

    calls: int
    active_ms: int
    vcpu_seconds: Decimal
    gb_seconds: Decimal
    cost: Decimal
    function: str = ""
    version: str = ""
    day: str = ""
    billed_calls: int = 0
    cold_starts: int = 0
    errors: dict[str, int] = msgspec.field(default_factory=dict)
    idle_ms: Decimal = Decimal(0)
    ready_ms: Decimal = Decimal(0)
    frozen_ms: Decimal = Decimal(0)
    disk_gb_seconds: Decimal = Decimal(0)
    bytes_in: int = 0
    bytes_out: int = 0
    cpu_used_seconds: Decimal = Decimal(0)  # measured
    memory_peak: int = 0  # measured, bytes
    units: Decimal = Decimal(0)
    complete: bool = True


class Usage(Told, frozen=True):
    """A bill."""

    currency: str
    lines: tuple[UsageLine, ...]
    total: UsageLine
    by: str = "function"
    since: str = ""
    until: str = ""
    unit: str = ""
    prices: str = ""  # where they come from


class InvocationInfo(Told, frozen=True):
    """One attempt. Times are Unix nanoseconds as text."""

    request_id: str
    function_name: str
    outcome: str
    status: int
    ended: str
    version_id: str = ""
    qualifier: str = ""
    instance_id: str = ""
    error: str = ""
    received: str = ""
    leased: str = ""
    first_byte: str = ""
    duration_ms: float = 0.0
    latency_ms: float = 0.0
    cold: bool = False
    bytes_in: int = 0
    bytes_out: int = 0
    method: str = ""
    path: str = ""
    client: str = ""
    trace_id: str = ""


class _Invocations(Told, frozen=True):
    invocations: tuple[InvocationInfo, ...]
    next_token: str = ""


def usage(
    by: str = "function",
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    function: str | None = None,
) -> Call[Usage]:
    """What was used and what it costs. by: function, version or day.  since: default the month's first day, UTC."""
    target = _target("/usage", by=by, since=_time(since), until=_time(until), function=function)
    return Call(action="GetUsage", method="GET", target=target, decode=lambda reply: read(reply, Usage))


def usage_csv(
    by: str = "function",
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    function: str | None = None,
) -> Call[str]:
    """The same for a spreadsheet: a line each, the columns always the same, named as in JSON; without the total."""
    asked = {"since": _time(since), "until": _time(until), "function": function}
    target = _target("/usage", by=by, **asked, format="csv")
    return Call(action="GetUsage", method="GET", target=target, decode=lambda reply: reply.text)


def invocations(
    token: str,
    function: str | None = None,
    *,
    version: str | None = None,
    outcome: str | None = None,
    request: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Call[Page[InvocationInfo]]:
    """Invocations, the newest first. outcome: one, or several with commas between."""
    target = _target(
        "/invocations",
        function=function,
        version=version,
        outcome=outcome,
        request=request,
        since=_time(since),
        until=_time(until),
        nextToken=token,
    )

    def decode(page: _Invocations) -> Page[InvocationInfo]:
        return Page(page.invocations, page.next_token)

    return Call(
        action="ListInvocations",
        method="GET",
        target=target,
        decode=lambda reply: decode(read(reply, _Invocations)),
    )


def _target(path: str, **query: str | None) -> str:
    asked = {name: value for name, value in query.items() if value}
    return ROOT + path + (f"?{urlencode(asked, quote_via=quote)}" if asked else "")


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone().isoformat()

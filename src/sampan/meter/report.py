"""From sums to a bill. Pure: integers in, decimals out, nothing rounded.

The units of a calendar month (UTC) go through its tiers day by day, in a day by the versions' names; so what a line
costs does not depend on how lines are put together, and lines add up to the total.
"""

import decimal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from enum import Enum

import msgspec

from sampan.meter.prices import Prices, cost
from sampan.model.names import VersionKey, split_version_key

ERRORS = (
    "function_error",
    "timed_out",
    "start_failed",
    "throttled",
    "refused",
    "client_gone",
    "platform_error",
)
_EXACT = decimal.Context(prec=80)  # digits; sums of integers over powers of two and ten need far fewer
_EPOCH = date(1970, 1, 1)
_ZERO = Decimal(0)


class By(Enum):
    """What a line of a bill is about."""

    FUNCTION = "function"
    VERSION = "version"
    DAY = "day"


class Size(msgspec.Struct, frozen=True):
    """What a version is configured for."""

    memory_mb: int
    millicpu: int
    disk_mb: int


class Used(msgspec.Struct, frozen=True):
    """What one version used on one day. sums: as the columns of `usage`."""

    version: VersionKey
    day: int  # since 1970, UTC
    sums: Mapping[str, int]
    memory_peak: int  # bytes
    size: Size | None  # None: nobody has told


class Line(msgspec.Struct, frozen=True, rename="camel"):
    """One line. Times of instances in milliseconds; what is idle is provisioned and has no request."""

    function: str
    version: str
    day: str
    calls: int
    billed_calls: int
    cold_starts: int
    errors: dict[str, int]
    active_ms: int
    idle_ms: Decimal
    ready_ms: Decimal
    frozen_ms: Decimal
    vcpu_seconds: Decimal
    gb_seconds: Decimal
    disk_gb_seconds: Decimal
    bytes_in: int
    bytes_out: int
    cpu_used_seconds: Decimal  # measured
    memory_peak: int  # measured, bytes
    units: Decimal
    cost: Decimal
    complete: bool = True  # False: of some of it nobody has told the memory and vCPU, so that it is not priced


class Bill(msgspec.Struct, frozen=True, rename="camel"):
    """Lines, the dearest first, or the days in order; and their sum."""

    by: str
    since: str
    until: str
    currency: str
    unit: str
    prices: str  # where they come from
    lines: tuple[Line, ...]
    total: Line


@dataclass(slots=True)
class _Sum:
    sums: dict[str, int] = field(default_factory=dict)
    vcpu: Decimal = _ZERO
    memory: Decimal = _ZERO
    disk: Decimal = _ZERO
    units: Decimal = _ZERO
    cost: Decimal = _ZERO
    peak: int = 0
    complete: bool = True

    def add(self, used: Used, amounts: "_Amounts", price: Decimal) -> None:
        for name, amount in used.sums.items():
            self.sums[name] = self.sums.get(name, 0) + amount
        self.vcpu += amounts.vcpu
        self.memory += amounts.memory
        self.disk += amounts.disk
        self.units += amounts.units
        self.cost += price
        self.peak = max(self.peak, used.memory_peak)
        self.complete = self.complete and used.size is not None


@dataclass(slots=True, frozen=True)
class _Amounts:
    vcpu: Decimal  # vCPU·s with requests
    memory: Decimal  # GB·s
    disk: Decimal  # GB·s
    units: Decimal


def bill(
    used: Iterable[Used],
    before: Iterable[Used],
    prices: Prices,
    by: By,
    span: tuple[str, str],
    function: str | None = None,
) -> Bill:
    """What is to be paid. before: what was used in the month that `used` begins in, before it.  span: for people.

    Of one function only its lines are told; at what price is a matter of all.
    """
    lines: dict[tuple[str, str, str], _Sum] = {}
    total = _Sum()
    with decimal.localcontext(_EXACT):
        months: dict[tuple[int, int], Decimal] = {}
        for each in before:
            month = _month(each.day)
            months[month] = months.get(month, _ZERO) + _amounts(each, prices).units
        for each in sorted(used, key=lambda one: (one.day, one.version)):
            month, amounts = _month(each.day), _amounts(each, prices)
            price = cost(prices, months.get(month, _ZERO), amounts.units)
            months[month] = months.get(month, _ZERO) + amounts.units
            if function in (None, split_version_key(each.version)[0]):
                lines.setdefault(_key(each, by), _Sum()).add(each, amounts, price)
                total.add(each, amounts, price)
        told = [_line(key, sum_) for key, sum_ in lines.items()]
        told.sort(key=lambda line: (line.day, -line.cost, -line.calls, line.function, line.version))
        return Bill(
            by.value, *span, prices.currency, prices.unit, prices.source, tuple(told), _line(("", "", ""), total)
        )


def _amounts(used: Used, prices: Prices) -> _Amounts:
    size = used.size or Size(0, 0, 0)
    active, idle = used.sums.get("active_ms", 0) * 1_000_000, _idle(used.sums)
    vcpu = _scaled(size.millicpu * active, 12)
    memory = _scaled(size.memory_mb * (active + idle), 9) / 1024
    disk = _scaled(size.disk_mb * (active + idle), 9) / 1024
    charged_disk = _scaled(max(0, size.disk_mb - prices.free_disk_mb) * (active + idle), 9) / 1024
    units = (
        used.sums.get("billed", 0) * prices.call
        + vcpu * prices.vcpu
        + _scaled(size.millicpu * idle, 12) * prices.idle_vcpu
        + memory * prices.memory
        + charged_disk * prices.disk
    )
    return _Amounts(vcpu, memory, disk, units)


def _idle(sums: Mapping[str, int]) -> int:
    """Nanoseconds that provisioned instances had no request."""
    return sums.get("provisioned_ns", 0) - sums.get("covered_ns", 0)


def _scaled(amount: int, digits: int) -> Decimal:
    return Decimal(amount).scaleb(-digits, _EXACT)


def _key(used: Used, by: By) -> tuple[str, str, str]:
    function, version, _ = split_version_key(used.version)
    match by:
        case By.FUNCTION:
            return function, "", ""
        case By.VERSION:
            return function, version, ""
        case By.DAY:
            return "", "", (_EPOCH + timedelta(days=used.day)).isoformat()


def _month(day: int) -> tuple[int, int]:
    then = _EPOCH + timedelta(days=day)
    return then.year, then.month


def _line(key: tuple[str, str, str], sum_: _Sum) -> Line:
    sums = sum_.sums
    return Line(
        *key,
        calls=sums.get("calls", 0),
        billed_calls=sums.get("billed", 0),
        cold_starts=sums.get("cold", 0),
        errors={name: sums[name] for name in ERRORS if sums.get(name)},
        active_ms=sums.get("active_ms", 0),
        idle_ms=_scaled(_idle(sums), 6),
        ready_ms=_scaled(sums.get("ready_ns", 0), 6),
        frozen_ms=_scaled(sums.get("frozen_ns", 0), 6),
        vcpu_seconds=sum_.vcpu,
        gb_seconds=sum_.memory,
        disk_gb_seconds=sum_.disk,
        bytes_in=sums.get("bytes_in", 0),
        bytes_out=sums.get("bytes_out", 0),
        cpu_used_seconds=_scaled(sums.get("cpu_ns", 0), 9),
        memory_peak=sum_.peak,
        units=sum_.units,
        cost=sum_.cost,
        complete=sum_.complete,
    )

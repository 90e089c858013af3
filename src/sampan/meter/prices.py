"""What use costs: factors that turn it into units, and what a unit costs.

The defaults are Function Compute's public pay-as-you-go prices: use is converted to compute units (CU) by a factor
per resource, and CUs are priced in tiers that are gone through anew each calendar month. Disk up to 512 MB is free.
A GB is 1024 MB. Source: Function Compute, "Pay-as-you-go" and "Billing overview" (international site, prices since
2024-08-27, without the discount that was given on them for a time).

Function Compute rounds a function's CUs up to whole ones every hour; here nothing is rounded, so that the lines of
a bill add up to its total. Traffic is not priced: there it is another product's.
"""

import tomllib
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import msgspec

from sampan.model.errors import SampanError

_ZERO = Decimal(0)


class Tier(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A price that holds up to so many units of a calendar month; without `upto`, from there on."""

    price: Decimal
    upto: Decimal | None = None


class Prices(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Units per call and per second of each resource, and the price of a unit."""

    currency: str
    tiers: tuple[Tier, ...]
    call: Decimal = _ZERO
    vcpu: Decimal = _ZERO  # per vCPU·s while there are requests
    idle_vcpu: Decimal = _ZERO  # per vCPU·s of provisioned instances without any
    memory: Decimal = _ZERO  # per GB·s, idle provisioned instances' too
    disk: Decimal = _ZERO  # per GB·s, likewise
    free_disk_mb: int = 0  # of each instance
    unit: str = "CU"
    source: str = ""


FUNCTION_COMPUTE = Prices(
    currency="USD",
    tiers=(
        Tier(Decimal("0.000020"), Decimal(100_000_000)),
        Tier(Decimal("0.000017"), Decimal(500_000_000)),
        Tier(Decimal("0.000014")),
    ),
    call=Decimal("0.0075"),
    vcpu=Decimal(1),
    idle_vcpu=Decimal(0),
    memory=Decimal("0.15"),
    disk=Decimal("0.05"),
    free_disk_mb=512,
    source="Function Compute, pay-as-you-go since 2024-08-27",
)


class BadPrices(SampanError):
    """A file of prices cannot be used; says why."""


def load(file: str) -> Prices:
    """The prices in a TOML file, or Function Compute's where none is named. Raises: BadPrices."""
    if not file:
        return FUNCTION_COMPUTE
    try:
        given = tomllib.loads(Path(file).read_text(), parse_float=Decimal)
        prices = msgspec.convert(given, Prices, strict=False)
    except (OSError, ValueError) as error:
        raise BadPrices(f"telemetry.prices: {file}: {error}") from error
    _check(file, prices)
    return msgspec.structs.replace(prices, source=prices.source or Path(file).name)


def _check(file: str, prices: Prices) -> None:
    factors = (prices.call, prices.vcpu, prices.idle_vcpu, prices.memory, prices.disk)
    amounts = (*factors, *(tier.price for tier in prices.tiers))
    if prices.free_disk_mb < 0 or any(not amount.is_finite() or amount < 0 for amount in amounts):
        raise BadPrices(f"telemetry.prices: {file}: no factor and no price may be below 0")
    bounds = [tier.upto for tier in prices.tiers]
    limited = [bound for bound in bounds[:-1] if bound is not None and bound.is_finite() and bound > 0]
    rising = all(lower < upper for lower, upper in pairwise(limited))
    if not bounds or bounds[-1] is not None or len(limited) != len(bounds) - 1 or not rising:
        raise BadPrices(f"telemetry.prices: {file}: each tier but the last needs an `upto` above the one before")


def cost(prices: Prices, before: Decimal, units: Decimal) -> Decimal:
    """What `units` cost when the month has seen `before` of them."""
    total, low, end = _ZERO, _ZERO, before + units
    for tier in prices.tiers:
        high = end if tier.upto is None else min(end, tier.upto)
        total += max(_ZERO, high - max(before, low)) * tier.price
        if tier.upto is None or end <= tier.upto:
            break
        low = tier.upto
    return total

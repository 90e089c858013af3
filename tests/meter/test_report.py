import decimal
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.meter.prices import FUNCTION_COMPUTE, BadPrices, Prices, Tier, cost, load
from sampan.meter.report import By, Size, Used, bill
from sampan.model.names import VersionKey

SPAN = ("2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z")
NOVEMBER = 20_758  # the first of it, in days since 1970
SMALL = Size(512, 250, 512)


def used(key: str = "web@LATEST#1", day: int = NOVEMBER, size: Size | None = SMALL, **sums: int) -> Used:
    return Used(VersionKey(key), day, sums, 0, size)


def test_function_computes_own_example_comes_to_its_own_figures() -> None:
    """Three million calls of 200 ms with 512 MB and 0.25 vCPU.

    Function Compute, "Pay-as-you-go": 22,500 CU for calls, 45,000 for memory, 150,000 for vCPU; the first tier is
    USD 0.000020 for a CU.
    """
    month = used(calls=3_000_000, billed=3_000_000, active_ms=600_000_000)
    told = bill([month], [], FUNCTION_COMPUTE, By.FUNCTION, SPAN)
    (line,) = told.lines
    assert line.billed_calls * FUNCTION_COMPUTE.call == 22_500
    assert line.gb_seconds == 300_000
    assert line.gb_seconds * FUNCTION_COMPUTE.memory == 45_000
    assert line.vcpu_seconds * FUNCTION_COMPUTE.vcpu == 150_000
    assert line.units == 22_500 + 45_000 + 150_000
    assert (told.currency, line.cost) == ("USD", Decimal("4.35"))


def test_a_larger_disk_is_charged_beyond_what_is_free() -> None:
    told = bill([used(size=Size(0, 0, 10_240), active_ms=1000)], [], FUNCTION_COMPUTE, By.FUNCTION, SPAN)
    assert told.total.disk_gb_seconds == 10
    assert told.total.units == Decimal("9.5") * Decimal("0.05")


def test_an_idle_provisioned_instance_costs_memory_and_no_vcpu() -> None:
    hour = 3_600_000_000_000
    idle = used(provisioned_ns=hour, covered_ns=hour // 4, active_ms=900_000)
    told = bill([idle], [], FUNCTION_COMPUTE, By.FUNCTION, SPAN).total
    assert (told.active_ms, told.idle_ms) == (900_000, 2_700_000)
    assert told.gb_seconds == 1800
    assert told.vcpu_seconds == 225
    assert told.units == 1800 * Decimal("0.15") + 225


@pytest.mark.parametrize(
    ("before", "units", "expected"),
    [
        (0, 100_000_000, 2000),
        (0, 600_000_000, 2000 + 6800 + 1400),
        (99_999_999, 2, "0.000037"),
        (500_000_000, 1_000_000, 14),
        (0, 0, 0),
    ],
)
def test_tiers_are_gone_through_from_where_the_month_stands(before: int, units: int, expected: int | str) -> None:
    assert cost(FUNCTION_COMPUTE, Decimal(before), Decimal(units)) == Decimal(expected)


def test_each_month_begins_its_tiers_anew_and_counts_what_was_before_the_time_asked_for() -> None:
    prices = Prices("EUR", (Tier(Decimal(3), Decimal(10)), Tier(Decimal(1))), call=Decimal(1))
    days = [used(day=NOVEMBER + 20, billed=4), used(day=NOVEMBER + 30, billed=4)]
    told = bill(days, [used(day=NOVEMBER + 1, billed=8)], prices, By.DAY, SPAN)
    assert [(line.day, line.cost) for line in told.lines] == [("2026-11-21", 2 * 3 + 2), ("2026-12-01", 12)]


def test_of_one_function_its_lines_are_told_at_the_price_of_all() -> None:
    prices = Prices("EUR", (Tier(Decimal(3), Decimal(10)), Tier(Decimal(1))), call=Decimal(1))
    both = [used("a@LATEST#1", billed=9), used("b@LATEST#1", billed=9)]
    told = bill(both, [], prices, By.FUNCTION, SPAN, "b")
    assert [line.function for line in told.lines] == ["b"]
    assert told.total.cost == 1 * 3 + 8


def test_what_nobody_told_the_size_of_is_counted_and_marked() -> None:
    told = bill([used(size=None, billed=1, active_ms=5)], [], FUNCTION_COMPUTE, By.FUNCTION, SPAN)
    assert not told.total.complete
    assert told.total.active_ms == 5


def test_an_empty_bill_has_no_lines() -> None:
    told = bill([], [], FUNCTION_COMPUTE, By.DAY, SPAN)
    assert told.lines == ()
    assert told.total.cost == 0


SOME = st.builds(
    used,
    st.sampled_from(["a@LATEST#1", "a@LATEST#2", "a@1#1", "b@LATEST#9"]),
    st.integers(NOVEMBER - 40, NOVEMBER + 40),
    st.builds(Size, st.integers(128, 32768), st.integers(50, 16_000), st.sampled_from([512, 10_240])),
    billed=st.integers(0, 10**9),
    active_ms=st.integers(0, 10**13),
    provisioned_ns=st.integers(10**9, 10**18),
    covered_ns=st.integers(0, 10**9),
)


@given(st.lists(SOME, max_size=12))
def test_however_lines_are_put_together_they_add_up_to_one_total(given: list[Used]) -> None:
    totals = set()
    for by in By:
        told = bill(given, [], FUNCTION_COMPUTE, by, SPAN)
        for name in ("cost", "units", "vcpu_seconds", "gb_seconds", "active_ms", "billed_calls"):
            with decimal.localcontext(prec=80):
                whole = sum((getattr(line, name) for line in told.lines), Decimal(0))
            assert whole == getattr(told.total, name)
        totals.add((told.total.cost, told.total.units))
    assert len(totals) == 1


def test_prices_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "prices.toml"
    file.write_text(
        'currency = "EUR"\ncall = 0.1\nvcpu = 1\nmemory = 0.25\nfree_disk_mb = 1024\n'
        "[[tiers]]\nupto = 1000\nprice = 0.01\n[[tiers]]\nprice = 0.005\n"
    )
    prices = load(str(file))
    assert (prices.currency, prices.source, prices.call) == ("EUR", "prices.toml", Decimal("0.1"))
    assert prices.tiers == (Tier(Decimal("0.01"), Decimal(1000)), Tier(Decimal("0.005")))
    assert load("") is FUNCTION_COMPUTE


_TIER = "[[tiers]]\nprice = 1\n"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("currency = [", "prices.toml"),
        ('currency = "EUR"', "tiers"),
        ('currency = "EUR"\ntiers = []', "upto"),
        ('currency = "EUR"\n[[tiers]]\nprice = -1', "below 0"),
        ('currency = "EUR"\n[[tiers]]\nprice = nan', "below 0"),
        (f'currency = "EUR"\nvcpus = 1\n{_TIER}', "vcpus"),
        (f'currency = "EUR"\n{_TIER}upto = 5', "upto"),
        (f'currency = "EUR"\n{_TIER}upto = 5\n{_TIER}upto = 4\n{_TIER}', "upto"),
    ],
)
def test_prices_that_make_no_sense_are_refused_with_the_file_and_the_reason(
    tmp_path: Path, text: str, why: str
) -> None:
    file = tmp_path / "prices.toml"
    file.write_text(text)
    with pytest.raises(BadPrices, match=why) as refused:
        load(str(file))
    assert str(file) in str(refused.value)
    with pytest.raises(BadPrices, match="elsewhere"):
        load(str(tmp_path / "elsewhere"))

"""Amounts are exact whatever their size, and the account's name says what they count."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cli.ledger.amounts import amount_text, read_amount, scope_of, unit_of, unit_text
from planner.spec import Window
from profiles.errors import InputError
from runtime.ledger import Unit
from runtime.tenants.scope_names import suffix

NANO = (Unit.NANO_USD, Unit.NANO_GPU_S)
INTEGERS = st.integers(-(2**62), 2**62)
MONEY = st.sampled_from(NANO)


@given(INTEGERS, st.sampled_from(Unit))
def test_what_is_shown_reads_back_as_the_same_amount(amount: int, unit: Unit) -> None:
    shown = amount_text(amount, unit).replace(",", "")
    assert read_amount(shown, unit, where="--usd") == amount


@given(st.decimals(-(10**9), 10**9, places=9), MONEY)
def test_dollars_are_counted_to_the_last_nano_dollar(value: Decimal, unit: Unit) -> None:
    assert read_amount(f"{value:f}", unit, where="--usd") == int(value.scaleb(9))


@given(INTEGERS, MONEY)
def test_a_tail_of_zeros_changes_nothing(amount: int, unit: Unit) -> None:
    shown = f"{amount_text(amount, unit).replace(',', '')}0000000000000"
    assert read_amount(shown, unit, where="--usd") == amount


@pytest.mark.parametrize(
    ("text", "amount"),
    [("-3.20", -3_200_000_000), ("0.000000001", 1), ("+1", 10**9), ("-0.1", -(10**8)),
     ("123456789.987654321", 123456789987654321)],
)  # fmt: skip
def test_an_amount_is_what_its_digits_say(text: str, amount: int) -> None:
    assert read_amount(text, Unit.NANO_USD, where="--usd") == amount


@pytest.mark.parametrize(
    "text",
    ["", "-", "1e3", "1_000", "1,000", "nan", "inf", ".5", "5.", "0.0000000001", "٣", "0x10",
     "--3", "3 .2", "9" * 20, "1e999999999", "3.20 USD", "3\x1b[31m"],
)  # fmt: skip
def test_what_is_no_exact_amount_is_refused_and_quoted_safely(text: str) -> None:
    with pytest.raises(InputError, match="at most 9 decimals") as refused:
        read_amount(text, Unit.NANO_USD, where="--usd")
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("text", ["1.5", "0.1", "1e2"])
def test_tokens_have_no_parts(text: str) -> None:
    with pytest.raises(InputError, match="no decimals"):
        read_amount(text, Unit.TOKENS, where="--tokens")


@pytest.mark.parametrize("unit", Unit)
@pytest.mark.parametrize("window", Window)
def test_every_name_that_tenants_make_says_its_unit(unit: Unit, window: Window) -> None:
    for rolling in (False, True):
        name = f"org:acme/team:search{suffix(unit, window, rolling=rolling)}"
        assert unit_of(name) is unit
        assert scope_of(name) == "org:acme/team:search"


@pytest.mark.parametrize("name", ["global", "global/day", "global/month"])
def test_a_policys_own_accounts_count_dollars(name: str) -> None:
    assert unit_of(name) is Unit.NANO_USD
    assert scope_of(name) == name


@pytest.mark.parametrize(
    "name", ["", "org", "org|nano_usd", "org|euros|day", "org|tokens|year", "|tokens|day", "a|b|c"]
)
def test_a_name_that_says_no_unit_is_not_guessed(name: str) -> None:
    assert unit_of(name) is None
    assert scope_of(name) == name
    assert unit_text(unit_of(name)) == "unknown"
    assert amount_text(1_500_000_000, None) == "1,500,000,000"


def test_what_has_no_limit_is_a_dash_and_not_a_zero() -> None:
    assert amount_text(None, Unit.NANO_USD) == "-"
    assert amount_text(0, Unit.NANO_USD) == "0.00"

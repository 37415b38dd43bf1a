"""Amounts of accounts as people write and read them: exact, since only digits are moved."""

from __future__ import annotations

import re

from planner.spec import Window
from profiles.errors import InputError
from runtime.ledger import Unit

_NANO = 9
_MONEY_PLACES = 2
_PLACES = {Unit.NANO_USD: _NANO, Unit.NANO_GPU_S: _NANO}
"""Decimals of a unit that people write in whole dollars or seconds; others have none."""
_SHOWN = {Unit.NANO_USD: "USD", Unit.NANO_GPU_S: "GPU s", Unit.IN_FLIGHT: "in flight"}
_NUMBER = re.compile(r"([+-]?)([0-9]{1,19})(?:\.([0-9]{1,40}))?", re.ASCII)
_OF_POLICIES = {"global", *(f"global/{window}" for window in Window if window is not Window.TOTAL)}


def unit_of(account: str) -> Unit | None:
    """What an account counts, by its name.

    ``org:acme|nano_usd|day`` says it. A policy's own accounts, ``global`` and such as
    ``global/day``, count nano-dollars. None where a name says nothing: then nobody may guess.
    """
    if account in _OF_POLICIES:
        return Unit.NANO_USD
    scope, _, rest = account.partition("|")
    unit, _, window = rest.partition("|")
    known = scope and window.removeprefix("rolling-") in set(Window)
    return Unit(unit) if known and unit in set(Unit) else None


def scope_of(account: str) -> str:
    """Whose account it is: its name without unit and window."""
    return account.partition("|")[0] if unit_of(account) else account


def unit_text(unit: Unit | None) -> str:
    """A unit for people; 'unknown' where the account's name says none."""
    return "unknown" if unit is None else _SHOWN.get(unit, unit.value)


def amount_text(amount: int | None, unit: Unit | None) -> str:
    """An amount for people, to the last digit that is not 0; a dash for what has no limit."""
    if amount is None:
        return "-"
    places = _PLACES.get(unit, 0) if unit else 0
    whole, rest = divmod(abs(amount), 10**places)
    sign = "-" if amount < 0 else ""
    if not places:
        return f"{sign}{whole:,}"
    digits = f"{rest:0{places}d}".rstrip("0").ljust(_MONEY_PLACES, "0")
    return f"{sign}{whole:,}.{digits}"


def in_whole_units(amount: int, unit: Unit | None) -> float:
    """An amount in what people count in, e.g. dollars, for pictures: to the digits of a float."""
    places = _PLACES.get(unit, 0) if unit else 0
    return float(amount / 10**places)


def read_amount(text: str, unit: Unit, *, where: str) -> int:
    """What a person wrote, in the unit's whole numbers.

    Args:
        text: E.g. ``-3.20``; no exponent, no separators.
        unit: Of the account.
        where: The option, for the error.

    Raises:
        InputError: It is no such number, or finer than the unit counts.
    """
    places = _PLACES.get(unit, 0)
    found = _NUMBER.fullmatch(text.strip())
    decimals = (found[3] or "").rstrip("0") if found else ""
    if found is None or len(decimals) > places:
        most = f"at most {places} decimals" if places else "no decimals"
        raise InputError(
            "this is no exact amount",
            where=where,
            expected=f"a number such as {'-3.20' if places else '-3'}, with {most}",
            got=repr(text),
        )
    return int(f"{found[1]}{found[2]}{decimals.ljust(places, '0')}")

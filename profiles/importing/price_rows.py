"""From a price list to a dated price card."""

from __future__ import annotations

from datetime import date

from pydantic import ValidationError

from profiles.errors import InputError
from profiles.importing.fields import Fields
from profiles.importing.formats.found import SetAside
from profiles.importing.numbers import BadNumberError, is_absent, read_number
from profiles.importing.quarantine import aside
from profiles.importing.spelling import strategy_text
from profiles.importing.tables import Row, Table
from profiles.importing.values import SetAsideError
from profiles.money import PriceCard, TokenPrice
from profiles.notes import Kind, Notes

_NEEDED = ("input", "output")
_OPTIONAL = ("cached", "reasoning")


def read_card(
    table: Table, fields: Fields, *, source: str, notes: Notes
) -> tuple[PriceCard, list[SetAside]]:
    """A card of token prices, USD per million tokens, and the rows that give no price.

    Raises:
        InputError: No day from which the prices hold, two prices for one model, or no price at all.
    """
    models: dict[str, TokenPrice] = {}
    left_out: list[SetAside] = []
    for line, row in table.rows:
        try:
            name, price = _price(fields, row)
        except SetAsideError as error:
            left_out.append(aside(line, error.why, row))
            notes.add(error.why, f"line {line}: {error.got!r:.60}", kind=Kind.SET_ASIDE)
            continue
        if models.setdefault(name, price) != price:
            raise InputError(f"{name} has two prices", where=f"{table.name}:{line}")
    if not models:
        raise InputError("no row of the file gives a price", where=table.name)
    return PriceCard(as_of=_day(fields, table), source=source, models=models), left_out


def _price(fields: Fields, row: Row) -> tuple[str, TokenPrice]:
    model = fields.text(row, "model")
    if not model:
        raise SetAsideError("no model", "")
    prices = {name: _usd(fields, row, name) for name in (*_NEEDED, *_OPTIONAL)}
    if any(prices[name] is None for name in _NEEDED):
        raise SetAsideError("no price of input or output", model)
    try:
        name = strategy_text("", model, "single").removesuffix("/single")
        return name, TokenPrice.model_validate(prices)
    except InputError as error:
        raise SetAsideError(error.what, model) from error
    except ValidationError as error:
        raise SetAsideError("this is not a price", prices) from error


def _usd(fields: Fields, row: Row, name: str) -> float | None:
    value = fields.value(row, name)
    if is_absent(value):
        return None
    try:
        number = read_number(value)[0]
    except BadNumberError as error:
        raise SetAsideError(f"{name} {error}", value) from error
    return number * fields.factors.get(name, 1.0)


def _day(fields: Fields, table: Table) -> date:
    days = {fields.text(row, "as_of") for _, row in table.rows}
    try:
        (day,) = days
        return date.fromisoformat(day)
    except ValueError as error:
        raise InputError(
            "a price list needs the one day from which it holds",
            where=f"{table.name}: as_of",
            expected="YYYY-MM-DD",
            got=", ".join(sorted(days))[:60] or None,
            next_step="say it with --constant as_of=YYYY-MM-DD",
        ) from error

"""Edits as sentences: those that no table of a report shows."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from pydantic_core import to_jsonable_python

from policies.decimals import plain
from policies.edits import (
    BudgetChanged,
    CapChanged,
    CellChanged,
    Edit,
    FactChanged,
    LimitChanged,
    OrderChanged,
    PriceChanged,
    RungFactChanged,
    ShadowPriceChanged,
    StrategyChanged,
)
from policies.policy import Budget
from profiles.digest import canonical_json

Named = Callable[[str], str]
_DIGEST = re.compile("sha256:[0-9a-f]{64}")
_DIGEST_SHOWN = 19


def other_changes(edits: Iterable[Edit], name: Named) -> list[str]:
    """A line per edit that is not in a table; measured cells and shadow prices are counted.

    Args:
        edits: Of a difference.
        name: Makes safe what others wrote.
    """
    edits = list(edits)
    lines = [line for edit in edits for line in _line(edit, name)]
    return [*lines, *_counted(edits)]


def budget_changes(edits: Iterable[Edit], name: Named) -> Iterator[str]:
    """A line per budget that changes, appears or vanishes: one of another window is another one."""
    for edit in edits:
        match edit:
            case BudgetChanged(before=None, after=Budget() as new):
                yield f"new budget: {edit.budget}, {_money(new)}"
            case BudgetChanged(before=Budget() as old, after=None):
                yield f"budget gone: {edit.budget}, {_money(old)}"
            case BudgetChanged():
                yield f"budget {edit.budget}: {_change(edit.before, edit.after, name)}"


def _money(budget: Budget) -> str:
    each = f"{plain(budget.usd_per_request)} USD per request"
    return each if budget.limit_usd is None else f"{plain(budget.limit_usd)} USD, {each}"


def _line(edit: Edit, name: Named) -> Iterator[str]:
    match edit:
        case StrategyChanged():
            which = "new strategy" if edit.before is None else "strategy gone"
            yield f"{which}: {name(edit.strategy)}"
        case CapChanged():
            what = f"{edit.cap} of {name(edit.strategy)}"
            yield f"{what}: {_change(edit.before, edit.after, name)}"
        case RungFactChanged(key="objective" | "budget_fraction"):
            what = f"{edit.key} of rung {edit.rung:g}"
            yield f"{what}: {_change(edit.before, edit.after, name)}"
        case LimitChanged():
            yield f"limits.{edit.limit}: {_change(edit.before, edit.after, name)}"
        case PriceChanged():
            change = _change(edit.before, edit.after, name)
            yield f"price of {name(edit.model)}, USD per million tokens: {change}"
        case OrderChanged() if _reordered(edit):
            yield f"{edit.of} stand in another order"
        case FactChanged() if edit.key != "confidence":
            yield f"{edit.key}: {_change(edit.before, edit.after, name)}"


def _reordered(edit: OrderChanged) -> bool:
    """Whether that is so of those that stay: what is new has to stand somewhere."""
    stays = [name for name in edit.before if name in edit.after]
    return stays != [name for name in edit.after if name in edit.before]


def _change(before: Any, after: Any, name: Named) -> str:
    """Both values; of records only the keys that differ."""
    old, new = to_jsonable_python(before), to_jsonable_python(after)
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
        parts = [f"{name(key)} {_both(old.get(key), new.get(key), name)}" for key in keys]
        return ", ".join(parts)
    return _both(old, new, name)


def _both(old: Any, new: Any, name: Named) -> str:
    return f"{_value(old, name)} -> {_value(new, name)}"


def _value(value: Any, name: Named) -> str:
    if value is None:
        return "none"
    if isinstance(value, str):
        return name(value[:_DIGEST_SHOWN] if _DIGEST.fullmatch(value) else value)
    return name(canonical_json(value))


def _counted(edits: Iterable[Edit]) -> Iterator[str]:
    cells = Counter(
        "appeared" if edit.before is None else "vanished" if edit.after is None else "changed"
        for edit in edits
        if isinstance(edit, CellChanged)
    )
    if cells:
        yield "measured cells: " + ", ".join(f"{cells[how]} {how}" for how in sorted(cells))
    if prices := sum(isinstance(edit, ShadowPriceChanged) for edit in edits):
        yield f"shadow prices: {prices} changed"

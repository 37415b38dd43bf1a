"""Budgets as Prometheus reads them: several series of each, and there can be tens of thousands.

prometheus_client would take 15 times as long to write them, and answer nobody meanwhile. So the
lines are made here, some hundred budgets at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import NamedTuple

from profiles.money import NANO_PER_USD as NANO
from profiles.money import to_usd
from runtime.ledger import ScopeState, Snapshot, Unit

_AT_ONCE = 500
_ESCAPED = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


class _Series(NamedTuple):
    """One number of every budget that has it.

    Attributes:
        name: As Prometheus knows it.
        kind: ``counter`` or ``gauge``.
        about: What it is.
        value: Of one budget; None where it has none.
        by_unit: Whether the unit is a label too.
    """

    name: str
    kind: str
    about: str
    value: Callable[[ScopeState], float | None]
    by_unit: bool = False

    def line(self, state: ScopeState) -> str:
        """The line of one budget, empty where it has none."""
        value = self.value(state)
        if value is None:
            return ""
        unit = f',unit="{state.unit.removeprefix("nano_")}"' if self.by_unit else ""
        return f'{self.name}{{scope="{state.name.translate(_ESCAPED)}"{unit}}} {value}\n'


class _Sum(NamedTuple):
    """One number of all budgets together."""

    name: str
    kind: str
    about: str
    value: Callable[[Snapshot], float]


def budget_text(snapshot: Snapshot) -> Iterator[str]:
    """What Prometheus reads of all budgets, in parts that take half a millisecond each.

    Args:
        snapshot: How they stand.
    """
    for one in _SUMS:
        yield f"{_head(one)}{one.name} {one.value(snapshot)}\n"
    scopes = snapshot.scopes
    for series in _SERIES:
        yield _head(series)
        for first in range(0, len(scopes), _AT_ONCE):
            yield "".join(map(series.line, scopes[first : first + _AT_ONCE]))


def _head(found: _Series | _Sum) -> str:
    return f"# HELP {found.name} {found.about}\n# TYPE {found.name} {found.kind}\n"


def _dollars(amount: str) -> Callable[[ScopeState], float | None]:
    """An amount of budgets in dollars."""
    value = attrgetter(amount)

    def dollars(state: ScopeState) -> float | None:
        found: int | None = value(state) if state.unit is Unit.NANO_USD else None
        return None if found is None else to_usd(found)

    return dollars


def _units(amount: str) -> Callable[[ScopeState], float | None]:
    """An amount of budgets in other units, whole."""
    value = attrgetter(amount)

    def units(state: ScopeState) -> float | None:
        found: int | None = None if state.unit is Unit.NANO_USD else value(state)
        return found / NANO if found is not None and state.unit is Unit.NANO_GPU_S else found

    return units


def _moment(name: str) -> Callable[[ScopeState], float | None]:
    """Start or end of the window of budgets in dollars that renew."""
    value = attrgetter(name)

    def moment(state: ScopeState) -> float | None:
        renews = state.unit is Unit.NANO_USD and state.epoch_end_s is not None
        found: int | None = value(state) if renews else None
        return found

    return moment


_SUMS = (
    _Sum(
        "inferbudget_bound_exceeded_total",
        "counter",
        "Calls with more tokens or dollars than allowed: the upstream ignored its cap.",
        lambda found: found.alarms,
    ),
    _Sum(
        "inferbudget_overrun_usd_total",
        "counter",
        "Dollars charged that no hold covered: the upstream ignored its cap.",
        lambda found: to_usd(found.overrun_nano_usd),
    ),
    _Sum(
        "inferbudget_open_holds",
        "gauge",
        "Requests that hold money now.",
        lambda found: found.open_holds,
    ),
)
_SERIES = (
    _Series(
        "inferbudget_spend_usd_total",
        "counter",
        "Dollars charged, all windows.",
        _dollars("spent_ever"),
    ),
    _Series(
        "inferbudget_held_usd",
        "gauge",
        "Dollars held by requests in flight.",
        _dollars("held"),
    ),
    _Series(
        "inferbudget_budget_remaining_usd",
        "gauge",
        "Dollars of this window that are neither spent nor held.",
        _dollars("remaining"),
    ),
    _Series(
        "inferbudget_budget_limit_usd",
        "gauge",
        "Dollars of this window, with what it inherited.",
        _dollars("limit"),
    ),
    _Series(
        "inferbudget_budget_window_start_timestamp_seconds",
        "gauge",
        "When this window began, Unix seconds.",
        _moment("epoch_start_s"),
    ),
    _Series(
        "inferbudget_budget_window_end_timestamp_seconds",
        "gauge",
        "When this window ends, Unix seconds.",
        _moment("epoch_end_s"),
    ),
    _Series(
        "inferbudget_refused_holds_total",
        "counter",
        "Holds that a scope had no room for.",
        attrgetter("refusals"),
    ),
    _Series(
        "inferbudget_units_spent_total",
        "counter",
        "Charged beside dollars, all windows: tokens, requests, gpu_s.",
        _units("spent_ever"),
        by_unit=True,
    ),
    _Series(
        "inferbudget_units_held",
        "gauge",
        "Held beside dollars by requests in flight.",
        _units("held"),
        by_unit=True,
    ),
    _Series(
        "inferbudget_units_remaining",
        "gauge",
        "Of this window neither spent nor held, beside dollars.",
        _units("remaining"),
        by_unit=True,
    ),
)

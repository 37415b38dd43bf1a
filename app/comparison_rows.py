"""Rows of scenarios side by side as people read them: what is the same and what differs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from app.comparing import Column, Comparison, Planned
from planner.plan import Plan
from policies.change import Change
from policies.diff_notes import asked_words, promised_words
from policies.figures_in_words import (
    per_cent,
    points_change,
    seconds,
    seconds_change,
    usd,
    usd_change,
    with_interval,
)
from policies.yaml_values import flow
from profiles.yaml_settings import parted

NO_PLAN = "no plan"
NOT_MEASURED = "not measured"
_AS_SPEC = "as in the spec"
REQUESTS = 1000
READING = (
    "In brackets: what is promised, and 95 % intervals of a difference, from the standard errors "
    "of the measured cells. What the same measurement says of both counts once. Nothing is known "
    "of the errors of p95s."
)
Name = Callable[[str], str]
"""Makes safe what others wrote."""


@dataclass(frozen=True, slots=True)
class Row:
    """One fact of every scenario.

    Attributes:
        head: What it is about: one cell, of shares two, class and strategy.
        cells: One for every scenario, in words.
        against: What each differs by from the base; empty where that says nothing.
        differs: Whether the scenarios that have a plan differ here.
    """

    head: tuple[str, ...]
    cells: tuple[str, ...]
    against: tuple[str, ...] = ()
    differs: bool = False


def figure_rows(found: Comparison, name: Name) -> list[Row]:
    """What is set, what comes of it, how limits stand, and what it rests on."""
    return [
        *_settings(found, name),
        _accuracy(found),
        _per_1000_requests(found),
        *_per_window(found),
        *_with_fixed_costs(found, name),
        _p95(found),
        *_limits(found, name),
        _said(found, "binds", lambda one: ", ".join(map(name, one.binding)) or "nothing"),
        _said(found, "objective", lambda one: one.rung.objective),
        _said(found, "promises", lambda one: _sure(one.plan)),
        _said(found, "workload", lambda one: name(one.plan.workload)),
        _said(found, "measured", _measured),
        _said(found, "prices", lambda one: prices_of(one, name)),
    ]


def same_title(found: Comparison) -> str:
    """What stands above the rows in which no plans differ."""
    return "The same in all" if found.several else "The one plan"


def row_of(
    found: Comparison, head: tuple[str, ...], cells: Iterable[str], against: Iterable[str] = ()
) -> Row:
    """One fact, of which columns without a plan say that they have none.

    Args:
        found: What is compared.
        head: What it is about.
        cells: One for every column; that of a column without a plan does not count.
        against: What each differs by from the base, or empty texts.
    """
    said = [
        cell if column.planned else NO_PLAN
        for column, cell in zip(found.columns, cells, strict=True)
    ]
    known = {cell for column, cell in zip(found.columns, said, strict=True) if column.planned}
    changes = tuple(against)
    return Row(head, tuple(said), changes if any(changes) else (), len(known) > 1)


def _said(found: Comparison, about: str, say: Callable[[Planned], str]) -> Row:
    cells = (say(column.planned) if column.planned else NO_PLAN for column in found.columns)
    return row_of(found, (about,), cells)


def _settings(found: Comparison, name: Name) -> Iterator[Row]:
    """A row for every path that some scenario sets; asked of all, plan or not."""
    each = [dict(map(parted, column.settings)) for column in found.columns]
    for path in dict.fromkeys(path for values in each for path in values):
        cells = tuple(name(flow(values[path])) if path in values else _AS_SPEC for values in each)
        yield Row((f"set {name(path)}",), cells, differs=len(set(cells)) > 1)


def _accuracy(found: Comparison) -> Row:
    def cell(one: Planned) -> str:
        expected, promised = one.rung.expected, one.rung.promised
        return _with(one, per_cent(expected.accuracy), "at least", per_cent(promised.accuracy))

    return _figure(found, "accuracy", cell, _points)


def _per_1000_requests(found: Comparison) -> Row:
    def cell(one: Planned) -> str:
        expected, promised = one.rung.expected, one.rung.promised
        dollars = (thousand(f.cost_usd_per_request) for f in (expected, promised))
        return _with(one, next(dollars), "at most", next(dollars))

    def change(column: Column) -> str:
        return usd_words(scaled(column.against.usd_per_request, REQUESTS)) if column.against else ""

    return _figure(found, f"USD per {REQUESTS:,} requests", cell, change)


def _per_window(found: Comparison) -> Iterator[Row]:
    """Dollars of a month's requests, or of all; nothing where it is not known how many."""
    spends = [column.planned.spend if column.planned else None for column in found.columns]
    known = {spend[0] for spend in spends if spend}
    if len(known) != 1 or known == {"request"}:
        return
    label = "expected USD per month" if known == {"month"} else "expected USD in all"
    cells = [NO_PLAN if spend is None else dollars(spend[1]) for spend in spends]
    changes = [
        usd_words(column.against.spend) if column.against else "" for column in found.columns
    ]
    yield row_of(found, (label,), cells, changes)


def _with_fixed_costs(found: Comparison, name: Name) -> Iterator[Row]:
    plans = [column.planned.plan for column in found.columns if column.planned]
    if not any(plan.fixed_costs for plan in plans):
        return

    def total(one: Planned) -> str:
        fees = one.plan.fixed_costs
        if fees is None:
            return "no fixed costs"
        expected, promised = usd(fees.expected_total_usd), usd(fees.promised_total_usd)
        return f"{_with(one, expected, 'at most', promised)} per {fees.per}"

    def paid(one: Planned) -> str:
        fees = one.plan.fixed_costs
        return ", ".join(map(name, fees.paid if fees else ())) or "none"

    yield _said(found, "USD with fixed costs", total)
    yield _said(found, "fixed costs paid", paid)


def _p95(found: Comparison) -> Row:
    def cell(one: Planned) -> str:
        expected, promised = one.rung.expected.latency_p95_s, one.rung.promised.latency_p95_s
        if expected is None:
            return p95_words(one, None)
        if promised is None and one.plan.confidence is not None:
            return f"{seconds(expected)} (promised: {p95_words(one, None)})"
        return _with(one, seconds(expected), "at most", seconds(promised))

    def change(column: Column) -> str:
        return seconds_change(column.against.latency_p95_s) if column.against else ""

    return _figure(found, "p95 latency", cell, change)


def _limits(found: Comparison, name: Name) -> Iterator[Row]:
    plans = [column.planned for column in found.columns if column.planned]
    for limit in dict.fromkeys(limit for one in plans for limit in one.rung.limits):

        def cell(one: Planned, limit: str = limit) -> str:
            held = one.rung.limits.get(limit)
            if held is None:
                return "not asked"
            return f"{asked_words(limit, held)}; promised: {promised_words(limit, held)}"

        yield _said(found, f"limit {name(limit)}", cell)


def _figure(
    found: Comparison, about: str, cell: Callable[[Planned], str], change: Callable[[Column], str]
) -> Row:
    cells = (cell(column.planned) if column.planned else NO_PLAN for column in found.columns)
    return row_of(found, (about,), cells, map(change, found.columns))


def _with(one: Planned, expected: str, side: str, promised: str) -> str:
    """An expected figure and what is promised of it."""
    if one.plan.confidence is None:
        return f"{expected} (point estimate)"
    return f"{expected} ({side} {promised})"


def _sure(plan: Plan) -> str:
    if plan.confidence is None:
        return "none, point estimates"
    return f"with {100 * plan.confidence:g} % confidence"


def _measured(one: Planned) -> str:
    return f"{one.profile.queries:,} queries, {', '.join(one.evidence)}"


def prices_of(one: Planned, name: Name) -> str:
    """Where dollars come from: recorded with the answers, or reckoned from a price card."""
    known = [cell for cell in one.cells if cell.cost_usd is not None]
    priced, card = sum(cell.cost_priced for cell in known), one.plan.prices
    if not known:
        return "no dollars known"
    if not priced:
        return "recorded with the answers"
    part = "in part " if priced < sum(cell.observations for cell in known) else ""
    day = f" as of {card.as_of}" if card.as_of else ""
    return f"{part}from the price card{day}{f', {name(card.source)}' if card.source else ''}"


def p95_words(one: Planned, p95_s: float | None) -> str:
    """Seconds; where there are none, whether nobody measured or the tail is beyond all limits."""
    if p95_s is not None:
        return seconds(p95_s)
    if any(cell.exceeded is None for cell in one.cells):
        return NOT_MEASURED
    return f"over {seconds(one.profile.latency_grid_s[-1])}"


def _points(column: Column) -> str:
    return points_change(column.against.accuracy) if column.against else ""


def thousand(usd_per_request: float | None) -> str:
    """Dollars per request as those of 1,000 requests."""
    return dollars(None if usd_per_request is None else REQUESTS * usd_per_request)


def dollars(value: float | None) -> str:
    """Dollars, or that nobody measured them."""
    return NOT_MEASURED if value is None else usd(value)


def usd_words(change: Change) -> str:
    """A change of dollars with its interval, or that there is none."""
    shown = usd_change(change)
    if change.change and change.low is None:
        return f"{shown} (interval unknown)"
    return with_interval(shown, change)


def scaled(change: Change, factor: float) -> Change:
    """A change in another unit: so many of it are one of the old."""
    values = (change.before, change.after, change.change, change.low, change.high)
    return Change(*(None if value is None else factor * value for value in values))

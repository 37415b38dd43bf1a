"""What a question can decide, and what its limits say about a decision.

A decision has a share per column of the programme: of the estimates, or where there are tenants of
`planner.estimating.segments`. A moved accuracy or spend limit re-solves a warm session. A moved
latency limit changes coefficients, so every grid limit of the profile gets rows and a session of
its own on first use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np

from planner.estimating.allocation import Accounts
from planner.estimating.estimates import Estimates, estimate
from planner.estimating.limit_rows import LimitRows, refuse_unknown
from planner.estimating.spending import Spending
from planner.estimating.tenants import Tenants, is_tenants_latency, is_tenants_spend
from planner.integers.shaped_session import ShapedSession
from planner.limit_names import SPEND, is_latency, whose
from planner.limits import LimitSet
from planner.programme.limit_row import LimitRow
from planner.programme.margin import Array, Margin
from planner.programme.model import Programme, build_model, compile_model, cost_unit
from planner.programme.session import Session
from planner.spec import Spec
from profiles.errors import InputError
from profiles.profile import Profile

MOST_KEPT = 16
"""Warm solvers that are kept: a few latency limits, each with the rivals of its answers."""

_Key = tuple[tuple[str, int], ...]
_K = TypeVar("_K")
_V = TypeVar("_V")


class Decisions:
    """Columns, rows and warm solvers of one profile under one spec. Not thread-safe.

    Attributes:
        estimates: Numbers per measured column, with the class mix of all traffic.
        decided: Numbers per column of the programme; the same without tenants.
        accounts: Figures and margins over the measured columns.
        tenants: Numbers of every tenant, None without tenants.
        spending: Keeps limits on the bill.
        unit: Dollars that one unit of the programme's costs stands for.

    Raises:
        UnknownValueError: A class without cells, or an unknown use that a limit needs.
        InputError: The spec names a workload, a class or a strategy that the profile lacks.
    """

    def __init__(
        self,
        profile: Profile,
        spec: Spec,
        accounts: Accounts | None = None,
    ) -> None:
        found = accounts.estimates if accounts else estimate(profile, spec)
        self.unit = cost_unit(found)
        self.tenants = Tenants(profile, spec, found, self.unit) if spec.tenants else None
        self.segments = self.tenants.segments if self.tenants else None
        self.estimates: Estimates = self.segments.base if self.segments else found
        self.decided: Estimates = self.segments.estimates() if self.segments else found
        judged = spec.traffic.fewest if spec.traffic and self.estimates.level else None
        self.accounts = accounts or Accounts(self.estimates, judged)
        self.spending = Spending(self.accounts.bill, self.unit, self.segments)
        for name in spec.value.by_class if spec.value else ():
            refuse_unknown(name, profile.classes, "value.by_class", "class")
        self._spec = spec
        self._limits = LimitSet.of(spec)
        self._limit_rows = LimitRows(self.accounts, spec, self.unit, self.spending.margin)
        self._rows_of: dict[_Key, tuple[LimitRow, ...]] = {}
        self._doubts: dict[str, Margin] = {}
        self._programmes: dict[_Key, Programme] = {}
        self._sessions: dict[tuple[_Key, str | None], Session | ShapedSession] = {}

    def rows(self, limits: LimitSet) -> tuple[LimitRow, ...]:
        """Every row that a question with these limits can set; latency rows at their seconds.

        Raises:
            UnknownValueError: A tail that a limit needs is unknown.
            InputError: A limit is about a class that there is not.
        """
        seconds = {name: s for name, s in self._limits.values.items() if is_latency(name)}
        seconds |= {name: s for name, s in limits.values.items() if is_latency(name)}
        key = tuple(
            (name, self.estimates.latency_row(s, name)) for name, s in sorted(seconds.items())
        )
        if key not in self._rows_of:
            self._rows_of[key] = tuple(self._built(sorted(seconds.items())))
        return self._rows_of[key]

    def _built(self, limits_s: list[tuple[str, float]]) -> Iterator[LimitRow]:
        of_all = [one for one in limits_s if not is_tenants_latency(one[0])]
        rows = (*self._limit_rows.lasting, *self._limit_rows.of_latency(of_all))
        if self.tenants is None:
            yield from rows
            return
        yield from map(self.tenants.segments.about_all, rows)
        yield from self.tenants.lasting()
        yield from self.tenants.of_latency([one for one in limits_s if one not in of_all])

    def programme(self, limits: LimitSet) -> Programme:
        """The compiled model of record for questions with these limits.

        Raises:
            UnknownValueError: A tail that a limit needs is unknown.
            InputError: A limit is about a class that there is not.
        """
        rows = self.rows(limits)
        worth = self.value_usd
        if worth is not None and self.segments is not None:
            worth = np.tile(worth, len(self.segments.names))
        return compile_model(build_model(self.decided, rows, value_usd=worth), rows)

    def about_all(self, margin: Margin) -> Margin:
        """A margin over the measured columns, of decisions."""
        return margin if self.segments is None else self.segments.margin_about_all(margin)

    def session(self, limits: LimitSet, doubt: str | None = None) -> Session | ShapedSession:
        """The warm solver for questions with these limits that lower accuracy by this doubt.

        Each doubt has one of its own: a solver that changes between them starts from afar again.
        """
        rows = self.rows(limits)
        key = next(key for key, own in self._rows_of.items() if own is rows)
        return _kept(self._sessions, (key, doubt), lambda: self._session(key, rows, limits, doubt))

    def doubt(self, name: str, margin: Callable[[], Margin]) -> str:
        """Make a margin of the accuracy known, over the measured columns; its name."""
        if name not in self._doubts:
            self._doubts[name] = self.about_all(margin())
        return name

    def _session(
        self, key: _Key, rows: tuple[LimitRow, ...], limits: LimitSet, doubt: str | None
    ) -> Session | ShapedSession:
        margins = {row.name: row.margin for row in rows if row.margin is not None}
        if doubt is not None:
            margins[doubt] = self._doubts[doubt]
        programme = _kept(self._programmes, key, lambda: self.programme(limits))
        return self._shaped(Session(programme, margins, self.decided.columns), margins)

    def _shaped(self, session: Session, margins: dict[str, Margin]) -> Session | ShapedSession:
        if self._spec.allocation is None:
            return session
        return ShapedSession(
            session,
            margins,
            class_of=self.decided.class_of,
            strategy_of=self.decided.strategy_of,
            allocation=self._spec.allocation,
        )

    @property
    def value_usd(self) -> Array | None:
        """Worth of a correct answer per class, None where nobody asks."""
        value = self._spec.value
        if value is None:
            return None
        return np.array([value.of(name) for name in self.estimates.classes])

    def asked(self, limits: LimitSet) -> Iterator[tuple[LimitRow, float]]:
        """Rows that the limits set, each with the limit's value.

        Raises:
            UnknownValueError: A cost that a limit on spend needs is unknown.
            InputError: A limit that the spec does not have and that no row is made for.
        """
        rows = self.rows(limits)
        known = {row.limit for row in rows}
        for name in limits.values:
            if name not in known and whose(name)[1] == SPEND:
                self.estimates.require_costs(name)
            if name not in known:
                raise InputError("the spec has no such limit", where=f"limits.{name}")
        return ((row, limits.values[row.limit]) for row in rows if row.limit in limits.values)

    def missed(self, row: LimitRow, x: Array, value: float) -> float:
        """By how much a limit is missed, in units of its row; negative where it is kept."""
        if row.limit == SPEND:
            return (self.accounts.bill.promised(self.of_all(x)) - value) / self.unit
        if self.tenants is not None and is_tenants_spend(row.limit):
            return self.tenants.spend_missed(row.limit, x, value)
        return row.missed(x, value)

    def keeps(self, x: Array, limits: LimitSet, tolerance: float) -> bool:
        """Whether a decision keeps the limits."""
        return all(self.missed(row, x, value) <= tolerance for row, value in self.asked(limits))

    def of_all(self, x: Array) -> Array:
        """What a decision does over all traffic, per column of the estimates."""
        return x if self.segments is None else self.segments.of_all(x)

    def alike(self, x: Array) -> Array:
        """The decision that treats all tenants alike."""
        return x if self.segments is None else self.segments.alike(x)

    def unit_of(self, limit: str, limits: LimitSet) -> float:
        """People's units that one unit of a limit's rows stands for."""
        return next(row.unit for row in self.rows(limits) if row.limit == limit)


def _kept(known: dict[_K, _V], key: _K, make: Callable[[], _V]) -> _V:
    """What is known under a key, else what is made; of what was asked last a few are kept."""
    found = known.pop(key) if key in known else make()
    known[key] = found
    if len(known) > MOST_KEPT:
        del known[next(iter(known))]
    return found

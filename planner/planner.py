"""One planner per profile and spec: built once, asked often (sliders, sweeps, menus)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice

import numpy as np

from planner.estimating.allocation import SMALLEST_SHARE, Accounts, by_name, tidy
from planner.estimating.estimates import TAIL, Estimates, estimate
from planner.estimating.group_figures import gap_figures, group_figures
from planner.estimating.groups import is_of_groups
from planner.estimating.spending import Spending
from planner.explain import explain
from planner.limits import Keep, LimitSet
from planner.plan import Rung
from planner.programme.margin import Array
from planner.programme.model import (
    BY_CLASS,
    LATENCY,
    OBJECTIVE_SCALE,
    OVERALL,
    SPEND,
    build_model,
    compile_model,
    cost_unit,
    is_floor,
)
from planner.programme.session import Question, Session, Solution
from planner.spec import Objective, Spec
from profiles.errors import InfeasibleError
from profiles.profile import Profile

EXCEEDANCE = "latency.exceedance"
ABSOLUTE = "doubt"
REFERENCES = 3
"""How many single strategies are tried as the one to beat."""


@dataclass(frozen=True)
class Answer:
    """A proven allocation in the model's own terms.

    Attributes:
        x: Tidied share per column of the estimates.
        value: The objective: dollars per request, or accuracy less doubt.
        shadow_prices: Change of that value per unit of each binding limit.
    """

    x: Array
    value: float
    shadow_prices: dict[str, float]


class Planner:
    """Answers questions about one profile under one spec. Not thread-safe.

    A moved accuracy or spend limit re-solves a warm session. A moved latency limit changes
    coefficients, so every grid limit of the profile gets a session of its own on first use; a limit
    between two grid limits is planned at the lower one, which can only be too careful.

    Args:
        profile: What was measured.
        spec: What is asked. Its objective and confidence hold for every question.

    Raises:
        UnknownValueError: A class without cells, or an unknown cost or tail that a limit needs.
        InputError: The spec names a workload or class that the profile lacks.
    """

    def __init__(self, profile: Profile, spec: Spec) -> None:
        self.profile = profile
        self.spec = spec
        self.estimates: Estimates = estimate(profile, spec)
        judged = spec.traffic.requests if spec.traffic and self.estimates.level else None
        self.accounts = Accounts(self.estimates, judged)
        self.limits = LimitSet.of(spec)
        self.costs_known = bool(np.isfinite(self.estimates.cost_usd).all())
        self._unit = cost_unit(self.estimates)
        self._spending = Spending(self.accounts.bill, self._unit)
        self._sessions: dict[int | None, Session] = {}
        if spec.objective is Objective.MINIMIZE_COST:
            self.estimates.require_costs("the objective 'minimize cost'")

    def solve(
        self,
        *,
        accuracy: float | Keep | None = Keep.SPEC,
        usd_per_request: float | Keep | None = Keep.SPEC,
        p95_s: float | Keep | None = Keep.SPEC,
    ) -> Rung:
        """The spec's question with some limits moved; None takes a limit away.

        Args:
            accuracy: Overall floor, 0..1.
            usd_per_request: Mean dollars per request.
            p95_s: Latency limit in seconds.

        Raises:
            LimitsClashError: No allocation keeps them; says which clash and what would help.
            UnprovenError: The solver stopped early.
        """
        limits = self.limits
        if not isinstance(accuracy, Keep):
            limits = limits.without(OVERALL)
            limits = limits if accuracy is None else limits.moved(OVERALL, accuracy)
        if not isinstance(usd_per_request, Keep):
            limits = replace(limits, usd_per_request=usd_per_request)
        if not isinstance(p95_s, Keep):
            limits = replace(limits, p95_s=p95_s)
        return self.rung(self.explained(limits), self.spec.objective)

    def explained(self, limits: LimitSet) -> Answer:
        """The spec's objective under these limits.

        Raises:
            LimitsClashError: No allocation keeps them; says which clash and what would help.
            UnprovenError: The solver stopped early.
        """
        try:
            return self.answer(self.spec.objective, limits)
        except InfeasibleError as error:
            raise explain(self, limits) from error

    def answer(self, objective: Objective, limits: LimitSet) -> Answer:
        """The best allocation under the limits.

        Minimising cost, ties go to accuracy, and the other way round. Maximising accuracy, the plan
        leaves the best single strategy that keeps the limits only on evidence: what is maximised is
        ``accuracy - z * standard error of the difference to it``, z adjusted for the number of
        cells that could be moved to (Ghavamzadeh, Petrik and Chow,
        "Safe policy improvement by minimizing robust baseline regret", NIPS 2016). The three most
        accurate undominated strategies that keep the limits are tried as the one to beat, and the
        best answer wins (as if the judged requests' cost had no noise); where none keeps them, the
        doubt is about the accuracy itself. A gain that traffic could not show (`Accounts.shows`) is
        not taken: the answer is the single strategy, or what less money than it costs would buy
        where that is better: more money never buys less.

        A spend limit holds for the promised bill, see `planner.estimating.spending`.

        Raises:
            InfeasibleError: No allocation keeps all limits.
            UnprovenError: The solver stopped early.
        """
        question = self._question(objective, limits)
        variants = self._variants(question, limits)
        if len(variants) > 1:
            session = self._session(limits)
            first = [session.solve(replace(variant, then=None)).value for variant in variants]
            variants = [variants[int(np.argmin(first))]]
        best = self._solved(variants[0], limits)
        x = self._tidied(best, limits)
        single = self._unbeaten(x, objective, limits)
        if single is not None:
            accuracy = float(self.estimates.traffic_share * single @ self.estimates.accuracy)
            cheaper = self._below(single, objective, limits)
            return cheaper if cheaper and cheaper.value > accuracy else Answer(single, accuracy, {})
        return Answer(x, self._natural(best.value, objective), self._shadow_prices(best, objective))

    def slack(self, limits: LimitSet, name: str) -> float:
        """By how much one limit would have to move for all others to be kept, its own unit.

        The unit of the latency limit is the share of requests beyond it.

        Raises:
            InfeasibleError: Moving this limit alone does not help.
        """
        objective = Objective.MAXIMIZE_ACCURACY
        question = replace(self._question(objective, limits), then=None, free=name)
        slack = self._solved(question, limits).value
        return slack * self._unit if name == SPEND else slack

    def on_point_estimates(self) -> Planner:
        """The same question as if every measured mean were the truth."""
        return Planner(self.profile, self.spec.model_copy(update={"confidence": "none"}))

    def nearest(self, limits: LimitSet, name: str) -> Answer:
        """The allocation that misses one limit by the least while keeping all others.

        Its value is that miss and its prices are changes of it, the limit's own unit (of the
        latency limit: the share of requests beyond it).

        Raises:
            InfeasibleError: Moving this limit alone does not help.
        """
        question = self._question(Objective.MAXIMIZE_ACCURACY, limits)
        best = self._solved(replace(question, then=None, free=name), limits)
        unit = self._unit if name == SPEND else 1.0
        prices = {
            EXCEEDANCE if limit == LATENCY else limit: float(dual)
            * unit
            / (self._unit if limit == SPEND else 1.0)
            for limit, dual in self._by_limit(best.duals).items()
        }
        x = tidy(best.x[: self.estimates.columns], self.estimates)
        return Answer(x, best.value * unit, prices)

    def fastest(self, p95_s: float) -> Array:
        """The allocation nearest to keeping a latency limit, whatever else it costs."""
        limits = LimitSet(p95_s=p95_s)
        question = self._question(Objective.MAXIMIZE_ACCURACY, limits)
        solution = self._solved(replace(question, then=None, free=LATENCY), limits)
        return tidy(solution.x[: self.estimates.columns], self.estimates)

    def feasible(self, limits: LimitSet) -> bool:
        """Whether any allocation keeps the limits."""
        try:
            question = self._question(Objective.MAXIMIZE_ACCURACY, limits)
            self._solved(replace(question, then=None), limits)
        except InfeasibleError:
            return False
        return True

    def keeps(self, x: Array, limits: LimitSet, tolerance: float = 1e-9) -> bool:
        """Whether an allocation keeps the limits, margins included."""
        return all(missed <= tolerance for _, missed in self._missed(x, limits))

    def singles(self) -> Iterator[tuple[str, Array]]:
        """Every strategy measured in all classes, with the allocation that uses nothing else."""
        e = self.estimates
        for s, strategy in enumerate(e.strategies):
            own = e.strategy_of == s
            if own.sum() == len(e.classes):
                yield strategy, own.astype(np.float64)

    def rung(self, answer: Answer, objective: Objective, fraction: float = 1.0) -> Rung:
        """An answer with its figures."""
        return Rung(
            budget_fraction=fraction,
            objective=objective.value,
            allocation=by_name(answer.x, self.estimates),
            expected=self.accounts.expected(answer.x),
            promised=self.accounts.promised(answer.x),
            by_class={
                name: self.accounts.of_class(answer.x, d)
                for d, name in enumerate(self.estimates.classes)
            },
            shadow_prices=answer.shadow_prices,
            by_group=group_figures(answer.x, self.estimates, self.accounts),
            gaps=gap_figures(answer.x, self.estimates, self.accounts),
        )

    def _solved(self, question: Question, limits: LimitSet) -> Solution:
        return self._spending.solve(self._session(limits), question)

    def _session(self, limits: LimitSet) -> Session:
        row = None if limits.p95_s is None else self.estimates.latency_row(limits.p95_s)
        if row in self._sessions:
            return self._sessions[row]
        margins = {OVERALL: self.accounts.accuracy_margin}
        if row is not None:
            self.estimates.require_latency(row, LATENCY)
            margins[LATENCY] = self.accounts.latency_margin(row)
        if self.costs_known:
            margins[SPEND] = self._spending.margin
        margins |= {row.name: row.margin for row in self.estimates.groups.rows}
        margins[ABSOLUTE] = self.accounts.accuracy_margin
        programme = compile_model(build_model(self.estimates, latency_row=row), self.estimates)
        self._sessions[row] = Session(programme, margins, self.estimates.columns)
        return self._sessions[row]

    def _question(self, objective: Objective, limits: LimitSet) -> Question:
        if limits.usd_per_request is not None:
            self.estimates.require_costs(SPEND)
        values = limits.values()
        if LATENCY in values:
            values[LATENCY] = TAIL
        if SPEND in values:
            values[SPEND] /= self._unit
        offsets = {}
        if OVERALL in values:
            offsets[OVERALL] = self.accounts.judged_offset(values[OVERALL])
        for group in self.estimates.groups.rows:
            if group.limit in values:
                values[group.name] = values[group.limit]
                offsets[group.name] = self.accounts.group_offset(group, values[group.limit])
        values = {name: value for name, value in values.items() if name not in limits.gaps}
        cheapest = objective is Objective.MINIMIZE_COST
        then = "accuracy" if cheapest else "cost" if self.costs_known else None
        return Question("cost" if cheapest else "accuracy", values, offsets, then=then)

    def _variants(self, question: Question, limits: LimitSet) -> list[Question]:
        if question.objective == "cost" or self.estimates.level is None:
            return [question]
        kept = (single for single in self._undominated if self.keeps(single[1], limits))
        doubts = [self._doubt(limits, *single) for single in islice(kept, REFERENCES)] or [ABSOLUTE]
        return [replace(question, doubt=doubt) for doubt in doubts]

    def _unbeaten(self, x: Array, objective: Objective, limits: LimitSet) -> Array | None:
        """The most accurate single strategy that keeps the limits, if x shows no gain over it."""
        if objective is Objective.MINIMIZE_COST or self.estimates.level is None:
            return None
        kept = (single for _, single in self._undominated if self.keeps(single, limits))
        single = next(kept, None)
        return None if single is None or self.accounts.shows(x, single) else single

    def _below(self, single: Array, objective: Objective, limits: LimitSet) -> Answer | None:
        """The answer for less money than a single strategy needs, None where there is none."""
        if not self.costs_known:
            return None
        needed = self.accounts.bill.promised(single)
        asked = limits.usd_per_request
        if needed <= 0 or (asked is not None and needed > asked):
            return None  # nothing is cheaper, or by less than the solver can tell
        try:
            return self.answer(objective, replace(limits, usd_per_request=needed * (1 - 1e-6)))
        except InfeasibleError:
            return None

    def _doubt(self, limits: LimitSet, strategy: str, single: Array) -> str:
        """Name of the margin over one strategy, made known to the session."""
        name = f"doubt against {strategy}"
        session = self._session(limits)
        if not session.knows(name):
            session.add_margin(name, self.accounts.difference_margin(single))
        return name

    @cached_property
    def _undominated(self) -> list[tuple[str, Array]]:
        """Single strategies that no other beats in both accuracy and cost, best first."""
        e = self.estimates
        share = e.traffic_share
        kept: list[tuple[str, Array]] = []
        cheapest = np.inf
        best_first = sorted(self.singles(), key=lambda one: -float(share * one[1] @ e.accuracy))
        for strategy, x in best_first:
            cost = float(share * x @ e.cost_usd) if self.costs_known else -len(kept)
            if cost < cheapest:
                kept.append((strategy, x))
                cheapest = cost
        return kept

    def _missed(self, x: Array, limits: LimitSet) -> Iterator[tuple[str, float]]:
        """By how much each limit is missed, in model units; negative where it is kept."""
        e, accounts = self.estimates, self.accounts
        share = e.traffic_share * x
        for name, value in limits.values().items():
            if name == OVERALL:
                floor = value + accounts.accuracy_margin.value(x, accounts.judged_offset(value))
                yield name, floor - float(share @ e.accuracy_careful)
            elif is_of_groups(name):
                for group in e.groups.rows_of(name):
                    margin = group.margin.value(x, accounts.group_offset(group, value))
                    over = float(group.body @ x) - value
                    yield name, margin - over if group.is_floor else margin + over
            elif is_floor(name):
                own = e.class_of == e.classes.index(name.removeprefix(BY_CLASS))
                yield name, value - float(x[own] @ e.accuracy_floor[own])
            elif name == LATENCY:
                row = e.latency_row(value)
                slow = float(share @ e.exceedance_careful[row])
                yield name, slow + accounts.latency_margin(row).value(x) - TAIL
            else:
                yield name, (accounts.bill.promised(x) - value) / self._unit

    def _tidied(self, solution: Solution, limits: LimitSet) -> Array:
        """Without dust, unless a limit needs the dust."""
        x = solution.x[: self.estimates.columns]
        tidied = tidy(x, self.estimates, SMALLEST_SHARE)
        if self.keeps(tidied, limits, 2e-9):
            return tidied
        return tidy(x, self.estimates, 1e-12)

    def _natural(self, value: float, objective: Objective) -> float:
        if objective is Objective.MINIMIZE_COST:
            return value / OBJECTIVE_SCALE * self._unit
        return -value / OBJECTIVE_SCALE

    def _by_limit(self, duals: dict[str, float]) -> dict[str, float]:
        """Prices of limits: all rows of one cap on a gap move together."""
        prices: dict[str, float] = {}
        for name, dual in duals.items():
            limit = self.estimates.groups.limit_of(name)
            prices[limit] = prices.get(limit, 0.0) + dual
        return prices

    def _shadow_prices(self, solution: Solution, objective: Objective) -> dict[str, float]:
        prices = {}
        for name, dual in self._by_limit(solution.duals).items():
            price = self._natural(dual, objective) / (self._unit if name == SPEND else 1.0)
            if abs(dual) > 1e-7:
                prices[EXCEEDANCE if name == LATENCY else name] = float(f"{price:.9g}")
        return prices

"""One planner per profile and spec: built once, asked often (sliders, sweeps, menus)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice

import numpy as np

from planner.estimating.allocation import DIGITS, SMALLEST_SHARE, Accounts, by_name, tidy
from planner.estimating.estimates import Estimates, estimate
from planner.estimating.group_figures import gap_figures, group_figures
from planner.estimating.limit_rows import LimitRows
from planner.estimating.spending import Spending
from planner.estimating.tenants import Tenants, is_tenants_latency, is_tenants_spend
from planner.explain import explain
from planner.limit_names import LATENCY, OVERALL, SPEND, is_latency, price_name
from planner.limits import Keep, LimitSet
from planner.plan import LimitFigures, Rung, TenantRung
from planner.programme.limit_row import LimitRow
from planner.programme.margin import Array, Margin
from planner.programme.model import (
    OBJECTIVE_SCALE,
    Programme,
    build_model,
    compile_model,
    cost_unit,
)
from planner.programme.session import Question, Session, Solution
from planner.spec import Objective, Spec
from profiles.errors import InfeasibleError, UnprovenError
from profiles.profile import Profile

ABSOLUTE = "doubt"
REFERENCES = 3
"""How many single strategies are tried as the one to beat."""

MAX_RATIOS = 50
"""Steps of Dinkelbach's procedure, which needs three to five."""

_OBJECTIVES = {
    Objective.MINIMIZE_COST: "cost",
    Objective.MAXIMIZE_ACCURACY: "accuracy",
    Objective.MAXIMIZE_VALUE: "value",
    Objective.MINIMIZE_COST_PER_CORRECT: "cost",
}
_THEN = {"cost": "accuracy", "value": "accuracy", "accuracy": "cost"}
"""What decides between equally good answers."""


@dataclass(frozen=True)
class Answer:
    """A proven allocation in the model's own terms.

    Attributes:
        x: Tidied share per column of the estimates, of all traffic.
        value: The objective: dollars per request or per correct answer, or accuracy less doubt.
        shadow_prices: Change of that value per unit of each binding limit.
        by_tenant: Tidied share per column of the estimates, of each tenant's traffic; empty
            without tenants.
    """

    x: Array
    value: float
    shadow_prices: dict[str, float]
    by_tenant: dict[str, Array] = field(default_factory=dict)


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
        found = estimate(profile, spec)
        self._unit = cost_unit(found)
        self.tenants = Tenants(profile, spec, found, self._unit) if spec.tenants else None
        self.segments = self.tenants.segments if self.tenants else None
        self.estimates: Estimates = self.segments.base if self.segments else found
        self._decided = self.segments.estimates() if self.segments else found
        judged = spec.traffic.fewest if spec.traffic and self.estimates.level else None
        self.accounts = Accounts(self.estimates, judged)
        self.limits = LimitSet.of(spec)
        self.costs_known = bool(np.isfinite(self.estimates.cost_usd).all())
        self._spending = Spending(self.accounts.bill, self._unit, self.segments)
        self._limit_rows = LimitRows(self.accounts, spec, self._unit, self._spending.margin)
        self._rows_of: dict[tuple[tuple[str, int], ...], tuple[LimitRow, ...]] = {}
        self._sessions: dict[tuple[tuple[str, int], ...], Session] = {}
        if spec.objective.needs_costs:
            self.estimates.require_costs(f"the objective '{spec.objective}'")

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
        asked = {OVERALL: accuracy, SPEND: usd_per_request, LATENCY: p95_s}
        for name, value in asked.items():
            if not isinstance(value, Keep):
                limits = limits.without(name) if value is None else limits.moved(name, value)
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

        Minimising cost, ties go to accuracy, and the other way round. Value and cost per correct
        answer are those of the best estimates, which is what they are expected to be. Maximising
        accuracy, the plan leaves the best single strategy that keeps the limits only on evidence:
        what is maximised is ``accuracy - z * standard error of the difference to it``, z adjusted
        for the number of cells that could be moved to (Ghavamzadeh, Petrik and Chow, "Safe policy
        improvement by minimizing robust baseline regret", NIPS 2016). The three most accurate
        undominated strategies that keep the limits are tried as the one to beat, and the best
        answer wins (as if the judged requests' cost had no noise); where none keeps them, the doubt
        is about the accuracy itself. A gain that traffic could not show (`Accounts.shows`) is not
        taken: the answer is the single strategy, or what less money than it costs would buy where
        that is better: more money never buys less.

        A spend limit holds for the promised bill, see `planner.estimating.spending`.

        Raises:
            InfeasibleError: No allocation keeps all limits.
            UnprovenError: The solver stopped early.
        """
        if objective is Objective.MINIMIZE_COST_PER_CORRECT:
            return self._cheapest_correct(limits)
        question = self._question(objective, limits)
        variants = self._variants(question, limits)
        if len(variants) > 1:
            session = self._session(limits)
            first = [session.solve(replace(variant, then=None)).value for variant in variants]
            variants = [variants[int(np.argmin(first))]]
        best = self._solved(variants[0], limits)
        x = self._tidied(best, limits)
        single = self._unbeaten(self._of_all(x), objective, limits)
        if single is not None:
            accuracy = float(self.estimates.traffic_share * single @ self.estimates.accuracy)
            cheaper = self._below(single, objective, limits)
            if cheaper and cheaper.value > accuracy:
                return cheaper
            return self._answer(self._alike(single), accuracy, {})
        prices = self._shadow_prices(best, objective, limits)
        return self._answer(x, self._natural(best.value, objective), prices)

    def slack(self, limits: LimitSet, name: str) -> float:
        """By how much one limit would have to move for all others to be kept, its own unit.

        The unit of a latency limit is the share of requests beyond it.

        Raises:
            InfeasibleError: Moving this limit alone does not help.
        """
        objective = Objective.MAXIMIZE_ACCURACY
        question = replace(self._question(objective, limits), then=None, free=name)
        return self._solved(question, limits).value * self._unit_of(name, limits)

    def value_usd(self, x: Array) -> float:
        """Expected dollars that a request is worth over what it costs, under 'maximize value'."""
        e = self.estimates
        worth = np.zeros(len(e.classes)) if self._value_usd is None else self._value_usd
        return float(e.traffic_share * x @ (worth[e.class_of] * e.accuracy - e.cost_usd))

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
        unit = self._unit_of(name, limits)
        prices = {
            price_name(limit): float(dual) * unit / self._unit_of(limit, limits)
            for limit, dual in self._by_limit(best.duals, limits).items()
        }
        x = tidy(best.x[: self._decided.columns], self._decided)
        return self._answer(x, best.value * unit, prices)

    def fastest(self, limits: LimitSet, name: str) -> Array:
        """The allocation nearest to keeping one latency limit, whatever else it costs."""
        alone = limits.only(name)
        question = self._question(Objective.MAXIMIZE_ACCURACY, alone)
        solution = self._solved(replace(question, then=None, free=name), alone)
        return self._of_all(tidy(solution.x[: self._decided.columns], self._decided))

    def feasible(self, limits: LimitSet) -> bool:
        """Whether any allocation keeps the limits."""
        try:
            question = self._question(Objective.MAXIMIZE_ACCURACY, limits)
            self._solved(replace(question, then=None), limits)
        except InfeasibleError:
            return False
        return True

    def keeps(self, x: Array, limits: LimitSet, tolerance: float = 1e-9) -> bool:
        """Whether an allocation, the same for all tenants, keeps the limits, margins included."""
        return self._keeps(self._alike(x), limits, tolerance)

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
            limits=self._limit_figures(self._decision(answer)),
            by_tenant=self._tenant_figures(answer),
            by_group=group_figures(answer.x, self.estimates, self.accounts),
            gaps=gap_figures(answer.x, self.estimates, self.accounts),
        )

    def _limit_figures(self, x: Array) -> dict[str, LimitFigures]:
        """How a decision stands to the spec's limits; the worst row of each."""
        found: dict[str, LimitFigures] = {}
        worst: dict[str, float] = {}
        for row, value in self._asked(self.limits):
            missed = self._missed(row, x, value)
            if missed <= worst.get(row.limit, -np.inf):
                continue
            worst[row.limit] = missed
            allowed = row.bound_at(value) * row.unit
            promised = allowed + (-missed if row.is_floor else missed) * row.unit
            found[row.limit] = LimitFigures(
                asked=value,
                allowed=_digits(allowed),
                promised=_digits(max(promised, 0.0)),
                kept=missed <= 2e-9,
            )
        return found

    def _tenant_figures(self, answer: Answer) -> dict[str, TenantRung]:
        if self.tenants is None:
            return {}
        found = {}
        for accounts, (name, x) in zip(
            self.tenants.accounts, answer.by_tenant.items(), strict=True
        ):
            found[name] = TenantRung(
                allocation=by_name(x, accounts.estimates),
                expected=accounts.expected(x),
                promised=accounts.promised(x),
                by_class={
                    one: accounts.of_class(x, d) for d, one in enumerate(self.estimates.classes)
                },
            )
        return found

    def _answer(self, x: Array, value: float, prices: dict[str, float]) -> Answer:
        """An answer from a decision per column of the programme."""
        if self.segments is None:
            return Answer(x, value, prices)
        by_tenant = {
            name: self.segments.of_tenant(x, number)
            for number, name in enumerate(self.segments.names)
        }
        return Answer(tidy(self.segments.of_all(x), self.estimates), value, prices, by_tenant)

    def _decision(self, answer: Answer) -> Array:
        """The decision per column of the programme behind an answer."""
        return np.concatenate(list(answer.by_tenant.values())) if answer.by_tenant else answer.x

    def _of_all(self, x: Array) -> Array:
        """What a decision does over all traffic, per column of the estimates."""
        return x if self.segments is None else self.segments.of_all(x)

    def _alike(self, x: Array) -> Array:
        """The decision that treats all tenants alike."""
        return x if self.segments is None else self.segments.alike(x)

    def _keeps(self, x: Array, limits: LimitSet, tolerance: float) -> bool:
        """Whether a decision keeps the limits."""
        return all(self._missed(row, x, value) <= tolerance for row, value in self._asked(limits))

    def _solved(self, question: Question, limits: LimitSet) -> Solution:
        return self._spending.solve(self._session(limits), question)

    def rows(self, limits: LimitSet) -> tuple[LimitRow, ...]:
        """Every row that a question with these limits can set; latency rows at their seconds.

        Raises:
            UnknownValueError: A tail that a limit needs is unknown.
            InputError: A limit is about a class that there is not.
        """
        seconds = {name: s for name, s in self.limits.values.items() if is_latency(name)}
        seconds |= {name: s for name, s in limits.values.items() if is_latency(name)}
        key = tuple((name, self.estimates.latency_row(s)) for name, s in sorted(seconds.items()))
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
        worth = self._value_usd
        if worth is not None and self.segments is not None:
            worth = np.tile(worth, len(self.segments.names))
        return compile_model(build_model(self._decided, rows, value_usd=worth), rows)

    def _about_all(self, margin: Margin) -> Margin:
        return margin if self.segments is None else self.segments.margin_about_all(margin)

    def _session(self, limits: LimitSet) -> Session:
        rows = self.rows(limits)
        key = next(key for key, own in self._rows_of.items() if own is rows)
        if key not in self._sessions:
            margins = {row.name: row.margin for row in rows if row.margin is not None}
            margins[ABSOLUTE] = self._about_all(self.accounts.accuracy_margin)
            columns = self._decided.columns
            self._sessions[key] = Session(self.programme(limits), margins, columns)
        return self._sessions[key]

    @property
    def _value_usd(self) -> Array | None:
        """Worth of a correct answer per class, None where nobody asks."""
        value = self.spec.value
        if value is None:
            return None
        return np.array([value.of(name) for name in self.estimates.classes])

    def _asked(self, limits: LimitSet) -> Iterator[tuple[LimitRow, float]]:
        """Rows that the limits set, each with the limit's value."""
        if SPEND in limits.values:
            self.estimates.require_costs(SPEND)
        return (
            (row, limits.values[row.limit])
            for row in self.rows(limits)
            if row.limit in limits.values
        )

    def _question(self, objective: Objective, limits: LimitSet) -> Question:
        asked = list(self._asked(limits))
        own = _OBJECTIVES[objective]
        return Question(
            own,
            {row.name: row.bound_at(value) for row, value in asked},
            {row.name: row.offset(value) for row, value in asked if row.offset is not None},
            then=_THEN[own] if self.costs_known else None,
        )

    def _cheapest_correct(self, limits: LimitSet) -> Answer:
        """The least cost per correct answer.

        Dinkelbach, "On nonlinear fractional programming", Management Science 13 (1967): with the
        reward r that the last plan paid per correct answer, minimise ``cost - r accuracy``; where
        that is 0, no plan pays less.
        """
        question = self._question(Objective.MINIMIZE_COST_PER_CORRECT, limits)
        best = self._solved(question, limits)
        for _ in range(MAX_RATIOS):
            ratio = self._usd_per_correct(best.x[: self._decided.columns]) / self._unit
            if not np.isfinite(ratio):
                raise InfeasibleError("no plan under these limits has a single correct answer")
            question = replace(question, reward=ratio)
            best = self._solved(question, limits)
            if best.value >= -1e-9 * OBJECTIVE_SCALE:
                break
        else:
            raise UnprovenError(f"the cost per correct answer did not settle in {MAX_RATIOS} steps")
        x = self._tidied(best, limits)
        accuracy = float(self._decided.traffic_share * x @ self._decided.accuracy)
        prices = self._shadow_prices(best, Objective.MINIMIZE_COST, limits)
        return self._answer(
            x,
            self._usd_per_correct(x),
            {name: float(f"{price / accuracy:.9g}") for name, price in prices.items()},
        )

    def _usd_per_correct(self, x: Array) -> float:
        e = self._decided
        share = e.traffic_share * x
        accuracy = float(share @ e.accuracy)
        return float(share @ e.cost_usd) / accuracy if accuracy > 0 else np.inf

    def _variants(self, question: Question, limits: LimitSet) -> list[Question]:
        if question.objective != "accuracy" or self.estimates.level is None:
            return [question]
        kept = (single for single in self._undominated if self.keeps(single[1], limits))
        doubts = [self._doubt(limits, *single) for single in islice(kept, REFERENCES)] or [ABSOLUTE]
        return [replace(question, doubt=doubt) for doubt in doubts]

    def _unbeaten(self, x: Array, objective: Objective, limits: LimitSet) -> Array | None:
        """The most accurate single strategy that keeps the limits, if x shows no gain over it."""
        if objective is not Objective.MAXIMIZE_ACCURACY or self.estimates.level is None:
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
            return self.answer(objective, limits.moved(SPEND, needed * (1 - 1e-6)))
        except InfeasibleError:
            return None

    def _doubt(self, limits: LimitSet, strategy: str, single: Array) -> str:
        """Name of the margin over one strategy, made known to the session."""
        name = f"doubt against {strategy}"
        session = self._session(limits)
        if not session.knows(name):
            session.add_margin(name, self._about_all(self.accounts.difference_margin(single)))
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

    def _missed(self, row: LimitRow, x: Array, value: float) -> float:
        """By how much a limit is missed, in units of its row; negative where it is kept."""
        if row.limit == SPEND:
            return (self.accounts.bill.promised(self._of_all(x)) - value) / self._unit
        if self.tenants is not None and is_tenants_spend(row.limit):
            return self.tenants.spend_missed(row.limit, x, value)
        return row.missed(x, value)

    def _tidied(self, solution: Solution, limits: LimitSet) -> Array:
        """Without dust, unless a limit needs the dust."""
        x = solution.x[: self._decided.columns]
        tidied = tidy(x, self._decided, SMALLEST_SHARE)
        if self._keeps(tidied, limits, 2e-9):
            return tidied
        return tidy(x, self._decided, 1e-12)

    def _natural(self, value: float, objective: Objective) -> float:
        value = value / OBJECTIVE_SCALE
        if objective is Objective.MAXIMIZE_ACCURACY:
            return -value
        return (-value if objective is Objective.MAXIMIZE_VALUE else value) * self._unit

    def _unit_of(self, limit: str, limits: LimitSet) -> float:
        """People's units that one unit of a limit's rows stands for."""
        return next(row.unit for row in self.rows(limits) if row.limit == limit)

    def _by_limit(self, duals: dict[str, float], limits: LimitSet) -> dict[str, float]:
        """Prices of limits: all rows of one cap on a gap move together."""
        limit_of = {row.name: row.limit for row in self.rows(limits)}
        prices: dict[str, float] = {}
        for name, dual in duals.items():
            limit = limit_of[name]
            prices[limit] = prices.get(limit, 0.0) + dual
        return prices

    def _shadow_prices(
        self, solution: Solution, objective: Objective, limits: LimitSet
    ) -> dict[str, float]:
        prices = {}
        for name, dual in self._by_limit(solution.duals, limits).items():
            price = self._natural(dual, objective) / self._unit_of(name, limits)
            if abs(dual) > 1e-7:
                prices[price_name(name)] = float(f"{price:.9g}")
        return prices


def _digits(value: float) -> float:
    """As many digits as every other figure of a plan."""
    return float(f"{value:.{DIGITS}g}")

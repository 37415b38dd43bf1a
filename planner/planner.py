"""One planner per profile and spec: built once, asked often (sliders, sweeps, menus)."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from planner.decisions import Decisions
from planner.estimating.allocation import SMALLEST_SHARE, Accounts, tidy
from planner.explain import explain
from planner.limit_names import LATENCY, OVERALL, SPEND, price_name, whose
from planner.limits import Keep, LimitSet
from planner.plan import Rung
from planner.programme.limit_row import LimitRow
from planner.programme.margin import Array
from planner.programme.model import OBJECTIVE_SCALE, Programme
from planner.programme.question import BeatenError, Question, Solution
from planner.rivals import Rivals
from planner.rungs import ROUNDED, Answer, rung_of
from planner.spec import Objective, Spec
from profiles.errors import InfeasibleError, UnprovenError
from profiles.profile import Profile

__all__ = ["Answer", "Planner"]

TIME_LIMIT_S = 60.0

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


class Planner:
    """Answers questions about one profile under one spec. Not thread-safe.

    A moved accuracy or spend limit re-solves a warm session. A moved latency limit changes
    coefficients, so every grid limit of the profile gets a session of its own on first use; a limit
    between two grid limits is planned at the lower one, which can only be too careful.

    Args:
        profile: What was measured.
        spec: What is asked. Its objective and confidence hold for every question.
        accounts: Other estimates and margins than those of the profile and the spec, for studies
            of them; not with tenants.
        time_limit_s: Seconds that one answer may take, all solves behind it together.

    Raises:
        UnknownValueError: A class without cells, or an unknown cost or tail that a limit needs.
        InputError: The spec names a workload or class that the profile lacks.
    """

    def __init__(
        self,
        profile: Profile,
        spec: Spec,
        *,
        accounts: Accounts | None = None,
        time_limit_s: float = TIME_LIMIT_S,
    ) -> None:
        self.profile = profile
        self.spec = spec
        self.time_limit_s = time_limit_s
        self._decisions = Decisions(profile, spec, accounts)
        self.estimates = self._decisions.estimates
        self.accounts = self._decisions.accounts
        self.tenants = self._decisions.tenants
        self._decided = self._decisions.decided
        self.limits = LimitSet.of(spec)
        self.costs_known = bool(np.isfinite(self.estimates.cost_usd).all())
        self._rivals = Rivals(self._decisions, costs_known=self.costs_known)
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

    def under(self, limits: LimitSet, time_limit_s: float | None = None) -> Planner:
        """A planner of the same question whose own limits are these; it shares the warm solver.

        Args:
            limits: Any that this planner could answer a question with.
            time_limit_s: Seconds that one answer may take, as before where absent.
        """
        other = copy.copy(self)
        other.limits = limits
        other.time_limit_s = self.time_limit_s if time_limit_s is None else time_limit_s
        return other

    def explained(self, limits: LimitSet) -> Answer:
        """The spec's objective under these limits.

        Raises:
            LimitsClashError: No allocation keeps them; says which clash and what would help.
            UnprovenError: The solver stopped early.
        """
        try:
            return self.answer(self.spec.objective, limits)
        except InfeasibleError as error:
            try:
                clash = explain(self, limits)
            except UnprovenError:
                raise InfeasibleError(f"{error}; what clashes was not found in time") from error
            raise clash from error

    def _told(self, error: UnprovenError, objective: Objective) -> UnprovenError:
        """What a solver that stopped early had proven, in people's units."""
        certified = objective is Objective.MAXIMIZE_ACCURACY and self.spec.level is not None
        # of accuracy less a doubt, and of a ratio, what was proven is not about the objective
        if error.bound is None or certified or objective is Objective.MINIMIZE_COST_PER_CORRECT:
            return UnprovenError(error.what)
        found, least = (
            None if value is None else self._natural(value, objective)
            for value in (error.incumbent, error.bound)
        )
        unit = "" if objective is Objective.MAXIMIZE_ACCURACY else " USD per request"
        best = "less" if objective is Objective.MINIMIZE_COST else "more"
        known = f"no plan has {best} than {least:.6g}{unit}"
        if found is not None and least:
            gap = abs(found - least) / abs(least)
            known = f"the best plan found has {found:.6g}{unit}, {known}: a gap of {gap:.2%}"
        return UnprovenError(f"{error.what}; {known}")

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
        try:
            return self._best(self._question(objective, limits), objective, limits)
        except UnprovenError as error:
            raise self._told(error, objective) from error

    def _best(self, question: Question, objective: Objective, limits: LimitSet) -> Answer:
        if objective is Objective.MINIMIZE_COST_PER_CORRECT:
            return self._cheapest_correct(question, limits)
        variants = self._variants(question, limits)
        if len(variants) > 1:
            variants = [self._best_of(variants, limits)]
        best = self._solved(variants[0], limits)
        x = self._tidied(best, limits)
        single = self._unbeaten(self._decisions.of_all(x), objective, limits)
        if single is not None:
            accuracy = float(self.estimates.traffic_share * single @ self.estimates.accuracy)
            cheaper = self._below(single, question, objective, limits)
            if cheaper and cheaper.value > accuracy:
                return cheaper
            return self._answer(self._decisions.alike(single), accuracy, {})
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
        return self._solved(question, limits).value * self._decisions.unit_of(name, limits)

    def value_usd(self, x: Array) -> float:
        """Expected dollars that a request is worth over what it costs, under 'maximize value'."""
        e = self.estimates
        worth = (
            np.zeros(len(e.classes))
            if self._decisions.value_usd is None
            else self._decisions.value_usd
        )
        return float(e.traffic_share * x @ (worth[e.class_of] * e.accuracy - e.cost_usd))

    @property
    def is_plain(self) -> bool:
        """Whether plans are on point estimates, of any shape, and the same for all requests."""
        return self.spec.level is None and not self.spec.allocation and not self.spec.tenants

    def on_point_estimates(self) -> Planner:
        """The same question as if every measured mean were the truth."""
        return self.about(self.profile, self.spec.model_copy(update={"confidence": "none"}))

    def about(self, profile: Profile, spec: Spec) -> Planner:
        """A planner for another profile or spec, with the same time for each answer."""
        return Planner(profile, spec, time_limit_s=self.time_limit_s)

    def nearest(self, limits: LimitSet, name: str) -> Answer:
        """The allocation that misses one limit by the least while keeping all others.

        Its value is that miss and its prices are changes of it, the limit's own unit (of the
        latency limit: the share of requests beyond it).

        Raises:
            InfeasibleError: Moving this limit alone does not help.
        """
        question = self._question(Objective.MAXIMIZE_ACCURACY, limits)
        best = self._solved(replace(question, then=None, free=name), limits)
        unit_of = {row.limit: row.unit for row in self._decisions.rows(limits)}
        unit = unit_of[name]
        prices = {
            price_name(limit): float(dual) * unit / unit_of[limit]
            for limit, dual in self._by_limit(best, limits).items()
        }
        x = tidy(best.x[: self._decided.columns], self._decided)
        return self._answer(x, best.value * unit, prices)

    def fastest(self, limits: LimitSet, name: str) -> Array:
        """The allocation nearest to keeping one latency limit, of the tenant that it is about."""
        alone = limits.only(name)
        question = self._question(Objective.MAXIMIZE_ACCURACY, alone)
        solution = self._solved(replace(question, then=None, free=name), alone)
        x = tidy(solution.x[: self._decided.columns], self._decided)
        tenant, segments = whose(name)[0], self._decisions.segments
        if tenant is None or segments is None:
            return self._decisions.of_all(x)
        return segments.of_tenant(x, segments.names.index(tenant))

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
        return self._decisions.keeps(self._decisions.alike(x), limits, tolerance)

    def singles(self) -> Iterator[tuple[str, Array]]:
        """Every strategy measured in all classes, with the allocation that uses nothing else."""
        return self._rivals.all()

    def rung(self, answer: Answer, objective: Objective, fraction: float = 1.0) -> Rung:
        """An answer with its figures, and how it stands to the limits of the spec."""
        return rung_of(self._decisions, self.limits, answer, objective, fraction)

    def rows(self, limits: LimitSet) -> tuple[LimitRow, ...]:
        """`Decisions.rows`."""
        return self._decisions.rows(limits)

    def programme(self, limits: LimitSet) -> Programme:
        """`Decisions.programme`."""
        return self._decisions.programme(limits)

    def _answer(self, x: Array, value: float, prices: dict[str, float]) -> Answer:
        """An answer from a decision per column of the programme."""
        if self._decisions.segments is None:
            return Answer(x, value, prices)
        by_tenant = {
            name: self._decisions.segments.of_tenant(x, number)
            for number, name in enumerate(self._decisions.segments.names)
        }
        return Answer(
            tidy(self._decisions.segments.of_all(x), self.estimates), value, prices, by_tenant
        )

    def _solved(self, question: Question, limits: LimitSet) -> Solution:
        session = self._decisions.session(limits, question.doubt)
        return self._decisions.spending.solve(session, question)

    def _best_of(self, variants: Sequence[Question], limits: LimitSet) -> Question:
        """The one of the best value, without the noise of the judged requests and a tie-break."""
        best, value = variants[0], math.inf
        for variant in variants:
            session = self._decisions.session(limits, variant.doubt)
            try:
                found = session.solve(replace(variant, then=None, beats=value)).value
            except BeatenError:
                continue
            if found < value:
                best, value = variant, found
        return best

    def _question(self, objective: Objective, limits: LimitSet) -> Question:
        asked = list(self._decisions.asked(limits))
        own = _OBJECTIVES[objective]
        return Question(
            own,
            {row.name: row.bound_at(value) for row, value in asked},
            {row.name: row.offset(value) for row, value in asked if row.offset is not None},
            then=_THEN[own] if self.costs_known else None,
            until_s=time.monotonic() + self.time_limit_s,
        )

    def _cheapest_correct(self, question: Question, limits: LimitSet) -> Answer:
        """The least cost per correct answer.

        Dinkelbach, "On nonlinear fractional programming", Management Science 13 (1967): with the
        reward r that the last plan paid per correct answer, minimise ``cost - r accuracy``; where
        that is 0, no plan pays less.
        """
        best = self._solved(question, limits)
        for _ in range(MAX_RATIOS):
            ratio = self._usd_per_correct(best.x[: self._decided.columns]) / self._decisions.unit
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
        return [replace(question, doubt=doubt) for doubt in self._rivals.doubts(limits)]

    def _unbeaten(self, x: Array, objective: Objective, limits: LimitSet) -> Array | None:
        """The most accurate single strategy that keeps the limits, if x shows no gain over it."""
        if objective is not Objective.MAXIMIZE_ACCURACY or self.estimates.level is None:
            return None
        return self._rivals.unbeaten(x, limits)

    def _below(
        self, single: Array, question: Question, objective: Objective, limits: LimitSet
    ) -> Answer | None:
        """The answer for less money than a single strategy needs, None where there is none."""
        if not self.costs_known:
            return None
        needed = self.accounts.bill.promised(single)
        asked = limits.usd_per_request
        if needed <= 0 or (asked is not None and needed > asked):
            return None  # nothing is cheaper, or by less than the solver can tell
        limits = limits.moved(SPEND, needed * (1 - 1e-6))
        question = replace(self._question(objective, limits), until_s=question.until_s)
        try:
            return self._best(question, objective, limits)
        except InfeasibleError:
            return None

    def _tidied(self, solution: Solution, limits: LimitSet) -> Array:
        """Without dust, unless a limit needs the dust."""
        x = solution.x[: self._decided.columns]
        tidied = tidy(x, self._decided, SMALLEST_SHARE)
        if self._decisions.keeps(tidied, limits, ROUNDED):
            return tidied
        return tidy(x, self._decided, 1e-12)

    def _natural(self, value: float, objective: Objective) -> float:
        value = value / OBJECTIVE_SCALE
        if objective is Objective.MAXIMIZE_ACCURACY:
            return -value
        return (-value if objective is Objective.MAXIMIZE_VALUE else value) * self._decisions.unit

    def _by_limit(self, solution: Solution, limits: LimitSet) -> dict[str, float]:
        """Prices of limits: all rows of one cap on a gap move together, as far as each follows."""
        x = solution.x[: self._decided.columns]
        prices: dict[str, float] = {}
        for row, value in self._decisions.asked(limits):
            dual = solution.duals[row.name] * row.follows(x, value)
            prices[row.limit] = prices.get(row.limit, 0.0) + dual
        return prices

    def _shadow_prices(
        self, solution: Solution, objective: Objective, limits: LimitSet
    ) -> dict[str, float]:
        prices = {}
        unit_of = {row.limit: row.unit for row in self._decisions.rows(limits)}
        for name, dual in self._by_limit(solution, limits).items():
            price = self._natural(dual, objective) / unit_of[name]
            if abs(dual) > 1e-7:
                prices[price_name(name)] = float(f"{price:.9g}")
        return prices

"""From a profile and a spec to a plan: every rung of the ladder, with what it promises."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyomo.version

from planner.cut_short import cut_by_length, may_be_cut
from planner.estimating.bounds import with_bounds, without_prompts
from planner.estimating.capped import left_out, line_of
from planner.estimating.group_figures import stood_in_for
from planner.fees.fixed_costs import settled
from planner.ladder import given_up
from planner.limit_names import SPEND, is_accuracy
from planner.plan import (
    CellFacts,
    Classes,
    ClassSource,
    Figures,
    FixedCosts,
    Plan,
    PlannedTenant,
    Rung,
    SingleStrategy,
)
from planner.planner import TIME_LIMIT_S, Answer, Planner
from planner.programme.lp_solver import SOLVER
from planner.published import not_measured_here, of_unknown_size
from planner.spec import Objective, Spec
from planner.thin import thin_spreads, thin_tails
from profiles.errors import InfeasibleError, UnprovenError
from profiles.money import PriceCard
from profiles.profile import Cell, Profile

NO_MARGIN = (
    "planned on point estimates (confidence: none): the optimiser picks cells that looked good by "
    "luck, and in simulations 60-87 % of such plans broke the accuracy they promised"
)


def solve(
    profile: Profile,
    spec: Spec,
    *,
    prices: PriceCard,
    estimator: str | None,
    reads_labels: bool = False,
    time_limit_s: float = TIME_LIMIT_S,
) -> Plan:
    """Solve a spec and the ladder below it; of its fixed costs the cheapest set is paid.

    Args:
        profile: What was measured, sorted by the classes that the spec names.
        spec: What is asked.
        prices: Prices that the runtime charges by; copied into the plan.
        estimator: File of the difficulty graph, None for labels.
        reads_labels: The difficulty graph takes a label beside the text.
        time_limit_s: Seconds that each rung may take, all solves behind it together.

    Raises:
        LimitsClashError: No allocation keeps the limits; says which clash and what would help.
        UnprovenError: The solver stopped before a proof.
        UnknownValueError: A cell, cost or tail that the question needs was never measured.
        InputError: Spec and profile do not belong together.
    """
    profile = with_bounds(profile, spec, prices)
    asked, spec = spec, settled(profile, spec, time_limit_s)
    planner = Planner(profile, spec, time_limit_s=time_limit_s)
    first = planner.explained(planner.limits)
    ladder, unproven = _ladder(planner, first)
    answers = [(1.0, spec.objective, first), *ladder]
    rungs = tuple(planner.rung(answer, kind, fraction) for fraction, kind, answer in answers)
    return Plan(
        status="optimal",
        workload=profile.workload,
        confidence=spec.level,
        warnings=(*warnings(planner, rungs), *given_up(rungs), *unproven),
        classes=Classes(
            source=_source(spec, reads_labels=reads_labels),
            names=profile.classes,
            weights=tuple(float(weight) for weight in planner.estimates.weights),
            estimator=estimator,
            estimator_digest=profile.estimator_digest,
        ),
        traffic=spec.traffic,
        limits=spec.limits_of_requests(),
        caps=spec.caps,
        tenants=_tenants(planner),
        fixed_costs=_fixed_costs(spec, rungs[0]),
        prices=prices,
        cells=_facts(planner, rungs),
        rungs=rungs,
        best_single_strategy=best_single(planner),
        spec_digest=asked.model_copy(update={"prices": prices}).content_digest(Path()),
        profile_digest=profile.digest,
        solver=f"{SOLVER}, model by Pyomo {pyomo.version.version}",
    ).sealed()


def _tenants(planner: Planner) -> dict[str, PlannedTenant]:
    if planner.tenants is None:
        return {}
    return {
        name: PlannedTenant(
            share=float(planner.tenants.segments.shares[number]),
            weights=tuple(float(part) for part in planner.tenants.segments.mixes[number]),
            limits=planner.tenants.limits[name],
        )
        for number, name in enumerate(planner.tenants.segments.names)
    }


def _fixed_costs(spec: Spec, rung: Rung) -> FixedCosts | None:
    if not spec.fixed_costs or spec.traffic is None:
        return None
    window, paid = spec.traffic.per, spec.pay or ()
    usd = {fee.name: fee.usd_per(window) for fee in spec.fixed_costs}
    return FixedCosts(
        per=window,
        paid={name: usd[name] for name in usd if name in paid},
        not_paid={name: usd[name] for name in usd if name not in paid},
        usd=spec.fees_usd,
        expected_total_usd=_total(spec, rung.expected),
        promised_total_usd=_total(spec, rung.promised),
    )


def _total(spec: Spec, figures: Figures) -> float:
    """Dollars of a window, fixed costs and requests; every cost is known here."""
    return float(f"{spec.usd_per_window(figures.cost_usd_per_request or 0.0) or 0.0:.9g}")


def _source(spec: Spec, *, reads_labels: bool) -> ClassSource:
    if spec.classes == "label":
        return "label"
    return "text+label" if reads_labels else "text"


def _ladder(
    planner: Planner, first: Answer
) -> tuple[list[tuple[float, Objective, Answer]], list[str]]:
    """Rungs that really spend less: accuracy floors give way, budget and latency are hard.

    A rung that was not proven in time is left out, and a warning says so.
    """
    ladder: list[tuple[float, Objective, Answer]] = []
    unproven: list[str] = []
    if not planner.costs_known:
        return ladder, unproven
    spent = full = _expected_usd(planner, first)
    for fraction in planner.spec.rungs[1:] if full > 0 else ():
        try:
            rung = _rung(planner, fraction, full)
        except UnprovenError:
            unproven.append(f"rung {fraction:g} is left out: no plan was proven in time")
            continue
        usd = _expected_usd(planner, rung[2])
        above = ladder[-1][0] if ladder else 1.0
        if usd < spent * (1 - 1e-6) and rung[0] < above:
            ladder.append(rung)
            spent = usd
    return ladder, unproven


def _rung(planner: Planner, fraction: float, full: float) -> tuple[float, Objective, Answer]:
    """The most accurate plan for a share of `full`, or the cheapest one with what it spends."""
    kind = Objective.MAXIMIZE_ACCURACY
    if planner.spec.objective is Objective.MAXIMIZE_VALUE:
        kind = Objective.MAXIMIZE_VALUE
    accuracies = filter(is_accuracy, planner.limits.values)
    limits = planner.limits.without(*accuracies).moved(SPEND, fraction * full)
    try:
        answer = planner.answer(kind, limits)
    except InfeasibleError:
        answer = planner.answer(Objective.MINIMIZE_COST, limits.without(SPEND))
        spent = math.ceil(_expected_usd(planner, answer) / full * 1e4) / 1e4
        return spent, Objective.MINIMIZE_COST, answer
    return fraction, kind, answer


def _expected_usd(planner: Planner, answer: Answer) -> float:
    estimates = planner.estimates
    return float(estimates.traffic_share * answer.x @ estimates.cost_usd)


def best_single(planner: Planner) -> SingleStrategy | None:
    """The best strategy that keeps the limits alone, under the same margins."""
    kept = [(name, x) for name, x in planner.singles() if planner.keeps(x, planner.limits, 2e-9)]
    if not kept:
        return None
    figures = {name: planner.accounts.expected(x) for name, x in kept}

    def rank(name: str) -> tuple[float, float, str]:
        cost = figures[name].cost_usd_per_request
        dollars = np.inf if cost is None else cost
        accuracy = figures[name].accuracy
        if planner.spec.objective is Objective.MINIMIZE_COST:
            return dollars, -accuracy, name
        if planner.spec.objective is Objective.MINIMIZE_COST_PER_CORRECT:
            return dollars / accuracy if accuracy > 0 else np.inf, -accuracy, name
        if planner.spec.objective is Objective.MAXIMIZE_VALUE:
            return -planner.value_usd(dict(kept)[name]), dollars, name
        return -accuracy, dollars, name

    best = min(figures, key=rank)
    return SingleStrategy(strategy=best, expected=figures[best])


def _facts(planner: Planner, rungs: tuple[Rung, ...]) -> dict[str, dict[str, CellFacts]]:
    """Every class of every strategy that some rung uses.

    A request whose strategy does not fit the money left is answered by a cheaper one of them.
    """
    allocations = [rung.allocation for rung in rungs]
    allocations += [part.allocation for rung in rungs for part in rung.by_tenant.values()]
    used = {text for one in allocations for shares in one.values() for text in shares}
    facts: dict[str, dict[str, CellFacts]] = {name: {} for name in planner.estimates.classes}
    e, caps = planner.estimates, planner.spec.caps
    by_length = caps is not None and caps.by_prompt_length
    errors = zip(e.accuracy.tolist(), e.accuracy_sd.tolist(), e.cost_sd.tolist(), strict=True)
    for cell, (planned, accuracy_se, cost_se) in zip(e.cells, errors, strict=True):
        if cell.strategy in used:
            fact = _fact(cell, planned, accuracy_se, cost_se)
            line = line_of(cell) if by_length else None
            facts[cell.class_name][cell.strategy] = fact.model_copy(update={"cap_line": line})
    return facts


def _fact(cell: Cell, planned: float, accuracy_se: float, cost_se: float) -> CellFacts:
    return CellFacts(
        queries=cell.queries,
        accuracy=cell.accuracy,
        planned_accuracy=float(f"{planned:.9g}"),
        accuracy_se=float(f"{accuracy_se:.9g}"),
        cost_usd=cell.cost_usd,
        cost_se_usd=float(f"{cost_se:.9g}") if math.isfinite(cost_se) else None,
        cost_max_usd=cell.cost_max_usd,
        latency_p95_s=cell.latency_p95_s,
        tokens_out_max=cell.tokens_out_max,
        evidence=cell.evidence,
    )


def warnings(planner: Planner, rungs: tuple[Rung, ...]) -> tuple[str, ...]:
    """Risks of these rungs that a reader must know."""
    found = [NO_MARGIN] if planner.spec.level is None else []
    if not planner.costs_known and len(planner.spec.rungs) > 1:
        found.append("no cheaper rungs: the cost of some strategy is unknown")
    found += thin_tails(planner, rungs[0])
    found += thin_spreads(planner, rungs[0])
    return (
        *found,
        *left_out(planner.profile, planner.spec),
        *without_prompts(planner.profile, planner.spec),
        *may_be_cut(planner, rungs),
        *cut_by_length(planner, rungs),
        *_partly_measured(planner, rungs),
        *not_measured_here(planner, rungs),
        *of_unknown_size(planner, rungs),
        *stood_in_for(planner.estimates, rungs[0]),
    )


def _partly_measured(planner: Planner, rungs: tuple[Rung, ...]) -> list[str]:
    """Cells in use that were measured on a part of their class's queries, perhaps the easy ones."""
    in_class = dict(zip(planner.estimates.classes, planner.estimates.class_queries, strict=False))
    return [
        f"{cell.strategy} in class {cell.class_name} was measured on {cell.queries} of "
        f"{in_class[cell.class_name]} queries; if they are not alike, no promise holds"
        for cell in planner.estimates.cells
        if any(cell.strategy in rung.allocation[cell.class_name] for rung in rungs)
        and cell.sized
        and cell.queries < in_class.get(cell.class_name, 0)
    ]

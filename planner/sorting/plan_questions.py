"""What plans are asked while ways of sorting requests are compared."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.limits import LimitSet
from planner.planner import Planner
from planner.sorting.cells_of_outcomes import Indices, Outcomes, profile_of
from planner.spec import Objective, Spec

BUDGETS = 5
"""Budgets that ways of sorting are compared at where nobody asks about a certain one."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What every plan is asked: a spec under one or several sets of limits.

    Attributes:
        spec: Objective, confidence, traffic and strategies.
        limits: One set per question.
        by_spec: Whether a spec asked; False where questions stand in for one.
    """

    spec: Spec
    limits: tuple[LimitSet, ...]
    by_spec: bool

    @property
    def cheapest(self) -> bool:
        """Whether money is what plans are judged by."""
        return self.spec.objective is Objective.MINIMIZE_COST


def asked(outcomes: Outcomes, fold_of: Indices, spec: Spec | None) -> Asked:
    """The spec's own question, or five budgets, or the best accuracy where costs are unknown.

    The budgets lie evenly in ratio between what the cheapest and the dearest strategy would promise
    to cost if it answered everything (evenly in dollars where one of them is free). Where all cost
    the same, money is no question either.
    """
    if spec is not None:
        return Asked(spec, (LimitSet.of(spec),), by_spec=True)
    spec = Spec(
        format_version="1.0", workload=outcomes.workload, objective=Objective.MAXIMIZE_ACCURACY
    )
    low, high = _price_range(outcomes, fold_of, spec) if outcomes.costs_known else (0.0, 0.0)
    if high <= low * (1 + 1e-9):
        return Asked(spec, (LimitSet(),), by_spec=False)
    spaced = np.geomspace if low > 0 else np.linspace
    budgets = spaced(low, high, BUDGETS + 2)[1:-1]
    limits = tuple(LimitSet(usd_per_request=float(usd)) for usd in budgets)
    return Asked(spec, limits, by_spec=False)


def _price_range(outcomes: Outcomes, fold_of: Indices, spec: Spec) -> tuple[float, float]:
    """The most that the cheapest and the dearest strategy promise to cost without some fold."""
    one_class = np.zeros(len(fold_of), dtype=np.intp)
    ends = []
    for fold in np.unique(fold_of):
        rest = np.flatnonzero(fold_of != fold)
        planner = Planner(profile_of(outcomes, one_class, ("all",), rest), spec)
        promised = [
            planner.accounts.promised(single).cost_usd_per_request or 0.0
            for _, single in planner.singles()
        ]
        ends.append((min(promised), max(promised)))
    return max(low for low, _ in ends), max(high for _, high in ends)


def judgeable(spec: Spec) -> tuple[Spec, tuple[str, ...]]:
    """The question without what `Outcomes` do not hold, and in words what was left out."""
    limits, left_out = spec.limits, []
    if limits.latency is not None:
        left_out.append("the limit on latency")
        limits = limits.model_copy(update={"latency": None})
    if spec.groups:
        left_out.append("limits on groups")
        accuracy = limits.accuracy.model_copy(update={"by_group": {}, "max_gap": {}})
        limits = limits.model_copy(update={"accuracy": accuracy})
    return spec.model_copy(update={"limits": limits}), tuple(left_out)

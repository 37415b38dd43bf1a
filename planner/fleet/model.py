"""The fleet as a programme of record, in Pyomo: read it as the formula.

Slices h of ``m_h`` equal hours, certified plans j, pools p, choices c (replicas that together carry
a pool's work, ``gpus_ct`` of each type), GPU types t, blocks b of reserved hours::

    run[h, j]       0 or 1   plan j answers in the hours of h
    pick[n, c]      0 or 1   choice c of need n: one pool under one plan in one slice
    reserved[b, t]  whole    GPUs of a type, for all hours of b
    extra[h, t]     >= 0     GPUs on demand; whole by itself, since all else is

    minimise    sum_bt spans_b hours_b price_t' reserved + sum_ht m_h price_t extra
                + sum_hj m_h requests_h bought_j run
    subject to  sum_j run[h, j] = 1                                        every slice
                sum_c pick[n, c] = run[h, j]                               every need
                sum_nc gpus_ct pick[n, c] <= reserved[b(h), t] + extra[h, t] <= at_most_t
                sum_hj m_h requests_h promised_j run >= floor              over: period

The mean of promises is a promise too, up to ``certified.turns_noise``, which is added to the floor.
With ``over: hour`` plans below the floor are left out. Costs are divided by what all hours cost on
demand and counted in thousandths, so that a solver's absolute tolerances are small to them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyomo.environ as pyo
from numpy.typing import NDArray
from pyomo.repn.plugins.standard_form import LinearStandardFormCompiler
from scipy.sparse import csr_array

from planner.fleet.certified import CertifiedPlan, turns_noise
from planner.fleet.hours import Timeline
from planner.fleet.needs import Need
from planner.fleet.question import FleetQuestion
from planner.fleet.work import Work

OBJECTIVE_SCALE = 1000.0
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Problem:
    """Everything the programme is made of.

    Attributes:
        question: Prices and limits.
        plans: Columns that may run.
        works: What each asks of the pools, same order.
        timeline: Slices and blocks.
        needs: Choices by slice, plan and pool.
    """

    question: FleetQuestion
    plans: tuple[CertifiedPlan, ...]
    works: tuple[Work, ...]
    timeline: Timeline
    needs: tuple[Need, ...]

    def unit_usd(self) -> float:
        """Dollars of the whole shape on demand, each pool on the shape that is cheapest for it."""
        price = {name: gpu.usd_per_hour for name, gpu in self.question.gpus.items()}
        cheapest: dict[tuple[int, str], float] = {}
        for need in self.needs:
            usd = [
                sum(gpus * price[t] for t, gpus in choice.gpus.items()) for choice in need.choices
            ]
            key = (need.slice_at, need.pool)
            cheapest[key] = min([*usd, cheapest.get(key, np.inf)])
        slices = self.timeline.slices
        known = [len(slices[h].hours) * v for (h, _), v in cheapest.items() if np.isfinite(v)]
        return sum(known) or 1.0


def build_model(problem: Problem) -> Any:
    """The Pyomo model. Whole numbers are declared; a relaxation ignores them."""
    slices, blocks = problem.timeline.slices, problem.timeline.blocks
    gpus = problem.question.gpus
    floor = problem.question.accuracy
    picks = [(n, c) for n, need in enumerate(problem.needs) for c in range(len(need.choices))]
    m = pyo.ConcreteModel()
    m.SLICES = pyo.Set(initialize=range(len(slices)))
    m.PLANS = pyo.Set(initialize=range(len(problem.plans)))
    m.BLOCKS = pyo.Set(initialize=range(len(blocks)))
    m.TYPES = pyo.Set(initialize=list(gpus))
    m.NEEDS = pyo.Set(initialize=range(len(problem.needs)))
    m.run = pyo.Var(m.SLICES, m.PLANS, domain=pyo.Binary)
    m.pick = pyo.Var(picks, domain=pyo.Binary)
    m.reserved = pyo.Var(
        m.BLOCKS,
        m.TYPES,
        domain=pyo.NonNegativeIntegers,
        bounds=lambda _m, _b, t: _reservable(gpus[t]),
    )
    m.extra = pyo.Var(m.SLICES, m.TYPES, domain=pyo.NonNegativeReals)

    m.one = pyo.Constraint(m.SLICES, rule=lambda m, h: sum(m.run[h, j] for j in m.PLANS) == 1)

    def picked(m: Any, n: int) -> Any:
        need = problem.needs[n]
        picks = sum(m.pick[n, c] for c in range(len(need.choices)))
        return picks - m.run[need.slice_at, need.plan_at] == 0

    m.picked = pyo.Constraint(m.NEEDS, rule=picked)
    taken: dict[tuple[int, str], list[Any]] = {(h, t): [] for h in m.SLICES for t in m.TYPES}
    for n, c in picks:
        need = problem.needs[n]
        for t, gpus_taken in need.choices[c].gpus.items():
            taken[need.slice_at, t].append(gpus_taken * m.pick[n, c])

    def held(m: Any, h: int, t: str) -> Any:
        return sum(taken[h, t]) - m.reserved[slices[h].block, t] - m.extra[h, t] <= 0

    m.held = pyo.Constraint(m.SLICES, m.TYPES, rule=held)

    def within(m: Any, h: int, t: str) -> Any:
        most = gpus[t].at_most
        if most is None:
            return pyo.Constraint.Skip
        return m.reserved[slices[h].block, t] + m.extra[h, t] <= most

    m.within = pyo.Constraint(m.SLICES, m.TYPES, rule=within)
    if floor and floor.over == "period":
        asked = [len(one.hours) * one.requests for one in slices]
        total = sum(asked)
        mean = sum(
            asked[h] / total * problem.plans[j].promised_accuracy * m.run[h, j]
            for h in m.SLICES
            for j in m.PLANS
        )
        floor_of_mean = floor.promised + turns_noise([p.judged_noise for p in problem.plans])
        m.accuracy = pyo.Constraint(expr=mean >= floor_of_mean - 1e-9)
    m.cost = pyo.Objective(expr=OBJECTIVE_SCALE / problem.unit_usd() * _usd(m, problem))
    return m


def _reservable(gpu: Any) -> tuple[int, int | None]:
    return (0, 0) if gpu.reserved_usd_per_hour is None else (0, gpu.at_most)


def _usd(m: Any, problem: Problem) -> Any:
    slices, blocks, gpus = problem.timeline.slices, problem.timeline.blocks, problem.question.gpus
    reserved = sum(
        blocks[b].spans
        * blocks[b].hours
        * (gpus[t].reserved_usd_per_hour or 0.0)
        * m.reserved[b, t]
        for b in m.BLOCKS
        for t in m.TYPES
    )
    extra = sum(
        len(slices[h].hours) * gpus[t].usd_per_hour * m.extra[h, t]
        for h in m.SLICES
        for t in m.TYPES
    )
    bought = sum(
        len(slices[h].hours) * slices[h].requests * problem.works[j].bought_usd * m.run[h, j]
        for h in m.SLICES
        for j in m.PLANS
        if problem.works[j].bought_usd
    )
    return reserved + extra + bought


@dataclass(frozen=True)
class Arrays:
    """The compiled model.

    Attributes:
        matrix: Shape (rows, columns).
        lower: Lower bound per row.
        upper: Upper bound per row.
        column_lower: Per column.
        column_upper: Per column.
        whole: Whether a column is a whole number.
        costs: Objective per column, minimised.
        constant: Of the objective.
        place: Column by the model's variable name and index.
    """

    matrix: csr_array
    lower: Floats
    upper: Floats
    column_lower: Floats
    column_upper: Floats
    whole: NDArray[np.bool_]
    costs: Floats
    place: Mapping[tuple[str, Any], int]

    def part(self, own: NDArray[np.intp], matrix: Floats, lower: Floats, upper: Floats) -> Arrays:
        """Some of the columns under other rows."""
        return replace(
            self,
            matrix=csr_array(matrix),
            lower=lower,
            upper=upper,
            column_lower=self.column_lower[own],
            column_upper=self.column_upper[own],
            whole=self.whole[own],
            costs=self.costs[own],
            place={},
        )


def compile_model(model: Any) -> Arrays:
    """Compile the Pyomo model into plain arrays."""
    variables: Sequence[Any] = list(model.component_data_objects(pyo.Var))
    form = LinearStandardFormCompiler().write(
        model, mixed_form=True, set_sense=pyo.minimize, column_order=variables
    )
    bounds = np.array([entry.bound_type for entry in form.rows])
    columns = form.columns
    return Arrays(
        matrix=csr_array(form.A),
        lower=np.where(bounds <= 0, form.rhs, -np.inf),
        upper=np.where(bounds >= 0, form.rhs, np.inf),
        column_lower=np.array([-np.inf if v.lb is None else v.lb for v in columns], dtype=float),
        column_upper=np.array([np.inf if v.ub is None else v.ub for v in columns], dtype=float),
        whole=np.array([not v.is_continuous() for v in columns]),
        costs=form.c.toarray()[0],
        place={(v.parent_component().local_name, v.index()): i for i, v in enumerate(columns)},
    )

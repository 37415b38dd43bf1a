"""The programme of record, in Pyomo: read it as the formula, compile it once.

Decide ``x[d, s] >= 0``, the share of class d's requests that strategy s answers::

    minimise    sum_d w_d sum_s c_ds x_ds           (or maximise accuracy less doubt)
    subject to  sum_s x_ds = 1                                  every class
                sum_d w_d sum_s g_ds x_ds        >= floor       accuracy.overall
                sum_s b_ds x_ds                  >= floor_d     accuracy.by_class.d
                sum_d P(d|g) sum_s a_dsg x_ds    >= floor_g     accuracy.by_group.COLUMN.g
                A_g(x) - A_h(x)                  <= gap         accuracy.max_gap.COLUMN
                sum_d w_d sum_s P_ds(L > T) x_ds <= 0.05        latency.p95_s
                sum_d w_d sum_s c_ds x_ds        <= budget      spend.usd_per_request

The floor counts on ``g <= a``, the careful estimates; the objective on the best ones. Rows about
groups are those of `planner.estimating.groups`. The latency row is exact: the 95th percentile of a
mixture is at most T when and only when at most 5 % of its requests take longer than T. Each limit
owns a slack, closed at 0; opening it tells by how much the limit would have to move. Margins are
added as cuts by `planner.programme.session`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyomo.environ as pyo
from pyomo.repn.plugins.standard_form import LinearStandardFormCompiler
from scipy.sparse import csr_array

from planner.estimating.estimates import TAIL, Estimates
from planner.estimating.groups import MAX_GAP, GroupRow
from planner.programme.margin import Array

OVERALL = "accuracy.overall"
BY_CLASS = "accuracy.by_class."
LATENCY = "latency.p95_s"
SPEND = "spend.usd_per_request"

OBJECTIVE_SCALE = 100.0
"""Objectives are counted in hundredths: a solver's absolute tolerances are small to them."""


def cost_unit(estimates: Estimates) -> float:
    """Dollars that one unit of cost stands for in the model: the median cell, or 1 if unknown."""
    known = estimates.cost_usd[np.isfinite(estimates.cost_usd) & (estimates.cost_usd > 0)]
    return float(np.median(known)) if len(known) else 1.0


def build_model(estimates: Estimates, *, latency_row: int | None) -> Any:
    """The Pyomo model over all measured cells, every limit at a placeholder of zero slack.

    Args:
        estimates: Numbers per column.
        latency_row: Grid limit of the latency row; None leaves the row out.

    Returns:
        A ConcreteModel. The cost objective and the spend row exist where every cost is known.
    """
    m = pyo.ConcreteModel()
    m.CLASSES = pyo.Set(initialize=range(len(estimates.classes)))
    m.COLUMNS = pyo.Set(initialize=range(estimates.columns))
    share = [float(w) for w in estimates.traffic_share]
    a = [float(v) for v in estimates.accuracy]
    g = [float(v) for v in estimates.accuracy_careful]
    b = [float(v) for v in estimates.accuracy_floor]
    members: dict[int, list[int]] = {d: [] for d in m.CLASSES}
    for i, d in enumerate(estimates.class_of):
        members[int(d)].append(i)

    m.x = pyo.Var(m.COLUMNS, domain=pyo.NonNegativeReals)
    m.doubt = pyo.Var(bounds=(0, None))
    m.one = pyo.Constraint(m.CLASSES, rule=lambda m, d: sum(m.x[i] for i in members[d]) == 1)

    accuracy = sum(share[i] * a[i] * m.x[i] for i in m.COLUMNS)
    m.overall_slack = pyo.Var(bounds=(0, 0))
    careful = sum(share[i] * g[i] * m.x[i] for i in m.COLUMNS)
    m.overall = pyo.Constraint(expr=careful + m.overall_slack >= 0)
    m.class_slack = pyo.Var(m.CLASSES, bounds=(0, 0))
    m.by_class = pyo.Constraint(
        m.CLASSES,
        rule=lambda m, d: sum(b[i] * m.x[i] for i in members[d]) + m.class_slack[d] >= 0,
    )
    _add_groups(m, estimates.groups.rows)
    m.accuracy = pyo.Objective(expr=OBJECTIVE_SCALE * (accuracy - m.doubt), sense=pyo.maximize)

    if latency_row is not None:
        p = [float(v) for v in estimates.exceedance_careful[latency_row]]
        slow = sum(share[i] * p[i] * m.x[i] for i in m.COLUMNS)
        m.latency_slack = pyo.Var(bounds=(0, 0))
        m.latency = pyo.Constraint(expr=slow - m.latency_slack <= TAIL)

    if np.isfinite(estimates.cost_usd).all():
        c = [float(v) for v in estimates.cost_usd / cost_unit(estimates)]
        cost = sum(share[i] * c[i] * m.x[i] for i in m.COLUMNS)
        m.spend_slack = pyo.Var(bounds=(0, 0))
        m.spend = pyo.Constraint(expr=cost - m.spend_slack <= 0)
        m.cost = pyo.Objective(expr=OBJECTIVE_SCALE * cost, sense=pyo.minimize)
    return m


def _add_groups(m: Any, rows: Sequence[GroupRow]) -> None:
    """Floors of groups and caps on gaps; all rows of one cap share its slack."""
    limits = list(dict.fromkeys(row.limit for row in rows))
    m.group_slack = pyo.Var(range(len(limits)), bounds=(0, 0))

    def keep(m: Any, i: int) -> Any:
        row = rows[i]
        body = sum(float(row.body[j]) * m.x[j] for j in m.COLUMNS if row.body[j])
        slack = m.group_slack[limits.index(row.limit)]
        return body + slack >= 0 if row.is_floor else body - slack <= 0

    m.by_group = pyo.Constraint(range(len(rows)), rule=keep)


@dataclass(frozen=True)
class Programme:
    """The model as arrays. Both objectives are minimised (accuracy with its sign turned).

    Attributes:
        matrix: Shape (rows, columns); columns start with the shares in the order of estimates.
        lower: Lower bound per row.
        upper: Upper bound per row.
        objectives: Coefficients per column by ``accuracy`` and, where known, ``cost``.
        row_of: Row by limit name; a cap on the gap between groups has several, with own names.
        slack_of: Slack column by limit name.
        doubt: Column that carries the margin of the accuracy objective.
    """

    matrix: csr_array
    lower: Array
    upper: Array
    objectives: dict[str, Array]
    row_of: dict[str, int]
    slack_of: dict[str, int]
    doubt: int


def compile_model(model: Any, estimates: Estimates) -> Programme:
    """Compile the Pyomo model once into plain arrays."""
    form = LinearStandardFormCompiler().write(
        model,
        mixed_form=True,
        set_sense=pyo.minimize,
        column_order=list(model.component_data_objects(pyo.Var)),
    )
    position = {id(variable): j for j, variable in enumerate(form.columns)}
    bounds = np.array([entry.bound_type for entry in form.rows])
    rows = {id(entry.constraint): i for i, entry in enumerate(form.rows)}
    limits = _limits(model, estimates)
    groups = estimates.groups.rows
    slacks = {name: slack for name, (_, slack) in limits.items()}
    shared = dict.fromkeys(row.limit for row in groups)
    slacks |= zip(shared, model.group_slack.values(), strict=True)
    by_group = {row.name: model.by_group[i] for i, row in enumerate(groups)}
    constraints = {name: row for name, (row, _) in limits.items()} | by_group
    return Programme(
        matrix=csr_array(form.A),
        lower=np.where(bounds <= 0, form.rhs, -np.inf),
        upper=np.where(bounds >= 0, form.rhs, np.inf),
        objectives={
            objective.local_name: coefficients
            for objective, coefficients in zip(form.objectives, form.c.toarray(), strict=True)
        },
        row_of={name: rows[id(row)] for name, row in constraints.items()},
        slack_of={name: position[id(slack)] for name, slack in slacks.items()},
        doubt=position[id(model.doubt)],
    )


def _limits(model: Any, estimates: Estimates) -> dict[str, tuple[Any, Any]]:
    """Constraint and slack by the limit's name in the spec."""
    limits = {OVERALL: (model.overall, model.overall_slack)}
    for d, name in enumerate(estimates.classes):
        limits[BY_CLASS + name] = (model.by_class[d], model.class_slack[d])
    for name, row in ((LATENCY, "latency"), (SPEND, "spend")):
        if model.component(row) is not None:
            limits[name] = (model.component(row), model.component(f"{row}_slack"))
    return limits


def is_floor(limit: str) -> bool:
    """Whether the limit bounds from below."""
    return limit.startswith("accuracy.") and not limit.startswith(MAX_GAP)

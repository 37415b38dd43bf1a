"""The programme of record, in Pyomo: read it as the formula, compile it once.

Decide ``x[d, s] >= 0``, the share of class d's requests that strategy s answers::

    minimise    sum_d w_d sum_s c_ds x_ds                      cost
    or maximise sum_d w_d sum_s a_ds x_ds - doubt              accuracy
    or maximise sum_d w_d sum_s (v_d a_ds - c_ds) x_ds         value
    subject to  sum_s x_ds = 1                                 every class
                body_r x >= bound_r                            every row r of a floor
                body_r x <= bound_r                            every row r of a ceiling

The rows are those of `planner.estimating.limit_rows`, which says what each body is. Floors count on
careful estimates, objectives on the best ones. Each limit owns a slack, closed at 0; opening it
tells by how much the limit would have to move. Bounds are placeholders here, and margins are added
as cuts, by `planner.programme.session`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyomo.environ as pyo
from pyomo.repn.plugins.standard_form import LinearStandardFormCompiler
from scipy.sparse import csr_array

from planner.estimating.estimates import Estimates
from planner.programme.limit_row import LimitRow
from planner.programme.margin import Array

OBJECTIVE_SCALE = 100.0
"""Objectives are counted in hundredths: a solver's absolute tolerances are small to them."""


def cost_unit(estimates: Estimates) -> float:
    """Dollars that one unit of cost stands for in the model: the median cell, or 1 if unknown."""
    known = estimates.cost_usd[np.isfinite(estimates.cost_usd) & (estimates.cost_usd > 0)]
    return float(np.median(known)) if len(known) else 1.0


def build_model(
    estimates: Estimates, rows: Sequence[LimitRow], *, value_usd: Array | None = None
) -> Any:
    """The Pyomo model over all measured cells, every limit at a placeholder of zero.

    Args:
        estimates: Numbers per column.
        rows: Of every limit that a question may set.
        value_usd: Worth of a correct answer per class; None leaves that objective out.

    Returns:
        A ConcreteModel. The objectives cost and value exist where every cost is known.
    """
    m = pyo.ConcreteModel()
    m.CLASSES = pyo.Set(initialize=range(len(estimates.classes)))
    m.COLUMNS = pyo.Set(initialize=range(estimates.columns))
    m.ROWS = pyo.Set(initialize=range(len(rows)))
    share = [float(w) for w in estimates.traffic_share]
    a = [float(v) for v in estimates.accuracy]
    members: dict[int, list[int]] = {d: [] for d in m.CLASSES}
    for i, d in enumerate(estimates.class_of):
        members[int(d)].append(i)

    m.x = pyo.Var(m.COLUMNS, domain=pyo.NonNegativeReals)
    m.doubt = pyo.Var(bounds=(0, None))
    m.one = pyo.Constraint(m.CLASSES, rule=lambda m, d: sum(m.x[i] for i in members[d]) == 1)

    limits = list(dict.fromkeys(row.limit for row in rows))
    m.slack = pyo.Var(range(len(limits)), bounds=(0, 0))

    def keep(m: Any, r: int) -> Any:
        row = rows[r]
        terms = zip(row.at.tolist(), row.body.tolist(), strict=True)
        body = sum(coefficient * m.x[i] for i, coefficient in terms if coefficient)
        slack = m.slack[limits.index(row.limit)]
        return body + slack >= 0 if row.is_floor else body - slack <= 0

    m.limit = pyo.Constraint(m.ROWS, rule=keep)

    accuracy = sum(share[i] * a[i] * m.x[i] for i in m.COLUMNS)
    m.accuracy = pyo.Objective(expr=OBJECTIVE_SCALE * (accuracy - m.doubt), sense=pyo.maximize)
    if np.isfinite(estimates.cost_usd).all():
        unit = cost_unit(estimates)
        c = [float(v) for v in estimates.cost_usd / unit]
        cost = sum(share[i] * c[i] * m.x[i] for i in m.COLUMNS)
        m.cost = pyo.Objective(expr=OBJECTIVE_SCALE * cost, sense=pyo.minimize)
        if value_usd is not None:
            v = [float(usd / unit) for usd in value_usd[estimates.class_of]]
            value = sum(share[i] * (v[i] * a[i] - c[i]) * m.x[i] for i in m.COLUMNS)
            m.value = pyo.Objective(expr=OBJECTIVE_SCALE * value, sense=pyo.maximize)
    return m


@dataclass(frozen=True)
class Programme:
    """The model as arrays. Every objective is minimised (maximised ones with their sign turned).

    Attributes:
        matrix: Shape (rows, columns); columns start with the shares in the order of estimates.
        lower: Lower bound per row.
        upper: Upper bound per row.
        objectives: Coefficients per column by ``accuracy`` and, where known, ``cost``, ``value``.
        row_of: Row by the name of its `LimitRow`.
        floors: Names of the rows that bound from below.
        slack_of: Slack column by limit name.
        doubt: Column that carries the margin of the accuracy objective.
    """

    matrix: csr_array
    lower: Array
    upper: Array
    objectives: dict[str, Array]
    row_of: dict[str, int]
    floors: frozenset[str]
    slack_of: dict[str, int]
    doubt: int


def compile_model(model: Any, rows: Sequence[LimitRow]) -> Programme:
    """Compile the Pyomo model of these rows once into plain arrays."""
    form = LinearStandardFormCompiler().write(
        model,
        mixed_form=True,
        set_sense=pyo.minimize,
        column_order=list(model.component_data_objects(pyo.Var)),
    )
    position = {id(variable): j for j, variable in enumerate(form.columns)}
    bounds = np.array([entry.bound_type for entry in form.rows])
    numbers = {id(entry.constraint): i for i, entry in enumerate(form.rows)}
    limits = dict.fromkeys(row.limit for row in rows)
    return Programme(
        matrix=csr_array(form.A),
        lower=np.where(bounds <= 0, form.rhs, -np.inf),
        upper=np.where(bounds >= 0, form.rhs, np.inf),
        objectives={
            objective.local_name: coefficients
            for objective, coefficients in zip(form.objectives, form.c.toarray(), strict=True)
        },
        row_of={row.name: numbers[id(model.limit[r])] for r, row in enumerate(rows)},
        floors=frozenset(row.name for row in rows if row.is_floor),
        slack_of={
            limit: position[id(slack)]
            for limit, slack in zip(limits, model.slack.values(), strict=True)
        },
        doubt=position[id(model.doubt)],
    )

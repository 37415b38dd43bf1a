"""What an allocation does for groups: figures for the plan file."""

from __future__ import annotations

import numpy as np

from planner.estimating.allocation import DIGITS, Accounts
from planner.estimating.estimates import Estimates
from planner.estimating.groups import accuracy_of
from planner.limit_names import BY_GROUP, MAX_GAP
from planner.plan import GapFigures, GroupFigures, Rung
from planner.programme.margin import Array


def group_figures(x: Array, e: Estimates, accounts: Accounts) -> dict[str, dict[str, GroupFigures]]:
    """Every group of every column that a limit names; a promise where there is a floor."""
    return {
        column: {
            group.value: GroupFigures(
                queries=group.queries,
                share=_digits(group.share),
                accuracy=_digits(accuracy_of(e, group, x)),
                promised_accuracy=_promised(x, e, accounts, f"{BY_GROUP}{column}.{group.value}"),
            )
            for group in groups
        }
        for column, groups in e.groups.of.items()
    }


def gap_figures(x: Array, e: Estimates, accounts: Accounts) -> dict[str, GapFigures]:
    """The widest gap of every column that a limit names; a promise where there is a cap."""
    found = {}
    for column, groups in e.groups.of.items():
        scores = {group.value: accuracy_of(e, group, x) for group in groups}
        best, worst = max(scores, key=scores.__getitem__), min(scores, key=scores.__getitem__)
        rows = list(e.groups.rows_of(MAX_GAP + column))
        most = max(
            (
                float(row.body @ x) + row.margin.value(x, accounts.group_offset(row, 0.5))
                for row in rows
            ),
            default=None,
        )
        found[column] = GapFigures(
            expected=_digits(scores[best] - scores[worst]),
            promised=None if most is None else _digits(min(most, 1.0)),
            best=best,
            worst=worst,
        )
    return found


def stood_in_for(e: Estimates, rung: Rung) -> list[str]:
    """Warnings: strategies that answer a limited group whose queries never measured them."""
    used = np.array([cell.strategy in rung.allocation[cell.class_name] for cell in e.cells])
    warnings = []
    for column, groups in e.groups.of.items():
        for group in groups:
            limits = (f"{BY_GROUP}{column}.{group.value}", MAX_GAP + column)
            if not any(row.limit in limits for row in e.groups.rows):
                continue
            blind = used & (group.measured == 0) & (group.mix[e.class_of] > 0)
            warnings += [
                f"{e.cells[j].strategy} in class {e.cells[j].class_name} was measured on no query "
                f"of {column} {group.value}; its class stands in"
                for j in np.flatnonzero(blind)
            ]
    return warnings


def _promised(x: Array, e: Estimates, accounts: Accounts, limit: str) -> float | None:
    for row in e.groups.rows_of(limit):
        careful = float(row.body @ x)
        margin = row.margin.value(x, accounts.group_offset(row, careful))
        return _digits(max(careful - margin, 0.0))
    return None


def _digits(value: float) -> float:
    """As many digits as every other figure of a plan."""
    return float(f"{value:.{DIGITS}g}")

"""What numbers do to a plan when all change by as much, in words."""

from __future__ import annotations

import math

from planner.explaining.report import Explanation, Kind, Side, Swing
from planner.explaining.words import currency, number
from planner.spec import Objective


def subject_words(kind: Kind, name: str) -> str:
    """Which number changes."""
    of = {"price": "price of ", "accuracy": "accuracy of ", "class share": "share of class "}
    return f"{of.get(kind, '')}{name}"


def side_words(side: Side | None, explained: Explanation) -> str:
    """What one side of a swing does, in the currency's unit.

    It says the change where that is not the one common to all.
    """
    if side is None:
        return "-"
    by = "" if abs(side.by) == explained.swing else f" at {_signed(side.by)}"
    if side.worth is None:
        return f"no plan{by}"
    if not side.worth:
        return "changes nothing"
    unit = currency(explained.objective, explained.traffic)
    verb = unit.better if side.worth > 0 else unit.worse
    return f"{verb} {number(abs(side.worth) * unit.factor)}{by}"


def edge_words(swing: Swing, explained: Explanation) -> str:
    """Changes at which a swing flips the plan, the smallest each way."""
    edges = []
    for side in (swing.less, swing.more):
        if side is None or side.flip is None:
            continue
        at = side.flip.change
        if abs(at) <= explained.tolerance:
            edges.append(f"less than {_signed(math.copysign(explained.tolerance, at))}")
        elif side.same_to:
            edges.append(_signed(at))
        else:
            edges.append(f"{_signed(at)} or less")
    return ", ".join(edges) or "-"


def unswung_words(explained: Explanation) -> str:
    """How many numbers were not changed."""
    if not explained.unswung:
        return ""
    numbers = "1 number" if explained.unswung == 1 else f"{explained.unswung} numbers"
    return f"not tried: {numbers} of which less of the plan depends"


def objective_words(explained: Explanation) -> str:
    """What the objective is, with its unit as `words.currency` counts it."""
    if explained.objective is not Objective.MAXIMIZE_ACCURACY:
        return currency(explained.objective, explained.traffic).unit
    return "accuracy, %" if explained.confidence is None else "accuracy less doubt, %"


def _signed(change: float) -> str:
    return f"{100 * change:+.3g} %"

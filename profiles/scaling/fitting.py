"""Shape of compute: where more of it stops paying, and where it does harm.

The knee is the compute from which no further doubling gains `points` of accuracy. It does not
depend on the unit of compute (a factor moves the axis, not the curve) and it is what a buyer asks:
"is twice as much worth it?"; the point of greatest curvature changes with the scale of both axes.

Its interval supposes the curve's form; `benchmarks/shape_of_compute.py` simulates how often it
holds the truth where the form is true and where best-of-n only comes close to it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from profiles.aggregate import Aggregate
from profiles.scaling.families import Family, families
from profiles.scaling.levels import Level, Unit, levels_of, resampled_accuracy, worse_p
from profiles.scaling.misfit import MISFIT, misfit_p_value
from profiles.scaling.paired import holm
from profiles.scaling.query_means import QueryMeans
from profiles.scaling.saturation import FEWEST_LEVELS, fit
from profiles.scaling.shape import TAILS, Downturn, Knee, LevelFacts, Shape

LEVEL = 0.05
FEWEST_QUERIES = 20


def shapes(
    observed: Mapping[tuple[str, str], QueryMeans],
    published: Iterable[Aggregate] = (),
    *,
    chosen: Sequence[Family] | None = None,
    unit: Unit | None = None,
    points: float = 0.01,
    seed: int = 0,
    resamples: int = 1000,
) -> tuple[Shape, ...]:
    """The shape of every family in every class, by class and family.

    Args:
        observed: Query means by (class, strategy).
        published: Cells of which only means are known.
        chosen: Families to look at; all that differ in one parameter where None.
        unit: What stands for compute; the lever where it is an amount, else the first measured
            one, where None.
        points: Accuracy in 0..1 that a doubling must gain to pay.
        seed: Of the bootstrap over queries.
        resamples: Of the bootstrap over queries.
    """
    means = {(cell.class_name, cell.strategy): cell for cell in published}
    cells = sorted({*observed, *means})
    looked_at = families(strategy for _, strategy in cells) if chosen is None else chosen
    found = []
    for class_name in sorted({name for name, _ in cells}):
        for family in looked_at:
            levels = levels_of(family, class_name, observed, means)
            if len(levels) > 1:
                found.append(
                    _shape(
                        class_name,
                        family,
                        levels,
                        unit,
                        points=points,
                        seed=seed,
                        resamples=resamples,
                    )
                )
    return tuple(found)


def _shape(
    class_name: str,
    family: Family,
    levels: Sequence[Level],
    unit: Unit | None,
    *,
    points: float,
    seed: int,
    resamples: int,
) -> Shape:
    unit = unit or _unit(levels)
    known = [(amount, level) for level in levels if unit and (amount := level.compute(unit))]
    if unit is None or len(known) < len(levels):
        return Shape(
            class_name=class_name,
            family=family.name,
            unit=str(unit or "compute"),
            levels=(),
            paired=False,
            tested=0,
            smallest_p_value=None,
            downturns=(),
            without_curve=_without_compute(levels, unit),
        )
    known.sort(key=lambda pair: (pair[0], pair[1].strategy))
    computes, ordered = [amount for amount, _ in known], [level for _, level in known]
    tested, downturns, smallest = _downturns(ordered, computes)
    shape = Shape(
        class_name=class_name,
        family=family.name,
        unit=family.lever if unit is Unit.LEVER and family.lever else str(unit),
        levels=tuple(_facts(level, unit, amount) for amount, level in known),
        paired=_paired(ordered),
        tested=tested,
        smallest_p_value=smallest,
        downturns=downturns,
        without_curve=_without_curve(ordered, computes),
    )
    if shape.without_curve:
        return shape
    return _fitted(shape, ordered, points=points, seed=seed, resamples=resamples)


def _unit(levels: Sequence[Level]) -> Unit | None:
    used = [unit for unit in Unit if all(level.compute(unit) is not None for level in levels)]
    return next(
        (u for u in used if all(level.compute(u) for level in levels)), next(iter(used), None)
    )


def _without_compute(levels: Sequence[Level], unit: Unit | None) -> str:
    unused = [level.strategy for level in levels if unit and level.compute(unit) == 0]
    if unused:
        return f"{', '.join(unused)} used 0 {unit}: doublings of compute start above 0"
    return "nothing measured says how much compute each level uses"


def _facts(level: Level, unit: Unit, amount: float) -> LevelFacts:
    cost = level.used.get(Unit.COST_USD)
    return LevelFacts(
        strategy=level.strategy,
        compute=amount,
        queries=level.queries,
        accuracy=level.accuracy,
        accuracy_interval=level.interval(),
        accuracy_per_unit=level.accuracy / amount,
        accuracy_per_unit_interval=level.per_unit(unit),
        cost_per_correct_usd=None if cost is None or not level.accuracy else cost / level.accuracy,
        cost_per_correct_interval=level.per_correct(),
    )


def _paired(levels: Sequence[Level]) -> bool:
    asked = [None if level.rows is None else frozenset(level.rows.query_id) for level in levels]
    return asked[0] is not None and all(queries == asked[0] for queries in asked)


def _without_curve(levels: Sequence[Level], computes: Sequence[float]) -> str | None:
    if uncounted := [level.strategy for level in levels if not level.queries]:
        return f"nobody says how many queries stand behind {', '.join(uncounted)}"
    if (fewest := min(level.queries or 0 for level in levels)) < FEWEST_QUERIES:
        return f"a level has {fewest} queries, a curve needs {FEWEST_QUERIES}"
    if len(set(computes)) < FEWEST_LEVELS:
        return f"{len(set(computes))} levels of compute, a curve needs {FEWEST_LEVELS}"
    if computes[-1] < 2 * computes[0]:
        return "the levels span less than one doubling of compute"
    return None


def _downturns(
    levels: Sequence[Level], computes: Sequence[float]
) -> tuple[int, tuple[Downturn, ...], float | None]:
    """All pairs are compared: choosing the best level first would be a second look at the data."""
    compared = [
        (levels[i], levels[j], test)
        for i, j in combinations(range(len(levels)), 2)
        if computes[i] < computes[j] and (test := worse_p(levels[i], levels[j]))
    ]
    adjusted = holm([test[0] for _, _, test in compared])
    found = tuple(
        Downturn(
            before.strategy, after.strategy, after.accuracy - before.accuracy, p_value, test[1]
        )
        for (before, after, test), p_value in zip(compared, adjusted, strict=True)
        if p_value <= LEVEL
    )
    return len(compared), found, min(adjusted, default=None)


def _fitted(
    shape: Shape, levels: Sequence[Level], *, points: float, seed: int, resamples: int
) -> Shape:
    """The shape with its curve, weighted by standard errors alone.

    With the full covariance of levels that share samples, which is nearly singular, a form that
    is only nearly right would leave all points on one side. It enters through the bootstrap.
    A curve that misses what was measured is no answer: it and its knee are withheld.
    """
    first = shape.levels[0].compute
    doublings = np.log2([level.compute / first for level in shape.levels])
    weights = np.array([1 / level.variance() for level in levels])
    drawn = resampled_accuracy(levels, seed, resamples)
    turning = bool(shape.downturns)
    seen = np.array([[level.accuracy for level in levels]])
    curve = fit(doublings, seen, weights, turning=turning)
    misfit = misfit_p_value(
        curve,
        doublings,
        seen,
        weights,
        drawn,
        tolerance=points / 2,
        turning=turning,
        seed=seed,
    )
    if misfit <= LEVEL:
        return replace(shape, without_curve=MISFIT, misfit_p_value=misfit)
    resampled = fit(doublings, drawn, weights, turning=turning)
    turned = resampled if turning else fit(doublings, drawn, weights, turning=True)
    last = float(doublings[-1])
    knee = float(curve.knees(last, points)[0])
    ends = np.quantile(resampled.knees(last, points), TAILS, method="inverted_cdf")
    low, high = (_compute(first, float(end)) for end in ends)
    return replace(
        shape,
        knee=Knee(_compute(first, knee), low, high),
        misfit_p_value=misfit,
        curve=curve,
        resampled=resampled,
        turned=turned,
    )


def _compute(first: float, doublings: float) -> float | None:
    return first * 2**doublings if math.isfinite(doublings) else None

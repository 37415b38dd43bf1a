"""What it costs that a query is sorted into a class under which a plan serves it worse.

Two comparisons with the classes as they are. In hindsight every query takes the class under which
the plan would have served it best. Hindsight knows the luck of single outcomes, which no estimator
can, so this is more than perfect sorting would win: an upper bound. The other side knows no luck
but that the plan was made from the same outcomes: what is lost where queries are sorted at random
into classes of the same sizes, or where one class is for all. Every figure is a mean over all
requests, so mistakes add up to the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from profiles.difficulty.honesty.confusion import Change, changes, served
from profiles.difficulty.honesty.prediction_sets import UNKNOWN, best_in_hindsight

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
_DECIMALS = 12


@dataclass(frozen=True, slots=True)
class Difference:
    """What another sorting changes per request of all traffic.

    Attributes:
        score: In mean score; 0.01 is a point.
        cost_usd: In dollars; None where costs are not known.
        worth_usd: Score in dollars less cost; None without a price of accuracy, or costs.
    """

    score: Change | None
    cost_usd: Change | None
    worth_usd: Change | None


@dataclass(frozen=True, slots=True)
class Mistake:
    """Queries sorted as one class that another would have served best.

    Attributes:
        sorted_as: Class name.
        served_best_as: Class name.
        queries: How many.
        difference: What putting just these right would change.
    """

    sorted_as: str
    served_best_as: str
    queries: int
    difference: Difference


@dataclass(frozen=True, slots=True)
class WrongClasses:
    """What wrong classes cost under a plan.

    Attributes:
        queries: Queries counted: every strategy that the plan uses is measured on them.
        left_out: Queries of which that is not so.
        usd_per_score: What a score of 1 instead of 0 is worth to the plan, in dollars; None where
            the plan puts no price on it: then hindsight goes by score alone.
        same_for_all: The plan serves all classes alike, so that none can be wrong.
        wrong: Queries that another class would have served better.
        hindsight: All mistakes put right; an upper bound.
        mistakes: By pair of classes, most queries first.
        at_random: Classes of the same sizes, dealt at random; exact, not drawn.
        one_for_all: One class for every query, by its name.
    """

    queries: int
    left_out: int
    usd_per_score: float | None
    same_for_all: bool
    wrong: int
    hindsight: Difference
    mistakes: tuple[Mistake, ...]
    at_random: Difference
    one_for_all: dict[str, Difference]


def wrong_classes(
    shares: Floats,
    names: Sequence[str],
    scores: Floats,
    costs: Floats,
    sorted_as: Indices,
    *,
    usd_per_score: float | None,
) -> WrongClasses:
    """Compare the classes as they are with others under the same plan.

    Args:
        shares: Shape (C, S): which strategy answers a class, rows sum to 1.
        names: C class names.
        scores: Shape (n, S), in 0..1; nan where unmeasured.
        costs: Shape (n, S), dollars; nan where unknown.
        sorted_as: Shape (n,): class indices.
        usd_per_score: Dollars that a score of 1 instead of 0 is worth, at least 0; None where that
            is not known.
    """
    used = shares.max(axis=0, initial=0) > 0
    measured = np.isfinite(scores[:, used]).all(axis=1)
    priced = np.isfinite(costs[:, used]).all(axis=1)
    with_costs = bool((measured & priced).any())
    kept = measured & priced if with_costs else measured
    scores, costs, first = scores[kept], costs[kept], sorted_as[kept]
    price = usd_per_score if with_costs else None
    worth = None if price is None else price * scores - costs
    best = _best(shares, scores, costs if price is not None else None, price or 0.0, first)
    sizes = np.bincount(first, minlength=len(names))
    mixed = np.vstack([shares, sizes @ shares / max(len(first), 1)])

    def difference(second: Indices) -> Difference:
        moved = changes(mixed, scores, costs if with_costs else None, first, second)
        in_dollars = None if worth is None else changes(mixed, scores, worth, first, second)
        return Difference(
            score=moved.score,
            cost_usd=moved.cost_usd,
            worth_usd=in_dollars.cost_usd if in_dollars else None,
        )

    pairs = [
        (int(((first == a) & (best == b)).sum()), a, b)
        for a in range(len(names))
        for b in range(len(names))
        if a != b
    ]
    return WrongClasses(
        queries=len(first),
        left_out=len(sorted_as) - len(first),
        usd_per_score=price,
        same_for_all=bool((shares == shares[:1]).all()),
        wrong=int((first != best).sum()),
        hindsight=difference(best),
        mistakes=tuple(
            Mistake(
                names[a],
                names[b],
                count,
                difference(np.where((first == a) & (best == b), best, first)),
            )
            for count, a, b in sorted(pairs, key=lambda pair: (-pair[0], *pair[1:]))
            if count
        ),
        at_random=difference(np.full_like(first, len(names))),
        one_for_all={name: difference(np.full_like(first, c)) for c, name in enumerate(names)},
    )


def _best(
    shares: Floats, scores: Floats, costs: Floats | None, usd_per_score: float, first: Indices
) -> Indices:
    """The class that serves a query best; its own where no other is better."""
    found = best_in_hindsight(shares, scores, costs, usd_per_score)
    found = np.where(found == UNKNOWN, first, found)
    worth = scores if costs is None else usd_per_score * scores - costs
    gain = served(shares, worth, found) - served(shares, worth, first)
    return np.asarray(np.where(gain.round(_DECIMALS) > 0, found, first))

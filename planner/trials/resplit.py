"""One resplit: plans made from a part of the queries, judged by the rest.

The rest is the judge: a profile of its own, read as if its means were the truth, with class sizes
of its own unless the spec gives the mix. Plans promise for as many requests as it has queries. An
allocation is worth its expectation there; nobody draws which strategy answers a query, so the noise
of that draw is not judged.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from planner.limits import LimitSet
from planner.planner import Answer, Planner
from planner.programme.margin import Array
from planner.programme.model import SPEND
from planner.solve import best_single
from planner.sorting.cells_of_outcomes import Indices, Outcomes, profile_of
from planner.spec import Spec, SpendLimit, Traffic
from profiles.errors import InfeasibleError, InputError, UnprovenError

if TYPE_CHECKING:
    from planner.plan import Figures, Rung
    from planner.sorting.plans_by_fold import Classes
    from profiles.profile import Profile

PLAN, NAIVE, SINGLE, ORACLE = "plan", "naive plan", "best single strategy", "oracle"
OWN_ACCURACY, OWN_BILL = "promised accuracy", "promised USD/request"
TRIES = 1000
_ROUNDED = 1e-8
"""Figures have nine digits."""


class NoVerdict(Enum):
    """Why a way of planning was not judged."""

    REFUSED = "it made no plan that keeps the limits"
    UNSEEN = "its plan uses a cell that the judges have no outcome of"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the judges say of one plan.

    Attributes:
        worth: Its expected figures by the judges' own means.
        kept: Whether they confirm each promise: the limits, `OWN_ACCURACY`, `OWN_BILL`.
    """

    worth: Figures
    kept: dict[str, bool]


@dataclass(frozen=True, slots=True)
class Dealt:
    """Queries that can be dealt to two halves.

    Attributes:
        classes: Class index per query, shape (n,).
        names: Class names, each with several groups.
        group_of: Group per query from 0, shape (n,); a group is never divided.
    """

    classes: Indices
    names: tuple[str, ...]
    group_of: Indices


def divisible(
    sorted_by: Classes, group_of: Indices, spec: Spec
) -> tuple[Dealt, NDArray[np.bool_], tuple[str, ...]]:
    """The queries of classes with at least two groups, which they are, and the other classes.

    Raises:
        InputError: The spec names one of the others, or there is no class left.
    """
    classes = sorted_by.classes
    parts = [len(np.unique(group_of[classes == d])) for d in range(len(sorted_by.names))]
    large = np.array([count > 1 for count in parts])
    lost = tuple(name for name, kept in zip(sorted_by.names, large, strict=True) if not kept)
    mix = spec.traffic.mix if spec.traffic else None
    needed = [name for name in lost if name in {**spec.limits.accuracy.by_class, **(mix or {})}]
    if needed or not large.any():
        name = needed[0] if needed else lost[0]
        raise InputError(
            "the queries of a class cannot be divided into halves",
            where=f"class {name}",
            expected="at least two queries that are no near-duplicates of each other",
            got=str(parts[sorted_by.names.index(name)]),
            next_step="measure more queries of that class, or use fewer classes",
        )
    own = large[classes]
    index = np.cumsum(large) - 1
    names = tuple(name for name in sorted_by.names if name not in lost)
    _, groups = np.unique(group_of[own], return_inverse=True)
    return Dealt(index[classes[own]], names, groups), own, lost


def halves(dealt: Dealt, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Which queries are profiled: whole groups in random order until half of all queries.

    Where a half then lacks a class, a random group of that class changes sides.

    Raises:
        InputError: Groups of several classes leave no way to give each half every class.
    """
    sizes, classes, count = np.bincount(dealt.group_of), dealt.classes, len(dealt.names)
    for _ in range(TRIES):
        order = rng.permutation(len(sizes))
        middle = np.cumsum(sizes[order]) - sizes[order] / 2
        chosen = np.zeros(len(sizes), dtype=bool)
        chosen[order[middle <= len(classes) / 2]] = True
        for _ in range(2 * count + 1):
            profiled = np.asarray(chosen[dealt.group_of])
            there = [np.bincount(classes[own], minlength=count) for own in (profiled, ~profiled)]
            lacking = np.flatnonzero(np.min(there, axis=0) == 0)
            if not lacking.size:
                return profiled
            group = rng.choice(np.unique(dealt.group_of[classes == lacking[0]]))
            chosen[group] = not chosen[group]
    raise InputError(
        "near-duplicate queries of several classes leave no two halves that both have every class",
        where=f"classes {', '.join(dealt.names)}",
        next_step="measure more queries, or use fewer classes",
    )


def resplit(
    outcomes: Outcomes, sorted_by: Classes, profiled: NDArray[np.bool_], spec: Spec
) -> dict[str, Verdict | NoVerdict]:
    """A verdict by way of planning, or why there is none.

    Args:
        outcomes: Scores and costs of n queries.
        sorted_by: Their classes.
        profiled: Which of them plans are made from, shape (n,); see `halves`.
        spec: What is asked, of `planner.sorting.plan_questions.judgeable`.

    Raises:
        UnknownValueError: A cost that the spec needs is unknown.
    """
    seen, unseen = (
        profile_of(outcomes, sorted_by.classes, sorted_by.names, np.flatnonzero(own))
        for own in (profiled, ~profiled)
    )
    asked = _of_a_half(spec, _requests(spec, unseen))
    planner = Planner(seen, asked)
    judge = Planner(unseen, asked.model_copy(update={"confidence": "none"}))
    made = {PLAN: _made(planner)}
    if spec.level is not None:
        made[NAIVE] = _made(planner.on_point_estimates())
    made |= {SINGLE: _single(planner), ORACLE: _made(judge)}
    return {
        name: NoVerdict.REFUSED if rung is None else _judged(judge, rung)
        for name, rung in made.items()
    }


def _requests(spec: Spec, judges: Profile) -> int:
    """As how many requests the judged queries count: Kish's number where the spec gives the mix.

    Kish, "Survey sampling" (1965), section 11.7.
    """
    mix = spec.traffic.mix if spec.traffic else None
    if not mix:
        return judges.queries
    queries = zip(judges.classes, judges.class_queries, strict=True)
    return max(int(1 / sum(mix.get(name, 0.0) ** 2 / count for name, count in queries)), 1)


def _of_a_half(spec: Spec, requests: int) -> Spec:
    """The question as a half can answer it: other traffic, the same dollars per request."""
    limit = spec.usd_per_request()
    spend = None if limit is None else SpendLimit(usd_per_request=limit)
    limits = spec.limits.model_copy(update={"spend": spend})
    traffic = (spec.traffic or Traffic(requests=1)).model_copy(update={"requests": requests})
    return spec.model_copy(update={"limits": limits, "traffic": traffic, "strategies": None})


def _made(planner: Planner) -> Rung | None:
    objective = planner.spec.objective
    try:
        return planner.rung(planner.answer(objective, planner.limits), objective)
    except (InfeasibleError, UnprovenError):
        return None


def _single(planner: Planner) -> Rung | None:
    best = best_single(planner)
    if best is None:
        return None
    x = dict(planner.singles())[best.strategy]
    return planner.rung(Answer(x, best.expected.accuracy, {}), planner.spec.objective)


def _judged(judge: Planner, rung: Rung) -> Verdict | NoVerdict:
    e = judge.estimates
    x: Array = np.array(
        [rung.allocation[cell.class_name].get(cell.strategy, 0.0) for cell in e.cells]
    )
    if not np.allclose(np.bincount(e.class_of, x, len(e.classes)), 1.0):
        return NoVerdict.UNSEEN
    worth, promised = judge.accounts.expected(x), rung.promised
    kept = {name: judge.keeps(x, limit) for name, limit in each_alone(judge.limits).items()}
    kept[OWN_ACCURACY] = worth.accuracy >= promised.accuracy - _ROUNDED
    bill, paid = promised.cost_usd_per_request, worth.cost_usd_per_request
    if bill is not None and paid is not None:
        kept[OWN_BILL] = paid <= bill * (1 + _ROUNDED)
    return Verdict(worth, kept)


def each_alone(limits: LimitSet) -> dict[str, LimitSet]:
    """Every limit alone, by name."""
    alone = {name: LimitSet(floors={name: floor}) for name, floor in limits.floors.items()}
    if limits.usd_per_request is not None:
        alone[SPEND] = LimitSet(usd_per_request=limits.usd_per_request)
    return alone

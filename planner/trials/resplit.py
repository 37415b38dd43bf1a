"""One resplit: plans made from a part of the queries, judged by the rest.

The rest is the judge: a profile of its own, read as if its means, and its shares of slow answers,
were the truth, with class sizes of its own unless the spec gives the mix. Plans promise for as many
requests as it has queries. An allocation is worth its expectation there; nobody draws which
strategy answers a query, so the noise of that draw is not judged.

A limit on shares of traffic has no margin: its share is what the plan decides, weighed by the mix
of classes that it was made for. So it is judged by that mix. By the judges' own, which differs by
luck, every plan with such a limit that binds would break it half of the time.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from planner.limit_names import SHARES
from planner.limits import LimitSet
from planner.planner import TIME_LIMIT_S, Answer, Planner
from planner.programme.margin import Array
from planner.solve import best_single
from planner.sorting.cells_of_outcomes import Outcomes, profile_of
from planner.spec import Spec, Traffic
from profiles.errors import InfeasibleError, UnprovenError

if TYPE_CHECKING:
    from planner.plan import Figures, Rung
    from planner.sorting.plans_by_fold import Classes
    from profiles.profile import Profile

PLAN, NAIVE, SINGLE, ORACLE = "plan", "naive plan", "best single strategy", "oracle"
OWN_ACCURACY, OWN_BILL, OWN_P95 = "promised accuracy", "promised USD/request", "promised p95"
_ROUNDED = 1e-8
"""Figures have nine digits."""


class NoVerdict(Enum):
    """Why a way of planning was not judged."""

    REFUSED = "it made no plan that keeps the limits"
    UNPROVEN = "the solver stopped before a proof"
    UNSEEN = "its plan uses a cell that the judges have no outcome of"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the judges say of one plan.

    Attributes:
        worth: Its expected figures by the judges' own means.
        kept: Whether they confirm each promise: the limits, `OWN_ACCURACY`, `OWN_BILL`,
            `OWN_P95`.
        found: What they say of each limit, its own unit; of a latency the share of slow requests,
            of shares of traffic what they are on the mix that the plan was made for.
    """

    worth: Figures
    kept: dict[str, bool]
    found: dict[str, float]


def resplit(
    outcomes: Outcomes,
    sorted_by: Classes,
    profiled: NDArray[np.bool_],
    spec: Spec,
    *,
    time_limit_s: float = TIME_LIMIT_S,
) -> dict[str, Verdict | NoVerdict]:
    """A verdict by way of planning, or why there is none.

    Args:
        outcomes: Of n queries, with what the spec's limits are about.
        sorted_by: Their classes.
        profiled: Which of them plans are made from, shape (n,); see `planner.trials.dealing`.
        spec: What is asked, of `planner.sorting.plan_questions.judgeable`.
        time_limit_s: Seconds that each answer may take.

    Raises:
        UnknownValueError: A cost or latency that the spec needs is unknown.
    """
    seen, unseen = (
        profile_of(outcomes, sorted_by.classes, sorted_by.names, np.flatnonzero(own))
        for own in (profiled, ~profiled)
    )
    limits = LimitSet.of(spec)
    asked = _of_other_traffic(spec, _requests(spec, unseen))
    planner = _planner(seen, asked, limits, time_limit_s)
    judge = judge_of(unseen, asked, limits, time_limit_s=time_limit_s)
    made = {PLAN: _made(planner)}
    if spec.level is not None:
        made[NAIVE] = _made(judge_of(seen, asked, limits, time_limit_s=time_limit_s))
    made |= {SINGLE: _single(planner), ORACLE: _made(judge)}
    return {
        name: rung if isinstance(rung, NoVerdict) else judged(judge, rung)
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


def judge_of(
    profile: Profile, spec: Spec, limits: LimitSet, *, time_limit_s: float = TIME_LIMIT_S
) -> Planner:
    """A planner that takes a profile's means for the truth."""
    on_points = {"confidence": "none", "strategies": None}
    return _planner(profile, spec.model_copy(update=on_points), limits, time_limit_s)


def _of_other_traffic(spec: Spec, requests: int) -> Spec:
    """The question for other traffic and all measured strategies; its limits are for the spec's."""
    traffic = (spec.traffic or Traffic(requests=1)).model_copy(
        update={"requests": requests, "growth": None}
    )
    return spec.model_copy(update={"traffic": traffic, "strategies": None})


def _planner(profile: Profile, spec: Spec, limits: LimitSet, time_limit_s: float) -> Planner:
    """Under limits per request: sums are shared out among the spec's own requests."""
    planner = Planner(profile, spec, time_limit_s=time_limit_s)
    planner.limits = limits
    return planner


def _made(planner: Planner) -> Rung | NoVerdict:
    objective = planner.spec.objective
    try:
        return planner.rung(planner.answer(objective, planner.limits), objective)
    except InfeasibleError:
        return NoVerdict.REFUSED
    except UnprovenError:
        return NoVerdict.UNPROVEN


def _single(planner: Planner) -> Rung | NoVerdict:
    best = best_single(planner)
    if best is None:
        return NoVerdict.REFUSED
    x = dict(planner.singles())[best.strategy]
    by_tenant = dict.fromkeys(planner.spec.tenants, x)
    answer = Answer(x, best.expected.accuracy, {}, by_tenant)
    return planner.rung(answer, planner.spec.objective)


def judged(judge: Planner, rung: Rung) -> Verdict | NoVerdict:
    """What a planner on the point estimates of other queries says of an allocation.

    Args:
        judge: Its limits are what is promised.
        rung: Names every class of the judge, and has figures of every limit on shares.
    """
    x = _shares(judge, rung.allocation)
    by_tenant = {name: _shares(judge, part.allocation) for name, part in rung.by_tenant.items()}
    e = judge.estimates
    for own in (x, *by_tenant.values()):
        if not np.allclose(np.bincount(e.class_of, own, len(e.classes)), 1.0):
            return NoVerdict.UNSEEN
    measured = judge.rung(Answer(x, 0.0, {}, by_tenant), judge.spec.objective)
    worth, promised = measured.expected, rung.promised
    decided = {name: own for name, own in rung.limits.items() if name.startswith(SHARES)}
    limits = {**measured.limits, **decided}
    kept = {name: figures.kept for name, figures in limits.items()}
    kept[OWN_ACCURACY] = worth.accuracy >= promised.accuracy - _ROUNDED
    bill, paid = promised.cost_usd_per_request, worth.cost_usd_per_request
    if bill is not None and paid is not None:
        kept[OWN_BILL] = paid <= bill * (1 + _ROUNDED)
    p95_s, met_s = promised.latency_p95_s, worth.latency_p95_s
    if p95_s is not None and met_s is not None:
        kept[OWN_P95] = met_s <= p95_s
    found = {name: figures.promised for name, figures in limits.items()}
    return Verdict(worth, kept, found)


def _shares(judge: Planner, allocation: dict[str, dict[str, float]]) -> Array:
    """Share per column of the judge's estimates."""
    cells = judge.estimates.cells
    return np.array([allocation[cell.class_name].get(cell.strategy, 0.0) for cell in cells])

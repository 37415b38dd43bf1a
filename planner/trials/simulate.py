"""How far a plan can be trusted: made from half of the queries, judged by the other half, often.

Every resplit deals groups of near-duplicate queries to two halves at random. Halves are not
stratified: the mix of classes is a part of what a promise has to survive. `planner.trials.dealing`
says how they are dealt, `planner.trials.resplit` what happens in one.

Resplits of one table are no fresh traffic. What is lucky in one half is missing in the other, so
where many resplits are refused the rest were lucky and are kept less often than fresh traffic would
keep them; and standard errors are those of the resplits, not of the table that all of them share.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from planner.limits import LimitSet
from planner.planner import TIME_LIMIT_S
from planner.sorting.cells_of_outcomes import Indices, Outcomes
from planner.sorting.plan_questions import judgeable
from planner.spec import Spec
from planner.trials.dealing import divisible, halves
from planner.trials.resplit import (
    NAIVE,
    ORACLE,
    OWN_ACCURACY,
    OWN_BILL,
    OWN_P95,
    PLAN,
    NoVerdict,
    Verdict,
    resplit,
)

if TYPE_CHECKING:
    from planner.sorting.plans_by_fold import Classes


@dataclass(frozen=True, slots=True)
class Kept:
    """One promise over all resplits that made it.

    Attributes:
        promise: Name of the limit, `OWN_ACCURACY`, `OWN_BILL` or `OWN_P95`.
        limit: What the spec asks, its own unit; None for what each plan promises itself.
        kept: Resplits in which the judges confirmed it.
        judged: Resplits in which they could.
    """

    promise: str
    limit: float | None
    kept: int
    judged: int

    @property
    def share(self) -> float | None:
        """Share of kept promises, None where none was made."""
        return self.kept / self.judged if self.judged else None

    @property
    def error(self) -> float | None:
        """Its standard error, ``sqrt(p (1 - p) / n)`` at ``p = (kept + 1) / (n + 2)``.

        Laplace's p is never 0 or 1, so that all of a few is not certainty.
        """
        p = (self.kept + 1) / (self.judged + 2)
        return float((p * (1 - p) / self.judged) ** 0.5) if self.judged else None


@dataclass(frozen=True, slots=True)
class Contender:
    """One way of planning over all resplits.

    Attributes:
        name: Of `resplit`: the plan, the naive one on point estimates, the best single
            strategy, or the oracle: on the judges' own means.
        refused: Resplits in which no plan keeps the limits.
        unproven: Resplits in which none was proven in time.
        unjudged: Resplits whose plan uses a cell that the judges have no outcome of.
        promises: The spec's limits in their order, then what the plans promised themselves; empty
            for the oracle, which knows.
        accuracy: Median over judged plans of the mean score, 0..1; None without any.
        usd_per_request: Median of the mean dollars, None where unknown.
        latency_p95_s: Median of the 95th percentiles, None where unknown.
    """

    name: str
    refused: int
    unproven: int
    unjudged: int
    promises: tuple[Kept, ...]
    accuracy: float | None
    usd_per_request: float | None
    latency_p95_s: float | None


@dataclass(frozen=True, slots=True)
class Premium:
    """What the plan's dollars on the judged half exceed another's by, medians over resplits.

    Attributes:
        over: Name of the other.
        usd_per_request: Dollars; None where no resplit has both.
        relative: Share of the other's dollars.
        resplits: How many have both.
    """

    over: str
    usd_per_request: float | None
    relative: float | None
    resplits: int


@dataclass(frozen=True, slots=True)
class Simulation:
    """All resplits.

    Attributes:
        resplits: How many.
        seed: Of the halves.
        queries: That were dealt.
        groups: Of near-duplicates that stayed together; as many as queries where all differ.
        confidence: Of the plans' promises, None for point estimates.
        contenders: The plan first.
        premiums: Over the naive plan and over the oracle.
        left_out: What the spec asks that outcomes query by query cannot judge, in words.
    """

    resplits: int
    seed: int
    queries: int
    groups: int
    confidence: float | None
    contenders: tuple[Contender, ...]
    premiums: tuple[Premium, ...]
    left_out: tuple[str, ...]

    @property
    def none_proven(self) -> bool:
        """Whether time ran out on the plan in every resplit, so that these say nothing of it."""
        return self.contenders[0].unproven == self.resplits


def simulate(
    outcomes: Outcomes,
    sorted_by: Classes,
    group_of: Indices,
    spec: Spec,
    *,
    resplits: int = 200,
    seed: int = 0,
    time_limit_s: float = TIME_LIMIT_S,
    advance: Callable[[int, int], None] | None = None,
) -> Simulation:
    """Make the spec's plan from random halves of the queries and judge it by the others.

    Args:
        outcomes: Of n queries under the strategies that may be used; a limit that they do not
            tell of is left out.
        sorted_by: Their classes.
        group_of: Group per query from 0, shape (n,); a group is never divided.
        spec: What is asked, with `pay` filled in where it has fixed costs.
        resplits: How often, at least 1.
        seed: Same outcomes and seed, same answer, unless time runs out.
        time_limit_s: Seconds that each answer may take; what is not proven by then is counted.
        advance: Told after each resplit how many are done, and of how many.

    Raises:
        InputError: Queries of a class that the spec names, or of every class, cannot be divided.
        UnknownValueError: A cost that the spec needs is unknown.
    """
    asked, left_out = judgeable(spec, outcomes.recorded, outcomes.labels)
    known, dealt, indivisible = divisible(outcomes, sorted_by, group_of, asked)
    found: dict[str, list[Verdict | NoVerdict]] = {}
    for number in range(resplits):
        profiled = halves(dealt, np.random.default_rng([seed, number]))
        verdicts = resplit(known, dealt, profiled, asked, time_limit_s=time_limit_s)
        for name, verdict in verdicts.items():
            found.setdefault(name, []).append(verdict)
        if advance is not None:
            advance(number + 1, resplits)
    limits = LimitSet.of(asked)
    others = [name for name in (NAIVE, ORACLE) if name in found]
    return Simulation(
        resplits=resplits,
        seed=seed,
        queries=len(dealt.classes),
        groups=len(np.unique(dealt.group_of)),
        confidence=spec.level,
        contenders=tuple(_contender(name, found[name], limits) for name in found),
        premiums=tuple(_premium(found[PLAN], found[name], name) for name in others),
        left_out=(*left_out, *indivisible),
    )


def _contender(name: str, found: list[Verdict | NoVerdict], limits: LimitSet) -> Contender:
    verdicts = [one for one in found if isinstance(one, Verdict)]
    promises = []
    own = (OWN_ACCURACY, OWN_BILL, OWN_P95)
    for promise in (*limits.values, *own) if name != ORACLE else ():
        kept = [one.kept[promise] for one in verdicts if promise in one.kept]
        limit = limits.values.get(promise)
        if kept or limit is not None:
            promises.append(Kept(promise, limit, sum(kept), len(kept)))
    usd = [one.worth.cost_usd_per_request for one in verdicts]
    tails = [one.worth.latency_p95_s for one in verdicts]
    return Contender(
        name=name,
        refused=found.count(NoVerdict.REFUSED),
        unproven=found.count(NoVerdict.UNPROVEN),
        unjudged=found.count(NoVerdict.UNSEEN),
        promises=tuple(promises),
        accuracy=_median([one.worth.accuracy for one in verdicts]),
        usd_per_request=_median([paid for paid in usd if paid is not None]),
        latency_p95_s=_median([p95_s for p95_s in tails if p95_s is not None]),
    )


def _premium(
    own: list[Verdict | NoVerdict], others: list[Verdict | NoVerdict], over: str
) -> Premium:
    pairs = [
        (one.worth.cost_usd_per_request, other.worth.cost_usd_per_request)
        for one, other in zip(own, others, strict=True)
        if isinstance(one, Verdict) and isinstance(other, Verdict)
    ]
    known = [(mine, its) for mine, its in pairs if mine is not None and its is not None]
    return Premium(
        over=over,
        usd_per_request=_median([mine - its for mine, its in known]),
        relative=_median([mine / its - 1 for mine, its in known if its > 0]),
        resplits=len(known),
    )


def _median(values: list[float]) -> float | None:
    return float(f"{np.median(values):.9g}") if values else None

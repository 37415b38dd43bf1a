"""A plan's ladder under recorded traffic, window by window, answered from measured outcomes.

Requests come when those of a trace came. Each draws a class by the planned mix, a strategy by the
shares of its rung, and one of the class's queries that this strategy answered, with its score,
dollars and seconds. So windows have the noise of who comes, of who answers and of the answers; not
that of the table itself, and no queue.

Where the spec gives a sum of dollars per window, money is paced as the runtime paces it: each
request takes the dearest of two neighbouring rungs that what is left can carry for the requests
still expected (the forecast times the share of the window that is left; counted in a window without
end), drawn so that the average fits. An answer that costs more than is left is refused. The runtime
holds an upper bound before it answers, so it would refuse a little earlier.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from planner.limit_names import SPEND
from planner.limits import LimitSet
from planner.programme.margin import Array
from planner.sorting.cells_of_outcomes import Indices, Outcomes
from planner.trials.drawn import Drawn, Pools
from planner.trials.resplit import OWN_ACCURACY, OWN_BILL, OWN_P95
from planner.trials.simulate import Kept
from planner.trials.window import TraceWindow, window_of
from profiles.errors import InputError

if TYPE_CHECKING:
    from planner.plan import Rung
    from planner.sorting.plans_by_fold import Classes
    from planner.spec import Spec, Traffic

_TOLERANCE = 1e-6
"""A plan that spends its budget exactly must not fall a rung because of a float's last digits."""


@dataclass(frozen=True, slots=True)
class TraceTrial:
    """All windows.

    Attributes:
        windows: In time; those without a request are left out.
        per: Their length, in the spec's word.
        planned: Requests that the spec expects in a window.
        budget_usd: Of a window; None where the spec gives no sum.
        promises: Over the windows: the spec's limits, then what the plan promised itself.
        unfinished: Requests of the last window, which the trace ends within; these are not
            judged, unless there is no other window.
        not_judged: Limits that windows do not tell of.
        seed: Of the draws.
    """

    windows: tuple[TraceWindow, ...]
    per: str
    planned: int
    budget_usd: float | None
    promises: tuple[Kept, ...]
    unfinished: int
    not_judged: tuple[str, ...]
    seed: int


def follow(
    rungs: Sequence[Rung],
    spec: Spec,
    weights: dict[str, float],
    outcomes: Outcomes,
    sorted_by: Classes,
    *,
    arrivals_s: Array,
    seed: int = 0,
) -> TraceTrial:
    """Send recorded traffic through a plan.

    Args:
        rungs: Of the plan, the first as asked.
        spec: That the plan answers, its fixed costs settled; with traffic.
        weights: Planned share of requests by class.
        outcomes: What answers are drawn from, with single answers.
        sorted_by: Classes of its queries.
        arrivals_s: Ascending seconds from the first request on.
        seed: Same inputs and seed, same windows.

    Raises:
        InputError: The spec has no traffic, or the outcomes lack a cell that a rung uses.
    """
    if spec.traffic is None:
        raise InputError(
            "a trace needs windows",
            where="traffic",
            expected="traffic: {requests: ..., per: hour}, for instance",
            next_step="say in the spec how many requests a window has",
        )
    pools = Pools(outcomes, sorted_by)
    limits = LimitSet.of(spec)
    budget = _budget_usd(spec, limits)
    length_s = spec.traffic.per.seconds
    number = np.zeros(len(arrivals_s), dtype=np.intp)
    if length_s is not None:
        number = np.floor(arrivals_s / length_s).astype(np.intp)
    whole = int(number[-1]) if len(number) and length_s is not None else 0
    unfinished = int(np.count_nonzero(number == whole)) if length_s is not None else 0
    judged = range(whole) if whole else range(1)
    rng = np.random.default_rng(seed)
    promised = {**limits.values, **_own(rungs[0])}
    windows = []
    for window in judged:
        own = arrivals_s[number == window] - window * (length_s or 0.0)
        if not len(own):
            continue
        drawn = pools.draw(rungs, weights, len(own), rng)
        rung = _paced(rungs, drawn, own, spec.traffic, budget)
        windows.append(window_of(drawn, rung, promised, spec))
    return TraceTrial(
        windows=tuple(windows),
        per=spec.traffic.per.value,
        planned=spec.traffic.requests,
        budget_usd=budget,
        promises=tuple(_over(windows, limits, promised)),
        unfinished=unfinished,
        not_judged=tuple(name for name in promised if not any(name in one.kept for one in windows)),
        seed=seed,
    )


def _budget_usd(spec: Spec, limits: LimitSet) -> float | None:
    """Dollars of a window for requests, None where the spec gives no sum."""
    usd, spend = limits.values.get(SPEND), spec.limits.spend
    if usd is None or spend is None or spend.usd is None or spec.traffic is None:
        return None
    return usd * spec.traffic.most


def _own(rung: Rung) -> dict[str, float]:
    promised = rung.promised
    own = {
        OWN_ACCURACY: promised.accuracy,
        OWN_BILL: promised.cost_usd_per_request,
        OWN_P95: promised.latency_p95_s,
    }
    return {name: value for name, value in own.items() if value is not None}


def _paced(
    rungs: Sequence[Rung], drawn: Drawn, arrivals_s: Array, traffic: Traffic, budget: float | None
) -> Indices:
    """Rung that answers each request, -1 where it is refused."""
    chosen = np.zeros(len(arrivals_s), dtype=np.intp)
    if budget is None:
        return chosen
    costs = [rung.expected.cost_usd_per_request or 0.0 for rung in rungs]
    left_usd, length_s, forecast = budget, traffic.per.seconds, float(traffic.most)
    for i, at_s in enumerate(arrivals_s):
        to_come = forecast - i
        if length_s is not None:
            to_come = max(forecast * (1 - at_s / length_s), 1.0)
        pace = left_usd / to_come * (1 + _TOLERANCE) if to_come > 0 else 0.0
        rung = _rung(costs, pace, drawn.uniform[i])
        usd = drawn.costs[rung, i]
        if usd > left_usd:
            chosen[i] = -1
        else:
            chosen[i], left_usd = rung, left_usd - usd
    return chosen


def _rung(costs: Sequence[float], pace: float, uniform: float) -> int:
    """The first rung that the pace carries, or at times the one above it."""
    for index, usd in enumerate(costs):
        if usd <= pace:
            above = costs[index - 1] if index else usd
            return index - 1 if index and uniform * (above - usd) < pace - usd else index
    return len(costs) - 1


def _over(
    windows: Sequence[TraceWindow], limits: LimitSet, promised: dict[str, float]
) -> Iterator[Kept]:
    for name in promised:
        kept = [window.kept[name] for window in windows if name in window.kept]
        if kept:
            yield Kept(name, limits.values.get(name), sum(kept), len(kept))

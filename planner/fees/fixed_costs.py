"""Which models to have at all: money that is owed whatever the requests are.

Every set of fixed costs is a deployment: it allows the strategies for which everything is paid
(`planner.estimating.deployed`), and the planner answers for it as for any other question. A
deployment with fees F and c dollars per request costs ``F + V c`` in a window with V requests.

The number of sets is 2^M for M fixed costs. Three rules leave most of them unsolved, and none of
them can lose the best one:

* Sets that allow the same strategies have one answer.
* What a set allows, every larger set allows as well, under the same estimates and margins. So c of
  a larger set is a lower bound, and where the larger set keeps no limits, the smaller keeps none.
* With that bound in the place of c, a set that is nowhere below those solved is left out.

Dominance between strategies is not used: a dominated strategy can be the one without a fee. The
second rule needs limits that are the same for all sets. A sum of dollars per window is not, since
fees are paid from it; the bound is then zero.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import combinations
from typing import Protocol

import numpy as np

from planner.estimating.deployed import fees_of
from planner.estimating.estimates import Estimates, estimate
from planner.plan import Rung
from planner.planner import TIME_LIMIT_S, Planner
from planner.programme.margin import Array
from planner.spec import Spec
from profiles.errors import InfeasibleError, InputError
from profiles.profile import Profile

_NEVER = float("inf")


@dataclass(frozen=True)
class Deployment:
    """A set of fixed costs that is paid, and the cheapest plan that it allows.

    Attributes:
        paid: Names of the fixed costs, in the order of the spec.
        fees_usd: Dollars that one window of traffic owes for them.
        usd_per_request: Expected dollars per request of the plan.
        shares: Share of all requests by strategy, the largest first.
        rung: The plan.
    """

    paid: tuple[str, ...]
    fees_usd: float
    usd_per_request: float
    shares: dict[str, float]
    rung: Rung

    def total_usd(self, requests: float) -> float:
        """Dollars of a window with this many requests."""
        return self.fees_usd + requests * self.usd_per_request


class Hope(Protocol):
    """Whether a deployment can be the best one anywhere, given those solved so far."""

    def __call__(self, fees_usd: float, least_usd: float, solved: Iterable[Deployment]) -> bool:
        """`least_usd` bounds its dollars per request from below."""


def settled(profile: Profile, spec: Spec, time_limit_s: float = TIME_LIMIT_S) -> Spec:
    """The spec with `pay` filled in: the set of fixed costs that is cheapest for its traffic.

    Where no set keeps the limits it is the largest that money is left for, so that a planner can
    say what clashes. A spec that says itself what is paid, or has no fixed costs, comes back as it
    is. Every set that is planned for may take `time_limit_s`.

    Raises:
        UnknownValueError: A class without cells, or an unknown cost or tail that a limit needs.
        InputError: The spec names something that the profile lacks.
        UnprovenError: The solver stopped early.
    """
    if not spec.fixed_costs or spec.pay is not None or spec.traffic is None:
        return spec
    requests = spec.traffic.requests

    def hope(fees_usd: float, least_usd: float, solved: Iterable[Deployment]) -> bool:
        best = min((one.total_usd(requests) for one in solved), default=_NEVER)
        return fees_usd + requests * least_usd < best

    found = deployments(profile, spec, hope, time_limit_s)
    if not found:
        return _largest(profile, spec)
    best = min(found, key=lambda one: (_digits(one.total_usd(requests)), *_rank(one)))
    return paying(spec, best.paid)


def _largest(profile: Profile, spec: Spec) -> Spec:
    """The largest set that leaves money and a strategy for every class; all where none does."""
    names = [fee.name for fee in spec.fixed_costs]
    for size in range(len(names), -1, -1):
        for asked in filter(
            _leaves_money, (paying(spec, paid) for paid in combinations(names, size))
        ):
            with suppress(InfeasibleError):
                estimate(profile, asked)
                return asked
    return paying(spec, names)


def _leaves_money(spec: Spec) -> bool:
    left = spec.usd_per_request()
    return left is None or left > 0


def refuse(spec: Spec, what: str) -> None:
    """For questions that cannot weigh fees.

    Raises:
        InputError: The spec has fixed costs.
    """
    if spec.fixed_costs:
        raise InputError(
            f"{what} cannot weigh fixed costs",
            where="fixed_costs",
            next_step="leave them out and list under 'strategies' those that you would have",
        )


def paying(spec: Spec, names: Iterable[str]) -> Spec:
    """The spec with this set of fixed costs paid."""
    return spec.model_copy(update={"pay": tuple(names)})


def deployment(profile: Profile, spec: Spec, time_limit_s: float = TIME_LIMIT_S) -> Deployment:
    """The cheapest plan for what `spec.pay` pays.

    Raises:
        InfeasibleError: It keeps no limits.
        UnknownValueError: A class without cells, or an unknown cost or tail that a limit needs.
        InputError: The spec names something that the profile lacks.
        UnprovenError: The solver stopped early.
    """
    planner = Planner(profile, spec, time_limit_s=time_limit_s)
    answer = planner.answer(spec.objective, planner.limits)
    e = planner.estimates
    usd = float(e.traffic_share * answer.x @ e.cost_usd)
    rung = planner.rung(answer, spec.objective)
    return Deployment(spec.pay or (), spec.fees_usd, _digits(usd), _shares(e, answer.x), rung)


def deployments(
    profile: Profile, spec: Spec, hope: Hope, time_limit_s: float = TIME_LIMIT_S
) -> list[Deployment]:
    """Every set of fixed costs that keeps the limits and has hope, in the order of `paid`.

    Raises:
        UnknownValueError: A class without cells, or an unknown cost or tail that a limit needs.
        InputError: The spec names something that the profile lacks.
        UnprovenError: The solver stopped early.
    """
    fees = [fee.name for fee in spec.fixed_costs]
    needs = {fees_of(spec, text) for text in spec.strategies or profile.strategies}
    shared_sum = spec.limits.spend is not None and spec.limits.spend.usd is not None
    solved: dict[frozenset[str], Deployment] = {}
    least: dict[frozenset[str], float] = {}
    by_allowed: dict[frozenset[frozenset[str]], float] = {}
    for names in _from_the_outside(fees):
        paid = frozenset(names)
        asked = paying(spec, names)
        allowed = frozenset(need for need in needs if need <= paid)
        bound = 0.0
        if not shared_sum:
            bound = max((usd for larger, usd in least.items() if larger >= paid), default=0.0)
            bound = by_allowed.get(allowed, bound)
        least[paid] = bound
        hopeful = bound < _NEVER and _leaves_money(asked)
        if hopeful and hope(asked.fees_usd, bound, solved.values()):
            try:
                solved[paid] = deployment(profile, asked, time_limit_s)
                least[paid] = solved[paid].usd_per_request
            except InfeasibleError:
                least[paid] = _NEVER
            by_allowed[allowed] = least[paid]
    return sorted(solved.values(), key=_rank)


def _shares(e: Estimates, x: Array) -> dict[str, float]:
    total = np.bincount(e.strategy_of, e.traffic_share * x, len(e.strategies))
    order = np.argsort(-total, kind="stable")
    return {e.strategies[s]: _digits(float(total[s])) for s in order if total[s] > 0}


def _from_the_outside(fees: list[str]) -> list[tuple[str, ...]]:
    """Every set: the largest first, then the smallest, then the others from large to small.

    The largest bounds all others; the smallest is the cheapest at low volumes.
    """
    sets = [names for size in range(len(fees), -1, -1) for names in combinations(fees, size)]
    return [sets[0], sets[-1], *sets[1:-1]] if len(sets) > 1 else sets


def _rank(one: Deployment) -> tuple[float, int, tuple[str, ...]]:
    """Between equally good ones: the lower fees, then what more there is for them."""
    return one.fees_usd, -len(one.paid), one.paid


def _digits(value: float) -> float:
    """Nine significant digits: solver noise must not choose."""
    return float(f"{value:.9g}")

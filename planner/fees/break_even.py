"""Train or think longer: from how many requests on which fixed costs pay.

A deployment (`planner.fees.fixed_costs`) costs ``F + V c`` in a window with V requests, so the
cheapest one at every volume is the lower envelope of lines, and two neighbours on it change places
at ::

    V* = (F_above - F_below) / (c_below - c_above)

Every c is that of a plan which keeps the spec's limits with the spec's confidence; the noise of the
traffic that promises are judged on is that of the spec's own volume, so that c is one number.

The interval of V* is a parametric bootstrap of the whole planner
(`planner.fees.break_even_interval`). What it covers is the break-even that the planner would name
with the same sample sizes if every measured mean were the truth.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from planner.fees.break_even_interval import Advance, drawn_usd, interval, rates
from planner.fees.envelope import candidates, crossing, lower_envelope, saved
from planner.fees.fixed_costs import Deployment, deployment, paying
from planner.programme.margin import Array
from planner.spec import Spec, Traffic
from profiles.errors import InfeasibleError, InputError
from profiles.profile import Profile

LEVEL = 0.95
"""Confidence of intervals where the spec plans on point estimates."""

_SUMS = {
    "spend": ("limits.spend.usd", "dollars", "usd_per_request"),
    "energy": ("limits.energy.kwh", "energy", "joules_per_request"),
    "carbon": ("limits.carbon.kg", "carbon dioxide", "g_per_request"),
}


@dataclass(frozen=True)
class BreakEven:
    """Where one deployment takes over from another, in requests per window.

    Attributes:
        below: Cheaper at lower volumes.
        above: Cheaper at higher volumes.
        requests: The volume; None where `above` saves nothing per request and never pays.
        low: Least volume of the interval; None where `above` pays at no volume within it.
        high: Largest volume of the interval; None where it has no end.
        pays: Share of draws in which `above` pays at some volume.
        judged_on_it: The volume, were promises judged on as many requests; None where it does not
            exist.
    """

    below: Deployment
    above: Deployment
    requests: float | None
    low: float | None
    high: float | None
    pays: float
    judged_on_it: float | None


@dataclass(frozen=True)
class AtVolume:
    """What a window with so many requests costs.

    Attributes:
        requests: Requests per window.
        best: The cheapest deployment.
        total_usd: Its dollars, fees and requests.
        next_usd: Dollars of the next best deployment of the envelope; None where it is alone.
        sure: Share of draws in which it is the cheapest of the envelope's deployments.
    """

    requests: float
    best: Deployment
    total_usd: float
    next_usd: float | None
    sure: float


@dataclass(frozen=True)
class Comparison:
    """Which deployment from which volume on.

    Attributes:
        spec: The question.
        traffic: Its traffic, on which promises are judged.
        level: Confidence of the intervals.
        draws: Resamples behind them.
        seed: Of the resamples.
        neither: Resamples in which no deployment of the envelope kept the limits; left out.
        envelope: Deployments that are cheapest at some volume, by rising volume.
        changes: Break-evens between neighbours of the envelope.
        unused: For every fixed cost that no deployment of the envelope pays, the cheapest one per
            request against the same with that cost paid as well.
        volumes: The volumes asked for.
    """

    spec: Spec
    traffic: Traffic
    level: float
    draws: int
    seed: int
    neither: int
    envelope: tuple[Deployment, ...]
    changes: tuple[BreakEven, ...]
    unused: dict[str, BreakEven]
    volumes: tuple[AtVolume, ...]


def break_even(
    profile: Profile,
    spec: Spec,
    *,
    volumes: Sequence[float] = (),
    draws: int = 200,
    seed: int = 0,
    advance: Advance | None = None,
) -> Comparison:
    """Which fixed costs pay from which volume on.

    Args:
        profile: What was measured.
        spec: The question, with fixed costs and traffic. Its volume is one of `volumes` where none
            is given.
        volumes: Requests per window to state totals for, each above 0.
        draws: Resamples of the profile behind the intervals.
        seed: Of the draws.
        advance: Told how many draws are done, of how many.

    Raises:
        InputError: No fixed costs, a limit that depends on the volume (a sum of dollars, energy or
            carbon dioxide of a window, or GPUs), or a volume that is none.
        LimitsClashError: No deployment keeps the limits.
        UnknownValueError: A class without cells, or an unknown cost or tail that a limit needs.
        UnprovenError: The solver stopped early.
    """
    traffic = _refuse_unfit(spec, volumes)
    envelope = lower_envelope(candidates(profile, spec))
    idle = _unused(profile, spec, envelope)
    asked = [paying(spec, one.paid) for one in (*envelope, *idle.values())]
    usd = drawn_usd(profile, asked, draws=draws, seed=seed, advance=advance)
    usd = usd[np.isfinite(usd[:, : len(envelope)]).any(axis=1)]
    last = len(envelope) - 1

    def between(i: int, j: int, below: Deployment, above: Deployment) -> BreakEven:
        return _change(profile, spec, below, above, drawn=usd[:, [i, j]])

    return Comparison(
        spec=spec,
        traffic=traffic,
        level=spec.level or LEVEL,
        draws=draws,
        seed=seed,
        neither=draws - len(usd),
        envelope=tuple(envelope),
        changes=tuple(between(i, i + 1, *pair) for i, pair in enumerate(pairwise(envelope))),
        unused={
            name: between(last, last + i, envelope[last], one)
            for i, (name, one) in enumerate(idle.items(), start=1)
        },
        volumes=tuple(
            _at(volume, envelope, usd[:, : len(envelope)])
            for volume in (volumes or (traffic.requests,))
        ),
    )


def _unused(profile: Profile, spec: Spec, envelope: Sequence[Deployment]) -> dict[str, Deployment]:
    """Fixed costs above 0 that no deployment pays, each added to the cheapest per request."""
    paid = {name for one in envelope for name in one.paid}
    names = [fee.name for fee in spec.fixed_costs]

    def added(name: str) -> Deployment:
        more = {*envelope[-1].paid, name}
        return deployment(profile, paying(spec, [own for own in names if own in more]))

    return {
        fee.name: added(fee.name) for fee in spec.fixed_costs if fee.usd and fee.name not in paid
    }


def _refuse_unfit(spec: Spec, volumes: Sequence[float]) -> Traffic:
    if not spec.fixed_costs or spec.traffic is None:
        raise InputError(
            "a break-even needs a cost that requests do not change",
            where="fixed_costs",
            next_step="add fixed_costs to the spec: rent, or what training would cost",
        )
    if spec.pay is not None:
        raise InputError(
            "the spec already says what is paid", where="pay", next_step="leave 'pay' out"
        )
    for limit, of_what, instead in _sums(spec):
        raise InputError(
            f"a sum of {of_what} is a limit for one volume, a break-even is about all volumes",
            where=limit,
            next_step=f"give {instead}, or leave the limit out",
        )
    for volume in volumes:
        if not 0 < volume < np.inf:
            raise InputError("a volume is a number above 0", where="volumes", got=str(volume))
    return spec.traffic


def _sums(spec: Spec) -> Iterator[tuple[str, str, str]]:
    """Limits that the requests of a window share: key, what it sums, and what to give instead."""
    for key, _ in spec.limits.windows():
        yield _SUMS[key]
    for name, tenant in spec.tenants.items():
        if tenant.spend is not None and tenant.spend.usd is not None:
            yield f"tenants.{name}.spend.usd", "dollars", "usd_per_request"
    for name, pool in spec.limits.gpu.items():
        if pool.gpus is not None:
            yield f"limits.gpu.{name}.gpus", "GPU time", "gpu_s_per_request"


def _change(
    profile: Profile, spec: Spec, below: Deployment, above: Deployment, *, drawn: Array
) -> BreakEven:
    """The break-even of two deployments; `drawn` has their dollars per request, shape (n, 2)."""
    fees = above.fees_usd - below.fees_usd
    rate = saved(below, above) / fees
    found = rates(drawn[:, 0], drawn[:, 1], fees)
    slow, fast = interval(found, spec.level or LEVEL)
    requests = 1 / rate if rate > 0 else None
    return BreakEven(
        below=below,
        above=above,
        requests=requests,
        low=1 / fast if fast > 0 else None,
        high=1 / slow if slow > 0 else None,
        pays=float(np.mean(found > 0)) if len(found) else 0.0,
        judged_on_it=_judged_on_it(profile, spec, below, above, requests),
    )


def _judged_on_it(
    profile: Profile, spec: Spec, below: Deployment, above: Deployment, requests: float | None
) -> float | None:
    """The break-even with promises judged on as many requests as the break-even has."""
    if requests is None or spec.traffic is None:
        return None
    traffic = spec.traffic.model_copy(update={"requests": max(round(requests), 1)})
    asked = spec.model_copy(update={"traffic": traffic})
    try:
        ends = [deployment(profile, paying(asked, one.paid)) for one in (below, above)]
    except InfeasibleError:
        return None
    return crossing(*ends) if saved(*ends) > 0 else None


def _at(volume: float, envelope: Sequence[Deployment], drawn: Array) -> AtVolume:
    totals = [one.total_usd(volume) for one in envelope]
    best = int(np.argmin(totals))
    fees = np.array([one.fees_usd for one in envelope])
    cheapest = np.argmin(fees + volume * drawn, axis=1) if len(drawn) else np.zeros(0)
    return AtVolume(
        requests=volume,
        best=envelope[best],
        total_usd=totals[best],
        next_usd=min((usd for i, usd in enumerate(totals) if i != best), default=None),
        sure=float(np.mean(cheapest == best)) if len(drawn) else 0.0,
    )

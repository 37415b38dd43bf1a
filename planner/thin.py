"""What a plan promises on few queries."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from planner.estimating.resources import resource
from planner.limit_names import (
    CARBON,
    ENERGY,
    GPU,
    PER_REQUEST,
    SPEND,
    class_of_latency,
    is_latency,
    tail_of_limit,
    whose,
)
from planner.programme.margin import Array
from profiles.visible import escaped

if TYPE_CHECKING:
    from planner.plan import Rung
    from planner.planner import Planner

BEYOND = 10
"""A tail is known where about so many timed queries lie beyond it."""

STRAYING = 1.0
"""A spread of more than so many means comes from few dear requests among many cheap ones."""

PER_SKEW = 25
"""Queries by squared skewness from which a mean has about normal errors: Cochran, "Sampling
techniques" (1977), section 2.15. A gamma distribution's skewness is twice its relative spread."""


def thin_tails(planner: Planner, rung: Rung) -> list[str]:
    """Cells in use with too few latencies for a limit: a tail of 5 % needs 200, one of 1 % 1,000.

    Args:
        planner: Whose limits; those of classes and tenants count where they hold.
        rung: Whose allocation.
    """
    found = []
    for limit in filter(is_latency, planner.limits.values):
        tenant, inner = whose(limit)
        one, least = class_of_latency(inner), round(BEYOND / tail_of_limit(limit))
        allocation = rung.allocation if tenant is None else rung.by_tenant[tenant].allocation
        found += [
            f"{escaped(limit)} rests on {cell.latency_queries} timed queries of {cell.strategy} in "
            f"class {cell.class_name}; measure at least {least}"
            for cell in planner.estimates.cells
            if cell.strategy in allocation[cell.class_name]
            and one in (None, cell.class_name)
            and cell.latency_queries < least
        ]
    return found


def thin_spreads(planner: Planner, rung: Rung) -> list[str]:
    """Limits on spending and use that rest on cells with few queries and dear ones among them.

    Args:
        planner: Whose limits; without a confidence nothing is promised, and nothing is said.
        rung: Whose allocation.
    """
    found: list[str] = []
    for limit in planner.limits.values if planner.spec.level is not None else ():
        tenant, inner = whose(limit)
        strays = _strays(planner, inner)
        if strays is None:
            continue
        allocation = rung.allocation if tenant is None else rung.by_tenant[tenant].allocation
        thin = [
            (needed / count, needed, count, times, cell)
            for cell, times, count in zip(planner.estimates.cells, *strays, strict=True)
            if cell.strategy in allocation[cell.class_name]
            and times > STRAYING
            and count < (needed := math.ceil(PER_SKEW * (2 * times) ** 2))
        ]
        if thin:
            _, needed, count, times, cell = max(thin, key=lambda one: one[0])
            found.append(
                f"{escaped(limit)} may be broken more often than promised: requests of "
                f"{cell.strategy} in class {cell.class_name} stray {times:.2g} times their mean "
                f"and {count:.0f} queries were measured; measure about {needed}, or cap what a "
                "request may use"
            )
    return found


def _strays(planner: Planner, limit: str) -> tuple[Array, Array] | None:
    """Spread of a request over its mean, and queries behind it, per cell; None without a use."""
    e = planner.estimates
    if limit == SPEND:
        mean, sd, spread = e.cost_usd, e.cost_sd, e.cost_spread
    else:
        name = _resource_of(limit)
        if name is None:
            return None
        used = resource(e.cells, name)
        mean, sd, spread = used.mean, used.sd, used.spread
    times = np.divide(spread, mean, out=np.zeros_like(mean), where=mean > 0)
    return times, np.round(np.divide(spread, sd, out=np.zeros_like(mean), where=sd > 0) ** 2)


def _resource_of(limit: str) -> str | None:
    if limit.startswith(GPU):
        return "gpu_s"
    if limit in (ENERGY, CARBON):
        return "energy_j"
    return limit.removeprefix(PER_REQUEST) if limit.startswith(PER_REQUEST) else None

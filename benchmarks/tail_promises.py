"""How often plans break the 95th percentile they promised, by simulation, and what promises cost.

In every world the latency limit binds: cheap strategies are slow. Latencies have known survival
functions, so the share of a plan's requests beyond the limit is known exactly. Methods differ only
in what a cell's measured counts are worth; margins are the planner's own.
"""

from __future__ import annotations

import json
import math
import platform
import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy.stats import norm

from planner.estimating.allocation import Accounts
from planner.estimating.estimates import TAIL, Estimates, timed_queries
from planner.planner import Planner
from planner.programme.margin import Array, shrink, z_of_chosen
from planner.spec import Spec
from profiles.cells.tails import tail
from profiles.errors import InfeasibleError
from profiles.profile import Cell, Profile

RESULT = Path("benchmarks/results/tail_promises.json")
SEED = 10_000
WORLDS = 100
CLASSES, STRATEGIES = 5, 20
COUNTS = (50, 200, 1000)
SAMPLES = (1, 4)
KINDS = ("lognormal", "mixture", "heavy")
COMMON, WITHIN = 0.3, 0.5
"""Correlation of strategies on one query, and of the samples of one query (normal copulas)."""

FASTEST = 0.015
"""Share of requests beyond the limit, were the fastest strategy used in every class."""

AROUND = 20  # the limit's place in a log grid of 41 limits, 20 times to both sides
Confidence = float | Literal["none"]
Numbers = Callable[[Estimates], tuple[Array, Array]]


@dataclass(frozen=True)
class World:
    """What is true.

    Attributes:
        slow: Share beyond each grid limit, shape (classes, strategies, grid).
        cost_usd: Shape (classes, strategies).
        weights: Share of traffic per class.
        grid_s: Ascending limits.
    """

    slow: Array
    cost_usd: Array
    weights: Array
    grid_s: Array


def survival(kind: str, times_median: Array) -> Array:
    """Share of requests slower than a multiple of the strategy's typical latency."""
    if kind == "lognormal":
        return np.asarray(norm.sf(np.log(times_median) / 0.6))
    if kind == "mixture":
        slow = norm.sf(np.log(times_median / 5) / 0.5)
        return np.asarray(0.93 * norm.sf(np.log(times_median) / 0.35) + 0.07 * slow)
    return np.asarray((1 + times_median * (math.sqrt(2) - 1)) ** -2.0)  # a mean, no variance


def world(rng: np.random.Generator, kind: str) -> World:
    """Strategies differ in speed, a little by class, and the fast ones are dear."""
    own = rng.normal(0, 0.2, (CLASSES, STRATEGIES)) + np.linspace(-0.2, 0.3, CLASSES)[:, None]
    median_s = np.exp(rng.normal(0, 0.5, STRATEGIES) + own)
    cost = 1e-4 * median_s**-1.5 * np.exp(rng.normal(0, 0.3, median_s.shape))
    weights = rng.dirichlet(np.full(CLASSES, 5.0))
    low, high = 1e-2, 1e4
    for _ in range(60):
        limit = math.sqrt(low * high)
        fast = weights @ survival(kind, limit / median_s).min(axis=1) <= FASTEST
        low, high = (low, limit) if fast else (limit, high)
    grid_s = high * np.geomspace(1 / 20, 20, 2 * AROUND + 1)
    grid_s[AROUND] = high
    return World(survival(kind, grid_s / median_s[:, :, None]), cost, weights, grid_s)


def measured(truth: World, rng: np.random.Generator, queries: int, samples: int) -> Profile:
    """What `samples` requests to each of `queries` queries per class would have shown."""
    shape = (CLASSES, STRATEGIES, queries)
    shared = rng.normal(size=(CLASSES, 1, queries))
    own = math.sqrt(COMMON) * shared + math.sqrt(1 - COMMON) * rng.normal(size=shape)
    slower = np.zeros(truth.slow.shape)
    for _ in range(samples):
        luck = own
        if samples > 1:
            luck = math.sqrt(WITHIN) * own + math.sqrt(1 - WITHIN) * rng.normal(size=shape)
        levels = np.sort(norm.sf(luck), axis=2)
        for at in np.ndindex(CLASSES, STRATEGIES):
            slower[at] += np.searchsorted(levels[at], truth.slow[at])
    classes = tuple(f"c{d}" for d in range(CLASSES))
    strategies = tuple(f"m{s:02d}/single" for s in range(STRATEGIES))
    cells = {
        (classes[d], strategies[s]): _cell(
            (classes[d], strategies[s]),
            float(truth.cost_usd[d, s]),
            tuple(int(n) for n in slower[d, s]),
            queries,
            samples,
        )
        for d, s in np.ndindex(CLASSES, STRATEGIES)
    }
    return Profile(
        workload="world",
        classes=classes,
        weights=tuple(truth.weights.tolist()),
        strategies=strategies,
        cells=cells,
        latency_grid_s=tuple(truth.grid_s.tolist()),
        queries=queries * CLASSES,
        digest="sha256:world",
    )


def _cell(
    key: tuple[str, str], cost_usd: float, exceeded: tuple[int, ...], queries: int, samples: int
) -> Cell:
    return Cell(
        class_name=key[0],
        strategy=key[1],
        queries=queries,
        observations=queries * samples,
        accuracy=0.8,
        accuracy_sd=0.4,
        score_sd=0.4,
        cost_usd=cost_usd,
        cost_sd_usd=cost_usd / 4,
        cost_max_usd=None,
        tokens_in=None,
        tokens_out=None,
        tokens_out_max=None,
        calls=None,
        exceeded=exceeded,
        latency_observations=queries * samples,
        latency_p95_s=None,
        evidence=("simulated",),
        latency_queries=queries,
    )


def counted_by_row(e: Estimates) -> tuple[Array, Array]:
    """Jeffreys' prior, every request as if it were a query."""
    rows = np.array([float(cell.latency_observations) for cell in e.cells])
    slow = np.array([cell.exceeded or () for cell in e.cells], dtype=np.float64).T
    return (slow + 0.5) / (rows + 1), rows


def raw(e: Estimates) -> tuple[Array, Array]:
    """Measured shares."""
    slow, timed = timed_queries(e.cells, len(e.grid_s))
    return slow / timed, timed


def jeffreys(e: Estimates) -> tuple[Array, Array]:
    """Jeffreys' prior, every query once."""
    slow, timed = timed_queries(e.cells, len(e.grid_s))
    return (slow + 0.5) / (timed + 1), timed


def smoothed(e: Estimates) -> tuple[Array, Array]:
    """A generalised Pareto tail per cell, never below Jeffreys' share."""
    share, timed = jeffreys(e)
    for column, cell in enumerate(e.cells):
        found = tail(cell, e.grid_s)
        if found is not None:
            share[AROUND, column] = found.exceedance(e.grid_s[AROUND])
    return share, timed


def with_binomial_errors(numbers: Numbers) -> Numbers:
    """Shares with the standard errors of counts."""

    def of(e: Estimates) -> tuple[Array, Array]:
        share, count = numbers(e)
        return share, np.sqrt(share * (1 - share) / count)

    return of


def lent_strength(e: Estimates) -> tuple[Array, Array]:
    """Shrunken towards class effect plus strategy effect, on the arcsine scale."""
    slow, timed = timed_queries(e.cells, len(e.grid_s))
    angle = np.arcsin(np.sqrt((slow[AROUND] + 0.375) / (timed + 0.75)))
    centre, sd = shrink(angle, 1 / (4 * timed + 2), e.class_of, e.strategy_of)
    share, sds = np.full_like(slow, np.nan), np.full_like(slow, np.nan)
    share[AROUND] = np.sin(centre) ** 2 + sd**2
    sds[AROUND] = np.sin(2 * centre) * sd
    return share, sds


def agresti_coull(e: Estimates) -> tuple[Array, Array]:
    """Wilson's centre with the standard error of as many queries and z^2 more."""
    slow, timed = timed_queries(e.cells, len(e.grid_s))
    z = z_of_chosen(e.level, len(e.strategies))
    share = (slow + z * z / 2) / (timed + z * z)
    return share, np.sqrt(share * (1 - share) / (timed + z * z))


METHODS: dict[str, tuple[Confidence, Numbers | None]] = {
    "point estimates, no margin": ("none", None),
    "measured shares": (0.95, with_binomial_errors(raw)),
    "Jeffreys by request (as it was)": (0.95, with_binomial_errors(counted_by_row)),
    "Jeffreys by query": (0.95, with_binomial_errors(jeffreys)),
    "Pareto tail per cell": (0.95, with_binomial_errors(smoothed)),
    "shrunken across cells": (0.95, lent_strength),
    "Agresti-Coull by query": (0.95, agresti_coull),
    "Clopper-Pearson by query (as it is)": (0.95, None),
}


def planned(profile: Profile, truth: World, method: str) -> Array | None:
    """The plan's shares, shape (classes, strategies); None where it was refused."""
    confidence, numbers = METHODS[method]
    limit_s = profile.latency_grid_s[AROUND]
    mix = dict(zip(profile.classes, truth.weights.tolist(), strict=True))
    spec = Spec.model_validate(
        {
            "format_version": "1.0",
            "workload": profile.workload,
            "confidence": confidence,
            "limits": {"latency": {"p95_s": limit_s}},
            "traffic": {"requests": 10**9, "mix": mix},
        }
    )
    planner = Planner(profile, spec)
    if numbers is not None:
        share, sds = numbers(planner.estimates)
        other = replace(planner.estimates, exceedance_careful=share, exceedance_sd=sds)
        planner = Planner(profile, spec, accounts=Accounts(other, None))
    try:
        return planner.explained(planner.limits).x.reshape(CLASSES, STRATEGIES)
    except InfeasibleError:
        return None


def outcomes(kind: str, queries: int, samples: int) -> list[dict[str, Any]]:
    """One row per method; all methods see the same worlds."""
    dollars: dict[str, list[float]] = {method: [] for method in METHODS}
    broken = dict.fromkeys(METHODS, 0)
    for seed in range(SEED, SEED + WORLDS):
        rng = np.random.default_rng(seed)
        truth = world(rng, kind)
        profile = measured(truth, rng, queries, samples)
        known = planned(_exactly(profile, truth), truth, "point estimates, no margin")
        if known is None:
            raise RuntimeError("a world without any plan")
        least = _mean(truth, known, truth.cost_usd)
        for method in METHODS:
            x = planned(profile, truth, method)
            if x is not None:
                dollars[method].append(_mean(truth, x, truth.cost_usd) / least)
                broken[method] += _mean(truth, x, truth.slow[:, :, AROUND]) > TAIL + 1e-6
    about = {"latencies": kind, "queries_per_class": queries, "samples_per_query": samples}
    return [
        about | {"method": method} | _figures(dollars[method], broken[method]) for method in METHODS
    ]


def _exactly(profile: Profile, truth: World) -> Profile:
    """The profile of somebody who knows the truth, to a billionth."""
    many = 10**9
    cells = {
        key: replace(
            cell,
            exceeded=tuple(round(p * many) for p in truth.slow[at]),
            latency_observations=many,
            latency_queries=many,
        )
        for (key, cell), at in zip(
            profile.cells.items(), np.ndindex(CLASSES, STRATEGIES), strict=True
        )
    }
    return replace(profile, cells=cells)


def _mean(truth: World, x: Array, values: Array) -> float:
    return float(truth.weights @ (x * values).sum(axis=1))


def _figures(dollars: list[float], broken: int) -> dict[str, Any]:
    plans = len(dollars)
    share = broken / plans if plans else None
    return {
        "plans": plans,
        "refused": WORLDS - plans,
        "broken": share and round(share, 4),
        "standard_error": share and round(math.sqrt(share * (1 - share) / plans), 4),
        "cost_over_oracle": round(statistics.median(dollars), 3) if dollars else None,
    }


def main() -> None:
    """Simulate and write."""
    rows = []
    for kind in KINDS:
        for queries in COUNTS:
            for samples in SAMPLES:
                rows += outcomes(kind, queries, samples)
                for row in rows[-len(METHODS) :]:
                    print(*row.values(), flush=True)
    result = {
        "confidence": 0.95,
        "worlds": WORLDS,
        "seeds": [SEED, SEED + WORLDS - 1],
        "classes": CLASSES,
        "strategies": STRATEGIES,
        "beyond_limit_at_fastest": FASTEST,
        "correlation_of_strategies": COMMON,
        "correlation_of_samples": WITHIN,
        "rows": rows,
        "machine": {
            "processor": platform.machine(),
            "python": platform.python_version(),
            "numpy": version("numpy"),
            "scipy": version("scipy"),
            "highspy": version("highspy"),
        },
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()

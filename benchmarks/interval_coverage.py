"""How often 95 % intervals hold the truth, by simulation: accuracies, clustered samples, costs.

True accuracies are drawn anew in every repetition, uniformly from a band: at one fixed accuracy the
coverage of any interval for 0-or-1 scores jumps with the count (Brown, Cai and DasGupta 2001).
Fixed extremes, where it jumps most, stand beside them; one or two failures at a time, no interval
can cover 95 % of the samples there, and the ones in use rather cover more. The seed took no part in
choosing the constants of `profiles.cells.intervals`.
"""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from profiles.cells.intervals import clopper_pearson, effective_size, mean_interval, wilson

RESULT = Path("benchmarks/results/interval_coverage.json")
SEED = 6174
COUNTS = (50, 100, 200, 500, 1000)
BANDS = ((0.05, 0.2), (0.2, 0.4), (0.4, 0.6), (0.6, 0.8), (0.8, 0.95))
EXTREMES = ((0.01, 0.01), (0.02, 0.02), (0.98, 0.98), (0.99, 0.99))
SAMPLES = 8
REPETITIONS = 4000

Floats = NDArray[np.float64]
Interval = Callable[[float, float], tuple[float, float]]


def covered(hits: list[bool]) -> dict[str, float]:
    """Share of intervals that held the truth, and its standard error."""
    share = sum(hits) / len(hits)
    return {
        "coverage": round(share, 4),
        "standard_error": round(math.sqrt(share * (1 - share) / len(hits)), 4),
    }


def accuracy_coverage(
    interval: Interval,
    queries: int,
    band: tuple[float, float],
    kind: str,
    *,
    seed: int,
    repetitions: int = REPETITIONS,
) -> dict[str, float]:
    """Coverage for `kind` single (one 0-or-1 score a query), clustered or graded (see below)."""
    rng = np.random.default_rng(seed)
    hits = []
    for _ in range(repetitions):
        truth = rng.uniform(*band)
        means, rows = _query_means(rng, truth, queries, kind)
        mean, sd = float(means.mean()), float(means.std(ddof=1))
        low, high = interval(mean, effective_size(mean, sd, queries, rows))
        hits.append(low <= truth <= high)
    return covered(hits)


def _query_means(
    rng: np.random.Generator, truth: float, queries: int, kind: str
) -> tuple[Floats, int]:
    """Mean score of every query, and rows in all.

    clustered: `SAMPLES` answers to each query, whose own accuracy is beta distributed with
    a + b = 2. graded: one expectation a query, beta distributed with a + b = 4.
    """
    if kind == "single":
        return (rng.random(queries) < truth).astype(np.float64), queries
    if kind == "graded":
        return rng.beta(4 * truth, 4 * (1 - truth), queries), queries
    own = rng.beta(2 * truth, 2 * (1 - truth), queries)
    return rng.binomial(SAMPLES, own) / SAMPLES, queries * SAMPLES


def cost_coverage(
    queries: int, sigma: float, seed: int, *, bent: bool, repetitions: int = REPETITIONS
) -> dict[str, float]:
    """Coverage of the mean of lognormal dollars; `bent` takes the skewness into account."""
    rng = np.random.default_rng(seed)
    truth = math.exp(sigma**2 / 2)
    hits = []
    for _ in range(repetitions):
        costs = np.exp(sigma * rng.standard_normal(queries))
        apart = costs - costs.mean()
        skewness = float((apart**3).mean() / (apart**2).mean() ** 1.5) if bent else None
        found = mean_interval(float(costs.mean()), float(costs.std(ddof=1)), skewness, queries)
        hits.append(found is not None and found[0] <= truth <= found[1])
    return covered(hits)


def accuracy_rows() -> list[dict[str, Any]]:
    """All accuracies."""
    intervals: dict[str, Interval] = {"wilson": wilson, "clopper_pearson": clopper_pearson}
    return [
        {"kind": kind, "interval": name, "queries": queries, "accuracy": list(band)}
        | accuracy_coverage(interval, queries, band, kind, seed=SEED)
        for kind in ("single", "clustered", "graded")
        for name, interval in intervals.items()
        for queries in COUNTS
        for band in (*BANDS, *EXTREMES)
    ]


def cost_rows() -> list[dict[str, Any]]:
    """All costs."""
    return [
        {"interval": "skewness" if bent else "t", "queries": queries, "lognormal_sigma": sigma}
        | cost_coverage(queries, sigma, SEED, bent=bent)
        for bent in (True, False)
        for queries in COUNTS
        for sigma in (0.3, 0.6, 1.0)
    ]


def main() -> None:
    """Simulate and write."""
    result = {
        "confidence": 0.95,
        "seed": SEED,
        "repetitions": REPETITIONS,
        "samples_per_query_where_clustered": SAMPLES,
        "accuracy": accuracy_rows(),
        "cost": cost_rows(),
        "machine": {
            "processor": platform.machine(),
            "python": platform.python_version(),
            "numpy": version("numpy"),
            "scipy": version("scipy"),
        },
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    for row in [*result["accuracy"], *result["cost"]]:
        print(*row.values())


if __name__ == "__main__":
    main()

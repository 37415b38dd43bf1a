"""Shape of compute against worlds whose truth is known: knee intervals and false alarms.

Worlds: scores of 0 and 1 whose means follow the fitted form; best-of-n of queries with
beta-distributed chances, a form that the curve only approaches; a world that turns down; worlds
where more compute does nothing at all, for the false alarms and for the curve's own interval; and
a step, which no curve of the form follows.
"""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from profiles.scaling.fitting import LEVEL, shapes
from profiles.scaling.paired import worse_p_value
from profiles.scaling.query_means import MEASURES, QueryMeans
from profiles.scaling.saturation import Curves
from profiles.scaling.shape import Shape

RESULT = Path("benchmarks/results/shape_of_compute.json")
LEVELS = np.array([1, 2, 4, 8, 16, 32, 64])
KNEE_RUNS = 200
ALARM_RUNS = 1000
FLAT_RUNS = 200
RESAMPLES = 400
QUERIES = (100, 400)
POINTS = 0.02
SHARED = 0.6  # correlation of a query's latent scores across levels

Floats = NDArray[np.float64]
World = Callable[[np.random.Generator, int], Floats]


def observed(scores: Floats) -> dict[tuple[str, str], QueryMeans]:
    """Scores of shape (levels, queries) as cells of one family."""
    ids = np.array([f"q{i:05}" for i in range(scores.shape[1])], dtype=object)
    unknown = {name: np.full(scores.shape[1], math.nan) for name in MEASURES}
    return {
        ("all", f"m/best_of_n(n={level})"): QueryMeans(ids, unknown | {"score": row})
        for level, row in zip(LEVELS, scores, strict=True)
    }


def shape_of(scores: Floats, seed: int, resamples: int) -> Shape:
    """The one shape of these scores."""
    return shapes(observed(scores), points=POINTS, seed=seed, resamples=resamples)[0]


def binary(means: Floats) -> World:
    """Zeros and ones with these means, correlated over levels."""

    def draw(rng: np.random.Generator, queries: int) -> Floats:
        common = rng.standard_normal(queries) * math.sqrt(SHARED)
        own = rng.standard_normal((len(LEVELS), queries)) * math.sqrt(1 - SHARED)
        return (common + own < stats.norm.ppf(means)[:, None]).astype(float)

    return draw


def best_of_n(alpha: float, beta: float, samples: int) -> World:
    """Unbiased best-of-n from `samples` answers per query; chances are beta-distributed."""

    def draw(rng: np.random.Generator, queries: int) -> Floats:
        right = rng.binomial(samples, rng.beta(alpha, beta, queries))
        return np.array(
            [1 - special.binom(samples - right, n) / special.binom(samples, n) for n in LEVELS]
        )

    return draw


def single_answers(alpha: float, beta: float) -> World:
    """The mean of as many answers as the level has: compute that does nothing, scores between."""

    def draw(rng: np.random.Generator, queries: int) -> Floats:
        chance = rng.beta(alpha, beta, queries)
        return np.array([rng.binomial(4, chance) / 4 for _ in LEVELS])

    return draw


def knee_of_best_of_n(alpha: float, beta: float) -> float:
    """Compute after which no doubling gains `POINTS`, from the exact mean 1 - E[(1 - p)^n]."""
    n = 2.0 ** np.linspace(0, math.log2(LEVELS[-1]) - 1, 4001)

    def missed(count: Floats) -> Floats:
        missed_all = special.betaln(alpha, beta + count) - special.betaln(alpha, beta)
        return np.asarray(np.exp(missed_all), dtype=np.float64)

    return float(n[np.flatnonzero(missed(n) - missed(2 * n) >= POINTS)[-1]])


def standard_error(share: float, runs: int) -> float:
    """Of a share."""
    return round(math.sqrt(share * (1 - share) / runs), 4)


def knee_row(name: str, world: World, queries: int, truth: float) -> dict[str, object]:
    """How often the interval holds the true knee."""
    rng = np.random.default_rng([7, queries, len(name)])
    held, widths = [], []
    for run in range(KNEE_RUNS):
        knee = shape_of(world(rng, queries), run, RESAMPLES).knee
        if knee is None:
            continue
        low, high = (math.inf if end is None else end for end in (knee.low, knee.high))
        held.append(low <= truth * (1 + 1e-9) and truth * (1 - 1e-9) <= high)
        widths.append(math.log2(min(high, LEVELS[-1]) / min(low, LEVELS[-1])))
    share = float(np.mean(held))
    return {
        "world": name,
        "queries": queries,
        "true_knee": round(truth, 2),
        "withheld": 1 - len(held) / KNEE_RUNS,
        "coverage": round(share, 4),
        "standard_error": standard_error(share, len(held)),
        "median_width_doublings": round(float(np.median(widths)), 2),
    }


def alarm_row(name: str, world: World, queries: int) -> dict[str, object]:
    """How often any downturn is reported where there is none."""
    rng = np.random.default_rng([11, queries, len(name)])
    alarms = [bool(shape_of(world(rng, queries), run, 1).downturns) for run in range(ALARM_RUNS)]
    share = float(np.mean(alarms))
    return {
        "world": name,
        "queries": queries,
        "false_alarms": share,
        "standard_error": standard_error(share, ALARM_RUNS),
    }


def rare_gain_row(queries: int) -> dict[str, object]:
    """False alarms of one pair whose differences are nearly always the same small loss."""
    rng = np.random.default_rng([13, queries])
    alarms = [
        worse_p_value(np.zeros(queries), np.where(rng.random(queries) < 0.05, 0.38, -0.02)) <= LEVEL
        for _ in range(ALARM_RUNS)
    ]
    share = float(np.mean(alarms))
    return {
        "world": "nothing changes on average: gains of 0.38 in 5 %, losses of 0.02 else",
        "queries": queries,
        "false_alarms": share,
        "standard_error": standard_error(share, ALARM_RUNS),
    }


def flat_row(queries: int, chance: float) -> dict[str, object]:
    """How often the curve's interval at 8 holds an accuracy that compute does not change."""
    rng = np.random.default_rng([17, queries])
    held, widths = [], []
    for run in range(FLAT_RUNS):
        scores = (rng.random((len(LEVELS), queries)) < chance).astype(float)
        shape = shape_of(scores, run, RESAMPLES)
        if shape.curve is not None:
            answer = shape.at(8)
            held.append(answer.low <= chance <= answer.high)
            widths.append(answer.high - answer.low)
    share = float(np.mean(held))
    return {
        "accuracy": chance,
        "queries": queries,
        "withheld": round(1 - len(held) / FLAT_RUNS, 4),
        "coverage": round(share, 4),
        "standard_error": standard_error(share, len(held)),
        "smallest_width": round(min(widths), 4),
    }


def step_row(queries: int) -> dict[str, object]:
    """How often the curve is withheld where accuracy jumps from 0.1 to 0.9 at 4."""
    rng = np.random.default_rng([19, queries])
    chances = np.where(LEVELS < 4, 0.1, 0.9)[:, None]
    withheld = [
        shape_of((rng.random((len(LEVELS), queries)) < chances).astype(float), run, RESAMPLES).curve
        is None
        for run in range(FLAT_RUNS)
    ]
    share = float(np.mean(withheld))
    return {
        "queries": queries,
        "withheld": share,
        "standard_error": standard_error(share, FLAT_RUNS),
    }


def main() -> None:
    """Simulate and write."""
    doublings = np.log2(LEVELS)
    rising, turning = (
        Curves(*(np.array([value]) for value in values))
        for values in ((0.8, 1.2, 0.9, 0.0), (0.85, 1.2, 1.2, 0.04))
    )
    last = float(doublings[-1])
    worlds = {
        "the fitted form": (binary(rising.at(doublings)[0]), 2 ** rising.knees(last, POINTS)[0]),
        "turns down": (binary(turning.at(doublings)[0]), 2 ** turning.knees(last, POINTS)[0]),
        "best of n, beta(1, 1)": (best_of_n(1, 1, 64), knee_of_best_of_n(1, 1)),
    }
    idle = {
        "nothing changes, 0 or 1": binary(np.full(len(LEVELS), 0.7)),
        "nothing changes, means of 4": single_answers(2, 1),
        "nothing changes, rare successes": binary(np.full(len(LEVELS), 0.03)),
    }
    result = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "numpy": version("numpy"),
        "scipy": version("scipy"),
        "knee_runs": KNEE_RUNS,
        "alarm_runs": ALARM_RUNS,
        "flat_runs": FLAT_RUNS,
        "resamples": RESAMPLES,
        "points": POINTS,
        "levels": LEVELS.tolist(),
        "knee_interval_95": [
            knee_row(name, world, queries, truth)
            for name, (world, truth) in worlds.items()
            for queries in QUERIES
        ],
        "downturn_test_5": [
            alarm_row(name, world, queries) for name, world in idle.items() for queries in QUERIES
        ]
        + [rare_gain_row(queries) for queries in (15, 100)],
        "interval_95_of_a_flat_curve": [
            flat_row(queries, chance)
            for queries, chance in ((20, 0.5), (20, 0.9), (20, 0.97), (50, 0.98), (200, 0.8))
        ],
        "misfit_test_of_a_step": [step_row(queries) for queries in (20, 50, 200)],
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""Train or think longer: a real break-even, and how often the interval of one holds the truth.

The real one is Qwen3-0.6B on MATH-500 with measured GPU time (rasbt/reasoning-from-scratch): the
base model that thinks longer (chain of thought, votes) against its variant that was trained to
reason. What the training cost was not published: it is a parameter here, in hours of the GPU that
answers, and so is the price of such an hour. Both sides are paid in such hours, so the break-even
does not depend on that price.

The simulations draw profiles from known accuracies and costs, and count how often the interval
holds the break-even that the planner names for the truth: through the planner in some worlds, and
on point estimates by the dual of the programme in many, where other intervals stand beside it.

Run as ``python -m benchmarks.train_or_think PART [FOLDER]``: ``real``, which needs the folder of
the shared measurements, ``planner`` or ``dual``.
"""

from __future__ import annotations

import json
import math
import os
import platform
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import NormalDist
from typing import Any, Literal

import numpy as np

from planner.fees.break_even import break_even
from planner.fees.break_even_in_words import sentences
from planner.fees.break_even_interval import drawn_usd, interval, rates
from planner.fees.envelope import saved
from planner.fees.fixed_costs import deployment, paying
from planner.programme.margin import Array
from planner.spec import Spec
from profiles.errors import InfeasibleError
from profiles.importing.importers import import_file
from profiles.importing.mapping import load_mapping
from profiles.money import Pool, PriceCard
from profiles.pricing.prices import rates_of
from profiles.profile import Cell, Profile
from profiles.store.store import Store

RESULT = Path("benchmarks/results/train_or_think.json")
BESIDE = Path(__file__).parents[2] / "shared" / "data"
Confidence = float | Literal["none"]

BASE, TRAINED = "qwen3-0.6b-base", "qwen3-0.6b-reasoning"
USD_PER_GPU_HOUR = 1.0
"""Assumed; the break-even does not depend on it."""

TRAINING_GPU_HOURS = 100.0
"""Assumed; the break-even is proportional to it."""

QUESTIONS: tuple[tuple[float, Confidence], ...] = (
    (0.30, 0.95), (0.35, 0.95), (0.40, 0.95), (0.45, "none"), (0.48, "none"),
)  # fmt: skip
REAL_DRAWS = 400

WORLDS, DRAWS, SEED = 80, 80, 20_000
DUAL_WORLDS, DUAL_DRAWS = 600, 200
DUAL_QUERIES = (100, 200, 1000)
SIMULATED: tuple[tuple[int, Confidence], ...] = ((200, "none"), (200, 0.95))
ACCURACY = np.array(
    [
        [0.70, 0.86, 0.92, 0.91, 0.95, 0.95],
        [0.45, 0.66, 0.80, 0.76, 0.86, 0.88],
        [0.15, 0.30, 0.45, 0.47, 0.62, 0.75],
    ]
)
COST_USD = 1e-5 * np.array(
    [
        [1.0, 4.2, 16.5, 1.1, 4.4, 22.0],
        [1.6, 6.3, 25.0, 1.7, 6.8, 34.0],
        [2.2, 8.8, 35.0, 2.4, 9.6, 46.0],
    ]
)
"""Small once, in 4 and in 16 samples; tuned once and in 4 samples; large once."""

WEIGHTS = np.array([0.5, 0.3, 0.2])
TUNED = (3, 4)
COST_SPREAD = 0.6
"""Standard deviation of a request's cost over its mean, log-normal."""

FLOOR = 0.68
FEE_USD = 100.0


def measured(data: Path) -> Profile:
    """MATH-500 with GPU time at the assumed price."""
    rules = load_mapping("math500_strategies")
    pool = Pool(usd_per_gpu_hour=USD_PER_GPU_HOUR, models={BASE: 1, TRAINED: 1})
    with Store.open(":memory:") as store:
        import_file(store, data / rules.file, workload="math500", mapping=rules, constants={})
        card = PriceCard(pools={"answering": pool})
        return store.profile("math500", rates=rates_of(store, "math500", card))


def real(profile: Profile, floor: float, confidence: Confidence) -> dict[str, Any]:
    """One question to the measured table."""
    fee = {
        "name": "training",
        "pays_for": [TRAINED],
        "usd": TRAINING_GPU_HOURS * USD_PER_GPU_HOUR,
        "per": "total",
    }
    spec = _spec("math500", floor, confidence, {"requests": 100_000, "per": "total"}, fee)
    asked = {"floor": floor, "confidence": confidence}
    try:
        found = break_even(profile, spec, draws=REAL_DRAWS)
    except InfeasibleError as error:
        return asked | {"refused": str(error)}
    changes = [
        {
            "requests": _digits(change.requests),
            "low": _digits(change.low),
            "high": _digits(change.high),
            "requests_per_training_gpu_hour": _digits(
                change.requests and change.requests / TRAINING_GPU_HOURS
            ),
        }
        for change in found.changes
    ]
    plans = [
        {
            "paid": one.paid,
            "gpu_s_per_request": _digits(3600 * one.usd_per_request / USD_PER_GPU_HOUR),
            "accuracy": _digits(one.rung.expected.accuracy),
            "promised_accuracy": _digits(one.rung.promised.accuracy),
            "shares": {name: _digits(share) for name, share in one.shares.items()},
        }
        for one in found.envelope
    ]
    return asked | {"break_evens": changes, "plans": plans, "words": sentences(found)}


def coverage(queries: int, confidence: Confidence) -> dict[str, Any]:
    """How often the 95 % interval holds the break-even that the planner names for the truth."""
    spec = _simulated_spec(confidence)
    truth = _rate(_truth(queries), spec)
    held, below, above, refused, ends = 0, 0, 0, 0, []
    for world in range(WORLDS):
        profile = _sampled(queries, np.random.default_rng(SEED + world))
        try:
            _rate(profile, spec)
        except InfeasibleError:
            refused += 1
            continue
        slow, fast = _interval(profile, spec, world)
        ends.append((slow, fast))
        held += slow <= truth <= fast
        below += fast < truth
        above += slow > truth
    share = held / len(ends)
    return {
        "queries_a_class": queries,
        "confidence": confidence,
        "refused": refused,
        "truth_requests": _digits(1 / truth),
        "median_interval": [
            _digits(float(np.median([1 / end[i] for end in ends]))) for i in (1, 0)
        ],
        "held": round(share, 4),
        "standard_error": round(math.sqrt(share * (1 - share) / len(ends)), 4),
        "interval_too_high": round(below / len(ends), 4),
        "interval_too_low": round(above / len(ends), 4),
    }


def by_dual(queries: int) -> dict[str, Any]:
    """The same on point estimates in many worlds, for several ways to make the interval."""
    truth = float(_dual_rates(ACCURACY[None], COST_USD[None], WEIGHTS[None])[0])
    held: dict[str, list[int]] = {}
    found, spread = [], []
    for world in range(DUAL_WORLDS):
        rng = np.random.default_rng(SEED + world)
        accuracy, cost, sds, mix = _sample(queries, rng)
        rate = float(_dual_rates(accuracy[None], cost[None], mix[None])[0])
        drawn = _dual_rates(*_drawn(queries, accuracy, cost, sds, mix, rng=rng))
        found.append(rate)
        spread.append(drawn[np.isfinite(drawn)].std())
        for name, (slow, fast) in _intervals(drawn, rate).items():
            held.setdefault(name, []).append(int(slow <= truth <= fast))
    return {
        "queries_a_class": queries,
        "truth_requests": _digits(1 / truth),
        "mean_rate_over_truth": _digits(float(np.mean(found)) / truth),
        "spread_of_rates_over_truth": _digits(float(np.std(found)) / truth),
        "mean_spread_of_draws_over_truth": _digits(float(np.mean(spread)) / truth),
        "held": {name: round(float(np.mean(each)), 4) for name, each in held.items()},
        "standard_error": round(math.sqrt(0.95 * 0.05 / DUAL_WORLDS), 4),
    }


def _intervals(drawn: Array, rate: float) -> dict[str, tuple[float, float]]:
    """Percentiles, and what was tried beside them (Efron and Tibshirani 1993, chapters 12-14)."""
    normal = NormalDist()
    slow, fast = interval(drawn, 0.95)
    below = float(np.mean(drawn < rate) + np.mean(drawn == rate) / 2)
    edge = 1 / (2 * len(drawn))
    shift = 2 * normal.inv_cdf(min(max(below, edge), 1 - edge))
    corrected = [normal.cdf(shift - 1.96), normal.cdf(shift + 1.96)]
    low, high = np.quantile(drawn, corrected, method="inverted_cdf")
    error = 1.96 * float(drawn[np.isfinite(drawn)].std())
    return {
        "percentiles": (slow, fast),
        "bias_corrected": (float(low), float(high)),
        "normal": (rate - error, rate + error),
        "reflected": (2 * rate - fast, 2 * rate - slow),
    }


def _drawn(
    queries: int, accuracy: Array, cost: Array, sds: Array, mix: Array, *, rng: np.random.Generator
) -> tuple[Array, Array, Array]:
    """What `planner.fees.resampled` draws, many times at once."""
    shape = (DUAL_DRAWS, *accuracy.shape)
    good = queries * accuracy
    variance = np.log1p((sds / cost) ** 2 / queries)
    total = queries * len(mix)
    return (
        rng.beta(good + 0.5, queries - good + 0.5, size=shape),
        cost * np.exp(rng.normal(-variance / 2, np.sqrt(variance), size=shape)),
        rng.multinomial(total, mix, size=DUAL_DRAWS) / total,
    )


def _dual_rates(accuracy: Array, cost: Array, weights: Array) -> Array:
    """``1 / V*`` per world; shapes (worlds, classes, strategies) and (worlds, classes)."""
    untuned = [s for s in range(accuracy.shape[-1]) if s not in TUNED]
    below = _dual(accuracy[..., untuned], cost[..., untuned], weights)
    return rates(below, _dual(accuracy, cost, weights), FEE_USD)


def _dual(accuracy: Array, cost: Array, weights: Array) -> Array:
    """Least dollars per request at the floor, on point estimates; infinite where there is none.

    ``max over p >= 0 of sum_d w_d min_s (c_ds - p a_ds) + p floor``: concave and piecewise linear
    in the price p, so its top is where two strategies of some class change places, or at 0.
    """
    worlds, _, strategies = accuracy.shape
    i, j = np.triu_indices(strategies, 1)
    gain = accuracy[..., i] - accuracy[..., j]
    price = (cost[..., i] - cost[..., j]) / np.where(gain == 0, np.inf, gain)
    prices = np.concatenate([np.maximum(price, 0).reshape(worlds, -1), np.zeros((worlds, 1))], 1)
    net = cost[:, None] - prices[..., None, None] * accuracy[:, None]
    value = np.einsum("wd,wpd->wp", weights, net.min(axis=-1)) + prices * FLOOR
    kept = (weights * accuracy.max(axis=-1)).sum(axis=1) >= FLOOR
    return np.where(kept, value.max(axis=1), np.inf)


def _interval(profile: Profile, spec: Spec, seed: int) -> tuple[float, float]:
    specs = [paying(spec, ()), paying(spec, ("tuning",))]
    usd = drawn_usd(profile, specs, draws=DRAWS, seed=seed)
    return interval(rates(usd[:, 0], usd[:, 1], FEE_USD), 0.95)


def _rate(profile: Profile, spec: Spec) -> float:
    ends = [deployment(profile, paying(spec, names)) for names in ((), ("tuning",))]
    return saved(*ends) / FEE_USD


def _spec(
    workload: str,
    floor: float,
    confidence: Confidence,
    traffic: dict[str, Any],
    fee: dict[str, Any],
) -> Spec:
    return Spec.model_validate(
        {
            "format_version": "1.0",
            "workload": workload,
            "traffic": traffic,
            "limits": {"accuracy": {"overall": floor}},
            "fixed_costs": [fee],
            "confidence": confidence,
        }
    )


def _simulated_spec(confidence: Confidence) -> Spec:
    fee = {
        "name": "tuning",
        "pays_for": [f"m{s}/single" for s in TUNED],
        "usd": FEE_USD,
        "per": "month",
    }
    return _spec("world", FLOOR, confidence, {"requests": 1_000_000, "per": "month"}, fee)


def _truth(queries: int) -> Profile:
    return _profile(queries, ACCURACY, COST_USD, COST_SPREAD * COST_USD, WEIGHTS)


def _sampled(queries: int, rng: np.random.Generator) -> Profile:
    return _profile(queries, *_sample(queries, rng))


def _sample(queries: int, rng: np.random.Generator) -> tuple[Array, Array, Array, Array]:
    """As many queries of every class, answered by every strategy independently.

    Returns:
        Mean scores, mean costs and their spread, shape (classes, strategies), and the class mix.
    """
    shape = (queries, *ACCURACY.shape)
    scores = rng.random(shape) < ACCURACY
    variance = math.log1p(COST_SPREAD**2)
    costs = COST_USD * np.exp(rng.normal(-variance / 2, math.sqrt(variance), shape))
    mix = rng.multinomial(queries * len(WEIGHTS), WEIGHTS) / (queries * len(WEIGHTS))
    return scores.mean(axis=0), costs.mean(axis=0), costs.std(axis=0, ddof=1), mix


def _profile(queries: int, accuracy: Array, cost: Array, spread: Array, weights: Array) -> Profile:
    classes = tuple(f"c{d}" for d in range(accuracy.shape[0]))
    strategies = tuple(f"m{s}/single" for s in range(accuracy.shape[1]))
    sds = np.sqrt(accuracy * (1 - accuracy) * queries / (queries - 1))
    blank = Cell(
        class_name="", strategy="", queries=queries, observations=queries, accuracy=0.0,
        accuracy_sd=0.0, score_sd=0.0, cost_usd=None, cost_sd_usd=None, cost_max_usd=None,
        tokens_in=None, tokens_out=None, tokens_out_max=None, calls=None, exceeded=None,
        latency_observations=0, latency_p95_s=None, evidence=("simulated",),
    )  # fmt: skip
    cells = {
        (name, strategy): replace(
            blank,
            class_name=name,
            strategy=strategy,
            accuracy=float(accuracy[d, s]),
            accuracy_sd=float(sds[d, s]),
            score_sd=float(sds[d, s]),
            cost_usd=float(cost[d, s]),
            cost_sd_usd=float(spread[d, s]),
        )
        for d, name in enumerate(classes)
        for s, strategy in enumerate(strategies)
    }
    return Profile(
        workload="world",
        classes=classes,
        weights=tuple(float(weight) for weight in weights),
        strategies=strategies,
        cells=cells,
        latency_grid_s=(),
        queries=queries * len(classes),
        digest="sha256:world",
    )


def _digits(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def _real_part(folder: Path) -> dict[str, Any]:
    profile = measured(folder)
    return {
        "source": "rasbt/reasoning-from-scratch, MATH-500, Qwen3-0.6B, one DGX Spark",
        "assumed_usd_per_gpu_hour": USD_PER_GPU_HOUR,
        "assumed_training_gpu_hours": TRAINING_GPU_HOURS,
        "draws": REAL_DRAWS,
        "questions": [real(profile, *question) for question in QUESTIONS],
    }


def _planner_part() -> dict[str, Any]:
    with ProcessPoolExecutor(2) as pool:
        rows = list(pool.map(coverage, *zip(*SIMULATED, strict=True)))
    return _simulation(DRAWS, WORLDS) | {"rows": rows}


def _dual_part() -> dict[str, Any]:
    return _simulation(DUAL_DRAWS, DUAL_WORLDS) | {"rows": [by_dual(n) for n in DUAL_QUERIES]}


def _simulation(draws: int, worlds: int) -> dict[str, Any]:
    return {
        "interval": 0.95,
        "draws": draws,
        "worlds": worlds,
        "seeds": [SEED, SEED + worlds - 1],
        "floor": FLOOR,
        "fee_usd": FEE_USD,
    }


def main() -> None:
    """Make one part, and keep the others of the result as they are."""
    part = sys.argv[1] if len(sys.argv) > 1 else ""
    folder = sys.argv[2] if len(sys.argv) > 2 else os.environ.get("INFERBUDGET_SHARED_DATA", BESIDE)
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "real": partial(_real_part, Path(folder)),
        "planner": _planner_part,
        "dual": _dual_part,
    }
    if part not in parts:
        sys.exit(f"name a part: {', '.join(parts)}")
    result = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    result[part] = parts[part]()
    result["machine"] = {
        "processor": platform.machine(),
        "python": platform.python_version(),
        "numpy": version("numpy"),
        "scipy": version("scipy"),
        "highspy": version("highspy"),
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()

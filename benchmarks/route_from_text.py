"""Which model for which prompt, from its text alone: RouteLLM's MMLU rows, ParetoBandit's prompts.

Nothing here has seen the outcome of the query that it decides on: predictions are out of fold over
five folds that keep near-duplicates together. Labels (`subject`, `task`) are used in training by
the rows that say so; no prediction reads one, but for the rows of the known label.

Contenders on `routellm`, by predicted score of the strong model less that of the weak one:

- "words", "words+surface", "words+surface+characters": `profiles.difficulty.predicting.predictor`,
  with subjects in training; "no labels": one of them without;
- "hashed words": the plain strong baseline, one ridge regression on roots of counts in 4,096
  buckets of hashed words and pairs of neighbours, at the strength of least out-of-fold error;
- "known subject": the training folds' mean difference in the query's subject.

Contenders on `paretobandit`, at six budgets per request:

- "price rule": argmax of predicted score - price * predicted dollars, the price bisected;
- "k-means classes": up to 6 or 12 classes of predicted scores and dollars, one linear programme
  (the counts were chosen after a look at 6, 12, 20 and 30 on these very queries);
- "hashed words": the plain strong baseline, the same on the baseline's predictions of scores;
- "task as class": the known benchmark family, one linear programme;
- "mixture": one class, so blind to the query; "single model": the best one that is affordable;
- "oracle": a price rule on the query's own outcomes.

    python -m benchmarks.route_from_text [FOLDER]
"""

from __future__ import annotations

import csv
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.sparse import csr_array

from benchmarks.shared_sources import BESIDE
from profiles.difficulty.folds import folds
from profiles.difficulty.lessons import Lessons
from profiles.difficulty.predicting.predictor import WEIGHTS, Predictions, train
from profiles.difficulty.predicting.ridge import many
from profiles.difficulty.reading.bags import read_keys
from profiles.difficulty.reading.text_features import word_keys
from profiles.difficulty.sorting.kmeans import nearest, prototypes

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

RESULT = Path("benchmarks/results/route_from_text.json")
FOLDS, SEED = 5, 0
UNLABELLED = "words+surface"
STEPS = 10
BOOTSTRAPS = 1000
BUDGETS = (0.0000829, 0.000235, 0.000664, 0.001878, 0.005314, 0.015037)
RESPLITS = 200
#: Standard deviations that a plan stays below its budget.
MARGIN = 2.5
#: Classes at most, and the least share of the queries that each holds.
CLASSES = {6: 0.05, 12: 0.03}
BUCKETS = 4096
STRENGTHS = (0.3, 1.0, 3.0, 10.0, 30.0)
SHRINKAGE = 5.0
DEFINITIONS = {
    "apgr": "Area between mean score over the share of strong calls and the weak model's mean "
    "score, over the same area of the strong model: trapezoids between thresholds at the tenths "
    "of the predicted difference, as in RouteLLM's evaluate.py.",
    "cpt": "Least share of strong calls, in percent, at which 50 % or 80 % of the gap between the "
    "models is closed; linear between the same thresholds.",
    "standard_error": f"routellm: over {BOOTSTRAPS} bootstraps of the queries, predictions as they "
    "are. paretobandit: of the mean over the queries.",
    "cross_validated": "Prices and programmes are made on four folds, without a margin, and judged "
    "on the fifth; quality is the mean score, spend the mean dollars over the budget. over_task: "
    "quality less that of 'task as class', with the standard error of the paired difference.",
    "resplits": f"{RESPLITS} halvings of the queries: made on one half to stay {MARGIN} standard "
    "deviations of the difference between the halves' mean spend below the budget, judged on the "
    "other half. Predictions and classes are the out-of-fold ones throughout, not fitted anew. "
    "within: share of resplits whose mean spend is within the budget, with its standard error.",
    "mixtures": "Where a programme mixes models in a class, expected score and dollars are taken; "
    "no coin is thrown.",
}


@dataclass(frozen=True, slots=True)
class Pareto:
    """Outcomes of n queries with S models, float64[n, S] each, and a choice's shares [n, S]."""

    scores: Floats
    costs: Floats

    def of(self, shares: Floats) -> tuple[Floats, Floats]:
        """Expected score and dollars of every query."""
        return (self.scores * shares).sum(axis=1), (self.costs * shares).sum(axis=1)


#: From the queries to plan on, a budget and the queries to decide on to shares of the models.
Plan = Callable[[Indices, float, Indices], Floats]


def rows_of(path: Path) -> list[dict[str, str]]:
    """A table with a header."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def lessons_of(
    prompts: list[str], labels: list[str] | None, scores: Floats, costs: Floats | None
) -> Lessons:
    """What a predictor is fitted on."""
    unknown = np.full_like(scores, np.nan)
    return Lessons(
        "benchmark",
        [str(index) for index in range(len(prompts))],
        prompts,
        list(labels) if labels else [None] * len(prompts),
        tuple(f"model {index}" for index in range(scores.shape[1])),
        scores,
        unknown if costs is None else costs,
        0,
    )


def label_means(labels: list[str], values: Floats, fold_of: Indices) -> Floats:
    """Mean of each query's label in the other folds, drawn towards the mean of all."""
    index = np.unique(labels, return_inverse=True)[1]
    found = np.empty_like(values)
    for fold in range(FOLDS):
        known = fold_of != fold
        level = values[known].mean(axis=0)
        one_hot = np.eye(index.max() + 1)[index[known]]
        sums = one_hot.T @ values[known] + SHRINKAGE * level
        found[~known] = (sums / (one_hot.sum(axis=0)[:, None] + SHRINKAGE))[index[~known]]
    return found


def hashed_words(prompts: list[str], scores: Floats, fold_of: Indices) -> Floats:
    """The baseline's out-of-fold predictions, float64[n, S]."""
    rows = np.zeros((len(prompts), BUCKETS + 1))
    rows[:, -1] = 1
    for row, keys in zip(rows, read_keys(word_keys, prompts), strict=True):
        counts = np.bincount(keys % BUCKETS, minlength=BUCKETS)
        row[:-1] = np.sqrt(counts / max(1, counts.sum()))
    sparse, strengths = csr_array(rows), np.repeat(STRENGTHS, scores.shape[1])
    found = np.empty((len(scores), len(strengths)))
    for fold in range(FOLDS):
        known, asked = np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)
        level = np.tile(scores[known].mean(axis=0), len(STRENGTHS))
        targets = np.tile(scores[known], len(STRENGTHS)) - level
        every = np.ones(targets.shape, dtype=bool)
        weights = many(csr_array(sparse[known]), targets, every, strengths)
        found[asked] = sparse[asked] @ weights + level
    by_strength = found.reshape(len(scores), len(STRENGTHS), -1)
    errors = ((by_strength - scores[:, None]) ** 2).sum(axis=(0, 2))
    return np.asarray(by_strength[:, errors.argmin()])


# ------------------------------------------------------------------ RouteLLM


def recovered(gain: Floats, scores: Floats) -> tuple[float, float, float]:
    """APGR, and CPT of 50 % and 80 % in percent, as RouteLLM's evaluate.py finds them."""
    thresholds = np.quantile(gain, np.linspace(0, 1, STEPS + 1))
    chosen = [*(gain >= t for t in thresholds[:-1]), gain > thresholds[-1]]
    share = np.array([strong.mean() for strong in chosen])[::-1]
    weak, top = scores.mean(axis=0)
    mean = np.array([np.where(strong, scores[:, 1], scores[:, 0]).mean() for strong in chosen])
    closed = (mean[::-1] - weak) / (top - weak)
    area = float(np.trapezoid(closed, share) / (share[-1] - share[0]))
    half, most = np.interp((0.5, 0.8), closed, 100 * share)
    return area, float(half), float(most)


def routellm(data: Path) -> dict[str, Any]:
    """The table of routers between two models."""
    rows = [r for r in rows_of(data / "routellm" / "outcomes.csv") if r["benchmark"] == "mmlu"]
    prompts, subjects = [r["prompt"] for r in rows], [r["subject"] for r in rows]
    scores = np.array(
        [[float(r["mixtral_8x7b_correct"]), float(r["gpt4_1106_correct"])] for r in rows]
    )
    fold_of = folds(prompts, FOLDS, SEED).fold_of
    gains: dict[str, Floats] = {}
    seconds = {}
    trials = [(weight, weight, subjects) for weight in WEIGHTS]
    for name, weight, labels in (*trials, (f"{UNLABELLED}, no labels", UNLABELLED, None)):
        start = time.process_time()
        found = train(lessons_of(prompts, labels, scores, None), fold_of, weight)
        seconds[name] = round(time.process_time() - start, 1)
        gains[name] = difference(found.predictions.scores)
    gains["hashed words"] = difference(hashed_words(prompts, scores, fold_of))
    gains["known subject"] = difference(label_means(subjects, scores, fold_of))
    rng = np.random.default_rng(SEED)
    draws = [rng.integers(0, len(rows), len(rows)) for _ in range(BOOTSTRAPS)]
    table = {}
    for name, gain in gains.items():
        again = np.std([recovered(gain[d], scores[d]) for d in draws], axis=0, ddof=1)
        figures = recovered(gain, scores)
        table[name] = {
            key: {"value": round(value, digits), "standard_error": round(float(error), digits)}
            for key, value, error, digits in zip(
                ("apgr", "cpt_50", "cpt_80"), figures, again, (4, 1, 1), strict=True
            )
        }
        print("routellm", name, *(round(value, 4) for value in figures), flush=True)
    return {"queries": len(rows), "processor_seconds_to_train": seconds, "routers": table}


def difference(scores: Floats) -> Floats:
    """Predicted score of the strong model less that of the weak one."""
    return np.asarray(scores[:, 1] - scores[:, 0])


# -------------------------------------------------------------- ParetoBandit


def by_price(world: Pareto, scores: Floats, costs: Floats) -> Plan:
    """Argmax of score - price * dollars, the price bisected until the spend fits."""
    width = scores.shape[1]

    def plan(made_on: Indices, budget: float, asked: Indices) -> Floats:
        def spend(price: float) -> float:
            best = (scores[made_on] - price * costs[made_on]).argmax(axis=1)
            return float(world.costs[made_on, best].mean())

        low, high = 1e-6, 1e7
        if spend(0.0) <= budget:
            high = 0.0
        else:
            for _ in range(36):
                middle = (low * high) ** 0.5
                low, high = (middle, high) if spend(middle) > budget else (low, middle)
        return np.eye(width)[(scores[asked] - high * costs[asked]).argmax(axis=1)]

    return plan


def by_class(world: Pareto, class_of: Indices) -> Plan:
    """One linear programme over the mean score and dollars of every class and model."""
    width, size = world.scores.shape[1], int(class_of.max()) + 1

    def plan(made_on: Indices, budget: float, asked: Indices) -> Floats:
        one_hot = np.eye(size)[class_of[made_on]] / len(made_on)
        # a thousandth of a query at the overall means, so that absent classes are no free choice
        few = 1e-3 / len(made_on)
        worth = one_hot.T @ world.scores[made_on] + few * world.scores[made_on].mean(axis=0)
        dollars = one_hot.T @ world.costs[made_on] + few * world.costs[made_on].mean(axis=0)
        found = linprog(
            -worth.ravel(),
            A_ub=dollars.ravel()[None, :] / budget,
            b_ub=[1.0],
            A_eq=np.kron(np.eye(size), np.ones(width)),
            b_eq=np.ones(size),
            method="highs",
        )
        return np.asarray(found.x.reshape(size, width)[class_of[asked]])

    return plan


def best_single(world: Pareto) -> Plan:
    """The model with the best mean score among those that fit the budget."""

    def plan(made_on: Indices, budget: float, asked: Indices) -> Floats:
        score, cost = world.scores[made_on].mean(axis=0), world.costs[made_on].mean(axis=0)
        best = np.where(cost <= budget, score, -1.0).argmax() if (cost <= budget).any() else -1
        shares = np.zeros((len(asked), len(score)))
        shares[:, cost.argmin() if best < 0 else best] = 1
        return shares

    return plan


def kinds(predictions: Predictions, count: int) -> Indices:
    """K-means on predicted scores and, where there are, dollars relative to their means."""
    points = predictions.scores
    if predictions.costs is not None:
        points = np.hstack([points, predictions.costs / predictions.costs.mean(axis=0) / 10])
    centres = prototypes(points, count, smallest_share=CLASSES[count], seed=SEED)
    return nearest(points, centres)


def cross_validated(world: Pareto, plan: Plan, fold_of: Indices) -> tuple[Floats, Floats]:
    """Expected score and dollars of every query at every budget, float64[budgets, n]."""
    scores, dollars = (np.empty((len(BUDGETS), len(fold_of))) for _ in range(2))
    for row, budget in enumerate(BUDGETS):
        shares = np.empty_like(world.scores)
        for fold in range(FOLDS):
            asked = np.flatnonzero(fold_of == fold)
            shares[asked] = plan(np.flatnonzero(fold_of != fold), budget, asked)
        scores[row], dollars[row] = world.of(shares)
    return scores, dollars


def resplit(world: Pareto, plan: Plan, budget: float, halves: list[Indices]) -> dict[str, Any]:
    """Plans with a margin, judged on the half that they were not made on."""
    quality, spend = [], []
    every = np.arange(len(world.scores))
    for made_on in halves:
        judged = np.setdiff1d(every, made_on)
        low, high = budget / 2, budget  # what may be planned to spend so that the margin fits too
        for _ in range(7):
            planned = (low + high) / 2
            dollars = (world.costs[made_on] * plan(made_on, planned, made_on)).sum(axis=1)
            margin = MARGIN * dollars.std(ddof=1) * (1 / len(made_on) + 1 / len(judged)) ** 0.5
            if dollars.mean() + margin <= budget:
                low = planned
            else:
                high = planned
        shares = np.zeros_like(world.scores)
        shares[judged] = plan(made_on, low, judged)
        score, dollars = world.of(shares)
        quality.append(score[judged].mean())
        spend.append(dollars[judged].mean())
    within = float((np.array(spend) <= budget).mean())
    return {
        "quality": round(float(np.mean(quality)), 4),
        "spend": round(float(np.mean(spend)) / budget, 3),
        "within": round(within, 3),
        "within_standard_error": round((within * (1 - within) / len(halves)) ** 0.5, 3),
    }


def contenders(
    world: Pareto, prompts: list[str], tasks: list[str], fold_of: Indices
) -> Iterator[tuple[str, Plan]]:
    """Names and plans."""
    lessons = lessons_of(prompts, tasks, world.scores, world.costs)
    for weight in WEIGHTS:
        found = train(lessons, fold_of, weight).predictions
        assert found.costs is not None  # noqa: S101 - every request has a cost here
        yield f"{weight}: price rule", by_price(world, found.scores, found.costs)
        for count in CLASSES:
            yield f"{weight}: {count} k-means classes", by_class(world, kinds(found, count))
    plain = hashed_words(prompts, world.scores, fold_of).clip(0, 1).round(5)
    for count in CLASSES:
        classes = kinds(Predictions(plain, None), count)
        yield f"hashed words: {count} k-means classes", by_class(world, classes)
    task = np.unique(tasks, return_inverse=True)[1].astype(np.intp)
    yield "task as class", by_class(world, task)
    yield "mixture", by_class(world, np.zeros_like(task))
    yield "single model", best_single(world)
    yield "oracle", by_price(world, world.scores, world.costs)


def paretobandit(data: Path) -> dict[str, Any]:
    """The table of three models at six budgets."""
    queries = rows_of(data / "paretobandit" / "queries.csv")
    outcomes = rows_of(data / "paretobandit" / "outcomes.csv")
    models = sorted({row["model"] for row in outcomes})
    place = {row["query_id"]: index for index, row in enumerate(queries)}
    scores, costs = (np.full((len(queries), len(models)), np.nan) for _ in range(2))
    for row in outcomes:
        cell = place[row["query_id"]], models.index(row["model"])
        scores[cell], costs[cell] = float(row["score"]), float(row["cost_usd"])
    world = Pareto(scores, costs)
    prompts, tasks = [row["prompt"] for row in queries], [row["task"] for row in queries]
    fold_of = folds(prompts, FOLDS, SEED).fold_of
    rng = np.random.default_rng(SEED)
    halves = [rng.permutation(len(queries))[: len(queries) // 2] for _ in range(RESPLITS)]
    plans = dict(contenders(world, prompts, tasks, fold_of))
    base, _ = cross_validated(world, plans["task as class"], fold_of)
    table = {}
    for name, plan in plans.items():
        got, dollars = cross_validated(world, plan, fold_of)
        table[name] = [
            {
                "budget_usd": budget,
                "cross_validated": judged(got[row], dollars[row] / budget, base[row]),
                "resplits": resplit(world, plan, budget, halves),
            }
            for row, budget in enumerate(BUDGETS)
        ]
        print("paretobandit", name, *(r["cross_validated"]["quality"] for r in table[name]))
        print(" within", *(r["resplits"]["within"] for r in table[name]), flush=True)
    return {"queries": len(queries), "models": models, "contenders": table}


def judged(score: Floats, spend: Floats, base: Floats) -> Mapping[str, float]:
    """Means over the queries with their standard errors."""
    root = len(score) ** 0.5
    return {
        "quality": round(float(score.mean()), 4),
        "standard_error": round(float(score.std(ddof=1) / root), 4),
        "spend": round(float(spend.mean()), 3),
        "spend_standard_error": round(float(spend.std(ddof=1) / root), 3),
        "over_task": round(float((score - base).mean()), 4),
        "over_task_standard_error": round(float((score - base).std(ddof=1) / root), 4),
    }


def main() -> None:
    """Write both tables."""
    chosen = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("INFERBUDGET_SHARED_DATA")
    data = Path(chosen) if chosen else BESIDE
    if not (data / "routellm").is_dir() or not (data / "paretobandit").is_dir():
        sys.exit(f"skipped: {data} does not hold the tables routellm and paretobandit")
    result = {
        "definitions": DEFINITIONS,
        "folds": FOLDS,
        "seed": SEED,
        "paretobandit": paretobandit(data),
        "routellm": routellm(data),
        "machine": {
            "processor": platform.machine(),
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "scipy", "onnxruntime")},
        },
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()

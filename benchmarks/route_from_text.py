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

Contenders on `paretobandit`, at six budgets per request, give every prompt a class. Their plans are
the product's own (`planner.sorting.plans_by_fold`), asked for the best accuracy within the budget:

- "prototypes", "price rule": sortings of `profiles.difficulty.sorting`, at most 6 or 12 classes;
- "hashed words": the plain strong baseline, prototypes of its predictions of scores;
- "task as class": the known benchmark family; "mixture": one class, so blind to the query;

and beside them, which no planner made: "single model", the best one that is affordable, and
"oracle", argmax of score - price * dollars of the query's own outcomes, the price bisected.

    python -m benchmarks.route_from_text [FOLDER]
"""

from __future__ import annotations

import csv
import json
import os
import platform
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from benchmarks.shared_sources import BESIDE
from planner.limit_names import SPEND
from planner.limits import LimitSet
from planner.sorting.cells_of_outcomes import Outcomes
from planner.sorting.plan_questions import Asked
from planner.sorting.plans_by_fold import BlindPlan, plans_without
from planner.spec import Objective, Spec
from profiles.difficulty.folds import folds
from profiles.difficulty.lessons import Lessons
from profiles.difficulty.predicting.features import Features
from profiles.difficulty.predicting.predictor import WEIGHTS, Predictions, train
from profiles.difficulty.predicting.ridge import many
from profiles.difficulty.reading.bags import read_keys
from profiles.difficulty.reading.text_features import word_keys
from profiles.difficulty.sorting.candidates import candidates

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

RESULT = Path("benchmarks/results/route_from_text.json")
FOLDS, SEED = 5, 0
UNLABELLED = "words+surface"
STEPS = 10
BOOTSTRAPS = 1000
BUDGETS = (0.0000829, 0.000235, 0.000664, 0.001878, 0.005314, 0.015037)
RESPLITS = 200
CONFIDENCE = 0.95
#: Classes at most.
CLASSES = (6, 12)
KINDS = ("prototypes", "price rule")
#: Contenders whose plans are certified and judged on the other half.
RESPLIT = ("task as class", f"{UNLABELLED}: ", "hashed words: prototypes, at most 6", "mixture")
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
    "cross_validated": "Plans on point estimates (confidence: none) of four folds, judged on the "
    "fifth; quality is the mean score, spend the mean dollars over the budget. over_task: quality "
    "less that of 'task as class', with the standard error of the paired difference.",
    "resplits": f"{RESPLITS} halvings of the queries: planned on one half at confidence "
    f"{CONFIDENCE} for as many requests as the other half has, judged on that. Predictions and "
    "classes are the out-of-fold ones throughout, not fitted anew. within: share of resplits whose "
    "mean spend is within the budget, with its standard error; refused: share without any plan, "
    "whose queries all take the model of the worst mean score.",
    "mixtures": "Where a programme mixes models in a class, expected score and dollars are taken; "
    "no coin is thrown.",
}


@dataclass(frozen=True, slots=True)
class Sorted:
    """A class per query."""

    classes: Indices
    names: tuple[str, ...]

    @classmethod
    def by(cls, index: Indices) -> Self:
        """Classes by number."""
        return cls(index, tuple(f"class {number:02d}" for number in range(int(index.max()) + 1)))


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
        part = Features.of(csr_array(sparse[known]))
        weights = many(part, targets, every, strengths)
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


def ask(requests: int | None) -> Asked:
    """The best accuracy at every budget: promised for so many requests, or on point estimates."""
    certain = {"confidence": "none"} if requests is None else {"traffic": {"requests": requests}}
    spec = Spec.model_validate(
        {
            "format_version": "1.0",
            "workload": "paretobandit",
            "objective": Objective.MAXIMIZE_ACCURACY,
            "confidence": CONFIDENCE,
            **certain,
        }
    )
    return Asked(spec, tuple(LimitSet({SPEND: usd}) for usd in BUDGETS), by_spec=True)


def shares_of(plan: BlindPlan, sorted_by: Sorted, unseen: NDArray[np.bool_]) -> Floats:
    """Shares per unseen query; where its class was never planned for, those of an average query."""
    seen = np.bincount(sorted_by.classes[~unseen], minlength=len(sorted_by.names))
    average = seen @ plan.shares / seen.sum()
    by_class = np.where(seen[:, None] > 0, plan.shares, average)
    return np.asarray(by_class[sorted_by.classes[unseen]])


def cross_validated(world: Outcomes, sorted_by: Sorted, fold_of: Indices) -> Floats:
    """Shares of the models for every query at every budget, float64[budgets, n, S]."""
    shares = np.empty((len(BUDGETS), *world.scores.shape))
    for fold in range(FOLDS):
        own = fold_of == fold
        for row, plan in enumerate(plans_without(world, sorted_by, own, ask(None))):
            shares[row, own] = shares_of(plan, sorted_by, own)
    return shares


def resplit(world: Outcomes, sorted_by: Sorted, halves: list[Indices]) -> list[dict[str, Any]]:
    """Certified plans, judged on the half that they were not made on; a row per budget."""
    quality, spend, refused = (np.empty((len(BUDGETS), len(halves))) for _ in range(3))
    for column, made_on in enumerate(halves):
        unseen = np.ones(len(world.scores), dtype=bool)
        unseen[made_on] = False
        plans = plans_without(world, sorted_by, unseen, ask(int(unseen.sum())))
        for row, plan in enumerate(plans):
            shares = shares_of(plan, sorted_by, unseen)
            quality[row, column] = (world.scores[unseen] * shares).sum(axis=1).mean()
            spend[row, column] = (world.costs[unseen] * shares).sum(axis=1).mean()
            refused[row, column] = plan.price is None
    found = []
    for row, budget in enumerate(BUDGETS):
        within = float((spend[row] <= budget).mean())
        found.append(
            {
                "quality": round(float(quality[row].mean()), 4),
                "spend": round(float(spend[row].mean()) / budget, 3),
                "within": round(within, 3),
                "within_standard_error": round((within * (1 - within) / len(halves)) ** 0.5, 3),
                "refused": round(float(refused[row].mean()), 3),
            }
        )
    return found


def best_single(world: Outcomes, fold_of: Indices) -> Floats:
    """The model with the best mean score of those that fit the budget, on the other folds."""
    shares = np.zeros((len(BUDGETS), *world.scores.shape))
    for fold in range(FOLDS):
        own = fold_of == fold
        score, cost = world.scores[~own].mean(axis=0), world.costs[~own].mean(axis=0)
        for row, budget in enumerate(BUDGETS):
            fits = cost <= budget
            best = np.where(fits, score, -1.0).argmax() if fits.any() else cost.argmin()
            shares[row, own, best] = 1
    return shares


def oracle(world: Outcomes) -> Floats:
    """Argmax of score - price * dollars of the outcomes themselves, the price bisected."""
    shares = np.empty((len(BUDGETS), *world.scores.shape))
    for row, budget in enumerate(BUDGETS):
        low, high = 1e-6, 1e7
        for _ in range(60):
            price = (low * high) ** 0.5
            chosen = np.eye(world.scores.shape[1])[
                (world.scores - price * world.costs).argmax(axis=1)
            ]
            spend = (world.costs * chosen).sum(axis=1).mean()
            low, high = (price, high) if spend > budget else (low, price)
        shares[row] = np.eye(world.scores.shape[1])[
            (world.scores - high * world.costs).argmax(axis=1)
        ]
    return shares


def contenders(
    world: Outcomes, prompts: list[str], tasks: list[str], fold_of: Indices
) -> Iterator[tuple[str, Sorted]]:
    """Names and classes."""
    lessons = lessons_of(prompts, tasks, world.scores, world.costs)
    plain = hashed_words(prompts, world.scores, fold_of).clip(0, 1).round(5)
    read = {weight: train(lessons, fold_of, weight).predictions for weight in WEIGHTS} | {
        "hashed words": Predictions(plain, None)
    }
    for reading, predictions in read.items():
        for most in CLASSES:
            found = candidates(predictions, lessons, fold_of, (most,), SEED)
            last = {candidate.kind: candidate.class_index for candidate in found}
            for kind in KINDS if predictions.costs is not None else KINDS[:1]:
                yield f"{reading}: {kind}, at most {most}", Sorted.by(last[kind])
    task = np.unique(tasks, return_inverse=True)[1].astype(np.intp)
    yield "task as class", Sorted.by(task)
    yield "mixture", Sorted.by(np.zeros_like(task))


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
    world = Outcomes("paretobandit", tuple(f"{model}/single" for model in models), scores, costs)
    prompts, tasks = [row["prompt"] for row in queries], [row["task"] for row in queries]
    fold_of = folds(prompts, FOLDS, SEED).fold_of
    rng = np.random.default_rng(SEED)
    halves = [rng.permutation(len(queries))[: len(queries) // 2] for _ in range(RESPLITS)]
    ways = dict(contenders(world, prompts, tasks, fold_of))
    chosen = {name: cross_validated(world, way, fold_of) for name, way in ways.items()}
    chosen |= {"single model": best_single(world, fold_of), "oracle": oracle(world)}
    base = (chosen["task as class"] * scores).sum(axis=2)
    table: dict[str, list[dict[str, Any]]] = {}
    for name, shares in chosen.items():
        got, dollars = (shares * scores).sum(axis=2), (shares * costs).sum(axis=2)
        table[name] = [
            {
                "budget_usd": budget,
                "cross_validated": judged(got[row], dollars[row] / budget, base[row]),
            }
            for row, budget in enumerate(BUDGETS)
        ]
        print("paretobandit", name, *(r["cross_validated"]["quality"] for r in table[name]))
    for name in (name for name in ways if name.startswith(RESPLIT)):
        for entry, found in zip(table[name], resplit(world, ways[name], halves), strict=True):
            entry["resplits"] = found
        print(" within", name, *(r["resplits"]["within"] for r in table[name]), flush=True)
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

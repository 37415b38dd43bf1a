"""Whole exact frontiers by merging hulls, beside programmes solved budget by budget.

Every contender runs in a process of its own, on the same made tables: dollars are lognormal, scores
rise with them and with luck. At sizes of classes x strategies:

- "merge": `planner.frontiers.hulls.exact_frontier`, every breakpoint of the frontier;
- "session": one warm HiGHS session of the planner, 100 budgets in rising order, build left out;
- "scipy": `scipy.optimize.linprog(method="highs")` on sparse matrices, anew for every tenth of
  the budgets.

At sizes of queries x strategies, "merge" again, "multiplier" for one budget by bisection
(`profiles.difficulty.sorting.multiplier`), and "scipy" for one budget where it ends in time.

    python -m benchmarks.frontiers
"""

from __future__ import annotations

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import csr_array

from planner.frontiers.hulls import ExactFrontier, exact_frontier
from planner.limit_names import SPEND
from planner.limits import LimitSet
from planner.planner import Planner
from planner.programme.margin import Array
from planner.programme.model import OBJECTIVE_SCALE, cost_unit
from planner.programme.question import Question
from planner.programme.session import Session
from planner.spec import Spec
from profiles.difficulty.grid import STEPS_PER_POINT, on_grid
from profiles.difficulty.predicting.predictor import Predictions
from profiles.difficulty.sorting.multiplier import multiplier_for_budget
from profiles.profile import Cell, Profile

RESULT = Path("benchmarks/results/frontiers.json")
SEED = 7
BUDGETS = 100
SPARED = 10
"""Of so many budgets one is solved by scipy."""

CLASSES = ((5, 20), (50, 200), (200, 500))
QUERIES = ((2_000, 20), (100_000, 50))
SOLVED = (2_000, 20)
"""Where one linear programme ends within a minute."""

GROWTH_IN_ROWS = tuple((rows, 50) for rows in (1_000, 3_000, 10_000, 30_000, 100_000, 300_000))
GROWTH_IN_CHOICES = tuple((10_000, choices) for choices in (5, 15, 50, 150, 500))
RUNS, RUNS_OF_SCIPY = 3, 1
#: Runs of steps that take only milliseconds are repeated within their process; the least counts.
REPEATS = {"merge": 5, "multiplier": 3}
DEFINITIONS = {
    "seconds": "of the least of a few repeats within a process; medians over processes, in turn.",
    "merge": "the whole frontier with every breakpoint, dual slope and what each step changes.",
    "worst_difference": "largest difference in score to the merge's frontier at the same budgets. "
    "The multiplier splits no query and rounds scores, so it may miss about one query's worth.",
    "duality_gap": "price * budget + mean over queries of max(score - price * dollars), less the "
    "merge's score, at the middle of its costs: no linear programme can beat it by more. "
    "Relative to the score.",
    "whole_frontier": "seconds of 100 budgets over seconds of the merge; scipy's from ten.",
    "one_budget": "seconds of one budget over seconds of the merge, which has all budgets.",
    "growth": "exponent of a power law through processor seconds of the three largest sizes.",
}


def tables(rows: int, choices: int) -> tuple[Array, Array, Array]:
    """Dollars and scores, shape (rows, choices), and weights that add up to 1."""
    rng = np.random.default_rng(SEED)
    dollars = rng.lognormal(-8, 1.2, (rows, choices))
    scores = (rng.uniform(0, 1, dollars.shape) + dollars / (dollars + np.exp(-8))) / 2
    many = rows >= 1_000  # queries count alike, classes do not
    return dollars, scores, np.full(rows, 1 / rows) if many else rng.dirichlet(np.full(rows, 5.0))


def budgets_of(dollars: Array, scores: Array, weights: Array, count: int) -> Array:
    """Budgets between the cheapest allocation and that of the best scores."""
    low = weights @ dollars.min(axis=1)
    high = weights @ dollars[np.arange(len(dollars)), scores.argmax(axis=1)]
    return np.geomspace(low, high, count + 2)[1:-1]


def profile_of(dollars: Array, scores: Array, weights: Array) -> Profile:
    """The same numbers as cells."""
    classes = tuple(f"c{d:03d}" for d in range(dollars.shape[0]))
    strategies = tuple(f"m{s:03d}/single" for s in range(dollars.shape[1]))
    absent: dict[str, Any] = dict.fromkeys(
        ("cost_sd_usd", "cost_max_usd", "tokens_in", "tokens_out", "tokens_out_max", "calls")
    )
    cells = {
        (name, strategy): Cell(
            class_name=name,
            strategy=strategy,
            queries=1000,
            observations=1000,
            accuracy=float(scores[d, s]),
            accuracy_sd=0.4,
            score_sd=0.4,
            cost_usd=float(dollars[d, s]),
            exceeded=None,
            latency_observations=0,
            latency_p95_s=None,
            evidence=("simulated",),
            **absent,
        )
        for d, name in enumerate(classes)
        for s, strategy in enumerate(strategies)
    }
    shares = tuple(map(float, weights))
    about = {"classes": classes, "weights": shares, "strategies": strategies, "cells": cells}
    return Profile(
        workload="made", latency_grid_s=(), queries=1000 * len(classes), digest="made", **about
    )


Step = Callable[[], Any]
Prepared = tuple[Step, Callable[[Any], dict[str, Any]]]


def merge(dollars: Array, scores: Array, weights: Array, budgets: Array) -> Prepared:
    """All breakpoints; told by their values at the budgets."""

    def told(found: ExactFrontier) -> dict[str, Any]:
        values = [found.at_budget(float(b)).value for b in budgets]
        middle = len(found.slopes) // 2
        price, budget = float(found.slopes[middle]), float(found.costs[middle])
        bound = price * budget + weights @ (scores - price * dollars).max(axis=1)
        gap = (bound - found.values[middle]) / found.values[middle]
        return {"values": values, "steps": len(found.slopes), "duality_gap": abs(float(gap))}

    return lambda: exact_frontier(dollars, scores, weights), told


def session(dollars: Array, scores: Array, weights: Array, budgets: Array) -> Prepared:
    """Right-hand sides of a warm session."""
    spec = Spec(format_version="1.0", workload="made", confidence="none")
    planner = Planner(profile_of(dollars, scores, weights), spec)
    numbers, programme = planner.estimates, planner.programme(LimitSet())
    warm = Session(programme, {}, numbers.columns)
    unit = cost_unit(numbers)

    def sweep() -> list[float]:
        asked = [Question("accuracy", {SPEND: float(b) / unit}, {}) for b in budgets]
        return [-warm.solve(question).value / OBJECTIVE_SCALE for question in asked]

    return sweep, lambda values: {"values": values}


def scipy(dollars: Array, scores: Array, weights: Array, budgets: Array) -> Prepared:
    """One linear programme per budget, in units in which numbers are near 1."""
    rows, choices = dollars.shape
    share = np.repeat(weights * rows, choices)
    unit = float(np.median(dollars)) * rows
    spend = csr_array((share * dollars.ravel() / unit)[None])
    of_row = np.repeat(np.arange(rows), choices)
    one = csr_array((np.ones(rows * choices), (of_row, np.arange(rows * choices))))
    worth = -share * scores.ravel()

    def sweep() -> list[float]:
        return [
            -linprog(
                worth, spend, [b / unit * rows], one, np.ones(rows), (0, None), method="highs"
            ).fun
            / rows
            for b in budgets[::SPARED]
        ]

    return sweep, lambda values: {"values": values}


def multiplier(dollars: Array, scores: Array, _: Array, budgets: Array) -> Prepared:
    """One price by bisection, from scores on the grid of served predictions."""
    given = Predictions(scores, dollars)

    def told(price: float) -> dict[str, Any]:
        net = on_grid(scores) - dollars * (price * STEPS_PER_POINT)
        chosen = net.argmax(axis=1)
        return {"values": [float(scores[np.arange(len(scores)), chosen].mean())]}

    return lambda: multiplier_for_budget(given, float(budgets[0])), told


CONTENDERS = {"merge": merge, "session": session, "scipy": scipy, "multiplier": multiplier}


def contend(name: str, rows: int, choices: int, count: int) -> dict[str, Any]:
    """One contender in this process: the least of its repeats, and the process's peak memory."""
    given = tables(rows, choices)
    step, told = CONTENDERS[name](*given, budgets_of(*given, count))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times = []
    for _ in range(REPEATS.get(name, 1)):
        wall, processor = time.perf_counter(), time.process_time()
        found = step()
        times.append((time.perf_counter() - wall, time.process_time() - processor))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    walls, processors = zip(*times, strict=True)
    return {
        "wall_s": min(walls),
        "processor_s": min(processors),
        "peak_above_tables_gb": peak * 1024 / 1e9,
        **told(found),
    }


def in_own_process(name: str, size: tuple[int, int], count: int) -> dict[str, Any]:
    """One contender, in a process of its own, on one core."""
    words = [name, *map(str, size), str(count)]
    done = subprocess.run(  # noqa: S603 - ourselves
        [sys.executable, "-m", "benchmarks.frontiers", *words],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return dict(json.loads(done.stdout))


def compared(size: tuple[int, int], names: list[str], count: int, runs: int) -> dict[str, Any]:
    """All contenders at one size, in turn, so that a busy machine is busy for all of them."""
    told: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    loads = []
    for run in range(runs):
        loads.append(round(os.getloadavg()[0], 1))
        for name in names:
            if name != "scipy" or run < RUNS_OF_SCIPY:
                told[name].append(in_own_process(name, size, count))
    at_budgets = told["merge"][0]["values"]
    found: dict[str, Any] = {"rows": size[0], "choices": size[1]}
    for name in names:
        row = summary_of(told[name])
        if name != "merge":
            values = told[name][0]["values"]
            merged = at_budgets[:: SPARED if name == "scipy" else 1]
            missed = np.abs(np.subtract(values, merged)).max()
            row |= {"budgets": len(values), "worst_difference": float(f"{missed:.2g}")}
        found[name] = row
    ratio = "whole_frontier" if count > 1 else "one_budget"
    found["ratios"] = {
        f"{ratio}_{name}_to_merge": {
            clock: round(
                found[name][clock] / found["merge"][clock] * count / found[name]["budgets"], 1
            )
            for clock in ("wall_s", "processor_s")
        }
        for name in names
        if name != "merge"
    }
    print(size, {name: found[name]["processor_s"] for name in names}, found["ratios"], flush=True)
    return found | {"load_average_at_each_run": loads}


def summary_of(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over the runs of one contender, and from which to which seconds they went."""
    row: dict[str, Any] = {"runs": len(runs)}
    for clock in ("wall_s", "processor_s"):
        seconds = [run[clock] for run in runs]
        row[clock] = round(statistics.median(seconds), 6)
        row[f"{clock}_from_to"] = [round(min(seconds), 6), round(max(seconds), 6)]
    row["peak_above_tables_gb"] = round(max(run["peak_above_tables_gb"] for run in runs), 3)
    for name in ("steps", "duality_gap"):
        if name in runs[0]:
            row[name] = runs[0][name]
    return row


def grown(sizes: tuple[tuple[int, int], ...], axis: int) -> dict[str, Any]:
    """The merge at rising sizes, and the exponent at the large end."""
    rows = [
        {"rows": size[0], "choices": size[1], **summary_of([in_own_process("merge", size, 1)])}
        for size in sizes
    ]
    for row in rows:
        print(row, flush=True)
    large = [size[axis] for size in sizes[-3:]], [row["processor_s"] for row in rows[-3:]]
    return {"sizes": rows, "exponent": round(float(np.polyfit(*np.log(large), 1)[0]), 2)}


def main() -> None:
    """Time and write."""
    if len(sys.argv) > 1:
        rows, choices, count = map(int, sys.argv[2:])
        print(json.dumps(contend(sys.argv[1], rows, choices, count)))
        return
    peers = ["merge", "session", "scipy"]
    result = {
        "definitions": DEFINITIONS,
        "seed": SEED,
        "budgets": BUDGETS,
        "classes": [compared(size, peers, BUDGETS, RUNS) for size in CLASSES],
        "queries": [
            compared(size, ["merge", "multiplier", *(["scipy"] if size == SOLVED else [])], 1, RUNS)
            for size in QUERIES
        ],
        "growth_with_rows": grown(GROWTH_IN_ROWS, 0),
        "growth_with_choices": grown(GROWTH_IN_CHOICES, 1),
        "machine": {
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            **{name: version(name) for name in ("highspy", "numpy", "scipy")},
        },
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()

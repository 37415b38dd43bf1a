"""Plans of a given shape: our integer programme beside a plain one, each in a process of its own.

Made tables: strategies have a skill that their dollars grow with, classes a hardness, luck is on
top; the share of requests slower than the limit is drawn apart. The task: the fewest dollars at a
floor of the score and at most 5 % slow requests. Shapes: one strategy per class (with a floor for
every class besides), and at most 3 or 5 strategies in all. Contenders:

- "ours": `planner.integers.choosing.choose`, to a gap of 0.003 %;
- "plain": the same arrays, with strong links, through `scipy.optimize.milp` to the same gap;
- "careful": ours with the margins of measured numbers, which a plain programme does not take.

Building is left out. Values are in hundredths of the median cell's dollars.

    python -m benchmarks.integers
"""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import block_array, coo_array

from benchmarks.frontiers import profile_of
from planner.estimating.allocation import Accounts
from planner.estimating.estimates import TAIL, Estimates
from planner.integers.choosing import choose
from planner.integers.problem import Problem, Shape
from planner.limit_names import BY_CLASS, LATENCY, OVERALL
from planner.limits import LimitSet
from planner.planner import Planner
from planner.programme.margin import Margin
from planner.programme.model import Programme
from planner.programme.question import Question
from planner.spec import Spec
from profiles.errors import UnprovenError

RESULT = Path("benchmarks/results/integers.json")
SEEDS = (1, 2, 3)
GAP = 3e-5
JUDGED = 100_000
"""Requests that the promise is judged on, in "careful"."""


@dataclass(frozen=True)
class Case:
    """One size and shape, and the seconds of wall time that each contender has."""

    classes: int
    choices: int
    shape: Shape
    limit_s: float


CASES = {
    "one per class, 50 x 200": Case(50, 200, Shape(one_per_class=True), 15.0),
    "one per class, 200 x 500": Case(200, 500, Shape(one_per_class=True), 15.0),
    "at most 3, 50 x 200": Case(50, 200, Shape(at_most=3), 60.0),
    "at most 5, 50 x 200": Case(50, 200, Shape(at_most=5), 60.0),
}
DEFINITIONS = {
    "value": "of the best plan found, null for none; the objective, minimised.",
    "bound": "proven: no plan of that shape is below it; null for none.",
    "gap_percent": "of the value.",
    "seconds": "building left out; medians over the seeds.",
}


class World:
    """A made profile's numbers and programme.

    Args:
        case: Size and shape.
        seed: Of the tables.
        careful: Whether numbers count as measured, with margins.
    """

    def __init__(self, case: Case, seed: int, *, careful: bool) -> None:
        rng = np.random.default_rng(seed)
        shape = case.classes, case.choices
        skill = np.sort(rng.uniform(0.4, 0.95, case.choices))
        hardness = np.linspace(0.1, -0.25, case.classes)[:, None]
        scores = np.clip(skill + hardness + rng.normal(0, 0.05, shape), 0.03, 0.99)
        dollars = 1e-5 * np.exp(4 * skill + rng.normal(0, 0.2, shape)) * (1.6 - 4 * hardness)
        slow = np.round(rng.beta(1.0, 12.0, shape), 3)
        profile = profile_of(dollars, scores, rng.dirichlet(np.full(case.classes, 5.0)))
        cells = {
            (name, strategy): replace(
                profile.cell(name, strategy),
                exceeded=(round(1000 * slow[d, s]),),
                latency_observations=1000,
                latency_queries=1000,
            )
            for d, name in enumerate(profile.classes)
            for s, strategy in enumerate(profile.strategies)
        }
        spec: dict[str, Any] = {"format_version": "1.0", "workload": "made"}
        spec |= {} if careful else {"confidence": "none"}
        made = replace(profile, cells=cells, latency_grid_s=(1.0,))
        planner = Planner(made, Spec.model_validate(spec))
        self.numbers: Estimates = planner.estimates
        self.programme: Programme = planner.programme(LimitSet({LATENCY: 1.0}))
        accounts = Accounts(self.numbers, JUDGED if careful else None)
        self.margins: dict[str, Margin] = {}
        if careful:
            self.margins = {OVERALL: accounts.accuracy_margin, LATENCY: accounts.latency_margin(0)}
        floor = self._floor(0.6)
        limits = {OVERALL: floor, LATENCY: TAIL}
        if case.shape.one_per_class:
            limits |= self._class_floors()
        offsets = {OVERALL: accounts.judged_offset(floor)} if careful else {}
        self.question = Question("cost", limits, offsets)

    def _floor(self, part: float) -> float:
        """So far from the classes' mean scores to their best."""
        n = self.numbers
        of_class = [n.accuracy_careful[n.class_of == d] for d in range(len(n.classes))]
        mean, best = (
            float(n.weights @ [f(scores) for scores in of_class]) for f in (np.mean, np.max)
        )
        return part * best + (1 - part) * mean

    def _class_floors(self) -> dict[str, float]:
        """Three in ten strategies do not reach the floor of a class."""
        n = self.numbers
        return {
            BY_CLASS + name: float(np.quantile(n.accuracy_floor[n.class_of == d], 0.3))
            for d, name in enumerate(n.classes)
        }

    def problem(self, shape: Shape) -> Problem:
        """As our room reads it, without margins."""
        n = self.numbers
        return Problem(self.programme, {}, n.class_of, n.strategy_of, self.question, shape)


def ours(world: World, case: Case) -> dict[str, Any]:
    """Our answer."""
    n = world.numbers
    try:
        found = choose(
            world.programme,
            world.margins,
            n.class_of,
            n.strategy_of,
            n.columns,
            replace(world.question, until_s=time.monotonic() + case.limit_s),
            case.shape,
            gap=GAP,
        )
    except UnprovenError:
        return {"value": None, "bound": None, "proven": False}
    return {"value": found.value, "bound": found.bound, "proven": found.proven}


def plain(world: World, case: Case) -> dict[str, Any]:
    """The whole programme at once."""
    problem = world.problem(case.shape)
    body, lower, upper = problem.rows()
    costs, most = problem.costs(), problem.most()
    whole = np.arange(len(costs)) < (problem.columns if case.shape.one_per_class else 0)
    if case.shape.at_most is not None:
        n, count = problem.columns, int(problem.strategy_of.max()) + 1
        every = np.arange(n)
        x = coo_array((-np.ones(n), (every, every)), shape=(n, len(costs)))
        y = coo_array((np.ones(n), (every, problem.strategy_of)), shape=(n, count))
        body = block_array([[body, None], [x, y], [None, np.ones((1, count))]])
        lower = np.concatenate([lower, np.zeros(n), [-np.inf]])
        upper = np.concatenate([upper, np.full(n, np.inf), [case.shape.at_most]])
        costs, most = np.append(costs, np.zeros(count)), np.append(most, np.ones(count))
        whole = np.append(whole, np.ones(count))
    found = milp(
        costs,
        integrality=whole,
        bounds=Bounds(0.0, most),
        constraints=LinearConstraint(body, lower, upper),
        options={"time_limit": case.limit_s, "mip_rel_gap": GAP},
    )
    bound = found.mip_dual_bound
    return {
        "value": None if found.x is None else float(found.fun),
        "bound": float(bound) if bound is not None and math.isfinite(bound) else None,
        "proven": found.status == 0,
    }


def contend(name: str, case: Case, seed: int) -> dict[str, Any]:
    """One contender, in this process."""
    world = World(case, seed, careful=name == "careful")
    step = plain if name == "plain" else ours
    wall, processor = time.perf_counter(), time.process_time()
    found = step(world, case)
    found["processor_s"] = time.process_time() - processor
    found["wall_s"] = time.perf_counter() - wall
    if found["value"] is not None and found["bound"] is not None:
        found["gap_percent"] = 100 * (found["value"] - found["bound"]) / abs(found["value"])
    return found


def in_own_process(name: str, case: str, seed: int) -> dict[str, Any]:
    """One contender on one core."""
    words = [sys.executable, "-m", "benchmarks.integers", name, case, str(seed)]
    one_core = {**os.environ, "OMP_NUM_THREADS": "1"}
    out = subprocess.run(words, check=True, capture_output=True, env=one_core)  # noqa: S603
    found: dict[str, Any] = json.loads(out.stdout.splitlines()[-1])
    return {k: round(v, 6) if isinstance(v, float) else v for k, v in found.items()}


def compared(case: str) -> dict[str, Any]:
    """All contenders, seed by seed."""
    told: dict[str, list[dict[str, Any]]] = {"ours": [], "plain": [], "careful": []}
    for seed in SEEDS:
        for name, runs in told.items():
            runs.append(in_own_process(name, case, seed))
    found: dict[str, Any] = {}
    for name, runs in told.items():
        found[name] = {
            "processor_s": round(statistics.median(run["processor_s"] for run in runs), 3),
            "wall_s": round(statistics.median(run["wall_s"] for run in runs), 3),
            "proven": sum(run["proven"] for run in runs),
            "runs": runs,
        }
    seconds = found["plain"]["processor_s"] / found["ours"]["processor_s"]
    found["plain_times_ours_processor"] = round(seconds, 2)
    print(case, json.dumps(found), flush=True)
    return found


def main() -> None:
    """Time and write."""
    if len(sys.argv) == 4:
        print(json.dumps(contend(sys.argv[1], CASES[sys.argv[2]], int(sys.argv[3]))))
        return
    result = {
        "definitions": DEFINITIONS,
        "seeds": SEEDS,
        "gap": GAP,
        "limit_wall_s": {name: case.limit_s for name, case in CASES.items()},
        "cases": {name: compared(name) for name in CASES},
        "machine": {
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "load_average_at_the_end": round(os.getloadavg()[0], 1),
            "python": platform.python_version(),
            **{name: version(name) for name in ("highspy", "numpy", "scipy")},
        },
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()

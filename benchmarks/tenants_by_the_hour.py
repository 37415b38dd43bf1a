"""One plan for ten tenants over the hours of a day, beside HiGHS by hand, scipy, cvxpy and linopy.

Made tables (`benchmarks.resolve.Tables`): 5 classes, 20 strategies. Every hour of every tenant is a
part of the traffic, a `tenants` entry of the spec, with its share by the shape of the tenant's day,
a class mix and a floor on accuracy of its own: 240 parts, 24,000 columns. One limit on spend holds
over all of them together, so no part can be planned alone. The task: the highest score under 101
budgets in rising order; the first is the plan from nothing, the others are re-solved. Point
estimates, so that all solve the same linear programme. Each contender in a process of its own:

- "planner": `planner.planner.Planner.answer`: ties decided by dollars, shares tidied, prices named;
- "session": `planner.programme.session.Session`, what the planner asks: the optimum alone;
- "by_hand": highspy written by hand, kept warm, only the bound of a row moves;
- "linprog" and "milp": of `scipy.optimize`, on sparse arrays, anew for every tenth budget;
- "cvxpy" (a parameter, solved by HiGHS) and "linopy" (a right-hand side), every tenth;
  only with ``--peers PYTHON``, an interpreter that has them and highspy.

Then "certified", the planner alone: the same floors promised at 0.95 to all parts together.

    python -m benchmarks.tenants_by_the_hour [--peers PYTHON]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, linprog, milp
from scipy.sparse import csr_array, kron, vstack

from benchmarks.resolve import Tables

Array = NDArray[np.float64]

RESULT = Path("benchmarks/results/tenants_by_the_hour.json")
SEED = 24
BUDGETS = 101
SPARED = 10
EVERY_BUDGET = ("planner", "session", "by_hand")
PEERS = ("cvxpy", "linopy")
ENDS = "ends"
LONGEST_S = 60.0
FLOORS = (0.3, 0.6)
"""Shares of the way from a part's cheapest allocation's score to its best one's."""

REQUESTS = 5_000_000
"""Of a day, in the certified question."""

CERTIFIED = 11
"""Budgets of it, in the dearer half."""

DEFINITIONS = {
    "first": "from tables (ours: profile and spec) in memory to the first answer, imports left "
    "out; our planner's has the figures of every part as well.",
    "again": "all further budgets that the contender solved, once.",
    "per_budget_ms": "milliseconds per further budget, of one processor and by the wall.",
    "times_planner": "processor seconds over those of 'planner'; first answer and further budgets.",
    "worst_difference": "largest difference in score to 'by_hand' at the same budgets.",
    "peak_above_tables_mb": "the process's peak memory less that with the tables made, so with the "
    "contender's own libraries.",
    "load": "load average when the contender began and ended.",
    "certified": "confidence 0.95, traffic given, budgets in the dearer half.",
}

Solve = Callable[[float], float]
"""From a budget to the score."""


@dataclass(frozen=True)
class Size:
    """How large a day is."""

    tenants: int = 10
    hours: int = 24
    classes: int = 5
    strategies: int = 20

    @classmethod
    def of(cls, text: str) -> Size:
        """From ``10x24x5x20``."""
        return cls(*map(int, text.split("x")))

    def __str__(self) -> str:
        """As it is read."""
        return f"{self.tenants}x{self.hours}x{self.classes}x{self.strategies}"


class Day:
    """One made problem in numbers near 1.

    Attributes:
        table: Dollars and scores per class and strategy.
        shares: Share of all requests per part, shape (parts,); adds up to 1.
        mixes: Share per class of its requests, shape (parts, classes).
        floors: On its mean score, shape (parts,).
    """

    def __init__(self, size: Size) -> None:
        rng = np.random.default_rng(SEED)
        self.table = Tables(size.classes, size.strategies)
        tenants = rng.dirichlet(np.full(size.tenants, 3.0))
        peaks = rng.uniform(9, 21, size.tenants)[:, None]
        shape = 1 + 0.8 * np.cos((np.arange(size.hours) - peaks) * 2 * np.pi / size.hours)
        self.shares = (tenants[:, None] * shape / shape.sum(axis=1, keepdims=True)).ravel()
        kept = np.repeat(rng.dirichlet(np.full(size.classes, 3.0), size.tenants), size.hours, 0)
        moved = rng.dirichlet(np.full(size.classes, 3.0), size.tenants * size.hours)
        self.mixes = 0.7 * kept + 0.3 * moved
        scores, cheapest = self.table.scores, self.table.dollars.argmin(axis=1)
        low = self.mixes @ scores[np.arange(size.classes), cheapest]
        high = self.mixes @ scores.max(axis=1)
        self.floors = low + rng.uniform(*FLOORS, len(low)) * (high - low)

    @cached_property
    def cost(self) -> Array:
        """Dollars per column: part, then class, then strategy."""
        return self._spread(self.shares[:, None] * self.mixes, self.table.dollars)

    @cached_property
    def worth(self) -> Array:
        """Score per column."""
        return self._spread(self.shares[:, None] * self.mixes, self.table.scores)

    @cached_property
    def ones(self) -> Any:
        """Shares of a part's class add up to 1."""
        classes, strategies = self.table.scores.shape
        return csr_array(kron(np.eye(len(self.floors) * classes), np.ones((1, strategies))))

    @cached_property
    def scored(self) -> Any:
        """Mean score of every part."""
        values = self._spread(self.mixes, self.table.scores)
        part = np.repeat(np.arange(len(self.floors)), self.table.scores.size)
        return csr_array((values, (part, np.arange(len(values)))))

    @cached_property
    def bounded(self) -> Any:
        """Sparse rows of what has a bound: the mean score of every part, then dollars of all."""
        return csr_array(vstack([self.scored, csr_array(self.cost[None])]))

    def ends(self) -> tuple[float, float]:
        """Dollars of the cheapest allocation that keeps the floors, and of the best one."""
        found: list[Any] = [
            linprog(costs, -self.scored, -self.floors, self.ones, np.ones(self.ones.shape[0])).x
            for costs in (self.cost, -self.worth)
        ]
        return float(self.cost @ found[0]), float(self.cost @ found[1])

    @staticmethod
    def _spread(parts: Array, table: Array) -> Array:
        return np.asarray((parts[:, :, None] * table).ravel())


def question(day: Day, **more: Any) -> tuple[Any, Any]:
    """The same numbers as a profile and a spec."""
    from benchmarks.frontiers import profile_of  # noqa: PLC0415 - peers have no planner
    from planner.spec import Spec  # noqa: PLC0415

    profile = profile_of(day.table.dollars, day.table.scores, day.table.weights)
    parts = zip(day.shares.tolist(), day.mixes.tolist(), day.floors.tolist(), strict=True)
    spec = Spec.model_validate(
        {
            "format_version": "1.0",
            "workload": "made",
            "objective": "maximize accuracy",
            "tenants": {
                f"p{number:03d}": {
                    "share": share,
                    "mix": dict(zip(profile.classes, mix, strict=True)),
                    "accuracy": {"overall": floor},
                }
                for number, (share, mix, floor) in enumerate(parts)
            },
            **more,
        }
    )
    return profile, spec


def planner(day: Day, **more: Any) -> Callable[[], Solve]:
    """The planner's own answers; the first one with all its figures."""
    from planner.planner import Planner  # noqa: PLC0415 - peers have no planner

    profile, spec = question(day, **{"confidence": "none", **more})

    def build() -> Solve:
        asked = Planner(profile, spec)
        solved: list[float] = []

        def solve(budget: float) -> float:
            limits = asked.limits.moved("spend.usd_per_request", budget)
            answer = asked.answer(spec.objective, limits)
            if not solved:
                asked.rung(answer, spec.objective)
            solved.append(answer.value)
            return solved[-1]

        return solve

    return build


def certified(day: Day) -> Callable[[], Solve]:
    """The same with promises."""
    return planner(day, confidence=0.95, traffic={"requests": REQUESTS, "per": "day"})


def session(day: Day) -> Callable[[], Solve]:
    """What the planner asks of the solver."""
    from planner.limit_names import OVERALL, SPEND, of_tenant  # noqa: PLC0415 - as above
    from planner.planner import Planner  # noqa: PLC0415
    from planner.programme.model import OBJECTIVE_SCALE, cost_unit  # noqa: PLC0415
    from planner.programme.question import Question  # noqa: PLC0415
    from planner.programme.session import Session  # noqa: PLC0415

    profile, spec = question(day, confidence="none")
    floors = {
        of_tenant(name, OVERALL): floor
        for name, floor in zip(spec.tenants, day.floors.tolist(), strict=True)
    }

    def build() -> Solve:
        asked = Planner(profile, spec)
        unit = cost_unit(asked.estimates)
        warm = Session(asked.programme(asked.limits), {}, len(day.cost))

        def solve(budget: float) -> float:
            now = Question("accuracy", {SPEND: budget / unit, **floors}, {})
            return -float(warm.solve(now).value) / OBJECTIVE_SCALE

        return solve

    return build


def by_hand(day: Day) -> Callable[[], Solve]:
    """Warm: one bound moves, simplex goes on from the last basis."""
    import highspy  # noqa: PLC0415 - not beside other solvers

    def build() -> Solve:
        matrix = csr_array(vstack([day.ones, day.bounded]))
        ones, last = np.ones(day.ones.shape[0]), matrix.shape[0] - 1
        highs = highspy.Highs()
        highs.setOptionValue("output_flag", False)
        highs.setOptionValue("threads", 1)
        lp = highspy.HighsLp()
        lp.num_row_, lp.num_col_ = matrix.shape
        lp.col_cost_ = -100 * day.worth
        lp.col_lower_ = np.zeros(matrix.shape[1])
        lp.col_upper_ = np.full(matrix.shape[1], highspy.kHighsInf)
        lp.row_lower_ = np.concatenate([ones, day.floors, [-highspy.kHighsInf]])
        lp.row_upper_ = np.concatenate([ones, np.full(len(day.floors) + 1, highspy.kHighsInf)])
        lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        lp.a_matrix_.start_ = matrix.indptr
        lp.a_matrix_.index_ = matrix.indices
        lp.a_matrix_.value_ = matrix.data
        highs.passModel(lp)

        def solve(budget: float) -> float:
            highs.changeRowBounds(last, -highspy.kHighsInf, budget)
            highs.run()
            found = highs.getSolution()
            x, _ = np.array(found.col_value), np.array(found.row_dual)
            return float(day.worth @ x)

        return solve

    return build


def by_linprog(day: Day) -> Callable[[], Solve]:
    """One programme per budget."""

    def build() -> Solve:
        signs = np.append(np.full(len(day.floors), -1.0), 1.0)
        rows, ones = day.bounded.multiply(signs[:, None]).tocsr(), np.ones(day.ones.shape[0])

        def solve(budget: float) -> float:
            limits = np.append(-day.floors, budget)
            found: Any = linprog(-day.worth, rows, limits, day.ones, ones)
            return -float(found.fun)

        return solve

    return build


def by_milp(day: Day) -> Callable[[], Solve]:
    """The same through `scipy.optimize.milp`, without integers."""

    def build() -> Solve:
        matrix = csr_array(vstack([day.ones, day.bounded]))
        ones, free = np.ones(day.ones.shape[0]), np.full(len(day.floors), np.inf)

        def solve(budget: float) -> float:
            low = np.concatenate([ones, day.floors, [-np.inf]])
            limits = LinearConstraint(matrix, low, np.concatenate([ones, free, [budget]]))
            found = milp(-day.worth, constraints=limits, bounds=Bounds(0, np.inf))
            return float(day.worth @ np.asarray(found.x))

        return solve

    return build


def by_cvxpy(day: Day) -> Callable[[], Solve]:
    """A parameter, compiled once."""
    cvxpy = import_module("cvxpy")

    def build() -> Solve:
        x = cvxpy.Variable(len(day.cost), nonneg=True)
        limit = cvxpy.Parameter(nonneg=True)
        kept = [day.ones @ x == 1, day.scored @ x >= day.floors, day.cost @ x <= limit]
        problem = cvxpy.Problem(cvxpy.Maximize(day.worth @ x), kept)

        def solve(budget: float) -> float:
            limit.value = budget
            return float(problem.solve(solver=cvxpy.HIGHS))

        return solve

    return build


def by_linopy(day: Day) -> Callable[[], Solve]:
    """A right-hand side of a model that is built once."""
    linopy, pd, xr = (import_module(name) for name in ("linopy", "pandas", "xarray"))

    shape = (len(day.floors), *day.table.scores.shape)
    names = {d: pd.RangeIndex(n, name=d) for d, n in zip("pds", shape, strict=True)}

    def build() -> Solve:
        model = linopy.Model()
        x = model.add_variables(lower=0, coords=list(names.values()), name="x")

        def of(numbers: Array) -> Any:
            return xr.DataArray(numbers.reshape(shape), coords=names, dims=list(names))

        scored = of(np.asarray(day.scored.data))
        floors = xr.DataArray(day.floors, coords={"p": names["p"]}, dims=["p"])
        model.add_constraints(x.sum("s") == 1, name="one")
        model.add_constraints((scored * x).sum(["d", "s"]) >= floors, name="floors")
        spend = model.add_constraints((of(day.cost) * x).sum() <= 1.0, name="spend")
        model.add_objective((of(day.worth) * x).sum(), sense="max")

        def solve(budget: float) -> float:
            spend.update(rhs=budget)
            model.solve(solver_name="highs", io_api="direct", output_flag=False, progress=False)
            return float(model.objective.value)

        return solve

    return build


CONTENDERS: dict[str, Callable[[Day], Callable[[], Solve]]] = {
    "planner": planner,
    "session": session,
    "by_hand": by_hand,
    "linprog": by_linprog,
    "milp": by_milp,
    "cvxpy": by_cvxpy,
    "linopy": by_linopy,
    "certified": certified,
}


def budgets_of(name: str, low: float, high: float) -> Array:
    """The budgets of one contender, in rising order."""
    if name == "certified":
        return np.geomspace(np.sqrt(low * high), high, CERTIFIED + 1)[:-1]
    every = np.geomspace(low, high, BUDGETS + 2)[1:-1]
    return every[:: 1 if name in EVERY_BUDGET else SPARED]


def contend(name: str, size: Size, low: float, high: float) -> dict[str, Any]:
    """One contender's budgets, in this process."""
    day, load = Day(size), os.getloadavg()[0]
    before = _peak_mb()
    build, budgets = CONTENDERS[name](day), budgets_of(name, low, high)
    values: list[float] = []
    wall, processor = time.perf_counter(), time.process_time()
    solve = build()
    values.append(solve(float(budgets[0])))
    first = _spent(wall, processor)
    wall, processor = time.perf_counter(), time.process_time()
    for budget in budgets[1:]:
        values.append(solve(float(budget)))
        if time.perf_counter() - wall > LONGEST_S:
            break
    return {
        "first": first,
        "again": {"budgets": len(values) - 1, **_spent(wall, processor)},
        "peak_above_tables_mb": round(_peak_mb() - before, 1),
        "load": [round(load, 1), round(os.getloadavg()[0], 1)],
        "values": values,
    }


def in_own_process(name: str, size: Size, ends: Sequence[float], python: str) -> Any:
    """One contender in a process of its own on one core, its memory apart from ours."""
    words = ["--one", name, "--size", str(size)]
    words += ["--between", *map(repr, ends)] if ends else []
    done = subprocess.run(  # noqa: S603 - ourselves
        [python, "-m", "benchmarks.tenants_by_the_hour", *words],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return json.loads(done.stdout.splitlines()[-1])


def told(name: str, run: dict[str, Any], of_hand: dict[str, Any]) -> dict[str, Any]:
    """A contender's figures, its values against those by hand."""
    again = run["again"]
    found = {key: value for key, value in run.items() if key != "values"}
    found["per_budget_ms"] = {
        clock: round(1e3 * again[f"{clock}_s"] / max(again["budgets"], 1), 3)
        for clock in ("processor", "wall")
    }
    if name != "certified":
        same = of_hand["values"][:: 1 if name in EVERY_BUDGET else SPARED][: len(run["values"])]
        apart = np.abs(np.subtract(run["values"][: len(same)], same)).max()
        found["worst_difference"] = float(f"{apart:.2g}")
    return found


def compared(size: Size, peers: str | None) -> dict[str, Any]:
    """All contenders at one size, in turn."""
    ends = in_own_process(ENDS, size, (), sys.executable)
    names = [name for name in CONTENDERS if peers or name not in PEERS]
    runs = {}
    for name in names:
        python = peers if peers and name in PEERS else sys.executable
        runs[name] = in_own_process(name, size, ends, python)
    found: dict[str, Any] = {name: told(name, runs[name], runs["by_hand"]) for name in names}
    own = found["planner"]
    found["times_planner"] = {
        name: {
            "first": round(found[name]["first"]["processor_s"] / own["first"]["processor_s"], 3),
            "again": round(
                found[name]["per_budget_ms"]["processor"] / own["per_budget_ms"]["processor"], 3
            ),
        }
        for name in names
        if name != "certified"
    }
    return found


def _spent(wall: float, processor: float) -> dict[str, float]:
    return {
        "processor_s": round(time.process_time() - processor, 4),
        "wall_s": round(time.perf_counter() - wall, 4),
    }


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def main() -> None:
    """Time and write."""
    chosen = _arguments()
    if chosen.one == ENDS:
        print(json.dumps(Day(chosen.size).ends()))
        return
    if chosen.one:
        print(json.dumps(contend(chosen.one, chosen.size, *chosen.between)))
        return
    size: Size = chosen.size
    found = compared(size, chosen.peers)
    for name, figures in found.items():
        print(name, figures, flush=True)
    result = {
        "definitions": DEFINITIONS,
        "seed": SEED,
        "command": "python -m benchmarks.tenants_by_the_hour --peers PYTHON",
        "size": vars(size)
        | {
            "parts": size.tenants * size.hours,
            "columns": size.tenants * size.hours * size.classes * size.strategies,
        },
        **found,
        "machine": {
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            **{name: version(name) for name in ("highspy", "numpy", "scipy", "pyomo")},
            **(_versions(chosen.peers) if chosen.peers else {}),
        },
    }
    chosen.out.write_text(json.dumps(result, indent=2) + "\n")


def _versions(python: str) -> dict[str, str]:
    code = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"
    done = subprocess.run(  # noqa: S603 - the interpreter that was named
        [python, "-c", code, *PEERS], check=True, stdout=subprocess.PIPE, text=True
    )
    return dict(zip(PEERS, done.stdout.split(), strict=True))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tenants_by_the_hour")
    parser.add_argument("--peers", metavar="PYTHON", help="interpreter with cvxpy and linopy")
    parser.add_argument("--size", type=Size.of, default=Size(), metavar="10x24x5x20")
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--one", choices=(ENDS, *CONTENDERS), help=argparse.SUPPRESS)
    parser.add_argument("--between", type=float, nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()

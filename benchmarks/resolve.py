"""Re-solving for a moved limit: our planner beside HiGHS by hand, scipy, cvxpy and linopy.

Made tables (`benchmarks.frontiers.tables`, and shares of slow requests) on point estimates. The
task: the highest score under a spend limit, at most 5 % slow requests, for 100 budgets in rising
order. The row about latency couples classes, so no frontier of hulls answers it. Contenders, each
in a process of its own, building left out:

- "session": `planner.programme.session.Session`, what the planner itself asks; it sifts columns;
- "whole": the same with all columns held, as for small profiles;
- "answer": `planner.planner.Planner.answer`: ties decided by dollars, shares tidied, prices named;
- "by_hand": highspy written by hand, kept warm, only the bound of a row moves;
- "linprog" and "milp": of `scipy.optimize`, anew for every twentieth budget;
- "cvxpy" (a parameter, solved by HiGHS) and "linopy" (a right-hand side), every twentieth;
  only with ``--peers PYTHON``, an interpreter that has them and highspy.

Then limits that clash: `LimitsClashError` with its menu, beside HiGHS's irreducible infeasible
subset of the same programme.

    python -m benchmarks.resolve [--peers PYTHON]
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, linprog, milp
from scipy.sparse import csr_array, vstack

RESULT = Path("benchmarks/results/resolve.json")
SEED = 11
BUDGETS = 100
SPARED = 20
TAIL = 0.05
SIZES = ((10, 50), (50, 200), (200, 500))
CLASH = (50, 200)
RUNS = {"session": 2, "whole": 1, "answer": 1, "by_hand": 2}
PEERS = ("cvxpy", "linopy")
LONGEST_S = 60.0
DEFINITIONS = {
    "processor_s": "of all budgets that the contender solved, building left out; medians.",
    "per_budget_ms": "processor milliseconds per budget.",
    "times_session": "processor seconds per budget over those of 'session'.",
    "worst_difference": "largest difference in score to 'by_hand' at the same budgets.",
    "clash": "one infeasible question: a floor 90 % of the way to the best score, dollars 5 % "
    "above the least, few slow requests. Median processor seconds; 'iis' is one run, stopped "
    f"after {LONGEST_S:g} s of wall time.",
}

Solve = Callable[[float], float]
"""From a budget to the score."""


class Tables:
    """One made problem in numbers near 1.

    Attributes:
        dollars: Shape (classes, choices), of the median cell.
        scores: The same shape, 0..1.
        slow: Share of requests beyond the latency limit, thousandths.
        weights: Share of traffic per class.
    """

    def __init__(self, classes: int, choices: int) -> None:
        rng = np.random.default_rng(SEED)
        dollars = rng.lognormal(0, 1.2, (classes, choices))
        self.dollars = dollars
        self.scores = (rng.uniform(0, 1, dollars.shape) + dollars / (dollars + 1)) / 2
        self.slow = np.round(rng.beta(1.0, 8.0, dollars.shape), 3)
        self.weights = rng.dirichlet(np.full(classes, 5.0))
        share = np.repeat(self.weights, choices)
        self.cost, self.worth = share * dollars.ravel(), share * self.scores.ravel()
        self.late = share * self.slow.ravel()
        of_class, every = np.repeat(np.arange(classes), choices), np.arange(dollars.size)
        self.ones = csr_array((np.ones(dollars.size), (of_class, every)))

    def cheapest(self) -> float:
        """The least dollars that keep the latency limit."""
        return float(self._best(self.cost).fun)

    def budgets(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Between the cheapest allocation and that of the best scores."""
        best = self._best(-self.worth)
        return np.geomspace(self.cheapest(), self.cost @ best.x, BUDGETS + 2)[1:-1]

    def floor(self) -> float:
        """Nine tenths of the way from the cheapest allocation's score to the best."""
        low, high = self.worth @ self._best(self.cost).x, -self._best(-self.worth).fun
        return float(0.1 * low + 0.9 * high)

    def _best(self, costs: Any) -> Any:
        return linprog(
            costs, csr_array(self.late[None]), [TAIL], self.ones, np.ones(len(self.weights))
        )


def _planner(given: Tables) -> Any:
    """Our planner over the same numbers, and dollars per unit of the tables."""
    from benchmarks.frontiers import profile_of  # noqa: PLC0415 - peers have no planner
    from planner.planner import Planner  # noqa: PLC0415
    from planner.spec import Spec  # noqa: PLC0415

    bare = profile_of(given.dollars, given.scores, given.weights)
    cells = {
        (name, strategy): replace(
            cell,
            exceeded=(round(1000 * given.slow[d, s]),),
            latency_observations=1000,
            latency_queries=1000,
        )
        for d, name in enumerate(bare.classes)
        for s, strategy in enumerate(bare.strategies)
        for cell in [bare.cells[name, strategy]]
    }
    spec = Spec.model_validate(
        {
            "format_version": "1.0",
            "workload": "made",
            "confidence": "none",
            "objective": "maximize accuracy",
            "limits": {"latency": {"p95_s": 1.0}},
        }
    )
    return Planner(replace(bare, cells=cells, latency_grid_s=(1.0,)), spec)


def answer(given: Tables) -> Solve:
    """The planner's own answers."""
    planner = _planner(given)
    objective = planner.spec.objective
    planner.answer(objective, planner.limits)

    def solve(budget: float) -> float:
        limits = planner.limits.moved("spend.usd_per_request", budget)
        return float(planner.answer(objective, limits).value)

    return solve


def session(given: Tables, whole: int | None = None) -> Solve:
    """What the planner asks of the solver."""
    from planner.limit_names import LATENCY, SPEND  # noqa: PLC0415 - peers have no planner
    from planner.limits import LimitSet  # noqa: PLC0415
    from planner.programme.model import OBJECTIVE_SCALE, cost_unit  # noqa: PLC0415
    from planner.programme.question import Question  # noqa: PLC0415
    from planner.programme.session import Session  # noqa: PLC0415

    planner = _planner(given)
    numbers = planner.estimates
    programme = planner.programme(LimitSet({LATENCY: numbers.grid_s[0]}))
    unit = cost_unit(numbers)
    most = {} if whole is None else {"whole": whole}
    warm = Session(programme, {}, numbers.columns, **most)

    def solve(budget: float) -> float:
        asked = Question("accuracy", {SPEND: budget / unit, LATENCY: TAIL}, {})
        return -float(warm.solve(asked).value) / OBJECTIVE_SCALE

    return solve


def whole(given: Tables) -> Solve:
    """The same, with all columns held."""
    return session(given, whole=10**9)


def _by_hand(given: Tables) -> Any:
    """The programme in highspy: rows of classes, then latency, then spend."""
    import highspy  # noqa: PLC0415 - not beside other solvers

    matrix = csr_array(vstack([given.ones, given.late[None], given.cost[None]]))
    highs = highspy.Highs()
    highs.setOptionValue("output_flag", False)
    highs.setOptionValue("threads", 1)
    lp = highspy.HighsLp()
    lp.num_row_, lp.num_col_ = matrix.shape
    lp.col_cost_ = -100 * given.worth
    lp.col_lower_ = np.zeros(matrix.shape[1])
    lp.col_upper_ = np.full(matrix.shape[1], highspy.kHighsInf)
    lp.row_lower_ = np.append(np.ones(len(given.weights)), [-highspy.kHighsInf] * 2)
    lp.row_upper_ = np.append(np.ones(len(given.weights)), [TAIL, highspy.kHighsInf])
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.start_ = matrix.indptr
    lp.a_matrix_.index_ = matrix.indices
    lp.a_matrix_.value_ = matrix.data
    highs.passModel(lp)
    return highs


def by_hand(given: Tables) -> Solve:
    """Warm: one bound moves, simplex goes on from the last basis."""
    import highspy  # noqa: PLC0415 - not beside other solvers

    highs, row = _by_hand(given), len(given.weights) + 1

    def solve(budget: float) -> float:
        highs.changeRowBounds(row, -highspy.kHighsInf, budget)
        highs.run()
        found = highs.getSolution()
        x, _ = np.array(found.col_value), np.array(found.row_dual)
        return float(given.worth @ x)

    return solve


def by_linprog(given: Tables) -> Solve:
    """One programme per budget."""
    rows = csr_array(np.stack([given.late, given.cost]))

    def solve(budget: float) -> float:
        ones = np.ones(len(given.weights))
        return -float(linprog(-given.worth, rows, [TAIL, budget], given.ones, ones).fun)

    return solve


def by_milp(given: Tables) -> Solve:
    """The same through `scipy.optimize.milp`, without integers."""
    matrix = csr_array(vstack([given.ones, given.late[None], given.cost[None]]))
    ones = np.ones(len(given.weights))

    def solve(budget: float) -> float:
        low, high = np.append(ones, [-np.inf] * 2), np.append(ones, [TAIL, budget])
        limits = LinearConstraint(matrix, low, high)
        found = milp(-given.worth, constraints=limits, bounds=Bounds(0, np.inf))
        return float(given.worth @ np.asarray(found.x))

    return solve


def by_cvxpy(given: Tables) -> Solve:
    """A parameter, compiled once."""
    cvxpy = import_module("cvxpy")

    x = cvxpy.Variable(len(given.cost), nonneg=True)
    limit = cvxpy.Parameter(nonneg=True)
    kept = [given.ones @ x == 1, given.late @ x <= TAIL, given.cost @ x <= limit]
    problem = cvxpy.Problem(cvxpy.Maximize(given.worth @ x), kept)

    def solve(budget: float) -> float:
        limit.value = budget
        return float(problem.solve(solver=cvxpy.HIGHS))

    solve(float(given.cheapest()) * 2)
    return solve


def by_linopy(given: Tables) -> Solve:
    """A right-hand side of a model that is built once."""
    linopy, pd, xr = (import_module(name) for name in ("linopy", "pandas", "xarray"))

    classes, choices = given.dollars.shape
    names = {"d": pd.RangeIndex(classes, name="d"), "s": pd.RangeIndex(choices, name="s")}
    model = linopy.Model()
    x = model.add_variables(lower=0, coords=list(names.values()), name="x")

    def of(numbers: Any) -> Any:
        return xr.DataArray(numbers.reshape(classes, choices), coords=names, dims=["d", "s"])

    model.add_constraints(x.sum("s") == 1, name="one")
    model.add_constraints((of(given.late) * x).sum() <= TAIL, name="late")
    spend = model.add_constraints((of(given.cost) * x).sum() <= 1.0, name="spend")
    model.add_objective((of(given.worth) * x).sum(), sense="max")

    def solve(budget: float) -> float:
        spend.update(rhs=budget)
        model.solve(solver_name="highs", io_api="direct", output_flag=False, progress=False)
        return float(model.objective.value)

    return solve


CONTENDERS: dict[str, Callable[[Tables], Solve]] = {
    "session": session,
    "whole": whole,
    "answer": answer,
    "by_hand": by_hand,
    "linprog": by_linprog,
    "milp": by_milp,
    "cvxpy": by_cvxpy,
    "linopy": by_linopy,
}


def contend(name: str, given: Tables) -> dict[str, Any]:
    """One contender's budgets, in this process."""
    budgets = given.budgets()[:: 1 if name in RUNS else SPARED]
    solve = CONTENDERS[name](given)
    wall, processor = time.perf_counter(), time.process_time()
    values = [solve(float(budget)) for budget in budgets]
    return {
        "wall_s": time.perf_counter() - wall,
        "processor_s": time.process_time() - processor,
        "values": values,
    }


def explained(given: Tables) -> dict[str, Any]:
    """An infeasible question to our planner, three times anew: building left out."""
    from planner.explain import LimitsClashError  # noqa: PLC0415 - peers have no planner

    planner = _planner(given)
    planner.answer(planner.spec.objective, planner.limits)
    floor, usd, times = given.floor(), 1.05 * given.cheapest(), []
    said: dict[str, Any] = {}
    for part in (1.0, 0.999, 0.998):
        start = time.process_time()
        try:
            planner.solve(accuracy=floor * part, usd_per_request=usd)
        except LimitsClashError as error:
            said = {"clashing": list(error.clashing), "menu": sorted(error.menu)}
        times.append(time.process_time() - start)
    return {"processor_s": statistics.median(times), **said}


def irreducible(given: Tables) -> dict[str, Any]:
    """HiGHS's irreducible infeasible subset of the same programme."""
    import highspy  # noqa: PLC0415 - not beside other solvers

    highs = _by_hand(given)
    every = np.arange(len(given.worth), dtype=np.int32)
    highs.addRow(given.floor(), highspy.kHighsInf, len(every), every, given.worth)
    spend = len(given.weights) + 1
    highs.changeRowBounds(spend, -highspy.kHighsInf, 1.05 * given.cheapest())
    highs.changeColsCost(len(every), every, np.zeros(len(every)))
    highs.setOptionValue("iis_strategy", int(highspy.IisStrategy.kIisStrategyIrreducible))
    start = time.process_time()
    _, found = highs.getIis()
    row_count, column_count = len(found.row_index_), len(found.col_index_)
    spent = time.process_time() - start
    return {"processor_s": spent, "rows": row_count, "columns": column_count}


def in_own_process(name: str, size: tuple[int, int], python: str = sys.executable) -> Any:
    """One contender in a process of its own on one core; its seconds where it took too long."""
    words = [python, "-m", "benchmarks.resolve", name, *map(str, size)]
    before = os.times().children_user + os.times().children_system
    with tempfile.TemporaryFile("w+") as out:
        try:
            subprocess.run(  # noqa: S603 - ourselves
                words,
                check=True,
                stdout=out,
                timeout=LONGEST_S if name == "iis" else None,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
        except subprocess.TimeoutExpired:
            spent = os.times().children_user + os.times().children_system - before
            return {"processor_s": spent, "stopped_after_wall_s": LONGEST_S}
        out.seek(0)
        return json.loads(out.read().splitlines()[-1])


def compared(size: tuple[int, int], peers: str | None) -> dict[str, Any]:
    """All contenders at one size, in turn."""
    names = [name for name in CONTENDERS if name not in PEERS]
    names += PEERS if peers and size == CLASH else ()
    told: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for run in range(max(RUNS.values())):
        for name in names:
            if run < RUNS.get(name, 1):
                python = peers if peers and name in PEERS else sys.executable
                told[name].append(in_own_process(name, size, python))
    by_hand_values = told["by_hand"][0]["values"]
    found: dict[str, Any] = {"classes": size[0], "choices": size[1]}
    for name, runs in told.items():
        values = runs[0]["values"]
        apart = np.abs(np.subtract(values, by_hand_values[:: 1 if name in RUNS else SPARED])).max()
        seconds = statistics.median(run["processor_s"] for run in runs)
        found[name] = {
            "runs": len(runs),
            "budgets": len(values),
            "processor_s": round(seconds, 4),
            "processor_s_of_runs": [round(run["processor_s"], 4) for run in runs],
            "wall_s": round(statistics.median(run["wall_s"] for run in runs), 4),
            "per_budget_ms": round(1e3 * seconds / len(values), 3),
            "worst_difference": float(f"{apart:.2g}"),
        }
    own = found["session"]["per_budget_ms"]
    found["times_session"] = {name: round(found[name]["per_budget_ms"] / own, 2) for name in names}
    print(
        size, found["times_session"], {n: found[n]["worst_difference"] for n in names}, flush=True
    )
    return found


def clash() -> dict[str, Any]:
    """Limits that cannot hold together, explained twice."""
    ours, theirs = (in_own_process(name, CLASH) for name in ("explained", "iis"))
    ratio = round(theirs["processor_s"] / ours["processor_s"], 1)
    found = {
        "explained": ours,
        "iis": theirs,
        "iis_times_explained": ratio,
        "iis_proved": "stopped_after_wall_s" not in theirs,
    }
    print(found, flush=True)
    return found


def main() -> None:
    """Time and write."""
    if len(sys.argv) == 4:
        name, given = sys.argv[1], Tables(*map(int, sys.argv[2:]))
        steps = {"explained": explained, "iis": irreducible}
        print(json.dumps(steps[name](given) if name in steps else contend(name, given)))
        return
    peers = sys.argv[2] if sys.argv[1:2] == ["--peers"] else None
    result = {
        "definitions": DEFINITIONS,
        "seed": SEED,
        "clash": clash(),
        "sweeps": [compared(size, peers) for size in SIZES],
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

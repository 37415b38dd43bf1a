"""Adaptive against uniform measuring: paid queries until the same certified plan cost.

Replayed from recorded outcomes, so only what a run has paid for is visible to it. A run draws its
own random order of the queries of every class. Uniform measuring asks every strategy the same half
of the recorded queries; adaptive measuring starts with ten queries of every cell and pays for what
is worth most to the plan. Compared are means over runs at equal numbers of paid queries.
"""

from __future__ import annotations

import csv
import json
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import duckdb
import numpy as np
from numpy.typing import NDArray

from planner.adaptive import WARM_UP, Batch, next_batches
from planner.planner import Planner
from planner.spec import Spec
from profiles.errors import InfeasibleError
from profiles.profile import Cell, Profile

RESULT = Path("benchmarks/results/adaptive_measuring.json")
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
DEMO = Path("demo/out/profiles.duckdb")
RUNS = 30
UNIFORM_SHARE = 0.5
PER: tuple[Literal["query", "usd"], ...] = ("query", "usd")
REQUESTS = 10_000_000
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Recorded:
    """Outcomes of every query under every strategy.

    Attributes:
        name: The source.
        class_of: Class name per query.
        strategies: Names.
        score: Shape (queries, strategies), 0..1.
        cost_usd: Same shape.
        below_best: The accuracy floor lies this far under the best single strategy.
    """

    name: str
    class_of: tuple[str, ...]
    strategies: tuple[str, ...]
    score: Floats
    cost_usd: Floats
    below_best: float

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, sorted."""
        return tuple(sorted(set(self.class_of)))

    @property
    def weights(self) -> Floats:
        """Share of queries per class."""
        names = np.array(self.class_of)
        return np.array([float(np.mean(names == name)) for name in self.classes])

    @property
    def floor(self) -> float:
        """The overall accuracy that every plan here must promise."""
        return float(self.score.mean(axis=0).max()) - self.below_best

    @property
    def without_a_plan(self) -> float:
        """Dollars per request of the most accurate strategy for everything."""
        return float(self.cost_usd.mean(axis=0)[self.score.mean(axis=0).argmax()])

    def spec(self) -> Spec:
        """The cheapest plan above the floor, at 95 % confidence."""
        return Spec.model_validate(
            {
                "format_version": "1.0",
                "workload": self.name,
                "limits": {"accuracy": {"overall": self.floor}},
                "traffic": {
                    "requests": REQUESTS,
                    "mix": dict(zip(self.classes, map(float, self.weights), strict=True)),
                },
            }
        )


class Replay:
    """One run over one source: a random order of queries, and what was paid for so far.

    Args:
        recorded: The source.
        seed: Of the order.
    """

    def __init__(self, recorded: Recorded, seed: int) -> None:
        self.recorded = recorded
        self.spec = recorded.spec()
        rng = np.random.default_rng(seed)
        names = np.array(recorded.class_of)
        self._order = [rng.permutation(np.flatnonzero(names == d)) for d in recorded.classes]
        self.sizes = np.array([len(order) for order in self._order])
        self.paid = np.zeros((len(recorded.classes), len(recorded.strategies)), dtype=int)
        self._cells: dict[tuple[int, int, int], Cell] = {}

    @property
    def queries(self) -> int:
        """Paid queries: one per query and strategy."""
        return int(self.paid.sum())

    @property
    def usd(self) -> float:
        """What they cost."""
        return float(
            sum(
                self.recorded.cost_usd[self._order[d][: self.paid[d, s]], s].sum()
                for d, s in np.ndindex(*self.paid.shape)
            )
        )

    def pay_evenly(self, share: float) -> None:
        """Every strategy on the same first queries of every class."""
        self.paid = np.tile(np.round(share * self.sizes).astype(int)[:, None], self.paid.shape[1])

    def pay(self, batches: tuple[Batch, ...]) -> None:
        """Measure a round."""
        for batch in batches:
            d = self.recorded.classes.index(batch.class_name)
            self.paid[d, self.recorded.strategies.index(batch.strategy)] += batch.queries

    def left(self) -> dict[tuple[str, str], int]:
        """Queries that can still be paid for, per cell."""
        return {
            (name, strategy): int(self.sizes[d] - self.paid[d, s])
            for d, name in enumerate(self.recorded.classes)
            for s, strategy in enumerate(self.recorded.strategies)
        }

    def profile(self) -> Profile:
        """What is known from the paid queries alone."""
        cells = [
            self._cell(d, s, int(self.paid[d, s]))
            for d, s in np.ndindex(*self.paid.shape)
            if self.paid[d, s]
        ]
        return Profile(
            workload=self.recorded.name,
            classes=self.recorded.classes,
            weights=tuple(map(float, self.recorded.weights)),
            strategies=tuple(sorted(self.recorded.strategies)),
            cells={(cell.class_name, cell.strategy): cell for cell in cells},
            latency_grid_s=(),
            queries=int(self.sizes.sum()),
            digest="",
        )

    def plan(self) -> tuple[float, float, float]:
        """Certified cost (infinite without a plan), true cost and true accuracy less the floor."""
        planner = Planner(self.profile(), self.spec)
        try:
            answer = planner.answer(self.spec.objective, planner.limits)
        except InfeasibleError:
            return np.inf, np.nan, np.nan
        names = np.array(self.recorded.class_of)
        cost = accuracy = 0.0
        for cell, x, share in zip(
            planner.estimates.cells, answer.x, planner.estimates.traffic_share, strict=True
        ):
            rows, column = names == cell.class_name, self.recorded.strategies.index(cell.strategy)
            cost += x * share * float(self.recorded.cost_usd[rows, column].mean())
            accuracy += x * share * float(self.recorded.score[rows, column].mean())
        return answer.value, cost, accuracy - self.recorded.floor

    def _cell(self, d: int, s: int, queries: int) -> Cell:
        if (d, s, queries) not in self._cells:
            rows = self._order[d][:queries]
            score, cost = self.recorded.score[rows, s], self.recorded.cost_usd[rows, s]
            sd = float(score.std(ddof=1)) if queries > 1 else 0.5
            self._cells[d, s, queries] = Cell(
                class_name=self.recorded.classes[d],
                strategy=self.recorded.strategies[s],
                queries=queries,
                observations=queries,
                accuracy=float(score.mean()),
                accuracy_sd=sd,
                score_sd=sd,
                cost_usd=float(cost.mean()),
                cost_sd_usd=float(cost.std(ddof=1)) if queries > 1 else None,
                cost_max_usd=float(cost.max()),
                tokens_in=None,
                tokens_out=None,
                tokens_out_max=None,
                calls=None,
                exceeded=None,
                latency_observations=0,
                latency_p95_s=None,
                evidence=("replayed",),
            )
        return self._cells[d, s, queries]


@dataclass(frozen=True)
class Point:
    """Where a run stands. Without a certified plan, everything goes to the most accurate strategy.

    Attributes:
        queries: Paid so far.
        usd: What they cost.
        certified: The certified plan's expected dollars per request.
        true: What it really costs, by all recorded outcomes.
        broken: Whether its true accuracy is under the floor.
    """

    queries: int
    usd: float
    certified: float
    true: float
    broken: bool


def _point(replay: Replay) -> Point:
    certified, true, above = replay.plan()
    if np.isinf(certified):
        certified = true = replay.recorded.without_a_plan
    return Point(replay.queries, replay.usd, certified, true, above < 0)


def uniform(recorded: Recorded, seed: int, share: float) -> Point:
    """Every strategy on the same share of the queries."""
    replay = Replay(recorded, seed)
    replay.pay_evenly(share)
    return _point(replay)


def adaptive(recorded: Recorded, seed: int, per: Literal["query", "usd"]) -> list[Point]:
    """Round after round by value of information, until as much is paid for as uniformly."""
    replay = Replay(recorded, seed)
    replay.paid[:] = np.minimum(WARM_UP, replay.sizes)[:, None]
    path = [_point(replay)]
    while replay.queries < UNIFORM_SHARE * recorded.score.size:
        batches = next_batches(
            replay.profile(), replay.spec, replay.left(), per=per, until_worthless=False
        )
        if not batches:
            break
        replay.pay(batches)
        path.append(_point(replay))
    return path


def demo() -> Recorded:
    """The demo's models, classes by its fitted difficulty graph."""
    with duckdb.connect(str(DEMO), read_only=True) as store:
        rows = store.execute(
            "SELECT query_id, strategy, avg(score), avg(cost_usd), any_value(class_name) "
            "FROM observations JOIN classes USING (workload, query_id) "
            "WHERE workload = 'demo' GROUP BY ALL ORDER BY ALL"
        ).fetchall()
    cells = {(q, s): (score, cost, name) for q, s, score, cost, name in rows}
    return _recorded("demo", cells, 0.08)


def paretobandit() -> Recorded:
    """Three models on mixed prompts, classes by task; BIG-bench's many small tasks are one."""
    folder = DATA / "paretobandit"
    task = {row["query_id"]: row["task"].split("/")[0] for row in _rows(folder / "queries.csv")}
    cells = {
        (row["query_id"], f"{row['model'].split('/')[-1]}/single"): (
            float(row["score"]),
            float(row["cost_usd"]),
            task[row["query_id"]],
        )
        for row in _rows(folder / "outcomes.csv")
    }
    return _recorded("paretobandit", cells, 0.05)


def swebench() -> Recorded:
    """Eight models with one agent, classes by the human estimate; the broken export is left out."""
    long = {"1-4 hours": "an hour or more", ">4 hours": "an hour or more"}
    cells = {
        (row["instance_id"], f"{row['model'].split(' (')[0].replace(' ', '-').lower()}/agent"): (
            float(row["resolved"]),
            float(row["cost_usd"]),
            long.get(row["difficulty"], row["difficulty"]),
        )
        for row in _rows(DATA / "swebench_minisweagent" / "runs.csv")
        if not row["model"].startswith("Claude 3.7")
    }
    return _recorded("swebench_minisweagent", cells, 0.10)


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)


def _recorded(
    name: str, cells: dict[tuple[str, str], tuple[float, float, str]], below_best: float
) -> Recorded:
    queries = sorted({query for query, _ in cells})
    strategies = sorted({strategy for _, strategy in cells})
    found = np.array([[cells[q, s][:2] for s in strategies] for q in queries])
    return Recorded(
        name=name,
        class_of=tuple(cells[q, strategies[0]][2] for q in queries),
        strategies=tuple(strategies),
        score=found[:, :, 0],
        cost_usd=found[:, :, 1],
        below_best=below_best,
    )


SOURCES: dict[str, Callable[[], Recorded]] = {
    "demo": demo,
    "paretobandit": paretobandit,
    "swebench_minisweagent": swebench,
}


def compare(recorded: Recorded, runs: int) -> dict[str, object]:
    """Both ways of measuring, run by run on the same orders of queries."""
    even = [uniform(recorded, seed, UNIFORM_SHARE) for seed in range(runs)]
    found: dict[str, object] = {
        "queries": len(recorded.class_of),
        "classes": len(recorded.classes),
        "strategies": len(recorded.strategies),
        "accuracy_floor": _digits(recorded.floor),
        "usd_per_request_without_a_plan": _digits(recorded.without_a_plan),
        "runs": runs,
        "uniform": _figures(even),
    }
    for per in PER:
        paths = [adaptive(recorded, seed, per) for seed in range(runs)]
        found[f"adaptive_by_value_per_{per}"] = {
            "to_the_same_certified_cost": _savings(paths, even, "certified"),
            "to_the_same_true_cost": _savings(paths, even, "true"),
            "at_as_many_paid_queries": _figures([path[-1] for path in paths]),
            "broken_floors_of_all_rounds": _mean([p.broken for path in paths for p in path]),
        }
    return found


def _savings(
    paths: list[list[Point]], even: list[Point], cost: Literal["certified", "true"]
) -> dict[str, object]:
    """What adaptive runs have paid when their mean cost is, and stays, no higher than the even one.

    Means over runs at equal numbers of paid queries: a run that stops when it looks lucky would
    flatter whoever looks more often. The standard error is a bootstrap over runs.
    """
    at = np.unique([point.queries for path in paths for point in path])
    last = [[max(0, sum(p.queries <= q for p in path) - 1) for q in at] for path in paths]
    costs = np.array(
        [[getattr(path[i], cost) for i in row] for path, row in zip(paths, last, strict=True)]
    )
    dollars = np.array([[path[i].usd for i in row] for path, row in zip(paths, last, strict=True)])
    target = np.array([getattr(point, cost) for point in even])
    usd = np.array([point.usd for point in even])

    def saved(rows: NDArray[np.intp]) -> tuple[float, float, float]:
        above = np.flatnonzero(costs[rows].mean(axis=0) > target[rows].mean())
        first = int(above[-1]) + 1 if len(above) else 0
        if first == len(at):
            return np.nan, np.nan, np.nan
        fewer = 1 - at[first] / float(np.mean([point.queries for point in even]))
        return float(at[first]), fewer, 1 - float(dollars[rows, first].mean() / usd[rows].mean())

    rng = np.random.default_rng(0)
    again = np.array([saved(rng.integers(0, len(even), len(even))) for _ in range(500)])
    queries, fewer, cheaper = saved(np.arange(len(even)))
    errors = np.nanstd(again, axis=0)
    return {
        "mean_usd_per_request": _digits(float(target.mean())),
        "paid_queries": queries,
        "fewer_queries": {"mean": _digits(fewer), "standard_error": _digits(errors[1])},
        "fewer_dollars": {"mean": _digits(cheaper), "standard_error": _digits(errors[2])},
        "bootstraps_that_never_reached_it": int(np.isnan(again[:, 0]).sum()),
    }


def _figures(points: list[Point]) -> dict[str, object]:
    return {
        "paid_queries": _mean([point.queries for point in points]),
        "paid_usd": _mean([point.usd for point in points]),
        "certified_usd_per_request": _mean([point.certified for point in points]),
        "true_usd_per_request": _mean([point.true for point in points]),
        "broken_floors": _mean([point.broken for point in points]),
    }


def _mean(values: Sequence[float]) -> dict[str, float]:
    found = np.asarray(values, dtype=np.float64)
    error = float(found.std(ddof=1)) / np.sqrt(len(found)) if len(found) > 1 else 0.0
    return {"mean": _digits(float(found.mean())), "standard_error": _digits(error)}


def _digits(value: float) -> float:
    return float(f"{value:.4g}")


def main() -> None:
    """Replay every source that is there and write."""
    names = sys.argv[1:] or list(SOURCES)
    result = {
        "confidence": 0.95,
        "requests_per_window": REQUESTS,
        "uniform_measures": f"{UNIFORM_SHARE:g} of the recorded queries",
        "seeds": f"0..{RUNS - 1}",
        "sources": {name: compare(SOURCES[name](), RUNS) for name in names},
        "machine": {
            "processor": platform.machine(),
            "python": platform.python_version(),
            "numpy": version("numpy"),
            "highspy": version("highspy"),
        },
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()

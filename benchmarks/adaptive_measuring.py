"""Adaptive against uniform measuring: paid queries until the same certified plan cost.

Replayed from recorded outcomes, so only what a run has paid for is visible to it. A run draws its
own random order of the queries of every class. Uniform measuring asks every strategy the same share
of the recorded queries; adaptive measuring starts with ten queries of every cell and pays for what
is worth most to the plan, until everything recorded is paid for. Compared are the two on the same
order, run by run; `DEFINITIONS` says how, and is written with the figures.

    python -m benchmarks.adaptive_measuring [SOURCE ...] [--demo demo/out/profiles.duckdb]

The demo's store is what `python -m demo` leaves, with the `difficulty.onnx` beside it.
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from planner.advice.adaptive import WARM_UP, next_batches
from planner.advice.pool import Batch
from planner.planner import Planner
from planner.spec import Spec
from profiles.difficulty.graph import read_facts
from profiles.errors import InfeasibleError, UnprovenError
from profiles.profile import Cell, Profile
from profiles.store.store import Store

RESULT = Path("benchmarks/results/adaptive_measuring.json")
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
DEMO = Path("demo/out/profiles.duckdb")
RUNS = 20
UNIFORM_SHARES = (0.25, 0.5, 0.8)
OTHER_FLOORS = (0.03, 0.05, 0.08, 0.1, 0.12)
GOAL = 0.3
Per = Literal["query", "usd"]
PER: tuple[Per, ...] = ("query", "usd")
REQUESTS = 10_000_000
DEFINITIONS = {
    "run": "One random order of the recorded queries; uniform and adaptive measuring share it. "
    "Standard errors are over orders of one recording, not over recordings.",
    "per_run": "Only runs in which uniform measuring certifies a plan at its share count. An "
    "adaptive run reaches uniform's certified cost at its first round whose certified cost is no "
    "higher and stays so in every later round, until everything recorded is paid for. Rounds "
    "without a certificate, also those whose solver stopped without a proof, are above every "
    "cost. A run that pays as much as uniform measuring "
    "before that never reached it and saves 0.",
    "fewer_queries, fewer_dollars": "1 - adaptive's bill / uniform's bill at that round, each with "
    "its own count of runs that never reached it.",
    "mean_curve": "Mean certified cost over all runs at equal numbers of paid queries. Runs "
    "without a certificate are charged what the most accurate strategy costs for everything "
    "(usd_per_request_without_a_plan), on both sides. So this figure also pays for certifying at "
    "all: where uniform measuring rarely certifies it says little about the cost of plans. Its "
    "standard error is a bootstrap over runs.",
    "shares_and_floors": "The uniform shares were chosen. So was each source's accuracy floor, by "
    "hand, as a distance below its most accurate strategy. Savings were not "
    "measured at other floors; uniform_certifies_at_floors says how often uniform measuring "
    "certifies there.",
}
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
        made: Where the outcomes come from and how they were made.
    """

    name: str
    class_of: tuple[str, ...]
    strategies: tuple[str, ...]
    score: Floats
    cost_usd: Floats
    below_best: float
    made: Mapping[str, object] = field(default_factory=dict)

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
        except (InfeasibleError, UnprovenError):
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
    """Where a run stands.

    Attributes:
        queries: Paid so far.
        usd: What they cost.
        certified: The certified plan's expected dollars per request; infinite without one.
        true: What it really costs, by all recorded outcomes; NaN without one.
        broken: Whether its true accuracy is under the floor; False without one.
    """

    queries: int
    usd: float
    certified: float
    true: float
    broken: bool

    @property
    def has_plan(self) -> bool:
        """Whether a plan is certified here."""
        return bool(np.isfinite(self.certified))


def _point(replay: Replay) -> Point:
    certified, true, above = replay.plan()
    return Point(replay.queries, replay.usd, certified, true, bool(above < 0))


def uniform(recorded: Recorded, seed: int, share: float) -> Point:
    """Every strategy on the same share of the queries."""
    replay = Replay(recorded, seed)
    replay.pay_evenly(share)
    return _point(replay)


def adaptive(recorded: Recorded, seed: int, per: Per) -> list[Point]:
    """Round after round by value of information, until everything recorded is paid for."""
    replay = Replay(recorded, seed)
    replay.paid[:] = np.minimum(WARM_UP, replay.sizes)[:, None]
    path = [_point(replay)]
    while replay.queries < recorded.score.size:
        batches = next_batches(
            replay.profile(), replay.spec, replay.left(), per=per, until_worthless=False
        )
        if not batches:
            break
        replay.pay(batches)
        path.append(_point(replay))
    return path


def demo(path: Path) -> Recorded:
    """The demo's models, classes by its fitted difficulty graph."""
    facts = read_facts(path.parent / "difficulty.onnx")
    with Store.open(path, read_only=True) as store, store.reading() as execute:
        rows = execute(
            "SELECT query_id, strategy, avg(score), avg(cost_usd), any_value(class_name), "
            "max(observed_at) FROM observations JOIN classes USING (workload, query_id) "
            "WHERE workload = 'demo' AND estimator_digest = ? GROUP BY ALL ORDER BY ALL",
            [facts.digest],
        ).fetchall()
        profile: Profile = store.profile(
            "demo", estimator_digest=facts.digest, class_names=facts.class_names
        )
    cells = {(q, s): (score, cost, name) for q, s, score, cost, name, _ in rows}
    made: dict[str, object] = {
        "by": "python -m demo",
        "store": str(path),
        "problem_seeds": sorted({int(query.split("-")[2]) for query, *_ in rows}),
        "queries": profile.queries,
        "strategies": list(profile.strategies),
        "profile_digest": profile.digest,
        "estimator_digest": facts.digest,
        "measured_until": max(row[-1] for row in rows).isoformat(timespec="seconds"),
    }
    return _recorded("demo", cells, 0.08, made)


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
    return _recorded("paretobandit", cells, 0.05, {"data": "paretobandit/outcomes.csv"})


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
    made = {"data": "swebench_minisweagent/runs.csv"}
    return _recorded("swebench_minisweagent", cells, 0.10, made)


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)


def _recorded(
    name: str,
    cells: Mapping[tuple[str, str], tuple[float, float, str]],
    below_best: float,
    made: Mapping[str, object],
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
        made=made,
    )


SOURCES: dict[str, Callable[[], Recorded]] = {
    "paretobandit": paretobandit,
    "swebench_minisweagent": swebench,
}


def compare(recorded: Recorded, runs: int) -> dict[str, object]:
    """Both ways of measuring, run by run on the same orders of queries."""
    paths: dict[Per, list[list[Point]]] = {
        per: [adaptive(recorded, seed, per) for seed in range(runs)] for per in PER
    }
    return {
        "made": dict(recorded.made),
        "queries": len(recorded.class_of),
        "classes": len(recorded.classes),
        "strategies": len(recorded.strategies),
        "accuracy_floor": _digits(recorded.floor),
        "floor_below_the_most_accurate": recorded.below_best,
        "usd_per_request_without_a_plan": _digits(recorded.without_a_plan),
        "uniform_certifies_at_floors": _certifies(recorded, runs),
        "at_uniform_shares": {
            f"{share:g}": _at_share(recorded, share, paths) for share in UNIFORM_SHARES
        },
    }


def _certifies(recorded: Recorded, runs: int) -> dict[str, dict[str, float]]:
    """Share of uniform runs with a certificate, by floor below the best and by share."""
    return {
        f"{below:g} below": {
            f"{share:g}": float(
                np.mean(
                    [
                        uniform(replace(recorded, below_best=below), seed, share).has_plan
                        for seed in range(runs)
                    ]
                )
            )
            for share in UNIFORM_SHARES
        }
        for below in sorted({*OTHER_FLOORS, recorded.below_best})
    }


def _at_share(
    recorded: Recorded, share: float, paths: Mapping[Per, list[list[Point]]]
) -> dict[str, object]:
    runs = len(paths[PER[0]])
    even = [uniform(recorded, seed, share) for seed in range(runs)]
    found: dict[str, object] = {"uniform": _figures(even)}
    for per in PER:
        found[f"adaptive_by_value_per_{per}"] = {
            "per_run": _per_run(paths[per], even),
            "mean_curve": _mean_curve(paths[per], even, recorded.without_a_plan),
            "at_uniforms_queries": _figures(
                [
                    [point for point in path if point.queries <= paid.queries][-1]
                    for path, paid in zip(paths[per], even, strict=True)
                ]
            ),
        }
    return found


def _per_run(paths: list[list[Point]], even: list[Point]) -> dict[str, object]:
    """What each adaptive run saved until uniform's certified cost on the same order of queries."""
    pairs = [(path, paid) for path, paid in zip(paths, even, strict=True) if paid.has_plan]
    if not pairs:
        return {"runs_compared": 0}
    reached = [(_reached(path, paid.certified), paid) for path, paid in pairs]
    return {
        "runs_compared": len(pairs),
        "fewer_queries": _saved(
            [1 - point.queries / paid.queries if point else None for point, paid in reached]
        ),
        "fewer_dollars": _saved(
            [1 - point.usd / paid.usd if point else None for point, paid in reached]
        ),
    }


def _reached(path: list[Point], cost: float) -> Point | None:
    """The first round from which on the certified cost is never above `cost`."""
    above = [i for i, point in enumerate(path) if point.certified > cost]
    first = above[-1] + 1 if above else 0
    return path[first] if first < len(path) else None


def _saved(found: Sequence[float | None]) -> dict[str, object]:
    in_time = [saved for saved in found if saved is not None and saved > 0]
    savings = in_time + [0.0] * (len(found) - len(in_time))
    return {
        **_mean(savings),
        "median": _digits(float(np.median(savings))),
        "runs_with_30_percent": _digits(float(np.mean(np.array(savings) >= GOAL))),
        "runs_that_never_reached_it": _digits(1 - len(in_time) / len(found)),
    }


def _mean_curve(paths: list[list[Point]], even: list[Point], charged: float) -> dict[str, object]:
    """What adaptive runs have paid when their mean cost is, and stays, no higher than the even one.

    Args:
        paths: The adaptive runs.
        even: The uniform ones.
        charged: Dollars per request of a run without a certificate.
    """

    def cost(point: Point) -> float:
        return point.certified if point.has_plan else charged

    at = np.unique([point.queries for path in paths for point in path])
    last = [[max(0, sum(p.queries <= q for p in path) - 1) for q in at] for path in paths]
    rounds = [[path[i] for i in row] for path, row in zip(paths, last, strict=True)]
    costs = np.array([[cost(point) for point in row] for row in rounds])
    dollars = np.array([[point.usd for point in row] for row in rounds])
    target = np.array([cost(point) for point in even])
    usd = np.array([point.usd for point in even])

    def saved(rows: NDArray[np.intp]) -> tuple[float, float]:
        above = np.flatnonzero(costs[rows].mean(axis=0) > target[rows].mean())
        first = int(above[-1]) + 1 if len(above) else 0
        if first == len(at) or at[first] >= even[0].queries:
            return np.nan, np.nan
        fewer = 1 - at[first] / even[0].queries
        return float(fewer), 1 - float(dollars[rows, first].mean() / usd[rows].mean())

    rng = np.random.default_rng(0)
    again = np.array([saved(rng.integers(0, len(even), len(even))) for _ in range(500)])
    missed = np.isnan(again[:, 0])
    fewer, cheaper = saved(np.arange(len(even)))
    return {
        "uniform_runs_charged_for_no_certificate": sum(not point.has_plan for point in even),
        "usd_per_request": _digits(float(target.mean())),
        "fewer_queries": _bootstrapped(fewer, again[~missed, 0]),
        "fewer_dollars": _bootstrapped(cheaper, again[~missed, 1]),
        "bootstraps_that_never_reached_it": int(missed.sum()),
    }


def _bootstrapped(value: float, again: Floats) -> dict[str, float] | None:
    if np.isnan(value):
        return None
    return {"mean": _digits(value), "standard_error": _digits(float(again.std()))}


def _figures(points: list[Point]) -> dict[str, object]:
    planned = [point for point in points if point.has_plan]
    found: dict[str, object] = {
        "runs": len(points),
        "runs_with_a_certificate": len(planned),
        "paid_queries": _mean([point.queries for point in points]),
        "paid_usd": _mean([point.usd for point in points]),
    }
    if planned:
        found |= {
            "certified_usd_per_request": _mean([point.certified for point in planned]),
            "true_usd_per_request": _mean([point.true for point in planned]),
            "certificates_with_a_broken_floor": sum(point.broken for point in planned),
        }
    return found


def _mean(values: Sequence[float]) -> dict[str, float]:
    found = np.asarray(values, dtype=np.float64)
    error = float(found.std(ddof=1)) / np.sqrt(len(found)) if len(found) > 1 else 0.0
    return {"mean": _digits(float(found.mean())), "standard_error": _digits(error)}


def _digits(value: float) -> float:
    return float(f"{value:.4g}")


def main() -> None:
    """Replay every source that is there and write."""
    arguments = _arguments()
    sources: dict[str, Callable[[], Recorded]] = {"demo": partial(demo, arguments.demo), **SOURCES}
    result = {
        "confidence": 0.95,
        "requests_per_window": REQUESTS,
        "definitions": DEFINITIONS,
        "seeds": f"0..{RUNS - 1}",
        "sources": {name: compare(sources[name](), RUNS) for name in arguments.sources},
        "machine": {
            "processor": platform.machine(),
            "python": platform.python_version(),
            "numpy": version("numpy"),
            "highspy": version("highspy"),
        },
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def _arguments() -> argparse.Namespace:
    names = ["demo", *SOURCES]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.adaptive_measuring")
    parser.add_argument("sources", nargs="*", default=names, metavar="SOURCE")
    parser.add_argument("--demo", type=Path, default=DEMO, help="The store of a run of the demo.")
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.sources) - set(names)):
        parser.error(f"no such source: {unknown[0]}; known: {', '.join(names)}")
    return arguments


if __name__ == "__main__":
    main()

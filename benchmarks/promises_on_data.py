"""Promised accuracy on measured outcomes: planned on one half of the queries, judged on the other.

Part of `benchmarks.plans_on_data`, which runs it and writes the result. Contenders on every split:

- "planner": `planner.planner.Planner` at confidence 0.95 for as many requests as are judged;
- "naive": the same at confidence "none";
- "oracle": the same at confidence "none" on the judged half itself, the yardstick of premiums;
- "tested on two thirds": the exact frontier of a third of the profiled half, the points of which
  are tested on the rest from the most accurate one down; the last before the first failure is
  taken (a fixed sequence: no price for many tests). A test is Student's one-sided prediction bound;
- "tested by folds": the same, points tested out of fold in five folds and the frontier of the whole
  half taken at the point that passed. Nothing proves its level; it uses every query.

For two sources the planner's margin is taken apart: its parts are added one after another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.stats import t as student

from benchmarks.classes_from_labels import without_rare
from planner.estimating.allocation import Accounts
from planner.estimating.estimates import Estimates
from planner.frontiers.hulls import exact_frontier
from planner.planner import Planner
from planner.programme.margin import z_of
from planner.sorting.cells_of_outcomes import Outcomes, profile_of
from planner.spec import Spec
from profiles.cells.by_query import read_by_query
from profiles.errors import InfeasibleError
from profiles.importing.importers import import_file
from profiles.importing.mapping import load_mapping
from profiles.profile import Profile
from profiles.store.store import Store

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

RESPLITS = 200
LEVEL = 0.95
FOLDS = 5
STEPS = 100
"""Points of a frontier that are tested."""

#: USD per million tokens in the paper of RouteLLM; every answer is taken to be as long.
ROUTELLM_PRICES = {"gpt-4-1106-preview": 24.7, "mistralai/Mixtral-8x7B-Instruct-v0.1": 0.24}
GSM8K_BILLIONS = {"gpt3-6b": 6.0, "gpt3-175b": 175.0}
PARTS = (
    "shrunken means",
    "noise of the profile, as spread out as measured",
    "noise of the judged half, as spread out as measured",
    "noise of the profile as the planner takes it",
    "noise of the judged half, the most under any such plan",
    "Wilson's centre of the whole mean",
    "Bonferroni's quantile of what competes: all of the planner's margin",
)
DEFINITIONS = {
    "kept": "Share of the resplits with a plan in which the judged half's mean score reached the "
    "floor, every judged query answered by one strategy that a coin drew by its class's shares; "
    "the standard error is the simulation's own. kept_in_expectation: without the coin. "
    "broken_of_all: broken promises over all resplits. Halves of one table: what looks good on "
    "one half looks bad on the other, so where many resplits are refused the rest are the lucky "
    "ones, and kept is below what fresh queries would give.",
    "premium_over_oracle": "Expected dollars on the judged half over those of the cheapest plan "
    "that keeps the floor by the judged half's own means, less 1; median over resplits.",
    "premium_over_naive": "The same over the naive plan of the same split.",
    "accuracy_above_floor": "Median expected score on the judged half, less the floor.",
    "least_premium": "What the cheapest plan by the means of all queries costs more where the "
    "floor is raised by 1.645 standard errors: of the judged half alone (nobody can promise 95 % "
    "for less, not even one who knows every mean; no coin: unless shares are dealt out and not "
    "drawn), and of both halves (an exact test of one plan on the whole profiled half).",
    "margin_taken_apart": "Every row adds one part to the row above it; the last is the planner.",
}


@dataclass(frozen=True)
class Table:
    """Outcomes of n queries, every strategy on each, sorted into classes.

    Attributes:
        outcomes: Scores and costs, shape (n, S).
        class_of: Class index per query.
        names: Class names.
    """

    outcomes: Outcomes
    class_of: Indices
    names: tuple[str, ...]

    @property
    def blind(self) -> Table:
        """The same in one class."""
        return Table(self.outcomes, np.zeros_like(self.class_of), ("all",))

    def profile(self, rows: Indices) -> Profile:
        """Of some queries."""
        return profile_of(self.outcomes, self.class_of, self.names, rows)

    def means(self, rows: Indices) -> tuple[Floats, Floats, Floats]:
        """Mean cost and score by class and strategy, and the share of every class."""
        counts = np.bincount(self.class_of[rows], minlength=len(self.names)).astype(np.float64)
        one_hot = np.eye(len(self.names))[self.class_of[rows]]
        cost, score = (
            one_hot.T @ table[rows] / np.maximum(counts, 1)[:, None]
            for table in (self.outcomes.costs, self.outcomes.scores)
        )
        return cost, score, counts / len(rows)

    def judge(self, shares: Floats, rows: Indices) -> tuple[float, float]:
        """Expected mean score and dollars of some queries under shares, shape (D, S)."""
        own = shares[self.class_of[rows]]
        if not np.allclose(own.sum(axis=1), 1.0):
            raise ValueError("a class that is judged has no plan")
        score, cost = self.outcomes.scores[rows], self.outcomes.costs[rows]
        return float((own * score).sum() / len(rows)), float((own * cost).sum() / len(rows))

    def served(self, shares: Floats, rows: Indices, coins: Floats) -> float:
        """Mean score where every query is answered once, by the strategy that its coin draws."""
        ends = np.cumsum(shares[self.class_of[rows]], axis=1)
        drawn = np.minimum((coins[:, None] >= ends).sum(axis=1), ends.shape[1] - 1)
        return float(self.outcomes.scores[rows, drawn].mean())


def table(
    name: str,
    data: Path,
    *,
    sorted_by: Callable[[Mapping[str, str]], Mapping[str, str]],
    price: Callable[[str], float] | None = None,
) -> Table:
    """A source by its importer; queries that `sorted_by` leaves out are left out.

    Args:
        name: Of the mapping.
        data: Folder of the measurements.
        sorted_by: From the labels of all queries to the classes of those that count.
        price: Cost of one answer by strategy, where the source recorded none.
    """
    rules = load_mapping(name)
    with Store.open(":memory:") as store:
        import_file(store, data / rules.file, workload=name, mapping=rules, constants={})
        found = read_by_query(store, name)
    labels = dict(zip(found.query_ids, (label or "" for label in found.class_names), strict=True))
    classes = sorted_by(labels)
    kept = np.flatnonzero([query in classes for query in found.query_ids])
    own = [classes[found.query_ids[at]] for at in kept]
    names = tuple(sorted(set(own)))
    costs = found.costs[kept]
    if price is not None:
        costs = np.tile([price(strategy) for strategy in found.strategies], (len(kept), 1))
    scores = found.scores[kept]
    if not (np.isfinite(scores).all() and np.isfinite(costs).all()):
        raise ValueError(f"{name}: some outcome is missing")
    class_of = np.array([names.index(label) for label in own], dtype=np.intp)
    return Table(Outcomes(name, found.strategies, scores, costs), class_of, names)


@dataclass(frozen=True)
class Asked:
    """One source, how it is sorted, and the floors to promise.

    Attributes:
        table: The outcomes.
        classes: What the classes are.
        cost: Where the costs come from.
        floors: Mean scores.
        apart: Whether the planner's margin is taken apart.
    """

    table: Table
    classes: str
    cost: str
    floors: tuple[float, ...]
    apart: bool = False


def asked(data: Path) -> list[Asked]:
    """Every question."""
    pareto = table(
        "paretobandit",
        data,
        sorted_by=lambda labels: {q: label.partition("/")[0] for q, label in labels.items()},
    )
    tasks = table(
        "swebench_minisweagent",
        data,
        sorted_by=lambda labels: without_rare(
            labels, ("<15 min fix", "15 min - 1 hour", "1-4 hours", ">4 hours")
        ),
    )
    mmlu = table(
        "routellm",
        data,
        sorted_by=lambda labels: {q: label for q, label in labels.items() if label != "gsm8k"},
        price=lambda strategy: ROUTELLM_PRICES[strategy.rpartition("/")[0]],
    )
    steps = table(
        "gsm8k_verifiers",
        data,
        sorted_by=lambda labels: without_rare(labels, tuple(map(str, range(9)))),
        price=lambda strategy: (
            GSM8K_BILLIONS[strategy.partition("/")[0]] * (100 if "n=100" in strategy else 1)
        ),
    )
    usd, blind = "USD, measured", "none: one class"
    listed = "listed USD per million tokens, every answer as long; none was recorded"
    billions = "billion parameters x samples, not dollars; none was recorded"
    families = "benchmark family, the parts of BBH joined"
    difficulty = "time to fix as estimated by people, under 5 % joined to their neighbour"
    return [
        Asked(pareto, families, usd, (0.85, 0.90), apart=True),
        Asked(pareto.blind, blind, usd, (0.85, 0.90), apart=True),
        Asked(tasks, difficulty, usd, (0.50, 0.55, 0.60), apart=True),
        Asked(tasks.blind, blind, usd, (0.50, 0.55, 0.60)),
        Asked(mmlu, "subject", listed, (0.72, 0.75, 0.78)),
        Asked(mmlu.blind, blind, listed, (0.72, 0.75, 0.78)),
        Asked(steps, "steps of the reference solution", billions, (0.30, 0.40, 0.45)),
        Asked(steps.blind, blind, billions, (0.30, 0.40, 0.45)),
    ]


def question(profile: Profile, confidence: float | None, judged: int) -> Planner:
    """Cheapest plans above floors that are asked one by one."""
    spec: dict[str, Any] = {"format_version": "1.0", "workload": profile.workload}
    spec |= {"confidence": confidence or "none", "traffic": {"requests": judged}}
    return Planner(profile, Spec.model_validate(spec))


def shares_of(planner: Planner, floor: float, like: Table) -> Floats | None:
    """The planner's answer, shape (D, S); None where it is refused."""
    limits = planner.limits.moved("accuracy.overall", floor)
    try:
        x = planner.answer(planner.spec.objective, limits).x
    except InfeasibleError:
        return None
    e = planner.estimates
    shares = np.zeros((len(like.names), len(like.outcomes.strategies)))
    class_at = np.array([like.names.index(name) for name in e.classes])
    strategy_at = np.array([like.outcomes.strategies.index(name) for name in e.strategies])
    shares[class_at[e.class_of], strategy_at[e.strategy_of]] = x
    return shares


# ------------------------------------------------------------- tests of fixed plans


def points(table: Table, rows: Indices, raised: Floats, floor: float) -> list[Floats]:
    """Plans on the exact frontier of some queries, at floors raised by these amounts."""
    cost, score, weights = table.means(rows)
    frontier = exact_frontier(cost, score, weights)
    reach = float(frontier.values[-1])
    width = len(table.outcomes.strategies)
    return [frontier.at_value(min(floor + more, reach)).shares(width) for more in raised]


def raises(table: Table, rows: Indices, floor: float) -> Floats:
    """By how much floors are raised, falling: from all that the queries allow down to nothing."""
    _, score, weights = table.means(rows)
    most = max(float(weights @ score.max(axis=1)) - floor, 0.0)
    return np.linspace(most, 0.0, STEPS)


def scores_under(table: Table, shares: Sequence[Floats], rows: Indices) -> tuple[Floats, Floats]:
    """Per query the expected score and the expected square, shape (plans, rows)."""
    own = np.stack(shares)[:, table.class_of[rows]]
    score = table.outcomes.scores[rows]
    return np.einsum("kns,ns->kn", own, score), np.einsum("kns,ns->kn", own, score**2)


def passing(score: Floats, square: Floats, floor: float, judged: int) -> int | None:
    """The last of the plans before one fails; None where the first fails.

    A plan passes whose mean score, less Student's quantile times ``sqrt(v / n + V / N)``, reaches
    the floor: v is the variance of expected scores of n tested queries, V that of one served
    answer, of which N are judged.
    """
    n = score.shape[1]
    mean = score.mean(axis=1)
    served = square.mean(axis=1) - mean**2
    error = np.sqrt(score.var(axis=1, ddof=1) / n + served / judged)
    failed = mean - student.ppf(LEVEL, n - 1) * error < floor
    first = int(failed.argmax()) if failed.any() else len(failed)
    return first - 1 if first else None


def tested_on_two_thirds(table: Table, rows: Indices, floor: float, judged: int) -> Floats | None:
    """A plan made on the first third of the queries, which are in random order."""
    third = len(rows) // 3
    fit, test = _covering(table, rows, third)
    plans = points(table, fit, raises(table, fit, floor), floor)
    at = passing(*scores_under(table, plans, test), floor, judged)
    return None if at is None else plans[at]


def _covering(table: Table, rows: Indices, size: int) -> tuple[Indices, Indices]:
    """The first queries and the rest; classes that the first lack give them one query each."""
    there = np.zeros(len(rows), dtype=bool)
    there[:size] = True
    for d in set(table.class_of[rows]) - set(table.class_of[rows[:size]]):
        there[np.flatnonzero(table.class_of[rows] == d)[0]] = True
    return rows[there], rows[~there]


def tested_by_folds(table: Table, rows: Indices, floor: float, judged: int) -> Floats | None:
    """A plan made on all queries, raised as far as plans of other folds needed."""
    fold = np.arange(len(rows)) % FOLDS
    raised = raises(table, rows, floor)
    parts = []
    for out in range(FOLDS):
        last = np.concatenate([rows[fold != out], rows[fold == out]])
        fit, test = _covering(table, last, int((fold != out).sum()))
        parts.append(scores_under(table, points(table, fit, raised, floor), test))
    score, square = (np.concatenate(part, axis=1) for part in zip(*parts, strict=True))
    at = passing(score, square, floor, judged)
    return None if at is None else points(table, rows, raised[at : at + 1], floor)[0]


# ------------------------------------------------------------- the margin, part by part


class Uncentred(Estimates):
    """Estimates of which promises start from the means."""

    @cached_property
    def accuracy_careful(self) -> Floats:
        """The means."""
        return self.accuracy


class Spread(Accounts):
    """Accounts whose judged requests vary by a share of what scores of 0 or 1 would."""

    spread: float | None = None

    def judged_offset(self, accuracy: float) -> Floats:
        """As that of the planner without a share."""
        offset = super().judged_offset(accuracy)
        if self.spread is not None and self._judged is not None:
            variance = self.spread * accuracy * (1 - accuracy) / self._judged
            offset[-1] = self.z / self.accuracy_z * np.sqrt(variance)
        return offset


def in_part(profile: Profile, judged: int, parts: int, spread: float) -> Planner:
    """The planner with the first parts of its margin only; `spread` of a score over m (1 - m)."""
    planner = question(profile, LEVEL, judged)
    e = planner.estimates
    sds = np.zeros(e.columns)
    if parts >= 2:
        sds = np.array([cell.accuracy_sd / np.sqrt(cell.queries) for cell in e.cells])
    if parts >= 4:
        sds = e.accuracy_sd
    known: dict[str, Any] = {field.name: getattr(e, field.name) for field in fields(e)}
    estimates = replace(
        e if parts >= 6 else Uncentred(**known),
        accuracy_sd=sds,
        mix_queries=e.mix_queries if parts >= 2 else None,
    )
    accounts = Spread(estimates, judged if parts >= 3 else None)
    accounts.spread = None if parts >= 5 else spread
    if parts < 7:
        accounts.accuracy_z = accounts.z
        accounts.accuracy_margin = accounts.accuracy_margin_of(estimates.accuracy_careful, sds)
    return Planner(profile, planner.spec, accounts=accounts)


# ------------------------------------------------------------- resplits


@dataclass(frozen=True)
class Outcome:
    """What became of one plan on the judged half.

    Attributes:
        served: Mean score, every query answered once.
        score: Expected mean score.
        cost: Expected mean cost.
    """

    served: float
    score: float
    cost: float


@dataclass(frozen=True)
class Split:
    """Two random halves and a coin per judged query."""

    profiled: Indices
    judged: Indices
    coins: Floats

    @classmethod
    def of(cls, table: Table, seed: int) -> Split:
        """Half of the queries each; a class that the first lacks is given its first query."""
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(table.class_of))
        profiled, judged = _covering(table, order, len(order) // 2)
        return cls(profiled, judged, rng.random(len(judged)))


def plans_of(ask: Asked, split: Split) -> dict[tuple[str, float], Floats | None]:
    """Every contender's plan for every floor."""
    table, rows, judged = ask.table, split.profiled, len(split.judged)
    profile = table.profile(rows)
    planners = {
        "planner": question(profile, LEVEL, judged),
        "naive": question(profile, None, judged),
        "oracle": question(table.profile(split.judged), None, judged),
    }
    if ask.apart:
        spread = spread_of(table, rows)
        planners |= {part: in_part(profile, judged, at, spread) for at, part in enumerate(PARTS, 1)}
    plans = {
        (name, floor): shares_of(planner, floor, table)
        for name, planner in planners.items()
        for floor in ask.floors
    }
    tests = {
        "tested on two thirds": tested_on_two_thirds,
        "tested by folds": tested_by_folds,
    }
    return plans | {
        (name, floor): test(table, rows, floor, judged)
        for name, test in tests.items()
        for floor in ask.floors
    }


def spread_of(table: Table, rows: Indices) -> float:
    """Variance of scores over that of scores of 0 or 1 with the same means, all strategies."""
    scores = table.outcomes.scores[rows]
    mean = scores.mean(axis=0)
    return float(scores.var(axis=0).sum() / (mean * (1 - mean)).sum())


def resplit(ask: Asked, resplits: int) -> dict[str, Any]:
    """All resplits of one question."""
    found: dict[tuple[str, float], list[Outcome | None]] = {}
    worst = 0.0
    for seed in range(resplits):
        split = Split.of(ask.table, seed)
        for key, shares in plans_of(ask, split).items():
            outcome = None
            if shares is not None:
                score, cost = ask.table.judge(shares, split.judged)
                served = ask.table.served(shares, split.judged, split.coins)
                outcome = Outcome(served, score, cost)
            found.setdefault(key, []).append(outcome)
            if key[0] == "oracle":
                worst = max(worst, _difference(ask.table, split.judged, key[1], outcome))
    names = [name for name in dict.fromkeys(name for name, _ in found) if name != "oracle"]
    floors = []
    for floor in ask.floors:
        rows = {
            name: summary(found[name, floor], found["oracle", floor], found["naive", floor], floor)
            for name in names
        }
        apart = {name: rows.pop(name) for name in PARTS if name in rows}
        floors.append(
            {"floor": floor, "contenders": rows, "least_premium": least_premium(ask.table, floor)}
            | ({"margin_taken_apart": apart} if apart else {})
        )
    n = len(ask.table.class_of)
    return {
        "source": ask.table.outcomes.workload,
        "classes": ask.classes,
        "number_of_classes": len(ask.table.names),
        "strategies": len(ask.table.outcomes.strategies),
        "cost": ask.cost,
        "queries": {"profiled": n // 2, "judged": n - n // 2},
        "variance_of_scores_over_that_of_0_or_1": _round(spread_of(ask.table, np.arange(n))),
        "oracle_against_scipy": float(f"{worst:.2g}"),
        "floors": floors,
    }


def _difference(table: Table, rows: Indices, floor: float, outcome: Outcome | None) -> float:
    """Relative difference of the oracle's cost to a programme of scipy's; 0 where both refuse."""
    least = by_scipy(*table.means(rows), floor)
    if outcome is None or least is None:
        return 0.0 if outcome is None and least is None else float("inf")
    return abs(outcome.cost / least - 1)


def by_scipy(cost: Floats, score: Floats, weights: Floats, floor: float) -> float | None:
    """Least cost above a floor by another way: scipy on the same means, None where infeasible.

    Args:
        cost: By class and strategy, shape (D, S).
        score: The same.
        weights: Share of every class.
        floor: Of the mean score.
    """
    unit = float(cost.max())  # tolerances are absolute, and a request costs a small part of a cent
    solved = linprog(
        (weights[:, None] * cost).ravel() / unit,
        A_ub=-(weights[:, None] * score).reshape(1, -1),
        b_ub=[-floor],
        A_eq=np.kron(np.eye(len(weights)), np.ones(cost.shape[1])),
        b_eq=np.ones(len(weights)),
    )
    return None if solved.fun is None else float(solved.fun) * unit


def summary(
    outcomes: Sequence[Outcome | None],
    oracle: Sequence[Outcome | None],
    naive: Sequence[Outcome | None],
    floor: float,
) -> dict[str, Any]:
    """Figures of one contender over all resplits."""
    made = [one for one in outcomes if one is not None]
    if not made:
        return {"refused": 1.0}
    broken = sum(one.served < floor for one in made)
    kept = 1 - broken / len(made)
    return {
        "refused": _round(1 - len(made) / len(outcomes)),
        "kept": _round(kept),
        "kept_standard_error": _round((kept * (1 - kept) / len(made)) ** 0.5),
        "kept_in_expectation": _round(sum(one.score >= floor - 1e-9 for one in made) / len(made)),
        "broken_of_all": _round(broken / len(outcomes)),
        "premium_over_oracle": _premium(outcomes, oracle),
        "premium_over_naive": _premium(outcomes, naive),
        "accuracy_above_floor": _round(float(np.median([one.score - floor for one in made]))),
    }


def _premium(outcomes: Sequence[Outcome | None], other: Sequence[Outcome | None]) -> float | None:
    both = [
        one.cost / least.cost - 1
        for one, least in zip(outcomes, other, strict=True)
        if one is not None and least is not None
    ]
    return _round(float(np.median(both))) if both else None


def least_premium(table: Table, floor: float) -> dict[str, Any]:
    """See the definitions: with every mean known, and with the noise of both halves."""
    n = len(table.class_of)
    rows, half = np.arange(n), n // 2
    cost, score, weights = table.means(rows)
    frontier = exact_frontier(cost, score, weights)
    width = len(table.outcomes.strategies)
    start = frontier.at_value(floor)
    expected, square = scores_under(table, [start.shares(width)], rows)
    served = float(square.mean() - expected.mean() ** 2)
    errors = {
        "noise of the judged half alone, no coin": expected.var() / (n - half),
        "noise of the judged half alone": served / (n - half),
        "noise of both halves": expected.var() / half + served / (n - half),
    }
    found: dict[str, Any] = {}
    for name, variance in errors.items():
        raised = floor + z_of(LEVEL) * float(variance) ** 0.5
        within = raised <= frontier.values[-1]
        found[name] = {
            "floor_raised_to": _round(raised),
            "premium": _round(frontier.at_value(raised).cost / start.cost - 1) if within else None,
        }
    return found


def _round(value: float) -> float:
    return float(f"{value:.4g}")


def broken_promises(data: Path, resplits: int) -> list[dict[str, Any]]:
    """Every question over all resplits."""
    return [resplit(ask, resplits) for ask in asked(data)]

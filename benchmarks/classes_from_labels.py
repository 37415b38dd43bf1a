"""Labels that came with the data as classes: what they save at equal accuracy.

Every source goes through its importer, its cells through the store and its plans through the
planner. "One class" is the same plan without labels: the class-blind mixture. The accuracy floor is
that of the best single strategy, and the same less one and three points. Figures in sample judge a
plan on the queries that it was made on. Cross-fitted figures judge it on the other half.

Two of the sources record no costs; there a cost is assumed, the assumption is written beside the
figure, and it is not in dollars.

    python -m benchmarks.classes_from_labels [FOLDER]
"""

from __future__ import annotations

import json
import platform
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from benchmarks.shared_sources import data_folder
from planner.planner import Planner
from planner.solve import best_single
from planner.spec import Spec
from profiles.errors import InfeasibleError
from profiles.importing.importers import import_file
from profiles.importing.mapping import load_mapping
from profiles.money import PriceCard, TokenPrice
from profiles.observation import Observation
from profiles.profile import Profile
from profiles.query import Query
from profiles.store.records import to_table
from profiles.store.store import Store

RESULT = Path("benchmarks/results/classes_from_labels.json")
RESPLITS = 50
SMALLEST_SHARE = 0.05
POINTS_BELOW = (0.0, 0.01, 0.03)
CONFIDENCES: tuple[float | None, ...] = (None, 0.95)
LIST_PRICES = Path("llmrouter_nine_models/listed_prices.csv")
DEFINITIONS = {
    "floor": "'N below best': the mean score of the best single strategy over the planning "
    "queries, less N. 'its own promise': what a plan of the best single strategy alone could "
    "promise at 95 %, without labels.",
    "single": "The cheapest single strategy that keeps the floor under the same margin; where none "
    "does (a measured mean cannot promise itself), the most accurate one.",
    "saving": "1 - cost per request of the plan by labels / cost per request of the other.",
    "cross_fit": "Queries are halved at random within every label. Floor, single strategy, plan "
    "by labels and plan of one class come from one half; all are judged on the other, requests "
    "sorted by their label. accuracy_difference is plan less single strategy on the judged half; "
    "accuracy_kept: at least 0 less the points that the floor gives away. sd_over_resplits of a "
    "judged-half mean is about the standard error for as many queries as the source has; "
    "se_of_mean is the simulation's own error alone, sd / sqrt(resplits).",
    "saving_at_accuracy_reached": "Mean cost of the plans on the judged halves against "
    "the cheapest class-blind mixture over all queries whose score is their mean score there: the "
    "mean over random halves is about the mean over all. So plans that fell below their floor are "
    "held against mixtures that fell as low. Against the most accurate strategy where no mixture "
    "scores as high. The mixture is chosen in hindsight, which favours it.",
    "floor_kept": "Resplits in which the score on the judged half is at least the floor itself, "
    "noise of the judged half included.",
}

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Source:
    """One table, imported.

    Attributes:
        name: The mapping's name, our workload.
        rows: Observations, costs filled in.
        labels: By query.
        about: What the labels and the costs are, and what is missing.
        imported: Rows read and set aside.
    """

    name: str
    rows: pa.Table
    labels: Mapping[str, str]
    about: Mapping[str, Any]
    imported: Mapping[str, Any]

    def profile(self, labels: Mapping[str, str] | None, queries: Sequence[str]) -> Profile:
        """The profile of some queries by these labels; None: one class."""
        chosen = self.rows.filter(pc.is_in(self.rows["query_id"], pa.array(list(queries))))
        with Store.open(":memory:") as store:
            store.add_table(chosen)
            if labels is not None:
                store.add_queries(
                    self.name, [Query(query, class_label=labels[query]) for query in queries]
                )
            return store.profile(self.name)

    def table(self, field: str, queries: Sequence[str], strategies: Sequence[str]) -> Floats:
        """A field by query and strategy; every pair was measured once."""
        at = {query: index for index, query in enumerate(queries)}
        column = {strategy: index for index, strategy in enumerate(strategies)}
        table = np.full((len(at), len(column)), np.nan)
        fields = (self.rows[name].to_pylist() for name in ("query_id", "strategy", field))
        for query, strategy, value in zip(*fields, strict=True):
            table[at[query], column[strategy]] = value
        if np.isnan(table).any():
            raise ValueError(f"{self.name}: {field} is not complete")
        return table


def load(name: str, data: Path, costs: Callable[[str], float] | None, **about: Any) -> Source:
    """Import a source; `costs` gives a strategy's assumed cost where the source has none."""
    rules = load_mapping(name)
    with Store.open(":memory:") as store:
        report = import_file(store, data / rules.file, workload=name, mapping=rules, constants={})
        rows = to_table(store.observations(name), Observation)
        with store.reading() as sql:
            found = sql(
                "SELECT query_id, class_label FROM queries WHERE workload = ? ORDER BY ALL", [name]
            ).fetchall()
    if costs is not None:
        assumed = [costs(strategy) for strategy in rows["strategy"].to_pylist()]
        place = rows.column_names.index("cost_usd")
        rows = rows.set_column(place, "cost_usd", pa.array(assumed, pa.float64()))
    answered = set(rows["query_id"].to_pylist())
    imported = {"rows_read": report.rows, "set_aside": dict(report.set_aside)}
    return Source(name, rows, {q: c for q, c in found if q in answered}, about, imported)


def sources(data: Path) -> list[tuple[Source, tuple[str, ...] | None]]:
    """Every source, and the order of its labels where they have one."""
    prices = _list_prices(data)
    steps = tuple(map(str, range(9)))
    return [
        (
            load(
                "swebench_minisweagent",
                data,
                None,
                labels="a person's estimate of the time to fix; known to a caller only where "
                "somebody has looked at the task",
                cost="measured: API dollars of every run",
                cost_unit="USD",
                missing="latency and tokens; six models without rows and one set aside because "
                "its rows contradict its headline are not compared",
            ),
            ("<15 min fix", "15 min - 1 hour", "1-4 hours", ">4 hours"),
        ),
        (
            load(
                "gsm8k_verifiers",
                data,
                _parameters_times_samples,
                labels="calculator steps of the reference solution; a caller does not know them "
                "before the answer, so this is what a perfect sorter by steps would save",
                cost="assumed: parameters x samples in billions, every sample as long, the "
                "verifier's own passes not counted. The source records no cost",
                cost_unit="billion parameters x samples, not dollars",
                missing="cost, tokens and latency",
            ),
            steps,
        ),
        (
            load(
                "llmrouter_nine_models",
                data,
                lambda strategy: prices[strategy.partition("/")[0]],
                labels="the task, which a caller knows",
                cost="assumed: the list price of a model, every answer and prompt as long on "
                "every model. The source records no tokens and no cost per query",
                cost_unit="listed USD per million tokens, not dollars per request",
                missing="cost, tokens and latency per query",
            ),
            None,
        ),
    ]


def _list_prices(data: Path) -> dict[str, float]:
    """Listed dollars per million tokens by model, by the importer; input and output are equal."""
    name = "llmrouter_listed_prices"
    with Store.open(":memory:") as store:
        import_file(
            store,
            data / LIST_PRICES,
            workload=name,
            mapping=load_mapping(name),
            constants={"as_of": "2025-01-01"},  # the source names no day; a card needs one
        )
        (card,) = store.price_cards()
    models = PriceCard.model_validate_json(card.card).models
    return {model: _one_price(model, price) for model, price in models.items()}


def _one_price(model: str, price: TokenPrice) -> float:
    if price.input != price.output:
        raise ValueError(f"{model}: prompts and answers have different prices")
    return price.output


def _parameters_times_samples(strategy: str) -> float:
    model, _, method = strategy.partition("/")
    billions = {"gpt3-6b": 6.0, "gpt3-175b": 175.0}[model]
    return billions * (100 if "n=100" in method else 1)


def without_rare(labels: Mapping[str, str], order: Sequence[str]) -> dict[str, str]:
    """Ordered labels, those with under 5 % of the queries joined to their smaller neighbour."""
    counts = Counter(labels.values())
    groups = [[name] for name in order if counts[name]]
    size = [counts[name] for name in order if counts[name]]
    while len(groups) > 1 and min(size) < SMALLEST_SHARE * len(labels):
        rare = size.index(min(size))
        beside = [at for at in (rare - 1, rare + 1) if 0 <= at < len(size)]
        left = min(rare, min(beside, key=lambda at: size[at]))
        groups[left : left + 2] = [groups[left] + groups[left + 1]]
        size[left : left + 2] = [size[left] + size[left + 1]]
    names = {name: " or ".join(group) for group in groups for name in group}
    return {query: names[label] for query, label in labels.items()}


def question(profile: Profile, floor: float, confidence: float | None) -> Planner:
    """The cheapest plan above an accuracy floor."""
    return Planner(
        profile,
        Spec.model_validate(
            {
                "format_version": "1.0",
                "workload": profile.workload,
                "limits": {"accuracy": {"overall": min(max(floor, 0.0), 1.0)}},
                "confidence": confidence or "none",
            }
        ),
    )


@dataclass(frozen=True)
class Compared:
    """The plans of one question.

    Attributes:
        floor: Mean score asked for.
        single: The strategy to beat.
        kept_alone: Whether it keeps the floor under the same margin.
        labels: Share per class and strategy of the plan by labels; None where infeasible.
        one: The same of the class-blind plan.
        promised: Promised mean score of both, where planned.
    """

    floor: float
    single: str
    kept_alone: bool
    labels: dict[str, dict[str, float]] | None
    one: dict[str, dict[str, float]] | None
    promised: tuple[float | None, float | None]


def compare(
    by_label: Profile, blind: Profile, below: float | None, confidence: float | None
) -> Compared:
    """Plan at a distance below the best single strategy; None: at its own promise."""
    start = question(blind, 0.0, confidence)
    best = max(blind.strategies, key=lambda s: blind.cell(blind.classes[0], s).accuracy)
    floor = blind.cell(blind.classes[0], best).accuracy - (below or 0.0)
    if below is None:
        alone = dict(start.singles())[best]
        floor = start.accounts.promised(alone).accuracy - 1e-6  # the solver's tolerance
    planner = question(blind, floor, confidence)
    single = best_single(planner)
    found = [_planned(question(by_label, floor, confidence)), _planned(planner)]
    return Compared(
        floor=floor,
        single=single.strategy if single else best,
        kept_alone=single is not None,
        labels=found[0][0],
        one=found[1][0],
        promised=(found[0][1], found[1][1]),
    )


def _planned(planner: Planner) -> tuple[dict[str, dict[str, float]] | None, float | None]:
    try:
        answer = planner.answer(planner.spec.objective, planner.limits)
    except InfeasibleError:
        return None, None
    rung = planner.rung(answer, planner.spec.objective)
    return rung.allocation, rung.promised.accuracy


@dataclass(frozen=True)
class Table:
    """What every strategy made of every query: scores and costs, shape (queries, strategies)."""

    strategies: tuple[str, ...]
    labels: NDArray[np.object_]
    score: Floats
    cost: Floats

    def judge(
        self, allocation: Mapping[str, Mapping[str, float]], rows: NDArray[np.intp]
    ) -> tuple[float, float]:
        """Mean score and cost of some queries under shares by label, or by the one class."""
        share = np.zeros((len(rows), len(self.strategies)))
        for name, shares in allocation.items():
            own = self.labels[rows] == name if len(allocation) > 1 else slice(None)
            for strategy, value in shares.items():
                share[own, self.strategies.index(strategy)] = value
        return (
            float((share * self.score[rows]).sum() / len(rows)),
            float((share * self.cost[rows]).sum() / len(rows)),
        )

    def blind_cost(self, accuracy: float, rows: NDArray[np.intp]) -> float:
        """Cost of the cheapest mixture without classes of at least this mean score."""
        score, cost = self.score[rows].mean(axis=0), self.cost[rows].mean(axis=0)
        best = int(np.lexsort((cost, -score))[0])
        found = float(cost[best])
        for above in np.flatnonzero(score >= accuracy):
            found = min(found, float(cost[above]))
            for below in np.flatnonzero(score < accuracy):
                share = (accuracy - score[below]) / (score[above] - score[below])
                found = min(found, float(share * cost[above] + (1 - share) * cost[below]))
        return found


def _figures(found: Compared, table: Table, rows: NDArray[np.intp]) -> dict[str, Any]:
    single = table.judge({"": {found.single: 1.0}}, rows)
    one = table.judge(found.one, rows) if found.one else None
    labels = table.judge(found.labels, rows) if found.labels else None
    return {
        "single": single,
        "one_class": one,
        "labels": labels,
        "saving_against_single": 1 - labels[1] / single[1] if labels else None,
        "saving_against_one_class": 1 - labels[1] / one[1] if labels and one else None,
        "one_class_saving_against_single": 1 - one[1] / single[1] if one else None,
        "accuracy_difference": labels[0] - single[0] if labels else None,
        "floor_kept": labels[0] >= found.floor if labels else None,
        "one_class_floor_kept": one[0] >= found.floor if one else None,
    }


def in_sample(by_label: Profile, blind: Profile, table: Table) -> list[dict[str, Any]]:
    """Every question over all queries."""
    every = np.arange(len(table.labels))
    result = []
    for below, confidence in _questions():
        found = compare(by_label, blind, below, confidence)
        figures = _figures(found, table, every)
        result.append(
            {
                "floor": _floor_name(below),
                "confidence": confidence or "none: point estimates",
                "accuracy_floor": _round(found.floor),
                "single": {
                    "strategy": found.single,
                    "keeps_the_floor": found.kept_alone,
                    **_pair(figures.pop("single")),
                },
                "one_class": _plan(figures.pop("one_class"), found.promised[1], found.one),
                "labels": _plan(figures.pop("labels"), found.promised[0], found.labels),
                **{k: _round(value) for k, value in figures.items() if "kept" not in k},
            }
        )
    return result


def _questions() -> list[tuple[float | None, float | None]]:
    asked: list[tuple[float | None, float | None]] = [
        (below, confidence) for confidence in CONFIDENCES for below in POINTS_BELOW
    ]
    return [*asked, (None, 0.95)]


def _floor_name(below: float | None) -> str:
    return "its own promise" if below is None else f"{below:g} below best"


def _pair(values: tuple[float, float]) -> dict[str, float | None]:
    return {"accuracy": _round(values[0]), "cost_per_request": _round(values[1])}


def _plan(
    values: tuple[float, float] | None,
    promised: float | None,
    allocation: Mapping[str, Mapping[str, float]] | None,
) -> dict[str, Any]:
    if values is None or allocation is None:
        return {"feasible": False}
    shares = {name: {s: _round(x) for s, x in own.items()} for name, own in allocation.items()}
    return {"feasible": True, **_pair(values), "promised_accuracy": promised, "shares": shares}


def cross_fitted(
    source: Source, labels: Mapping[str, str], table: Table, queries: Sequence[str]
) -> list[dict[str, Any]]:
    """Plans of one half judged on the other, many times."""
    found: dict[tuple[float | None, float | None], list[dict[str, Any]]] = {}
    for seed in range(RESPLITS):
        half = _half(table.labels, seed)
        other = np.setdiff1d(np.arange(len(queries)), half)
        chosen = [queries[index] for index in half]
        by_label, blind = source.profile(labels, chosen), source.profile(None, chosen)
        for below, confidence in _questions():
            compared = compare(by_label, blind, below, confidence)
            found.setdefault((below, confidence), []).append(_figures(compared, table, other))
    return [
        {
            "floor": _floor_name(below),
            "confidence": confidence or "none: point estimates",
            "queries_planned_on": len(queries) - len(other),
            "queries_judged_on": len(other),
            "resplits": RESPLITS,
            **_summary(rows, below, table),
        }
        for (below, confidence), rows in found.items()
    ]


def _half(labels: NDArray[np.object_], seed: int) -> NDArray[np.intp]:
    """Half of the queries of every label; an odd one goes to either half by chance."""
    rng = np.random.default_rng(seed)
    parts = []
    for name in sorted(set(labels)):
        own = rng.permutation(np.flatnonzero(labels == name))
        parts.append(own[: (len(own) + int(rng.integers(2))) // 2])
    return np.sort(np.concatenate(parts))


def _summary(
    rows: Sequence[Mapping[str, Any]], below: float | None, table: Table
) -> dict[str, Any]:
    planned = [row for row in rows if row["labels"] is not None]
    blind = [row for row in rows if row["one_class"] is not None]
    feasible = {"labels_feasible": len(planned), "one_class_feasible": len(blind)}
    if not planned:
        return feasible
    names = (
        "saving_against_single",
        "saving_against_one_class",
        "one_class_saving_against_single",
        "accuracy_difference",
    )
    kept = {
        "floor_kept": sum(row["floor_kept"] for row in planned),
        "one_class_floor_kept": sum(row["one_class_floor_kept"] for row in blind),
    }
    if below is not None:
        kept["accuracy_kept"] = sum(_kept(row, "labels", below) for row in planned)
        kept["one_class_accuracy_kept"] = sum(_kept(row, "one_class", below) for row in blind)
    return {
        **feasible,
        **{name: _spread([r[name] for r in planned if r[name] is not None]) for name in names},
        "labels": _reached([row["labels"] for row in planned], table),
        "one_class": _reached([row["one_class"] for row in blind], table),
        **kept,
    }


def _reached(judged: Sequence[tuple[float, float]], table: Table) -> dict[str, Any] | None:
    if not judged:
        return None
    accuracy, cost = map(float, np.mean(judged, axis=0))
    hindsight = table.blind_cost(accuracy, np.arange(len(table.labels)))
    return {**_pair((accuracy, cost)), "saving_at_accuracy_reached": _round(1 - cost / hindsight)}


def _kept(row: Mapping[str, Any], plan: str, below: float) -> bool:
    return bool(row[plan][0] - row["single"][0] >= -below - 1e-12)


def _spread(values: Sequence[float]) -> dict[str, Any] | None:
    if len(values) < 2:
        return None
    sd = float(np.std(values, ddof=1))
    return {
        "mean": _round(float(np.mean(values))),
        "sd_over_resplits": _round(sd),
        "se_of_mean": _round(sd / np.sqrt(len(values))),
        "of": len(values),
    }


def _round(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")


def measure(source: Source, order: Sequence[str] | None) -> dict[str, Any]:
    """All figures of one source."""
    queries = sorted(source.labels)
    strategies = tuple(sorted(set(source.rows["strategy"].to_pylist())))
    score = source.table("score", queries, strategies)
    cost = source.table("cost_usd", queries, strategies)
    blind = source.profile(None, queries)
    classings = {"as recorded": dict(source.labels)}
    if order is not None:
        classings["rare labels joined to a neighbour"] = without_rare(source.labels, order)
    result: dict[str, Any] = {
        **source.about,
        **source.imported,
        "queries": len(queries),
        "outcomes": score.size,
        "strategies": {
            name: _pair((float(score[:, s].mean()), float(cost[:, s].mean())))
            for s, name in enumerate(strategies)
        },
        "classes": {},
    }
    for kind, labels in classings.items():
        names = np.array([labels[query] for query in queries], dtype=object)
        table = Table(strategies, names, score, cost)
        by_label = source.profile(labels, queries)
        counts = Counter(labels.values())
        result["classes"][kind] = {
            "queries_by_class": {name: counts[name] for name in by_label.classes},
            "in_sample": in_sample(by_label, blind, table),
        }
    # with the coarser classes where there are two kinds: halves of a rare label hold one query
    result["classes"][kind]["cross_fit"] = cross_fitted(source, labels, table, queries)
    return result


def main() -> None:
    """Measure and write."""
    started = time.perf_counter()
    measured = {source.name: measure(source, order) for source, order in sources(data_folder())}
    result = {
        "definitions": DEFINITIONS,
        "resplits": RESPLITS,
        "sources": measured,
        "seconds": round(time.perf_counter() - started, 1),
        "machine": {
            "processor": platform.machine(),
            "python": platform.python_version(),
            "numpy": version("numpy"),
            "duckdb": version("duckdb"),
        },
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(f"{len(measured)} sources, {result['seconds']} s", file=sys.stderr)


if __name__ == "__main__":
    main()

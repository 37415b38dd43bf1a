from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from app.adaptive_report import AdaptiveReport
from app.cli.profile.advise import advise_command
from app.measuring_adaptively import measure_adaptively
from planner.spec import Spec
from profiles.errors import InputError
from profiles.measuring.measure import MeasureReport
from profiles.measuring.scorers import Task
from profiles.observation import Evidence, Observation
from profiles.query import Query
from profiles.store.store import Store

ACCURACY = {("easy", "a/single"): 0.9, ("easy", "b/single"): 0.92,
            ("hard", "a/single"): 0.4, ("hard", "b/single"): 0.8}  # fmt: skip
COST_USD = {"a/single": 1e-4, "b/single": 1e-3}
TASKS = [Task(f"q{i}", f"prompt {i}", ("easy", "hard")[i % 2]) for i in range(800)]
CLASS_OF = {task.query_id: str(task.class_label) for task in TASKS}


def spec_of(requests: int, **keys: object) -> Spec:
    return Spec.model_validate(
        {
            "format_version": "1.0",
            "workload": "w",
            "limits": {"accuracy": {"overall": 0.7}},
            "traffic": {"requests": requests, "mix": {"easy": 0.5, "hard": 0.5}},
            **keys,
        }
    )


def run(
    store: Store, spec: Spec, tasks: list[Task]
) -> tuple[AdaptiveReport, list[tuple[str, str]]]:
    """Measure with a payer that answers by chance, seeded by query and strategy."""
    paid: list[tuple[str, str]] = []

    async def pay(jobs: Sequence[tuple[str, str, int]]) -> MeasureReport:
        paid.extend((query, strategy) for query, strategy, _ in jobs)
        store.add_queries("w", [Query(t.query_id, t.prompt, t.class_label) for t in tasks])
        store.add(
            Observation(
                workload="w",
                query_id=query,
                strategy=strategy,
                sample=sample,
                score=float(
                    random.Random(f"{query} {strategy}").random() < _chance(query, strategy)
                ),
                cost_usd=COST_USD[strategy],
                evidence=Evidence.SIMULATED,
                source="test",
            )
            for query, strategy, sample in jobs
        )
        return MeasureReport(len(jobs), 0, len(jobs), 0, (), 0, None, 0, None, 0.0)

    report = asyncio.run(measure_adaptively(store, spec, tasks, list(COST_USD), pay))
    return report, paid


def _chance(query: str, strategy: str) -> float:
    return ACCURACY[CLASS_OF[query], strategy]


def test_a_run_pays_for_nothing_twice_and_for_less_than_everything(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        report, paid = run(store, spec_of(20_000), TASKS)
        assert report.measured == len(paid) == len(set(paid)) == len(store.measured("w"))
        assert 40 < len(paid) < 2 * len(TASKS)
        again, more = run(store, spec_of(20_000), TASKS)
        assert more == []
        assert again.measured == 0


def test_more_traffic_is_worth_more_measuring(tmp_path: Path) -> None:
    paid = []
    for requests in (2_000, 2_000_000):
        with Store.open(tmp_path / f"store{requests}") as store:
            paid.append(len(run(store, spec_of(requests), TASKS)[1]))
    assert paid[0] < paid[1]


def test_classes_and_their_mix_must_be_known_before_anything_is_paid_for(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        with pytest.raises(InputError, match="has no class"):
            run(store, spec_of(1000), [Task("q0", "prompt")])
        with pytest.raises(InputError, match="needs the mix") as unmixed:
            run(store, spec_of(1000, traffic={"requests": 1000}), TASKS[:3])
        assert "mix: {easy: 0.666666667, hard: 0.333333333}" in str(unmixed.value)
        with pytest.raises(InputError, match="no task and nothing measured"):
            run(store, spec_of(1000), TASKS[:1])
        with pytest.raises(InputError, match="not to be measured"):
            run(store, spec_of(1000, strategies=["c/single"]), TASKS)
        assert store.measured("w") == set()


def test_a_spec_of_some_strategies_pays_for_no_others(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        _, paid = run(store, spec_of(20_000, strategies=["b/single"]), TASKS)
    assert {strategy for _, strategy in paid} == {"b/single"}


def test_what_other_tasks_showed_counts_as_warm_up(tmp_path: Path) -> None:
    cheapest_does = spec_of(1000, limits={"accuracy": {"overall": 0.1}})
    with Store.open(tmp_path / "store") as store:
        _, first = run(store, cheapest_does, TASKS[:40])
        _, then = run(store, cheapest_does, TASKS[40:])
    assert {strategy for _, strategy in first} == {"a/single", "b/single"}
    assert {strategy for _, strategy in then} == {"a/single"}


def test_limits_that_few_queries_cannot_certify_together_are_measured_for(tmp_path: Path) -> None:
    floors = {"accuracy": {"by_class": {"easy": 0.82, "hard": 0.70}}}
    with Store.open(tmp_path / "store") as store:
        report, paid = run(store, spec_of(20_000, limits=floors), TASKS)
        assert report.rounds > 2
        assert report.ended == "no task that is left is worth its cost to the plan"
        assert len(paid) > 100
        impossible = {"accuracy": {"by_class": {"easy": 0.99, "hard": 0.99}}}
        report, paid = run(store, spec_of(20_000, limits=impossible), TASKS)
        assert paid == []
        assert str(report.ended).startswith("no plan, and no more tasks that could change it")


def test_the_command_prints_reasons_for_people_and_rows_for_scripts(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        run(store, spec_of(2_000), TASKS)
    spec = tmp_path / "spec.yaml"
    spec.write_text(spec_of(10**7).model_dump_json(exclude_none=True))
    words = [str(spec), "--profiles", str(tmp_path / "store")]
    shown = CliRunner().invoke(advise_command, words, catch_exceptions=False)
    assert "missing evidence costs this plan about" in shown.output
    assert " per month of 10,000,000 requests; " in shown.output
    assert " worth measuring further: " in shown.output
    assert " more queries for " in shown.output
    found = CliRunner().invoke(
        advise_command, [*words, "--format", "json", "--limit", "2"], catch_exceptions=False
    )
    rows = json.loads(found.output)["rows"]
    assert 1 <= len(rows) <= 2
    assert {"class_name", "strategy", "queries", "value_usd", "cost_usd", "reason"} <= set(rows[0])

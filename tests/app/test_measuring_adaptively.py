from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

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
            "traffic": {"requests": requests},
            **keys,
        }
    )


def run(store: Store, spec: Spec, tasks: list[Task]) -> tuple[MeasureReport, list[tuple[str, str]]]:
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


def test_classes_must_be_known_before_anything_is_paid_for(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        with pytest.raises(InputError, match="classes that come with the tasks"):
            run(store, spec_of(1000, classes="difficulty.onnx"), TASKS)
        with pytest.raises(InputError, match="has no class"):
            run(store, spec_of(1000), [Task("q0", "prompt")])
        assert store.measured("w") == set()


def test_the_command_prints_a_table_for_people_and_rows_for_scripts(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        run(store, spec_of(2_000), TASKS)
    spec = tmp_path / "spec.yaml"
    spec.write_text(spec_of(10**7).model_dump_json(exclude_none=True))
    words = [str(spec), "--profiles", str(tmp_path / "store")]
    shown = CliRunner().invoke(advise_command, words, catch_exceptions=False)
    assert "missing evidence costs this plan about" in shown.output
    assert "worth USD" in shown.output
    found = CliRunner().invoke(
        advise_command, [*words, "--format", "json", "--limit", "2"], catch_exceptions=False
    )
    rows = json.loads(found.output)["rows"]
    assert 1 <= len(rows) <= 2
    assert {"class_name", "strategy", "queries", "value_usd", "cost_usd", "reason"} <= set(rows[0])

import numpy as np
import pytest

from app.choosing_classes import judge_by_plans
from planner.spec import Spec
from profiles.difficulty.choosing import Way
from profiles.difficulty.lessons import Lessons
from profiles.difficulty.predicting.predictor import Predictions
from profiles.difficulty.sorting.candidates import candidates
from profiles.errors import UnknownValueError

QUERIES = 400
CHANCES = np.array([[0.95, 0.96], [0.2, 0.9]])
FLOOR = {"accuracy": {"overall": 0.8}}


def spec(limits):
    return Spec.model_validate({"format_version": "1.0", "workload": "w", "limits": limits})


@pytest.fixture(scope="module")
def lessons():
    """Half of the queries are hard, and only the dear strategy solves those."""
    rng = np.random.default_rng(0)
    solved = rng.random((QUERIES, 2)) < CHANCES[np.arange(QUERIES) % 2]
    ids = [f"q{index:03}" for index in range(QUERIES)]
    return Lessons(
        workload="w",
        query_ids=ids,
        prompts=ids,
        labels=[None] * QUERIES,
        strategies=("cheap/single", "good/single"),
        scores=solved.astype(np.float64),
        costs=np.array([1e-4, 1e-2]) * rng.uniform(0.5, 1.5, (QUERIES, 2)),
        without_prompt=0,
    )


@pytest.fixture(scope="module")
def fold_of():
    return np.arange(QUERIES) // 2 % 5


@pytest.fixture(scope="module")
def tried(lessons, fold_of):
    """Sortings by predictions that see what is hard, but not sharply."""
    noise = np.random.default_rng(1).normal(0, 0.1, (QUERIES, 2))
    guesses = (CHANCES[np.arange(QUERIES) % 2] + noise).clip(0, 1).round(5)
    found = candidates(Predictions(guesses, lessons.costs), lessons, fold_of, (1, 2, 4), 0)
    return [
        Way(c.kind, c.sorting.names, c.class_index, c.class_index, c.sorting, None) for c in found
    ]


@pytest.mark.parametrize("limits", [FLOOR, None])
def test_hard_queries_get_a_class_of_their_own(lessons, tried, fold_of, limits):
    choice = judge_by_plans(None if limits is None else spec(limits))(lessons, tried, fold_of)
    chosen = tried[choice.index]
    assert 2 <= len(chosen.names) <= 4
    assert "on unseen queries" in choice.reason
    assert [row.kind for row in choice.table] == [candidate.kind for candidate in tried]
    (blind,) = [row for row in choice.table if row.classes == 1]
    assert blind.behind > 3 * blind.behind_error


def test_every_way_that_is_judged_is_told_before(lessons, tried, fold_of):
    told = []
    judge_by_plans(spec(FLOOR), lambda *step: told.append(step))(lessons, tried[:3], fold_of)
    assert told == [("judge by plans", done, 3) for done in range(3)]


def test_limits_that_lessons_cannot_judge_are_named(lessons, tried, fold_of):
    limits = {
        "accuracy": {"overall": 0.8, "max_gap": {"language": 0.1}},
        "latency": {"p95_s": 2.0},
    }
    plain = judge_by_plans(spec(FLOOR))(lessons, tried[:3], fold_of)
    choice = judge_by_plans(spec(limits))(lessons, tried[:3], fold_of)
    assert choice.table == plain.table
    assert choice.reason == f"{plain.reason} Not judged: the limit on latency and limits on groups."


def test_a_question_about_money_needs_costs(lessons, tried, fold_of):
    unpriced = Lessons(
        workload="w",
        query_ids=lessons.query_ids,
        prompts=lessons.prompts,
        labels=lessons.labels,
        strategies=lessons.strategies,
        scores=lessons.scores,
        costs=np.full_like(lessons.costs, np.nan),
        without_prompt=0,
    )
    with pytest.raises(UnknownValueError, match="cost"):
        judge_by_plans(spec(FLOOR))(unpriced, tried[:2], fold_of)

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_policies import CHEAP, DEAR, budget, policy, written

from policies.policy import Budget
from profiles.errors import InputError
from runtime.replay import Outcomes, Recorded, replay

BOTH = ((DEAR, 0.001), (CHEAP, 0.0001))


def trace(
    count: int, dear: Recorded = (1.0, 0.001, 2.0), cheap: Recorded = (0.0, 0.0001, 0.5)
) -> tuple[dict[str, dict[str, Recorded]], dict[str, str]]:
    queries = [f"q{number}" for number in range(count)]
    outcomes = {query: {DEAR: dear, CHEAP: cheap} for query in queries}
    return outcomes, dict.fromkeys(queries, "easy")


def mean(usd: float) -> tuple[Budget, ...]:
    return (Budget(usd_per_request=usd),)


def test_without_a_budget_every_request_gets_the_plan_as_asked(tmp_path: Path) -> None:
    report = replay(written(policy(rungs=BOTH), tmp_path), *trace(20))
    assert (report.requests, report.answered, report.refused) == (20, 20, 0)
    assert (report.accuracy, report.accuracy_of_all, report.budget_usd) == (1.0, 1.0, None)
    assert report.spend_usd == pytest.approx(0.02)
    assert report.cost_usd_per_request == pytest.approx(0.001)
    assert report.latency_p95_s == 2.0
    assert report.rungs == (20, 0)
    assert list(report.by_strategy) == [DEAR]
    assert report.by_class["easy"].answered == 20
    assert report.by_class["hard"].accuracy is None


def test_the_budget_is_scaled_to_the_trace_and_paced_to_its_end(tmp_path: Path) -> None:
    report = replay(written(policy(rungs=BOTH, budgets=mean(0.0005)), tmp_path), *trace(200))
    assert report.budget_usd == pytest.approx(0.1)
    assert report.refused == 0
    assert 0.09 <= report.spend_usd <= 0.1
    # 0.0005 is four ninths of the way from the cheap strategy to the dear one.
    assert report.accuracy == pytest.approx(4 / 9, abs=0.02)
    assert sum(report.rungs) == 200


def test_a_budget_too_small_for_all_refuses_the_rest(tmp_path: Path) -> None:
    report = replay(written(policy(rungs=BOTH, budgets=mean(0.00005)), tmp_path), *trace(100))
    assert report.answered + report.refused == 100
    assert 0 < report.answered < 51
    assert report.spend_usd <= 0.005
    assert report.accuracy_of_all <= report.answered / 100


def test_costs_above_the_bound_are_charged_and_counted_within_the_limit(tmp_path: Path) -> None:
    found = policy(rungs=BOTH, budgets=mean(0.001))
    report = replay(written(found, tmp_path), *trace(50, dear=(1.0, 0.009, None)))
    assert report.above_bound > 0
    assert report.spend_usd <= 0.05
    assert report.latency_p95_s is None


def test_an_unrecorded_cost_is_charged_in_full(tmp_path: Path) -> None:
    report = replay(written(policy(rungs=BOTH), tmp_path), *trace(5, dear=(1.0, None, 1.0)))
    assert report.unknown_cost == 5
    assert report.spend_usd == pytest.approx(5 * 0.002)


def test_missing_outcomes_go_to_the_next_cheaper_strategy_or_are_counted(tmp_path: Path) -> None:
    outcomes, labels = trace(3)
    del outcomes["q0"][DEAR]
    outcomes["q1"] = {}
    outcomes["q2"][DEAR] = (None, 0.001, None)
    report = replay(written(policy(rungs=BOTH), tmp_path), outcomes, labels)
    assert (report.substituted, report.missing, report.answered) == (2, 1, 2)
    assert report.accuracy_of_all == 0.0


def test_what_a_request_is_sorted_by_must_be_known(tmp_path: Path) -> None:
    path = written(policy(rungs=BOTH), tmp_path)
    with pytest.raises(InputError, match="query q0: this request has no class"):
        replay(path, trace(1)[0], {})
    with pytest.raises(InputError, match="no outcomes"):
        replay(path, {}, {})


def test_the_same_seed_gives_the_same_report(tmp_path: Path) -> None:
    path = written(policy(rungs=BOTH, budgets=mean(0.0004)), tmp_path)
    assert replay(path, *trace(60), seed=3) == replay(path, *trace(60), seed=3)
    assert replay(path, *trace(60)).as_dict()["format_version"] == "1.0"


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    usd=st.floats(1e-6, 2e-3),
    count=st.integers(1, 40),
)
def test_a_replay_never_spends_more_than_its_budget(
    tmp_path_factory: pytest.TempPathFactory, seed: int, usd: float, count: int
) -> None:
    rng = random.Random(seed)
    outcomes: dict[str, dict[str, Recorded]] = {}
    for number in range(count):
        dear = rng.choice([None, rng.expovariate(1000)])
        outcomes[f"q{number}"] = {
            DEAR: (rng.random(), dear, rng.random()),
            CHEAP: (rng.random(), rng.expovariate(10_000), None),
        }
    labels = {query: rng.choice(["easy", "hard"]) for query in outcomes}
    folder = tmp_path_factory.mktemp("replay")
    found: Outcomes = outcomes
    report = replay(
        written(policy(rungs=BOTH, budgets=mean(usd)), folder), found, labels, seed=seed
    )
    assert report.budget_usd is not None
    assert report.spend_usd <= report.budget_usd <= usd * count * (1 + 1e-12)
    assert report.answered + report.refused + report.missing == count
    parts = report.by_strategy.values()
    assert sum(part.answered for part in parts) == report.answered
    assert sum(part.spend_usd for part in parts) == pytest.approx(report.spend_usd)


def test_budgets_of_a_window_are_scaled_by_their_mean(tmp_path: Path) -> None:
    path = written(policy(rungs=BOTH, budgets=(budget(5.0, requests=5000),)), tmp_path)
    assert replay(path, *trace(10)).budget_usd == pytest.approx(0.01)

"""Margins that cuts of the whole cone do not settle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import Array, make_profile, make_spec, random_profile

from planner.limit_names import OVERALL, SPEND
from planner.planner import Planner
from planner.programme import session
from planner.programme.sifting import Sifted
from profiles.errors import InfeasibleError
from profiles.profile import Profile

NEVER = 10**9


@dataclass
class Asked:
    """Values, promises and prices of some questions, asked one after the other."""

    values: list[float]
    prices: list[dict[str, float]]


def _asked(profile: Profile, spec: dict[str, object], moved: str, to: list[float]) -> Asked:
    planner = Planner(profile, make_spec(**spec))
    found = [
        planner.answer(planner.spec.objective, planner.limits.moved(moved, value)) for value in to
    ]
    for answer, value in zip(found, to, strict=True):
        assert planner.keeps(answer.x, planner.limits.moved(moved, value), 1e-8)
    return Asked([one.value for one in found], [one.shadow_prices for one in found])


def _costs(profile: Profile) -> Array:
    planner = Planner(profile, make_spec(limits={}))
    e = planner.estimates
    return np.array([float(e.traffic_share * x @ e.cost_usd) for _, x in planner.singles()])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("size", [(3, 5), (12, 20)])
def test_a_split_margin_gives_the_most_accurate_plan_that_cuts_of_the_whole_give(
    seed: int, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = random_profile(np.random.default_rng(seed), *size, queries=300)
    budgets = np.quantile(_costs(profile), [0.5, 0.7, 0.6]).tolist()
    spec: dict[str, object] = {
        "objective": "maximize accuracy",
        "traffic": {"requests": 5_000, "per": "day"},
        "limits": {"spend": {"usd_per_request": budgets[0]}},
    }
    monkeypatch.setattr(session, "SPLIT_AFTER", NEVER)
    whole = _asked(profile, spec, SPEND, budgets)
    monkeypatch.setattr(session, "SPLIT_AFTER", 0)
    split = _asked(profile, spec, SPEND, budgets)
    assert split.values == pytest.approx(whole.values, abs=2e-6)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("size", [(3, 5), (12, 20), (12, 200)])
def test_a_split_margin_of_a_floor_gives_the_same_cost_and_the_same_price(
    seed: int, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = random_profile(np.random.default_rng(seed), *size, queries=1000)
    spec: dict[str, object] = {
        "traffic": {"requests": 5_000, "per": "day"},
        "limits": {"accuracy": {"overall": 0.5}},
    }
    floors = [0.5, 0.55, 0.52]
    monkeypatch.setattr(session, "SPLIT_AFTER", NEVER)
    whole = _asked(profile, spec, OVERALL, floors)
    monkeypatch.setattr(session, "SPLIT_AFTER", 0)
    split = _asked(profile, spec, OVERALL, floors)
    assert split.values == pytest.approx(whole.values, rel=1e-5)
    for ours, theirs in zip(split.prices, whole.prices, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3)


def test_near_equal_strategies_of_many_classes_with_few_queries_are_settled() -> None:
    rng = np.random.default_rng(0)
    level = np.arange(80) % 5
    accuracy = 0.3 + 0.1 * level + 0.1 * rng.normal(0, 1, (30, 80))
    cost = 0.001 * 2.0**level * rng.uniform(0.9, 1.1, (30, 80))
    profile = make_profile(np.clip(accuracy, 0.05, 0.95), cost, queries=40)
    spec = make_spec(objective="maximize accuracy", limits={"spend": {"usd_per_request": 0.004}})
    planner = Planner(profile, spec)
    rung = planner.solve()
    assert rung.promised.accuracy is not None
    assert planner.keeps(planner.explained(planner.limits).x, planner.limits, 1e-8)


@settings(deadline=None, max_examples=8)
@given(
    seed=st.integers(0, 1_000),
    steps=st.lists(st.sampled_from([0.999, 0.99, 0.9, 1.01, 0.5, 1.5]), min_size=2, max_size=5),
)
def test_an_answer_does_not_depend_on_what_was_asked_before(seed: int, steps: list[float]) -> None:
    """So many classes have margins that are split, and rows that are forgotten between answers."""
    profile = random_profile(np.random.default_rng(seed), 20, 30, queries=40)
    usd = float(np.median(_costs(profile)))
    spec: dict[str, object] = {
        "objective": "maximize accuracy",
        "traffic": {"requests": 5_000, "per": "day"},
        "limits": {"spend": {"usd_per_request": usd}, "accuracy": {"overall": 0.2}},
    }
    budgets = (usd * np.cumprod(steps)).tolist()
    together = Planner(profile, make_spec(**spec))
    for budget in budgets:
        limits = together.limits.moved(SPEND, budget)
        alone = Planner(profile, make_spec(**spec))
        try:
            expected = alone.answer(alone.spec.objective, limits).value
        except InfeasibleError:
            with pytest.raises(InfeasibleError):
                together.answer(together.spec.objective, limits)
            continue
        answer = together.answer(together.spec.objective, limits)
        assert answer.value == pytest.approx(expected, abs=4e-6)
        assert together.keeps(answer.x, limits, 1e-8)


def test_the_next_answer_near_by_needs_few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    profile = random_profile(np.random.default_rng(1), 30, 40, queries=40)
    usd = float(np.median(_costs(profile)))
    spec = make_spec(objective="maximize accuracy", limits={"spend": {"usd_per_request": usd}})
    planner = Planner(profile, spec)
    rounds: list[int] = []
    for step in range(4):
        rounds.append(0)
        run = Sifted.run

        def counted(lp: Sifted, time_limit_s: float, **more: bool) -> Array:
            rounds[-1] += 1
            return run(lp, time_limit_s, **more)  # noqa: B023 -- undone before the next

        with monkeypatch.context() as patched:
            patched.setattr(Sifted, "run", counted)
            planner.answer(spec.objective, planner.limits.moved(SPEND, usd * (1 - step / 1000)))
    assert max(rounds[1:]) < rounds[0] / 2

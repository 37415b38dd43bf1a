from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_policies import CHEAP, DEAR, policy

from planner.plan import Figures
from planner.spec import Limits, Traffic, Window
from profiles.errors import BudgetRefusedError
from runtime import pacing
from runtime.ledger import Ledger, Scope, ScopeState, Unit
from runtime.pacing.lateness import STEP

COSTS = (1_000.0, 600.0, 300.0)
ACCURACY = (0.9, 0.85, 0.75)
HOUR_S = 3_600


class Hour:
    """An hour of requests through pacers on one ledger; a request costs what its rung says."""

    def __init__(self, limit: int, pacers: list[pacing.Pacer], *, dearer: float = 1.0) -> None:
        self.now_s = float(HOUR_S)
        self.ledger = Ledger([Scope("a", limit, Window.HOUR)], lambda: self.now_s)
        self.pacers = pacers
        self.dearer = dearer
        self.value = 0.0
        self.refused = 0
        self.rungs: list[int] = []

    def serve(self, requests: int, forecast: float | None) -> None:
        draws = random.Random(1)
        for number in range(requests):
            self.now_s = HOUR_S * (1 + (number + 0.5) / requests)
            pacer = self.pacers[number % len(self.pacers)]
            rung = pacer.rung(
                {"a": forecast}, self.ledger.state, now_s=self.now_s, uniform=draws.random()
            )
            self.rungs.append(rung)
            cost = round(COSTS[rung] * self.dearer)
            try:
                hold = self.ledger.hold(f"r{number}", cost)
            except BudgetRefusedError:
                self.refused += 1
                continue
            hold.call(cost).settle(cost)
            hold.close()
            pacer.charged(rung, cost)
            self.value += ACCURACY[rung]

    @property
    def spent(self) -> int:
        return self.ledger.state("a").spent


def best(limit: float, requests: int) -> float:
    """The most value that a limit buys: along the ladder, which is concave."""
    pace = limit / requests
    for dear, cheap in ((0, 1), (1, 2)):
        if pace >= COSTS[cheap]:
            share = min((pace - COSTS[cheap]) / (COSTS[dear] - COSTS[cheap]), 1)
            return requests * (share * ACCURACY[dear] + (1 - share) * ACCURACY[cheap])
    return ACCURACY[2] * limit / COSTS[2]


@pytest.mark.parametrize("forecast", [500.0, 1_000.0, 2_000.0, None])
@pytest.mark.parametrize("share", [0.4, 0.7, 1.0, 1.2])
def test_an_hour_brings_98_percent_of_what_hindsight_would(
    share: float, forecast: float | None
) -> None:
    hour = Hour(int(1_000 * COSTS[0] * share), [pacing.Pacer(COSTS)])
    hour.serve(1_000, forecast)
    assert hour.value >= 0.98 * best(1_000 * COSTS[0] * share, 1_000)
    assert hour.refused <= 10


def test_replicas_on_one_ledger_correct_no_more_than_one_does() -> None:
    def rungs(replicas: int) -> list[int]:
        hour = Hour(500_000, [pacing.Pacer(COSTS) for _ in range(replicas)])
        hour.serve(1_000, 400.0)
        return hour.rungs

    alone, eight = rungs(1), rungs(8)
    differing = sum(one != other for one, other in zip(alone, eight, strict=True))
    assert differing <= 20
    assert sum(eight) == pytest.approx(sum(alone), abs=20)


def test_costs_above_those_expected_are_learnt_and_reach_to_the_end() -> None:
    hour = Hour(500_000, [pacing.Pacer(COSTS)], dearer=1.3)
    hour.serve(1_000, 1_000.0)
    assert hour.refused <= 10
    assert hour.spent >= 0.97 * 500_000
    assert 1.15 < hour.pacers[0].cost_ratio < 1.3


def test_a_ratio_begins_at_one_and_follows_what_is_charged() -> None:
    pacer = pacing.Pacer(COSTS)
    assert pacer.cost_ratio == 1
    for _ in range(200):
        pacer.charged(0, 3_000)
    assert pacer.cost_ratio == pytest.approx(2, rel=0.02)
    for _ in range(100_000):
        pacer.charged(1, 300)
    assert pacer.cost_ratio == pytest.approx(0.53, abs=0.01)


def test_what_was_learnt_of_costs_sets_the_rung() -> None:
    ledger = Ledger([Scope("a", 90_000, Window.HOUR)], lambda: float(HOUR_S))
    chosen = []
    for charged in (1_000, 3_000):
        pacer = pacing.Pacer(COSTS)
        for _ in range(1_000):
            pacer.charged(0, charged)
        chosen.append(pacer.rung({"a": 100.0}, ledger.state, now_s=float(HOUR_S), uniform=0.1))
    assert chosen == [0, 2]


def test_rungs_of_unknown_or_no_cost_teach_nothing_wrong() -> None:
    pacer = pacing.Pacer((None, 0.0))
    pacer.charged(0, 5)
    pacer.charged(1, 5)
    assert pacer.cost_ratio == 1


# ------------------------------------------------------------------- lateness


@given(
    st.lists(st.floats(0, 10), max_size=300), st.integers(1, 5), st.floats(0, 1, exclude_max=True)
)
def test_lateness_stays_between_no_rung_and_the_fastest(
    latencies: list[float], fastest: int, uniform: float
) -> None:
    late = pacing.Lateness(1.0, fastest)
    for latency_s in latencies:
        late.answered(latency_s)
        assert 0 <= late.rungs <= fastest
        assert 0 <= late.rung(uniform) <= fastest


def test_about_21_late_answers_in_a_row_step_down_one_rung() -> None:
    late = pacing.Lateness(1.0, 2)
    for _ in range(22):
        late.answered(1.5)
    assert late.rung(0.0) == 1
    for _ in range(100):
        late.answered(1.5)
    assert late.rung(0.999) == 2


def test_five_percent_late_answers_are_allowed_and_more_are_not() -> None:
    for allowed, expected in ((20, 0.0), (10, 3.0)):
        late = pacing.Lateness(1.0, 3)
        for number in range(10_000):
            late.answered(2.0 if number % allowed == 0 else 0.5)
        assert late.rungs == pytest.approx(expected, abs=STEP)


def test_where_the_faster_rung_is_in_time_the_late_share_settles_at_five_percent() -> None:
    draws, late = random.Random(3), pacing.Lateness(1.0, 1)
    slow = []
    for _ in range(20_000):
        # of the first rung every fifth answer is late, of the second none
        rung = late.rung(draws.random())
        slow.append(rung == 0 and draws.random() < 0.2)
        late.answered(2.0 if slow[-1] else 0.5)
    assert sum(slow[2_000:]) / 18_000 == pytest.approx(0.05, abs=0.005)


def test_late_answers_step_down_where_money_does_not() -> None:
    pacer = pacing.Pacer(COSTS, lateness=pacing.Lateness(1.0, 2))
    for _ in range(1_000):
        pacer.answered(5.0)
    assert pacer.rung({}, _no_budget, now_s=0.0, uniform=0.5) == 2


def _no_budget(name: str) -> ScopeState:
    raise AssertionError(name)


# ------------------------------------------------------------------- of a policy


def with_tails(*tails: float | None) -> list[Figures]:
    return [
        Figures(accuracy=0.5, cost_usd_per_request=0.001 / (place + 1), latency_p95_s=tail)
        for place, tail in enumerate(tails)
    ]


@pytest.mark.parametrize(
    ("tails", "fastest"),
    [
        ((3.0, 2.0, 1.0), 2),
        ((3.0, 1.0, 2.0), 1),
        ((1.0, 2.0), None),
        ((None, 2.0), 1),
        ((None, None), None),
    ],
)
def test_a_promised_percentile_is_kept_by_the_rungs_down_to_the_fastest(
    tails: tuple[float | None, ...], fastest: int | None
) -> None:
    made = policy(rungs=tuple((DEAR, 0.001) for _ in tails))
    rungs = [
        rung.model_copy(update={"expected": figures})
        for rung, figures in zip(made.rungs, with_tails(*tails), strict=True)
    ]
    limits = Limits.model_validate({"latency": {"p95_s": 2.0}})
    late = pacing.Lateness.of(made.model_copy(update={"rungs": tuple(rungs), "limits": limits}))
    assert (late is None) == (fastest is None)
    if late:
        for _ in range(1_000):
            late.answered(9.0)
        assert late.rungs == fastest


def test_a_pacer_takes_rungs_and_shape_from_its_policy() -> None:
    made = policy(rungs=((DEAR, 0.001), (CHEAP, 0.0001)))
    shape = Traffic.model_validate({"requests": 1_000, "per": "day", "shape": [1.0, 0.0]})
    shaped = made.model_copy(update={"traffic": shape})
    ledger = Ledger([Scope("a", 100_000_000, Window.DAY)], lambda: 43_200.0)
    chosen = [
        pacing.Pacer.of(one).rung({"a": 1_000.0}, ledger.state, now_s=43_200.0, uniform=0.999)
        for one in (made, shaped)
    ]
    # by noon all of the shape's requests are through, so a tenth of the money is plenty
    assert chosen == [1, 0]


def test_only_dollars_are_paced() -> None:
    ledger = Ledger([Scope("a", 0, Window.DAY, Unit.TOKENS)], lambda: 0.0)
    assert pacing.Pacer(COSTS).rung({"a": 5.0}, ledger.state, now_s=0.0, uniform=0.9) == 0

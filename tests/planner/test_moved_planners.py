"""One warm planner under other limits, single strategies beside plans, limits in plain words."""

from __future__ import annotations

import pytest
from worlds import make_profile, make_spec

from planner.explaining.margins import limit_facts
from planner.explaining.plain import limit_sentence, title
from planner.explaining.report import LimitFacts, Move
from planner.frontiers.frontier import frontier
from planner.frontiers.singles import singles
from planner.limit_names import OVERALL, SPEND
from planner.planner import Planner
from planner.solve import best_single
from planner.spec import Objective, Traffic, Window
from profiles.errors import UnprovenError

ACCURACY = [[0.8, 0.9, 0.95], [0.4, 0.6, 0.9]]
USD = [[0.001, 0.003, 0.01], [0.002, 0.006, 0.02]]
PROFILE = make_profile(ACCURACY, USD)


def planner(**keys: object) -> Planner:
    return Planner(PROFILE, make_spec(**keys))


def test_a_planner_under_moved_limits_is_that_of_the_moved_spec() -> None:
    floor = {"accuracy": {"overall": 0.7}}
    moved = planner(limits={"accuracy": {"overall": 0.65}}).under(planner(limits=floor).limits)
    anew = planner(limits=floor)
    rung, expected = moved.solve(), anew.solve()
    assert rung == expected
    assert rung.limits[OVERALL].asked == 0.7
    facts = [
        list(limit_facts(one, one.explained(one.limits), found, lambda: None))
        for one, found in ((moved, rung), (anew, expected))
    ]
    assert facts[0] == facts[1]


def test_a_moved_planner_leaves_the_first_as_it_was() -> None:
    first = planner(limits={"accuracy": {"overall": 0.65}})
    first.under(first.limits.moved(OVERALL, 0.8), 1.0)
    assert first.limits.values == {OVERALL: 0.65}
    assert first.time_limit_s == 60


def test_single_strategies_are_promised_by_the_margins_of_plans() -> None:
    asked = planner(limits={"accuracy": {"overall": 0.7}})
    found = singles(asked)
    assert [one.strategy for one in found] == ["m00/single", "m01/single", "m02/single"]
    assert [one.kept for one in found] == [False, True, True]
    best = best_single(asked)
    assert best is not None
    assert best.expected == found[1].expected
    for one in found:
        assert one.promised.accuracy < one.expected.accuracy
        assert (one.promised.cost_usd_per_request or 0) > (one.expected.cost_usd_per_request or 0)


def test_a_frontier_in_time_is_the_frontier() -> None:
    asked = planner(objective="maximize accuracy")
    whole, hurried = frontier(asked, 9), frontier(planner(objective="maximize accuracy"), 9, 60.0)
    assert [point.accuracy for point in hurried] == pytest.approx(
        [point.accuracy for point in whole], abs=5e-5
    )


def test_a_frontier_without_time_for_its_ends_is_not_told() -> None:
    asked = Planner(PROFILE, make_spec(objective="maximize accuracy"), time_limit_s=1e-12)
    with pytest.raises(UnprovenError):
        frontier(asked, 9, 60.0)


def test_a_frontier_leaves_out_what_time_does_not_allow() -> None:
    asked = planner(objective="maximize accuracy")
    ends = frontier(asked, 9, 1e-12)
    whole = frontier(asked, 9)
    assert [point.accuracy for point in ends] == pytest.approx(
        [whole[0].accuracy, whole[-1].accuracy]
    )


def test_spend_of_a_window_has_its_fixed_costs() -> None:
    spec = make_spec(
        traffic={"requests": 2000, "per": "day"},
        fixed_costs=[{"name": "rent", "pays_for": ["m00"], "usd": 5, "per": "day"}],
    )
    assert spec.usd_per_window(0.01) == pytest.approx(25.0)
    assert make_spec().usd_per_window(0.01) is None


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ("accuracy.overall", "accuracy"),
        ("accuracy.by_class.hard", "accuracy in `hard`"),
        ("accuracy.by_group.language.de", "accuracy for `language.de`"),
        ("accuracy.max_gap.language", "the gap in accuracy between groups of `language`"),
        ("latency.p95_s", "the p95 latency"),
        ("latency.by_class.hard.p50_s", "the p50 latency in `hard`"),
        ("spend.usd_per_request", "the budget"),
        ("gpu.pool", "GPU seconds of `pool`"),
        ("energy.joules_per_request", "energy per request"),
        ("carbon.g_per_request", "carbon per request"),
        ("per_request.calls", "what a request may take of `calls`"),
        ("shares.ours.at_least", "the share of `ours`"),
        ("tenants.acme.accuracy.overall", "accuracy of tenant `acme`"),
    ],
)
def test_limits_have_names_that_people_know(limit: str, words: str) -> None:
    assert title(limit, "`{}`".format) == words


def facts(name: str, looser: Move | None, tighter: Move | None, slack: float = 0.0) -> LimitFacts:
    asked = 0.9 if "accuracy" in name else 0.004
    return LimitFacts(name, asked, asked, asked + slack, slack, True, looser, tighter, None)


def test_a_point_of_accuracy_is_priced_in_the_traffic_of_the_spec() -> None:
    asked = facts("accuracy.by_class.hard", Move(0.89, 0.001), Move(0.91, -0.00137))
    traffic = Traffic(requests=30_000, per=Window.DAY)
    assert limit_sentence(asked, Objective.MINIMIZE_COST, traffic) == (
        "One more point of accuracy in hard costs 1.37 USD per 1,000 requests (41.1 USD per day); "
        "the last one costs 1 USD per 1,000 requests (30 USD per day)."
    )


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (
            facts(SPEND, Move(0.00404, 0.001), Move(0.00396, None)),
            "The budget: 1 % less allows no plan; 1 % more gains 0.1 points of overall accuracy.",
        ),
        (
            facts("accuracy.overall", Move(0.89, 0.001), Move(0.91, None)),
            "No plan keeps 91 % of accuracy; the last one costs 0.1 points of overall accuracy.",
        ),
        (
            facts("accuracy.overall", Move(0.89, 0.001), None),
            "There is no further point of accuracy; the last one costs 0.1 points of overall "
            "accuracy.",
        ),
        (
            facts("accuracy.overall", Move(0.89, 0.0), Move(0.91, 0.0), 0.05),
            "Accuracy costs nothing: 95 % is promised, at least 90 % is asked for.",
        ),
        (
            facts("accuracy.overall", None, Move(0.91, 0.0)),
            "Accuracy costs nothing: with less of it asked for the plan is as good.",
        ),
        (
            LimitFacts("latency.p95_s", 2, 0.05, 0.02, 0.03, False, Move(3, 0.0), None, None),
            "The p95 latency costs nothing: at most 2.0 % are slower, 5 % may be.",
        ),
        (
            LimitFacts("latency.p95_s", 2, 0.05, 0.05, 0.0, True, Move(3, 0.02), None, None),
            "The p95 latency: 3 s instead of 2 s gains 2 points of overall accuracy.",
        ),
    ],
)
def test_what_a_limit_costs_is_one_sentence(asked: LimitFacts, words: str) -> None:
    assert limit_sentence(asked, Objective.MAXIMIZE_ACCURACY) == words

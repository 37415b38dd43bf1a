"""What is said about a plan is true: of an independent solver, and when it is acted upon."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
from group_worlds import COLUMN, grouped
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import linprog
from worlds import make_profile, make_spec, random_profile, table

from planner.explain import LimitsClashError
from planner.explaining import words
from planner.explaining.explanation import explanation
from planner.explaining.flips import TOLERANCE
from planner.explaining.report import Explanation, Flip, StrategyFacts
from planner.fees.fixed_costs import settled
from planner.planner import Planner
from profiles.profile import Profile

Array = NDArray[np.float64]

ACCURACY = [[0.9, 0.95, 0.93, 0.9], [0.4, 0.8, 0.3, 0.6]]
COST = [[0.001, 0.010, 0.005, 0.004], [0.002, 0.020, 0.030, 0.012]]
FLOOR = 0.82


def by_hand(**keys: Any) -> Explanation:
    """60 % easy requests go to the cheap one; three of four hard ones to the dear one.

    The third is good where nobody needs it, the fourth lies between the first two.
    """
    profile = make_profile(ACCURACY, COST, weights=[0.6, 0.4])
    spec = {"limits": {"accuracy": {"overall": FLOOR}}, "confidence": "none", **keys}
    return explanation(Planner(profile, make_spec(**spec)))


@pytest.fixture(scope="module")
def hand() -> Explanation:
    return by_hand()


def facts(found: Explanation, strategy: str) -> StrategyFacts:
    return next(one for one in found.strategies if one.strategy == strategy)


def flip(found: Explanation, kind: str) -> Flip:
    return next(one for one in found.flips if one.kind == kind)


def test_the_last_point_costs_what_the_cheapest_way_to_it_does(hand: Explanation) -> None:
    """A hard request moved to the dear one costs 1.8 cents and brings 0.4: 0.45 USD a point."""
    (floor,) = hand.limits
    assert (floor.name, floor.binds, floor.slack) == ("accuracy.overall", True, 0.0)
    assert floor.promised == pytest.approx(FLOOR)
    for price in (floor.shadow_price, floor.per_unit(floor.looser), floor.per_unit(floor.tighter)):
        assert price == pytest.approx(0.045, rel=1e-5)
    assert words.limit_words(floor, hand) == (
        "the last point of accuracy.overall costs 0.45 USD per 1,000 requests, the next one 0.45"
    )


def test_a_promise_costs_what_the_plan_saves_without_it(hand: Explanation) -> None:
    (other,) = hand.without
    assert hand.expected.cost_usd_per_request == pytest.approx(0.0068)
    assert other.expected.cost_usd_per_request == pytest.approx(0.0014)
    assert words.alternative_words(other, hand) == (
        "accuracy.overall costs 5.4 USD per 1,000 requests (386 %); without it accuracy is "
        "12 points lower"
    )


def test_a_strategy_is_used_dominated_or_too_dear_by_so_much(hand: Explanation) -> None:
    dear = facts(hand, "m01/single")
    assert dear.used_in == pytest.approx({"c1": 0.75})
    assert dear.share == pytest.approx(0.3)
    assert words.strategy_words(dear) == "75.0 % of c1"
    between = facts(hand, "m03/single")
    assert between.dominated_by["c0"] == {"m00/single": 1.0}
    assert between.dominated_by["c1"] == pytest.approx(
        {"m00/single": 17 / 36, "m01/single": 19 / 36}
    )
    assert words.strategy_words(between) == (
        "dominated by m00/single in c0, 47.2 % m00/single with 52.8 % m01/single in c1"
    )
    idle = facts(hand, "m02/single")  # enters at (0.005 (1 - f) - 0.001) / 0.03 = 0.045 USD
    assert idle.enters_at is not None
    assert 0.53 <= idle.enters_at <= 0.53 + TOLERANCE
    assert words.strategy_words(idle) == "would be used if it were 53 % cheaper"


def test_the_smallest_flips_are_those_found_by_hand(hand: Explanation) -> None:
    """The floor reaches 86 % once all hard requests go to the dear one, less 0.1 % of them."""
    limit = flip(hand, "limit")
    assert limit.change == pytest.approx(0.85984 / FLOOR - 1, abs=1.1 * TOLERANCE)
    assert limit.leaves == (("c1", "m00/single"),)
    swap = {"enters": (("c1", "m03/single"),), "leaves": (("c1", "m00/single"),)}
    for kind, change in (("accuracy", (0.8 - 0.4 * 4 / 9) / 0.6 - 1), ("price", 0.011 / 0.012 - 1)):
        found = flip(hand, kind)  # the line from the first to the second strategy is reached
        assert (found.name, found.has_plan) == ("m03/single", True)
        assert 0 <= (found.change - change) * np.sign(change) <= TOLERANCE
        assert {"enters": found.enters, "leaves": found.leaves} == swap
    share = flip(hand, "class share")  # with 16 % hard requests the cheap one will do
    assert (share.name, share.leaves) == ("c0", (("c1", "m01/single"),))
    assert share.change == pytest.approx(0.84 / 0.6 - 1, abs=2 * TOLERANCE)
    assert [one.kind for one in hand.flips] == ["accuracy", "limit", "price", "class share"]
    assert not words.quiet_words(hand)
    assert words.flip_words(limit, TOLERANCE).startswith("accuracy.overall 4.")
    assert " % higher: " in words.flip_words(limit, TOLERANCE)
    assert words.flip_words(limit, TOLERANCE).endswith("m00/single leaves c1")


def lp(profile: Profile, accuracy_at_least: float | None, usd_at_most: float | None) -> Any:
    """The same question for scipy: least cost, or most accuracy where money is limited."""
    a, c = table(profile, "accuracy"), table(profile, "cost_usd")
    share = np.asarray(profile.weights)[:, None]
    rows, ends = [], []
    if accuracy_at_least is not None:
        rows, ends = [-(share * a).ravel()], [-accuracy_at_least]
    if usd_at_most is not None:
        rows, ends = [*rows, (share * c).ravel() * 1e3], [*ends, usd_at_most * 1e3]
    objective = -(share * a) if usd_at_most is not None else share * c * 1e3
    each = np.kron(np.eye(len(a)), np.ones(a.shape[1]))
    return linprog(
        objective.ravel(),
        A_ub=np.array(rows) if rows else None,
        b_ub=ends or None,
        A_eq=each,
        b_eq=np.ones(len(a)),
    )


WORLDS = st.builds(
    lambda seed, classes, strategies: random_profile(
        np.random.default_rng(seed), classes, strategies
    ),
    st.integers(0, 10_000),
    st.integers(1, 3),
    st.integers(2, 5),
)


def middle(profile: Profile, share: float) -> tuple[float, float]:
    """Accuracy and dollars between the cheapest and the most accurate allocation."""
    a, c = table(profile, "accuracy"), table(profile, "cost_usd")
    weights = np.asarray(profile.weights)
    rows = np.arange(len(a))
    ends = [(rows, pick.argmax(axis=1)) for pick in (-c, a)]
    (low, cheap), (high, dear) = [(weights @ a[at], weights @ c[at]) for at in ends]
    return low + share * (high - low), cheap + share * (dear - cheap)


@settings(max_examples=15, deadline=None)
@given(WORLDS, st.floats(0.1, 0.9))
def test_prices_of_a_floor_are_those_of_an_independent_solver(
    profile: Profile, share: float
) -> None:
    floor, _ = middle(profile, share)
    spec = make_spec(limits={"accuracy": {"overall": floor}}, confidence="none")
    found = explanation(Planner(profile, spec), most_solves=0)
    (limit,) = found.limits
    here = lp(profile, floor, None).fun / 1e3
    for move in (limit.looser, limit.tighter):
        assert move is not None
        there = lp(profile, move.to, None)
        if there.status == 2:
            assert move.worth is None
        else:
            assert move.worth == pytest.approx(here - there.fun / 1e3, rel=1e-4, abs=1e-6 * here)
    if limit.shadow_price and limit.tighter and limit.tighter.worth is not None:
        low, high = limit.per_unit(limit.looser), limit.per_unit(limit.tighter)
        assert low is not None
        assert high is not None
        assert low * (1 - 1e-4) <= limit.shadow_price <= high * (1 + 1e-4)
    (other,) = found.without
    assert other.expected.cost_usd_per_request == pytest.approx(
        lp(profile, None, None).fun / 1e3, rel=1e-6
    )


@settings(max_examples=15, deadline=None)
@given(WORLDS, st.floats(0.1, 0.9))
def test_prices_of_a_spend_limit_are_those_of_an_independent_solver(
    profile: Profile, share: float
) -> None:
    _, usd = middle(profile, share)
    spec = make_spec(
        objective="maximize accuracy",
        limits={"spend": {"usd_per_request": usd}},
        confidence="none",
    )
    found = explanation(Planner(profile, spec), most_solves=0)
    (limit,) = found.limits
    here = -lp(profile, None, usd).fun
    for move in (limit.looser, limit.tighter):
        assert move is not None
        there = lp(profile, None, move.to)
        if there.status == 2:
            assert move.worth is None
        else:
            assert move.worth == pytest.approx(-there.fun - here, rel=1e-4, abs=1e-6)
    (other,) = found.without
    assert other.expected.accuracy == pytest.approx(middle(profile, 1.0)[0], rel=1e-6)


CERTIFIED = st.sampled_from(["none", 0.9])


def asked(profile: Profile, confidence: Any) -> Planner:
    """A floor in the middle, or where there are margins one below it that can be promised."""
    floor, _ = middle(profile, 0.3 if confidence != "none" else 0.5)
    lower = 0.04 if confidence != "none" else 0.0
    limits = {"accuracy": {"overall": floor - lower}}
    return Planner(profile, make_spec(limits=limits, confidence=confidence))


def used(planner: Planner) -> frozenset[tuple[str, str]]:
    answer = planner.answer(planner.spec.objective, planner.limits)
    pairs = zip(planner.estimates.cells, answer.x, strict=True)
    return frozenset((cell.class_name, cell.strategy) for cell, x in pairs if x >= 1e-3)


def with_prices(planner: Planner, strategy: str, factor: float) -> Planner:
    """The same question where all dollars of a strategy are multiplied."""
    cells = {
        key: replace(
            cell,
            cost_usd=(cell.cost_usd or 0) * factor,
            cost_sd_usd=(cell.cost_sd_usd or 0) * factor,
        )
        if cell.strategy == strategy
        else cell
        for key, cell in planner.profile.cells.items()
    }
    return Planner(replace(planner.profile, cells=cells), planner.spec)


@settings(max_examples=5, deadline=None)
@given(WORLDS, CERTIFIED)
def test_a_strategy_enters_at_the_price_that_is_said_and_not_before(
    profile: Profile, confidence: Any
) -> None:
    planner = asked(profile, confidence)
    try:
        found = explanation(planner, most_solves=80)
    except LimitsClashError:
        return
    for one in found.strategies:
        if one.enters_at is None:
            continue
        before = 1 - (one.enters_at - TOLERANCE - 1e-6)
        now = used(with_prices(planner, one.strategy, 1 - one.enters_at - 1e-6))
        assert one.strategy in {strategy for _, strategy in now}
        if before < 1:
            then = used(with_prices(planner, one.strategy, before))
            assert one.strategy not in {strategy for _, strategy in then}


@settings(max_examples=5, deadline=None)
@given(WORLDS, CERTIFIED)
def test_a_flip_happens_at_the_change_that_is_said_and_not_before(
    profile: Profile, confidence: Any
) -> None:
    planner = asked(profile, confidence)
    try:
        found = explanation(planner, most_solves=150)
    except LimitsClashError:
        return
    here = used(planner)
    for one in found.flips:
        less = np.sign(one.change) * max(abs(one.change) - TOLERANCE, 0.0)
        if one.kind == "price":
            then, before = (
                used(with_prices(planner, one.name, 1 + by)) for by in (one.change, less)
            )
        elif one.kind == "limit" and one.has_plan:
            then, before = (
                used(Planner(profile, floor_times(planner, 1 + by))) for by in (one.change, less)
            )
        else:
            continue
        assert then - here == set(one.enters)
        assert here - then == set(one.leaves)
        assert then != here
        assert before == here


def floor_times(planner: Planner, factor: float) -> Any:
    floor = planner.spec.limits.accuracy.overall
    assert floor is not None
    limits = {"accuracy": {"overall": floor * factor}}
    return make_spec(limits=limits, confidence=planner.spec.confidence)


@settings(max_examples=20, deadline=None)
@given(WORLDS)
def test_a_dominating_mixture_is_no_worse_in_anything(profile: Profile) -> None:
    planner = asked(profile, "none")
    found = explanation(planner, most_solves=0)
    assert found.compared == ("accuracy", "dollars", "accuracy.overall")
    for one in found.strategies:
        assert not (one.dominated_by and one.used_in)
        if one.dominated_by:
            assert set(one.dominated_by) == set(profile.classes)
        for name, mixture in one.dominated_by.items():
            cells = [(profile.cell(name, text), part) for text, part in mixture.items()]
            own = profile.cell(name, one.strategy)
            assert sum(mixture.values()) == pytest.approx(1)
            assert sum(cell.accuracy * part for cell, part in cells) >= own.accuracy - 1e-6
            usd = sum((cell.cost_usd or 0) * part for cell, part in cells)
            assert usd <= (own.cost_usd or 0) * (1 + 1e-6)


@settings(max_examples=10, deadline=None)
@given(WORLDS)
def test_where_limits_clash_the_menu_makes_the_plan_feasible(profile: Profile) -> None:
    accuracy, _ = middle(profile, 0.9)
    _, cheap = middle(profile, 0.3)
    limits = {"accuracy": {"overall": accuracy}, "spend": {"usd_per_request": cheap}}
    planner = Planner(profile, make_spec(limits=limits, confidence="none"))
    if lp(profile, accuracy, None).fun / 1e3 <= cheap * (1 + 1e-9):
        return
    with pytest.raises(LimitsClashError) as clash:
        explanation(planner)
    assert clash.value.menu
    for name, value in clash.value.menu.items():
        assert planner.feasible(planner.limits.moved(name, value))


SLOW = [
    [[0.5, 0.9], [0.6, 1.0]],  # beyond 1 s
    [[0.0, 0.2], [0.1, 0.3]],  # beyond 2 s
    [[0.0, 0.0], [0.0, 0.0]],  # beyond 4 s
]


def test_a_latency_is_priced_between_the_limits_that_the_profile_counts() -> None:
    """At 2 s only 5 % may be slow: 2 % are at least, and the dear one adds 8 or 12 points."""
    profile = make_profile(
        [[0.9, 0.95], [0.4, 0.8]], [[0.001, 0.010], [0.002, 0.020]],
        weights=[0.8, 0.2], slow=SLOW, grid_s=(1.0, 2.0, 4.0),
    )  # fmt: skip
    spec = make_spec(
        objective="maximize accuracy", limits={"latency": {"p95_s": 2.0}}, confidence="none"
    )
    found = explanation(Planner(profile, spec))
    (limit,) = found.limits
    assert limit.binds
    assert limit.allowed == pytest.approx(0.05)
    assert limit.promised == pytest.approx(0.05)
    assert limit.looser is not None
    assert limit.tighter is not None
    assert (limit.looser.to, limit.tighter.to) == (4.0, 1.0)
    assert limit.tighter.worth is None
    best, now = 0.8 * 0.95 + 0.2 * 0.8, 0.8 * 0.9 + 0.2 * 0.4 + 0.2 * 0.75 * 0.4
    assert limit.looser.worth == pytest.approx(best - now)
    assert limit.per_unit(limit.looser) == pytest.approx((best - now) / 2)
    said = words.limit_words(limit, found)
    assert said == (
        "latency.p95_s binds: 4 s instead of 2 s gains 6 points of accuracy (3 points of accuracy "
        "a second); no plan keeps 1 s"
    )
    assert "limit" in found.fixed
    assert "nothing to change: limit" in words.quiet_words(found)


@pytest.mark.parametrize(
    ("keys", "unit"),
    [
        ({"objective": "minimize cost"}, "USD per 1,000 requests"),
        ({"objective": "maximize accuracy"}, "points of accuracy"),
        (
            {"objective": "maximize value", "value": {"usd_per_correct": 0.05}},
            "USD per 1,000 requests",
        ),
        ({"objective": "minimize cost per correct"}, "USD per 1,000 correct answers"),
    ],
    ids=lambda case: case.get("objective", "") if isinstance(case, dict) else "",
)
def test_a_looser_limit_is_never_worth_less_than_nothing_whatever_the_objective(
    keys: dict[str, Any], unit: str
) -> None:
    """Half of the requests must go to the dear one, which nobody would choose so often."""
    profile = make_profile(ACCURACY, COST, weights=[0.6, 0.4])
    shares = [{"name": "dear", "strategies": ["m01/single"], "at_least": 0.5}]
    shares += [{"name": "cheap", "strategies": ["m00/single"], "at_most": 0.3}]
    spec = make_spec(limits={"shares": shares}, confidence="none", **keys)
    found = explanation(Planner(profile, spec), most_solves=0)
    assert [limit.name for limit in found.limits] == [
        "shares.dear.at_least",
        "shares.cheap.at_most",
    ]
    for limit in found.limits:
        assert limit.looser is not None
        assert limit.looser.worth is not None
        assert limit.looser.worth >= 0
        assert limit.binds == (limit.looser.worth > 0)
        if limit.tighter is not None and limit.tighter.worth is not None:
            assert limit.tighter.worth <= 0
        said = words.limit_words(limit, found)
        assert (unit in said) == limit.binds


def test_certainty_has_a_price_and_point_estimates_have_none() -> None:
    profile = random_profile(np.random.default_rng(3), 2, 4)
    floor, _ = middle(profile, 0.3)
    limits = {"accuracy": {"overall": floor - 0.05}}
    sure = explanation(Planner(profile, make_spec(limits=limits)), most_solves=0)
    bold = explanation(Planner(profile, make_spec(limits=limits, confidence="none")), most_solves=0)
    assert [one.without for one in sure.without] == ["accuracy.overall", "confidence"]
    assert [one.without for one in bold.without] == ["accuracy.overall"]
    usd = sure.without[-1].expected.cost_usd_per_request
    assert usd == pytest.approx(bold.expected.cost_usd_per_request)
    assert usd is not None
    assert sure.expected.cost_usd_per_request is not None
    assert usd < sure.expected.cost_usd_per_request
    assert words.alternative_words(sure.without[-1], sure).startswith("certainty costs ")


def test_limits_of_tenants_are_priced_like_all_others() -> None:
    """Half of the requests are of a tenant who is promised what the cheap one cannot do."""
    profile = make_profile(ACCURACY, COST, weights=[0.6, 0.4])
    tenants = {"gold": {"share": 0.5, "accuracy": {"overall": FLOOR}}, "free": {"share": 0.5}}
    found = explanation(Planner(profile, make_spec(confidence="none", tenants=tenants)))
    (limit,) = found.limits
    assert limit.name == "tenants.gold.accuracy.overall"
    assert limit.per_unit(limit.looser) == pytest.approx(0.045 / 2, rel=1e-5)
    (other,) = found.without
    assert other.expected.cost_usd_per_request == pytest.approx(0.0014)
    assert found.expected.cost_usd_per_request == pytest.approx((0.0014 + 0.0068) / 2)
    assert facts(found, "m03/single").dominated_by
    assert "class shares were not changed: tenants have their own" in found.notes


def test_what_cannot_be_said_is_said() -> None:
    unknown = [[0.001, np.nan], [0.002, 0.020]]
    profile = make_profile([[0.9, 0.95], [0.4, 0.8]], unknown)
    spec = make_spec(objective="maximize accuracy", confidence="none", limits={})
    found = explanation(Planner(profile, spec))
    assert found.knee is None
    assert "no knee: some costs are unknown" in found.notes
    assert "dollars" not in found.compared
    assert "price" in found.fixed
    assert "nothing to change: price" in words.quiet_words(found)


def test_re_solves_are_bounded_and_what_was_left_out_is_said() -> None:
    profile = make_profile(ACCURACY, COST, weights=[0.6, 0.4])
    spec = make_spec(limits={"accuracy": {"overall": FLOOR}}, confidence="none")
    told: list[tuple[int, int]] = []
    found = explanation(
        Planner(profile, spec), most_solves=5, advance=lambda done, most: told.append((done, most))
    )
    assert facts(found, "m02/single").note == "its price was not tried: too many re-solves"
    assert found.untried
    assert "not tried to the end" in words.quiet_words(found)
    assert [done for done, _ in told] == list(range(1, len(told) + 1))
    assert all(done <= most for done, most in told)


def test_fixed_costs_stay_paid_and_bring_no_advice() -> None:
    profile = make_profile(ACCURACY, COST, weights=[0.6, 0.4])
    spec = make_spec(
        limits={"accuracy": {"overall": FLOOR}},
        traffic={"requests": 1_000_000, "per": "month"},
        fixed_costs=[{"name": "rent", "pays_for": ["m01"], "usd": 10, "per": "month"}],
    )
    found = explanation(Planner(profile, settled(profile, spec)), most_solves=20)
    assert facts(found, "m01/single").used_in
    assert found.advice is None
    assert any("cannot weigh fixed costs" in note for note in found.notes)


def test_limits_on_groups_are_priced_and_accuracies_stay() -> None:
    plain = make_profile([[0.9, 0.95], [0.4, 0.8]], [[0.001, 0.010], [0.002, 0.020]])
    halves = np.full((2, 2), 500)
    by_group = np.array([[[0.95, 0.97], [0.6, 0.9]], [[0.85, 0.93], [0.2, 0.7]]])
    profile = grouped(plain, halves, by_group)
    spec = make_spec(limits={"accuracy": {"max_gap": {COLUMN: 0.5}}})
    found = explanation(Planner(profile, spec), most_solves=30)
    assert [limit.name for limit in found.limits] == [f"accuracy.max_gap.{COLUMN}"]
    assert all(one.kind != "accuracy" for one in found.flips)
    assert any("limits on groups" in note for note in found.notes)


def test_the_same_question_has_the_same_explanation(hand: Explanation) -> None:
    assert asdict(by_hand()) == asdict(hand)

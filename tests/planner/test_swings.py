"""What a number is said to do to a plan is what a plan of the changed question does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import make_profile, make_spec, random_profile

from planner.explain import LimitsClashError
from planner.explaining import swing_words
from planner.explaining.explanation import explanation
from planner.explaining.flips import TOLERANCE
from planner.explaining.report import Explanation, Side, Swing
from planner.planner import Planner
from profiles.errors import InfeasibleError, UnprovenError
from profiles.profile import Profile

ACCURACY = [[0.9, 0.95, 0.93, 0.9], [0.4, 0.8, 0.3, 0.6]]
COST = [[0.001, 0.010, 0.005, 0.004], [0.002, 0.020, 0.030, 0.012]]


def by_hand(**keys: Any) -> Explanation:
    """60 % easy requests go to the cheap one; three of four hard ones to the dear one."""
    profile = make_profile(ACCURACY, COST, weights=[0.6, 0.4])
    spec = {"limits": {"accuracy": {"overall": 0.82}}, "confidence": "none", **keys}
    return explanation(Planner(profile, make_spec(**spec)))


@pytest.fixture(scope="module")
def hand() -> Explanation:
    return by_hand()


def swing(found: Explanation, kind: str, name: str) -> Swing:
    (one,) = [one for one in found.swings if (one.kind, one.name) == (kind, name)]
    return one


def sides(found: Explanation, kind: str, name: str) -> tuple[Side, Side]:
    one = swing(found, kind, name)
    assert one.less is not None
    assert one.more is not None
    return one.less, one.more


def test_a_price_that_flips_nothing_costs_what_is_paid_to_it(hand: Explanation) -> None:
    """The cheap one gets 0.6 x 0.001 + 0.1 x 0.002 dollars per request, the dear one 0.006."""
    less, more = sides(hand, "price", "m00/single")
    assert more.worth == pytest.approx(-0.2 * 0.0008)
    assert less.worth == pytest.approx(0.2 * 0.0008)
    assert (less.by, less.same_to, less.flip) == (-0.2, -0.2, None)
    less, _ = sides(hand, "price", "m01/single")
    assert less.worth == pytest.approx(0.2 * 0.006)


def test_a_floor_ends_at_one_and_says_from_where_on_no_plan_keeps_it(hand: Explanation) -> None:
    """At 86 % the cheap one leaves the hard requests; at 89 % there is no better plan."""
    less, more = sides(hand, "limit", "accuracy.overall")
    assert more.by == 0.2
    assert more.worth is None
    assert more.flip is not None
    assert more.flip.change == pytest.approx(0.85984 / 0.82 - 1, abs=1.1 * TOLERANCE)
    assert more.flip.has_plan
    assert less.worth == pytest.approx(0.0054)  # 70 % need no dear one at all
    high = by_hand(limits={"accuracy": {"overall": 0.88}})
    _, up = sides(high, "limit", "accuracy.overall")
    assert up.by == pytest.approx(1 / 0.88 - 1, abs=1e-6)
    assert swing_words.side_words(up, high) == "no plan at +13.6 %"


def test_numbers_stand_in_the_order_of_what_they_do(hand: Explanation) -> None:
    sizes = [one.size for one in hand.swings]
    assert sizes == sorted(sizes, reverse=True)
    assert hand.unswung == 0
    kinds = {(one.kind, one.name) for one in hand.swings}
    assert {name for kind, name in kinds if kind == "class share"} == {"c0", "c1"}
    assert {name for kind, name in kinds if kind == "price"} == {f"m0{s}/single" for s in range(4)}


def test_what_nobody_uses_is_only_made_better(hand: Explanation) -> None:
    assert swing(hand, "price", "m02/single").more is None
    assert swing(hand, "accuracy", "m02/single").less is None
    assert swing_words.side_words(None, hand) == "-"


def test_words_count_in_the_unit_of_the_objective(hand: Explanation) -> None:
    less, more = sides(hand, "price", "m01/single")
    assert swing_words.side_words(less, hand) == "saves 1.2"
    assert swing_words.subject_words("price", "m01/single") == "price of m01/single"
    assert swing_words.subject_words("limit", "accuracy.overall") == "accuracy.overall"
    assert swing_words.objective_words(hand) == "USD per 1,000 requests"
    assert hand.after(more.worth or 0.0) > hand.value
    accurate = by_hand(objective="maximize accuracy", limits={"spend": {"usd_per_request": 0.005}})
    assert swing_words.objective_words(accurate) == "accuracy, %"
    best = sides(accurate, "accuracy", "m01/single")[1]
    assert swing_words.side_words(best, accurate).startswith("gains ")
    assert accurate.after(best.worth or 0.0) > accurate.value
    careful = by_hand(
        objective="maximize accuracy", limits={"spend": {"usd_per_request": 0.005}}, confidence=0.9
    )
    assert swing_words.objective_words(careful) == "accuracy less doubt, %"
    nothing = Side(0.2, 0.0, 0.2, None)
    assert swing_words.side_words(nothing, hand) == "changes nothing"


def test_edges_say_how_well_they_are_known(hand: Explanation) -> None:
    """At 70 % nobody needs the dear one, at 86 % all hard requests do, less 0.1 % of them."""
    assert swing_words.edge_words(swing(hand, "price", "m00/single"), hand) == "-"
    assert (
        swing_words.edge_words(swing(hand, "limit", "accuracy.overall"), hand) == "-14.7 %, +4.92 %"
    )
    _, more = sides(hand, "limit", "accuracy.overall")
    assert more.flip is not None
    near = Swing("limit", "x", None, replace(more, flip=replace(more.flip, change=TOLERANCE)))
    assert swing_words.edge_words(near, hand) == "less than +0.1 %"
    far = Swing("limit", "x", None, replace(more, same_to=0.0, flip=replace(more.flip, change=0.2)))
    assert swing_words.edge_words(far, hand) == "+20 % or less"


def test_a_latency_moves_to_limits_that_the_profile_counts() -> None:
    slow = [[[0.5, 0.9], [0.6, 1.0]], [[0.0, 0.2], [0.1, 0.3]], [[0.0, 0.0], [0.0, 0.0]]]
    profile = make_profile(
        [[0.9, 0.95], [0.4, 0.8]], [[0.001, 0.010], [0.002, 0.020]],
        weights=[0.8, 0.2], slow=slow, grid_s=(1.0, 2.0, 4.0),
    )  # fmt: skip
    spec = make_spec(
        objective="maximize accuracy", limits={"latency": {"p95_s": 2.0}}, confidence="none"
    )
    found = explanation(Planner(profile, spec))
    less, more = sides(found, "limit", "latency.p95_s")
    assert (less.by, less.worth) == (-0.5, None)
    assert more.by == 1.0
    (limit,) = found.limits
    assert limit.looser is not None
    assert more.worth == limit.looser.worth
    words = swing_words.side_words(more, found)
    assert words.startswith("gains ")
    assert words.endswith(" at +100 %")


def test_few_re_solves_go_to_what_carries_the_plan_and_the_rest_is_counted() -> None:
    profile = make_profile(ACCURACY, COST, weights=[0.6, 0.4])
    spec = make_spec(limits={"accuracy": {"overall": 0.82}}, confidence="none")
    found = explanation(Planner(profile, spec), most_solves=5)
    assert {(one.kind, one.name) for one in found.swings} == {
        ("limit", "accuracy.overall"),
        ("price", "m01/single"),
    }
    assert found.unswung == len(by_hand().swings) - 2
    assert swing_words.unswung_words(found).startswith(f"not tried: {found.unswung} numbers")
    assert swing_words.unswung_words(replace(found, unswung=1)).startswith("not tried: 1 number ")
    assert not swing_words.unswung_words(replace(found, unswung=0))
    _, more = sides(found, "limit", "accuracy.overall")
    assert more.flip is not None  # where exactly could not be tried
    assert (more.same_to, more.flip.change) == (0.0, 0.2)


def changed(planner: Planner, one: Swing, by: float) -> Planner:
    """The question with one number changed, by hand."""
    profile, spec = planner.profile, planner.spec
    if one.kind == "limit":
        floor = spec.limits.accuracy.overall
        assert floor is not None
        limits = {"accuracy": {"overall": min(floor * (1 + by), 1.0)}}
        return Planner(profile, make_spec(limits=limits, confidence=spec.confidence))
    if one.kind == "class share":
        weights = dict(zip(profile.classes, profile.weights, strict=True))
        own = weights[one.name] * (1 + by)
        rest = (1 - own) / (1 - weights[one.name])
        mix = tuple(own if name == one.name else rest * weights[name] for name in profile.classes)
        return Planner(replace(profile, weights=mix), spec)
    cells = {}
    for key, cell in profile.cells.items():
        if cell.strategy != one.name:
            cells[key] = cell
        elif one.kind == "accuracy":
            cells[key] = replace(cell, accuracy=min(cell.accuracy * (1 + by), 1.0))
        else:
            cost, deviation = cell.cost_usd or 0.0, cell.cost_sd_usd or 0.0
            cells[key] = replace(cell, cost_usd=cost * (1 + by), cost_sd_usd=deviation * (1 + by))
    return Planner(replace(profile, cells=cells), spec)


def used(planner: Planner) -> frozenset[tuple[str, str]] | None:
    try:
        answer = planner.answer(planner.spec.objective, planner.limits)
    except InfeasibleError:
        return None
    pairs = zip(planner.estimates.cells, answer.x, strict=True)
    return frozenset((cell.class_name, cell.strategy) for cell, x in pairs if x >= 1e-3)


@settings(max_examples=5, deadline=None)
@given(
    st.builds(
        lambda seed, classes, strategies: random_profile(
            np.random.default_rng(seed), classes, strategies
        ),
        st.integers(0, 10_000),
        st.integers(2, 3),
        st.integers(2, 4),
    ),
    st.sampled_from(["none", 0.9]),
    st.sampled_from([0.1, 0.2]),
)
def test_every_swing_is_that_of_the_changed_question(
    profile: Profile, confidence: Any, by: float
) -> None:
    spec = make_spec(limits={"accuracy": {"overall": 0.5}}, confidence=confidence)
    planner = Planner(profile, spec)
    try:
        found = explanation(planner, most_solves=100, swing=by)
    except (LimitsClashError, UnprovenError):
        return
    here = used(planner)
    for one in found.swings:
        for side in (one.less, one.more):
            if side is None:
                continue
            assert abs(side.by) <= by + 1e-9
            there = changed(planner, one, side.by)
            if side.worth is None:
                assert used(there) is None
                continue
            usd = there.answer(spec.objective, there.limits).value
            assert found.after(side.worth) == pytest.approx(usd, rel=1e-5, abs=1e-9)
            if side.flip is None:
                assert used(there) == here
            elif side.same_to:
                assert used(changed(planner, one, side.same_to)) == here
                then = used(changed(planner, one, side.flip.change))
                assert then is None or then - (here or frozenset()) == set(side.flip.enters)

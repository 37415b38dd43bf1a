"""Bins of one value: equal sizes, borders for a plan, and what pure noise does to them."""

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from predicted import predictions, served

from profiles.difficulty.predicting.predictor import Predictions
from profiles.difficulty.sorting.bins import Bins, Hardness, Upgrade, bin_of, quantile_borders
from profiles.difficulty.sorting.borders import (
    MOST_CELLS,
    MOST_CHOICES,
    Axis,
    Outcomes,
    cross_fitted,
    cuts,
    search,
    switch_prices,
)


@settings(deadline=None)
@given(st.sets(st.integers(-(10**6), 10**6), min_size=1, max_size=80), st.integers(1, 12))
def test_quantile_bins_are_equal_within_one(values, count):
    values = np.array(sorted(values), dtype=float)
    sizes = np.bincount(bin_of(values, quantile_borders(values, count)))
    assert len(sizes) == min(count, len(values))
    assert sizes.max() - sizes.min() <= 1


@settings(deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(1, 8))
def test_values_that_tie_share_a_quantile_bin_and_no_bin_is_empty(values, count):
    values = np.array(values, dtype=float)
    borders = quantile_borders(values, count)
    assert len(borders) < count or count == 1
    sizes = np.bincount(bin_of(values, borders), minlength=len(borders) + 1)
    assert sizes.min() > 0


@settings(deadline=None)
@given(predictions(), st.integers(1, 8))
def test_bins_of_equal_size_hold_a_twentieth_each_and_the_easiest_comes_first(given_, count):
    for value in (Hardness(given_.scores.shape[1]), Upgrade.fit(given_.scores, None)):
        if value is not None:
            bins = Bins.of_equal_size(value, given_, count)
            index = bins.sort(given_)
            sizes = np.bincount(index, minlength=len(bins.names))
            assert sizes.min() >= 0.05 * len(index)
            means = [given_.scores[index == c].mean() for c in range(len(sizes))]
            assert (np.diff(means) <= 1e-9).all()


@settings(deadline=None)
@given(predictions(costs=True), st.integers(1, 6), st.booleans())
def test_nodes_of_bins_agree_with_numpy_to_the_bit(given_, count, upgrade):
    value = Upgrade.fit(given_.scores, given_.costs.mean(axis=0)) if upgrade else None
    value = value or Hardness(given_.scores.shape[1])
    bins = Bins.of_equal_size(value, given_, count)
    np.testing.assert_array_equal(served(bins, given_), bins.sort(given_))


def test_an_upgrade_is_what_leaving_the_cheapest_gains_per_dollar():
    scores = np.array([[0.5, 0.75, 0.25], [0.5, 0.5, 1.0]])
    value = Upgrade.fit(scores, np.array([1.0, 3.0, 0.5]))
    assert (value.base, value.dearer, value.extra_usd) == (2, (0, 1), (0.5, 2.5))
    np.testing.assert_allclose(value.of(scores), [0.25 / 0.5, -0.5 / 2.5])


def test_without_costs_an_upgrade_is_from_the_worst_to_the_best_strategy():
    scores = np.array([[0.5, 0.75, 0.25], [0.5, 0.5, 0.0]])
    value = Upgrade.fit(scores, None)
    assert (value.base, value.dearer) == (2, (1,))
    np.testing.assert_allclose(value.of(scores), [0.5, 0.5])


def test_equal_strategies_have_no_upgrade():
    assert Upgrade.fit(np.full((3, 2), 0.5), None) is None
    assert Upgrade.fit(np.full((3, 2), 0.5), np.ones(2)) is None


def test_bins_say_in_words_what_is_in_them():
    given_ = Predictions(
        np.array([[0.1, 0.3], [0.9, 0.9], [0.5, 0.6], [0.2, 0.1]]), np.ones((4, 2))
    )
    bins = Bins.of_equal_size(Hardness(2), given_, 2)
    assert bins.names == ("easy", "hard")
    assert bins.describe() == (
        "mean predicted score from 0.2000",
        "mean predicted score up to 0.2000",
    )
    assert bins.to_json()["kind"] == "difficulty by quantiles"
    one = Bins.of_equal_size(Hardness(2), given_, 1)
    assert (one.names, one.describe()) == (("all",), ("any mean predicted score",))
    upgrade = Bins.of_equal_size(Upgrade.fit(given_.scores, np.array([1.0, 2.0])), given_, 2)
    assert upgrade.describe()[0].startswith("predicted points gained per dollar")


def brute_force(axes, sizes, smallest, bins):
    """The best plan by trying every set of borders and every monotone plan with real switches."""
    best = -np.inf
    cells = len(sizes)
    for ends in itertools.combinations(range(1, cells), bins - 1):
        edges = [0, *ends, cells]
        spans = list(itertools.pairwise(edges))
        if any(sizes[a:b].sum() < smallest for a, b in spans):
            continue
        plans = [
            list(itertools.combinations_with_replacement(range(len(axis.prices)), bins))
            for axis in axes
        ]
        for plan in itertools.product(*plans):
            states = list(zip(*plan, strict=True))
            if any(old == new for old, new in itertools.pairwise(states)):
                continue
            value = 0.0
            for axis, chosen in zip(axes, plan, strict=True):
                value += sum(
                    axis.gains[a:b, s].sum() for (a, b), s in zip(spans, chosen, strict=True)
                )
                value -= sum(
                    axis.prices[old, new] for old, new in itertools.pairwise(chosen) if old != new
                )
            best = max(best, value)
    return best


@st.composite
def problems(draw):
    cells = draw(st.integers(1, 6))
    axes = []
    for choices in draw(st.lists(st.integers(1, 3), min_size=1, max_size=2)):
        rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        gains = rng.integers(-9, 9, (cells, choices)).astype(float)
        axes.append(Axis(gains, rng.integers(0, 6, (choices, choices)).astype(float)))
    sizes = np.array(draw(st.lists(st.integers(1, 4), min_size=cells, max_size=cells)))
    return axes, sizes, draw(st.integers(1, 3))


@settings(deadline=None)
@given(problems())
def test_the_search_finds_what_brute_force_finds(problem):
    axes, sizes, smallest = problem
    smallest = min(smallest, int(sizes.sum()))
    found = search(axes, sizes, smallest, 4)
    for bins in range(1, 5):
        best = brute_force(axes, sizes, smallest, bins)
        if np.isfinite(best):
            ends, value = found[bins - 1]
            assert value == best
            assert len(ends) == bins - 1
            assert brute_force_at(axes, sizes, smallest, ends) == best
        else:
            assert len(found) < bins


def brute_force_at(axes, sizes, smallest, ends):
    """The best plan on given borders: brute force on cells merged to bins."""
    first = [0, *ends]
    merged = [Axis(np.add.reduceat(axis.gains, first), axis.prices) for axis in axes]
    return brute_force(merged, np.add.reduceat(sizes, first), smallest, len(first))


def world(seed, n=400, strategies=3, signal=0.0):
    """Values, and outcomes that follow them by so much; a step dearer costs a cent more."""
    rng = np.random.default_rng(seed)
    values = rng.random(n)
    helped = signal * (values[:, None] > np.linspace(0, 1, strategies + 1)[1:-1]).sum(1)
    rate = 0.5 + np.clip(np.arange(strategies), 0, helped[:, None]) * 0.2
    scores = (rng.random((n, strategies)) < rate).astype(float)
    costs = np.broadcast_to(0.01 * np.arange(1, strategies + 1), (n, strategies))
    return values, Outcomes(scores, costs, (1.0, 10.0))


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 1.0]))
def test_more_borders_never_lower_the_value_of_the_best_plan_seen(seed, signal):
    values, outcomes = world(seed, signal=signal)
    best = [max(cut.value for cut in cuts(values, outcomes, most)) for most in range(1, 6)]
    assert best == sorted(best)


def test_borders_stand_where_the_outcomes_change():
    values, outcomes = world(0, n=10_000, signal=1.0)
    best = max(cuts(values, outcomes, 5), key=lambda cut: cut.value)
    np.testing.assert_allclose(best.borders, [1 / 3, 2 / 3], atol=0.03)


def test_pure_noise_rarely_gets_a_border():
    cut = [
        len(max(cuts(*world(seed), 4), key=lambda cut: cut.value).borders) > 0
        for seed in range(200)
    ]
    # at most 5 % by the price of a switch; three standard errors of 200 draws
    assert np.mean(cut) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)


def test_noise_seems_to_gain_by_the_best_border_as_often_as_the_price_says():
    rng = np.random.default_rng(0)
    walks = np.cumsum(rng.choice([-1.0, 1.0], (4000, 1000)), axis=1)
    gains = np.maximum(0, walks.max(axis=1)) - np.maximum(0, walks[:, -1])
    exceeded = np.mean(gains > 1.959964 / 2 * np.sqrt(1000))
    assert abs(exceeded - 0.05) < 3 * np.sqrt(0.05 * 0.95 / 4000)


def test_equal_strategies_switch_for_free_and_unlike_ones_do_not():
    same = np.repeat(np.random.default_rng(0).random((50, 1)), 2, axis=1)
    np.testing.assert_allclose(switch_prices(same, 1), 0, atol=1e-6)
    apart = np.column_stack([same[:, 0], np.tile([0.0, 1.0], 25)])
    # two strategies, one price: half the 97.5 % quantile of the normal times sd, root of n
    spread = (apart[:, 0] - apart[:, 1]).std()
    np.testing.assert_allclose(switch_prices(apart, 1)[0, 1], 1.959964 / 2 * spread * 50**0.5)


def test_a_single_strategy_is_never_cut():
    values, outcomes = world(0, strategies=1)
    (cut,) = cuts(values, outcomes, 3)
    assert len(cut.borders) == 0


def test_many_strategies_and_many_queries_stay_within_the_search():
    values, outcomes = world(1, n=3000, strategies=MOST_CHOICES + 4, signal=1.0)
    assert len(np.unique(values)) > MOST_CELLS
    found = cuts(values, outcomes, 4)
    assert [len(cut.borders) for cut in found] == [0, 1, 2, 3]
    assert all((np.diff(cut.borders) > 0).all() for cut in found)


def flattery(seed):
    """What the second of two equal strategies seems to gain in the upper of two bins.

    Three figures by cross-fitted classes (gain per query of all; mean of the folds' class means;
    mean of the class with all folds in one), then the first and the last by borders that saw all.
    """
    rng = np.random.default_rng(seed)
    n = 300
    values, fold_of = rng.random(n), np.arange(n) % 5
    scores = (rng.random((n, 2)) < 0.5).astype(float)
    outcomes = Outcomes(scores, np.zeros((n, 2)), (0.0,))
    two = [f for f in cross_fitted(values, outcomes, fold_of, 2) if len(f.cut.borders) == 1]
    if not two:
        return [np.nan] * 5
    gain = scores[:, 1] - scores[:, 0]
    above, seen = two[0].bins == 1, bin_of(values, two[0].cut.borders) == 1
    folds = [gain[above & (fold_of == fold)] for fold in range(5)]
    by_fold = np.mean([part.mean() for part in folds if len(part)])
    return [
        gain[above].sum() / n,
        by_fold,
        gain[above].mean(),
        gain[seen].sum() / n,
        gain[seen].mean(),
    ]


def test_noise_flatters_the_plan_of_borders_that_saw_it_and_not_of_cross_fitted_ones():
    seen = np.array([flattery(seed) for seed in range(400)])
    seen = seen[np.isfinite(seen[:, 0])]
    bias, error = seen.mean(axis=0), seen.std(axis=0) / np.sqrt(len(seen))
    said = f"bias {bias.round(4)}, standard error {error.round(4)}, {len(seen)} worlds"
    assert (abs(bias[:2]) < 3 * error[:2]).all(), said
    # classes pooled over folds: a lucky fold moves the others' borders towards it, not its own
    assert bias[2] < 3 * error[2], said
    assert (bias[3:] > 10 * error[3:]).all(), said

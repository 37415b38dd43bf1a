"""Exact expectations against every way to draw."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiles.derived.subsets import best_of_weights, chance_of_none, rounds_run, times_drawn
from profiles.derived.votes import vote_weights, win_chances, winner

VERDICTS = st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=6)
ANSWERS = st.lists(st.sampled_from("abcd"), min_size=1, max_size=6)


def orders(n, k):
    return list(itertools.permutations(range(n), k))


def served_by_first_of_the_best(verdicts, k):
    counts = np.zeros(len(verdicts))
    for order in orders(len(verdicts), k):
        counts[max(order, key=lambda place: verdicts[place])] += 1  # max keeps the first of equals
    return counts / counts.sum()


@given(st.integers(1, 12), st.data())
def test_the_chance_of_none_is_a_ratio_of_binomials(n, data):
    k = data.draw(st.integers(0, n))
    exact = [math.comb(n - x, k) / math.comb(n, k) for x in range(n + 1)]
    assert chance_of_none(n, k) == pytest.approx(exact)


def test_many_samples_do_not_overflow():
    found = chance_of_none(1024, 512)
    exact = [math.comb(1024 - x, 512) / math.comb(1024, 512) for x in range(1025)]
    assert found == pytest.approx(exact, rel=1e-11)


@settings(deadline=None)
@given(VERDICTS, st.data())
def test_best_of_k_is_the_mean_over_every_order(verdicts, data):
    k = data.draw(st.integers(1, len(verdicts)))
    found = best_of_weights(np.array(verdicts), k)
    assert found == pytest.approx(served_by_first_of_the_best(verdicts, k))


@given(st.integers(1, 100), st.data())
def test_with_a_checker_best_of_k_is_pass_at_k(n, data):
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    verdicts = np.array([1.0] * c + [0.0] * (n - c))
    chance = best_of_weights(verdicts, k) @ verdicts
    assert chance == pytest.approx(1 - math.comb(n - c, k) / math.comb(n, k))


@settings(deadline=None)
@given(VERDICTS, st.integers(1, 3), st.data())
def test_rounds_end_once_a_sample_satisfies(verdicts, batch, data):
    n, k = len(verdicts), data.draw(st.integers(1, len(verdicts)))
    rounds = [min(batch, k - start) for start in range(0, k, batch)]
    runs, drawn = np.zeros(len(rounds)), np.zeros(n)
    for order in orders(n, k):
        left = list(order)
        for index, size in enumerate(rounds):
            now, left = left[:size], left[size:]
            runs[index] += 1
            drawn[now] += 1
            if any(verdicts[place] >= 1 for place in now):
                break
    satisfies = np.array(verdicts) >= 1
    total = len(orders(n, k))
    assert rounds_run(int(satisfies.sum()), n, rounds) == pytest.approx(runs / total)
    assert times_drawn(satisfies, rounds) == pytest.approx(drawn / total)


@settings(deadline=None)
@given(ANSWERS, st.data())
def test_a_vote_is_the_mean_over_every_order(answers, data):
    k = data.draw(st.integers(1, len(answers)))
    counts = np.zeros(len(answers))
    for order in orders(len(answers), k):
        counts[order[winner([answers[place] for place in order])]] += 1
    assert vote_weights(answers, k) == pytest.approx(counts / counts.sum())


@settings(deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=12))
def test_somebody_wins_every_vote(sizes):
    chances = win_chances(tuple(sorted(sizes)))
    assert chances[1:].sum(axis=1) == pytest.approx(1)
    assert chances[1] == pytest.approx(np.array(sorted(sizes)) / sum(sizes))


def test_a_vote_of_all_is_won_by_the_most_frequent_and_ties_are_shared():
    assert win_chances((1, 3, 3))[7] == pytest.approx([0, 0.5, 0.5])
    assert win_chances((2, 3))[5] == pytest.approx([0, 1])


def test_large_votes_agree_with_draws_within_their_standard_error():
    answers = ["a"] * 14 + ["b"] * 13 + ["c"] * 13 + [str(index) for index in range(20)]
    rng, draws = np.random.default_rng(3), 4000
    wins = Counter()
    for _ in range(draws):
        order = rng.permutation(len(answers))[:25]
        wins[answers[order[winner([answers[place] for place in order])]]] += 1
    weights = vote_weights(answers, 25)
    for answer in "abc":
        chance = weights[np.array(answers) == answer].sum()
        error = math.sqrt(chance * (1 - chance) / draws)
        assert abs(wins[answer] / draws - chance) < 4 * error


def test_a_thousand_samples_vote_without_overflow():
    sizes = (1,) * 24 + (100, 400, 500)
    chances = win_chances(sizes)
    assert chances[1:].sum(axis=1) == pytest.approx(1, abs=1e-9)
    assert chances[1000][-1] > 0.999

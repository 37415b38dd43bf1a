"""Derived cells, judged at the level of queries, keep what their intervals promise."""

import math

import numpy as np
import pytest

from profiles.derived.call_sharing import CallSharing
from profiles.derived.drawing import BestOf, Once, Vote
from profiles.derived.ladders import Stage, expected
from profiles.derived.recordings import MEASURES, Base, Recording

WORLDS, QUERIES, SAMPLES, K = 400, 60, 12, 4
Z = 1.96


def recording(rng, p, samples=SAMPLES):
    """Right with chance p; three wrong answers share the rest; dollars lean on the score."""
    right = rng.random(samples) < p
    columns = {name: np.full(samples, np.nan) for name in MEASURES}
    columns |= {"score": right * 1.0, "verdict": right * 1.0, "calls": np.ones(samples)}
    columns["cost_usd"] = rng.exponential(1 + right)
    answers = np.where(right, "right", rng.choice(["a", "b", "c"], samples))
    return Recording(columns, tuple(map(str, answers)))


def stage(drawing, name="m/single"):
    return Stage(drawing, Base(name, None, {}, 0, ""), CallSharing())


def truth(drawing, p, rng, draws=4000):
    """Long-run score of fresh samples at this chance."""
    scores = []
    for _ in range(draws):
        fresh = recording(rng, p, drawing.samples)
        scores.append(fresh["score"][drawing.draw(fresh, np.arange(drawing.samples)).served])
    return np.mean(scores)


@pytest.mark.slow
@pytest.mark.parametrize("drawing", [BestOf(K), Vote(K)])
def test_intervals_over_queries_cover_and_intervals_over_samples_do_not(drawing):
    rng = np.random.default_rng(11)
    levels = np.array([0.05, 0.3, 0.6, 0.95])
    if isinstance(drawing, BestOf):
        true_mean = np.mean(1 - (1 - levels) ** K)
    else:
        true_mean = np.mean([truth(drawing, p, rng) for p in levels])
    covered = naive = 0
    means = []
    for _ in range(WORLDS):
        scores = np.array(
            [
                expected([stage(drawing)], [recording(rng, p)], 1.0).score
                for p in rng.choice(levels, QUERIES)
            ]
        )
        means.append(scores.mean())
        error = scores.std(ddof=1) / math.sqrt(QUERIES)
        p = scores.mean()
        alone = math.sqrt(p * (1 - p) / (QUERIES * SAMPLES))
        covered += abs(p - true_mean) < Z * error
        naive += abs(p - true_mean) < Z * alone
    assert np.mean(means) == pytest.approx(true_mean, abs=0.01)
    assert 0.93 <= covered / WORLDS <= 0.97
    assert naive / WORLDS < 0.6


def test_one_served_answer_varies_as_score_and_score_sd_say():
    """E[score^2 + score_sd^2] is the mean square of a served answer, however few the samples."""
    rng, p = np.random.default_rng(2), 0.3
    found = [expected([stage(BestOf(3))], [recording(rng, p, 4)], 1.0) for _ in range(3000)]
    squares = [one.score**2 + one.score_sd**2 for one in found]
    error = np.std(squares) / math.sqrt(len(squares))
    assert abs(np.mean(squares) - (1 - (1 - p) ** 3)) < 4 * error


def test_a_ladders_score_and_dollars_are_unbiased_over_worlds():
    rng, (p, q) = np.random.default_rng(7), (0.3, 0.8)
    found = [
        expected(
            [stage(BestOf(2), "a/single"), stage(Once(), "b/single")],
            [recording(rng, p, 3), recording(rng, q, 2)],
            1.0,
        )
        for _ in range(2000)
    ]
    refused = (1 - p) ** 2
    for values, true in (
        ([one.score for one in found], 1 - refused * (1 - q)),
        ([one.cost_usd for one in found], 2 * (1 + p) + refused * (1 + q)),
    ):
        assert abs(np.mean(values) - true) < 4 * np.std(values) / math.sqrt(len(values))

"""Intervals of differences, held against simulated measurements: seeded, with standard errors."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from diff_examples import BEST, LARGE, NEW_SHARES, OLD_SHARES, SMALL, cell, policy
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.effects import effects
from policies.intervals import Mixture, half_width, standard_error
from policies.policy import CellFigures, Policy

QUERIES, ROUNDS = 300, 600
WEIGHTS = {"easy": 0.7, "hard": 0.3}
CHANCES = {
    "easy": {SMALL: 0.9, BEST: 0.93, LARGE: 0.96},
    "hard": {SMALL: 0.35, BEST: 0.6, LARGE: 0.8},
}
SPREAD = 0.5


def measured(rng: np.random.Generator, together: float) -> dict[str, dict[str, CellFigures]]:
    """Cells of one measurement; scores and dollars of strategies go together by so much."""
    cells: dict[str, dict[str, CellFigures]] = {}
    for name, chances in CHANCES.items():
        common, cells[name] = rng.standard_normal(QUERIES), {}
        for text, chance in chances.items():
            own = rng.standard_normal(QUERIES)
            level = math.sqrt(together) * common + math.sqrt(1 - together) * own
            scores = level < NormalDist().inv_cdf(chance)
            usd = 0.002 * chance * np.exp(SPREAD * level)
            cells[name][text] = CellFigures(
                queries=QUERIES,
                accuracy=float(scores.mean()),
                accuracy_se=float(scores.std(ddof=1) / math.sqrt(QUERIES)),
                cost_usd=float(usd.mean()),
                cost_se_usd=float(usd.std(ddof=1) / math.sqrt(QUERIES)),
                cost_max_usd=float(usd.max()),
                latency_p95_s=None,
            )
    return cells


def true_means(shares: dict[str, dict[str, float]]) -> np.ndarray:
    """Accuracy and dollars per request."""
    accuracy = sum(
        WEIGHTS[name] * part * CHANCES[name][text]
        for name, row in shares.items()
        for text, part in row.items()
    )
    return np.array([accuracy, 0.002 * math.exp(SPREAD**2 / 2) * accuracy])


@pytest.mark.parametrize("together", [0.0, 0.6])
@pytest.mark.parametrize("profiles", [1, 2])
def test_intervals_cover_the_true_difference_in_95_of_100_measurements(
    together: float, profiles: int
) -> None:
    rng = np.random.default_rng(20261122)
    true = true_means(NEW_SHARES) - true_means(OLD_SHARES)
    covered = np.zeros((ROUNDS, 2))
    for turn in range(ROUNDS):
        old = measured(rng, together)
        new = measured(rng, together) if profiles == 2 else old
        found = effects(
            policy(OLD_SHARES, cells=old, weights=WEIGHTS),
            policy(
                NEW_SHARES,
                cells=new,
                weights=WEIGHTS,
                profile="sha256:0b0b" if profiles == 2 else "sha256:9f0f",
            ),
        ).first
        for column, change in enumerate((found.accuracy.change, found.usd_per_request)):
            assert change.low is not None
            assert change.high is not None
            covered[turn, column] = change.low <= true[column] <= change.high
    share = covered.mean(axis=0)
    error = np.sqrt(share * (1 - share) / ROUNDS)
    assert (share >= 0.95 - 3 * error).all(), (share, error)
    if profiles == 2 and together == 0:
        assert (share <= 0.95 + 0.03 + 3 * error).all(), "the interval is far too wide"


def mixture(found: Policy, weights: dict[str, float] = WEIGHTS) -> Mixture:
    return Mixture(found, found.rungs[0], weights)


def test_what_stays_where_it_was_cannot_err() -> None:
    one = policy()
    assert standard_error(mixture(one), mixture(policy()), "accuracy") == 0
    measured_again = policy(profile="sha256:0b0b")
    error = standard_error(mixture(one), mixture(measured_again), "accuracy")
    rows = [(0.7 * 1.0,), (0.3 * 0.25, 0.3 * 0.75)]
    expected = math.sqrt(2 * sum((0.01 * sum(row)) ** 2 for row in rows))
    assert error == pytest.approx(expected)


def test_of_one_profile_only_what_moves_counts() -> None:
    error = standard_error(mixture(policy()), mixture(policy(NEW_SHARES)), "accuracy")
    # hard: 0.375 to best of 8; 0.25 from small and 0.125 from large
    assert error == pytest.approx(0.3 * 0.01 * math.hypot(0.375, 0.25 + 0.125))


def test_an_error_that_nobody_recorded_makes_the_interval_unknown_unless_it_cancels() -> None:
    cells = {
        "easy": {SMALL: cell(0.9, None), BEST: cell(0.9, 0.1), LARGE: cell(0.9, 0.1)},
        "hard": {SMALL: cell(0.3, 0.1), BEST: cell(0.6, 0.1), LARGE: cell(0.8, 0.1)},
    }
    old, new = policy(cells=cells), policy(NEW_SHARES, cells=cells)
    assert standard_error(mixture(old), mixture(new), "cost_usd") is not None
    other = {"easy": 0.6, "hard": 0.4}
    assert standard_error(mixture(old), mixture(new, other), "cost_usd") is None
    assert standard_error(mixture(old), mixture(new, other), "accuracy") is not None


def test_a_class_that_nobody_is_said_to_answer_makes_the_interval_unknown_and_not_narrow() -> None:
    old, new = policy(), policy(NEW_SHARES)
    silent = new.rungs[0].model_copy(update={"shares": {"easy": NEW_SHARES["easy"]}})
    for empty in (silent, silent.model_copy(update={"shares": {**silent.shares, "hard": {}}})):
        partly = new.model_copy(update={"rungs": (empty, *new.rungs[1:])})
        assert standard_error(mixture(old), mixture(partly), "accuracy") is None
        assert standard_error(mixture(partly), mixture(old), "accuracy") is None
        assert effects(old, partly).first.spend.change.low is None
        unused = {"easy": 1.0, "hard": 0.0}
        assert standard_error(mixture(old, unused), mixture(partly, unused), "cost_usd") == 0


@given(
    st.lists(
        st.floats(-1, 1).filter(lambda move: move == 0 or abs(move) > 1e-6), min_size=3, max_size=3
    ),
    st.lists(st.floats(0.001, 1), min_size=9, max_size=9),
    st.lists(st.floats(0.001, 0.1), min_size=3, max_size=3),
)
@settings(max_examples=100, deadline=None)
def test_no_correlation_between_0_and_1_gives_more_than_the_convention(
    moves: list[float], loads: list[float], errors: list[float]
) -> None:
    """Correlations of vectors without negative parts, of which every such matrix of 3 is made."""
    texts = (SMALL, BEST, LARGE)
    vectors = np.array(loads).reshape(3, 3)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled = np.array(moves) * np.array(errors)
    exact = math.sqrt(max(float(scaled @ (vectors @ vectors.T) @ scaled), 0.0))
    row = {text: cell(0.25, 0.1, se) for text, se in zip(texts, errors, strict=True)}
    lost = {text: max(-move, 0.0) for text, move in zip(texts, moves, strict=True)}
    gained = {text: max(move, 0.0) for text, move in zip(texts, moves, strict=True)}
    both = {"easy": 0.0, "hard": 1.0}
    cells = {"easy": row, "hard": row}
    old, new = (policy({"easy": lost, "hard": part}, cells=cells) for part in (lost, gained))
    found = standard_error(mixture(old, both), mixture(new, both), "accuracy")
    assert found is not None
    assert found >= exact * (1 - 1e-9)


def test_the_interval_is_that_of_a_normal_error() -> None:
    assert half_width(1.0) == pytest.approx(1.959964, abs=1e-6)

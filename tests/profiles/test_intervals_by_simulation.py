import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, chi2

from benchmarks.interval_coverage import accuracy_coverage, cost_coverage
from profiles.cells.intervals import clopper_pearson, effective_size, mean_interval, wilson

REPETITIONS = 1500
MISS = 0.93, 0.97
NOISE = 3 * math.sqrt(0.95 * 0.05 / REPETITIONS)


def holds(found):
    assert MISS[0] - NOISE < found["coverage"] < MISS[1] + NOISE, found


@pytest.mark.parametrize("queries", [50, 200, 1000])
@pytest.mark.parametrize("kind", ["single", "clustered", "graded"])
@pytest.mark.parametrize("band", [(0.2, 0.4), (0.6, 0.8)])
def test_wilson_covers_what_it_says_also_where_samples_share_a_query(queries, kind, band):
    holds(accuracy_coverage(wilson, queries, band, kind, seed=1, repetitions=REPETITIONS))


@pytest.mark.parametrize("queries", [50, 200, 1000])
@pytest.mark.parametrize("kind", ["single", "clustered", "graded"])
@pytest.mark.parametrize("truth", [0.02, 0.99])
def test_few_failures_leave_no_interval_too_short(queries, kind, truth):
    band = (truth, truth)
    found = accuracy_coverage(wilson, queries, band, kind, seed=5, repetitions=REPETITIONS)
    assert found["coverage"] > MISS[0] - NOISE


@pytest.mark.parametrize("queries", [50, 1000])
def test_clopper_and_pearson_never_cover_less(queries):
    found = accuracy_coverage(
        clopper_pearson, queries, (0.1, 0.9), "single", seed=2, repetitions=REPETITIONS
    )
    assert found["coverage"] > 0.95 - NOISE


@pytest.mark.parametrize("queries", [50, 200, 1000])
@pytest.mark.parametrize("sigma", [0.3, 1.0])
def test_the_interval_of_a_skewed_cost_covers_what_it_says(queries, sigma):
    holds(cost_coverage(queries, sigma, 3, bent=True, repetitions=REPETITIONS))


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_both_intervals_equal_an_independent_implementation(counts):
    good, n = counts
    exact = binomtest(good, n).proportion_ci(0.95, method="exact")
    assert np.allclose(clopper_pearson(good / n, n), (exact.low, exact.high), atol=1e-9)
    plain = binomtest(good, n).proportion_ci(0.95, method="wilson")
    low, high = plain.low, plain.high
    if 0 < good <= 3:
        low = min(low, chi2.ppf(0.05, 2 * good) / 2 / n)
    if 0 < n - good <= 3:
        high = max(high, 1 - chi2.ppf(0.05, 2 * (n - good)) / 2 / n)
    assert np.allclose(wilson(good / n, n), (low, high), atol=1e-9)


@given(st.lists(st.sampled_from([0.0, 1.0]), min_size=2, max_size=60))
def test_single_answers_of_0_or_1_count_as_their_queries(scores):
    mean, sd = float(np.mean(scores)), float(np.std(scores, ddof=1))
    assert effective_size(mean, sd, len(scores), len(scores)) == len(scores)


@given(
    st.floats(0, 1), st.floats(0, 0.5), st.integers(1, 500), st.integers(1, 8), st.floats(0.5, 0.99)
)
def test_an_effective_size_is_never_below_the_queries(mean, sd, queries, samples, confidence):
    size = effective_size(mean, sd, queries, queries * samples, confidence)
    assert queries <= size <= 16 * queries


def test_without_skewness_the_interval_is_students():
    low, high = mean_interval(10.0, 2.0, None, 16)
    assert math.isclose(low, 10 - 2.131449546 / 2)
    assert math.isclose(high, 10 + 2.131449546 / 2)
    assert mean_interval(10.0, 2.0, None, 1) is None
    bent = mean_interval(10.0, 2.0, 2.0, 16)
    assert bent[0] > low
    assert bent[1] > high

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_worlds import WORKLOAD, observation

from profiles.cells.caps import LEAST_ROWS, cap_line
from profiles.cells.report import profile_rows
from profiles.cells.tails import tail
from profiles.errors import UnknownValueError
from profiles.store.store import Store


def completions(rng, rows):
    """Longer prompts have longer and more varied completions."""
    tokens_in = rng.integers(10, 3000, rows).astype(float)
    tokens_out = np.round((50 + 0.2 * tokens_in) * np.exp(0.5 * rng.standard_normal(rows)))
    return tokens_in, tokens_out


@pytest.mark.parametrize("rows", [1000, 5000])
def test_about_one_in_a_hundred_later_completions_is_longer_than_its_cap(rows):
    rng = np.random.default_rng(4)
    longer = []
    for _ in range(40):
        line = cap_line(*completions(rng, rows))
        tokens_in, tokens_out = completions(rng, 20_000)
        longer.append(np.mean(tokens_out > line.intercept + line.slope * tokens_in))
    assert abs(np.mean(longer) - 0.01) < 0.002


def test_the_cap_holds_for_short_and_for_long_prompts():
    rng = np.random.default_rng(5)
    line = cap_line(*completions(rng, 50_000))
    tokens_in, tokens_out = completions(rng, 200_000)
    late = tokens_out > line.intercept + line.slope * tokens_in
    for part in (tokens_in < 1000, tokens_in > 2000):
        assert 0.004 < late[part].mean() < 0.02
    assert line.max_tokens(0) == max(1, math.ceil(line.intercept))


def test_too_few_rows_have_no_cap_line():
    rng = np.random.default_rng(6)
    assert cap_line(*completions(rng, LEAST_ROWS - 1)) is None


def test_a_profile_asked_for_caps_has_them_in_cells_with_enough_rows():
    rng = np.random.default_rng(7)
    tokens_in, tokens_out = completions(rng, LEAST_ROWS)
    rows = [
        observation(f"q{n}", "big/single", tokens_in=int(i), tokens_out=int(o))
        for n, (i, o) in enumerate(zip(tokens_in, tokens_out, strict=True))
    ]
    rows.append(observation("q0", "small/single", tokens_in=5, tokens_out=5))
    with Store.open(":memory:") as store:
        store.add(rows)
        capped = store.profile(WORKLOAD, caps=True)
        plain = store.profile(WORKLOAD)
    assert capped.cell("all", "big/single").cap_line == cap_line(tokens_in, tokens_out)
    assert capped.cell("all", "small/single").cap_line is None
    assert plain == capped
    assert plain.digest == capped.digest


def measured(latencies, limits=()):
    with Store.open(":memory:") as store:
        store.add([observation(f"q{n}", latency_s=float(v)) for n, v in enumerate(latencies)])
        profile = store.profile(WORKLOAD, latency_limits=limits)
    return tail(profile.cell("all", "m/single"), profile.latency_grid_s), profile


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10**6), st.integers(20, 400))
def test_a_tail_never_rises_and_never_undercuts_what_was_measured(seed, rows):
    latencies = np.random.default_rng(seed).lognormal(0, 0.8, rows)
    found, profile = measured(latencies)
    last = profile.latency_grid_s[-1] * (4 if found.threshold_s else 1)
    shares = [found.exceedance(x) for x in np.linspace(profile.latency_grid_s[0], last, 200)]
    assert all(a >= b for a, b in itertools.pairwise(shares))
    cell = profile.cell("all", "m/single")
    for limit, slow in zip(profile.latency_grid_s, cell.exceeded, strict=True):
        assert found.exceedance(limit) >= (slow + 0.5) / (rows + 1) - 1e-12


def test_beyond_the_data_the_tail_is_of_the_right_size():
    rng = np.random.default_rng(8)
    ratios = []
    for _ in range(12):
        found, _ = measured(rng.exponential(1.0, 1000))
        ratios.append(found.exceedance(9.0) / math.exp(-9))
    assert 0.3 < np.median(ratios) < 8


def test_shown_rows_say_how_often_an_asked_limit_is_exceeded_and_none_where_unknown():
    latencies = np.random.default_rng(9).exponential(1.0, 400)
    beyond = 2 * float(latencies.max())
    limits = (1e-6, 2.0, beyond)
    found, profile = measured(latencies)
    row = profile_rows(profile, latency_limits_s=limits)[0]
    assert [at["limit_s"] for at in row["exceedance"]] == list(limits)
    below, inside, outside = (at["share"] for at in row["exceedance"])
    assert below is None
    assert inside == found.exceedance(2.0)
    assert abs(inside - math.exp(-2)) < 0.06
    assert 0 < outside < 1 / 400
    assert "exceedance" not in profile_rows(profile)[0]


def test_samples_of_one_query_count_once_in_its_tail():
    with Store.open(":memory:") as store:
        store.add(
            observation(f"q{n}", sample=sample, latency_s=1.0 + n)
            for n in range(4)
            for sample in range(5)
        )
        profile = store.profile(WORKLOAD)
    found = tail(profile.cell("all", "m/single"), profile.latency_grid_s)
    assert found.shares[-1] == 0.5 / 5


def test_few_slow_requests_promise_nothing_beyond_the_grid():
    found, _ = measured([1.0, 2.0, 3.0])
    with pytest.raises(UnknownValueError, match="too little was measured"):
        found.exceedance(4.0)
    with pytest.raises(UnknownValueError, match="too little was measured"):
        found.exceedance(0.5)

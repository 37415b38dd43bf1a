"""GPU-seconds, energy, calls and tokens per cell, with their standard errors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from worlds import make_profile

from planner.estimating.resources import pooled, resource
from profiles.errors import InputError, UnknownValueError
from profiles.observation import Observation
from profiles.profile import Cell
from profiles.store.store import Store

NAMES = ("gpu_s", "energy_j", "calls", "tokens_in", "tokens_out")
BLANK = make_profile([[0.5]], [[1e-4]], queries=100).cell("c0", "m00/single")


def _cell(strategy: str = "m/single", **known: Any) -> Cell:
    return replace(BLANK, strategy=strategy, **known)


def test_the_standard_error_is_the_spread_of_query_means_over_the_root_of_the_queries() -> None:
    rng = np.random.default_rng(1)
    rows = [
        Observation(
            "w",
            f"q{q}",
            "m/single",
            k,
            score=1.0,
            tokens_in=int(rng.integers(9, 99)),
            tokens_out=int(rng.integers(999)),
            calls=int(rng.integers(1, 5)),
            gpu_s=float(rng.exponential()),
            energy_j=float(rng.exponential(300)),
        )
        for q in range(40)
        for k in range(3)
    ]
    with Store.open(":memory:") as store:
        store.add(rows)
        cells = tuple(store.profile("w").cells.values())
    for name in NAMES:
        table = np.array([getattr(row, name) for row in rows]).reshape(40, 3).mean(axis=1)
        found = resource(cells, name)
        assert found.mean == pytest.approx([table.mean()], rel=1e-6)
        assert found.sd == pytest.approx([table.std(ddof=1) / np.sqrt(40)], rel=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_the_standard_error_is_how_far_the_mean_strays(seed: int) -> None:
    """400 samples of 50 queries: the spread of their means, within 4 of its own errors of 3.5 %."""
    rng = np.random.default_rng(seed)
    draws = rng.gamma(2.0, 0.5, (400, 50))
    cells = [
        _cell(queries=50, gpu_s=float(d.mean()), gpu_sd_s=float(d.std(ddof=1)), metered_queries=50)
        for d in draws
    ]
    found = resource(cells, "gpu_s")
    assert np.sqrt(np.mean(found.sd**2)) == pytest.approx(found.mean.std(ddof=1), rel=4 * 0.035)


def test_a_spread_that_was_not_measured_is_the_mean() -> None:
    found = resource([_cell(calls=3.0), _cell(calls=3.0, calls_sd=0.0)], "calls")
    assert found.sd == pytest.approx([0.3, 0.0])


def test_seconds_and_joules_rest_on_the_queries_that_were_metered() -> None:
    cell = _cell(gpu_s=1.0, gpu_sd_s=1.0, energy_j=2.0, energy_sd_j=2.0, metered_queries=25)
    assert resource([cell], "gpu_s").sd == pytest.approx([0.2])
    assert resource([cell], "energy_j").times(0.5).sd == pytest.approx([0.2])


def test_what_was_not_measured_is_unknown_and_not_free() -> None:
    cells = [_cell(tokens_out=5.0), _cell("x/single"), _cell("y/single")]
    found = resource(cells, "tokens_out")
    assert np.isnan(found.mean).tolist() == [False, True, True]
    with pytest.raises(UnknownValueError, match="number of completion tokens") as refused:
        found.require("limits.per_request.tokens_out", cells)
    assert "x/single" in str(refused.value)
    resource(cells[:1], "tokens_out").require("limits.per_request.tokens_out", cells[:1])


def test_a_pool_counts_strategies_that_use_its_models_alone() -> None:
    both = "cascade(stages=[a/single,b/single])"
    cells = [_cell("a/single", gpu_s=1.0), _cell(both, gpu_s=4.0), _cell("hosted/single")]
    found = pooled(cells, ("a", "b"), "limits.gpu.pool")
    assert found.mean.tolist() == [1.0, 4.0, 0.0]
    assert found.sd.tolist() == [0.1, 0.4, 0.0]
    assert np.isnan(pooled(cells, None, "limits.gpu.pool").mean).tolist() == [False, False, True]


def test_a_strategy_with_models_inside_and_outside_a_pool_cannot_be_split() -> None:
    both = "cascade(stages=[a/single,b/single])"
    cells = [_cell("a/single", gpu_s=1.0), _cell(both, gpu_s=4.0)]
    with pytest.raises(UnknownValueError, match="also uses b") as refused:
        pooled(cells, ("a",), "limits.gpu.pool")
    assert both in str(refused.value)
    assert "add b to its models" in str(refused.value)


def test_a_model_that_nothing_uses_is_refused() -> None:
    with pytest.raises(InputError, match="did you mean 'llama-8b'"):
        pooled([_cell("llama-8b/single", gpu_s=1.0)], ("llama-8",), "limits.gpu.pool")

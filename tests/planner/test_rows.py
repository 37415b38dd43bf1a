"""Products with the matrices of margins against the same with all numbers written out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from planner.programme.margin import aggregate_matrix
from planner.programme.rows import Rows, stacked

Array = NDArray[np.float64]


def _written_out(
    values: Array, sds: Array, weights: Array, class_of: NDArray[np.intp], mix: int | None
) -> Array:
    """The formula of `aggregate_matrix`, one class at a time."""
    deviations = [np.where(class_of == d, w * sds, 0.0) for d, w in enumerate(weights)]
    mean = weights[class_of] * values
    mixed = [
        np.sqrt(w / mix) * (np.where(class_of == d, values, 0.0) - mean)
        for d, w in enumerate(weights)
        if mix is not None
    ]
    return np.array([*deviations, *mixed, np.zeros(len(class_of))])


@given(
    seed=st.integers(0, 10_000),
    classes=st.integers(1, 5),
    columns=st.integers(1, 12),
    mix=st.sampled_from([None, 7, 1000]),
)
def test_structured_products_are_those_of_the_whole_matrix(
    seed: int, classes: int, columns: int, mix: int | None
) -> None:
    rng = np.random.default_rng(seed)
    made: list[tuple[Rows, Array]] = []
    for _ in range(2):
        numbers = (
            rng.normal(size=columns),
            rng.uniform(size=columns),
            rng.dirichlet(np.ones(classes)),
        )
        class_of = rng.integers(classes, size=columns)
        made.append(
            (aggregate_matrix(*numbers, class_of, mix), _written_out(*numbers, class_of, mix))
        )
    keep = rng.random(columns) < 0.6
    last = rng.normal(size=columns)
    (rows, dense), (more, more_dense) = made
    below = dense.copy()
    below[-1] += last
    cases: list[tuple[Rows, Array]] = [
        (rows, dense),
        (rows.scaled(0.3), 0.3 * dense),
        (rows.of_columns(keep), dense[:, keep]),
        (rows.with_last(last), below),
        (stacked([rows, more]), np.vstack([dense, more_dense])),
    ]
    for ours, theirs in cases:
        x, u = rng.uniform(size=(theirs.shape[1],)), rng.normal(size=len(theirs))
        assert len(ours) == len(theirs)
        assert ours.times(x) == pytest.approx(theirs @ x, abs=1e-12)
        assert ours.combined(u) == pytest.approx(u @ theirs, abs=1e-12)


def test_memory_grows_with_the_columns_not_with_columns_times_classes() -> None:
    rng = np.random.default_rng(0)
    classes, strategies = 50, 40
    class_of = np.repeat(np.arange(classes), strategies)
    values, sds = rng.uniform(size=(2, len(class_of)))
    rows = aggregate_matrix(values, sds, rng.dirichlet(np.ones(classes)), class_of, 1000)
    assert rows.entry.size + rows.left.size + rows.right.size < 4 * len(class_of)

"""Samples follow the model's shares and know no neighbours."""

from __future__ import annotations

import numpy as np

from demo.server.sampling import pick, uniform

ROWS = 20_000


def test_the_numbers_are_uniform_and_differ_by_seed_index_and_step() -> None:
    rows = np.arange(ROWS)
    zeros = np.zeros(ROWS, np.int64)
    for parts in ((rows, zeros, zeros), (zeros, rows, zeros), (zeros, zeros, rows)):
        numbers = uniform(*parts)
        assert len(set(numbers.tolist())) == ROWS
        # The mean of uniform numbers has a standard error of sqrt(1/12/rows).
        assert abs(numbers.mean() - 0.5) < 4 * (1 / 12 / ROWS) ** 0.5


def test_a_row_gets_the_same_number_alone_and_in_company() -> None:
    rows = np.arange(50)
    together = uniform(rows, rows * 2, rows * 3)
    alone = [uniform(rows[i : i + 1], rows[i : i + 1] * 2, rows[i : i + 1] * 3)[0] for i in rows]
    assert together.tolist() == alone


def test_tokens_are_drawn_by_their_shares_at_a_temperature() -> None:
    logits = np.tile(np.log(np.array([[0.5, 0.3, 0.2]], np.float32)), (ROWS, 1))
    for temperature in (0.5, 1.0, 2.0):
        tokens = _drawn(logits, temperature, 1.0)
        shares = np.array([0.5, 0.3, 0.2]) ** (1 / temperature)
        shares /= shares.sum()
        seen = np.bincount(tokens, minlength=3) / ROWS
        assert (np.abs(seen - shares) < 4 * np.sqrt(shares * (1 - shares) / ROWS)).all()


def test_top_p_keeps_the_smallest_set_that_holds_the_share() -> None:
    logits = np.tile(np.log(np.array([[0.2, 0.5, 0.3]], np.float32)), (ROWS, 1))
    assert set(_drawn(logits, 1.0, 0.4).tolist()) == {1}
    assert set(_drawn(logits, 1.0, 0.6).tolist()) == {1, 2}
    assert set(_drawn(logits, 1.0, 1.0).tolist()) == {0, 1, 2}


def test_temperature_zero_takes_the_likeliest_beside_rows_that_sample() -> None:
    logits = np.tile(np.array([[0.0, 0.1, 0.0]], np.float32), (ROWS, 1))
    temperature = np.tile(np.array([0.0, 1.0], np.float32), ROWS // 2)
    tokens = pick(logits, temperature, np.ones(ROWS, np.float32), _numbers())
    assert set(tokens[::2].tolist()) == {1}
    assert set(tokens[1::2].tolist()) == {0, 1, 2}


def test_a_top_p_that_rounds_to_nothing_keeps_the_likeliest_token() -> None:
    logits = np.tile(np.log(np.array([[0.2, 0.5, 0.3]], np.float32)), (ROWS, 1))
    assert set(_drawn(logits, 1.0, 5e-324).tolist()) == {1}


def _drawn(logits: np.ndarray, temperature: float, top_p: float) -> np.ndarray:
    level, share = np.full((2, ROWS), [[temperature], [top_p]], np.float32)
    return pick(logits, level, share, _numbers())


def _numbers() -> np.ndarray:
    zeros = np.zeros(ROWS, np.int64)
    return uniform(zeros, np.arange(ROWS), zeros)

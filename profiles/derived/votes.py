"""Who wins a vote among k of n recorded answers: exact, for every k at once.

An answer wins with the most votes; of equals the one that was seen first. Given the counts every
order is equally likely, so equals share their chance. The counts of a draw without replacement are
multivariate hypergeometric; a recursion over the answers carries, for one top count t, how many
answers reached exactly t and none more. Every term is a probability: nothing cancels or overflows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def vote_weights(answers: Sequence[Hashable], k: int) -> Floats:
    """Chance that each sample is the one a vote of k serves.

    Args:
        answers: What each of n samples votes for; equal where two agree.
        k: Samples that vote, 1..n.

    Returns:
        Shape (n,), sums to 1; samples with the same answer share its chance evenly.
    """
    counts = Counter(answers)
    sizes = tuple(sorted(counts.values()))
    chance = win_chances(sizes)[k]
    by_size = {size: chance[index] / size for index, size in enumerate(sizes)}
    return np.array([by_size[counts[answer]] for answer in answers])


def winner(answers: Sequence[Hashable]) -> int:
    """Place of the first sample with the answer that most agree on; of equals the first seen."""
    counts = Counter(answers)  # most_common keeps the order of first sight among equals
    return answers.index(counts.most_common(1)[0][0])


@lru_cache(maxsize=4096)
def win_chances(sizes: tuple[int, ...]) -> Floats:
    """Chance of each answer to win a vote of k samples.

    Args:
        sizes: How many of the n samples carry each answer, ascending.

    Returns:
        Shape (n + 1, answers), a row for each k = 0..n; row 0 is all zeros.
    """
    kinds = sorted(set(sizes))
    shares = np.zeros((sum(sizes) + 1, len(kinds)))
    steps = _steps(sizes)
    for top in range(1, sizes[-1] + 1):
        shares += _shares_at(top, sizes, kinds, steps)
    members = Counter(sizes)
    column = {kind: index for index, kind in enumerate(kinds)}
    chances: Floats = np.stack([shares[:, column[size]] / members[size] for size in sizes], axis=1)
    return chances


def _steps(sizes: tuple[int, ...]) -> list[Floats]:
    """For each answer: chance of x votes for it among u drawn from it and those before it.

    Hypergeometric, shape (size + 1, samples so far + 1).
    """
    total = sum(sizes)
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, total + 1)))])

    def log_choose(n: NDArray[np.int64] | int, r: NDArray[np.int64]) -> Floats:
        found: Floats = log_factorial[n] - log_factorial[r] - log_factorial[n - r]
        return found

    steps, before = [], 0
    for size in sizes:
        x, u = np.arange(size + 1)[:, None], np.arange(before + size + 1)[None, :]
        possible = (u - x >= 0) & (u - x <= before)
        others = np.where(possible, u - x, 0)
        log_chance = log_choose(size, x) + log_choose(before, others) - log_choose(before + size, u)
        steps.append(np.where(possible, np.exp(log_chance), 0.0))
        before += size
    return steps


def _shares_at(top: int, sizes: tuple[int, ...], kinds: list[int], steps: list[Floats]) -> Floats:
    """Chance that the winner has exactly `top` votes, by the winner's size; shape (n + 1, kinds).

    The state has an entry for u samples drawn and r answers with `top` votes: its chance, and for
    each kind the expected number of such answers of that kind.
    """
    first = next(index for index, size in enumerate(sizes) if size >= top)
    below = sum(sizes[:first])  # too rare to reach `top`: no condition on them
    state = np.zeros((below + 1, 1, 1 + len(kinds)))
    state[:, 0, 0] = 1.0
    for index in range(first, len(sizes)):
        state = _with_answer(state, top, steps[index], 1 + kinds.index(sizes[index]))
    ties = np.arange(1, state.shape[1])
    shares: Floats = np.einsum("urf,r->uf", state[:, 1:, 1:], 1 / ties)
    return shares


def _with_answer(state: Floats, top: int, step: Floats, kind: int) -> Floats:
    """The state after one more answer: fewer than `top` votes for it, or exactly that many."""
    drawn, ties, width = state.shape
    grown = step.shape[1]
    padded = np.zeros((top + grown, ties, width))
    padded[top : top + drawn] = state
    # windows[u, ..., y] is the state at u - top + y drawn samples
    windows = sliding_window_view(padded, top + 1, axis=0)[:grown]
    after = np.zeros((grown, ties + 1, width))
    after[:, :-1] = np.einsum("urfx,xu->urf", windows[..., 1:], step[top - 1 :: -1])
    tied = windows[..., 0] * step[top][:, None, None]
    after[:, 1:] += tied
    after[:, 1:, kind] += tied[..., 0]
    return after

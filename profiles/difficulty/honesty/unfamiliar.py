"""Prompts unlike those that an estimator has learned from.

A text's hashed tokens have length 1 as a vector of square roots of shares, so its product with
another text is their Hellinger affinity: 1 where the shares agree, 0 where no token is common.
Training texts are grouped around a few centres (spherical k-means, Dhillon and Modha, Machine
Learning 42 (2001)). The *surprise* of a text is by how many standard deviations of its nearest
centre's group it lies further out than that group does on average: templates lie close together,
and what is near for free text is far for them.

A text is unfamiliar above a conformal limit: the ceil((n + 1)(1 - alpha))-th smallest surprise
that training texts have under models which saw neither them nor a near-duplicate. So about a share
alpha of prompts like the training ones are called unfamiliar by mistake. Long and short texts vary
differently; with enough texts every band of lengths has its own limit. A text without any token
is unfamiliar.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto
from scipy.sparse import csr_array

from profiles.cells.intervals import wilson
from profiles.difficulty.honesty.prediction_sets import conformal_quantile
from profiles.difficulty.nodes import Graph, floats, ints

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Indices = NDArray[np.intp]

ALPHA = 0.01
_MOST_CENTRES = 16
_TEXTS_PER_CENTRE = 50
_MOST_LEARNED_FROM = 20_000
_ROUNDS = 15
_PRIOR_TEXTS = 20
"""A group's mean and spread are shrunk towards all texts' by so many average texts."""
_MOST_BANDS = 4
_ALARMS_PER_BAND = 10
"""False alarms that a band of lengths expects at least, for a limit that is not itself luck."""
_SMALLEST_SPREAD = 1e-3
_TINY = 1e-12
_DECIMALS = 5


@dataclass(frozen=True, slots=True)
class Unfamiliar:
    """Says which texts are unlike those learned from.

    Attributes:
        centres: Shape (W, K), columns of length 1, or 0 where a group is empty.
        means: Shape (K,): mean affinity of a group's texts to its centre.
        spreads: Shape (K,): their standard deviation.
        lengths: Shape (B,), from 1: the fewest filled columns of a text in each band of lengths.
        limits: Shape (B + 1,): a text is unfamiliar above the limit of its band. The first is for
            texts without a token and below everything; infinite where a band has too few texts.
        alpha: Share of familiar texts that are called unfamiliar, at most on average.
    """

    centres: Floats
    means: Floats
    spreads: Floats
    lengths: Floats
    limits: Floats
    alpha: float

    def surprise(self, roots: csr_array) -> Floats:
        """Shape (n,): standard deviations beyond what is usual near the nearest centre.

        Args:
            roots: Shape (n, W), rows of length 1 or 0 (`token_roots.py`).
        """
        affinity = roots @ self.centres
        nearest = affinity.argmax(axis=1)
        close = affinity[np.arange(len(nearest)), nearest]
        return np.asarray((self.means[nearest] - close) / self.spreads[nearest])

    def detect(self, roots: csr_array) -> Flags:
        """Shape (n,): whether each text is unfamiliar; for texts that it was not fitted on."""
        band = _band(_filled(roots), self.lengths)
        return np.asarray(self.surprise(roots) > self.limits[band])

    def append(self, graph: Graph, roots: str) -> str:
        """Name of the bool[N] of the graph's float32[N, W] `roots`."""
        exact = graph.add("Cast", roots, to=TensorProto.DOUBLE)
        affinity = graph.add("MatMul", exact, self.centres)
        further = graph.add("Div", graph.add("Sub", self.means, affinity), self.spreads)
        nearest = graph.add("ArgMax", affinity, axis=1, keepdims=1)
        surprise = graph.add("GatherElements", further, nearest, axis=1)
        filled = graph.add("Cast", graph.add("Greater", roots, floats(0)), to=TensorProto.FLOAT)
        filled = graph.add("ReduceSum", filled, ints(1), keepdims=1)
        passed = graph.add("GreaterOrEqual", filled, self.lengths.astype(np.float32))
        passed = graph.add("Cast", passed, to=TensorProto.INT64)
        band = graph.add("ReduceSum", passed, ints(1), keepdims=1)
        limit = graph.add("Gather", self.limits, band)
        return graph.add("Squeeze", graph.add("Greater", surprise, limit), ints(1))


@dataclass(frozen=True, slots=True)
class FalseAlarms:
    """How many training texts are unfamiliar by mistake, each judged by other folds.

    Attributes:
        queries: Training texts.
        alarms: Of those, called unfamiliar.
        share: Of the texts.
        low: Lower end of the 95 % interval.
        high: Upper end.
    """

    queries: int
    alarms: int
    share: float
    low: float
    high: float


def fit_unfamiliar(
    roots: csr_array, fold_of: Indices, *, alpha: float = ALPHA, seed: int = 0
) -> tuple[Unfamiliar, Flags]:
    """A detector, and which of the training texts themselves are unfamiliar, out of fold.

    Args:
        roots: Shape (n, W), rows of length 1 or 0.
        fold_of: Shape (n,), near-duplicates in one fold.
        alpha: Between 0 and 1.
        seed: Of the first centres.

    Returns:
        The detector; and bool of shape (n,), where both the surprise and the limits that judge a
        text come from folds without it.
    """
    rng = np.random.default_rng(seed)
    learned = np.sort(rng.permutation(len(fold_of))[:_MOST_LEARNED_FROM])
    count = min(max(len(learned) // _TEXTS_PER_CENTRE, 1), _MOST_CENTRES)
    starts = roots[np.sort(rng.choice(learned, count, replace=False))].toarray().T
    whole = _learn(roots[learned], starts, alpha)
    surprise = np.empty(len(fold_of))
    for fold in np.unique(fold_of):
        inside = fold_of == fold
        # from the same texts on, so that all models find much the same groups
        part = _learn(roots[learned[~inside[learned]]], starts, alpha)
        surprise[inside] = part.surprise(roots[inside])
    filled = _filled(roots)
    lengths = _lengths(filled, alpha)
    band = _band(filled, lengths)
    flags = np.zeros(len(fold_of), dtype=np.bool_)
    for fold in np.unique(fold_of):
        inside = fold_of == fold
        limits = _limits(surprise[~inside], band[~inside], len(lengths), alpha)
        flags[inside] = surprise[inside] > limits[band[inside]]
    limits = _limits(surprise, band, len(lengths), alpha)
    return replace(whole, lengths=lengths, limits=limits), flags


def false_alarms(flags: Flags) -> FalseAlarms:
    """Count the training texts that are unfamiliar out of fold, at least one text."""
    share = float(flags.mean())
    return FalseAlarms(len(flags), int(flags.sum()), share, *wilson(share, len(flags)))


def _learn(texts: csr_array, starts: Floats, alpha: float) -> Unfamiliar:
    """Centres and spreads; no limits yet."""
    centres = _centres(texts, starts).round(_DECIMALS)
    affinity = texts @ centres
    group = affinity.argmax(axis=1)
    close = affinity[np.arange(len(group)), group]
    count = centres.shape[1]
    means = _shrunk(close, group, count)
    spreads = np.sqrt(_shrunk((close - means[group]) ** 2, group, count))
    return Unfamiliar(
        centres,
        means.round(_DECIMALS),
        spreads.round(_DECIMALS).clip(_SMALLEST_SPREAD, None),
        np.ones(1),
        np.array([-np.inf, np.inf]),
        alpha,
    )


def _centres(texts: csr_array, starts: Floats) -> Floats:
    """Shape (W, K): means of the groups at last, of length 1; 0 for a group without texts."""
    rows, count = texts.shape[0], starts.shape[1]
    centres = starts
    for _ in range(_ROUNDS):
        group = (texts @ centres).argmax(axis=1)
        member = csr_array((np.ones(rows), (np.arange(rows), group)), shape=(rows, count))
        sums = (texts.T @ member).toarray()
        centres = sums / np.maximum(np.linalg.norm(sums, axis=0), _TINY)
    return np.asarray(centres)


def _shrunk(values: Floats, group: Indices, count: int) -> Floats:
    """Shape (count,): mean of each group, with `_PRIOR_TEXTS` more values at the overall mean."""
    sums = np.bincount(group, values, count) + _PRIOR_TEXTS * values.mean()
    return np.asarray(sums / (np.bincount(group, minlength=count) + _PRIOR_TEXTS))


def _filled(roots: csr_array) -> Floats:
    """Shape (n,): columns that a text fills, which grows with its length."""
    return np.asarray((roots > 0).sum(axis=1), dtype=np.float64).ravel()


def _lengths(filled: Floats, alpha: float) -> Floats:
    """Bands of about equally many texts; none is much smaller, whatever the ties."""
    count = min(max(int(len(filled) * alpha / _ALARMS_PER_BAND), 1), _MOST_BANDS)
    lengths = [1.0]
    for start in np.quantile(filled, np.arange(1, count) / count).round():
        within = ((filled >= lengths[-1]) & (filled < start)).sum()
        if min(within, (filled >= start).sum()) >= len(filled) / count / 2:
            lengths.append(float(start))
    return np.array(lengths)


def _band(filled: Floats, lengths: Floats) -> Indices:
    return np.asarray(np.searchsorted(lengths, filled, side="right"))


def _limits(surprise: Floats, band: Indices, bands: int, alpha: float) -> Floats:
    found = [conformal_quantile(surprise[band == index], alpha) for index in range(1, bands + 1)]
    return np.array([-np.inf, *found]).round(_DECIMALS)

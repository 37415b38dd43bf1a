"""What marks a class in its prompts' words, and which pieces of a text move the predicted scores.

Texts fall into the pieces that the predictor reads: words, punctuation marks, line breaks, and
numbers, which all count as one piece. Case is kept.

*Marks* are pieces that the prompts of a class have more often than the other prompts: log-odds
ratios with an informative Dirichlet prior, over their standard errors (Monroe, Colaresi and Quinn,
"Fightin' Words", Political Analysis 16 (2008)). A piece counts once per prompt, because a prompt
that repeats a word is no second witness. Only what is beyond noise is told: with classes dealt at
random, a mark would appear anywhere in about 1 of 20 stores (Bonferroni over pieces and classes).

*Weights* are found by occlusion: a piece is taken out of prompts that have it, and the graph itself
predicts again. A blank takes its place, so all other pieces stay; pairs of neighbours do not.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from profiles.difficulty.reading.encoder import Encoder
from profiles.difficulty.reading.vectors import read_vectors
from profiles.difficulty.running import outputs

Floats = NDArray[np.float64]
NUMBER, LINE_BREAK = "<number>", "<line break>"
#: Marks per class, and weights, that are told.
MOST_TOLD = 8
#: Pieces of fewer prompts are not looked at.
FEWEST_PROMPTS = 5

_PIECE = re.compile(r"[^\W\d_]+|\d+|\n|[^\s\w]|_")
_PRIOR_PIECES = 500.0  # weight of the prior: as much as so many pieces of the corpus
_FALSE_MARKS = 0.05
_MOST_PIECES = 300
_PROMPTS_PER_PIECE = 30
_FEWEST_OCCLUDED = 10
_MOST_CHARACTERS = 1_500_000  # the graph reads about a million in a second


@dataclass(frozen=True, slots=True)
class Mark:
    """A piece that prompts of a class have more often than others.

    Attributes:
        piece: The word or mark.
        z: Log-odds ratio over its standard error, above 0.
        prompts: Prompts of the class that have it, of those read.
        others: Other prompts that have it, of those read.
    """

    piece: str
    z: float
    prompts: int
    others: int


@dataclass(frozen=True, slots=True)
class Weight:
    """What taking a piece out of prompts does to their predicted scores.

    Attributes:
        piece: The word or mark.
        prompts: Prompts it was taken out of.
        changes: Mean change of the predicted score by strategy, in -1..1.
        standard_errors: Over prompts, by strategy.
    """

    piece: str
    prompts: int
    changes: dict[str, float]
    standard_errors: dict[str, float]

    @property
    def most_moved(self) -> str:
        """The strategy whose prediction changes most."""
        return max(self.changes, key=lambda name: abs(self.changes[name]))


@dataclass(frozen=True, slots=True)
class Weights:
    """The pieces that weigh most.

    Attributes:
        pieces: How many of the most frequent ones were tried.
        heaviest: By their largest change in any strategy.
    """

    pieces: int
    heaviest: tuple[Weight, ...]


def pieces(text: str) -> set[str]:
    """The different pieces of a text."""
    return {_named(found) for found in _PIECE.findall(text)}


def without(text: str, piece: str) -> str:
    """The text with a blank in every place of a piece; all other pieces stay as they are."""
    return _PIECE.sub(lambda match: " " if _named(match[0]) == piece else match[0], text)


def _named(found: str) -> str:
    if found == "\n":
        return LINE_BREAK
    return NUMBER if found[0].isdecimal() else found


def marks(counts: Mapping[str, Counter[str]]) -> dict[str, tuple[Mark, ...]]:
    """The strongest marks of every class, strongest first; none where there is nothing to compare.

    Args:
        counts: By class, how many of its prompts have each piece.
    """
    total: Counter[str] = sum(counts.values(), Counter())
    known = sorted(piece for piece, number in total.items() if number >= FEWEST_PROMPTS)
    if len(counts) < 2 or len(known) < 2:
        return dict.fromkeys(counts, ())
    everywhere = np.array([total[piece] for piece in known], dtype=np.float64)
    beyond = NormalDist().inv_cdf(1 - _FALSE_MARKS / (len(known) * len(counts)))
    told = {}
    for name, counter in counts.items():
        inside = np.array([counter[piece] for piece in known], dtype=np.float64)
        z = log_odds_z(inside, everywhere - inside)
        strongest = sorted(np.flatnonzero(z > beyond), key=lambda i: (-z[i], known[i]))
        told[name] = tuple(
            Mark(known[i], round(float(z[i]), 5), int(inside[i]), int(everywhere[i] - inside[i]))
            for i in strongest[:MOST_TOLD]
        )
    return told


def log_odds_z(inside: Floats, outside: Floats) -> Floats:
    """Log-odds ratio of every piece, inside to outside, over its standard error, shape (pieces,).

    Monroe, Colaresi and Quinn (2008), equations 16, 19 and 22, with a prior that is the corpus
    itself scaled to 500 pieces.

    Args:
        inside: Counts of each piece, float64[pieces].
        outside: The same outside; no piece is 0 in both.
    """
    corpus = inside + outside
    prior = corpus * _PRIOR_PIECES / corpus.sum()
    first, second = inside + prior, outside + prior
    ratio = np.log(first / (first.sum() - first)) - np.log(second / (second.sum() - second))
    return np.asarray(ratio / np.sqrt(1 / first + 1 / second))


def weights(
    graph: bytes,
    strategies: Sequence[str],
    prompts: Sequence[str],
    labels: Sequence[str] | None,
    frequent: Sequence[str],
    *,
    encoder: Encoder | None = None,
) -> Weights:
    """Take frequent pieces out of prompts, one at a time, until 1.5 million characters were read.

    Args:
        graph: An estimator's bytes.
        strategies: Columns of its predicted scores.
        prompts: To take pieces out of.
        labels: One per prompt, for a graph that reads them.
        frequent: Pieces, most frequent first; at most 300 are tried.
        encoder: For a graph that reads its vectors; it reads every changed prompt again.
    """
    if not strategies:  # a graph that predicts classes alone
        return Weights(0, ())
    held = [pieces(prompt) for prompt in prompts]
    spans: list[tuple[str, list[int]]] = []
    left = _MOST_CHARACTERS - sum(map(len, prompts))
    for piece in frequent[:_MOST_PIECES]:
        holders = [i for i, own in enumerate(held) if piece in own][:_PROMPTS_PER_PIECE]
        left -= sum(len(prompts[i]) for i in holders)
        if left < 0:
            break
        if len(holders) >= _FEWEST_OCCLUDED:
            spans.append((piece, holders))
    before = _scores(graph, prompts, labels, len(strategies), encoder)
    changed = [without(prompts[i], piece) for piece, holders in spans for i in holders]
    order = [i for _, holders in spans for i in holders]
    kept = labels and [labels[i] for i in order]
    after = _scores(graph, changed, kept, len(strategies), encoder)
    found, start = [], 0
    for piece, holders in spans:
        change = after[start : start + len(holders)] - before[holders]
        found.append(_weight(piece, change, strategies))
        start += len(holders)
    found.sort(key=lambda one: (-abs(one.changes[one.most_moved]), one.piece))
    return Weights(len(spans), tuple(found[:MOST_TOLD]))


def _weight(piece: str, change: Floats, strategies: Sequence[str]) -> Weight:
    means = change.mean(axis=0).round(5) + 0.0
    errors = (change.std(axis=0, ddof=1) / math.sqrt(len(change))).round(5)
    return Weight(
        piece,
        len(change),
        dict(zip(strategies, means.tolist(), strict=True)),
        dict(zip(strategies, errors.tolist(), strict=True)),
    )


def _scores(
    graph: bytes,
    prompts: Sequence[str],
    labels: Sequence[str] | None,
    strategies: int,
    encoder: Encoder | None,
) -> Floats:
    """Predicted scores, shape (prompts, strategies)."""
    found = np.zeros((len(prompts), strategies))
    vectors = read_vectors(encoder, prompts) if encoder else None
    for positions, scores in outputs(graph, "predicted_scores", prompts, labels, vectors):
        found[positions] = scores
    return found

"""Cells whose scores look like a failure to read answers, and classes too small to trust.

Two rules, both over one class and one strategy with at least 20 queries:

- *Far below what the rest predicts.* Another strategy's log-odds in this class, plus the median
  difference of the two strategies over the other classes, predicts this one; the median over all
  other strategies is what is expected. A cell is suspicious when expected is at least 10 %, even
  the upper end of the mean's 99.9 % Wilson interval is below half of it and below what the strategy
  scores in some other class, and the odds are less than a fifth of the expected ones. Medians keep
  a few broken cells from hiding each other; a strategy that is weak everywhere is no failure.
- *No better than guessing*, where the mapping says what guessing scores: significantly below it, or
  not above it while another strategy of the class scores twice as much.

A cell with an unknown number of queries is suspicious only at exactly 0 with 20 % expected.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from profiles.notes import Kind, Notes

SMALLEST_CLASS = 20
_Z = 3.29  # two-sided 99.9 %
_LEAST_EXPECTED = 0.1
_LEAST_EXPECTED_UNKNOWN = 0.2
_ODDS = math.log(5)
_NOMINAL = 100  # queries, only to keep log-odds of a cell of unknown size finite

Cells = Mapping[tuple[str, str], tuple[int | None, float]]


@dataclass(frozen=True, slots=True)
class Suspicion:
    """One cell that looks wrong.

    Attributes:
        class_name: The class.
        strategy: The strategy.
        queries: Queries behind the mean, None where unknown.
        mean: The score that the file gives.
        expected: What the other strategies and classes predict, or what guessing scores.
        rule: ``far below the rest``, ``below guessing`` or ``no better than guessing``.
    """

    class_name: str
    strategy: str
    queries: int | None
    mean: float
    expected: float
    rule: str

    def __str__(self) -> str:
        n = "n unknown" if self.queries is None else f"n={self.queries}"
        return (
            f"{self.class_name}, {self.strategy}: mean {self.mean:.3f}, {n}, "
            f"{self.rule} ({self.expected:.3f})"
        )


def suspicions(cells: Cells, chance: Mapping[str, float]) -> list[Suspicion]:
    """Every suspicious cell, by class and strategy.

    Args:
        cells: (class, strategy) to (queries, mean score in 0..1).
        chance: Class to the score of guessing, where the source says it.
    """
    large = {
        key: cell for key, cell in cells.items() if cell[0] is None or cell[0] >= SMALLEST_CLASS
    }
    by_strategy: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for (name, strategy), (_, mean) in large.items():
        by_strategy[strategy].append((name, mean))
    found: dict[tuple[str, str], Suspicion] = {}
    for (name, strategy), expected in _expected(large).items():
        queries, mean = large[name, strategy]
        elsewhere = max((m for n, m in by_strategy[strategy] if n != name), default=0.0)
        if (
            _far_below(queries, mean, expected)
            and elsewhere > _wilson(mean, queries or _NOMINAL)[1]
        ):
            found[name, strategy] = Suspicion(
                name, strategy, queries, mean, expected, "far below the rest"
            )
    best: dict[str, float] = defaultdict(float)
    for (name, _), (_, mean) in large.items():
        best[name] = max(best[name], mean)
    for (name, strategy), (queries, mean) in large.items():
        guess = chance.get(name, 0.0)
        if not guess or queries is None or (name, strategy) in found:
            continue
        low, high = _wilson(mean, queries)
        if high < guess:
            rule = "below guessing"
        elif low <= guess and best[name] >= 2 * guess and mean <= (guess + best[name]) / 2:
            rule = "no better than guessing"
        else:
            continue
        found[name, strategy] = Suspicion(name, strategy, queries, mean, guess, rule)
    return [found[key] for key in sorted(found)]


def note_suspicions(cells: Cells, chance: Mapping[str, float], notes: Notes) -> None:
    """Warn of suspicious cells and of classes too small to promise anything."""
    for suspicion in suspicions(cells, chance):
        notes.add(
            "scores look like answers that were not read", str(suspicion), kind=Kind.SUSPICIOUS
        )
    largest: dict[str, int] = {}
    for (name, _), (queries, _) in cells.items():
        if queries is not None and name != "all":
            largest[name] = max(largest.get(name, 0), queries)
    for name, queries in largest.items():
        if queries < SMALLEST_CLASS:
            notes.add(
                "class too small to promise anything",
                f"{name} has {queries} queries",
                kind=Kind.SUSPICIOUS,
            )


def _far_below(queries: int | None, mean: float, expected: float) -> bool:
    if queries is None:
        return mean == 0 and expected >= _LEAST_EXPECTED_UNKNOWN
    return (
        expected >= _LEAST_EXPECTED
        and _wilson(mean, queries)[1] < expected / 2
        and _log_odds(mean, queries) < math.log(expected / (1 - expected)) - _ODDS
    )


def _expected(cells: Cells) -> dict[tuple[str, str], float]:
    """What the other strategies and the other classes predict of every cell, in 0..1."""
    classes = sorted({name for name, _ in cells})
    strategies = sorted({strategy for _, strategy in cells})
    if len(classes) < 2 or len(strategies) < 2:
        return {}
    row, column = ({n: i for i, n in enumerate(names)} for names in (classes, strategies))
    odds = np.full((len(classes), len(strategies)), np.nan)
    for (name, strategy), (queries, mean) in cells.items():
        odds[row[name], column[strategy]] = _log_odds(mean, queries or _NOMINAL)
    expected = {}
    for name, strategy in cells:
        i, j = row[name], column[strategy]
        others = np.delete(odds, i, axis=0)
        predicted = odds[i] + _medians(others[:, [j]] - others)
        predicted[j] = np.nan
        known = predicted[~np.isnan(predicted)]
        if known.size:
            expected[name, strategy] = float(1 / (1 + np.exp(-np.median(known))))
    return expected


def _medians(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Median of every column over its known values, NaN where there is none."""
    if not np.isnan(values).any():
        return np.asarray(np.median(values, axis=0))
    ordered = np.sort(values, axis=0)  # unknown last
    known = np.count_nonzero(~np.isnan(values), axis=0)
    columns = np.arange(values.shape[1])
    low, high = np.maximum(known - 1, 0) // 2, known // 2
    high = np.minimum(high, values.shape[0] - 1)
    return np.asarray((ordered[low, columns] + ordered[high, columns]) / 2)


def _log_odds(mean: float, queries: int) -> float:
    return math.log((mean * queries + 0.5) / ((1 - mean) * queries + 0.5))


def _wilson(mean: float, queries: int) -> tuple[float, float]:
    """Wilson's score interval; no narrower than the binomial one for any score in 0..1."""
    centre = mean + _Z**2 / (2 * queries)
    spread = _Z * math.sqrt(mean * (1 - mean) / queries + (_Z / (2 * queries)) ** 2)
    scale = 1 + _Z**2 / queries
    return (centre - spread) / scale, (centre + spread) / scale

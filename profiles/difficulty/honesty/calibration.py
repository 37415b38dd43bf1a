"""How far a predicted score can be taken at its word.

Predictions of a strategy are sorted and cut into bins of equally many queries. Were the predictor
right, the mean measured score of a bin would be the mean predicted one, but for luck. How much of
the gap is luck is said beside it:

* The *calibration error* is the mean gap over the bins, weighted by queries (Naeini, Cooper and
  Hauskrecht, AAAI 2015). Luck alone leaves a gap of about ``sqrt(2 v / (pi n))`` in a bin of n
  queries whose noise has variance v; the *noise floor* is the mean of those. v is that of a 0-or-1
  score with the bin's mean, shrunk by the dispersion seen (quasi-binomial, McCullagh and Nelder
  1989), since mean scores of several samples are less noisy.
* ``Brier = calibration + refinement`` (Murphy 1973; DeGroot and Fienberg 1983): the squared gaps of
  the bins, and what would be left without them. ``variance - refinement`` is what the predictor
  tells about a query.
* *Slope and intercept* of measured on predicted scores, by least squares, with standard errors
  that hold under unequal noise (HC3, MacKinnon and White 1985). A slope below 1 says that
  predictions lie further apart than outcomes do: over-confidence.

Predictions must be out of fold. Words are chosen at 5 % over all strategies and the three tests of
each (Bonferroni).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from profiles.cells.intervals import MOST_GAIN, effective_size, wilson

Floats = NDArray[np.float64]

MOST_BINS = 10
QUERIES_PER_BIN = 30
_LEVEL = 0.05
_TESTS = 3
_DRAWS = 10_000
_LEAST_FREEDOM = 0.1
_ROUNDING = 1e-6
_SMALLEST_SPREAD = 1e-4
"""Standard deviation of predictions below which a slope says nothing."""


@dataclass(frozen=True, slots=True)
class Bin:
    """Queries with similar predictions.

    Attributes:
        queries: In the bin.
        predicted: Mean predicted score, 0..1.
        measured: Mean measured score, 0..1.
        low: Lower end of its 95 % interval.
        high: Upper end.
    """

    queries: int
    predicted: float
    measured: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Line:
    """Measured scores as a line in predicted ones, by least squares.

    Attributes:
        slope: 1 where predictions are right.
        slope_error: Its standard error.
        intercept: 0 where predictions are right.
    """

    slope: float
    slope_error: float
    intercept: float


@dataclass(frozen=True, slots=True)
class Reliability:
    """Predicted against measured scores of one strategy.

    Attributes:
        strategy: Canonical text form.
        queries: With a measured score.
        bins: Lowest predictions first.
        bias: Mean predicted less mean measured score.
        bias_error: Its standard error.
        calibration_error: Mean gap of a bin, in points of score.
        noise_floor: What luck leaves of it on average, were every prediction right.
        noise_limit: What luck exceeds at most in 5 % of reports, over all strategies and tests.
        brier: Mean squared error of the predictions.
        calibration: The part of it that the bins' gaps make.
        refinement: The rest.
        variance: Of measured scores: the error of always predicting their mean.
        line: None where predictions hardly differ.
        words: What to make of it.
    """

    strategy: str
    queries: int
    bins: tuple[Bin, ...]
    bias: float
    bias_error: float
    calibration_error: float
    noise_floor: float
    noise_limit: float
    brier: float
    calibration: float
    refinement: float
    variance: float
    line: Line | None
    words: str


def reliability(
    predicted: Floats, measured: Floats, strategies: Sequence[str], *, seed: int = 0
) -> tuple[Reliability, ...]:
    """One report per strategy with at least two measured queries.

    Args:
        predicted: Shape (n, S), in 0..1, out of fold.
        measured: Shape (n, S), in 0..1; nan where unmeasured.
        strategies: S canonical texts.
        seed: Of the draws behind `noise_limit`.
    """
    share = _LEVEL / (_TESTS * len(strategies)) if len(strategies) else _LEVEL
    draws = np.abs(np.random.default_rng(seed).standard_normal((_DRAWS, MOST_BINS)))
    found = []
    for index, strategy in enumerate(strategies):
        known = np.isfinite(measured[:, index])
        if known.sum() > 1:
            rows = predicted[known, index], measured[known, index]
            found.append(_reliability(strategy, *rows, share, draws))
    return tuple(found)


def _reliability(
    strategy: str, predicted: Floats, measured: Floats, share: float, draws: Floats
) -> Reliability:
    n = len(predicted)
    parts = _parts(predicted)
    bins = tuple(_bin(predicted[part], measured[part]) for part in parts)
    weights = np.array([one.queries / n for one in bins])
    gaps = np.array([one.predicted - one.measured for one in bins])
    sds = _noise(predicted, measured, parts, bins)
    luck = draws[:, : len(bins)] @ (weights * sds)
    misses = predicted - measured
    brier = float((misses**2).mean())
    calibration = float(weights @ gaps**2)
    # outcomes that were all alike are no certainty, hence the noise with Laplace's rule
    bias_error = max(float(misses.std(ddof=1)) / math.sqrt(n), math.hypot(*(weights * sds)))
    facts = Reliability(
        strategy=strategy,
        queries=n,
        bins=bins,
        bias=float(misses.mean()),
        bias_error=bias_error,
        calibration_error=float(weights @ np.abs(gaps)),
        noise_floor=float(weights @ sds) * math.sqrt(2 / math.pi),
        noise_limit=float(np.quantile(luck, 1 - share)),
        brier=brier,
        calibration=calibration,
        refinement=brier - calibration,
        variance=float(measured.var()),
        line=line(predicted, measured),
        words="",
    )
    return _with_words(facts, NormalDist().inv_cdf(1 - share / 2))


def _parts(predicted: Floats) -> list[NDArray[np.intp]]:
    count = min(max(len(predicted) // QUERIES_PER_BIN, 1), MOST_BINS)
    return np.array_split(np.argsort(predicted, kind="stable"), count)


def _bin(predicted: Floats, measured: Floats) -> Bin:
    n, mean = len(measured), float(measured.mean())
    sd = float(measured.std(ddof=1)) if n > 1 else 0.0
    low, high = wilson(mean, effective_size(mean, sd, n, n))
    return Bin(n, float(predicted.mean()), mean, low, high)


def _noise(
    predicted: Floats, measured: Floats, parts: list[NDArray[np.intp]], bins: tuple[Bin, ...]
) -> Floats:
    """Standard error of every bin's gap, had its predictions the right mean."""
    n = np.array([one.queries for one in bins])
    mean = (np.array([one.measured for one in bins]) * n + 1) / (n + 2)  # Laplace's rule
    misses = measured - predicted
    seen = sum(float(((misses[part] - misses[part].mean()) ** 2).sum()) for part in parts)
    freedom = np.maximum(n - 1, 1)
    dispersion = min(max(seen / float(freedom @ (mean * (1 - mean))), 1 / MOST_GAIN), 1.0)
    return np.asarray(np.sqrt(dispersion * mean * (1 - mean) / n))


def line(predicted: Floats, measured: Floats) -> Line | None:
    """Measured on predicted, both of shape (n,) without nan; None where no slope can be told."""
    if len(predicted) < 3 or predicted.std() < _SMALLEST_SPREAD:
        return None
    apart = predicted - predicted.mean()
    square = float(apart @ apart)
    slope = float(apart @ measured) / square
    rest = measured - measured.mean() - slope * apart
    leverage = 1 / len(predicted) + apart**2 / square
    rest /= np.maximum(1 - leverage, _LEAST_FREEDOM)
    error = math.sqrt(float(apart**2 @ rest**2)) / square
    return Line(slope, error, float(measured.mean() - slope * predicted.mean()))


def _with_words(facts: Reliability, z: float) -> Reliability:
    said = []
    if abs(facts.bias) > z * facts.bias_error:
        way = "more" if facts.bias > 0 else "less"
        said.append(f"predicts {abs(facts.bias):.3f} {way} than measured on average")
    if (
        facts.line is not None
        and abs(facts.line.slope - 1) > z * facts.line.slope_error + _ROUNDING
    ):
        slope = f"slope {facts.line.slope:.2f} with standard error {facts.line.slope_error:.2f}"
        if facts.line.slope < 1:
            said.append(f"over-confident: predictions lie further apart than outcomes ({slope})")
        else:
            said.append(f"too timid: outcomes lie further apart than predictions ({slope})")
    if facts.calibration_error > facts.noise_limit:
        said.append(
            f"bins miss by {facts.calibration_error:.3f} on average, where luck alone leaves "
            f"{facts.noise_floor:.3f}"
        )
    if not said:
        said = [
            f"no miscalibration beyond noise: bins miss by {facts.calibration_error:.3f} on "
            f"average, and luck alone leaves {facts.noise_floor:.3f}"
        ]
    return replace(facts, words="; ".join(said))

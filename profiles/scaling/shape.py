"""What more compute does in one class of one family: levels, knee, downturns, and questions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from profiles.errors import UnknownValueError
from profiles.scaling.levels import Interval
from profiles.scaling.saturation import Curves

TAILS = (0.025, 0.975)
_FARTHEST = 1.0  # doublings beyond what was measured that are answered at all


@dataclass(frozen=True, slots=True)
class LevelFacts:
    """One level for people. Intervals are 95 %; an upper end of None means unbounded."""

    strategy: str
    compute: float
    queries: int | None
    accuracy: float
    accuracy_interval: tuple[float, float]
    accuracy_per_unit: float | None
    accuracy_per_unit_interval: Interval | None
    cost_per_correct_usd: float | None
    cost_per_correct_interval: Interval | None


@dataclass(frozen=True, slots=True)
class Downturn:
    """More compute that lowers accuracy beyond noise.

    Attributes:
        before: Strategy with less compute.
        after: Strategy with more.
        change: Difference of their accuracies, negative.
        p_value: One-sided, adjusted by Holm's rule over all pairs of levels.
        queries: Behind the test.
    """

    before: str
    after: str
    change: float
    p_value: float
    queries: int


@dataclass(frozen=True, slots=True)
class Knee:
    """Where doublings stop paying.

    Attributes:
        compute: Of the fitted curve; None where the last measured doubling still pays.
        low: Lower end of the 95 % bootstrap interval; None beyond the measured compute.
        high: Upper end; None beyond the measured compute.
    """

    compute: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Estimate:
    """Accuracy that the curve gives for an amount of compute, with a 95 % interval."""

    compute: float
    accuracy: float
    low: float
    high: float
    extrapolated: bool


@dataclass(frozen=True, slots=True)
class Shape:
    """What more compute does in one class of one family.

    Attributes:
        class_name: The class.
        family: What its strategies share.
        unit: What stands for compute; the lever's name where that is counted.
        levels: Cheapest first.
        paired: Whether all levels were measured on common queries.
        tested: Pairs of levels that could be compared.
        smallest_p_value: Adjusted, of the pair that looks most like a loss; None without pairs.
        downturns: Pairs where more compute lowers accuracy beyond noise.
        knee: None where no curve could be fitted.
        without_curve: Why there is no curve, None where there is one.
        misfit_p_value: How often a curve that holds would miss the levels by as much; at most 0.05
            withholds it. None where none was fitted.
        curve: One row, the fit.
        resampled: The fit to every bootstrap resample.
        turned: The same with a downturn allowed; what may happen beyond the measured compute.
    """

    class_name: str
    family: str
    unit: str
    levels: tuple[LevelFacts, ...]
    paired: bool
    tested: int
    smallest_p_value: float | None
    downturns: tuple[Downturn, ...]
    knee: Knee | None = None
    without_curve: str | None = None
    misfit_p_value: float | None = None
    curve: Curves | None = None
    resampled: Curves | None = None
    turned: Curves | None = None

    def at(self, compute: float) -> Estimate:
        """Accuracy at an amount of compute.

        Up to one doubling outside the measured range the answer is flagged, and its interval also
        covers what a downturn that was not seen yet would do.

        Raises:
            UnknownValueError: There is no curve, or the amount is farther out.
        """
        if self.curve is None or self.resampled is None or self.turned is None:
            raise UnknownValueError(
                "no curve could be fitted", where=self._where(), got=self.without_curve
            )
        first, last = self.levels[0].compute, self.levels[-1].compute
        outside = not first <= compute <= last
        if not first / 2**_FARTHEST <= compute <= last * 2**_FARTHEST:
            raise UnknownValueError(
                "this is more than one doubling outside what was measured",
                where=self._where(),
                expected=f"{self.unit} from {first / 2:g} to {last * 2:g}",
                got=f"{compute:g}",
                next_step="measure it",
            )
        at = np.array([math.log2(compute / first)])
        drawn = [self.resampled.at(at), *([self.turned.at(at)] if outside else [])]
        ends = [np.quantile(one, TAILS) for one in drawn]
        low, high = min(end[0] for end in ends), max(end[1] for end in ends)
        accuracy = float(self.curve.at(at)[0, 0])
        return Estimate(
            compute, accuracy, min(float(low), accuracy), max(float(high), accuracy), outside
        )

    def _where(self) -> str:
        return f"class {self.class_name}, {self.family}"

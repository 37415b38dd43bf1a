"""Where a measuring run stands: what is done, what it has cost, what the rest will cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from profiles.measuring.jobs import Job
from profiles.money import to_usd


@dataclass(frozen=True, slots=True)
class Paid:
    """What a run has newly paid.

    Attributes:
        nano_usd: Dollars, None where nobody knows.
        at_bound: Calls that did not say what they used and count at their upper bound.
        beyond_cap: Calls that were billed for more completion tokens than they had asked for.
    """

    nano_usd: int | None = None
    at_bound: int = 0
    beyond_cap: int = 0

    def __add__(self, other: Paid) -> Paid:
        known = None not in (self.nano_usd, other.nano_usd)
        return Paid(
            (self.nano_usd or 0) + (other.nano_usd or 0) if known else None,
            self.at_bound + other.at_bound,
            self.beyond_cap + other.beyond_cap,
        )


@dataclass(frozen=True, slots=True)
class Standing:
    """A run at one moment.

    Attributes:
        done: Outcomes that ended, failed ones included.
        total: Outcomes of this run.
        spent_usd: Newly paid so far, None where nobody knows.
        expected_usd: What the whole run will have cost, None where that is unknown yet.
    """

    done: int
    total: int
    spent_usd: float | None
    expected_usd: float | None


class Outlook:
    """Counts down what is to do, and prices the rest at measured means.

    Args:
        blocks: Every outcome to do.
        mean_usd: Mean cost of an outcome by strategy, from earlier runs.
        paid: What this run has newly paid.
    """

    def __init__(
        self,
        blocks: Iterable[Iterable[Job]],
        mean_usd: Mapping[str, float],
        paid: Callable[[], Paid],
    ) -> None:
        self._left = Counter(job.strategy for block in blocks for job in block)
        self._total = self._left.total()
        self._done = 0
        self._earlier_usd = mean_usd
        self.paid = paid
        self._sums: dict[str, tuple[int, float]] = {}

    def measured(self, strategy: str, cost_usd: float | None) -> None:
        """One outcome is measured."""
        self._done += 1
        self._left[strategy] -= 1
        if cost_usd is not None:
            count, total = self._sums.get(strategy, (0, 0.0))
            self._sums[strategy] = count + 1, total + cost_usd

    def failed(self) -> None:
        """One outcome failed; it is still to be measured, by another run."""
        self._done += 1

    @property
    def left(self) -> int:
        """Outcomes that no observation came of yet."""
        return self._left.total()

    @property
    def spent_usd(self) -> float | None:
        """Newly paid so far."""
        spent = self.paid().nano_usd
        return None if spent is None else to_usd(spent)

    @property
    def left_usd(self) -> float | None:
        """What the rest will cost: this run's means, earlier ones where it has none yet."""
        costs = [(count, self._mean_usd(text)) for text, count in self._left.items() if count]
        known = [count * mean for count, mean in costs if mean is not None]
        return sum(known) if len(known) == len(costs) else None

    def standing(self) -> Standing:
        """The run at this moment."""
        spent, left = self.spent_usd, self.left_usd
        expected = None if spent is None or left is None else spent + left
        return Standing(self._done, self._total, spent, expected)

    def _mean_usd(self, strategy: str) -> float | None:
        count, total = self._sums.get(strategy, (0, 0.0))
        return total / count if count else self._earlier_usd.get(strategy)

"""The reference decision, in plain Python: what every decision graph must agree with.

strategy = the first one, in the policy's order, whose cumulative share exceeds the uniform number.
Uniform numbers are taken as float32; what is not in [0, 1) counts as 0. A rung beyond the ladder is
its nearest end. An unknown class, -1, has no strategy: -1.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from policies.decimals import exact
from policies.policy import Policy
from profiles.errors import InputError

UNKNOWN = -1


@dataclass(frozen=True, slots=True, eq=False)
class Tables:
    """A policy as arrays.

    Attributes:
        cumulative: float32, rungs x classes x strategies; rises to exactly 1.
        cost_usd: float32, classes x strategies, mean dollars per request; nan where unknown.
        cost_bound_usd: float32, classes x strategies, dollars of the dearest request measured,
            never below what the policy file says; nan where unknown.
    """

    cumulative: NDArray[np.float32]
    cost_usd: NDArray[np.float32]
    cost_bound_usd: NDArray[np.float32]

    @classmethod
    def of(cls, policy: Policy) -> Tables:
        """The tables that the graph and the reference share.

        Raises:
            InputError: A rung leaves a class without any strategy.
        """
        names, texts = policy.classes.names, policy.strategy_texts()
        rows = [
            [
                _cumulative(
                    [rung.shares.get(name, {}).get(text, 0.0) for text in texts],
                    f"rungs.{index}.shares.{name}",
                )
                for name in names
            ]
            for index, rung in enumerate(policy.rungs)
        ]
        entries = policy.strategies
        costs = [[_nearest(entry.cost_usd(name)) for entry in entries] for name in names]
        bounds = [[_not_below(entry.cost_max_usd(name)) for entry in entries] for name in names]
        return cls(np.array(rows, dtype=np.float32), np.array(costs), np.array(bounds))


def choose(policy: Policy, class_index: int, rung: int, uniform: float) -> int:
    """Index of the strategy for one request, -1 for an unknown class."""
    if not 0 <= class_index < len(policy.classes.names):
        return UNKNOWN
    step = min(max(rung, 0), len(policy.rungs) - 1)
    draw = _draws(uniform)
    row = Tables.of(policy).cumulative[step, class_index]
    return next(index for index, edge in enumerate(row) if edge > draw)


def choose_many(
    policy: Policy, class_index: ArrayLike, rung: ArrayLike, uniform: ArrayLike
) -> NDArray[np.int64]:
    """The same for arrays of length N."""
    cumulative = Tables.of(policy).cumulative
    classes = np.asarray(class_index, dtype=np.int64)
    steps = np.clip(np.asarray(rung, dtype=np.int64), 0, cumulative.shape[0] - 1)
    draws = _draws(uniform)
    known = (classes >= 0) & (classes < cumulative.shape[1])
    rows = cumulative[steps, np.where(known, classes, 0)]
    return np.where(known, np.argmax(rows > draws[:, None], axis=1), UNKNOWN).astype(np.int64)


def with_unknown(costs: NDArray[np.float32]) -> NDArray[np.float32]:
    """A table of classes x strategies with nan behind both, where the index -1 leads."""
    return np.pad(costs, ((0, 1), (0, 1)), constant_values=np.nan)


def _nearest(usd: float | None) -> np.float32:
    """As float32, nan for None."""
    with np.errstate(over="ignore"):  # too large for float32 is infinite
        return np.float32(np.nan if usd is None else usd)


def _not_below(usd: float | None) -> np.float32:
    """The least float32 that is not below the decimal that people read, nan for None."""
    found = _nearest(usd)
    if usd is None or Decimal(float(found)) >= exact(usd):
        return found
    with np.errstate(over="ignore", under="ignore"):
        above: np.float32 = np.nextafter(found, np.float32(np.inf))
    return above


def _draws(uniform: ArrayLike) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # too large for float32 is out of range as well
        draws = np.asarray(uniform).astype(np.float32)
    return np.where((draws >= 0) & (draws < 1), draws, np.float32(0))


def _cumulative(shares: list[float], where: str) -> NDArray[np.float32]:
    positive = np.flatnonzero(np.array(shares) > 0)
    if not positive.size:
        raise InputError(
            "a class has no strategy",
            where=where,
            expected="shares that sum to 1",
            next_step="compile the plan again",
        )
    edges: NDArray[np.float32] = np.minimum(np.cumsum(shares), 1.0).astype(np.float32)
    edges[positive[-1] :] = 1.0  # the sum may stop a rounding short of 1
    return edges

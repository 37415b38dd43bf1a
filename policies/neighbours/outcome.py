"""Accuracy and dollars of shares of traffic, by a policy's own cells."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from policies.decimals import nearest, plain
from policies.policy import Policy


@dataclass(frozen=True, slots=True)
class Outcome:
    """Mean accuracy, 0..1, and dollars per request; None where a cell that counts is unknown."""

    accuracy: float | None
    cost_usd: float | None

    def text(self) -> str:
        """For people."""
        return f"accuracy {accuracy_text(self.accuracy)}, USD/request {usd_text(self.cost_usd)}"


def outcome(policy: Policy, shares: Mapping[str, Mapping[str, float]]) -> Outcome:
    """Of all traffic, by the planned weights of the classes."""
    weights = policy.classes.weights
    if weights is None:
        return Outcome(None, None)
    found = [class_outcome(policy, name, shares[name]) for name in policy.classes.names]
    return Outcome(
        _mean(weights, [one.accuracy for one in found]),
        _mean(weights, [one.cost_usd for one in found]),
    )


def class_outcome(policy: Policy, name: str, shares: Mapping[str, float]) -> Outcome:
    """Of one class."""
    by_text = {entry.text: entry.by_class.get(name) for entry in policy.strategies}
    cells = [by_text.get(text) for text in shares]
    return Outcome(
        _mean(shares.values(), [None if cell is None else cell.accuracy for cell in cells]),
        _mean(shares.values(), [None if cell is None else cell.cost_usd for cell in cells]),
    )


def _mean(weights: Iterable[float], values: Sequence[float | None]) -> float | None:
    pairs = [(weight, value) for weight, value in zip(weights, values, strict=True) if weight]
    if any(value is None for _, value in pairs):
        return None
    return math.fsum(weight * value for weight, value in pairs if value is not None)


def accuracy_text(value: float | None) -> str:
    """A share as per cent, or that it is unknown."""
    return "unknown" if value is None else f"{100 * value:.1f} %"


def usd_text(value: float | None) -> str:
    """Dollars, or that they are unknown."""
    return "unknown" if value is None else plain(nearest(value, 3))

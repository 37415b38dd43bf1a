"""How sure a difference between two allocations is, from the standard errors of their cells.

An allocation's mean is a sum over cells, ``sum_d w_d sum_s x_ds v_ds``, and a difference of two is
another: ``sum_i c_i v_i``. Where both rest on the same measurement of a cell, it counts once, with
``c = w'x' - w x``: what stays where it was cannot err. Any other two cells count separately.

Strategies of a class are measured on the same queries, so their errors go together, nobody recorded
how much. Whatever correlations between 0 and 1 they have, a class's variance is at most

    (sum of c_i se_i over c_i > 0)^2 + (sum of |c_i| se_i over c_i < 0)^2:

what gains requests errs as one, what loses them errs as one, and the two independently. That is the
convention here; it is too wide where errors of both do go together. Classes are different queries,
and two profiles different measurements: these are independent. The mix of classes counts as known,
and nothing is paid for having chosen the allocations by these very figures, as promises do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import hypot
from statistics import NormalDist
from typing import Literal

from policies.policy import Policy, PolicyRung

LEVEL = 0.95
Measure = Literal["accuracy", "cost_usd"]
_Z = NormalDist().inv_cdf((1 + LEVEL) / 2)


@dataclass(frozen=True, slots=True)
class Mixture:
    """One rung as a sum over cells.

    Attributes:
        policy: Whose cells they are.
        rung: How requests of a class are shared out.
        weights: Of every class in the sum, in any unit: shares, or requests per month.
    """

    policy: Policy
    rung: PolicyRung
    weights: Mapping[str, float]

    def share(self, class_name: str, strategy: str) -> float:
        """Weight of a cell in the sum."""
        shares = self.rung.shares.get(class_name, {})
        return self.weights.get(class_name, 0.0) * shares.get(strategy, 0.0)

    def lacks(self, class_name: str) -> bool:
        """Whether a class counts of which the rung does not say who answers it."""
        return bool(self.weights.get(class_name)) and not self.rung.shares.get(class_name)


def standard_error(before: Mixture, after: Mixture, measure: Measure) -> float | None:
    """Standard error of ``after - before``; None where a cell, or its error, is not known."""
    parts: list[float] = []
    for name in {**before.weights, **after.weights}:
        if before.lacks(name) or after.lacks(name):
            return None
        gained, lost = 0.0, 0.0
        for coefficient, error in _terms(before, after, name, measure):
            if error is None:
                return None
            gained += max(coefficient, 0.0) * error
            lost += max(-coefficient, 0.0) * error
        parts += [gained, lost]
    return hypot(*parts)


def half_width(error: float) -> float:
    """What a 95 % interval reaches to either side."""
    return _Z * error


def _terms(
    before: Mixture, after: Mixture, name: str, measure: Measure
) -> Iterator[tuple[float, float | None]]:
    """Coefficient and standard error of every cell of a class that the difference depends on."""
    one_profile = _profile(before.policy) == _profile(after.policy)
    for strategy in {**before.rung.shares.get(name, {}), **after.rung.shares.get(name, {})}:
        was = _measured(before.policy, name, strategy, measure)
        now = _measured(after.policy, name, strategy, measure)
        lost, gained = before.share(name, strategy), after.share(name, strategy)
        same = one_profile and was == now
        terms = [(gained - lost, now)] if same else [(gained, now), (-lost, was)]
        for coefficient, found in terms:
            if coefficient:
                yield coefficient, None if found is None else found[-1]


def _profile(policy: Policy) -> tuple[str, str | None]:
    return policy.provenance.profile, policy.provenance.estimator


def _measured(
    policy: Policy, class_name: str, strategy: str, measure: Measure
) -> tuple[int | None, float | None, float | None] | None:
    """Queries, mean and standard error of a cell; None where the policy does not have it."""
    for entry in policy.strategies:
        if entry.text == strategy and (cell := entry.by_class.get(class_name)) is not None:
            if measure == "accuracy":
                return cell.queries, cell.accuracy, cell.accuracy_se
            return cell.queries, cell.cost_usd, cell.cost_se_usd
    return None

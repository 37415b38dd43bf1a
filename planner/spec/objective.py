"""What a plan is for."""

from __future__ import annotations

from enum import StrEnum


class Objective(StrEnum):
    """What the plan makes as good as the limits allow."""

    MINIMIZE_COST = "minimize cost"
    MAXIMIZE_ACCURACY = "maximize accuracy"
    MAXIMIZE_VALUE = "maximize value"
    MINIMIZE_COST_PER_CORRECT = "minimize cost per correct"

    @property
    def needs_costs(self) -> bool:
        """Whether every cost has to be known."""
        return self is not Objective.MAXIMIZE_ACCURACY

"""Money that is owed whatever the requests are."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from planner.spec.parts import Count, Name, Names, Number, Part, Window

MOST_FIXED_COSTS = 10
"""Every set of fixed costs is a plan of its own, and there are 2^10 sets of ten."""


class FixedCost(Part):
    """Money that is owed for having a model at all, whatever it answers."""

    name: Name = Field(description="What it is called.")
    pays_for: Names = Field(
        description="Models, or whole strategies, that nobody can use without it."
    )
    usd: Annotated[Number, Field(ge=0)] = Field(description="Dollars.")
    per: Window = Field(
        description="The window of traffic, each of which owes the sum, or 'total': owed once."
    )
    windows: Count | None = Field(
        default=None, description="Windows of traffic that share a sum that is owed once."
    )

    def usd_per(self, window: Window) -> float:
        """Its dollars in one window of traffic."""
        return self.usd / (self.windows or 1) if self.per is not window else self.usd


def refuse_names(fees: tuple[FixedCost, ...]) -> None:
    """Refuse two of one name, and too many."""
    names = [fee.name for fee in fees]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"two fixed costs are called {twice[0]!r}")
    if len(fees) > MOST_FIXED_COSTS:
        raise ValueError(
            f"at most {MOST_FIXED_COSTS} fixed costs, not {len(fees)}: every set of them is a plan "
            "of its own; join those that are always paid together"
        )


def refuse_window(fee: FixedCost, window: Window) -> None:
    """Refuse a fee that windows of traffic cannot share."""
    once = fee.per is Window.TOTAL and window is not Window.TOTAL
    if fee.per is not window and not once:
        raise ValueError(
            f"traffic is per {window} and {fee.name!r} is per {fee.per}: use one window, or 'total'"
        )
    if once and fee.windows is None:
        raise ValueError(f"{fee.name!r} is owed once: say in windows how many {window}s share it")
    if not once and fee.windows is not None:
        raise ValueError(f"{fee.name!r} is owed per {window}: windows is for sums owed once")

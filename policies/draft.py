"""What compile passes hand to each other."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from planner.plan import CellFacts, Plan
from policies.policy import Budget, PolicyRung, StrategyEntry
from profiles.errors import UnknownValueError
from profiles.money import PriceCard


@dataclass(frozen=True, slots=True)
class Draft:
    """A policy on its way. Every pass returns a new draft.

    Attributes:
        plan: What is compiled.
        estimator: The difficulty graph's bytes, None for labels.
        shares: Per rung, class and strategy; positive shares only.
        order: Strategies that some rung uses, cheapest first.
        entries: The same strategies with caps and costs.
        rungs: The ladder: shares with the figures that hold for them.
        budgets: Money limits.
        prices: Prices of the models in use.
        warnings: Risks that a reader must know.
    """

    plan: Plan
    estimator: bytes | None
    shares: tuple[dict[str, dict[str, float]], ...] = ()
    order: tuple[str, ...] = ()
    entries: tuple[StrategyEntry, ...] = ()
    rungs: tuple[PolicyRung, ...] = ()
    budgets: tuple[Budget, ...] = ()
    prices: PriceCard = field(default_factory=PriceCard)
    warnings: tuple[str, ...] = ()

    def warned(self, *warnings: str) -> Draft:
        """The draft with further warnings, each of them once."""
        return replace(self, warnings=tuple(dict.fromkeys((*self.warnings, *warnings))))

    def cell(self, class_name: str, strategy: str) -> CellFacts | None:
        """What the plan knows of one strategy in one class."""
        return self.plan.cells.get(class_name, {}).get(strategy)

    def known_cell(self, class_name: str, strategy: str) -> CellFacts:
        """The same, where a decision rests on it.

        Raises:
            UnknownValueError: The plan carries no facts for the pair.
        """
        cell = self.cell(class_name, strategy)
        if cell is None:
            raise UnknownValueError(
                "the plan gives requests to a strategy without saying what it measured for it",
                where=f"cells.{class_name}.{strategy}",
                next_step="run 'inferbudget plan' again; a plan is never edited by hand",
            )
        return cell

"""One request asked of a policy, and what every number that could be drawn makes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from policies.case_file import Money


@dataclass(frozen=True, slots=True)
class Asked:
    """One request and the state in which it comes.

    Attributes:
        prompt: Its text, None where only a label is sent.
        label: What the caller sends beside it.
        rung: Step of the ladder; None where the money that is left says.
        uniform: By which the strategy is drawn; None for every number.
        money: What is left by budget, whole where absent; None stands for the only budget.
    """

    prompt: str | None
    label: str | None
    rung: int | None
    uniform: float | None
    money: Mapping[str | None, Money]


@dataclass(frozen=True, slots=True)
class Drawn:
    """What some draws of a request come to.

    Attributes:
        share: Of all draws, 0..1.
        rung: Step that decides; None where the label is refused.
        class_name: Class; None where the label is refused.
        strategy: Canonical text of what answers; None where the request is refused.
        bound_usd: Dollars held for it; None where it is refused or nothing is known.
        refused: Why nothing answers.
    """

    share: float
    rung: int | None
    class_name: str | None
    strategy: str | None = None
    bound_usd: float | None = None
    refused: Literal["money", "cap", "label"] | None = None


Decide: TypeAlias = Callable[[Asked], Sequence[Drawn]]
"""All draws of a request, or InputError where it cannot be asked of this policy."""

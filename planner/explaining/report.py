"""What `planner.explaining.explanation` finds about a plan, for reports to show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from planner.advice.advice import Advice
from planner.frontiers.knee import Knee
from planner.plan import Figures
from planner.spec import Objective, Traffic

Kind = Literal["price", "accuracy", "class share", "limit"]
Place = Literal["below", "at", "beyond"]


@dataclass(frozen=True, slots=True)
class Move:
    """One limit at another value, the others as they are.

    Attributes:
        to: Where it moves, its own unit.
        worth: By how much the plan's objective gets better there, in units of the objective per
            request; below 0 where it gets worse. None where no plan keeps the limits.
    """

    to: float
    worth: float | None


@dataclass(frozen=True, slots=True)
class LimitFacts:
    """One limit beside what the plan makes of it.

    Attributes:
        name: As people write it.
        asked: Its value, its own unit.
        allowed: What the plan is held to: that value, or of a latency the share of requests that
            may be slower.
        promised: What it promises of that, with the spec's confidence.
        slack: By how much that is better than allowed, 0 where it cannot be told from it.
        binds: Whether the plan would be better were the limit looser.
        looser: The limit one step looser: 1 % of it, of a latency the next limit that the profile
            counts; None where there is no such step.
        tighter: The same the other way.
        shadow_price: Size of the solver's own dual, units of the objective per unit of the limit;
            None where it is 0 or in another unit, as of a latency.
    """

    name: str
    asked: float
    allowed: float
    promised: float
    slack: float
    binds: bool
    looser: Move | None
    tighter: Move | None
    shadow_price: float | None

    def per_unit(self, move: Move | None) -> float | None:
        """Worth per unit of the limit, as a size; None where it is not known."""
        if move is None or move.worth is None or move.to == self.asked:
            return None
        return abs(move.worth / (move.to - self.asked))


@dataclass(frozen=True, slots=True)
class Alternative:
    """The plan of the same question without one promise.

    Attributes:
        without: Name of the limit, or ``confidence``: planned on point estimates.
        expected: Best estimate of its outcome.
        promised: What it holds with the spec's confidence.
    """

    without: str
    expected: Figures
    promised: Figures


@dataclass(frozen=True, slots=True)
class StrategyFacts:
    """What the plan does with one strategy, and why.

    Attributes:
        strategy: Canonical text.
        share: Share of all requests that it answers, 0..1.
        used_in: Share of each class's requests, where above 0.
        dominated_by: Where another strategy, or a mixture of two, is as good in everything that is
            compared and better in something: by class the shares of that mixture. A strategy that
            is in use, or is not dominated in every class it was measured in, has none.
        enters_at: By how much of itself its cost in every class must fall for it to be used, 0..1,
            to within the explanation's tolerance; None where it is used or dominated, or the
            note says why not.
        note: Why nothing else is said.
    """

    strategy: str
    share: float
    used_in: dict[str, float]
    dominated_by: dict[str, dict[str, float]]
    enters_at: float | None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Flip:
    """The smallest change of its kind that changes which strategies are used where.

    Attributes:
        kind: What changes.
        name: The strategy, class or limit.
        change: Relative, e.g. -0.03: 3 % less. With a change smaller by the tolerance the same
            cells are used as in the plan.
        enters: Class and strategy of cells that are used then and are not now.
        leaves: Those that are used now and not then.
        has_plan: False where no plan keeps the limits then.
    """

    kind: Kind
    name: str
    change: float
    enters: tuple[tuple[str, str], ...]
    leaves: tuple[tuple[str, str], ...]
    has_plan: bool


@dataclass(frozen=True, slots=True)
class Side:
    """One number changed one way, all others as they are.

    Attributes:
        by: Relative change, e.g. -0.2: 20 % less.
        worth: By how much the plan's objective is better there, in units of the objective per
            request; below 0 where it is worse. None where no plan keeps the limits.
        same_to: Relative change up to which the same cells were found in use as in the plan; 0
            where only `by` was tried.
        flip: The change at which other cells are; None where up to `by` there is none.
    """

    by: float
    worth: float | None
    same_to: float
    flip: Flip | None


@dataclass(frozen=True, slots=True)
class Swing:
    """What one number does to the plan when it changes by as much as all others.

    Attributes:
        kind: What changes.
        name: The strategy, class or limit.
        less: The number made smaller; None where it cannot be, or nobody would notice.
        more: The same, larger.
    """

    kind: Kind
    name: str
    less: Side | None
    more: Side | None

    @property
    def size(self) -> float:
        """The most that a side does to the objective, in its units; sides without a plan aside."""
        known = (side.worth for side in (self.less, self.more) if side is not None)
        return max((abs(worth) for worth in known if worth is not None), default=0.0)

    @property
    def matters(self) -> bool:
        """Whether it changes the objective, or the plan."""
        return bool(self.size) or any(side and side.flip for side in (self.less, self.more))


@dataclass(frozen=True, slots=True)
class Explanation:
    """A plan's first rung and what stands behind it.

    Attributes:
        workload: Name of the traffic.
        traffic: How much of it there is; None where the spec does not say.
        objective: What was optimised.
        confidence: Of its promises, None for point estimates.
        value: The objective per request: dollars, or accuracy less doubt.
        expected: Best estimate of the outcome.
        promised: What holds with that confidence.
        allocation: Share of each class's requests per strategy.
        limits: Every limit of the spec.
        without: What the plan would be without each of them, and without the confidence.
        compared: In what strategies were compared for dominance.
        strategies: Every strategy that the spec allows.
        flips: Per kind the smallest change that flips the plan, the smallest first.
        untried: Kinds of change that could not be tried to the end: too many re-solves, or one
            that was not proven.
        fixed: Kinds of change of which there was nothing to try.
        swings: Every number that was changed by `swing`, the one with the largest effect first.
        unswung: Numbers that were not: too many re-solves, or one that was not proven.
        swing: Relative change of each. Shares end at 1, and a latency moves to that limit of the
            profile which comes nearest.
        most_change: Changes up to this were tried for flips, relative.
        tolerance: Of relative changes, see `Flip` and `StrategyFacts`.
        seen: Share of its class from which on a cell counts as used, in flips.
        knee: Of the frontier, None where the notes say why.
        place: Where the plan's expected spend lies relative to it.
        advice: What to measure next, None where the notes say why.
        notes: What is missing, and why.
    """

    workload: str
    traffic: Traffic | None
    objective: Objective
    confidence: float | None
    value: float
    expected: Figures
    promised: Figures
    allocation: dict[str, dict[str, float]]
    limits: tuple[LimitFacts, ...]
    without: tuple[Alternative, ...]
    compared: tuple[str, ...]
    strategies: tuple[StrategyFacts, ...]
    flips: tuple[Flip, ...]
    untried: tuple[Kind, ...]
    fixed: tuple[Kind, ...]
    swings: tuple[Swing, ...]
    unswung: int
    swing: float
    most_change: float
    tolerance: float
    seen: float
    knee: Knee | None
    place: Place | None
    advice: Advice | None
    notes: tuple[str, ...]

    def after(self, worth: float) -> float:
        """The objective where it is better by so much, per request."""
        return self.value - worth if self.objective.startswith("minimize") else self.value + worth

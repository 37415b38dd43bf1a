"""What every limit costs: at the margin by moving it a step, and in full by taking it away.

A dual says what the last bit of a limit costs, but at a corner it says it of one side only. So the
question is solved again with the limit one step tighter and one step looser, which is the price
that people would pay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from planner.explaining.asked import asked, neighbours
from planner.explaining.report import Alternative, LimitFacts, Move
from planner.limit_names import is_latency
from planner.limits import LimitSet
from planner.plan import Rung
from planner.planner import Answer, Planner
from profiles.errors import InfeasibleError

CONFIDENCE = "confidence"

_NOTHING = 1e-7
"""Of the objective: a solver cannot tell less from nothing."""

_SEEN = 1e-6
"""Of a limit's value: less is no slack."""


def limit_facts(
    planner: Planner, answer: Answer, rung: Rung, tell: Callable[[], None]
) -> Iterator[LimitFacts]:
    """Every limit of the planner's spec, in its order.

    Args:
        planner: Of the plan.
        answer: Of that planner to its spec.
        rung: That answer with its figures.
        tell: Called after each limit.

    Raises:
        UnprovenError: The solver stopped early.
    """
    for name, value in asked(planner.limits).items():
        figures = rung.limits[name]
        sides = neighbours(planner, name, value)
        looser, tighter = (
            None
            if to is None
            else Move(to, _worth(planner, answer, planner.limits.moved(name, to)))
            for to in (sides.looser, sides.tighter)
        )
        slack = abs(figures.allowed - figures.promised)
        dual = None if is_latency(name) else answer.shadow_prices.get(name)
        yield LimitFacts(
            name=name,
            asked=value,
            allowed=figures.allowed,
            promised=figures.promised,
            slack=_digits(slack) if slack > _SEEN * figures.allowed else 0.0,
            binds=looser is not None and bool(looser.worth),
            looser=looser,
            tighter=tighter,
            shadow_price=abs(dual) if dual else None,
        )
        tell()


def alternatives(planner: Planner, tell: Callable[[], None]) -> Iterator[Alternative]:
    """The plan without each limit, then on point estimates where it has a confidence.

    All figures are of the planner's own estimates. On point estimates the limits may clash, by
    cells that were shrunken upwards; there is no such plan then.

    Raises:
        UnprovenError: The solver stopped early.
    """
    objective = planner.spec.objective
    for name in asked(planner.limits):
        other = planner.answer(objective, planner.limits.without(name))
        yield _alternative(planner, name, other)
        tell()
    if planner.estimates.level is not None:
        bold = planner.on_point_estimates()
        try:
            yield _alternative(planner, CONFIDENCE, bold.answer(objective, bold.limits))
        except InfeasibleError:
            return
        finally:
            tell()


def _alternative(planner: Planner, without: str, answer: Answer) -> Alternative:
    accounts = planner.accounts
    return Alternative(without, accounts.expected(answer.x), accounts.promised(answer.x))


def _worth(planner: Planner, answer: Answer, limits: LimitSet) -> float | None:
    """By how much the objective gets better under other limits; None where there is no plan."""
    try:
        moved = planner.answer(planner.spec.objective, limits).value
    except InfeasibleError:
        return None
    return gained(planner, answer, moved)


def gained(planner: Planner, answer: Answer, value: float) -> float:
    """By how much another value of the objective is better; 0 where a solver cannot tell."""
    gain = value - answer.value
    gain = -gain if planner.spec.objective.startswith("minimize") else gain
    return _digits(gain) if abs(gain) > _NOTHING * abs(answer.value) else 0.0


def _digits(value: float) -> float:
    return float(f"{value:.7g}")

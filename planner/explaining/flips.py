"""What would flip the plan: the smallest change of one number that changes who answers what.

Prices, accuracies, class shares and limits grow and shrink one at a time, by 1 %, 2 %, 5 % and so
on. The first size at which some number of a kind flips the plan holds the smallest change of that
kind; where exactly is found by bisection.
"""

from __future__ import annotations

from collections.abc import Iterator

from planner.explaining.asked import asked
from planner.explaining.changes import Asked, Cells, Change, Enough, possible, shares
from planner.explaining.report import Flip, Kind
from planner.limit_names import is_latency
from planner.planner import Planner

SIZES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
"""Relative changes that are tried, each after all smaller ones."""

TOLERANCE = 1e-3
"""Of a relative change: bisection ends here."""

KINDS: tuple[Kind, ...] = ("price", "accuracy", "class share", "limit")


def flips(planner: Planner, used: Cells, trial: Asked) -> tuple[list[Flip], list[Kind], list[Kind]]:
    """The smallest change of every kind that flips the plan, the smallest first.

    Kinds that re-solves did not suffice for come second, kinds of which nothing could be changed
    third. Latency limits are not moved: a plan knows only those that its profile counted.

    Args:
        planner: Of the plan.
        used: Cells that the plan uses.
        trial: Answers to changed questions.

    Raises:
        UnprovenError: The solver stopped early.
    """
    found: list[Flip] = []
    untried: list[Kind] = []
    fixed: list[Kind] = []
    for kind in KINDS:
        if not any(_changes(planner, used, kind, size) for size in SIZES):
            fixed.append(kind)
            continue
        try:
            smallest = _smallest(planner, used, trial, kind)
        except Enough:
            untried.append(kind)
            continue
        if smallest is not None:
            found.append(smallest)
    return sorted(found, key=lambda flip: abs(flip.change)), untried, fixed


def _changes(planner: Planner, used: Cells, kind: Kind, size: float) -> list[Change]:
    """Every number of a kind, larger and smaller by one size, where it can take that value."""
    tried = [
        Change(kind, name, sign * size)
        for name, signs in directions(planner, used, kind).items()
        for sign in signs
    ]
    return [change for change in tried if possible(planner, change)]


def _smallest(planner: Planner, used: Cells, trial: Asked, kind: Kind) -> Flip | None:
    below = 0.0
    for size in SIZES:
        tried = _changes(planner, used, kind, size)
        flipped = [change for change in tried if trial.cells(change) != used]
        if flipped:
            ends = [bisected(change, below, used, trial) for change in flipped]
            return flip_at(min(ends, key=lambda end: abs(end.by)), used, trial)
        below = size
    return None


def bisected(change: Change, below: float, used: Cells, trial: Asked) -> Change:
    """The same change, less of it: smaller by the tolerance it flips nothing.

    Args:
        change: One that flips the plan.
        below: A size of it that does not.
        used: Cells that the plan uses.
        trial: Answers to changed questions.

    Raises:
        Enough: No re-solve is left, or one was not proven.
    """
    sign = 1 if change.by > 0 else -1
    low, high = below, abs(change.by)
    while high - low > TOLERANCE * (1 + 1e-9):
        middle = (low + high) / 2
        if trial.cells(Change(change.kind, change.name, sign * middle)) == used:
            low = middle
        else:
            high = middle
    return Change(change.kind, change.name, sign * high)


def directions(planner: Planner, used: Cells, kind: Kind) -> dict[str, tuple[int, ...]]:
    """Which way every number of a kind is moved.

    What nobody uses is only made better: nobody misses it when it gets worse.
    """
    both = (1, -1)
    if kind == "limit":
        return dict.fromkeys((n for n in asked(planner.limits) if not is_latency(n)), both)
    if kind == "class share":
        return dict.fromkeys(shares(planner), both)
    better = (-1,) if kind == "price" else (1,)
    busy = {strategy for _, strategy in used}
    return {name: both if name in busy else better for name in planner.estimates.strategies}


def flip_at(change: Change, used: Cells, trial: Asked) -> Flip:
    """What a change that was asked does to the plan."""
    then = trial.cells(change)
    return Flip(
        kind=change.kind,
        name=change.name,
        change=float(f"{change.by:.6g}"),
        enters=tuple(sorted((then or frozenset()) - used)),
        leaves=tuple(sorted(used - then)) if then is not None else (),
        has_plan=then is not None,
    )


def falls(strategy: str, trial: Asked) -> float | None:
    """By how much of itself a strategy's cost must fall for it to be used; None: not even free.

    Raises:
        Enough: No re-solve is left.
        UnprovenError: The solver stopped early.
    """

    def enters(fall: float) -> bool:
        return strategy in _strategies(trial.cells(Change("price", strategy, -fall)))

    if not enters(1.0):
        return None
    low, high = 0.0, 1.0
    while high - low > TOLERANCE:
        middle = (low + high) / 2
        low, high = (low, middle) if enters(middle) else (middle, high)
    return float(f"{high:.6g}")


def _strategies(cells: Cells | None) -> Iterator[str]:
    return (strategy for _, strategy in cells or ())

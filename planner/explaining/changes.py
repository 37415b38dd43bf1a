"""The same question with one number changed, asked again.

What would flip a plan is found by asking: every change is a profile, a spec or a limit of its own
and a plan of its own. So what is said holds whatever the programme is made of (margins, doubts,
bills); it costs one re-solve per change that is tried.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from planner.explaining.asked import asked
from planner.explaining.report import Kind
from planner.limit_names import is_latency, is_share
from planner.planner import Answer, Planner
from profiles.errors import InfeasibleError, UnprovenError
from profiles.profile import Cell

Cells = frozenset[tuple[str, str]]
"""Class and strategy of every cell that a plan uses."""

SEEN = 1e-3
"""Share of its class from which on a cell counts as used; where margins bend, plans have traces."""

_DOLLARS = ("cost_usd", "cost_sd_usd", "cost_mean_sd_usd", "cost_max_usd")


@dataclass(frozen=True, slots=True)
class Change:
    """One number times ``1 + by``.

    Attributes:
        kind: Price: all dollars of a strategy. Accuracy: its mean score in every class, at most 1.
            Class share: that of a class, the others less in proportion. Limit: its value.
        name: The strategy, class or limit.
        by: Relative change, -1 or more.
    """

    kind: Kind
    name: str
    by: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a changed question was answered with.

    Attributes:
        cells: That the plan uses.
        value: Of its objective, per request.
    """

    cells: Cells
    value: float


class Enough(Exception):  # noqa: N818 -- a signal, never shown
    """As many re-solves as allowed were made, or one was not proven."""


class Asked:
    """Answers to changed questions; each change is asked once.

    Args:
        planner: Of the plan.
        most: Re-solves before `Enough` is raised.
        tell: Called after each.
    """

    def __init__(self, planner: Planner, most: int, tell: Callable[[], None]) -> None:
        self._planner = planner
        self._left = most
        self._tell = tell
        self._known: dict[Change, Outcome | None] = {}

    def allow(self, most: int) -> None:
        """So many re-solves from now on, whatever was left."""
        self._left = most

    def cells(self, change: Change) -> Cells | None:
        """Which cells the plan would use, None where no plan keeps the limits.

        Raises:
            Enough: No re-solve is left, or one was not proven.
        """
        found = self.outcome(change)
        return None if found is None else found.cells

    def outcome(self, change: Change) -> Outcome | None:
        """The plan after a change, None where no plan keeps the limits.

        Raises:
            Enough: No re-solve is left, or one was not proven.
        """
        if change not in self._known:
            if not self._left:
                raise Enough
            self._left -= 1
            self._known[change] = self._solved(change)
            self._tell()
        return self._known[change]

    def _solved(self, change: Change) -> Outcome | None:
        planner, limits = self._planner, self._planner.limits
        if change.kind == "limit":
            limits = limits.moved(change.name, moved_limit(planner, change))
        else:
            planner = _changed(planner, change)
        try:
            answer = planner.answer(planner.spec.objective, limits)
        except InfeasibleError:
            return None
        except UnprovenError as error:
            raise Enough from error
        return Outcome(used_cells(planner, answer), answer.value)


def used_cells(planner: Planner, answer: Answer) -> Cells:
    """Cells that answer a share of their class worth seeing."""
    pairs = zip(planner.estimates.cells, answer.x, strict=True)
    return frozenset((cell.class_name, cell.strategy) for cell, share in pairs if share >= SEEN)


def possible(planner: Planner, change: Change) -> bool:
    """Whether the number can take that value, and whether the profile can tell of it."""
    if change.kind == "limit":
        moved = moved_limit(planner, change)
        if is_latency(change.name):
            return moved >= planner.estimates.grid_s[0]
        return moved > 0 and (moved <= 1 or not is_share(change.name))
    if change.kind == "class share":
        share = shares(planner)[change.name]
        return planner.tenants is None and 0 < share < 1 and share * (1 + change.by) < 1
    if change.kind == "accuracy":
        return not planner.spec.groups  # cells of groups have means of their own
    return planner.costs_known


def moved_limit(planner: Planner, change: Change) -> float:
    """The value of a limit after a change; one that the profile counts is met exactly."""
    return float(f"{asked(planner.limits)[change.name] * (1 + change.by):.9g}")


def shares(planner: Planner) -> dict[str, float]:
    """Share of traffic by class."""
    e = planner.estimates
    return {name: float(weight) for name, weight in zip(e.classes, e.weights, strict=True)}


def _changed(planner: Planner, change: Change) -> Planner:
    if change.kind == "class share":
        return _mixed(planner, change)
    scale = _dearer if change.kind == "price" else _better
    cells = {
        key: scale(cell, 1 + change.by) if cell.strategy == change.name else cell
        for key, cell in planner.profile.cells.items()
    }
    return planner.about(replace(planner.profile, cells=cells), planner.spec)


def _dearer(cell: Cell, factor: float) -> Cell:
    known = {name: getattr(cell, name) for name in _DOLLARS}
    return replace(cell, **{name: factor * usd for name, usd in known.items() if usd is not None})


def _better(cell: Cell, factor: float) -> Cell:
    return replace(cell, accuracy=min(factor * cell.accuracy, 1.0))


def _mixed(planner: Planner, change: Change) -> Planner:
    now = shares(planner)
    own = now[change.name] * (1 + change.by)
    rest = (1 - own) / (1 - now[change.name])
    mix = {name: own if name == change.name else rest * now[name] for name in now}
    profile, spec = planner.profile, planner.spec
    if spec.traffic is None or not spec.traffic.mix:
        return planner.about(replace(profile, weights=tuple(mix.values())), spec)
    traffic = spec.traffic.model_copy(update={"mix": mix})
    return planner.about(profile, spec.model_copy(update={"traffic": traffic}))

"""The plan's own allocation where the inputs drift, and what planning anew would cost.

An exact plan leaves nothing unused, so it is tight against its limits. Each drift is a profile of
its own: all dollars times 1.5; the hardest class 1.5 times as frequent, the others less in
proportion; every cell's mean score lower by the standard error that the plan counted with; all
latencies times 1.5, which is the same count of slow requests on a grid times 1.5. A planner over it
says what the allocation would achieve (best estimates, as a plan's expected figures are) and how it
would answer the spec now. A limit breaks where the best estimate misses it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from planner.estimating.groups import BY_GROUP, MAX_GAP
from planner.limits import LimitSet
from planner.planner import Answer, Planner
from planner.programme.model import BY_CLASS, LATENCY, OVERALL, SPEND
from planner.spec import Spec
from profiles.errors import InfeasibleError
from profiles.profile import Cell, Profile

if TYPE_CHECKING:
    from planner.plan import Figures, Rung

FACTOR = 1.5
AS_PLANNED = "as planned"
COSTS = f"all costs x {FACTOR:g}"
ACCURACIES = "all accuracies down by one standard error"
LATENCIES = f"all latencies x {FACTOR:g}"
_NEVER = float("inf")
_ROUNDED = 1e-8
"""Figures have nine digits."""


@dataclass(frozen=True, slots=True)
class Stressed:
    """One drift.

    Attributes:
        drift: What changed, in words.
        expected: Figures of the plan's own allocation.
        breaks: Names of the limits that these miss.
        planned_anew: Expected figures of the plan for the changed inputs, None where no plan can
            promise the limits.
    """

    drift: str
    expected: Figures
    breaks: tuple[str, ...]
    planned_anew: Figures | None


@dataclass(frozen=True, slots=True)
class Stress:
    """All drifts.

    Attributes:
        rows: Without any drift first.
        left_out: Drifts that the profile cannot show, with the reason.
    """

    rows: tuple[Stressed, ...]
    left_out: tuple[str, ...]


def stress(planner: Planner, answer: Answer) -> Stress:
    """What an allocation and its limits would become.

    Args:
        planner: Of the plan, its spec's fixed costs settled.
        answer: Of that planner to its spec.

    Raises:
        UnprovenError: The solver stopped early while planning anew.
    """
    rows, left_out = [_stressed(AS_PLANNED, planner, answer)], []
    for drift, inputs in _drifts(planner):
        if isinstance(inputs, str):
            left_out.append(f"{drift}: {inputs}")
        else:
            rows.append(_stressed(drift, Planner(*inputs), answer))
    return Stress(tuple(rows), tuple(left_out))


def _stressed(drift: str, planner: Planner, answer: Answer) -> Stressed:
    objective = planner.spec.objective
    rung = planner.rung(answer, objective)
    try:
        anew = planner.rung(planner.answer(objective, planner.limits), objective).expected
    except InfeasibleError:
        anew = None
    return Stressed(drift, rung.expected, tuple(_broken(rung, planner.limits)), anew)


def _broken(rung: Rung, limits: LimitSet) -> Iterator[str]:
    """Limits that expected figures miss; a figure that is unknown keeps nothing."""
    found = {OVERALL: rung.expected.accuracy}
    found |= {BY_CLASS + name: figures.accuracy for name, figures in rung.by_class.items()}
    for column, groups in rung.by_group.items():
        found |= {f"{BY_GROUP}{column}.{name}": group.accuracy for name, group in groups.items()}
    found |= {MAX_GAP + column: gap.expected for column, gap in rung.gaps.items()}
    cost, p95_s = rung.expected.cost_usd_per_request, rung.expected.latency_p95_s
    found[SPEND] = _NEVER if cost is None else cost
    found[LATENCY] = _NEVER if p95_s is None else p95_s
    for name, limit in limits.values().items():
        short = limit - found[name] if name in limits.floors else found[name] - limit
        if short > _ROUNDED * limit:
            yield name


def _drifts(planner: Planner) -> Iterator[tuple[str, tuple[Profile, Spec] | str]]:
    """Changed profile and spec by name, or why there is none."""
    profile, spec = planner.profile, planner.spec
    if planner.costs_known:
        yield COSTS, (_changed(profile, _dearer), spec)
    else:
        yield COSTS, "some costs are unknown"
    if len(profile.classes) > 1:
        yield f"share of class {profile.classes[-1]} x {FACTOR:g}", _harder(planner)
    else:
        yield f"share of the hardest class x {FACTOR:g}", "there is one class"
    if spec.groups:
        yield ACCURACIES, "limits on groups rest on cells of their own"
    else:
        yield ACCURACIES, (_changed(profile, _Lowered.of(planner)), spec)
    yield LATENCIES, _slower(planner)


def _changed(profile: Profile, change: Callable[[Cell], Cell]) -> Profile:
    return replace(profile, cells={key: change(cell) for key, cell in profile.cells.items()})


def _dearer(cell: Cell) -> Cell:
    names = ("cost_usd", "cost_sd_usd", "cost_mean_sd_usd", "cost_max_usd")
    known = {name: getattr(cell, name) for name in names}
    return replace(cell, **{name: FACTOR * usd for name, usd in known.items() if usd is not None})


@dataclass(frozen=True, slots=True)
class _Lowered:
    """A cell with its mean score down by its standard error."""

    errors: dict[tuple[str, str], float]

    @classmethod
    def of(cls, planner: Planner) -> _Lowered:
        e = planner.estimates
        pairs = zip(e.cells, e.accuracy_sd, strict=True)
        return cls({(cell.class_name, cell.strategy): float(sd) for cell, sd in pairs})

    def __call__(self, cell: Cell) -> Cell:
        error = self.errors.get((cell.class_name, cell.strategy), 0.0)
        return replace(cell, accuracy=max(cell.accuracy - error, 0.0))


def _harder(planner: Planner) -> tuple[Profile, Spec]:
    """More of the last class, which is the hardest; never more than all requests."""
    profile, spec = planner.profile, planner.spec
    *others, hardest = (float(weight) for weight in planner.estimates.weights)
    more = min(FACTOR * hardest, 1.0)
    rest = (1 - more) / (1 - hardest) if hardest < 1 else 0.0
    weights = (*(weight * rest for weight in others), more)
    if spec.traffic is None or not spec.traffic.mix:
        return replace(profile, weights=weights), spec
    mix = dict(zip(profile.classes, weights, strict=True))
    traffic = spec.traffic.model_copy(update={"mix": mix})
    return profile, spec.model_copy(update={"traffic": traffic})


def _slower(planner: Planner) -> tuple[Profile, Spec] | str:
    profile, limit = planner.profile, planner.limits.p95_s
    grid_s = tuple(FACTOR * limit_s for limit_s in profile.latency_grid_s)
    if not grid_s or all(cell.exceeded is None for cell in planner.estimates.cells):
        return "no latencies are recorded"
    if limit is not None and grid_s[0] > limit:
        return f"the profile counted no latencies at or below {limit / FACTOR:g} s"
    return replace(profile, latency_grid_s=grid_s), planner.spec

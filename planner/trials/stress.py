"""The plan's own allocation where the inputs drift, and what planning anew would cost.

An exact plan leaves nothing unused, so it is tight against its limits. Each drift is a profile of
its own: all dollars times 1.5; the hardest class 1.5 times as frequent, the others less in
proportion; every cell's mean score lower by the standard error that the plan counted with, or by
two points; all latencies times 1.5, which is the same count of slow requests on a grid times 1.5;
where a limit is a sum, 1.5 times as many requests to share it. A planner over it says what the
allocation would achieve (best estimates, as a plan's expected figures are) and how it would answer
the spec now. A limit breaks where the best estimate misses it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from planner.limit_names import (
    BY_CLASS,
    BY_GROUP,
    LATENCY,
    MAX_GAP,
    OVERALL,
    SPEND,
    is_floor,
    is_latency,
)
from planner.planner import Answer, Planner
from planner.spec import Spec
from profiles.errors import InfeasibleError, UnprovenError
from profiles.profile import Cell, Profile

if TYPE_CHECKING:
    from planner.plan import Figures, Rung

FACTOR = 1.5
AS_PLANNED = "as planned"
COSTS = f"all costs x {FACTOR:g}"
ACCURACIES = "all accuracies down by one standard error"
LATENCIES = f"all latencies x {FACTOR:g}"
POINTS = "all accuracies down by 2 points"
TRAFFIC = f"requests x {FACTOR:g}"
_TWO_POINTS = 0.02
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
            promise the limits, or none was proven in time.
        unproven: Whether time ran out while planning anew.
    """

    drift: str
    expected: Figures
    breaks: tuple[str, ...]
    planned_anew: Figures | None
    unproven: bool = False


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
        planner: Of the plan, its spec's fixed costs settled; its time limit holds for each plan.
        answer: Of that planner to its spec.
    """
    rows, left_out = [_stressed(AS_PLANNED, planner, answer)], []
    for drift, inputs in _drifts(planner):
        if isinstance(inputs, str):
            left_out.append(f"{drift}: {inputs}")
        else:
            rows.append(_stressed(drift, planner.about(*inputs), answer))
    return Stress(tuple(rows), tuple(left_out))


def _stressed(drift: str, planner: Planner, answer: Answer) -> Stressed:
    objective = planner.spec.objective
    rung = planner.rung(answer, objective)
    anew, unproven = None, False
    try:
        anew = planner.rung(planner.answer(objective, planner.limits), objective).expected
    except InfeasibleError:
        pass
    except UnprovenError:
        unproven = True
    return Stressed(drift, rung.expected, tuple(_broken(rung, planner, answer)), anew, unproven)


def _broken(rung: Rung, planner: Planner, answer: Answer) -> Iterator[str]:
    """Limits that expected figures miss; a figure that is unknown keeps nothing."""
    found = {OVERALL: rung.expected.accuracy}
    found |= {BY_CLASS + name: figures.accuracy for name, figures in rung.by_class.items()}
    for column, groups in rung.by_group.items():
        found |= {f"{BY_GROUP}{column}.{name}": group.accuracy for name, group in groups.items()}
    found |= {MAX_GAP + column: gap.expected for column, gap in rung.gaps.items()}
    cost, p95_s = rung.expected.cost_usd_per_request, rung.expected.latency_p95_s
    found[SPEND] = _NEVER if cost is None else cost
    found[LATENCY] = _NEVER if p95_s is None else p95_s
    limits = planner.limits.values
    measured = rung
    if not limits.keys() <= found.keys():
        measured = planner.on_point_estimates().rung(answer, planner.spec.objective)
    for name, limit in limits.items():
        if name not in found:
            if not measured.limits[name].kept:
                yield name
            continue
        short = limit - found[name] if is_floor(name) else found[name] - limit
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
    yield POINTS, (_two_points_lower(profile), spec)
    yield LATENCIES, _slower(planner)
    if spec.traffic is not None and has_sums(spec):
        more = round(FACTOR * spec.traffic.requests)
        traffic = spec.traffic.model_copy(update={"requests": more})
        yield TRAFFIC, (profile, spec.model_copy(update={"traffic": traffic}))


def has_sums(spec: Spec) -> bool:
    """Whether requests share a limit: dollars, energy or carbon of a window, or GPUs."""
    spends = [tenant.spend for tenant in spec.tenants.values()]
    return (
        any(True for _ in spec.limits.windows())
        or any(pool.gpus is not None for pool in spec.limits.gpu.values())
        or any(spend is not None and spend.usd is not None for spend in spends)
    )


def _two_points_lower(profile: Profile) -> Profile:
    def lower(cell: Cell) -> Cell:
        return replace(cell, accuracy=max(cell.accuracy - _TWO_POINTS, 0.0))

    groups = {
        name: replace(table, cells={key: lower(cell) for key, cell in table.cells.items()})
        for name, table in profile.groups.items()
    }
    return replace(_changed(profile, lower), groups=groups)


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
    profile = planner.profile
    limits_s = [limit for name, limit in planner.limits.values.items() if is_latency(name)]
    grid_s = tuple(FACTOR * limit_s for limit_s in profile.latency_grid_s)
    if not grid_s or all(cell.exceeded is None for cell in planner.estimates.cells):
        return "no latencies are recorded"
    if limits_s and grid_s[0] > min(limits_s):
        return f"the profile counted no latencies at or below {min(limits_s) / FACTOR:g} s"
    return replace(profile, latency_grid_s=grid_s), planner.spec

"""How far a plan can be trusted: resplits of the store's outcomes, and inputs that drift."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from app.planning import Question, outcomes_by_query, outcomes_under, prompts_by_query

if TYPE_CHECKING:
    from planner.plan import Rung
    from planner.sorting.cells_of_outcomes import Indices
    from planner.trials.simulate import Simulation
    from planner.trials.stress import Stress


@dataclass(frozen=True)
class Trust:
    """A plan beside what speaks for and against it.

    Attributes:
        workload: Name of the traffic.
        rung: The plan's first rung.
        simulation: Resplits of the store's own outcomes.
        stress: The rung's allocation where inputs drift.
        remarks: What the resplits do without, in words.
    """

    workload: str
    rung: Rung
    simulation: Simulation
    stress: Stress
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Sorted:
    """Classes of queries as the planner sees them."""

    classes: Indices
    names: tuple[str, ...]


def trust(
    question: Question,
    store_path: Path,
    *,
    resplits: int,
    seed: int,
    advance: Callable[[int, int], None],
) -> Trust:
    """Plan, stress the plan, and plan again from halves of the store's outcomes.

    Raises:
        LimitsClashError: No allocation keeps the limits; says which clash and what would help.
        UnprovenError: The solver stopped early.
        UnknownValueError: A cell, cost or tail that the question needs was never measured.
        InputError: The store has no outcomes of single queries, or too few in some class.
    """
    import numpy as np

    from planner.trials.simulate import simulate
    from planner.trials.stress import stress

    planner = question.planner()
    answer = planner.explained(planner.limits)
    spec, classes = planner.spec, question.profile.classes
    found = outcomes_by_query(store_path, spec, question.estimator, question.base)
    used = [name for name in planner.estimates.strategies if name in found.strategies]
    outcomes = outcomes_under(found, used)
    own = np.flatnonzero(outcomes.known.any(axis=1))
    ids = [found.query_ids[at] for at in own]
    names = [found.class_names[at] or classes[0] for at in own]  # all have one, or none has
    prompts = prompts_by_query(store_path, spec.workload)
    simulation = simulate(
        outcomes.part(own),
        _Sorted(np.array([classes.index(name) for name in names], dtype=np.intp), classes),
        groups([prompts.get(query) for query in ids]),
        spec,
        resplits=resplits,
        seed=seed,
        advance=advance,
    )
    remarks = [f"left out of the resplits: {text}" for text in simulation.left_out]
    missing = sorted({*planner.estimates.strategies} - {*used})
    if missing:
        remarks.append(
            f"left out of the resplits, without outcomes of single queries: {', '.join(missing)}"
        )
    blank = sum(query not in prompts for query in ids)
    if blank:
        remarks.append(f"{blank} of {len(ids)} queries have no prompt and count as all different")
    return Trust(
        workload=spec.workload,
        rung=planner.rung(answer, spec.objective),
        simulation=simulation,
        stress=stress(planner, answer),
        remarks=tuple(remarks),
    )


def groups(prompts: Sequence[str | None]) -> Indices:
    """Group per query: near-duplicate prompts together, a query without a prompt alone."""
    import numpy as np

    from profiles.difficulty.folds import near_duplicates

    known = np.array([prompt is not None for prompt in prompts], dtype=bool)
    found = np.zeros(len(prompts), dtype=np.intp)
    found[known] = near_duplicates([prompt for prompt in prompts if prompt is not None])
    found[~known] = np.arange((~known).sum()) + found.max(initial=-1, where=known) + 1
    return found

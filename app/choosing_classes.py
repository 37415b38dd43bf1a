"""How `difficulty fit` chooses between ways of sorting: by the plans that each would bring."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from profiles.difficulty.progress import silent

if TYPE_CHECKING:
    from planner.sorting.candidates import Choice
    from planner.sorting.cells_of_outcomes import Indices
    from planner.spec import Spec
    from profiles.difficulty.choosing import Way
    from profiles.difficulty.lessons import Lessons
    from profiles.difficulty.progress import Progress

    Judge = Callable[[Lessons, Sequence[Way], Indices], Choice]


def judge_by_plans(spec: Spec | None, progress: Progress = silent) -> Judge:
    """A judge of ways of sorting: what it chooses, why, and how each did.

    It is called with the lessons, the ways with their out-of-fold classes, and the fold of every
    query. It raises what `planner.sorting.class_choice.compare` raises.

    Args:
        spec: The question that plans will be asked; None for budgets between the cheapest and the
            dearest strategy. Limits on latency and on groups are left out, since lessons hold
            neither, and so are fixed costs; the reason says so.
        progress: Told before every way.
    """
    question, left_out = _without_what_lessons_lack(spec)

    def judge(lessons: Lessons, ways: Sequence[Way], fold_of: Indices) -> Choice:
        from planner.sorting.cells_of_outcomes import Outcomes
        from planner.sorting.class_choice import compare

        outcomes = Outcomes(lessons.workload, lessons.strategies, lessons.scores, lessons.costs)
        sorted_by = [_Sorted(way.kind, way.class_index, way.names) for way in ways]
        told = partial(progress, "judge by plans")
        choice = compare(outcomes, sorted_by, fold_of, question, told)
        if not left_out:
            return choice
        return replace(choice, reason=f"{choice.reason} Not judged: {' and '.join(left_out)}.")

    return judge


@dataclass(frozen=True, slots=True)
class _Sorted:
    """A candidate as the planner sees it."""

    kind: str
    classes: Indices
    names: tuple[str, ...]


def _without_what_lessons_lack(spec: Spec | None) -> tuple[Spec | None, list[str]]:
    from planner.sorting.plan_questions import judgeable

    if spec is None:
        return None, []
    question, left_out = judgeable(spec)
    fees = ["fixed costs"] if spec.fixed_costs else []
    return question.model_copy(update={"fixed_costs": (), "pay": None}), [*fees, *left_out]

"""A store's outcomes of single queries, sorted as a question sorts them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from app.planning import Question, outcomes_by_query, outcomes_under, prompts_by_query
from profiles.errors import InputError

if TYPE_CHECKING:
    from planner.planner import Planner
    from planner.sorting.cells_of_outcomes import Indices, Outcomes
    from profiles.cells.by_query import QueryOutcomes


@dataclass(frozen=True, slots=True)
class Sorted:
    """Classes of queries as the planner sees them."""

    classes: Indices
    names: tuple[str, ...]


@dataclass(frozen=True)
class Measured:
    """Outcomes of a store as the planner sees them, of queries with any, and their ids."""

    outcomes: Outcomes
    sorted_by: Sorted
    query_ids: list[str]


def measured(question: Question, planner: Planner, store_path: Path) -> Measured:
    """A store's outcomes of single queries under the planner's strategies, with all that it has.

    Raises:
        InputError: There are none, or a query has no class of the question's profile.
    """
    import numpy as np

    spec, classes = planner.spec, question.profile.classes
    found = outcomes_by_query(store_path, spec, question.estimator, question.base, answers=True)
    used = [name for name in planner.estimates.strategies if name in found.strategies]
    outcomes = outcomes_under(found, used, question.profile.latency_grid_s)
    own = np.flatnonzero(outcomes.known.any(axis=1))
    names = _class_names(found, question, store_path)
    index = [_index(classes, names[int(at)], store_path) for at in own]
    ids = [found.query_ids[at] for at in own]
    return Measured(outcomes.part(own), Sorted(np.array(index, dtype=np.intp), classes), ids)


def _class_names(
    found: QueryOutcomes, question: Question, store_path: Path
) -> Sequence[str | None]:
    """Class of every query; the estimator itself sorts those that it was not fitted on."""
    names = found.class_names
    if question.estimator is None or None not in names:
        return names
    from profiles.difficulty.classify import predicted
    from profiles.difficulty.graph import read_facts
    from profiles.difficulty.sorting.combined import reads_labels

    facts, graph = read_facts(question.estimator), question.estimator.read_bytes()
    if facts.encoder is not None or reads_labels(graph):
        raise InputError(
            "new queries cannot be sorted here: the estimator reads more than their text",
            where=str(store_path),
            expected="an estimator that reads text alone, or classes by label",
            next_step="import the new queries with their classes as labels",
        )
    prompts = prompts_by_query(store_path, found.workload)
    blank = [query for query, name in zip(found.query_ids, names, strict=True) if name is None]
    sorted_into = predicted(graph, facts, [prompts[query] for query in blank])
    fresh = dict(zip(blank, sorted_into, strict=True))
    return [name or fresh[query] for query, name in zip(found.query_ids, names, strict=True)]


def _index(classes: tuple[str, ...], name: str | None, store_path: Path) -> int:
    if name is None and len(classes) == 1:
        return 0  # all have one, or none has
    if name not in classes:
        raise InputError(
            "a query has no class that the plan knows",
            where=str(store_path),
            expected=f"one of {', '.join(classes)}",
            got="none" if name is None else name,
            next_step="import the queries with the same classes",
        )
    return classes.index(name)

"""Classes of queries before anything about them is measured.

A query that an estimator was fitted on keeps its stored class, which a model gave it that had seen
neither it nor a copy of its prompt (out of fold). Any other query gets the class that the graph
itself gives its prompt: the graph has not seen it, so this prediction is out of sample, and it is
the very one that the query would meet when served. Neither kind of class depends on a query's own
outcomes, so the mean score of a class is not flattered by mixing them. They differ in one thing:
models out of fold learned from a part of what the graph learned from and sort a little worse.

The graph's own class of a query that it was fitted on would be flattered: queries whose luck the
graph remembers gather in the easy classes. It is never used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from profiles.difficulty.graph import GraphFacts, read_facts
from profiles.difficulty.running import outputs
from profiles.errors import InputError
from profiles.store.store import Store


def classify(
    store: Store, graph_path: Path, workload: str, prompts: Mapping[str, str]
) -> dict[str, str]:
    """The class of every given and every stored query with a prompt; new ones are stored.

    A query whose prompt copies that of a query with a class (but for case and blanks) gets that
    class: the graph may have learned from the copy.

    Args:
        store: Open for writing; the one that the estimator was fitted on.
        graph_path: The estimator.
        workload: Which traffic.
        prompts: Prompt by query id; where the store has a prompt under the same id, that counts.

    Raises:
        InputError: No readable estimator, or the store does not know what it was fitted on.
    """
    facts = read_facts(graph_path)
    known = _stored(store, workload, facts, graph_path)
    texts = {**prompts, **store.prompts(workload)}
    fresh = _copies(known, texts)
    unseen = sorted(texts.keys() - known.keys() - fresh.keys())
    names = predicted(graph_path.read_bytes(), facts, [texts[query] for query in unseen])
    fresh |= zip(unseen, names, strict=True)
    store.save_classes(facts.digest, workload, fresh)
    return known | fresh


def predicted(graph: bytes, facts: GraphFacts, prompts: Sequence[str]) -> list[str]:
    """The class that a graph itself gives each prompt."""
    names = [""] * len(prompts)
    for positions, indices in outputs(graph, "class_index", prompts):
        for position, index in zip(positions, indices, strict=True):
            names[position] = facts.class_names[int(index)]
    return names


def _stored(store: Store, workload: str, facts: GraphFacts, graph_path: Path) -> dict[str, str]:
    with store.reading() as execute:
        found = execute(
            "SELECT query_id, class_name FROM classes WHERE workload = ? AND estimator_digest = ?"
            " ORDER BY query_id",
            [workload, facts.digest],
        ).fetchall()
    if not found:
        raise InputError(
            "this store does not know which queries the estimator was fitted on",
            where=f"{graph_path}, workload {workload}",
            expected="the store that 'inferbudget difficulty fit' was given, and its last graph",
            got=f"an estimator of workload {facts.workload}, digest {facts.digest[:19]}",
            next_step="fit the estimator again on this store",
        )
    return dict(found)


def _copies(known: Mapping[str, str], texts: Mapping[str, str]) -> dict[str, str]:
    """Classes of queries without one whose prompt a query with one has."""
    by_text: dict[str, str] = {}
    for query, name in known.items():
        if query in texts:
            by_text.setdefault(normal(texts[query]), name)
    missing = ((query, normal(text)) for query, text in texts.items() if query not in known)
    return {query: by_text[text] for query, text in missing if text in by_text}


def normal(prompt: str) -> str:
    """What copies of a prompt share: all but case and blanks."""
    return " ".join(prompt.split()).lower()

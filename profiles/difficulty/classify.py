"""Classes of queries before anything about them is measured.

A query that an estimator was fitted on keeps its stored class, which a model gave it that had seen
neither it nor a near-copy of its prompt (out of fold). A near-copy of such a query gets that class
too. Any other query gets the class that the graph itself gives its prompt: the graph has not seen
it, so this prediction is out of sample, and it is the very one that the query would meet when
served. No prediction rests on a query's own outcomes, so the mean score of a class is not flattered
by mixing them. They differ in one thing: models out of fold learned from a part of what the graph
learned from and sort a little worse.

The graph's own class of a query that it was fitted on would be flattered: queries whose luck the
graph remembers gather in the easy classes. It is never used.

Where a graph reads a label beside the prompt, a query's label is as much a part of it as its
prompt: a copy under another label is another query.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from profiles.difficulty.folds import near_duplicates
from profiles.difficulty.graph import GraphFacts, read_facts
from profiles.difficulty.reading.encoder import Vectors
from profiles.difficulty.reading.vectors import open_asked_for, read_vectors
from profiles.difficulty.running import outputs
from profiles.difficulty.sorting.combined import reads_labels
from profiles.errors import InputError
from profiles.store.store import Store


def classify(
    store: Store,
    graph_path: Path,
    workload: str,
    prompts: Mapping[str, str],
    labels: Mapping[str, str] | None = None,
    *,
    encoder: Path | None = None,
) -> dict[str, str]:
    """The class of every given and every stored query with a prompt; new ones are stored.

    A query whose prompt nearly copies that of a query with a class (`folds.near_duplicates`) gets
    that class: the graph may have learned from the copy.

    Args:
        store: Open for writing; the one that the estimator was fitted on.
        graph_path: The estimator.
        workload: Which traffic.
        prompts: Prompt by query id; where the store has a prompt under the same id, that counts.
        labels: Label by query id, for an estimator that reads one; where the store has one under
            the same id, that counts.
        encoder: Folder of the encoder whose vectors the estimator reads.

    Raises:
        InputError: No readable estimator, not the encoder that it reads with, the store does not
            know what it was fitted on, or a query has no label that the estimator knows.
    """
    facts = read_facts(graph_path)
    opened = open_asked_for(facts.encoder, encoder, str(graph_path))
    graph = graph_path.read_bytes()
    known = _stored(store, workload, facts, graph_path)
    texts = {**prompts, **store.prompts(workload)}
    sent = {**(labels or {}), **_labels(store, workload)} if reads_labels(graph) else None
    fresh = _copies(known, texts, sent or {})
    unseen = sorted(texts.keys() - known.keys() - fresh.keys())
    prompts_unseen = [texts[query] for query in unseen]
    names = predicted(
        graph,
        facts,
        prompts_unseen,
        None if sent is None else [sent.get(query, "") for query in unseen],
        read_vectors(opened, prompts_unseen) if opened else None,
    )
    _refuse_unclassed(unseen, names, sent or {})
    fresh |= zip(unseen, names, strict=True)
    store.save_classes(facts.digest, workload, fresh)
    return known | fresh


def predicted(
    graph: bytes,
    facts: GraphFacts,
    prompts: Sequence[str],
    labels: Sequence[str] | None = None,
    vectors: Vectors | None = None,
) -> list[str]:
    """The class that a graph itself gives each prompt; "" where it does not know the label."""
    names = [""] * len(prompts)
    for positions, indices in outputs(graph, "class_index", prompts, labels, vectors):
        for position, index in zip(positions, indices, strict=True):
            names[position] = facts.class_names[int(index)] if index >= 0 else ""
    return names


def _labels(store: Store, workload: str) -> dict[str, str]:
    with store.reading() as execute:
        rows = execute(
            "SELECT query_id, class_label FROM queries "
            "WHERE workload = ? AND class_label IS NOT NULL",
            [workload],
        ).fetchall()
    return dict(rows)


def _refuse_unclassed(
    queries: Sequence[str], names: Sequence[str], sent: Mapping[str, str]
) -> None:
    without = [query for query, name in zip(queries, names, strict=True) if not name]
    if without:
        raise InputError(
            f"{len(without)} queries have no label that the estimator knows",
            where=f"query {without[0]}",
            expected="a label that it was fitted on",
            got=repr(sent.get(without[0])),
            next_step="give these queries a label, or fit the estimator again with theirs",
        )


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


def _copies(
    known: Mapping[str, str], texts: Mapping[str, str], sent: Mapping[str, str]
) -> dict[str, str]:
    """Classes of queries without one whose near-copy under the same label has one."""
    queries = sorted(texts)
    groups = near_duplicates([texts[query] for query in queries]).tolist()
    keys = {query: (group, sent.get(query)) for query, group in zip(queries, groups, strict=True)}
    by_key: dict[tuple[int, str | None], str] = {}
    for query, name in known.items():
        if query in keys:
            by_key.setdefault(keys[query], name)
    missing = ((query, key) for query, key in keys.items() if query not in known)
    return {query: by_key[key] for query, key in missing if key in by_key}

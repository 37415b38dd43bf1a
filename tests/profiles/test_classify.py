"""Classes before measuring: which class a query gets, and that none of them flatters."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from profiles.difficulty.classify import classify, predicted
from profiles.difficulty.fit import Estimator, fit
from profiles.difficulty.graph import read_facts
from profiles.errors import InputError
from profiles.observation import Evidence, Observation
from profiles.query import Query
from profiles.store.store import Store

WORDS = [f"{a}{b}" for a in "bcdfghjklm" for b in ("at", "en", "ip", "or", "um", "ash")]
STRATEGY = "m/single"


def prompt_of(number: int) -> str:
    rng = random.Random(number)
    return " ".join(rng.choices(WORDS, k=12)) + (" ?" if rng.random() < 0.5 else " !")


def chance_of(prompt: str) -> float:
    """What no fit can change: a question mark is all that matters."""
    return 0.8 if prompt.endswith("?") else 0.2


def outcome(query: str, score: float) -> Observation:
    return Observation(
        workload="w", query_id=query, strategy=STRATEGY, sample=0, score=score,
        evidence=Evidence.SIMULATED, source="test",
    )  # fmt: skip


def fitted(store: Store, path: Path, prompts: dict[str, str], seed: int) -> Estimator:
    rng = random.Random(seed)
    store.add_queries("w", [Query(query, text) for query, text in prompts.items()])
    store.add(
        outcome(query, float(rng.random() < chance_of(text))) for query, text in prompts.items()
    )
    estimator = fit(store, "w", classes=2, seed=seed)
    estimator.write(path)
    return estimator


def stored(store: Store, digest: str) -> dict[str, str]:
    with store.reading() as execute:
        rows = execute(
            "SELECT query_id, class_name FROM classes WHERE estimator_digest = ?", [digest]
        ).fetchall()
    return dict(rows)


def test_fitted_queries_keep_their_class_and_new_ones_get_the_graphs(tmp_path: Path) -> None:
    graph = tmp_path / "difficulty.onnx"
    old = {f"q{i}": prompt_of(i) for i in range(120)}
    new = {f"n{i}": prompt_of(1000 + i) for i in range(40)}
    with Store.open(":memory:") as store:
        estimator = fitted(store, graph, old, seed=1)
        before = stored(store, estimator.digest)
        store.add_queries("w", [Query("late", prompt_of(2000))])
        store.add([outcome("late", 1.0)])
        found = classify(store, graph, "w", new)
        assert found == stored(store, estimator.digest)
        assert set(found) == {*old, *new, "late"}
        assert {query: found[query] for query in old} == before
        served = predicted(graph.read_bytes(), read_facts(graph), list(new.values()))
        assert [found[query] for query in new] == served
        assert classify(store, graph, "w", new) == found
        profile = store.profile(
            "w", estimator_digest=estimator.digest, class_names=estimator.class_names
        )
        assert profile.queries == len(old) + 1


def test_a_copy_of_a_fitted_prompt_gets_the_class_of_the_copied_query(tmp_path: Path) -> None:
    graph = tmp_path / "difficulty.onnx"
    old = {f"q{i}": prompt_of(i) for i in range(120)}
    copies = {f"c{i}": f" {prompt_of(i).upper()}" for i in range(120)}
    with Store.open(":memory:") as store:
        fitted(store, graph, old, seed=2)
        found = classify(store, graph, "w", copies)
    assert all(found[f"c{i}"] == found[f"q{i}"] for i in range(120))
    alone = predicted(graph.read_bytes(), read_facts(graph), [prompt_of(i) for i in range(120)])
    assert alone != [found[f"q{i}"] for i in range(120)]


def test_a_store_that_never_saw_the_fit_is_refused(tmp_path: Path) -> None:
    graph = tmp_path / "difficulty.onnx"
    with Store.open(":memory:") as store:
        fitted(store, graph, {f"q{i}": prompt_of(i) for i in range(120)}, seed=1)
    with Store.open(":memory:") as other, pytest.raises(InputError, match="was fitted on"):
        classify(other, graph, "w", {"n": "any"})


@pytest.mark.slow
def test_mixing_both_kinds_of_classes_flatters_no_class_as_the_graphs_own_would(
    tmp_path: Path,
) -> None:
    """Luck, score less chance, has mean 0 in every class where classes do not depend on it."""
    graph, names = tmp_path / "difficulty.onnx", ("easy", "hard")
    mixed: list[list[float]] = []
    own: list[list[float]] = []
    for seed in range(20):
        old = {f"q{i}": prompt_of(10_000 * seed + i) for i in range(200)}
        new = {f"n{i}": prompt_of(10_000 * seed + 5000 + i) for i in range(200)}
        with Store.open(":memory:") as store:
            estimator = fitted(store, graph, old, seed)
            assert estimator.class_names == names
            scores = {query: score for query, _, score in store.mean_scores("w")}
            classes = classify(store, graph, "w", new)
        rng = random.Random(f"fresh {seed}")
        scores |= {query: float(rng.random() < chance_of(text)) for query, text in new.items()}
        luck = {query: scores[query] - chance_of(text) for query, text in (old | new).items()}
        own_classes = predicted(graph.read_bytes(), read_facts(graph), list(old.values()))
        in_sample = classes | dict(zip(old, own_classes, strict=True))
        for sums, sorted_by in ((mixed, classes), (own, in_sample)):
            sums.append(
                [float(np.mean([luck[q] for q, c in sorted_by.items() if c == n])) for n in names]
            )
    honest, flattered = np.array(mixed), np.array(own)
    error = honest.std(axis=0, ddof=1) / np.sqrt(len(honest))
    assert (np.abs(honest.mean(axis=0)) < 3 * error).all()
    assert (np.abs(honest.mean(axis=0)) < 0.02).all()
    assert flattered.mean(axis=0)[0] > 0.1
    assert flattered.mean(axis=0)[1] < -0.1

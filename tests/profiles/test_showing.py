"""What classes look like, what marks them, and what a wrong one costs."""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from profiles.difficulty.fit import fit
from profiles.difficulty.running import outputs
from profiles.difficulty.showing.classed import visible
from profiles.difficulty.showing.marks import (
    LINE_BREAK,
    NUMBER,
    log_odds_z,
    marks,
    pieces,
    weights,
    without,
)
from profiles.difficulty.showing.show import show
from profiles.difficulty.showing.wrong_classes import wrong_classes
from profiles.errors import InputError
from profiles.observation import Observation
from profiles.pricing.rates import Rate
from profiles.query import Query
from profiles.store.store import Store

WORDS = [f"{a}{b}" for a in "bcdfgh" for b in ("at", "en", "ip", "or", "um", "ash")]
CHANCES = {"cheap/single": (0.9, 0.1), "dear/single": (0.95, 0.8)}
SHARES = np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
NAMES = ("easy", "hard", "mixed")


def filled(store: Store, count: int = 240) -> None:
    """Prompts with "prove" are hard; the dear strategy misses every tenth query."""
    rng = random.Random(3)
    queries, rows = [], []
    for index in range(count):
        query, hard = f"q{index:03}", index % 2
        words = [*rng.choices(WORDS, k=8), *(["prove"] if hard else ["add", "7"])]
        rng.shuffle(words)
        prompt = " ".join(words) + "\n\x1b[m" + "x" * 200
        queries.append(Query(query, prompt, ("law", "art")[index % 3 == 0]))
        rows += [
            Observation(
                "w", query, strategy, sample, score=float(rng.random() < chances[hard]),
                cost_usd=rng.random() if strategy == "cheap/single" else None,
            )
            for strategy, chances in CHANCES.items()
            if strategy == "cheap/single" or index % 10
            for sample in range(2)
        ]  # fmt: skip
    store.add_queries("w", queries)
    store.add(rows)


@pytest.fixture(scope="module", params=[False, True], ids=["text", "text+label"])
def world(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("showing") / "difficulty.onnx"
    with Store.open(":memory:") as store:
        filled(store)
        estimator = fit(store, "w", classes=2, by_label=request.param)
        estimator.write(path)
        yield store, path, estimator


def test_figures_are_those_of_the_stored_classes(world):
    store, path, estimator = world
    found, outcomes = show(store, path)
    with store.reading() as execute:
        rows = execute(
            "SELECT class_name, strategy, query_id, score, cost_usd FROM classes JOIN "
            "all_observations USING (workload, query_id) ORDER BY ALL", [],
        ).fetchall()  # fmt: skip
    scores, costs = defaultdict(lambda: defaultdict(list)), defaultdict(list)
    for name, strategy, query, score, cost in rows:
        scores[name, strategy][query].append(score)
        costs[name, strategy] += [] if cost is None else [cost]
    assert [one.name for one in found.classes] == list(estimator.class_names)
    assert outcomes.scores.shape == (240, 2)
    assert sum(one.queries for one in found.classes) == found.queries == found.read == 240
    for one in found.classes:
        assert one.share == one.queries / 240
        for cell in one.measured:
            by_query = scores[one.name, cell.strategy].values()
            assert cell.queries == len(by_query)
            assert cell.mean_score == pytest.approx(np.mean([np.mean(s) for s in by_query]))
        cheap, dear = one.measured
        assert cheap.mean_cost_usd == pytest.approx(np.mean(costs[one.name, cheap.strategy]))
        assert cheap.queries_with_cost == cheap.queries == one.queries
        assert (dear.mean_cost_usd, dear.queries_with_cost) == (None, 0)


def test_rows_without_dollars_are_priced_by_rates(tmp_path: Path):
    path = tmp_path / "difficulty.onnx"
    with Store.open(":memory:") as store:
        filled(store)
        fit(store, "w", classes=1).write(path)
        rate = Rate("other/single", usd_per_token_in=1.0, usd_per_token_out=10.0)
        new = Observation("w", "q000", "other/single", 0, score=1.0, tokens_in=5, tokens_out=2)
        store.add([new])
        (priced,) = show(store, path, rates=[rate])[0].classes
        (unpriced,) = show(store, path)[0].classes
    cells = {cell.strategy: cell for cell in priced.measured}
    assert cells["other/single"].mean_cost_usd == 25.0
    assert cells["other/single"].queries_with_cost == 1
    assert all(cell.mean_cost_usd is None for cell in unpriced.measured[1:])
    assert priced.marks == ()


def test_samples_are_of_their_class_on_one_line_and_the_same_every_time(world):
    store, path, _ = world
    found, _ = show(store, path, samples=4)
    assert show(store, path, samples=4)[0] == found
    other, _ = show(store, path, samples=4, seed=1)
    with store.reading() as execute:
        rows = dict(execute("SELECT query_id, class_name FROM classes", []).fetchall())
    for one, again in zip(found.classes, other.classes, strict=True):
        assert len(one.samples) == 4
        assert {rows[sample.query_id] for sample in one.samples} == {one.name}
        assert one.samples != again.samples
        for sample in one.samples:
            assert sample.text.isprintable()
            assert len(sample.text) <= 100
            assert r"\n\x1b[m" in sample.text


def test_what_makes_queries_hard_marks_the_hard_class_and_weighs_most(world):
    store, path, _ = world
    found, _ = show(store, path)
    assert "prove" in [mark.piece for mark in found.classes[-1].marks]
    assert {"add", NUMBER} <= {mark.piece for mark in found.classes[0].marks}
    assert not {mark.piece for one in found.classes for mark in one.marks} & set(WORDS)
    heaviest = {weight.piece: weight for weight in found.weights.heaviest}
    assert found.weights.heaviest[0].piece in {"prove", "add", NUMBER}
    assert heaviest["prove"].changes["cheap/single"] > 0.05
    assert heaviest["add"].changes["cheap/single"] < -0.05
    assert heaviest["prove"].most_moved == "cheap/single"


def test_a_weight_is_the_mean_change_of_what_the_graph_predicts(tmp_path: Path):
    with Store.open(":memory:") as store:
        filled(store)
        estimator = fit(store, "w", classes=2)
    prompts = [f"prove {word}" for word in WORDS[:12]]
    found = weights(estimator.content, estimator.strategies, prompts, None, ["prove", "bat"])
    assert found.pieces == 1  # "bat" is in too few prompts

    def mean(texts):
        scores = np.vstack([s for _, s in outputs(estimator.content, "predicted_scores", texts)])
        return scores.mean(axis=0)

    (weight,) = found.heaviest
    change = mean([text.removeprefix("prove ") for text in prompts]) - mean(prompts)
    assert weight.prompts == 12
    assert list(weight.changes.values()) == pytest.approx(change.tolist(), abs=2e-5)


def test_a_store_that_does_not_know_the_estimator_is_refused(world):
    store, path, _ = world
    with pytest.raises(InputError, match="does not know the estimator's classes"):
        show(store, path, "another")
    with Store.open(":memory:") as empty, pytest.raises(InputError, match="workload w"):
        show(empty, path)


@given(st.text(st.sampled_from("ab1 2é.\n_\t!ß²"), max_size=40))
def test_taking_a_piece_out_leaves_all_others(text):
    found = pieces(text)
    assert (LINE_BREAK in found) == ("\n" in text)
    for piece in found:
        assert pieces(without(text, piece)) == found - {piece}


@given(st.text(max_size=150))
def test_any_prompt_is_shown_on_one_printable_line(text):
    line = visible(text)
    assert line.isprintable()
    assert len(line) <= 100
    if text.isprintable() and len(text) <= 100:
        assert line == text


def test_log_odds_are_those_of_the_paper():
    inside, outside = np.array([6.0, 2.0, 2.0]), np.array([4.0, 8.0, 18.0])
    prior = np.array([10.0, 10.0, 20.0]) * 500 / 40
    a, b = inside + prior, outside + prior
    ratio = math.log(a[0] / (510 - a[0])) - math.log(b[0] / (530 - b[0]))
    expected = ratio / math.sqrt(1 / a[0] + 1 / b[0])
    assert log_odds_z(inside, outside)[0] == pytest.approx(expected)
    assert log_odds_z(inside, inside) == pytest.approx(np.zeros(3))


def test_classes_dealt_at_random_seldom_have_marks():
    rng = np.random.default_rng(5)
    words = np.array([f"word{index}" for index in range(80)])
    often = 1 / np.arange(1, 81)
    false = 0
    for _ in range(200):
        counts: dict[str, Counter[str]] = {"easy": Counter(), "hard": Counter()}
        for _ in range(150):
            counts["easy" if rng.random() < 0.3 else "hard"].update(
                words[rng.random(80) < often].tolist()
            )
        false += any(marks(counts).values())
    assert false / 200 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 200)


def test_one_class_has_no_marks():
    assert marks({"all": Counter({"a": 50, "b": 9})}) == {"all": ()}


def test_mistakes_are_priced_in_points_and_dollars():
    scores = np.array([[1.0, 1.0], [0.0, 1.0], [1.0, 1.0], [np.nan, 1.0]])
    costs = np.array([[1.0, 5.0]] * 4)
    found = wrong_classes(
        SHARES[:2], NAMES[:2], scores, costs, np.array([0, 0, 1, 1]), usd_per_score=10.0
    )
    assert (found.queries, found.left_out, found.wrong) == (3, 1, 2)
    up, down = found.mistakes
    assert (up.sorted_as, up.served_best_as, up.queries) == ("easy", "hard", 1)
    assert up.difference.score.mean == pytest.approx(1 / 3)
    assert up.difference.cost_usd.mean == pytest.approx(4 / 3)
    assert up.difference.worth_usd.mean == pytest.approx(2)
    assert (down.sorted_as, down.served_best_as, down.queries) == ("hard", "easy", 1)
    assert down.difference.worth_usd.mean == pytest.approx(4 / 3)
    assert found.hindsight.worth_usd.mean == pytest.approx(10 / 3)
    assert found.one_for_all["easy"].cost_usd.mean == pytest.approx(-4 / 3)


def test_without_a_price_of_accuracy_hindsight_goes_by_score():
    scores = np.array([[1.0, 1.0], [0.0, 1.0]])
    first = np.array([1, 0])
    costs = np.array([[1.0, 5.0]] * 2)
    found = wrong_classes(SHARES[:2], NAMES[:2], scores, costs, first, usd_per_score=None)
    assert [(m.sorted_as, m.queries) for m in found.mistakes] == [("easy", 1)]
    assert found.hindsight.worth_usd is None
    assert found.hindsight.cost_usd.mean == 2
    unpriced = wrong_classes(
        SHARES[:2], NAMES[:2], scores, costs * np.nan, first, usd_per_score=10.0
    )
    assert unpriced.usd_per_score is unpriced.hindsight.cost_usd is None
    assert unpriced.hindsight.score == found.hindsight.score


@given(
    arrays(np.float64, (9, 2), elements=st.sampled_from([0.0, 0.5, 1.0])),
    arrays(np.float64, (9, 2), elements=st.sampled_from([0.1, 0.2, 3.0])),
    arrays(np.intp, 9, elements=st.integers(0, 2)),
    st.sampled_from([0.0, 1.0, 7.0]),
)
def test_mistakes_add_up_and_no_class_for_all_beats_hindsight(scores, costs, first, price):
    found = wrong_classes(SHARES, NAMES, scores, costs, first, usd_per_score=price)
    best = found.hindsight.worth_usd.mean
    parts = [mistake.difference.worth_usd.mean for mistake in found.mistakes]
    assert sum(parts) == pytest.approx(best, abs=1e-9)
    assert all(part > 0 for part in parts)
    assert sum(mistake.queries for mistake in found.mistakes) == found.wrong
    for one in (found.at_random, *found.one_for_all.values()):
        assert one.worth_usd.mean <= best + 1e-9
        assert one.worth_usd.mean == pytest.approx(
            price * one.score.mean - one.cost_usd.mean, abs=1e-9
        )
    sizes = np.bincount(first, minlength=3) / 9
    mixed = sum(
        size * one.score.mean for size, one in zip(sizes, found.one_for_all.values(), strict=True)
    )
    assert found.at_random.score.mean == pytest.approx(mixed, abs=1e-9)


def test_luck_flatters_hindsight_and_not_classes_at_random():
    rng = np.random.default_rng(2)
    scores = (rng.random((4000, 2)) < 0.6).astype(np.float64)
    first = rng.integers(0, 2, 4000)
    found = wrong_classes(
        SHARES[:2], NAMES[:2], scores, np.ones((4000, 2)), first, usd_per_score=1.0
    )
    assert found.hindsight.score.mean > 20 * found.hindsight.score.standard_error
    assert abs(found.at_random.score.mean) < 3 * found.at_random.score.standard_error


def test_a_plan_that_serves_all_alike_has_no_wrong_class():
    found = wrong_classes(
        SHARES[[1, 1]], NAMES[:2], np.eye(2), np.eye(2), np.array([0, 1]), usd_per_score=1.0
    )
    assert found.same_for_all
    assert (found.wrong, found.mistakes) == (0, ())

"""Fitting an estimator: what it finds, what it never looks at, and what it refuses."""

import hashlib
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from fit_worlds import WORDS, says_or_proves, store_of, stored_classes, take
from small_worlds import WORKLOAD, observation, sums

from profiles.difficulty.fit import fit
from profiles.difficulty.graph import read_facts
from profiles.difficulty.nodes import Graph
from profiles.difficulty.running import outputs
from profiles.difficulty.sorting.classes import SMALLEST_SHARE
from profiles.difficulty.sorting.kmeans import nearest, prototypes
from profiles.errors import InputError
from profiles.importing.importers import import_file
from profiles.query import Query
from profiles.store.store import Store


@pytest.fixture(scope="module")
def fitted():
    with store_of(*sums(240)) as store:
        estimator = fit(store, WORKLOAD, classes=2)
        profile = store.profile(
            WORKLOAD, estimator_digest=estimator.digest, class_names=estimator.class_names
        )
    return estimator, profile


def served(content, texts, labels=None):
    """Class indices of texts by the graph itself."""
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    feeds = {"text": np.array(texts, dtype=object)}
    if labels is not None:
        feeds["label"] = np.array(labels, dtype=object)
    return session.run(["class_index"], feeds)[0].tolist()


def fit_world(world, **arguments):
    """The estimator, and the stored class of every query."""
    with store_of(*world) as store:
        estimator = fit(store, WORKLOAD, **arguments)
        return estimator, stored_classes(store, estimator.digest)


def counts(report):
    return {facts.name: facts.queries for facts in report.classes}


def check_promises(estimator, stored):
    """What holds of any fit: every class is told as it is stored, and none is too small."""
    report = estimator.report
    names = estimator.class_names
    assert [facts.name for facts in report.classes] == list(names)
    assert len(set(names)) == len(names)
    assert counts(report) == {name: list(stored.values()).count(name) for name in names}
    assert len(stored) == report.queries
    for facts in report.classes:
        assert facts.queries >= SMALLEST_SHARE * report.queries
        assert all(mean is None or 0 <= mean <= 1 for mean in facts.mean_scores.values())
    onnx.checker.check_model(onnx.load_from_string(estimator.content))


def test_digits_of_a_sum_are_learned_and_sort_it(fitted):
    estimator, profile = fitted
    assert estimator.class_names == ("easy", "hard")
    assert all(quality.auc > 0.85 for quality in estimator.report.strategies)
    easy, hard = (profile.cell(name, "small/single").accuracy for name in profile.classes)
    assert easy > hard + 0.6
    assert served(estimator.content, ["5+3=", "774512+918273="]) == [0, 1]


def test_the_report_is_about_the_classes_that_the_profile_uses(fitted):
    estimator, profile = fitted
    for facts, weight in zip(estimator.report.classes, profile.weights, strict=True):
        assert facts.share == pytest.approx(weight)
        for strategy, mean in facts.mean_scores.items():
            assert mean == pytest.approx(profile.cell(facts.name, strategy).accuracy)
    assert estimator.report.to_json()["queries"] == 240


def test_random_outcomes_give_no_lift():
    rng = random.Random(4)
    queries, _ = sums(300, seed=4)
    coins = [observation(q.query_id, score=float(rng.random() < 0.5)) for q in queries]
    report = fit_world((queries, coins), classes=2)[0].report
    assert report.strategies[0].r2 < 0.05
    assert abs(report.strategies[0].auc - 0.5) < 0.12


def test_copies_of_a_prompt_are_never_learned_from_one_another_and_get_one_class():
    rng = random.Random(5)
    queries, coins = [], []
    for index in range(150):
        text = "".join(rng.choices("abcdefghij", k=12))
        score = float(rng.random() < 0.5)
        for copy, spelled in enumerate((text, f"  {text}\n".replace("\n", "\t"))):
            queries.append(Query(f"{index}-{copy}", spelled))
            coins.append(observation(f"{index}-{copy}", score=score))
    estimator, stored = fit_world((queries, coins), classes=2)
    assert estimator.report.strategies[0].r2 < 0.05
    same = [stored[f"{index}-0"] == stored[f"{index}-1"] for index in range(150)]
    assert np.mean(same) > 0.95  # a blank more can be a character more


def test_near_copies_are_never_learned_from_one_another():
    rng = random.Random(6)
    queries, coins = [], []
    for index in range(80):
        words = ["".join(rng.choices("abcdefghij", k=6)) for _ in range(20)]
        score = float(rng.random() < 0.5)
        for copy in range(3):
            queries.append(Query(f"{index}-{copy}", " ".join([*words, str(copy)])))
            coins.append(observation(f"{index}-{copy}", score=score))
    report = fit_world((queries, coins), classes=1)[0].report
    assert report.strategies[0].r2 < 0.05


def test_what_a_query_scored_does_not_sort_it():
    queries, observations = says_or_proves(120)
    _, before = fit_world((queries, observations), classes=2)
    for query in ("q0003", "q0050", "q0077"):
        other = [
            observation(o.query_id, o.strategy, score=1 - o.score, cost_usd=o.cost_usd * 9)
            if o.query_id == query
            else o
            for o in observations
        ]
        _, after = fit_world((queries, other), classes=2)
        assert after[query] == before[query]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["prototypes", "upgrade by quantiles", "price rule"])
def test_luck_gathers_in_no_class_however_queries_are_sorted(kind):
    """Luck, score less chance, has mean 0 in every class where classes do not depend on it."""
    luck = []
    for seed in range(16):
        queries, observations = says_or_proves(200, seed=seed)
        _, stored = fit_world((queries, observations), judge=take(kind, 2))
        chance = {q.query_id: 0.3 if q.prompt.startswith("prove") else 0.95 for q in queries}
        scores = {o.query_id: o.score for o in observations if o.strategy == "m0/single"}
        sums_of = {name: [] for name in sorted(set(stored.values()))}
        for query, name in stored.items():
            sums_of[name].append(scores[query] - chance[query])
        luck.append([np.mean(found) for found in sums_of.values()])
    error = np.std(luck, axis=0, ddof=1) / np.sqrt(len(luck))
    assert (np.abs(np.mean(luck, axis=0)) < 3 * error).all()


@pytest.mark.parametrize(
    "kind", ["prototypes", "difficulty by quantiles", "upgrade by quantiles", "price rule"]
)
@pytest.mark.parametrize("by_label", [False, True])
def test_whatever_sorting_a_judge_takes_is_stored_reported_and_served(kind, by_label):
    """Texts tell of either strategy, else the upgrade between them is but the first one's score."""
    rng = random.Random(7)

    def prompt(index):
        about = ("say", "prove")[index // 2 % 2], ("this", "that")[index // 4 % 2]
        return " ".join([*about, *rng.choices(WORDS, k=9), str(rng.randrange(10**6))])

    def score(index, place):
        chance = (0.3, 0.5)[place] if (index // 2, index // 4)[place] % 2 else 0.95
        return float(rng.random() < chance)

    queries, observations = says_or_proves(
        240, prompt=prompt, score=score, label=lambda q: ("law/tax", "art")[q % 2]
    )
    estimator, stored = fit_world((queries, observations), judge=take(kind, 4), by_label=by_label)
    check_promises(estimator, stored)
    assert estimator.report.sorting == kind
    assert estimator.report.reason == "told to"
    assert len(estimator.class_names) > 1
    labels = [query.class_label for query in queries] if by_label else None
    if by_label:
        heads = {name.rsplit("/", 1)[0] for name in estimator.class_names}
        assert heads == {"art", '"law/tax"'}
    by_graph = served(estimator.content, [query.prompt for query in queries], labels)
    by_fold = [estimator.class_names.index(stored[query.query_id]) for query in queries]
    for index in (np.array(by_graph), np.array(by_fold)):
        proves = np.array([query.prompt.startswith("prove") for query in queries])
        assert proves[index == 0].mean() < 0.5 < proves[index == index.max()].mean()


def test_unfamiliar_queries_are_in_the_last_class_and_leave_no_class_empty():
    """Prompts of blanks would be a class of their own, but nothing in them can be known."""

    def prompt(index):
        if index % 5 == 0:
            return " " * (index % 7)
        words = ("good fine", "bad worse")[index % 2]
        return f"{words} {WORDS[index % 14]} {WORDS[index // 15]} {index}"

    world = says_or_proves(
        200, prompt=prompt, score=lambda index, _place: float(index % 5 == 0 or index % 2)
    )
    for arguments in ({"classes": 3}, {"judge": take("prototypes", 3)}):
        estimator, stored = fit_world(world, **arguments)
        check_promises(estimator, stored)
        blank = {stored[f"q{index:04}"] for index in range(0, 200, 5)}
        assert blank == {estimator.class_names[-1]}
        assert estimator.report.unfamiliar.alarms >= 40
        assert served(estimator.content, [""]) == [len(estimator.class_names) - 1]


def test_a_strategy_that_some_queries_lack_is_learned_from_the_others():
    queries, observations = sums(160, seed=3)
    kept = [o for o in observations if o.strategy == "small/single" or o.query_id < "q0080"]
    world = [*queries, Query("bare")], [*kept, observation("bare", "small/single")]
    report = fit_world(world, classes=2)[0].report
    assert [quality.queries for quality in report.strategies] == [80, 160]
    assert "1 scored queries have no prompt and were left out" in report.remarks


def test_classes_without_enough_queries_are_given_up_and_said():
    queries, _ = sums(100, seed=6)
    estimator, _ = fit_world((queries, [observation(q.query_id) for q in queries]), classes=3)
    assert estimator.class_names == ("all",)
    assert estimator.report.remarks[0].startswith("1 of 3 classes")
    assert estimator.report.strategies[0].auc is None
    assert estimator.report.sets is None


def free(_query, place):
    return 0.0 if place == 0 else 0.01


def unknown(_query, place):
    return None if place == 0 else 0.01


def rarely(index, place):
    step = 2 + 3 * place
    return float(index % 2) if index % step == 0 else None


@pytest.mark.parametrize(
    ("world", "arguments"),
    [
        (says_or_proves(60, strategies=1), {"classes": 3}),
        (says_or_proves(60, strategies=1), {"judge": take("prototypes")}),
        (says_or_proves(60, score=lambda _q, _s: 0.5), {"classes": 4}),
        (says_or_proves(60, score=lambda _q, _s: 0.0), {"judge": take("prototypes")}),
        (says_or_proves(200, strategies=4, score=rarely), {"classes": 3}),
        (says_or_proves(60, score=lambda q, s: (7 * q + s) % 11 / 10), {"classes": 2}),
        (says_or_proves(10), {"classes": 1}),
        (says_or_proves(11), {"judge": take("prototypes")}),
        (says_or_proves(30), {"classes": 3}),
        (says_or_proves(60), {"classes": 1}),
        (says_or_proves(60, cost=free), {"judge": take("price rule")}),
        (says_or_proves(60, cost=lambda _q, _s: 0.0), {"judge": take("prototypes")}),
        (says_or_proves(60, cost=unknown), {"judge": take("difficulty by quantiles")}),
        (says_or_proves(60, cost=lambda _q, s: (1e-12, 1e4)[s]), {"judge": take("prototypes")}),
        (says_or_proves(60, cost=lambda q, _s: 1e3 if q == 7 else 1e-5), {"classes": 2}),
        (says_or_proves(60, label=lambda q: f"label {q % 2}"), {"classes": 2, "by_label": True}),
        (says_or_proves(60, label=lambda _q: "one"), {"classes": 2, "by_label": True}),
        (says_or_proves(60), {"classes": 2, "folds": 3}),
        (says_or_proves(60), {"classes": 2, "folds": 12}),
        (says_or_proves(60), {}),
        (says_or_proves(60), {"judge": take("prototypes"), "weights": ("words", "words+surface")}),
    ],
    ids=[
        "one strategy",
        "one strategy, judged",
        "all scores equal",
        "nothing solved",
        "most scores missing",
        "scores between 0 and 1",
        "ten queries",
        "eleven queries, judged",
        "thirty queries",
        "one class",
        "one strategy free",
        "all free",
        "costs of one unknown",
        "far apart in costs",
        "one dear request",
        "labels",
        "one label",
        "three folds",
        "twelve folds",
        "nothing asked",
        "two readings",
    ],
)
def test_unusual_worlds_are_fitted_too(world, arguments):
    check_promises(*fit_world(world, **arguments))


@pytest.mark.parametrize(
    ("world", "arguments", "message"),
    [
        (says_or_proves(30), {"classes": 0}, "at least 1 class and 3 folds"),
        (says_or_proves(30), {"classes": 1, "folds": 2}, "at least 1 class and 3 folds"),
        (says_or_proves(30), {"classes": 9}, "too few different prompts"),
        (
            says_or_proves(60),
            {"classes": 8},
            "at least 80 queries, and prompts for 5 folds; got 60",
        ),
        (says_or_proves(0), {}, "too few different prompts"),
        (says_or_proves(9), {"classes": 1}, "at least 10 queries, and prompts for 5 folds; got 9"),
        (says_or_proves(60, prompt=lambda _q: "same"), {"classes": 1}, "too few different"),
        (says_or_proves(60, prompt=lambda q: " " * (q % 5)), {"classes": 1}, "too few different"),
        (says_or_proves(60), {"classes": 2, "weights": ("letters",)}, "no such reading"),
        (says_or_proves(60), {"classes": 2, "weights": ()}, "no such reading"),
        (says_or_proves(60), {"classes": 2, "by_label": True}, "60 of 60 queries have no label"),
        (
            says_or_proves(60, label=lambda q: "some" if q % 2 else None),
            {"classes": 2, "by_label": True},
            "30 of 60 queries have no label",
        ),
    ],
)
def test_what_cannot_be_fitted_is_explained(world, arguments, message):
    with pytest.raises(InputError, match=message):
        fit_world(world, **arguments)


def test_a_strategy_measured_once_cannot_be_learned():
    queries, observations = sums(60)
    world = queries, [*observations, observation("q0000", "rare/single")]
    with pytest.raises(InputError, match="too few queries with prompts; got 1"):
        fit_world(world, classes=1)


def test_an_estimators_file_says_what_it_is(fitted, tmp_path):
    estimator, _ = fitted
    path = tmp_path / "difficulty.onnx"
    estimator.write(path)
    facts = read_facts(path)
    assert (facts.digest, facts.class_names) == (estimator.digest, ("easy", "hard"))
    assert (facts.strategies, facts.workload) == (("large/single", "small/single"), WORKLOAD)
    onnx.checker.check_model(onnx.load(path))


@pytest.mark.parametrize(
    "content", [b"not onnx at all", b"", Graph().model({}, {}).SerializeToString()]
)
def test_other_files_are_no_estimators(tmp_path, content):
    (tmp_path / "x.onnx").write_bytes(content)
    with pytest.raises(InputError, match="difficulty estimator"):
        read_facts(tmp_path / "x.onnx")


def test_an_estimator_that_cannot_be_written_says_where(fitted, tmp_path):
    with pytest.raises(InputError, match=r"none/d.onnx: cannot write the difficulty estimator"):
        fitted[0].write(tmp_path / "none" / "d.onnx")


def test_small_groups_join_their_neighbours():
    points = np.array([[0.0]] * 50 + [[1.0]] * 48 + [[0.9]] * 2)
    centres = prototypes(points, 3, smallest_share=0.05, seed=0)
    assert sorted(np.bincount(nearest(points, centres)).tolist()) == [50, 50]


def test_groups_do_not_depend_on_the_last_bits_of_the_points():
    points = np.random.default_rng(3).random((200, 3)).round(5)
    noisy = points + np.random.default_rng(4).uniform(-1e-9, 1e-9, points.shape)
    centres = prototypes(points, 4, smallest_share=0.05, seed=1)
    np.testing.assert_array_equal(prototypes(noisy, 4, smallest_share=0.05, seed=1), centres)
    np.testing.assert_array_equal(nearest(noisy, centres), nearest(points, centres))


@pytest.mark.data
def test_measured_prompts_are_sorted_better_than_by_chance(data_dir, tmp_path):
    folder = data_dir / "paretobandit"
    with Store.open(tmp_path / "store.duckdb") as store:
        import_file(
            store, folder / "outcomes.csv", workload="mixed", prompts=folder / "queries.csv"
        )
        estimator = fit(store, "mixed", classes=3)
        profile = store.profile(
            "mixed", estimator_digest=estimator.digest, class_names=estimator.class_names
        )
    assert profile.queries == 1785
    assert all(quality.r2 > 0.1 for quality in estimator.report.strategies)
    llama = [profile.cell(c, "meta-llama/llama-3.1-8b-instruct/single") for c in profile.classes]
    assert llama[0].accuracy - llama[-1].accuracy > 0.15


@pytest.mark.parametrize(
    "arguments", [{"classes": 3}, {"judge": take("price rule", 3)}], ids=["classes", "judged"]
)
def test_the_same_content_and_seed_give_the_same_bytes_in_any_order_of_rows(arguments):
    queries, observations = says_or_proves(120, seed=2)
    first, stored = fit_world((queries, observations), seed=7, **arguments)
    second, again = fit_world((queries[::-1], observations[::-1]), seed=7, **arguments)
    assert hashlib.sha256(first.content).digest() == hashlib.sha256(second.content).digest()
    assert stored == again
    assert first.report == second.report


FITTED = """
import sys
from fit_worlds import says_or_proves, store_of, take
from small_worlds import WORKLOAD, sums
from profiles.difficulty.fit import fit
for world, arguments in (
    (sums(400, seed=8), {"classes": 3}),
    (says_or_proves(200, seed=8), {"judge": take("price rule")}),
):
    with store_of(*world) as store:
        print(fit(store, WORKLOAD, **arguments).digest)
"""


def test_the_number_of_threads_does_not_show_in_the_bytes():
    def digests(threads):
        number = {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
        path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
        return subprocess.run(
            [sys.executable, "-c", FITTED],
            env={**os.environ, **number, "PYTHONPATH": path},
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    assert digests("1") == digests("2") != ""


def test_a_graph_reads_prompts_of_a_store_as_it_reads_those_of_a_request(fitted):
    """Half of a surrogate pair in a request counts as a question mark."""
    content = fitted[0].content
    for text in ("12+\ud800=", "\udfff"):
        ((_, found),) = outputs(content, "class_index", [text])
        assert found.tolist() == served(content, [text.encode(errors="replace").decode()])

import hashlib
import itertools
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from scipy.sparse import csr_array
from small_worlds import WORKLOAD, observation, sums

from profiles.difficulty.fit import class_names, features, fit
from profiles.difficulty.graph import read_facts
from profiles.difficulty.kmeans import nearest, prototypes
from profiles.difficulty.ridge import solve
from profiles.difficulty.text_features import (
    FEATURES,
    STEP_SCALE,
    STEPS,
    SURFACE,
    WIDTH,
    feature_model,
)
from profiles.errors import InputError
from profiles.importing.importers import import_file
from profiles.query import Query
from profiles.store.store import Store

AWKWARD = [
    "",
    " ",
    "\n\n",
    "347+985=",
    "subset 3 17 25 -> 42",
    "é 😀 日本語\x00\x01\u200d",
    "a" * 9999,
]


def world(queries, observations):
    store = Store.open(":memory:")
    store.add(observations)
    store.add_queries(WORKLOAD, queries)
    return store


@pytest.fixture(scope="module")
def fitted():
    with world(*sums(240)) as store:
        estimator = fit(store, WORKLOAD, classes=2)
        profile = store.profile(
            WORKLOAD, estimator_digest=estimator.digest, class_names=estimator.class_names
        )
    return estimator, profile


def session(content):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # idle threads would spin beside the trainer's
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def run(content, texts):
    return session(content).run(
        ["class_index", "predicted_scores"], {"text": np.array(texts, dtype=object)}
    )


def murmur3(text):
    """MurmurHash3 x86 32 with seed 0 (Appleby, public domain), by the book."""
    data, mask = text.encode(), 0xFFFFFFFF
    value, end = 0, len(data) // 4 * 4
    for at in range(0, end, 4):
        word = int.from_bytes(data[at : at + 4], "little") * 0xCC9E2D51 & mask
        word = (word << 15 | word >> 17) & mask
        value ^= word * 0x1B873593 & mask
        value = (value << 13 | value >> 19) & mask
        value = (value * 5 + 0xE6546B64) & mask
    if data[end:]:
        word = int.from_bytes(data[end:], "little") * 0xCC9E2D51 & mask
        word = (word << 15 | word >> 17) & mask
        value ^= word * 0x1B873593 & mask
    value ^= len(data)
    value = (value ^ value >> 16) * 0x85EBCA6B & mask
    value = (value ^ value >> 13) * 0xC2B2AE35 & mask
    return value ^ value >> 16


def naive_features(text):
    """The features of an ASCII text, written down a second time."""
    tokens = re.findall(r"[A-Za-z]+|\n|[^\sA-Za-z]", text)
    hashes = [1 if token.isdigit() else murmur3(token) for token in tokens]
    ids = hashes + [a * 1_000_003 + b for a, b in itertools.pairwise(hashes)]
    counts = np.bincount([i % WIDTH for i in ids], minlength=WIDTH)
    marks = "!\"#$&'(),.:;?@[\\]_`{|}~"
    surface = [
        len(re.findall(r"[A-Za-z]+", text)),
        len(re.findall(r"[0-9]", text)),
        text.count("\n"),
        len(re.findall(r"[-+*/=<>^%]", text)),
        sum(text.count(mark) for mark in marks),
        len(re.findall(r"[0-9]+", text)),
        -(-len(text) // 8),
    ]
    passed = [[count > step for step in STEPS] for count in surface]
    return np.concatenate(
        [
            np.sqrt(counts / max(1, counts.sum())),
            np.array(passed, dtype=float).ravel() * STEP_SCALE,
        ]
    )


@pytest.mark.parametrize(
    "text", ["", "347+985=", "subset 3 17 25 -> 42", "The cat, the (big) cat.\nIt's 7:30!"]
)
def test_the_graph_computes_the_features_that_its_docstring_describes(text):
    found = features([text]).toarray()[0]
    np.testing.assert_allclose(found, naive_features(text), atol=1e-6)


def test_surface_counts_tell_short_sums_from_long_ones():
    counts = (features(["34+98=", "347+985="]).toarray()[:, WIDTH:] > 0).reshape(
        2, len(SURFACE), -1
    )
    assert counts.sum(axis=2)[:, SURFACE.index("digits")].tolist() == [4, 6]


def test_any_text_is_accepted_and_a_batch_predicts_what_single_texts_do(fitted):
    estimator, _ = fitted
    classes, scores = run(estimator.content, AWKWARD)
    assert np.isfinite(scores).all()
    for index, text in enumerate(AWKWARD):
        alone_class, alone_scores = run(estimator.content, [text])
        np.testing.assert_allclose(alone_scores[0], scores[index], atol=1e-6)
        assert alone_class[0] == classes[index]


def test_a_megabyte_of_text_is_accepted(fitted):
    classes, _ = run(fitted[0].content, ["word 12\n" * 131_072])
    assert classes.shape == (1,)


def test_the_graph_equals_a_second_implementation_of_its_head(fitted):
    estimator, _ = fitted
    held = {
        t.name: onnx.numpy_helper.to_array(t)
        for t in onnx.load_from_string(estimator.content).graph.initializer
    }
    (weights,) = (a for a in held.values() if a.shape == (FEATURES, 2))
    nodes = {n.op_type: n for n in onnx.load_from_string(estimator.content).graph.node[-7:]}
    bias = held[next(n for n in nodes["Add"].input if n in held)]
    centres = held[next(n for n in nodes["MatMul"].input if n in held)].T / 2
    texts = ["1+1=", "123456+654321=", "what is this?"]
    classes, scores = run(estimator.content, texts)
    expected = (np.array([naive_features(text) for text in texts]) @ weights + bias).clip(0, 1)
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    distance = ((expected[:, None, :] - centres[None]) ** 2).sum(axis=2)
    assert classes.tolist() == distance.argmin(axis=1).tolist()


def test_digits_of_a_sum_are_learned_and_sort_it(fitted):
    estimator, profile = fitted
    assert estimator.class_names == ("easy", "hard")
    assert all(quality.auc > 0.85 for quality in estimator.report.strategies)
    easy, hard = (profile.cell(name, "small/single").accuracy for name in profile.classes)
    assert easy > hard + 0.6
    classes, _ = run(estimator.content, ["5+3=", "774512+918273="])
    assert classes.tolist() == [0, 1]


def test_the_report_is_about_the_classes_that_the_profile_uses(fitted):
    estimator, profile = fitted
    for facts, weight in zip(estimator.report.classes, profile.weights, strict=True):
        assert facts.share == pytest.approx(weight)
        for strategy, mean in facts.mean_scores.items():
            assert mean == pytest.approx(profile.cell(facts.name, strategy).accuracy)
    assert estimator.report.to_json()["queries"] == 240


def test_random_labels_give_no_lift():
    rng = random.Random(4)
    queries, _ = sums(300, seed=4)
    coins = [observation(q.query_id, score=float(rng.random() < 0.5)) for q in queries]
    with world(queries, coins) as store:
        report = fit(store, WORKLOAD, classes=2).report
    assert report.strategies[0].r2 < 0.05
    assert abs(report.strategies[0].auc - 0.5) < 0.12


def test_copies_of_a_prompt_are_never_learned_from_one_another():
    rng = random.Random(5)
    queries, coins = [], []
    for index in range(150):
        text = "".join(rng.choices("abcdefghij", k=12))
        score = float(rng.random() < 0.5)
        for copy, spelled in enumerate((text, f" {text.upper()} ")):
            queries.append(Query(f"{index}-{copy}", spelled))
            coins.append(observation(f"{index}-{copy}", score=score))
    with world(queries, coins) as store:
        report = fit(store, WORKLOAD, classes=1).report
    assert report.strategies[0].r2 < 0.05


def test_the_same_content_and_seed_give_the_same_bytes():
    queries, observations = sums(120, seed=2)
    with world(queries, observations) as one, world(queries[::-1], observations[::-1]) as other:
        first = fit(one, WORKLOAD, classes=3, seed=7)
        second = fit(other, WORKLOAD, classes=3, seed=7)
    assert hashlib.sha256(first.content).digest() == hashlib.sha256(second.content).digest()


def test_a_strategy_that_some_queries_lack_is_learned_from_the_others():
    queries, observations = sums(160, seed=3)
    kept = [o for o in observations if o.strategy == "small/single" or o.query_id < "q0080"]
    with world([*queries, Query("bare")], [*kept, observation("bare", "small/single")]) as store:
        report = fit(store, WORKLOAD, classes=2).report
    assert [quality.queries for quality in report.strategies] == [80, 160]
    assert report.remarks == ("1 scored queries have no prompt and were left out",)


def test_classes_without_enough_queries_are_given_up_and_said():
    queries, _ = sums(100, seed=6)
    with world(queries, [observation(q.query_id) for q in queries]) as store:
        estimator = fit(store, WORKLOAD, classes=3)
    assert estimator.class_names == ("all",)
    assert estimator.report.remarks[0].startswith("1 of 3 classes")
    assert estimator.report.strategies[0].auc is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"classes": 0}, "at least 1 class and 2 folds"),
        ({"classes": 1, "folds": 1}, "at least 1 class and 2 folds"),
        ({"classes": 9}, "too few different prompts"),
    ],
)
def test_what_cannot_be_fitted_is_explained(arguments, message):
    with world(*sums(30)) as store, pytest.raises(InputError, match=message):
        fit(store, WORKLOAD, **arguments)


def test_a_strategy_measured_once_cannot_be_learned():
    queries, observations = sums(60)
    store = world(queries, [*observations, observation("q0000", "rare/single")])
    with store, pytest.raises(InputError, match="too few queries with prompts; got 1"):
        fit(store, WORKLOAD, classes=1)


def test_an_estimators_file_says_what_it_is(fitted, tmp_path):
    estimator, _ = fitted
    path = tmp_path / "difficulty.onnx"
    estimator.write(path)
    facts = read_facts(path)
    assert (facts.digest, facts.class_names) == (estimator.digest, ("easy", "hard"))
    assert (facts.strategies, facts.workload) == (("large/single", "small/single"), WORKLOAD)
    onnx.checker.check_model(onnx.load(path))


@pytest.mark.parametrize("content", [b"not onnx at all", b"", feature_model().SerializeToString()])
def test_other_files_are_no_estimators(tmp_path, content):
    (tmp_path / "x.onnx").write_bytes(content)
    with pytest.raises(InputError, match="difficulty estimator"):
        read_facts(tmp_path / "x.onnx")


def test_class_names_are_words_up_to_five():
    assert class_names(4) == ("easy", "medium", "hard", "hardest")
    assert class_names(6)[-1] == "level-6"


def test_primal_and_dual_ridge_agree():
    rng = np.random.default_rng(0)
    wide, targets = rng.normal(size=(20, 20)), rng.normal(size=(20, 2))
    (dual,) = solve(csr_array(wide), targets, [0.7])
    (primal,) = solve(csr_array(np.vstack([wide, wide])), np.vstack([targets, targets]), [1.4])
    np.testing.assert_allclose(dual.weights, primal.weights, atol=1e-9)
    np.testing.assert_allclose(dual.bias, primal.bias, atol=1e-9)


def test_small_groups_join_their_neighbours():
    points = np.array([[0.0]] * 50 + [[1.0]] * 48 + [[0.9]] * 2)
    centres = prototypes(points, 3, smallest_share=0.05, seed=0)
    assert sorted(np.bincount(nearest(points, centres)).tolist()) == [50, 50]


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


FITTED = """
from small_worlds import WORKLOAD, sums
from profiles.difficulty.fit import fit
from profiles.store.store import Store
with Store.open(":memory:") as store:
    queries, observations = sums(400, seed=8)
    store.add(observations)
    store.add_queries(WORKLOAD, queries)
    print(fit(store, WORKLOAD, classes=3).digest)
"""


def test_the_number_of_threads_does_not_show_in_the_bytes():
    def digest(threads):
        number = {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
        path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
        return subprocess.run(
            [sys.executable, "-c", FITTED],
            env={**os.environ, **number, "PYTHONPATH": path},
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    assert digest("1") == digest("2") != ""


def test_groups_do_not_depend_on_the_last_bits_of_the_points():
    points = np.random.default_rng(3).random((200, 3)).round(5)
    noisy = points + np.random.default_rng(4).uniform(-1e-9, 1e-9, points.shape)
    centres = prototypes(points, 4, smallest_share=0.05, seed=1)
    np.testing.assert_array_equal(prototypes(noisy, 4, smallest_share=0.05, seed=1), centres)
    np.testing.assert_array_equal(nearest(noisy, centres), nearest(points, centres))


def test_an_estimator_that_cannot_be_written_says_where(fitted, tmp_path):
    with pytest.raises(InputError, match=r"none/d.onnx: cannot write the difficulty estimator"):
        fitted[0].write(tmp_path / "none" / "d.onnx")

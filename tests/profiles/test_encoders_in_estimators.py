"""Estimators that read a sentence encoder's vectors: what they gain, what they ask, who may ask."""

import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from fit_worlds import says_or_proves, store_of, stored_classes, take
from hypothesis import given, settings
from hypothesis import strategies as st
from small_worlds import WORKLOAD
from tiny_encoders import WIDTH, folder_of, static, subwords

from profiles.difficulty.classify import classify, predicted
from profiles.difficulty.fit import WEIGHT, fit
from profiles.difficulty.folds import folds
from profiles.difficulty.graph import read_facts
from profiles.difficulty.lessons import read_lessons
from profiles.difficulty.predicting.predictor import ENCODED, WEIGHTS, train
from profiles.difficulty.reading.encoder import Encoder
from profiles.difficulty.reading.vectors import open_asked_for, read_vectors
from profiles.difficulty.running import outputs
from profiles.difficulty.showing.marks import pieces, weights, without
from profiles.difficulty.showing.show import show
from profiles.errors import InputError

(ENCODER,) = ENCODED
EASY, HARD = "aeiou", "bcdfg"
AWKWARD = ["", " ", "\n\n", "é 😀 日本語\x00\u200d", "السلام नमस्ते", "\ud800", "a" * 99_999]


def prompt_of(number):
    """Words that nobody else has, out of letters that say how hard it is: even ones are easy."""
    rng = random.Random(number)
    letters = HARD if number % 2 else EASY
    return " ".join("".join(rng.choices(letters, k=6)) for _ in range(6))


def letters_tell(count, **more):
    rng = random.Random(count)
    return says_or_proves(
        count,
        prompt=prompt_of,
        score=lambda q, place: float(rng.random() < (0.95 if place or q % 2 == 0 else 0.2)),
        **more,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return folder_of(tmp_path_factory.mktemp("encoders") / "encoder", static(), subwords())


@pytest.fixture(scope="module")
def encoder(folder):
    return Encoder.open(folder)


@pytest.fixture(scope="module")
def world(tmp_path_factory, encoder):
    """A store, its estimator that reads vectors, and where it lies."""
    path = tmp_path_factory.mktemp("estimators") / "difficulty.onnx"
    with store_of(*letters_tell(240)) as store:
        estimator = fit(store, WORKLOAD, classes=2, weights=(ENCODER,), encoder=encoder)
        estimator.write(path)
        yield store, estimator, path


def lessons_of(world, vectors=None):
    with store_of(*world) as store:
        return replace(read_lessons(store, WORKLOAD), vectors=vectors)


def r2(lessons, weight):
    fold_of = folds(lessons.prompts, 5, 0).fold_of
    found = train(lessons, fold_of, weight).predictions.scores
    error = ((found - lessons.scores) ** 2).sum()
    return 1 - error / ((lessons.scores - lessons.scores.mean(axis=0)) ** 2).sum()


def test_what_only_vectors_tell_is_learned(world, encoder):
    store, estimator, _ = world
    lessons = read_lessons(store, WORKLOAD)
    lessons = replace(lessons, vectors=read_vectors(encoder, lessons.prompts))
    assert r2(lessons, ENCODER) > r2(lessons, WEIGHT) + 0.2
    assert [one.r2 for one in estimator.report.strategies if one.strategy == "m0/single"] > [0.4]
    by_class = stored_classes(store, estimator.digest)
    right = [(name == "hard") == int(query[1:]) % 2 for query, name in by_class.items()]
    assert np.mean(right) > 0.9


def test_vectors_of_noise_do_not_hurt():
    worse = []
    for seed in range(10):
        noise = np.random.default_rng(seed).normal(size=(200, 64)).astype(np.float32)
        noise /= np.linalg.norm(noise, axis=1, keepdims=True)
        lessons = lessons_of(says_or_proves(200, seed=seed), noise)
        worse.append(r2(lessons, WEIGHT) - r2(lessons, ENCODER))
    assert np.mean(worse) < 0.005 + 2 * np.std(worse, ddof=1) / 10**0.5
    assert max(worse) < 0.05


def test_vectors_add_nothing_to_readings_of_the_text_alone(encoder):
    lessons = lessons_of(says_or_proves(80))
    with_vectors = replace(lessons, vectors=read_vectors(encoder, lessons.prompts))
    fold_of = folds(lessons.prompts, 5, 0).fold_of
    for weight in WEIGHTS:
        plain, other = (train(one, fold_of, weight) for one in (lessons, with_vectors))
        np.testing.assert_array_equal(plain.predictions.scores, other.predictions.scores)
        assert other.predictor.width == 0


def test_the_file_pins_the_encoder_and_the_report_names_it(world, encoder):
    _, estimator, path = world
    assert read_facts(path).encoder == encoder.facts
    said = estimator.report.to_json()
    assert said["weight"] == ENCODER
    assert said["encoder"] == {
        "digest": encoder.digest,
        "width": WIDTH,
        "provider": encoder.provider,
    }
    model = onnx.load(path)
    onnx.checker.check_model(model)
    assert [value.name for value in model.graph.input] == ["text", "embedding"]


@settings(deadline=None, max_examples=25)
@given(texts=st.lists(st.one_of(st.text(max_size=60), st.sampled_from(AWKWARD)), min_size=1))
def test_what_is_served_is_what_was_learned_on_any_text_as_the_encoder_reads_it(
    some_predictor, encoder, texts
):
    texts = [text.encode(errors="replace").decode() for text in texts]
    vectors = read_vectors(encoder, texts)
    found = some_predictor.predict(texts, vectors)
    expected = some_predictor.predict_rows(some_predictor.linear.reading.rows(texts), vectors)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-6)
    np.testing.assert_allclose(found.costs, expected.costs, rtol=1e-6)


@pytest.fixture(scope="module")
def some_predictor(encoder):
    lessons = lessons_of(letters_tell(120))
    lessons = replace(lessons, vectors=read_vectors(encoder, lessons.prompts))
    return train(lessons, np.arange(120) // 2 % 5, ENCODER).predictor


def test_prompts_are_read_in_parts_and_progress_is_told(encoder):
    prompts = [prompt_of(number) for number in range(600)]
    told = []
    found = read_vectors(encoder, prompts, lambda *one: told.append(one))
    np.testing.assert_allclose(found, encoder.encode(prompts), atol=1e-6)
    assert found.dtype == np.float32
    assert told == [("encode prompts", done, 600) for done in (0, 256, 512)]
    assert read_vectors(encoder, []).shape == (0, WIDTH)


def test_a_judge_chooses_among_readings_with_and_without_vectors(encoder):
    with store_of(*letters_tell(160)) as store:
        found = fit(
            store,
            WORKLOAD,
            judge=take("prototypes", 2),
            weights=(WEIGHT, ENCODER),
            encoder=encoder,
        )
    assert found.report.weight == WEIGHT  # the first of equals
    assert found.report.encoder is None
    assert [value.name for value in onnx.load_from_string(found.content).graph.input] == ["text"]


def test_with_labels_a_graph_reads_text_label_and_vector(encoder, tmp_path):
    with store_of(*letters_tell(240, label=lambda q: "ab"[q // 2 % 2])) as store:
        found = fit(store, WORKLOAD, classes=2, weights=(ENCODER,), by_label=True, encoder=encoder)
    names = [value.name for value in onnx.load_from_string(found.content).graph.input]
    assert names == ["text", "label", "embedding"]
    unread = np.full((2, WIDTH), np.nan, np.float32)
    ((positions, index),) = outputs(
        found.content, "class_index", [prompt_of(0), prompt_of(2)], ["a", "b"], unread
    )
    served = [found.class_names[index[positions.index(place)]] for place in range(2)]
    last = [max(i for i, n in enumerate(found.class_names) if n.startswith(x)) for x in "ab"]
    assert served == [found.class_names[place] for place in last]


def test_new_queries_get_the_class_that_the_graph_gives_text_and_vector(
    world, encoder, folder, tmp_path
):
    queries, observations = letters_tell(120)
    path = tmp_path / "difficulty.onnx"
    with store_of(queries, observations) as store:
        estimator = fit(store, WORKLOAD, classes=2, weights=(ENCODER,), encoder=encoder)
        estimator.write(path)
        new = {f"n{number:03}": prompt_of(5000 + number) for number in range(30)}
        copies = {"copy": queries[1].prompt + "!"}
        found = classify(store, path, WORKLOAD, new | copies, encoder=folder)
        texts = list(new.values())
        own = predicted(estimator.content, read_facts(path), texts, vectors=encoder.encode(texts))
        assert [found[query] for query in new] == own
        assert found["copy"] == found[queries[1].query_id]
        right = [
            (name == "hard") == int(query[1:]) % 2 for query, name in found.items() if query in new
        ]
        assert np.mean(right) > 0.9


def test_an_estimator_and_its_encoder_need_each_other(world, folder, tmp_path):
    store, _, path = world
    other = folder_of(tmp_path / "other", static(rows=401), subwords())
    plain = tmp_path / "plain.onnx"
    for ask in (
        lambda graph, given: classify(store, graph, WORKLOAD, {}, encoder=given),
        lambda graph, given: show(store, graph, WORKLOAD, encoder=given),
    ):
        with pytest.raises(InputError, match="with an encoder, and none was given") as raised:
            ask(path, None)
        assert "next: pass --encoder" in str(raised.value)
        with pytest.raises(InputError, match="another encoder than the one that classes"):
            ask(path, other)
    fit(store, WORKLOAD, classes=2).write(plain)
    with pytest.raises(InputError, match="without an encoder, and one was given") as raised:
        classify(store, plain, WORKLOAD, {}, encoder=folder)
    assert "next: leave --encoder out" in str(raised.value)
    assert open_asked_for(None, None, str(plain)) is None


@pytest.mark.parametrize("weights", [(ENCODER,), (WEIGHT, ENCODER), ("letters",)])
def test_a_reading_that_needs_an_encoder_is_unknown_without_one(weights):
    with (
        store_of(*says_or_proves(60)) as store,
        pytest.raises(InputError, match="no such reading of a text without a sentence encoder"),
    ):
        fit(store, WORKLOAD, judge=take("prototypes"), weights=weights)


def test_pieces_weigh_by_what_the_graph_says_of_text_and_vector_without_them(
    some_predictor, world, encoder, folder
):
    store, estimator, path = world
    showing, _ = show(store, path, WORKLOAD, encoder=folder)
    assert showing.queries == 240
    prompts = [f"ab {prompt_of(number)}" for number in range(40)]
    found = weights(estimator.content, estimator.strategies, prompts, None, ["ab"], encoder=encoder)
    (one,) = found.heaviest

    def mean(texts):
        scores = np.zeros((len(texts), 2))
        vectors = encoder.encode(texts)
        for place, rows in outputs(estimator.content, "predicted_scores", texts, None, vectors):
            scores[place] = rows
        return scores.mean(axis=0)

    held = [prompt for prompt in prompts if "ab" in pieces(prompt)][: one.prompts]
    change = mean([without(prompt, "ab") for prompt in held]) - mean(held)
    np.testing.assert_allclose(list(one.changes.values()), change, atol=2e-5)


FITTED = """
import sys
from pathlib import Path
from fit_worlds import store_of
from small_worlds import WORKLOAD
from test_encoders_in_estimators import ENCODER, letters_tell
from profiles.difficulty.fit import fit
from profiles.difficulty.reading.encoder import Encoder
with store_of(*letters_tell(300)) as store:
    encoder = Encoder.open(Path(sys.argv[1]), threads=int(sys.argv[2]))
    print(fit(store, WORKLOAD, classes=3, weights=(ENCODER,), encoder=encoder).digest)
"""


def test_the_same_store_and_encoder_give_the_same_bytes_on_any_number_of_threads(folder):
    def digests(threads):
        number = {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
        path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
        return subprocess.run(
            [sys.executable, "-c", FITTED, str(folder), threads],
            env={**os.environ, **number, "PYTHONPATH": path},
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    assert digests("1") == digests("2") != ""


@pytest.mark.parametrize("said", ["", "null", "{}", '{"digest": "x", "width": 0}'])
def test_a_file_that_does_not_say_which_encoder_is_damaged(world, tmp_path, said):
    _, estimator, _ = world
    model = onnx.load_from_string(estimator.content)
    (entry,) = [entry for entry in model.metadata_props if entry.key == "encoder"]
    entry.value = said
    onnx.save(model, tmp_path / "damaged.onnx")
    with pytest.raises(InputError, match="the estimator's metadata is damaged"):
        read_facts(tmp_path / "damaged.onnx")

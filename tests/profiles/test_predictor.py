import dataclasses
import itertools
import re

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from murmur import murmur3
from onnx import TensorProto
from scipy.sparse import csr_array
from small_worlds import sums

from profiles.difficulty.lessons import Lessons
from profiles.difficulty.nodes import Graph
from profiles.difficulty.predicting.features import Features
from profiles.difficulty.predicting.level_one import STRENGTHS
from profiles.difficulty.predicting.predictor import WEIGHTS, train
from profiles.difficulty.predicting.ridge import many
from profiles.difficulty.reading.bags import Bag, Vocabulary, read_keys, vocabulary
from profiles.difficulty.reading.text_features import character_keys, word_keys

FOLDS = 5
AWKWARD = [
    "",
    " ",
    "\n\n",
    "347+985=",
    "the cat, the cat",
    "é 😀 日本語\x00\x01\u200d",
    "a" * 9999,
    "word 12\n" * 3000,
]


def lessons(prompts, scores, costs=None, labels=None):
    scores = np.asarray(scores, dtype=float)
    return Lessons(
        "w",
        [f"q{index}" for index in range(len(prompts))],
        list(prompts),
        list(labels) if labels is not None else [None] * len(prompts),
        tuple(f"s{index}" for index in range(scores.shape[1])),
        scores,
        np.full(scores.shape, np.nan) if costs is None else np.asarray(costs, dtype=float),
        0,
    )


def words_and_kinds(count, seed=0):
    """Prompts of one of three kinds; the kind decides scores and dollars, words tell the kind."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 3, count)
    common = [f"w{chr(97 + index)}" for index in range(20)]
    of_kind = ["alpha beta gamma", "delta epsilon zeta", "eta theta iota"]
    prompts = [
        " ".join(rng.permutation([*rng.choice(common, 6), *rng.choice(of_kind[k].split(), 2)]))
        for k in kind
    ]
    chance = np.array([[0.9, 0.95], [0.5, 0.9], [0.1, 0.8]])[kind]
    scores = (rng.random(chance.shape) < chance).astype(float)
    costs = np.array([[1e-5, 1e-3], [2e-5, 3e-3], [4e-5, 5e-3]])[kind] * rng.uniform(
        0.5, 1.5, chance.shape
    )
    return prompts, kind, scores, costs, rng.integers(0, FOLDS, count)


@pytest.fixture(scope="module", params=WEIGHTS)
def trained(request):
    prompts, kind, scores, costs, fold_of = words_and_kinds(300)
    prompts[:8] = AWKWARD
    labels = [str(k) for k in kind]
    return train(lessons(prompts, scores, costs, labels), fold_of, request.param)


@pytest.fixture(scope="module")
def session(trained):
    graph = Graph()
    names = trained.predictor.append(graph)
    model = graph.model({name: (TensorProto.FLOAT, ["N", 2]) for name in names}, {})
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def numpy_arithmetic(predictor, prompts):
    return predictor.predict_rows(predictor.linear.reading.rows(prompts))


def test_the_graph_equals_the_trainers_arithmetic_on_awkward_texts_alone_and_in_a_batch(trained):
    predictor = trained.predictor
    expected = numpy_arithmetic(predictor, AWKWARD)
    found = predictor.predict(AWKWARD)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-6)
    np.testing.assert_allclose(found.costs, expected.costs, rtol=1e-6)
    for index, text in enumerate(AWKWARD):
        alone = predictor.predict([text])
        np.testing.assert_array_equal(alone.scores[0], found.scores[index])
        np.testing.assert_array_equal(alone.costs[0], found.costs[index])


@settings(deadline=None, max_examples=25)
@given(
    texts=st.lists(
        st.one_of(
            st.text(max_size=80),
            st.lists(st.sampled_from(["alpha", "delta", "wa", "WB", "7", "\n", "=", "é"])).map(
                " ".join
            ),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_the_graph_equals_the_trainers_arithmetic_on_any_text(trained, session, texts):
    texts = [text.encode(errors="replace").decode() for text in texts]
    expected = numpy_arithmetic(trained.predictor, texts)
    scores, costs = session.run(None, {"text": np.array(texts, dtype=object)})
    np.testing.assert_allclose(scores, expected.scores, atol=1e-6)
    np.testing.assert_allclose(costs, expected.costs, rtol=1e-6)


def test_predictions_are_scores_and_dollars(trained):
    for found in (trained.predictions, trained.predictor.predict(AWKWARD)):
        assert ((found.scores >= 0) & (found.scores <= 1)).all()
        assert (found.costs > 0).all()


@pytest.mark.parametrize("weight", WEIGHTS)
def test_a_folds_outcomes_change_only_the_mean_in_what_is_predicted_for_it(weight):
    prompts, kind, scores, costs, fold_of = words_and_kinds(200, seed=1)
    first = train(lessons(prompts, scores, costs, map(str, kind)), fold_of, weight).predictions
    fold = fold_of == 2
    scores[fold] = 1 - scores[fold]
    costs[fold] = costs[fold][::-1]  # the mean of all is only the unit
    labels = np.where(fold, (kind + 1) % 3, kind)
    other = train(lessons(prompts, scores, costs, map(str, labels)), fold_of, weight).predictions
    for one, two in zip(first.scores[fold].T, other.scores[fold].T, strict=True):
        inside = (one > 0) & (one < 1) & (two > 0) & (two < 1)
        moved = (two - one)[inside]  # with the mean of all, which is the same for every query
        np.testing.assert_allclose(moved, moved.mean(), atol=2.1e-5)
    np.testing.assert_allclose(first.costs[fold], other.costs[fold], rtol=1e-3)
    assert np.abs(first.scores[~fold] - other.scores[~fold]).max() > 0.05


def test_kinds_of_prompts_are_told_apart_and_priced():
    prompts, kind, scores, costs, fold_of = words_and_kinds(600, seed=2)
    found = train(lessons(prompts, scores, costs), fold_of, "words").predictions
    by_kind = np.array([found.scores[kind == k].mean(axis=0) for k in range(3)])
    # a mean of about 200 coins has a standard error of at most 0.035
    np.testing.assert_allclose(by_kind[:, 0], [0.9, 0.5, 0.1], atol=0.1)
    dollars = np.array([found.costs[kind == k].mean(axis=0) for k in range(3)])
    np.testing.assert_allclose(dollars[:, 1], [1e-3, 3e-3, 5e-3], rtol=0.2)


def test_labels_that_the_text_gives_away_help():
    prompts, kind, scores, _, fold_of = words_and_kinds(400, seed=3)
    plain = train(lessons(prompts, scores), fold_of, "words")
    labelled = train(lessons(prompts, scores, labels=map(str, kind)), fold_of, "words")
    assert squared_error(labelled, scores) <= squared_error(plain, scores)


@pytest.mark.parametrize("seed", range(3))
def test_labels_that_are_noise_do_not_hurt(seed):
    prompts, _, scores, _, fold_of = words_and_kinds(300, seed=10 + seed)
    noise = np.random.default_rng(seed).integers(0, 20, 300).astype(str)
    plain = train(lessons(prompts, scores), fold_of, "words")
    noisy = train(lessons(prompts, scores, labels=noise), fold_of, "words")
    assert squared_error(noisy, scores) < 1.01 * squared_error(plain, scores)


def squared_error(found, scores):
    return np.nansum((found.predictions.scores - scores) ** 2).round(3)


@pytest.mark.parametrize(
    "labels", [["a"] * 250, [str(index) for index in range(250)], [None, *"ab" * 124, "a"]]
)
def test_labels_are_left_alone_where_there_is_one_or_very_many_or_some_are_missing(labels):
    prompts, _, scores, _, fold_of = words_and_kinds(250, seed=4)
    assert not train(lessons(prompts, scores, labels=labels), fold_of, "words").labels_used


def test_random_outcomes_are_predicted_no_better_than_by_their_mean():
    prompts, _, _, _, fold_of = words_and_kinds(400, seed=5)
    coins = np.random.default_rng(5).integers(0, 2, (400, 2)).astype(float)
    found = train(lessons(prompts, coins), fold_of, "words+surface+characters")
    gain = 1 - ((found.predictions.scores - coins) ** 2).sum() / ((coins - 0.5) ** 2).sum()
    assert gain < 0.02


def test_a_strategy_measured_on_some_queries_is_learned_from_those():
    prompts, kind, scores, costs, fold_of = words_and_kinds(600, seed=6)
    scores[::3, 0] = np.nan
    costs[::3, 0] = np.nan
    found = train(lessons(prompts, scores, costs), fold_of, "words").predictions
    assert np.isfinite(found.scores).all()
    assert np.isfinite(found.costs).all()
    by_kind = [found.scores[kind == k, 0].mean() for k in range(3)]
    np.testing.assert_allclose(by_kind, [0.9, 0.5, 0.1], atol=0.12)


def test_without_the_costs_of_one_strategy_there_are_no_predicted_dollars():
    prompts, _, scores, costs, fold_of = words_and_kinds(150, seed=7)
    costs[:, 1] = np.nan
    found = train(lessons(prompts, scores, costs), fold_of, "words")
    assert found.predictions.costs is None
    assert found.predictor.predict(["alpha"]).costs is None


def test_surface_counts_tell_sums_by_their_digits():
    queries, observations = sums(240)
    by_name = {(o.query_id, o.strategy): o.score for o in observations}
    names = ("small/single", "large/single")
    scores = np.array([[by_name[q.query_id, s] for s in names] for q in queries])
    fold_of = np.arange(240) % FOLDS
    found = train(lessons([q.prompt for q in queries], scores), fold_of, "words+surface")
    predicted = found.predictions.scores[:, 0]
    solved = scores[:, 0] == 1
    above = (predicted[solved][:, None] > predicted[~solved]).mean()
    assert above > 0.85


def test_the_same_lessons_give_the_same_bytes():
    def content():
        prompts, kind, scores, costs, fold_of = words_and_kinds(150, seed=8)
        found = train(lessons(prompts, scores, costs, map(str, kind)), fold_of, WEIGHTS[-1])
        graph = Graph()
        graph.add("Identity", found.predictor.append(graph)[0], output="scores")
        model = graph.model({"scores": (TensorProto.FLOAT, ["N", 2])}, {})
        onnx.checker.check_model(model)
        return model.SerializeToString(deterministic=True)

    assert content() == content()


def test_keys_are_of_tokens_neighbours_and_four_characters():
    (one, other, twice) = read_keys(word_keys, ["cat dog", "cat", "cat cat cat"])
    assert (len(one), len(other), len(twice)) == (3, 1, 2)
    assert set(other) < set(one)
    (digits, more) = read_keys(word_keys, ["7 8", "1 2"])
    assert digits.tolist() == more.tolist()
    none, word, number = read_keys(character_keys, ["abc", "abcde", "a123"])
    assert (len(none), len(word), len(number)) == (0, 2, 1)
    assert read_keys(character_keys, ["a987"])[0].tolist() == number.tolist()


@pytest.mark.parametrize(
    "text", ["", "347+985=", "subset 3 17 25 -> 42", "The cat, the (big) cat.\nIt's 7:30!"]
)
def test_keys_are_the_hashes_that_the_docstrings_describe(text):
    tokens = re.findall(r"[A-Za-z]+|\n|[^\sA-Za-z]", text)
    hashes = [1 if token.isdigit() else murmur3(token) for token in tokens]
    pairs = [a * 1_000_003 + b for a, b in itertools.pairwise(hashes)]
    assert read_keys(word_keys, [text])[0].tolist() == sorted({*hashes, *pairs})
    digits = [1 if c.isdigit() else murmur3(c) % (2**15 - 2) + 2 for c in text]
    windows = zip(digits, digits[1:], digits[2:], digits[3:], strict=False)
    expected = {((a * 2**15 + b) * 2**15 + c) * 2**15 + d for a, b, c, d in windows}
    assert read_keys(character_keys, [text])[0].tolist() == sorted(expected)


def test_prompts_that_share_nothing_are_predicted_by_the_mean():
    prompts = [chr(0x4E00 + 7 * index) for index in range(60)]
    scores = np.tile([[0.0], [1.0]], (30, 1))
    found = train(lessons(prompts, scores), np.arange(60) // 2 % FOLDS, "words")
    np.testing.assert_allclose(found.predictions.scores, 0.5, atol=1e-5)
    np.testing.assert_allclose(found.predictor.predict(["?", ""]).scores, 0.5, atol=1e-5)


def test_keys_of_a_text_do_not_depend_on_the_texts_beside_it():
    for keys_of in (word_keys, character_keys):
        for text, found in zip(AWKWARD, read_keys(keys_of, AWKWARD), strict=True):
            np.testing.assert_array_equal(read_keys(keys_of, [text])[0], found)


def test_a_vocabulary_holds_keys_that_two_texts_have():
    found = vocabulary([np.array([1, 5]), np.array([5, 9]), np.array([5, 9])])
    assert found.keys.tolist() == [5, 9]
    np.testing.assert_allclose(found.idf, 1 + np.log([4 / 4, 4 / 3]), atol=1e-5)
    rows = found.rows([np.array([1]), np.array([5, 9])]).toarray()
    assert rows[0].tolist() == [0, 0]
    assert (rows[1] ** 2).sum() == pytest.approx(1)


def test_weights_in_whole_numbers_are_near_the_learned_ones():
    rng = np.random.default_rng(0)
    words = Vocabulary(np.arange(1, 101), rng.uniform(1, 9, 100).round(5))
    weights = rng.normal(size=(100, 4)) * [1, 0.1, 0, 0.01]
    bag = Bag.of(words, weights)
    steps = np.abs(weights * words.idf[:, None]).max(axis=0) / 127
    error = np.abs(bag.weights() - weights) * words.idf[:, None]
    assert (error <= steps * 0.51 + 1e-5).all()


def test_conjugate_gradients_solve_the_normal_equations_and_columns_do_not_mix():
    rng = np.random.default_rng(1)
    sparse = csr_array(np.hstack([rng.normal(size=(60, 12)), np.full((60, 1), 30.0)]))
    features = Features.of(sparse)
    targets = rng.normal(size=(60, 3))
    rows = rng.random((60, 3)) < 0.8
    found = many(features, targets, rows, np.array([2.0, 5.0, 9.0]))
    for column, strength in enumerate((2.0, 5.0, 9.0)):
        seen = np.flatnonzero(rows[:, column])
        x = sparse[seen].toarray()
        wanted = np.linalg.solve(x.T @ x + strength * np.eye(13), x.T @ targets[seen, column])
        assert np.linalg.norm(found[:, column] - wanted) < 0.05 * np.linalg.norm(wanted)
        alone = many(features, targets[:, [column]], rows[:, [column]], np.array([strength]))
        np.testing.assert_allclose(alone[:, 0], found[:, column], rtol=1e-4, atol=1e-6)


def test_dense_features_count_like_sparse_ones():
    rng = np.random.default_rng(2)
    sparse = csr_array(np.hstack([rng.normal(size=(5000, 3)), np.ones((5000, 1))]))
    dense = rng.normal(size=(5000, 6)).astype(np.float32)
    features = Features.of(sparse, dense)
    whole = np.hstack([sparse.toarray(), dense])
    weights, values = rng.normal(size=(10, 2)), rng.normal(size=(5000, 2))
    np.testing.assert_allclose(features.times(weights), whole @ weights)
    np.testing.assert_allclose(features.transposed_times(values), whole.T @ values, rtol=1e-6)
    assert features.mean_square() == pytest.approx((whole**2).sum() / 5000)
    rows = np.flatnonzero(rng.random(5000) < 0.3)
    np.testing.assert_allclose(features.part(rows).times(weights), whole[rows] @ weights)
    for block, columns in features.blocks():
        np.testing.assert_allclose(
            block.times(weights[columns]), whole[:, columns] @ weights[columns]
        )


def test_what_is_trained_is_a_plain_value(trained):
    assert dataclasses.is_dataclass(trained)
    assert len(trained.shares) == len(STRENGTHS) + trained.labels_used


def test_predictions_that_know_nothing_do_not_tell_folds_apart():
    """Shrunk to the mean of the other folds they would: low where the own fold was lucky."""
    apart = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        prompts = [f"request {' '.join(rng.choice(list('abcdefgh'), 6))}" for _ in range(150)]
        scores = (rng.random((150, 1)) < 0.5).astype(float)
        fold_of = rng.permutation(np.arange(150) % 5)
        found = train(lessons(prompts, scores, np.full((150, 1), np.nan)), fold_of, "words")
        guessed = found.predictions.scores[:, 0]
        own = [(guessed[fold_of == f].mean(), scores[fold_of == f].mean()) for f in range(5)]
        apart.append(np.cov(np.array(own).T)[0, 1])
    assert abs(np.mean(apart)) < 3 * np.std(apart, ddof=1) / 20**0.5 + 1e-9

import math

import numpy as np
import pytest
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator

from profiles.difficulty.lessons import Lessons
from profiles.difficulty.nodes import Graph
from profiles.difficulty.predicting.predictor import train
from profiles.difficulty.predicting.recalibration import recalibrate

FOLDS = 5
WORKLOADS = 60


def world(n, seed, slope=1.0):
    """Predictions, and 0-or-1 scores whose chance is an affine function of them."""
    rng = np.random.default_rng(seed)
    predicted = rng.uniform(0.1, 0.9, n)
    measured = rng.random(n) < slope * (predicted - 0.5) + 0.5
    return predicted[:, None], measured[:, None].astype(float)


def recalibrated(predicted, measured):
    """By folds in turn, of predictions that come from no training and so have seen no fold."""
    fold_of = np.arange(len(predicted)) % FOLDS
    nested = np.tile(predicted, (FOLDS, 1, 1))
    nested[fold_of, np.arange(len(predicted))] = np.nan
    return recalibrate(predicted, nested, measured, fold_of)


def says_or_proves(n, rng):
    """Texts whose first word tells the score of the first of four strategies, and nothing else."""
    hard = rng.random(n) < 0.5
    words = [f"w{index}" for index in range(300)]
    prompts = [f"{('say', 'prove')[h]} {' '.join(rng.choice(words, 10))}" for h in hard.tolist()]
    scores = (rng.random((n, 4)) < 0.6).astype(float)
    scores[:, 0] = rng.random(n) < np.where(hard, 0.2, 0.9)
    unknown, ids = np.full((n, 4), np.nan), [str(index) for index in range(n)]
    return Lessons("w", ids, prompts, [None] * n, tuple("abcd"), scores, unknown, 0)


def test_a_shrinking_step_is_found_and_lowers_the_error_on_new_queries():
    predicted, measured = world(800, 0, slope=0.5)
    found = recalibrated(predicted, measured)
    assert found.changed.tolist() == [True]
    assert found.scale[0] == pytest.approx(0.5, abs=0.15)
    new_predicted, new_measured = world(4000, 1, slope=0.5)
    before = (new_predicted - new_measured) ** 2
    after = (found.apply(new_predicted) - new_measured) ** 2
    assert after.mean() < before.mean()


def test_a_right_predictor_is_seldom_changed_and_then_but_little():
    """Changed by luck with the chance 16 %, that of sqrt(2) standard errors."""
    moved = []
    for seed in range(100):
        predicted, measured = world(400, seed)
        found = recalibrated(predicted, measured)
        moved.append(np.abs(found.apply(predicted) - predicted).mean())
    assert np.mean(np.array(moved) > 0) < 0.16 + 3 * math.sqrt(0.16 * 0.84 / 100)
    assert max(moved) < 0.1


def test_of_a_folds_outcomes_its_recalibrated_scores_know_their_share_in_the_mean_of_all():
    given = says_or_proves(300, np.random.default_rng(2))
    fold_of = np.arange(300) % FOLDS
    own = fold_of == 2
    turned = np.where(own[:, None], 1 - given.scores, given.scores)

    def apart(scores):
        lessons = Lessons("w", given.query_ids, given.prompts, given.labels, given.strategies,
                          scores, given.costs, 0)  # fmt: skip
        trained = train(lessons, fold_of, "words")
        found = recalibrate(trained.predictions.scores, trained.nested, scores, fold_of).predicted
        return found - found[own].mean(axis=0)

    first, second = apart(given.scores), apart(turned)
    np.testing.assert_allclose(first[own], second[own], atol=3e-5)
    assert np.abs(first[~own] - second[~own]).max() > 0.01


def test_what_no_text_foretells_looks_no_better_where_it_is_predicted_to_be():
    """By halves of 400 queries, 60 workloads: no difference within three standard errors."""
    differences = []
    for seed in range(WORKLOADS):
        rng = np.random.default_rng(seed)
        lessons, fold_of = says_or_proves(400, rng), rng.permutation(400) % FOLDS
        trained = train(lessons, fold_of, "words")
        found = recalibrate(trained.predictions.scores, trained.nested, lessons.scores, fold_of)
        order = (found.predicted + 1e-9 * rng.random((400, 1))).argsort(axis=0)[:, 1:]
        sorted_scores = np.take_along_axis(lessons.scores[:, 1:], order, axis=0)
        differences.append((sorted_scores[200:] - sorted_scores[:200]).mean())
    error = np.std(differences, ddof=1) / math.sqrt(WORKLOADS)
    assert error < 0.006
    assert abs(np.mean(differences)) < 3 * error, (np.mean(differences), error)


def test_too_few_queries_change_nothing():
    predicted, measured = world(30, 0, slope=0.0)
    found = recalibrated(predicted, measured)
    assert not found.changed.any()
    np.testing.assert_array_equal(found.predicted, predicted)


@pytest.mark.parametrize("slope", [0.3, 1.0])
def test_the_graph_takes_the_same_step_as_numpy(slope):
    predicted, measured = world(500, 0, slope=slope)
    found = recalibrated(predicted, measured)
    graph = Graph()
    start = graph.add("Cast", "scores", to=TensorProto.FLOAT)
    graph.add("Identity", found.append(graph, start), output="after")
    model = graph.model({"after": (TensorProto.FLOAT, ["N", 1])}, {}, inputs=["scores"])
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT
    given_scores = predicted.astype(np.float32)
    (after,) = ReferenceEvaluator(model).run(None, {"scores": given_scores})
    np.testing.assert_allclose(after, found.apply(given_scores), atol=1e-6)

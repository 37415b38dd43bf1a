import math
import random

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto
from scipy.sparse import csr_array

from profiles.difficulty.honesty.unfamiliar import false_alarms, fit_unfamiliar
from profiles.difficulty.nodes import Graph
from profiles.difficulty.reading.text_features import word_keys
from profiles.difficulty.reading.token_roots import ROOTS, rows_of, token_roots
from profiles.difficulty.running import outputs

ALPHA = 0.05


def known_texts(count, seed):
    """Sums, and questions about things to buy: two kinds of prompts."""
    rng = random.Random(seed)
    things = ["apples", "pears", "books", "pens", "cars", "cups", "hats", "shoes", "bags"]
    texts = []
    for index in range(count):
        if index % 2:
            texts.append(" + ".join(str(rng.randrange(10, 999)) for _ in range(rng.randint(2, 6))))
        else:
            bought = ", ".join(rng.choice(things) for _ in range(rng.randint(1, 8)))
            texts.append(f"Ann buys {bought}. How much does she pay?")
    return texts


def folds_of(count, folds=5):
    return np.arange(count) % folds


@pytest.fixture(scope="module")
def detector():
    texts = known_texts(600, 0)
    return fit_unfamiliar(rows_of(texts), folds_of(600), alpha=ALPHA)[0]


@pytest.fixture(scope="module")
def session(detector):
    graph = Graph()
    graph.add("Identity", detector.append(graph, token_roots(graph)), output="unfamiliar")
    model = graph.model({"unfamiliar": (TensorProto.BOOL, ["N"])}, {})
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def served(session, texts):
    return session.run(["unfamiliar"], {"text": np.array(texts, dtype=object)})[0]


@pytest.mark.parametrize(
    "text",
    [
        "def main(argv):\n    return [line.strip() for line in open(argv[1])]",
        "Кто написал роман «Война и мир»?",
        "日本語の文章です。",
        "😀😀😀",
        "\x00\x01\x02\x03",
        "Translate this sentence into the language of the old kings.",
    ],
)
def test_other_kinds_of_text_are_unfamiliar(session, text):
    assert served(session, [text]).tolist() == [True]


@pytest.mark.parametrize("text", ["", " ", "\t  "])
def test_a_text_without_a_token_is_unfamiliar_even_where_nothing_else_can_be_said(text):
    few = fit_unfamiliar(rows_of(known_texts(20, 0)), folds_of(20))[0]
    assert few.limits[-1] == math.inf
    assert few.detect(rows_of([text, "😀"])).tolist() == [True, False]


def test_about_the_stated_share_of_new_familiar_texts_is_called_unfamiliar():
    shares = []
    for seed in range(8):
        texts = known_texts(400, 100 + seed)
        found, _ = fit_unfamiliar(rows_of(texts), folds_of(400), alpha=ALPHA)
        shares.append(found.detect(rows_of(known_texts(400, 200 + seed))).mean())
    error = np.std(shares, ddof=1) / math.sqrt(len(shares))
    assert abs(np.mean(shares) - ALPHA) < 3 * error + 0.01, (np.mean(shares), error)


def test_training_texts_are_judged_by_folds_without_them():
    texts = [*known_texts(400, 1), "🦊 ∑ ßø"]
    fold_of = folds_of(401)
    found, flags = fit_unfamiliar(rows_of(texts), fold_of, alpha=ALPHA)
    assert flags[-1]
    alarms = false_alarms(flags)
    assert (alarms.queries, alarms.alarms) == (401, flags.sum())
    assert alarms.low < ALPHA < alarms.high
    other, _ = fit_unfamiliar(rows_of(texts), fold_of, alpha=ALPHA)
    for name in ("centres", "means", "spreads", "lengths", "limits"):
        assert getattr(found, name).tobytes() == getattr(other, name).tobytes()


def test_a_template_is_strict_about_texts_that_free_text_would_tolerate():
    """Two groups of one width each: the same distance is far for one and near for the other."""
    rng = np.random.default_rng(0)
    tight = np.sqrt(rng.dirichlet([400.0] * 8, 500))
    loose = np.sqrt(rng.dirichlet([2.0] * 8, 500))
    zeros = np.zeros_like(tight)
    rows = csr_array(np.vstack([np.hstack([tight, zeros]), np.hstack([zeros, loose])]))
    found, _ = fit_unfamiliar(rows, folds_of(1000), alpha=0.01)
    stranger = np.sqrt(rng.dirichlet([2.0] * 8, 300))
    assert found.detect(csr_array(np.hstack([stranger, zeros[:300]]))).mean() > 0.8
    assert found.detect(csr_array(np.hstack([zeros[:300], stranger]))).mean() < 0.1


def test_with_enough_texts_every_band_of_lengths_keeps_the_rate():
    rng = np.random.default_rng(0)
    width, n = 64, 16_000
    size = rng.integers(2, 60, n)
    counts = np.array([rng.multinomial(k, np.full(width, 1 / width)) for k in size])
    rows = csr_array(np.sqrt(counts / size[:, None]))
    found, _ = fit_unfamiliar(rows[: n // 2], folds_of(n // 2), alpha=ALPHA)
    assert len(found.lengths) == 4
    flags = found.detect(rows[n // 2 :])
    filled = (counts[n // 2 :] > 0).sum(axis=1)
    band = np.searchsorted(found.lengths, filled, side="right")
    for index in range(1, 5):
        inside = band == index
        error = math.sqrt(ALPHA * (1 - ALPHA) * (1 / inside.sum() + 4 / n))
        assert flags[inside].mean() < ALPHA + 3 * error
        assert flags[inside].mean() > ALPHA / 2  # surprises of few tokens have many ties


@pytest.mark.parametrize("text", ["", " \n ", "347+985=", "The cat, the (big) cat.\nIt's 7:30! 😀"])
def test_roots_are_those_of_the_shares_of_keys(text):
    graph = Graph()
    graph.add("Identity", word_keys(graph), output="keys")
    model = graph.model({"keys": (TensorProto.INT64, ["N", "T"])}, {}).SerializeToString()
    ((_, keys),) = outputs(model, "keys", [text])
    found = rows_of([text, "another text, much longer than that one is"])[[0]].toarray()[0]
    counts = np.bincount(keys[keys != 0] % ROOTS, minlength=ROOTS)
    np.testing.assert_allclose(found**2, counts / max(counts.sum(), 1), atol=1e-6)


def test_no_texts_have_no_rows():
    assert rows_of([]).shape == (0, ROOTS)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=80), min_size=1, max_size=6))
def test_the_graph_says_what_numpy_says(detector, session, texts):
    known = [text.encode(errors="replace").decode() for text in texts]
    assert served(session, known).tolist() == detector.detect(rows_of(known)).tolist()


def test_the_graph_says_what_numpy_says_of_familiar_texts(detector, session):
    texts = known_texts(500, 9)
    flags = served(session, texts)
    assert 0 < flags.sum() < 100
    np.testing.assert_array_equal(flags, detector.detect(rows_of(texts)))

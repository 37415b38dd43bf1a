from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx.parser
import onnxruntime
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto

from profiles.difficulty.classify import classify
from profiles.difficulty.nodes import Graph, ints
from profiles.difficulty.sorting.combined import UNKNOWN, Combined, combine, quoted, reads_labels
from profiles.digest import digest_bytes
from profiles.errors import InputError
from profiles.query import Query
from profiles.store.store import Store

FIXTURES = Path(__file__).parents[1] / "policies" / "fixtures"
WORDS_AND_LABELS = FIXTURES / "words_and_labels.onnxtxt"
NAMES = ("easy", "medium", "hard")
anything = st.text(max_size=6)
label_texts = st.text(min_size=1, max_size=6)
NASTY = [
    "a/b",
    "a",
    "a/b/easy",
    '"a"',
    '"a/b"',
    " a",
    "a ",
    "\u2028",
    "\0",
    "naïve",
    "na\u0131ve",
    "数学",
]


def served(found: Combined, labels: list[str], text_class: NDArray[np.intp]) -> NDArray[np.int64]:
    """What the appended nodes say; the text class is a constant of the graph."""
    graph = Graph()
    constant = graph.add("Add", ints(*text_class.tolist()), ints(0))
    graph.add("Identity", found.append(graph, constant), output="class_index")
    model = graph.model({"class_index": (TensorProto.INT64, ["N"])}, {}, inputs=("label",))
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (index,) = session.run(None, {"label": np.array(labels, dtype=object)})
    return np.asarray(index)


def of(pairs: list[tuple[str, int]], share: float = 0.0) -> Combined:
    labels, classes = zip(*pairs, strict=True)
    return combine(labels, np.array(classes), NAMES, smallest_share=share)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(label_texts, st.integers(0, 2)), min_size=1, max_size=40),
    st.lists(st.tuples(anything, st.integers(0, 2)), min_size=1, max_size=20),
    st.floats(0, 0.5),
)
@example([(label, 0) for label in NASTY], [(label, 2) for label in [*NASTY, "", "A"]], 0.0)
def test_graph_and_numpy_agree_on_any_label(
    known: list[tuple[str, int]], asked: list[tuple[str, int]], share: float
) -> None:
    found = of(known, share)
    labels, classes = map(list, zip(*known, *asked, strict=True))
    text_class = np.array(classes)
    expected = found.classes(labels, text_class)
    assert np.array_equal(served(found, labels, text_class), expected)
    strangers = np.array([label not in found.labels for label in labels])
    assert np.array_equal(expected == UNKNOWN, strangers)


@settings(deadline=None)
@given(
    st.lists(st.tuples(label_texts, st.integers(0, 2)), min_size=1, max_size=60),
    st.floats(0, 1),
)
@example([(label, n) for label in NASTY for n in range(3)], 0.0)
def test_names_are_distinct_and_every_class_has_queries_of_one_label_only(
    pairs: list[tuple[str, int]], share: float
) -> None:
    found = of(pairs, share)
    labels, classes = zip(*pairs, strict=True)
    index = found.classes(labels, np.array(classes))
    assert len(set(found.names)) == len(found.names)
    assert sorted(set(index.tolist())) == list(range(len(found.names)))
    assert (np.diff(found.table, axis=1) >= 0).all()
    for number, name in enumerate(found.names):
        inside = {label for label, own in zip(labels, index, strict=True) if own == number}
        (label,) = inside
        assert name.rpartition("/")[0] == quoted(label)
        alone = len(set(found.table[found.labels.index(label)].tolist())) == 1
        assert alone or (index == number).sum() >= share * len(pairs)


@settings(deadline=None)
@given(st.lists(label_texts, unique=True, max_size=30))
@example(NASTY)
def test_different_labels_are_written_differently(labels: list[str]) -> None:
    written = [quoted(label) for label in labels]
    assert len(set(written)) == len(labels)
    for label, text in zip(labels, written, strict=True):
        assert text == label if "/" not in text and text[0] != '"' else json.loads(text) == label


def test_every_label_and_text_class_is_a_class() -> None:
    found = of([("law", 0), ("law", 1), ("art", 2), ("law", 2), ("art", 0), ("art", 1)])
    assert found.labels == ("art", "law")
    assert found.names == (
        "art/easy", "art/medium", "art/hard", "law/easy", "law/medium", "law/hard",
    )  # fmt: skip
    assert found.classes(["law", None, "Law", ""], np.array([1, 1, 1, 1])).tolist() == [
        4,
        -1,
        -1,
        -1,
    ]


def test_a_rare_combination_joins_its_smaller_neighbour_and_keeps_the_larger_name() -> None:
    pairs = [("law", 0)] * 40 + [("law", 1)] * 3 + [("law", 2)] * 30 + [("art", 0)] * 2
    found = of([*pairs, *[("art", 1)] * 25], 0.05)
    assert found.names == ("art/all", "law/easy", "law/hard")
    assert found.table[1].tolist() == [1, 2, 2]


def test_a_label_with_too_few_queries_is_one_class() -> None:
    found = of([("law", n) for n in range(3)] * 30 + [("art", 0), ("art", 2)], 0.05)
    assert found.names == ("art/all", "law/easy", "law/medium", "law/hard")
    assert found.table[0].tolist() == [0, 0, 0]


def test_one_text_class_makes_one_class_per_label() -> None:
    found = combine(["b", "a"], np.zeros(2, int), ("all",), smallest_share=0.05)
    assert found.names == ("a/all", "b/all")


def test_classes_are_ordered_by_the_level_they_are_given() -> None:
    labels = ["law"] * 4 + ["art"] * 4
    text_class = np.array([0, 0, 2, 2] * 2)
    level = np.array([0.9, 0.8, 0.2, 0.3, 1.0, 1.0, 0.5, 0.5])
    found = combine(labels, text_class, NAMES, smallest_share=0, level=level)
    assert found.names == ("art/easy", "law/easy", "art/hard", "law/hard")
    assert found.classes(labels, text_class).tolist() == [1, 1, 3, 3, 0, 0, 2, 2]


@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [
        (["a", None], NAMES, "1 of 2 queries have no label"),
        (["a", ""], NAMES, "1 of 2 queries have no label"),
        (["a", "\ud800"], NAMES, "not text that UTF-8 can carry"),
        (["a", "b"], ("easy", "n/a", "hard"), "contains a slash"),
    ],
)
def test_what_cannot_be_combined_is_refused(
    labels: list[str | None], names: tuple[str, ...], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        combine(labels, np.zeros(2, int), names, smallest_share=0)


def estimator(folder: Path) -> Path:
    """The hand-written graph of the policies' tests: more than eight words are hard, in law."""
    model = onnx.parser.parse_model(WORDS_AND_LABELS.read_text())
    known = {entry.key: entry.value for entry in model.metadata_props}
    facts = {"inferbudget_format_version": "1.0", "workload": "w", "strategies": "[]"}
    onnx.helper.set_model_props(model, {**known, **facts})
    path = folder / "difficulty.onnx"
    path.write_bytes(model.SerializeToString(deterministic=True))
    return path


def test_new_queries_are_sorted_by_prompt_and_label(tmp_path: Path) -> None:
    path, long = estimator(tmp_path), "one two three four five six seven eight nine ten"
    assert reads_labels(path.read_bytes())
    with Store.open(":memory:") as store:
        store.add_queries("w", [Query("old", long, "law"), Query("stored", long, "art")])
        store.save_classes(digest_bytes(path.read_bytes()), "w", {"old": "law/easy"})
        prompts = {"copy": long.upper(), "other": long, "short": "hi"}
        labels = {"copy": "law", "other": "art", "short": "law"}
        assert classify(store, path, "w", prompts, labels) == {
            "old": "law/easy",
            "stored": "art/all",
            "copy": "law/easy",
            "other": "art/all",
            "short": "law/easy",
        }
        for sent, got in (({}, "None"), ({"new": "tax"}, "'tax'")):
            with pytest.raises(
                InputError, match="1 queries have no label that the estimator"
            ) as no:
                classify(store, path, "w", {"new": "hi"}, sent)
            assert f"got {got}" in str(no.value)

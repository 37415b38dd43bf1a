"""Policies whose graph reads the prompt and a label: tenant/easy, tenant/hard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest
from onnx import TensorProto
from policy_examples import (
    FIXTURES,
    LARGE,
    SMALL,
    cell,
    compiled,
    plan,
    summed,
    words_estimator,
)

from planner.plan import Classes, Plan
from policies.agreement import disagreement, edge_uniforms
from policies.check import check
from policies.compile import compile_plan
from policies.decide import choose_many
from policies.file import CompiledPolicy, read_policy, write_policy
from policies.policy import PolicyClasses
from policies.schema import schemas
from policies.text import policy_text
from profiles.difficulty.nodes import Graph, floats, ints
from profiles.difficulty.reading.text_features import STEPS, surface
from profiles.difficulty.sorting.combined import Combined, combine
from profiles.digest import digest_bytes
from profiles.errors import InputError

NAMES = ("art/all", "law/easy", "law/hard")
SHORT, LONG = "what is 2 + 3", "one two three four five six seven eight nine ten"


def estimator(**properties: str) -> bytes:
    """More than eight words are hard, but art is art."""
    model = onnx.parser.parse_model((FIXTURES / "words_and_labels.onnxtxt").read_text())
    known = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(model, {**known, **properties})
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def plan_of(content: bytes, names: tuple[str, ...] = NAMES, source: Any = "text+label") -> Plan:
    shares = {name: {SMALL: 0.25, LARGE: 0.75} for name in names} | {names[0]: {SMALL: 1.0}}
    cells = {
        name: {SMALL: cell(0.9, 0.00001 * (place + 1)), LARGE: cell(0.95, 0.001 * (place + 1))}
        for place, name in enumerate(names)
    }
    weights = dict.fromkeys(names, 1 / len(names))
    return plan(
        classes=Classes(
            source=source,
            names=names,
            weights=tuple(weights.values()),
            estimator="difficulty.onnx",
            estimator_digest=digest_bytes(content),
        ),
        cells=cells,
        rungs=(summed(1.0, shares, cells, weights),),
    )


def made(content: bytes | None = None, names: tuple[str, ...] = NAMES) -> CompiledPolicy:
    content = content or estimator()
    return compile_plan(plan_of(content, names), estimator=content)


def test_the_graph_keeps_both_inputs_and_decides_as_the_reference_does() -> None:
    found = made()
    session = onnxruntime.InferenceSession(found.graph, providers=["CPUExecutionProvider"])
    inputs = [value.name for value in session.get_inputs()]
    assert inputs == ["text", "label", "rung", "uniform"]
    generator = np.random.default_rng(5)
    count = 100_000
    asked = generator.integers(0, 2, count), generator.integers(0, 3, count)
    rungs, uniforms = generator.integers(-2, 3, count), generator.random(count, dtype=np.float32)
    odd = generator.random(count) < 0.3
    uniforms[odd] = generator.choice(edge_uniforms(found.policy), odd.sum())
    classes, strategies, names = session.run(
        ["class_index", "strategy_index", "class_name"],
        {
            "text": np.array([SHORT, LONG], dtype=object)[asked[0]],
            "label": np.array(["art", "law", "Law"], dtype=object)[asked[1]],
            "rung": rungs,
            "uniform": uniforms,
        },
    )
    expected = np.array([[0, 0], [1, 2], [-1, -1]])[asked[1], asked[0]]
    assert np.array_equal(classes, expected)
    assert np.array_equal(strategies, choose_many(found.policy, expected, rungs, uniforms))
    assert names.tolist() == [("", *NAMES)[index + 1] for index in expected]


def test_a_policy_says_which_labels_may_be_sent_and_stays_whole_when_read(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    write_policy(made(), path)
    assert check(path) == []
    policy = read_policy(path)
    assert policy == made().policy
    assert policy.classes.labels == policy.classes.accepted == ("art", "law")
    assert policy.classes.inputs == ("text", "label")
    assert "  labels: [art, law] # what the caller may send" in path.read_text().splitlines()


@pytest.mark.parametrize("source", ["label", "text"])
def test_policies_without_labels_do_not_speak_of_them(source: str) -> None:
    classes = compiled(source).policy.classes
    assert classes.labels == ()
    assert "labels:" not in policy_text(compiled(source).policy)
    assert classes.accepted == (("easy", "hard") if source == "label" else ())


def test_the_schema_knows_the_labels() -> None:
    classes = schemas()["policy"]["$defs"]["PolicyClasses"]["properties"]
    assert classes["source"]["enum"] == ["text", "label", "text+label"]
    assert classes["labels"]["type"] == "array"


@pytest.mark.parametrize(
    ("source", "labels"),
    [("text", ("a",)), ("label", ("a",)), ("text+label", ()), ("text+label", ("a", "a"))],
)
def test_labels_stand_where_they_are_read_and_once(source: Any, labels: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="label"):
        PolicyClasses(source=source, names=("easy",), weights=(1.0,), labels=labels)


def test_a_graph_that_reads_other_things_than_the_plan_says_is_refused() -> None:
    both, text = estimator(), words_estimator()
    with pytest.raises(InputError, match="reads other things than the plan") as raised:
        compile_plan(plan_of(both, source="text"), estimator=both)
    assert "expected text; got text and label" in str(raised.value)
    with pytest.raises(InputError, match="expected text and label; got text"):
        compile_plan(plan_of(text, ("easy", "hard")), estimator=text)
    with pytest.raises(InputError, match="its difficulty graph is not here"):
        compile_plan(plan_of(both), estimator=None)


@pytest.mark.parametrize(
    "labels", ["null", "[]", "[1]", "[[]]", '[""]', '["a", "a"]', '"art"', "art"]
)
def test_a_graph_that_does_not_say_its_labels_is_refused(labels: str) -> None:
    with pytest.raises(InputError, match="does not say which ones it knows"):
        made(estimator(labels=labels))


def test_labels_that_the_graph_does_not_know_are_a_disagreement() -> None:
    found = made(estimator(labels=json.dumps(["art", "law", "tax"])))
    assert "label 'tax'" in str(disagreement(found.policy, found.graph))


def test_a_graph_whose_shares_differ_is_found_with_text_and_label() -> None:
    policy = made().policy
    shares = {**policy.rungs[0].shares, "law/hard": {SMALL: 1.0}}
    changed = policy.rungs[0].model_copy(update={"shares": shares})
    other = policy.model_copy(update={"rungs": (changed,)})
    difference = str(disagreement(other, made().graph))
    assert "text '" in difference
    assert "label 'law'" in difference


def test_the_last_of_very_many_labels_is_asked_too() -> None:
    found = made()
    labels = ("art", "law") * 1000 + ("tax",)  # the graph knows all but the last
    classes = found.policy.classes.model_copy(update={"labels": labels})
    many = found.policy.model_copy(update={"classes": classes})
    assert "label 'tax'" in str(disagreement(many, found.graph))


def combined_graph(labels: list[str]) -> tuple[bytes, Combined]:
    """The nodes of `combine` on real text features: more than eight words are hard."""
    found = combine(
        [label for label in labels for _ in range(2)],
        np.tile([0, 1], len(labels)),
        ("easy", "hard"),
        smallest_share=0,
    )
    graph = Graph()
    step = graph.add("Gather", surface(graph), ints(STEPS.index(8)), axis=1)
    passed = graph.add("Greater", graph.add("Squeeze", step, ints(1)), floats(0))
    hard = graph.add("Cast", passed, to=TensorProto.INT64)
    graph.add("Identity", found.append(graph, hard), output="class_index")
    model = graph.model(
        {"class_index": (TensorProto.INT64, ["N"])},
        {"class_names": json.dumps(found.names), "labels": json.dumps(found.labels)},
        inputs=("text", "label"),
    )
    return model.SerializeToString(deterministic=True), found


def test_combined_nodes_compile_check_and_decide(tmp_path: Path) -> None:
    labels = ["a/b", "naïve", "数学", 'say "no"', "tab\there"]
    content, combined = combined_graph(labels)
    compiled_policy = made(content, combined.names)
    path = tmp_path / "policy.yaml"
    write_policy(compiled_policy, path)
    assert check(path) == []
    policy = read_policy(path)
    assert policy.classes.labels == tuple(sorted(labels))
    session = onnxruntime.InferenceSession(
        compiled_policy.graph, providers=["CPUExecutionProvider"]
    )
    asked = [(text, label) for label in [*labels, "a", ""] for text in (SHORT, LONG)]
    uniforms = np.linspace(0, 1, len(asked), endpoint=False, dtype=np.float32)
    classes, strategies = session.run(
        ["class_index", "strategy_index"],
        {
            "text": np.array([text for text, _ in asked], dtype=object),
            "label": np.array([label for _, label in asked], dtype=object),
            "rung": np.zeros(len(asked), dtype=np.int64),
            "uniform": uniforms,
        },
    )
    hard = np.array([text == LONG for text, _ in asked], dtype=np.intp)
    expected = combined.classes([label for _, label in asked], hard)
    assert np.array_equal(classes, expected)
    assert (expected[-4:] == -1).all()
    assert np.array_equal(strategies, choose_many(policy, expected, np.zeros(len(asked)), uniforms))

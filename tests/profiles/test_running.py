"""Running a graph over prompts: every prompt once, in batches of bounded size."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from profiles.difficulty.nodes import Graph
from profiles.difficulty.reading.token_roots import ROOTS, token_roots
from profiles.difficulty.running import outputs


def echo(*inputs: str) -> bytes:
    """A graph that gives back the texts of its last input."""
    graph = Graph()
    graph.add("Identity", inputs[-1], output="echo")
    model = graph.model({"echo": (TensorProto.STRING, ["N"])}, {}, inputs=inputs)
    return bytes(model.SerializeToString())


ECHO = echo("text")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(st.characters(exclude_characters="\0")), max_size=30))
def test_every_prompt_meets_its_own_output_once(prompts: list[str]) -> None:
    found = {}
    for positions, rows in outputs(ECHO, "echo", prompts):
        assert found.keys().isdisjoint(positions)
        found |= dict(zip(positions, rows.tolist(), strict=True))
    assert [found[i] for i in range(len(prompts))] == [
        prompt.encode(errors="replace").decode() for prompt in prompts
    ]


def test_labels_go_with_their_prompts() -> None:
    prompts, labels = ["long prompt", "x", "middle"], ["a", "b", "c"]
    ((positions, rows),) = outputs(echo("text", "label"), "echo", prompts, labels)
    assert [labels[i] for i in positions] == rows.tolist()


def test_a_model_is_read_as_onnx_whatever_its_first_bytes_look_like() -> None:
    """ONNX Runtime takes what has ORTM at its fifth byte for a model of its own format."""
    model = onnx.load_from_string(ECHO)
    model.producer_name = "ORTM"
    content = model.SerializeToString()
    assert content[4:8] == b"ORTM"
    ((_, rows),) = outputs(content, "echo", ["text"])
    assert rows.tolist() == ["text"]


def test_batches_hold_texts_of_like_length_and_a_bounded_number_of_characters() -> None:
    lengths = np.random.default_rng(0).permutation(
        [*range(600), *[10_000] * 500, *[400_000] * 4, 3_000_000]
    )
    prompts = ["x" * int(length) for length in lengths]
    longest = 0
    for positions, _ in outputs(ECHO, "echo", prompts):
        sizes = [len(prompts[i]) for i in positions]
        assert min(sizes) >= longest
        longest = max(sizes)
        assert len(positions) <= 256
        assert len(positions) == 1 or len(positions) * longest <= 1 << 20


@pytest.mark.parametrize("number", [1, 300])
def test_a_prompt_has_the_same_features_in_any_batch(number: int) -> None:
    nodes = Graph()
    nodes.add("Identity", token_roots(nodes), output="features")
    model = nodes.model({"features": (TensorProto.FLOAT, ["N", ROOTS])}, {})
    graph = model.SerializeToString()
    prompts = [f"How many are {i} and {i * 7}? " * (1 + i % 5) for i in range(number)]
    for positions, rows in outputs(graph, "features", prompts):
        for position, row in list(zip(positions, rows, strict=True))[::50]:
            ((_, alone),) = outputs(graph, "features", [prompts[position]])
            np.testing.assert_array_equal(alone[0], row)

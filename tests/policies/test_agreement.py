from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from policy_examples import compiled

from policies.agreement import disagreement
from profiles.errors import InputError


@pytest.mark.parametrize("source", ["label", "text"])
@pytest.mark.parametrize("table", ["cumulative", "costs", "strategies", "class_names"])
def test_a_graph_that_decides_otherwise_is_found(source: str, table: str) -> None:
    made = compiled(source)
    model = onnx.load_from_string(made.graph)
    tensor = next(t for t in model.graph.initializer if t.name == f"decision/{table}")
    if tensor.string_data:
        tensor.string_data[0] = b"forged"
    else:
        values = numpy_helper.to_array(tensor).copy()
        values.flat[0] *= np.float32(0.999)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    difference = disagreement(made.policy, model.SerializeToString())
    assert difference is not None
    assert "the policy says" in difference


@pytest.mark.parametrize("source", ["label", "text"])
def test_a_compiled_graph_decides_as_the_policy_says(source: str) -> None:
    made = compiled(source)
    assert disagreement(made.policy, made.graph) is None


def test_a_graph_that_cannot_run_is_an_error_of_ours() -> None:
    with pytest.raises(InputError, match="cannot run the decision graph"):
        disagreement(compiled().policy, b"no graph")

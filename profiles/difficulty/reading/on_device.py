"""An encoder on a GPU, whose token vectors stay there: of N x T x D numbers N x D come back.

ONNX Runtime's IO binding hands what the model gives to a second small graph, which pools it on the
same device. 32 texts of 256 tokens with a MiniLM are 12.6 MB that nobody copies.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from profiles.difficulty.reading.encoder_contents import Pooling

_TYPES = {
    "tensor(float)": TensorProto.FLOAT,
    "tensor(float16)": TensorProto.FLOAT16,
    "tensor(double)": TensorProto.DOUBLE,
}
_MASK = "attention_mask"
_OPSET, _IR_VERSION = 18, 10
_QUIET = 4  # fatal only: small parts of the graph may run on the CPU


class DeviceRun:
    """Runs a model and pools what it gives where it lies.

    Args:
        session: Of the model; the graph that pools takes its providers.
        output: Of the model: one vector per text, or one per token.
        pooling: How token vectors become one.
        device: Where the session runs, by ONNX Runtime's name: "cuda" or "cpu".
    """

    def __init__(self, session: Any, output: str, pooling: Pooling, device: str) -> None:
        self._session, self._output, self._device = session, output, device
        kinds = {value.name: value.type for value in session.get_outputs()}
        kind = _TYPES.get(kinds[output])
        self._pooling = None
        if kind is not None:
            graph, options = pooling_graph(pooling, kind), onnxruntime.SessionOptions()
            options.log_severity_level = _QUIET
            self._pooling = onnxruntime.InferenceSession(
                graph.SerializeToString(), options, providers=session.get_providers()
            )

    def __call__(self, fed: Mapping[str, NDArray[np.int64]]) -> NDArray[Any]:
        """One vector per text, float64[N, D], or what the model gives where that cannot be pooled.

        Args:
            fed: The model's inputs, int64[N, T] each.
        """
        binding = self._session.io_binding()
        for name, value in fed.items():
            binding.bind_cpu_input(name, value)
        binding.bind_output(self._output, self._device)
        self._session.run_with_iobinding(binding)
        states, mask = binding.get_outputs()[0], fed[_MASK]
        shape = tuple(states.shape())
        if self._pooling is None or len(shape) != 3 or shape[:2] != mask.shape:
            return np.asarray(states.numpy())
        binding = self._pooling.io_binding()
        binding.bind_ortvalue_input("states", states)
        binding.bind_cpu_input("mask", mask)
        binding.bind_output("pooled")
        self._pooling.run_with_iobinding(binding)
        return np.asarray(binding.copy_outputs_to_cpu()[0])


def pooling_graph(pooling: Pooling, kind: int) -> ModelProto:
    """`states`, kind[N, T, D], and `mask`, int64[N, T], to `pooled`, double[N, D]."""
    double, node = TensorProto.DOUBLE, helper.make_node
    if pooling == "cls":
        nodes = [
            node("Gather", ["states", "first"], ["picked"], axis=1),
            node("Cast", ["picked"], ["pooled"], to=double),
        ]
    else:
        nodes = [
            node("Cast", ["states"], ["wide"], to=double),
            node("Cast", ["mask"], ["counts"], to=TensorProto.BOOL),
            node("Unsqueeze", ["counts", "last"], ["each"]),
            node("Where", ["each", "wide", "nothing"], ["counted"]),  # padding may hold anything
            node("ReduceSum", ["counted", "tokens"], ["sum"], keepdims=0),
            node("ReduceSum", ["mask", "tokens"], ["number"], keepdims=1),
            node("Cast", ["number"], ["divisor"], to=double),
            node("Div", ["sum", "divisor"], ["pooled"]),
        ]
    constants = {
        "first": np.array(0),
        "last": np.array([2]),
        "tokens": np.array([1]),
        "nothing": np.array(0.0),
    }
    graph = helper.make_graph(
        nodes,
        "pooling",
        [
            helper.make_tensor_value_info("states", kind, ["N", "T", "D"]),
            helper.make_tensor_value_info("mask", TensorProto.INT64, ["N", "T"]),
        ],
        [helper.make_tensor_value_info("pooled", double, ["N", "D"])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opset = helper.make_opsetid("", _OPSET)
    return helper.make_model(graph, opset_imports=[opset], ir_version=_IR_VERSION)

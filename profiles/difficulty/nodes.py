"""Writing an ONNX graph node by node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

PREFIX = "difficulty/"
EMBEDDING_INPUT = "embedding"
"""Name of the vectors that a sentence encoder gives of the texts."""
OPSETS: Mapping[str, int] = {"": 18, "ai.onnx.ml": 3, "com.microsoft": 1}
IR_VERSION = 10


class Graph:
    """Nodes and constants under one prefix, so that the graph can be merged into another.

    What is asked for twice stands in the graph once: parts that read the same words share them.
    """

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._known: dict[bytes, str] = {}

    def add(
        self,
        kind: str,
        *inputs: str | NDArray[Any],
        domain: str = "",
        output: str | None = None,
        outputs: int = 1,
        **attributes: Any,
    ) -> str:
        """Append a node; arrays become constants. Returns the name of its first output."""
        names = [value if isinstance(value, str) else self._constant(value) for value in inputs]
        wanted = [output or ""] * outputs
        content = helper.make_node(kind, names, wanted, domain=domain, **attributes)
        key = content.SerializeToString(deterministic=True)
        if key in self._known:
            return self._known[key]
        name = f"{PREFIX}{kind}_{len(self._nodes)}"
        output = output or f"{name}:0"
        self._known[key] = output
        every = [output, *(f"{name}:{place}" for place in range(1, outputs))]
        node = helper.make_node(kind, names, every, name=name, domain=domain, **attributes)
        self._nodes.append(node)
        return output

    def model(
        self,
        outputs: Mapping[str, tuple[int, list[str | int]]],
        properties: Mapping[str, str],
        *,
        inputs: Sequence[str] = ("text",),
        vectors: Mapping[str, int] = MappingProxyType({}),
    ) -> onnx.ModelProto:
        """The model with the input `text`, or with other inputs of strings.

        Args:
            outputs: Type and shape by name.
            properties: The file's metadata.
            inputs: Of strings, string[N] each.
            vectors: Width D of every input of numbers, float32[N, D], by name.
        """
        numbers = [
            helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", d])
            for n, d in vectors.items()
        ]
        graph = helper.make_graph(
            self._nodes,
            "difficulty",
            [
                *(helper.make_tensor_value_info(n, TensorProto.STRING, ["N"]) for n in inputs),
                *numbers,
            ],
            [helper.make_tensor_value_info(n, kind, dims) for n, (kind, dims) in outputs.items()],
            self._constants,
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid(name, v) for name, v in OPSETS.items()],
            ir_version=IR_VERSION,
            producer_name="inferbudget",
        )
        helper.set_model_props(model, dict(properties))
        return model

    def _constant(self, value: NDArray[Any]) -> str:
        array = np.ascontiguousarray(value)
        key = f"{array.dtype} {array.shape} ".encode() + array.tobytes()
        if key not in self._known:
            self._known[key] = f"{PREFIX}constant_{len(self._constants)}"
            self._constants.append(numpy_helper.from_array(array, self._known[key]))
        return self._known[key]


def ints(*values: int) -> NDArray[np.int64]:
    """A constant of whole numbers."""
    return np.array(values, dtype=np.int64)


def floats(*values: float) -> NDArray[np.float32]:
    """A constant of numbers."""
    return np.array(values, dtype=np.float32)

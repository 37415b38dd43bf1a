"""Roots of the shares that hashed tokens and pairs of tokens have in a text.

A row has length 1 (0 without a token), so the product of two rows is the Hellinger affinity of two
texts' shares. Every prompt has such a row, whatever words it is made of, which rows over a
vocabulary do not give.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import TensorProto
from scipy.sparse import csr_array, vstack

from profiles.difficulty.nodes import Graph, floats, ints
from profiles.difficulty.reading.text_features import word_keys
from profiles.difficulty.running import outputs

ROOTS = 2048
"""Columns that tokens and pairs are hashed into."""


def token_roots(graph: Graph) -> str:
    """Name of the float32[N, ROOTS] of the graph's input `text`."""
    keys = word_keys(graph)
    # what is no token falls into a column of its own, which is cut off
    columns = graph.add("Mod", keys, ints(ROOTS))
    columns = graph.add("Where", graph.add("Equal", keys, ints(0)), ints(ROOTS), columns)
    size = graph.add("Concat", graph.add("Shape", "text"), ints(ROOTS + 1), axis=0)
    counts = graph.add(
        "ScatterElements",
        graph.add("Expand", floats(0), size),
        columns,
        graph.add("Expand", floats(1), graph.add("Shape", columns)),
        axis=1,
        reduction="add",
    )
    counts = graph.add("Slice", counts, ints(0), ints(ROOTS), ints(1))
    total = graph.add("ReduceSum", counts, ints(1), keepdims=1)
    return graph.add("Sqrt", graph.add("Div", counts, graph.add("Max", total, floats(1))))


def rows_of(prompts: Sequence[str]) -> csr_array:
    """float64[n, ROOTS], computed by the nodes that serve."""
    graph = Graph()
    graph.add("Identity", token_roots(graph), output="roots")
    model = graph.model({"roots": (TensorProto.FLOAT, ["N", ROOTS])}, {})
    batches = [
        (i, csr_array(rows)) for i, rows in outputs(model.SerializeToString(), "roots", prompts)
    ]
    if not batches:
        return csr_array((0, ROOTS))
    order = [position for positions, _ in batches for position in positions]
    rows = vstack([part for _, part in batches], format="csr", dtype=np.float64)
    return csr_array(rows[np.argsort(order)])

"""Predicted scores counted in steps of 1e-5, so that numpy and the graph decide alike.

A predicted score times 1e5 becomes a whole number, held in float64. Sums and products of such
numbers are exact, in any order and on any machine, as long as they stay below 2**53.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from profiles.difficulty.nodes import Graph

Floats = NDArray[np.float64]
STEPS_PER_POINT = 1e5


def as_served(values: NDArray[np.floating[Any]]) -> Floats:
    """The values as a graph passes them on: rounded to float32, held in float64."""
    return np.asarray(values, dtype=np.float32).astype(np.float64)


def on_grid(scores: NDArray[np.floating[Any]]) -> Floats:
    """Scores in 0..1 as whole numbers of steps, 0..1e5, of the same shape."""
    return np.asarray(np.rint(as_served(scores) * STEPS_PER_POINT))


def append_on_grid(graph: Graph, scores: str) -> str:
    """Name of the double[N, S] of whole steps of the graph's float32[N, S] `scores`."""
    steps = graph.add("Mul", append_as_double(graph, scores), np.array(STEPS_PER_POINT))
    return graph.add("Round", steps)


def append_as_double(graph: Graph, values: str) -> str:
    """Name of the double copy of a float32 output."""
    return graph.add("Cast", values, to=TensorProto.DOUBLE)

"""What a predictor of a given weight reads of a text: one sparse row of features.

A sentence encoder's vector can stand behind the row. It comes from outside, and the graph has an
input for it. A vector with a number that is not finite was not read and counts as zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto
from scipy.sparse import csr_array, hstack, vstack

from profiles.difficulty.nodes import EMBEDDING_INPUT, Graph, floats, ints
from profiles.difficulty.reading.bags import Bag, Vocabulary, read_keys, vocabulary
from profiles.difficulty.reading.text_features import (
    STEPS,
    SURFACE,
    character_keys,
    surface,
    word_keys,
)
from profiles.difficulty.running import outputs

Floats = NDArray[np.float64]
Vectors = NDArray[np.float32]
_SURFACE_COLUMNS = len(SURFACE) * len(STEPS)


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is read: bags of keys, and whether the surface's counts and an encoder's vector are."""

    bags: tuple[Callable[[Graph], str], ...]
    with_surface: bool
    with_vectors: bool = False


RECIPES: Mapping[str, Recipe] = {
    "words": Recipe((word_keys,), with_surface=False),
    "words+surface": Recipe((word_keys,), with_surface=True),
    "words+surface+characters": Recipe((word_keys, character_keys), with_surface=True),
    "words+surface+encoder": Recipe((word_keys,), with_surface=True, with_vectors=True),
}


@dataclass(frozen=True, slots=True)
class Reading:
    """How texts become rows: bags in their order, the surface, a constant 1.

    Attributes:
        recipe: What is read.
        vocabularies: One per bag.
    """

    recipe: Recipe
    vocabularies: tuple[Vocabulary, ...]

    @classmethod
    def learn(cls, recipe: Recipe, prompts: Sequence[str]) -> tuple[Reading, csr_array]:
        """Vocabularies of the prompts' texts alone, and the prompts' rows."""
        keys = [read_keys(bag, prompts) for bag in recipe.bags]
        reading = cls(recipe, tuple(vocabulary(of_bag) for of_bag in keys))
        return reading, reading._rows(keys, prompts)

    def rows(self, prompts: Sequence[str]) -> csr_array:
        """float64[n, p]."""
        return self._rows([read_keys(bag, prompts) for bag in self.recipe.bags], prompts)

    def _rows(
        self, keys: Sequence[Sequence[NDArray[np.int64]]], prompts: Sequence[str]
    ) -> csr_array:
        parts = [v.rows(of_bag) for v, of_bag in zip(self.vocabularies, keys, strict=True)]
        if self.recipe.with_surface:
            parts.append(_surface_rows(prompts))
        parts.append(csr_array(np.ones((len(prompts), 1))))
        return csr_array(hstack(parts, format="csr"))


@dataclass(frozen=True, slots=True)
class Linear:
    """Learned weights of a reading's rows, as they are served.

    Attributes:
        reading: Of texts.
        bags: One per vocabulary, K columns each.
        surface: float64[surface columns, K], to 5 decimals; None where the surface is not read.
        vectors: float64[D, K], to 5 decimals; D is 0 where no vector is read.
        bias: float64[K], to 5 decimals.
    """

    reading: Reading
    bags: tuple[Bag, ...]
    surface: Floats | None
    vectors: Floats
    bias: Floats

    @classmethod
    def of(cls, reading: Reading, weights: Floats, bias: Floats) -> Linear:
        """The nearest to float64[p + D, K] weights and float64[K] bias that can be served."""
        sizes = [len(v.keys) for v in reading.vocabularies]
        sizes += [_SURFACE_COLUMNS if reading.recipe.with_surface else 0, 1]
        *of_bags, steps, constant, vectors = np.split(weights, np.cumsum(sizes))
        bags = tuple(Bag.of(v, w) for v, w in zip(reading.vocabularies, of_bags, strict=True))
        return cls(
            reading,
            bags,
            rounded(steps) if reading.recipe.with_surface else None,
            rounded(vectors),
            rounded(constant[0] + bias),
        )

    def predict(self, rows: csr_array, vectors: Vectors | None = None) -> Floats:
        """float64[n, K] for rows of the reading and vectors: what the graph computes."""
        parts = [bag.weights() for bag in self.bags]
        if self.surface is not None:
            parts.append(self.surface)
        parts.append(self.bias[None, :])
        found = np.asarray(rows @ np.vstack(parts))
        if vectors is not None:
            found += np.where(was_read(vectors)[:, None], vectors, 0).astype(float) @ self.vectors
        return found

    def append(self, graph: Graph) -> str:
        """Name of the double[N, K] for the graph's inputs `text` and, if read, `embedding`."""
        total = self.bias
        name = ""
        for read, bag in zip(self.reading.recipe.bags, self.bags, strict=True):
            name = graph.add("Add", bag.append(graph, read(graph)), name or total)
        if self.surface is not None:
            steps = graph.add("Cast", surface(graph), to=TensorProto.DOUBLE)
            name = graph.add("Add", graph.add("MatMul", steps, self.surface), name)
        if len(self.vectors):
            known = graph.add("Unsqueeze", append_was_read(graph), ints(1))
            vectors = graph.add("Where", known, EMBEDDING_INPUT, floats(0))
            vectors = graph.add("Cast", vectors, to=TensorProto.DOUBLE)
            name = graph.add("Add", graph.add("MatMul", vectors, self.vectors), name)
        return name


def was_read(vectors: Vectors) -> NDArray[np.bool_]:
    """bool[n]: rows of float32[n, D] in which every number is finite."""
    return np.asarray(np.isfinite(vectors).all(axis=1))


def append_was_read(graph: Graph) -> str:
    """Name of the bool[N] of the graph's float32[N, D] `embedding`: whether all is finite."""
    largest = np.array(np.finfo(np.float32).max)
    finite = graph.add("LessOrEqual", graph.add("Abs", EMBEDDING_INPUT), largest)  # nan is not
    least = graph.add(
        "ReduceMin", graph.add("Cast", finite, to=TensorProto.FLOAT), ints(1), keepdims=0
    )
    return graph.add("Cast", least, to=TensorProto.BOOL)


def rounded(values: Floats) -> Floats:
    """To 5 decimals: far coarser than the last bits in which machines differ."""
    return np.asarray(values.round(5) + 0.0)  # -0.0 and 0.0 have different bytes


def _surface_rows(prompts: Sequence[str]) -> csr_array:
    graph = Graph()
    graph.add("Identity", surface(graph), output="surface")
    model = graph.model({"surface": (TensorProto.FLOAT, ["N", _SURFACE_COLUMNS])}, {})
    batches = [(i, csr_array(r)) for i, r in outputs(model.SerializeToString(), "surface", prompts)]
    order = [position for positions, _ in batches for position in positions]
    rows = vstack([part for _, part in batches], format="csr", dtype=np.float64)
    return csr_array(rows[np.argsort(order)])

"""Bags of hashed words and characters: sparse for the trainer, an embedding bag in the graph.

A text is a set of keys (`text_features.py`). Keys that enough training prompts have are numbered; a
known key weighs its inverse document frequency, and the weights of a text have length 1 together.
Keys that a text repeats count once. The graph adds up one row of learned weights per known key, so
its time grows with the text and not with the vocabulary. Rows are whole numbers of 8 bits times one
scale per column: small in the file, and their sums are exact in whatever order a machine adds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto
from scipy.sparse import csr_array

from profiles.difficulty.nodes import Graph, ints
from profiles.difficulty.running import outputs

Floats = NDArray[np.float64]
LEAST_PROMPTS = 2
MOST_KEYS = 32_768
_LARGEST = 127


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The keys that have a column.

    Attributes:
        keys: int64[V], ascending.
        idf: float64[V]: 1 + log((n + 1) / (prompts with the key + 1)), to 5 decimals.
    """

    keys: NDArray[np.int64]
    idf: Floats

    def rows(self, keys: Sequence[NDArray[np.int64]]) -> csr_array:
        """float64[n, V] of length 1 each (0 where no key is known), from distinct keys per text."""
        sizes = [len(of_text) for of_text in keys]
        flat = np.concatenate([*keys, np.zeros(0, dtype=np.int64)])
        text = np.repeat(np.arange(len(keys)), sizes)
        column = np.searchsorted(self.keys, flat).clip(max=max(len(self.keys) - 1, 0))
        known = self.keys[column] == flat if len(self.keys) else np.zeros(len(flat), dtype=bool)
        text, column = text[known], column[known]
        squares = np.bincount(text, self.idf[column] ** 2, minlength=len(keys))
        values = self.idf[column] / np.sqrt(squares)[text]
        return csr_array((values, (text, column)), shape=(len(keys), len(self.keys)))


def read_keys(keys_of: Callable[[Graph], str], prompts: Sequence[str]) -> list[NDArray[np.int64]]:
    """The distinct keys of every prompt, ascending, from the nodes that will serve."""
    graph = Graph()
    graph.add("Identity", keys_of(graph), output="keys")
    model = graph.model({"keys": (TensorProto.INT64, ["N", "T"])}, {})
    found: list[NDArray[np.int64]] = [np.zeros(0, dtype=np.int64)] * len(prompts)
    for positions, keys in outputs(model.SerializeToString(), "keys", prompts):
        for position, row in zip(positions, keys, strict=True):
            distinct = np.unique(row)
            found[position] = distinct[distinct != 0]
    return found


def vocabulary(keys: Sequence[NDArray[np.int64]]) -> Vocabulary:
    """The most frequent keys, at most `MOST_KEYS`, each in at least `LEAST_PROMPTS` texts."""
    distinct, counts = np.unique(
        np.concatenate([*keys, np.zeros(0, dtype=np.int64)]), return_counts=True
    )
    kept = np.lexsort((distinct, -counts))[:MOST_KEYS]
    kept = np.sort(kept[counts[kept] >= LEAST_PROMPTS])
    idf = 1 + np.log((len(keys) + 1) / (counts[kept] + 1))
    return Vocabulary(distinct[kept], idf.round(5))


@dataclass(frozen=True, slots=True)
class Bag:
    """Learned weights per known key, in whole numbers.

    Attributes:
        vocabulary: V keys.
        levels: int8[V, K]; times `scale` they are the weights times the keys' idf.
        scale: float64[K].
    """

    vocabulary: Vocabulary
    levels: NDArray[np.int8]
    scale: Floats

    @classmethod
    def of(cls, vocabulary: Vocabulary, weights: Floats) -> Bag:
        """The bag nearest to float64[V, K] weights of the columns of `Vocabulary.rows`."""
        scaled = weights * vocabulary.idf[:, None]
        scale = np.abs(scaled).max(axis=0, initial=0).round(5) / _LARGEST
        scale = np.where(scale > 0, scale, 1.0)
        levels = np.rint(scaled / scale).clip(-_LARGEST, _LARGEST)
        return cls(vocabulary, levels.astype(np.int8), scale)

    def weights(self) -> Floats:
        """float64[V, K]: what the levels stand for, to be multiplied with `Vocabulary.rows`."""
        return np.asarray(self.levels * self.scale / self.vocabulary.idf[:, None])

    def append(self, graph: Graph, keys: str) -> str:
        """Name of the double[N, K] of `Vocabulary.rows` times `weights`, for int64[N, T] keys."""
        size = len(self.vocabulary.keys)
        columns = graph.add(
            "LabelEncoder",
            keys,
            domain="ai.onnx.ml",
            keys_int64s=[0, *self.vocabulary.keys.tolist()],
            values_int64s=list(range(size + 1)),
            default_int64=0,
        )
        columns = _each_once(graph, columns)
        nothing = np.zeros((1, self.levels.shape[1]), dtype=np.int8)
        rows = graph.add("Gather", np.vstack([nothing, self.levels]), columns, axis=0)
        rows = graph.add("Cast", rows, to=TensorProto.FLOAT)
        total = graph.add("ReduceSum", rows, ints(1), keepdims=0)
        total = graph.add("Cast", total, to=TensorProto.DOUBLE)
        squares = np.concatenate([[0.0], self.vocabulary.idf**2])
        length = graph.add("Gather", squares, columns, axis=0)
        length = graph.add("ReduceSum", length, ints(1), keepdims=1)
        length = graph.add("Sqrt", graph.add("Max", length, np.array([1.0])))  # no idf is below 1
        return graph.add("Div", graph.add("Mul", total, self.scale), length)


def _each_once(graph: Graph, columns: str) -> str:
    """Each row sorted, with repeated entries set to 0."""
    count = graph.add("Slice", graph.add("Shape", columns), ints(1), ints(2))
    ordered = graph.add("TopK", columns, count, outputs=2, axis=1)
    ahead = graph.add("Slice", ordered, ints(1), ints(np.iinfo(np.int64).max), ints(1))
    behind = graph.add("Slice", ordered, ints(0), ints(-1), ints(1))
    fresh = graph.add("Where", graph.add("Equal", ahead, behind), ints(0), ahead)
    first = graph.add("Slice", ordered, ints(0), ints(1), ints(1))
    return graph.add("Concat", first, fresh, axis=1)

"""Rows of features, sparse in front and dense behind, multiplied without making either the other.

The dense part is held in 32 bits and multiplied in 64, a few thousand rows at a time: the sums of a
matrix product depend on how a machine cuts it, and in 64 bits what that changes is far below what
anybody rounds to.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

Floats = NDArray[np.float64]
Vectors = NDArray[np.float32]
_ROWS_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class Features:
    """n rows of p + D features.

    Attributes:
        sparse: [n, p], of the precision to calculate in; the last column is a constant.
        dense: float32[n, D]; D may be 0.
    """

    sparse: csr_array
    dense: Vectors

    @classmethod
    def of(cls, sparse: csr_array, dense: Vectors | None = None) -> Features:
        """Features whose dense part is empty where there is none."""
        return cls(sparse, np.zeros((sparse.shape[0], 0), np.float32) if dense is None else dense)

    @property
    def width(self) -> int:
        """Of a row: p + D."""
        p, dense = self.sparse.shape[1], self.dense.shape[1]
        return int(p + dense)

    def blocks(self) -> Iterator[tuple[Features, slice]]:
        """The sparse part, and the dense part with the constant; places of their columns."""
        width = self.sparse.shape[1]
        yield Features.of(self.sparse), slice(0, width)
        if self.dense.shape[1]:
            yield Features(csr_array(self.sparse[:, [-1]]), self.dense), slice(width - 1, None)

    def part(self, rows: NDArray[np.intp]) -> Features:
        """Some of the rows."""
        return Features(csr_array(self.sparse[rows]), self.dense[rows])

    def mean_square(self) -> float:
        """Mean squared length of a row."""
        squares = float(self.sparse.multiply(self.sparse).sum())
        squares += float(np.einsum("nd,nd->", self.dense, self.dense, dtype=np.float64))
        return squares / self.sparse.shape[0]

    def times(self, weights: NDArray[np.floating]) -> NDArray[np.floating]:
        """[n, k] of the precision of the weights, which are [p + D, k]."""
        width = self.sparse.shape[1]
        found = np.asarray(self.sparse @ weights[:width])
        if self.dense.shape[1]:
            behind = weights[width:].astype(np.float64)
            for rows in self._slices():
                found[rows] += self.dense[rows].astype(np.float64) @ behind
        return found

    def transposed_times(self, values: NDArray[np.floating]) -> NDArray[np.floating]:
        """[p + D, k] of the precision of the values, which are [n, k]."""
        behind = np.zeros((self.dense.shape[1], values.shape[1]))
        if self.dense.shape[1]:
            for rows in self._slices():
                behind += self.dense[rows].T.astype(np.float64) @ values[rows].astype(np.float64)
        return np.vstack([self.sparse.T @ values, behind.astype(values.dtype)])

    def _slices(self) -> Iterator[slice]:
        for start in range(0, len(self.dense), _ROWS_AT_ONCE):
            yield slice(start, start + _ROWS_AT_ONCE)

"""Matrices of margins: a few entries per column, less a few rows that are spread over many.

The error of an aggregate has one component per class, and a column belongs to one class: those
components are sparse. The counted class mix compares each class with the mean of all, ``v_d -
sum_e w_e v_e``: the mean is one dense row, common to all components. So a matrix is kept as::

    M = E - L R      E: entries,  L: shape (components, dense rows),  R: shape (dense rows, columns)

and every product with it costs the number of entries, not components times columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Rows:
    """``E - left @ right``; see above.

    Attributes:
        shape: Components and columns.
        component: Row of each entry of E.
        column: Column of it.
        entry: Its value; entries at one place add up.
        left: Shape (components, dense rows).
        right: Shape (dense rows, columns).
    """

    shape: tuple[int, int]
    component: NDArray[np.intp]
    column: NDArray[np.intp]
    entry: Array
    left: Array
    right: Array

    @classmethod
    def of_entries(
        cls,
        shape: tuple[int, int],
        component: NDArray[np.intp],
        column: NDArray[np.intp],
        entry: Array,
    ) -> Rows:
        """A matrix of these entries alone."""
        none = np.zeros((shape[0], 0)), np.zeros((0, shape[1]))
        return cls(shape, component, column, entry, *none)

    def __len__(self) -> int:
        """How many components there are."""
        return self.shape[0]

    def times(self, x: Array) -> Array:
        """``M x``, shape (components,)."""
        sparse = np.bincount(self.component, self.entry * x[self.column], self.shape[0])
        return np.asarray(sparse - self.left @ (self.right @ x))

    def combined(self, u: Array) -> Array:
        """``u M``, shape (columns,)."""
        sparse = np.bincount(self.column, self.entry * u[self.component], self.shape[1])
        return np.asarray(sparse - (u @ self.left) @ self.right)

    def scaled(self, factor: float) -> Rows:
        """``factor * M``."""
        return replace(self, entry=self.entry * factor, right=self.right * factor)

    def of_columns(self, keep: NDArray[np.bool_]) -> Rows:
        """The columns where `keep` holds, in their order."""
        kept = keep[self.column]
        place = np.cumsum(keep) - 1
        return Rows(
            shape=(self.shape[0], int(keep.sum())),
            component=self.component[kept],
            column=place[self.column[kept]],
            entry=self.entry[kept],
            left=self.left,
            right=self.right[:, keep],
        )

    def of_sources(self, source: NDArray[np.intp], factor: Array) -> Rows:
        """A matrix of other columns: column j is column ``source[j]`` times ``factor[j]``."""
        order = np.argsort(self.column, kind="stable")
        counts = np.bincount(self.column, minlength=self.shape[1])
        starts = np.cumsum(counts) - counts
        wanted = np.where(factor == 0, 0, counts[source])
        column = np.repeat(np.arange(len(source)), wanted)
        within = np.arange(len(column)) - np.repeat(np.cumsum(wanted) - wanted, wanted)
        taken = order[starts[source][column] + within]
        return Rows(
            shape=(self.shape[0], len(source)),
            component=self.component[taken],
            column=column,
            entry=self.entry[taken] * factor[column],
            left=self.left,
            right=self.right[:, source] * factor,
        )

    def with_last(self, row: Array) -> Rows:
        """The matrix with this added to its last component."""
        columns = np.arange(self.shape[1])
        return replace(
            self,
            component=np.concatenate([self.component, np.full(len(row), self.shape[0] - 1)]),
            column=np.concatenate([self.column, columns]),
            entry=np.concatenate([self.entry, row]),
        )


def stacked(parts: Sequence[Rows]) -> Rows:
    """Components of one matrix after those of the other; their columns are the same."""
    above = np.cumsum([0, *(len(part) for part in parts)])
    before = np.cumsum([0, *(len(part.right) for part in parts)])
    left = np.zeros((above[-1], before[-1]))
    for number, part in enumerate(parts):
        own = slice(before[number], before[number + 1])
        left[above[number] : above[number + 1], own] = part.left
    return Rows(
        shape=(int(above[-1]), parts[0].shape[1]),
        component=np.concatenate([p.component + a for p, a in zip(parts, above, strict=False)]),
        column=np.concatenate([part.column for part in parts]),
        entry=np.concatenate([part.entry for part in parts]),
        left=left,
        right=np.vstack([part.right for part in parts]),
    )

"""A margin split by component, for questions that cuts of the whole margin do not settle.

A cut of ``|v| <= t`` is one plane in as many dimensions as v has: where the best point lies on a
round part of the cone, hundreds of them are needed. Split, ``v_i^2 / t <= s_i`` and ``sum s <= t``,
every component has planes of its own, ``s_i >= 2 u_i v_i - u_i^2 t``, and a few each are enough.
Together those of one direction u say all that its cut of the whole margin says. Vielma, Dunning,
Huchette and Lubin, "Extended formulations in mixed integer conic quadratic programming",
Mathematical Programming Computation 9 (2017).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array

from planner.programme.margin import Array, Margin
from planner.programme.sifting import Sifted

SAME = 1e-5
"""Planes of one component this near are the same: they differ by its square, times the margin."""


class SplitCone:
    """Columns and rows of one margin, ``t >= |M x + k|``. The planes hold for every offset k.

    All columns are 0 or more: in place of v there is ``v + t``.

    Args:
        lp: Where they come in.
        margin: The margin.
        noise: A column that adds to the last component, None for none.
    """

    def __init__(self, lp: Sifted, margin: Margin, noise: int | None) -> None:
        self._lp = lp
        matrix, count = margin.matrix, len(margin.matrix)
        means = len(matrix.right)
        first = lp.add_columns(1 + 2 * count + 2 * means)
        self.length = first
        """The column t."""
        self._moved = first + 1 + np.arange(count)
        self._squares = self._moved + count
        self._plane_rows = np.zeros(0, dtype=np.intp)
        self._of, self._u = np.zeros(0, dtype=np.intp), np.zeros(0)
        # What many components share, R x, has columns of its own: for both signs, 0 or more each.
        above = first + 1 + 2 * count + np.arange(means)
        self._lasting = []
        for right, up in zip(matrix.right, above.tolist(), strict=True):
            at = np.flatnonzero(right)
            where, values = [*at, up, up + means], [*right[at], -1.0, 1.0]
            row = lp.add_sparse_row(np.array(where), np.array(values))
            lp.bound_row(row, low=0.0, high=0.0)
            self._lasting.append(row)
        own = coo_array((matrix.entry, (matrix.component, matrix.column)), shape=matrix.shape)
        sparse = csr_array(own)
        self._links = []
        for i in range(count):
            one = sparse[[i]]
            shared = matrix.left[i]
            where = [*one.indices, *above, *(above + means), self.length, self._moved[i]]
            values = [*one.data, *-shared, *shared, 1.0, -1.0]
            if noise is not None and i == count - 1:
                where, values = [*where, noise], [*values, 1.0]
            keep = np.flatnonzero(values)
            self._links.append(lp.add_sparse_row(np.array(where)[keep], np.array(values)[keep]))
        everything = np.append(self._squares, self.length)
        total = lp.add_sparse_row(everything, np.append(np.ones(count), -1.0))
        lp.bound_row(total, high=0.0)
        self._lasting.append(total)

    @property
    def lasting_rows(self) -> list[int]:
        """All rows but the planes."""
        return [*self._links, *self._lasting]

    @property
    def planes(self) -> list[int]:
        """Rows of the planes."""
        return self._plane_rows.tolist()

    def renumber(self, numbers: NDArray[np.intp]) -> None:
        """Take other numbers of rows; planes without one are gone."""
        self._links = [int(numbers[row]) for row in self._links]
        self._lasting = [int(numbers[row]) for row in self._lasting]
        rows = numbers[self._plane_rows]
        stay = rows >= 0
        self._plane_rows, self._of, self._u = rows[stay], self._of[stay], self._u[stay]

    def move(self, offset: Array) -> None:
        """Give the offset k."""
        for link, value in zip(self._links, offset.tolist(), strict=True):
            self._lp.bound_row(link, low=-value, high=-value)

    def cut(self, direction: Array) -> None:
        """Add the planes of a direction, a unit vector, that are not there yet."""
        near = np.abs(direction[self._of] - self._u) < SAME
        known = np.zeros(len(direction), dtype=np.bool_)
        known[self._of[near]] = True
        new = np.flatnonzero(~known)
        if not len(new):
            return
        u = direction[new]
        where = np.column_stack(
            [self._squares[new], self._moved[new], np.full(len(new), self.length)]
        )
        values = np.column_stack([np.ones(len(new)), -2 * u, u * u + 2 * u])
        rows = self._lp.add_sparse_rows(where, values)
        for row in rows.tolist():
            self._lp.bound_row(row, low=0.0)
        self._plane_rows = np.append(self._plane_rows, rows)
        self._of, self._u = np.append(self._of, new), np.append(self._u, u)

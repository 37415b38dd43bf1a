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
        count = len(margin.matrix)
        first = lp.add_columns(1 + 2 * count)
        self.length = first
        """The column t."""
        self._moved = first + 1 + np.arange(count)
        self._squares = first + 1 + count + np.arange(count)
        self._planes: list[list[float]] = [[] for _ in range(count)]
        self._links = []
        for i in range(count):
            unit = np.zeros(count)
            unit[i] = 1.0
            body = margin.matrix.combined(unit)
            at = np.flatnonzero(body)
            where, values = [*at, self.length, self._moved[i]], [*body[at], 1.0, -1.0]
            if noise is not None and i == count - 1:
                where, values = [*where, noise], [*values, 1.0]
            self._links.append(lp.add_sparse_row(np.array(where), np.array(values)))
        everything = np.append(self._squares, self.length)
        total = lp.add_sparse_row(everything, np.append(np.ones(count), -1.0))
        lp.bound_row(total, high=0.0)

    def move(self, offset: Array) -> None:
        """Give the offset k."""
        for link, value in zip(self._links, offset.tolist(), strict=True):
            self._lp.bound_row(link, low=-value, high=-value)

    def cut(self, direction: Array) -> None:
        """Add the planes of a direction, a unit vector, that are not there yet."""
        for i, u in enumerate(direction.tolist()):
            if any(abs(u - known) < SAME for known in self._planes[i]):
                continue
            self._planes[i].append(u)
            where = np.array([self._squares[i], self._moved[i], self.length])
            row = self._lp.add_sparse_row(where, np.array([1.0, -2 * u, u * u + 2 * u]))
            self._lp.bound_row(row, low=0.0)

"""Segments: every class of every tenant, which share what was measured of the class.

A plan with tenants decides ``x[t, d, s]``, the share of tenant t's requests of class d that
strategy s answers. What it does over all traffic is a plan of its own over the measured cells::

    X[d, s] = sum_t f_td x[t, d, s]     f_td = (share of t) (share of d in t) / (share of d)

so every row about all traffic, margin included, is the row of X with its coefficients times f, and
every row about one tenant is a row over that tenant's columns.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from planner.estimating.estimates import Estimates
from planner.programme.limit_row import LimitRow
from planner.programme.margin import Array, Margin


@dataclass(frozen=True)
class Segments:
    """How columns of segments and measured columns belong together.

    Attributes:
        names: Tenants.
        shares: Share of all requests per tenant, shape (tenants,).
        mixes: Share of each class in a tenant's requests, shape (tenants, classes).
        base: Estimates of the measured columns, with the class mix of all tenants together.
    """

    names: tuple[str, ...]
    shares: Array
    mixes: Array
    base: Estimates

    @property
    def source(self) -> NDArray[np.intp]:
        """Measured column per column of segments: tenant after tenant."""
        return np.tile(np.arange(self.base.columns), len(self.names))

    @property
    def factor(self) -> Array:
        """``f_td`` per column of segments.

        A class without traffic is answered as the first tenant's would be.
        """
        parts = self.shares[:, None] * self.mixes
        weights = self.base.weights
        factor = parts / np.where(weights > 0, weights, 1.0)
        factor[0, weights <= 0] = 1.0
        return np.asarray(factor[:, self.base.class_of].ravel())

    def estimates(self) -> Estimates:
        """Columns of segments as estimates of their own: for the programme, not for promises."""
        e, source = self.base, self.source
        classes = len(e.classes)
        tenant = np.repeat(np.arange(len(self.names)), e.columns)
        arrays = {
            field.name: getattr(e, field.name)[..., source]
            for field in fields(e)
            if isinstance(getattr(e, field.name), np.ndarray) and field.name != "weights"
        }
        arrays["class_of"] = tenant * classes + e.class_of[source]
        return replace(
            e,
            classes=tuple(f"{name}/{one}" for name in self.names for one in e.classes),
            weights=(self.shares[:, None] * self.mixes).ravel(),
            cells=tuple(e.cells[column] for column in source),
            **arrays,
        )

    def of_all(self, x: Array) -> Array:
        """What an allocation of segments does over all traffic, per measured column."""
        return np.asarray(np.bincount(self.source, self.factor * x, self.base.columns), np.float64)

    def of_tenant(self, x: Array, number: int) -> Array:
        """One tenant's part of an allocation, per measured column."""
        return x[number * self.base.columns : (number + 1) * self.base.columns]

    def alike(self, x: Array) -> Array:
        """The allocation of segments that treats all tenants alike."""
        return np.tile(x, len(self.names))

    def spread(self, values: Array) -> Array:
        """Coefficients about all traffic, as coefficients of segments."""
        return values[self.source] * self.factor

    def about_all(self, row: LimitRow) -> LimitRow:
        """A row about all traffic."""
        full = np.zeros(self.base.columns)
        full[row.at] = row.body
        body = self.spread(full)
        at = np.flatnonzero(body)
        margin = None if row.margin is None else self.margin_about_all(row.margin)
        return replace(row, at=at, body=body[at], margin=margin)

    def margin_about_all(self, margin: Margin) -> Margin:
        """The margin of an allocation's sum over all tenants."""
        matrix = margin.matrix.of_sources(self.source, self.factor)
        return Margin(margin.z, matrix)

    def about_tenant(self, row: LimitRow, number: int, limit: str) -> LimitRow:
        """A row about one tenant, under the name that the limit has in the spec."""
        start = number * self.base.columns
        margin = row.margin
        if margin is not None:
            own = np.zeros(self.base.columns * len(self.names))
            own[start : start + self.base.columns] = 1.0
            margin = Margin(margin.z, margin.matrix.of_sources(self.source, own))
        return replace(row, limit=limit, name=limit, at=row.at + start, margin=margin)

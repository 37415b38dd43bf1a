"""Cap lines: how long a completion may get by the length of its prompt before it is cut.

``max_tokens = a + b * tokens_in`` with about 1 % of completions longer. The slope comes from 99th
percentiles of groups of equal size along the prompt length. The intercept is then the split-free
conformal quantile of ``tokens_out - b * tokens_in``: the ``ceil((n + 1) * 0.99)``-th smallest, so
that a further request exceeds the line with probability of at most 1 %, whatever the slope.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from profiles.cells.sql import Query

if TYPE_CHECKING:
    import duckdb

    Execute = Callable[[str, Sequence[Any]], duckdb.DuckDBPyConnection]

Floats = NDArray[np.float64]
LONGER = 0.01
"""Share of completions that a cap may cut."""

LEAST_ROWS = 1000
"""Ten expected completions beyond the line; with fewer its place is a guess."""

_GROUP = 200
_MOST_GROUPS = 20


@dataclass(frozen=True, slots=True)
class CapLine:
    """The longest completion to allow.

    Attributes:
        intercept: Completion tokens for an empty prompt; negative where the slope starts late.
        slope: Further completion tokens per prompt token, never negative.
        rows: Requests behind it.
    """

    intercept: float
    slope: float
    rows: int

    def max_tokens(self, tokens_in: int) -> int:
        """The cap for a prompt of this length, at least 1."""
        return max(1, math.ceil(self.intercept + self.slope * tokens_in))


def cap_line(tokens_in: Floats, tokens_out: Floats) -> CapLine | None:
    """The line of one cell, None with fewer than `LEAST_ROWS` rows. Arrays of shape (rows,)."""
    rows = len(tokens_in)
    if rows < LEAST_ROWS:
        return None
    slope = _slope(tokens_in, tokens_out)
    rest = np.sort(tokens_out - slope * tokens_in)
    rank = min(math.ceil((rows + 1) * (1 - LONGER)), rows)
    return CapLine(float(rest[rank - 1]), slope, rows)


def _slope(tokens_in: Floats, tokens_out: Floats) -> float:
    """Least squares through the groups' 99th percentiles; 0 where prompts hardly differ."""
    groups = min(_MOST_GROUPS, len(tokens_in) // _GROUP)
    order = np.lexsort((tokens_out, tokens_in))
    parts = np.array_split(order, groups)
    centres = np.array([tokens_in[part].mean() for part in parts])
    tops = np.array([np.quantile(tokens_out[part], 1 - LONGER) for part in parts])
    apart = centres - centres.mean()
    spread = float(apart @ apart)
    return max(0.0, float(apart @ (tops - tops.mean())) / spread) if spread > 0 else 0.0


def cap_lines(execute: Execute, source: Query) -> dict[tuple[str, str], CapLine]:
    """Lines of all cells with enough rows, by class (empty where it has none) and strategy.

    One strategy is in memory at a time.

    Args:
        execute: Runs a statement with its values.
        source: Rows with `class_name`, `strategy`, `tokens_in` and `tokens_out`.
    """
    listed = f"SELECT DISTINCT strategy FROM ({source.sql}) ORDER BY strategy"  # noqa: S608
    rows = f"""
        SELECT coalesce(class_name, '') AS class_name, tokens_in, tokens_out FROM ({source.sql})
        WHERE strategy = ? AND tokens_in IS NOT NULL AND tokens_out IS NOT NULL
        ORDER BY class_name, tokens_in, tokens_out
    """  # noqa: S608 - fixed names
    found = {}
    for (strategy,) in execute(listed, source.values).fetchall():
        columns = execute(rows, (*source.values, strategy)).fetchnumpy()
        names = columns["class_name"]
        for name in dict.fromkeys(names.tolist()):
            own = names == name
            line = cap_line(
                *(columns[c][own].astype(np.float64) for c in ("tokens_in", "tokens_out"))
            )
            if line:
                found[name, strategy] = line
    return found

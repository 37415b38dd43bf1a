"""Queries by the class that the store holds for them: their outcomes and samples of their prompts.

Prompts are sampled by DuckDB, in the order of a hash of their ids and a seed, and come a part at a
time: memory holds numbers per query and strategy, never all texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from profiles.cells import sql
from profiles.pricing.rates import Rate
from profiles.store.session import Execute
from profiles.visible import escaped

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
#: Prompts whose pieces are counted, at most.
MOST_READ = 20_000
#: Characters that are read of a prompt; an estimator itself reads about as many.
CHARACTERS_READ = 8_192
#: Characters of a sample prompt that are shown.
WIDTH = 100
_AT_ONCE = 2_000
_UNIT = "1152921504606846976"  # 2^60: sums of whole numbers have no order

_CLASSED = "SELECT query_id, class_name FROM classes WHERE workload = ? AND estimator_digest = ?"
_PLACES = f"""
    SELECT query_id, row_number() OVER (ORDER BY query_id) - 1 AS place,
        list_position(?::VARCHAR[], class_name) - 1 AS class_index
    FROM ({_CLASSED})
"""  # noqa: S608 - fixed names
_SHUFFLED = "md5(query_id || ?), query_id"


class Key(NamedTuple):
    """Whose classes of which queries."""

    workload: str
    estimator_digest: str


@dataclass(frozen=True, slots=True)
class Sorted:
    """Measured outcomes of the queries that have a class, in the order of their ids.

    Attributes:
        class_index: Shape (n,): place in the estimator's class names.
        strategies: S canonical texts, sorted.
        scores: Shape (n, S): mean score over the samples of a query, nan where unmeasured.
        costs: Shape (n, S): mean dollars, nan where unmeasured or unknown.
    """

    class_index: Indices
    strategies: tuple[str, ...]
    scores: Floats
    costs: Floats


@dataclass(frozen=True, slots=True)
class SamplePrompt:
    """The beginning of a prompt on one line.

    Attributes:
        query_id: Whose.
        text: At most 100 characters; what cannot be printed is escaped.
    """

    query_id: str
    text: str


class ReadPrompt(NamedTuple):
    """A prompt, up to its 8,192nd character, with its class and its label, "" without one."""

    class_name: str
    text: str
    label: str


def is_known(execute: Execute, key: Key) -> bool:
    """Whether any query has a class of this estimator."""
    return bool(execute(f"{_CLASSED} LIMIT 1", key).fetchall())


def visible(text: str, width: int = WIDTH) -> str:
    """A text on one line of at most `width` characters; what cannot be printed is escaped."""
    line = escaped(text[:width])
    return line if len(text) <= width and len(line) <= width else line[: width - 1] + "…"


def outcomes_of(execute: Execute, key: Key, names: Sequence[str], rates: Sequence[Rate]) -> Sorted:
    """Outcomes of all queries with a class; rows without dollars are priced by `rates`."""
    ids = execute(f"SELECT class_index FROM ({_PLACES}) ORDER BY place", [list(names), *key])  # noqa: S608 - fixed names
    class_index = np.asarray(ids.fetchnumpy()["class_index"], dtype=np.intp)
    rows = sql.scored_rows(key.workload, None, rates)
    cells = execute(
        f"""
        SELECT place, strategy, {_exact_mean("score")} AS score,
            CASE WHEN count(cost_usd) = count(*) THEN {_exact_mean("cost_usd")} END AS cost_usd
        FROM ({rows.sql}) JOIN ({_PLACES}) USING (query_id)
        GROUP BY place, strategy
        """,  # noqa: S608 - fixed names
        [*rows.values, list(names), *key],
    ).fetchnumpy()
    strategies, column = np.unique(cells["strategy"].astype(str), return_inverse=True)
    shape = (len(class_index), len(strategies))
    tables = []
    for measure in ("score", "cost_usd"):
        table = np.full(shape, np.nan)
        table[cells["place"], column] = np.ma.filled(cells[measure], np.nan)
        tables.append(table)
    return Sorted(class_index, tuple(strategies.tolist()), *tables)


def _exact_mean(measure: str) -> str:
    return f"sum(CAST({measure} * {_UNIT}::DOUBLE AS HUGEINT))::DOUBLE / {_UNIT} / count(*)"


def sample_prompts(
    execute: Execute, key: Key, count: int, seed: int
) -> dict[str, list[SamplePrompt]]:
    """Up to `count` prompts of every class, by its name."""
    rows = execute(
        f"""
        SELECT class_name, query_id, left(prompt, {WIDTH + 1}) FROM (
            SELECT query_id, class_name,
                row_number() OVER (PARTITION BY class_name ORDER BY {_SHUFFLED}) AS number
            FROM ({_CLASSED})
        ) JOIN queries USING (query_id)
        WHERE number <= ? AND workload = ? ORDER BY class_name, number
        """,  # noqa: S608 - fixed names
        [str(seed), *key, count, key.workload],
    ).fetchall()
    found: dict[str, list[SamplePrompt]] = {}
    for name, query, prompt in rows:
        found.setdefault(name, []).append(SamplePrompt(query, visible(prompt)))
    return found


def read_prompts(execute: Execute, key: Key, seed: int) -> Iterator[ReadPrompt]:
    """At most 20,000 prompts, drawn from all queries with a class."""
    rows = execute(
        f"""
        SELECT class_name, left(prompt, {CHARACTERS_READ}), coalesce(class_label, '') FROM (
            {_CLASSED} ORDER BY {_SHUFFLED} LIMIT {MOST_READ}
        ) JOIN queries USING (query_id)
        WHERE workload = ? ORDER BY {_SHUFFLED}
        """,  # noqa: S608 - fixed names
        [*key, str(seed), key.workload, str(seed)],
    )
    while part := rows.fetchmany(_AT_ONCE):
        yield from (ReadPrompt(*row) for row in part)

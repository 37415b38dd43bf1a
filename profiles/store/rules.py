"""What every row of observations obeys, wherever it comes from: checked in one pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from profiles.errors import InputError
from profiles.observation import LONGEST_ANSWER, Evidence

if TYPE_CHECKING:
    import duckdb

    Execute = Callable[[str, Sequence[Any]], duckdb.DuckDBPyConnection]

_GIVEN = ("workload", "query_id", "strategy", "sample", "evidence", "source")
_SHARES = ("score", "verdict")
_AMOUNTS = ("cost_usd", "latency_s", "gpu_s", "energy_j", "score_sd")
_COUNTS = ("sample", "tokens_in", "tokens_out", "tokens_reasoning", "tokens_cached", "calls")
_WORDS = ", ".join(f"'{kind.value}'" for kind in Evidence)

# a rule is broken where its condition is true; unknown values break none
RULES = {
    **{f"{name} is given": f"{name} IS NULL" for name in _GIVEN},
    **{f"{name} is no empty text": f"{name} = ''" for name in _GIVEN[:3]},
    **{f"{name} is in 0..1": f"NOT ({name} BETWEEN 0 AND 1)" for name in _SHARES},
    **{f"{name} is finite and at least 0": f"NOT ({name} >= 0 AND isfinite({name}))"
       for name in _AMOUNTS},
    **{f"{name} is at least 0": f"{name} < 0" for name in _COUNTS},
    "concurrency is at least 1": "concurrency < 1",
    f"answer has at most {LONGEST_ANSWER} characters": f"length(answer) > {LONGEST_ANSWER}",
    f"evidence is one of {_WORDS}": f"evidence NOT IN ({_WORDS})",
}  # fmt: skip


def refuse_broken(execute: Execute, relation: str, where: str) -> None:
    """Stops at rows that no observation can be.

    Args:
        execute: Runs SQL with values.
        relation: Name of a relation with the columns of an observation, or a query in brackets.
        where: What the message names as the place.

    Raises:
        InputError: Says which rule is broken by how many rows, and shows one.
    """
    counts = ", ".join(f"count_if({broken})" for broken in RULES.values())
    found = execute(f"SELECT {counts} FROM {relation}", []).fetchone() or ()  # noqa: S608 - fixed texts
    for (rule, broken), count in zip(RULES.items(), found, strict=True):
        if count:
            raise InputError(
                f"{count} {'row breaks' if count == 1 else 'rows break'} a rule",
                where=where,
                expected=rule,
                got=_example(execute, relation, rule, broken),
                next_step="mend or remove these rows; nothing was stored",
            )


def _example(execute: Execute, relation: str, rule: str, broken: str) -> str:
    column = rule.split(maxsplit=1)[0]
    sql = f"SELECT query_id, strategy, {column} FROM {relation} WHERE {broken} LIMIT 1"  # noqa: S608 - fixed texts
    row = execute(sql, []).fetchone() or ()
    query, strategy, value = (str(part)[:80] for part in row)
    return f"{column} {value} in query {query}, strategy {strategy}"

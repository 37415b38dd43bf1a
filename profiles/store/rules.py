"""What every row of a table obeys, wherever it comes from: checked in one pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from profiles.errors import InputError
from profiles.money import MOST_USD
from profiles.observation import LONGEST_ANSWER, Evidence
from profiles.serving import ServingPoint

if TYPE_CHECKING:
    import duckdb

    Execute = Callable[[str, Sequence[Any]], duckdb.DuckDBPyConnection]

_GIVEN = ("workload", "query_id", "strategy", "sample", "evidence", "source")
_SHARES = ("score", "verdict")
_AMOUNTS = ("cost_usd", "latency_s", "gpu_s", "energy_j", "compute", "score_sd")
_MOST = dict.fromkeys(_AMOUNTS, 1e30) | {"cost_usd": MOST_USD, "latency_s": 1e9, "score_sd": 1.0}
"""More is a slip of the pen, and sums of its squares and cubes leave what a float holds."""
_COUNTS = ("sample", "tokens_in", "tokens_out", "tokens_reasoning", "tokens_cached", "calls")
_WORDS = ", ".join(f"'{kind.value}'" for kind in Evidence)

_MEANS = (
    "cost_usd", "latency_mean_s", "latency_p95_s", "tokens_in", "tokens_out", "calls", "gpu_s",
    "energy_j", "compute",
)  # fmt: skip
_SETUP = ("model", "backend", "system", "label", "requests", "evidence", "source", "observed_at")
_FIGURES = tuple(part.name for part in fields(ServingPoint) if part.name not in _SETUP)


# a rule is broken where its condition is true; unknown values break none
def _given(names: Iterable[str]) -> dict[str, str]:
    return {f"{name} is given": f"{name} IS NULL" for name in names}


def _no_empty_text(names: Iterable[str]) -> dict[str, str]:
    return {f"{name} is no empty text": f"{name} = ''" for name in names}


def _shares(names: Iterable[str]) -> dict[str, str]:
    return {f"{name} is in 0..1": f"NOT ({name} BETWEEN 0 AND 1)" for name in names}


def _amounts(names: Iterable[str]) -> dict[str, str]:
    return {
        f"{name} is finite and at least 0": f"NOT ({name} >= 0 AND isfinite({name}))"
        for name in names
    }


def _not_above(most: Mapping[str, float]) -> dict[str, str]:
    return {f"{name} is at most {value:g}": f"{name} > {value}" for name, value in most.items()}


def _times(name: str) -> dict[str, str]:
    """Those that Python has: DuckDB has more, and infinite ones."""
    earliest, latest = "TIMESTAMP '0001-01-01'", "TIMESTAMP '9999-12-31'"
    rule = f"{name} is in the years 1 to 9999"
    return {rule: f"NOT ({name} BETWEEN {earliest} AND {latest})"}


def _counts(names: Iterable[str]) -> dict[str, str]:
    return {f"{name} is at least 0": f"{name} < 0" for name in names}


_UNITS = {
    "compute_unit is given where compute is": "(compute IS NULL) <> (compute_unit IS NULL)",
    **_no_empty_text(("compute_unit",)),
}
_EVIDENCE = {f"evidence is one of {_WORDS}": f"evidence NOT IN ({_WORDS})"}
RULES = {
    **_given(_GIVEN),
    **_no_empty_text(_GIVEN[:3]),
    **_shares(_SHARES),
    **_amounts(_AMOUNTS),
    **_not_above(_MOST),
    **_counts(_COUNTS),
    "concurrency is at least 1": "concurrency < 1",
    f"answer has at most {LONGEST_ANSWER} characters": f"length(answer) > {LONGEST_ANSWER}",
    **_UNITS,
    **_EVIDENCE,
    **_times("observed_at"),
}
RULES_OF: Mapping[str, Mapping[str, str]] = {
    "observations": RULES,
    "aggregates": {
        **_given(("workload", "class_name", "strategy", "accuracy", "evidence", "source")),
        **_no_empty_text(("workload", "class_name", "strategy")),
        **_shares(("accuracy", "accuracy_low", "accuracy_high")),
        **_amounts(_MEANS),
        **_counts(("queries",)),
        **_UNITS,
        **_EVIDENCE,
        **_times("observed_at"),
    },
    "serving": {
        **_given(("model", "label", "evidence", "source")),
        **_no_empty_text(("model", "label")),
        **_amounts(_FIGURES),
        **_counts(("requests",)),
        **_EVIDENCE,
        **_times("observed_at"),
    },
    "arrivals": {
        **_given(("workload", "request_id", "arrived_at", "source")),
        **_no_empty_text(("workload", "request_id")),
        **_times("arrived_at"),
        **_counts(("tokens_in", "tokens_out")),
    },
}
_SHOWN = {
    "observations": ("query_id", "strategy"),
    "aggregates": ("class_name", "strategy"),
    "serving": ("label", "model"),
    "arrivals": ("request_id",),
}


def refuse_broken(execute: Execute, relation: str, where: str, table: str = "observations") -> None:
    """Stops at rows that no record of a table can be.

    Args:
        execute: Runs SQL with values.
        relation: Name of a relation with the columns of the table, or a query in brackets.
        where: What the message names as the place.
        table: One of `RULES_OF`.

    Raises:
        InputError: Says which rule is broken by how many rows, and shows one.
    """
    rules = RULES_OF[table]
    counts = ", ".join(f"count_if({broken})" for broken in rules.values())
    found = execute(f"SELECT {counts} FROM {relation}", []).fetchone() or ()  # noqa: S608 - fixed texts
    for (rule, broken), count in zip(rules.items(), found, strict=True):
        if count:
            raise InputError(
                f"{count} {'row breaks' if count == 1 else 'rows break'} a rule",
                where=where,
                expected=rule,
                got=_example(execute, relation, rule, broken, _SHOWN[table]),
                next_step="mend or remove these rows; nothing was stored",
            )


def _example(execute: Execute, relation: str, rule: str, broken: str, shown: Sequence[str]) -> str:
    column = rule.split(maxsplit=1)[0]
    sql = f"SELECT {column}, {', '.join(shown)} FROM {relation} WHERE {broken} LIMIT 1"  # noqa: S608 - fixed texts
    row = execute(sql, []).fetchone() or ()
    value, *others = (str(part)[:80] for part in row)
    names = (f"{name.removesuffix('_id')} {text}" for name, text in zip(shown, others, strict=True))
    return f"{column} {value} in {', '.join(names)}"

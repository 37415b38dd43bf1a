"""From a file's columns to observations: which column means what, and what a value may be."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from profiles.errors import InputError
from profiles.notes import Notes
from profiles.numbers import BadNumberError, is_absent, read_number
from profiles.observation import Evidence, Observation
from profiles.query import Query
from profiles.spelling import strategy_text
from profiles.tables import Row, Table

CANONICAL = (
    "query",
    "strategy",
    "model",
    "method",
    "sample",
    "score",
    "cost_usd",
    "latency_s",
    "tokens_in",
    "tokens_out",
    "tokens_reasoning",
    "tokens_cached",
    "calls",
    "gpu_s",
    "energy_j",
    "class",
    "prompt",
    "observed_at",
)
OF_A_QUERY = ("class", "prompt")
_ALIASES = {"query": ("query", "query_id")}
_AMOUNTS = ("cost_usd", "latency_s", "gpu_s", "energy_j")
_COUNTS = ("tokens_in", "tokens_out", "tokens_reasoning", "tokens_cached", "calls")
_NEVER_ZERO = frozenset((*_AMOUNTS, "tokens_in", "calls"))
_LARGEST_COUNT = 1 << 40


class _SetAsideError(Exception):
    """This row cannot become an observation."""

    def __init__(self, why: str, got: Any) -> None:
        self.why = why
        self.got = got
        super().__init__(why)


@dataclass(frozen=True, slots=True)
class Fields:
    """Where each canonical field comes from.

    Attributes:
        columns: Canonical field to column of the file.
        constants: Canonical field to one text for every row.
    """

    columns: Mapping[str, str]
    constants: Mapping[str, str]

    def value(self, row: Row, name: str) -> Any:
        """The raw value of a canonical field, None where nothing gives it."""
        if name in self.constants:
            return self.constants[name]
        column = self.columns.get(name)
        return None if column is None else row.get(column)

    def text(self, row: Row, name: str) -> str:
        """The value as trimmed text, empty where absent."""
        value = self.value(row, name)
        if value is None:
            return ""
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # a nullable column of whole numbers, read as floats
        return str(value).strip()

    def has(self, name: str) -> bool:
        """Whether anything gives this field."""
        return name in self.constants or name in self.columns


def resolve(
    table: Table,
    columns: Mapping[str, str],
    constants: Mapping[str, str],
    *,
    elsewhere: Sequence[str] = (),
) -> Fields:
    """Match canonical fields with a file's columns.

    A field that is not mapped is taken from the column of its own name. A constant stands in for
    such a column, but contradicts a mapped one.

    Args:
        table: The file.
        columns: Canonical field to the file's column, as the user mapped them.
        constants: Canonical field to the one text of every row.
        elsewhere: Columns of the prompts file; a query's class or prompt may live there.

    Raises:
        InputError: An unknown field or column, or a field that is given twice.
    """
    for name in (*columns, *constants):
        _refuse_unknown_field(name)
    found = {}
    for name, column in columns.items():
        if name in constants:
            raise InputError(
                f"{name} is given as a column and as a constant", where=f"--columns {name}"
            )
        if column in table.columns:
            found[name] = column
        elif not (name in (*OF_A_QUERY, "query") and column in elsewhere):
            raise InputError(
                f"there is no column {column!r}",
                where=f"{table.name}: {name}",
                expected=f"one of {', '.join(table.columns[:30])}",
            )
    for name in CANONICAL:
        if name in found or name in constants or (name in columns and name in OF_A_QUERY):
            continue
        own = next((c for c in _ALIASES.get(name, (name,)) if c in table.columns), None)
        if own is not None:
            found[name] = own
    return Fields(found, dict(constants))


def _refuse_unknown_field(name: str) -> None:
    if name in CANONICAL:
        return
    near = difflib.get_close_matches(name, CANONICAL, n=1)
    raise InputError(
        f"{name!r} is not a field of an observation",
        expected=f"one of {', '.join(CANONICAL)}",
        next_step=f"did you mean {near[0]!r}?" if near else None,
    )


class RowReader:
    """Turns rows into observations; notes what it sets aside, repairs or cannot know."""

    def __init__(
        self, fields: Fields, *, workload: str, evidence: Evidence, source: str, notes: Notes
    ) -> None:
        self._fields = fields
        self._workload = workload
        self._evidence = evidence
        self._source = source
        self._notes = notes
        self._spelled: dict[tuple[str, str, str], str] = {}
        self._plain: dict[str, tuple[str, str, str]] = {}
        self._seen: dict[tuple[str, str], int] = {}

    def read(self, line: int, row: Row) -> Observation | None:
        """One observation, or None when the row was set aside."""
        try:
            return self._observation(line, row)
        except _SetAsideError as aside:
            self._notes.add(f"{aside.why}: row set aside", f"line {line}: {aside.got!r:.60}")
            return None

    def query(self, row: Row) -> Query | None:
        """The query of a row, None without an id."""
        query_id = _encodable(self._fields.text(row, "query"))
        if not query_id:
            return None
        prompt = self._fields.value(row, "prompt")
        label = _encodable(self._fields.text(row, "class"))
        return Query(query_id, None if prompt is None else _encodable(str(prompt)), label or None)

    def _observation(self, line: int, row: Row) -> Observation:
        query_id = self._fields.text(row, "query")
        if not query_id or query_id != _encodable(query_id):
            raise _SetAsideError("no usable query id", query_id)
        strategy = self._strategy(row)
        score = self._score(row)
        measures: dict[str, Any] = {name: self._amount(line, row, name) for name in _AMOUNTS}
        measures |= {name: self._count(line, row, name) for name in _COUNTS}
        return Observation(
            workload=self._workload,
            query_id=query_id,
            strategy=strategy,
            sample=self._sample(line, row, query_id, strategy),
            score=score,
            evidence=self._evidence,
            source=self._source,
            observed_at=self._time(line, row),
            **measures,
        )

    def _strategy(self, row: Row) -> str:
        text = self._fields.text
        written = (text(row, "strategy"), text(row, "model"), text(row, "method") or "single")
        known = self._spelled.get(written)
        if known is not None:
            return known
        if not any(written[:2]) and not self._fields.has("method"):
            raise _SetAsideError("neither strategy nor model", "")
        try:
            strategy = strategy_text(*written)
        except InputError as error:
            raise _SetAsideError(error.what, "/".join(filter(None, written))) from error
        self._note_spelling(written, strategy)
        self._spelled[written] = strategy
        return strategy

    def _note_spelling(self, written: tuple[str, str, str], strategy: str) -> None:
        """Two different plain names that become one strategy would mix two strategies' numbers."""
        if any("(" in part for part in written[::2]):
            return
        other = self._plain.setdefault(strategy, written)
        if other != written and other[1] != written[1]:
            raise InputError(
                f"two names become the same strategy {strategy}",
                where=self._source,
                got=f"{other[1]!r} and {written[1]!r}",
                next_step="rename one of them in the file",
            )
        plain = "/".join(filter(None, (written[1], written[0] or written[2])))
        if strategy not in (plain, written[0]):
            self._notes.add("name respelled", f"{plain!r} is {strategy}")

    def _score(self, row: Row) -> float:
        value = self._fields.value(row, "score")
        if is_absent(value):
            raise _SetAsideError("no score", value)
        try:
            score, _ = read_number(value)
        except BadNumberError as error:
            raise _SetAsideError(f"score {error}", value) from error
        if not 0 <= score <= 1:
            raise _SetAsideError("score outside 0..1", value)
        return score

    def _sample(self, line: int, row: Row, query_id: str, strategy: str) -> int:
        if not self._fields.has("sample"):
            sample = self._seen.get((query_id, strategy), 0)
            self._seen[query_id, strategy] = sample + 1
            if sample:
                self._notes.add(
                    "a query repeats under one strategy: numbered as further samples",
                    f"line {line}: {query_id}, {strategy} is sample {sample}",
                )
            return sample
        value = self._fields.value(row, "sample")
        try:
            number, _ = read_number(value)
        except BadNumberError as error:
            raise _SetAsideError(f"sample {error}", value) from error
        if number < 0 or not number.is_integer() or number > _LARGEST_COUNT:
            raise _SetAsideError("sample is not a count", value)
        return int(number)

    def _amount(self, line: int, row: Row, name: str) -> float | None:
        """A measured quantity above 0, or None with a note."""
        value = self._fields.value(row, name)
        if is_absent(value):
            return None
        where = f"line {line}: {value!r:.60}"
        try:
            number, repaired = read_number(value)
        except BadNumberError as error:
            self._notes.add(f"{name} {error}: made unknown", where)
            return None
        if number < 0:
            self._notes.add(f"{name} negative: made unknown", where)
            return None
        if number == 0 and name in _NEVER_ZERO:
            self._notes.add(f"{name} 0 means not recorded: made unknown", where)
            return None
        if repaired:
            self._notes.add(f"{name} with thousands separators: repaired", where)
        return number

    def _count(self, line: int, row: Row, name: str) -> int | None:
        number = self._amount(line, row, name)
        if number is None:
            return None
        if number > _LARGEST_COUNT:
            self._notes.add(f"{name} too large: made unknown", f"line {line}: {number}")
            return None
        if not number.is_integer():
            self._notes.add(f"{name} is a fraction: rounded up", f"line {line}: {number}")
        return math.ceil(number)

    def _time(self, line: int, row: Row) -> datetime | None:
        value = self._fields.value(row, "observed_at")
        if is_absent(value):
            return None
        try:
            time = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
            return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
        except (ValueError, OverflowError):
            self._notes.add("observed_at not ISO 8601: made unknown", f"line {line}: {value!r:.60}")
            return None


def _encodable(text: str) -> str:
    """The text with lone surrogates, which no file or graph can carry, replaced."""
    return text.encode("utf-8", "replace").decode()

"""Check values of a mapping, as a source publishes them about itself, against what was read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from profiles.aggregate import Aggregate
from profiles.errors import InputError
from profiles.importing.mapping import Expectation
from profiles.observation import Observation

Record = Any  # any of our frozen records


@dataclass(frozen=True, slots=True)
class Check:
    """One check value and what was found.

    Attributes:
        text: What is checked.
        expected: The value that the mapping names.
        within: How far it may be off.
        got: What the records say, None where none of them has the field.
        ok: Whether they agree.
    """

    text: str
    expected: float
    within: float
    got: float | None
    ok: bool

    def __str__(self) -> str:
        return self.told()

    def told(self, by: str = "expected") -> str:
        """The check in words; `by` says whose value it is: expected or published."""
        got = "nothing" if self.got is None else f"{self.got:.6g}"
        return f"{'ok' if self.ok else 'MISMATCH'}: {self.text}: {got}, {by} {self.expected:g}"


def check_all(
    expectations: Sequence[Expectation],
    records: Sequence[Record],
    counts: Mapping[str, int],
    classes: Mapping[str, str | None],
) -> tuple[Check, ...]:
    """Every expectation against the records.

    Args:
        expectations: What the source says.
        records: Everything that was kept.
        counts: read, kept, set_aside and queries.
        classes: Class of every query, for observations.

    Raises:
        InputError: An expectation names no measure, more than one, or an unknown field.
    """
    found = []
    for expectation in expectations:
        got = _measured(expectation, records, counts, classes)
        ok = got is not None and math.isclose(
            got, expectation.value, rel_tol=1e-9, abs_tol=expectation.within
        )
        found.append(Check(expectation.text, expectation.value, expectation.within, got, ok))
    return tuple(found)


def _measured(
    expectation: Expectation,
    records: Sequence[Record],
    counts: Mapping[str, int],
    classes: Mapping[str, str | None],
) -> float | None:
    given = [expectation.count, expectation.mean, expectation.total]
    if sum(part is not None for part in given) != 1:
        raise InputError("an expectation names one of count, mean and total", where="expect")
    if expectation.count:
        return float(counts[expectation.count])
    field = expectation.mean or expectation.total or ""
    chosen = (r for r in records if _matches(r, expectation.where, classes))
    values = _numbers((_field(record, field, classes) for record in chosen), field)
    if not values:
        return None
    return math.fsum(values) / (len(values) if expectation.mean else 1)


def _numbers(values: Iterable[Any], field: str) -> list[float]:
    found = [value for value in values if value is not None]
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in found):
        raise InputError(f"{field} is no number", where="expect")
    return [float(value) for value in found]


def _matches(record: Record, where: Mapping[str, str], classes: Mapping[str, str | None]) -> bool:
    return all(str(_field(record, name, classes)) == text for name, text in where.items())


def _field(record: Record, name: str, classes: Mapping[str, str | None]) -> Any:
    if name == "class":
        if isinstance(record, Observation):
            return classes.get(record.query_id)
        if isinstance(record, Aggregate):
            return record.class_name
    if name in getattr(type(record), "__slots__", ()):
        return getattr(record, name)
    raise InputError(f"{name!r} is not a field of what was read", where="expect")

"""Records as Arrow tables on their way into the store, and as themselves on their way out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime
from typing import Any, TypeVar

import pyarrow as pa

from profiles.errors import InputError
from profiles.observation import Evidence
from profiles.store.schema import columns_of

Record = TypeVar("Record")


@dataclass(frozen=True, slots=True)
class ImportEntry:
    """One line of the import log.

    Attributes:
        digest: Identifies content and mapping.
        file: Name of the file.
        rows: Rows that the file has.
        imported_at: When, UTC.
    """

    digest: str
    file: str
    rows: int
    imported_at: datetime


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A row that an import set aside.

    Attributes:
        import_digest: The import.
        file: Name of the file.
        line: Where in the file, from 1.
        reason: Why it could not be used.
        content: The row as it stands there, shortened.
    """

    import_digest: str
    file: str
    line: int
    reason: str
    content: str


@dataclass(frozen=True, slots=True)
class StoredCard:
    """A price card as it was on a day.

    Attributes:
        digest: Identifies the card's content.
        as_of: The day its prices were valid.
        source: File or address they come from.
        card: The card as JSON.
    """

    digest: str
    as_of: date
    source: str
    card: str


def to_table(records: Iterable[Any], record: type) -> pa.Table:
    """One column per field of the record, in the store's types."""
    rows = list(records)
    return pa.table(
        {
            column.name: pa.array([_plain(getattr(row, column.name)) for row in rows], column.type)
            for column in columns_of(record)
        }
    )


def fitted(table: pa.Table, record: type) -> pa.Table:
    """A table with exactly the record's columns in the store's types; missing ones are null.

    Raises:
        InputError: A column that the record has not, or a value that its type cannot hold exactly.
    """
    columns = columns_of(record)
    unknown = sorted(set(table.column_names) - {column.name for column in columns})
    if unknown:
        raise InputError(
            "these columns are none of the store's",
            where=record.__name__,
            expected=", ".join(column.name for column in columns),
            got=", ".join(unknown),
        )
    arrays = {column.name: _fitted_column(table, column.name, column.type) for column in columns}
    return pa.table(arrays)


def _fitted_column(table: pa.Table, name: str, kind: pa.DataType) -> Any:
    if name not in table.column_names:
        return pa.nulls(table.num_rows, kind)
    try:
        return table[name].cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(
            "a column holds what the store cannot",
            where=name,
            expected=str(kind),
            got=str(error).splitlines()[0],
        ) from error


def from_row(record: type[Record], row: Mapping[str, Any]) -> Record:
    """A record from a stored row: words of evidence as such, times as UTC."""
    values = dict(row)
    if "evidence" in values:
        values["evidence"] = Evidence(values["evidence"])
    for name, value in values.items():
        if isinstance(value, datetime):
            values[name] = value.replace(tzinfo=UTC)
    return record(**values)


def names_of(record: type) -> tuple[str, ...]:
    """Names of a record's fields, in their order."""
    return tuple(field.name for field in fields(record))


def _plain(value: Any) -> Any:
    """Times are stored as UTC without a zone."""
    if isinstance(value, datetime) and value.tzinfo:
        return value.astimezone(UTC).replace(tzinfo=None)
    return value

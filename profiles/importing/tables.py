"""Rows from files of any format: every value as the file has it, with the line it stands on."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from profiles.digest import digest_bytes
from profiles.errors import InputError
from profiles.notes import Kind, Notes

Row = Mapping[str, Any]
FORMATS = ("csv", "tsv", "jsonl", "json", "parquet")
_SUFFIXES = {f".{name}": name for name in FORMATS} | {".ndjson": "jsonl", ".pq": "parquet"}
_OFFSET = re.compile(r"[+-]\d\d:\d\d")
_FIELD_LIMIT = 1 << 26  # characters of one CSV field; prompts can be long


@dataclass(frozen=True, slots=True)
class Table:
    """One file's rows.

    Attributes:
        name: The file, as errors name it.
        columns: Every column that some row has, in order of first appearance.
        rows: (line or row number, values by column).
        digest: Of the file's bytes.
        nested: Columns whose values are lists or structs by the file's own word.
    """

    name: str
    columns: tuple[str, ...]
    rows: list[tuple[int, Row]]
    digest: str
    nested: frozenset[str] = frozenset()


class _RepeatedKey(dict[str, Any]):
    """A JSON object in which a key stands twice; `key` is the first such."""

    key = ""


def read_table(path: Path, format: str | None, notes: Notes) -> Table:  # noqa: A002 - the option's name
    """Read a file whole.

    Args:
        path: The file.
        format: One of `FORMATS`; None goes by the file's suffix.
        notes: Takes what is odd about the file as a whole.

    Raises:
        InputError: Unreadable, of unknown format, malformed, or without a row.
    """
    kind = format or _SUFFIXES.get(path.suffix.lower())
    if kind not in FORMATS:
        raise InputError(
            "the format of this file is not known",
            where=str(path),
            expected=f"one of {', '.join(FORMATS)}",
            got=repr(format or path.suffix),
            next_step="name it with --format",
        )
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        raise InputError("cannot read the file", where=str(path), got=str(error)) from error
    name = str(path)
    nested: frozenset[str] = frozenset()
    if kind == "parquet":
        rows, nested = _parquet(content, name)
    elif kind in {"csv", "tsv"}:
        rows = _delimited(_text(content, name), "," if kind == "csv" else "\t", name, notes)
    else:
        rows = _json(_text(content, name), name, notes, lines=kind == "jsonl")
    if not rows:
        raise InputError("the file has no rows", where=name)
    columns = tuple(dict.fromkeys(column for _, row in rows for column in row))
    return Table(name, columns, rows, digest_bytes(content), nested)


def _text(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InputError(
            "the file is not UTF-8 text",
            where=f"{name}:{line}",
            got=f"byte 0x{content[error.start]:02x}",
            next_step="save it as UTF-8",
        ) from error


def _delimited(text: str, delimiter: str, name: str, notes: Notes) -> list[tuple[int, Row]]:
    csv.field_size_limit(_FIELD_LIMIT)
    # strict: without it an open quote swallows the rest of the file in silence
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = [column.strip() for column in next(reader, [])]
        named = _named(header, name)
        rows: list[tuple[int, Row]] = []
        unnamed_values = 0
        line = reader.line_num + 1
        for values in reader:
            if values:
                row = _fitted(header, values, f"{name}:{line}")
                unnamed_values += bool(row.pop("", ""))
                rows.append((line, row))
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(
            "this is not well-formed", where=f"{name}:{reader.line_num}", got=str(error)
        ) from error
    if named < len(header):
        notes.add("column without a name: left out", f"{name}:1", len(header) - named)
    if unnamed_values:
        notes.add("value in a column without a name: left out", name, unnamed_values)
    return rows


def _named(header: list[str], name: str) -> int:
    """How many columns have a name; two of one name are refused."""
    named = [column for column in header if column]
    twice = next((column for column in named if named.count(column) > 1), None)
    if twice is not None:
        raise InputError(f"the column {twice!r} stands twice in the header", where=f"{name}:1")
    return len(named)


def _fitted(header: list[str], values: list[str], where: str) -> dict[str, Any]:
    if len(values) != len(header):
        raise InputError(
            "the row does not fit the header",
            where=where,
            expected=f"{len(header)} fields",
            got=f"{len(values)} fields",
            next_step="quote fields that contain the delimiter",
        )
    row = dict(zip(header, values, strict=True))
    if "" in row:  # several columns without a name: one that is filled must not go unnoticed
        row[""] = "".join(v for column, v in zip(header, values, strict=True) if not column).strip()
    return row


def _json(text: str, name: str, notes: Notes, *, lines: bool) -> list[tuple[int, Row]]:
    """JSON lines, or one JSON list of objects (rows are then counted from 1)."""
    bare: list[int] = []
    if not lines:
        items = _value(text, name, 1, bare)
        if not isinstance(items, list):
            raise InputError("the file is not a list of objects", where=name)
        numbered = list(enumerate(items, start=1))
    else:
        numbered = [
            (number, _value(line, f"{name}:{number}", number, bare))
            for number, line in enumerate(text.split("\n"), start=1)
            if line.strip()
        ]
    for number, item in numbered:
        if not isinstance(item, dict):
            raise InputError("this is not an object", where=f"{name}:{number}", got=repr(item)[:60])
        if isinstance(item, _RepeatedKey):
            raise InputError(
                f"the key {item.key!r} stands twice",
                where=f"{name}:{number}",
                next_step="keep one of its values; nobody can tell which is meant",
            )
    if bare:
        notes.add(
            "line with a bare NaN or Infinity, which is not JSON",
            f"line {', '.join(map(str, sorted(set(bare))[:3]))}",
            len(set(bare)),
            kind=Kind.REPAIRED,
        )
    return numbered


def _value(text: str, where: str, number: int, bare: list[int]) -> Any:
    def constant(word: str) -> float:
        bare.append(number)
        return float(word)

    try:
        return json.loads(text, parse_constant=constant, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        at = f"{where}:{error.lineno}" if error.lineno > 1 else where
        raise InputError("this is not JSON", where=at, got=error.msg) from error
    except (ValueError, RecursionError) as error:
        raise InputError(
            "this is not JSON that can be read", where=where, got=str(error)
        ) from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    repeated = _RepeatedKey(found)
    keys = [key for key, _ in pairs]
    repeated.key = next(key for key in keys if keys.count(key) > 1)
    return repeated


def _parquet(content: bytes, name: str) -> tuple[list[tuple[int, Row]], frozenset[str]]:
    """Rows, and the columns that hold lists or structs. Bytes become text where they are UTF-8."""
    import pyarrow as pa  # noqa: PLC0415 - other formats do without it
    from pyarrow import parquet  # noqa: PLC0415

    try:
        table = parquet.read_table(pa.BufferReader(content))
        _refuse_unknown_zones(table.schema, name)
        items = table.to_pylist()
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError, OverflowError) as error:
        raise InputError(
            "this is not a Parquet file that can be read", where=name, got=str(error)[:200]
        ) from error
    nested = frozenset(part.name for part in table.schema if pa.types.is_nested(part.type))
    for column in (part.name for part in table.schema if "binary" in str(part.type)):
        for item in items:
            item[column] = _decoded(item[column])
    return list(enumerate(items, start=1)), nested


def _decoded(value: Any) -> Any:
    try:
        return value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        return value


def _refuse_unknown_zones(schema: Any, name: str) -> None:
    for part in schema:
        zone = getattr(part.type, "tz", None)
        if zone is None or _OFFSET.fullmatch(zone):
            continue
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise InputError(
                "the time zone of a column is not known",
                where=f"{name}: {part.name}",
                expected="a zone such as UTC or Europe/Berlin, or an offset such as +02:00",
                got=repr(zone),
                next_step="write the column's times in UTC",
            ) from error

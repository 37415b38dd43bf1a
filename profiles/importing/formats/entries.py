"""JSON documents and JSON lines as tools write them: one value per entry, broken ones set aside."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from profiles.errors import InputError
from profiles.importing.formats.found import SetAside
from profiles.importing.numbers import BadNumberError, is_absent, read_number
from profiles.notes import Kind, Notes

Entry = Mapping[str, Any]
_EXCERPT = 200
_MOST_COUNTED = 1 << 53


@dataclass(frozen=True, slots=True)
class Entries:
    """The objects of one file.

    Attributes:
        name: The file, as errors name it.
        rows: (line, object); a file that is one document has its objects counted from 1.
        set_aside: Lines that are no JSON object.
    """

    name: str
    rows: tuple[tuple[int, Entry], ...]
    set_aside: tuple[SetAside, ...]


def read_entries(path: Path, notes: Notes) -> Entries:
    """Read one JSON object, a list of objects, or JSON lines.

    A bare ``Infinity`` or ``NaN``, which JSON does not know, is read and noted.

    Raises:
        InputError: Unreadable, not UTF-8, or without a single JSON object.
    """
    text = _text(path)
    bare: list[int] = []
    try:
        whole = _parsed(text, 1, bare)
    except (ValueError, RecursionError):
        bare.clear()
        numbered, broken = _lines(text, bare)
    else:
        items = whole if isinstance(whole, list) else [whole]
        numbered, broken = list(enumerate(items, start=1)), []
    rows = tuple((line, item) for line, item in numbered if isinstance(item, dict))
    broken += [
        set_aside(line, "this is not a JSON object", item)
        for line, item in numbered
        if not isinstance(item, dict)
    ]
    if not rows:
        got = f"{broken[0].reason} at {broken[0].line}" if broken else "an empty file"
        raise InputError("the file holds no JSON object", where=str(path), got=got)
    for line in dict.fromkeys(bare):
        notes.add("a bare Infinity or NaN is not JSON: read as such", f"line {line}")
    return Entries(str(path), rows, tuple(sorted(broken, key=lambda item: item.line)))


def set_aside(line: int, reason: str, content: object) -> SetAside:
    """An entry set aside, its content shortened."""
    text = content if isinstance(content, str) else json.dumps(content, default=str)
    return SetAside(line, reason, text[:_EXCERPT])


@dataclass(frozen=True, slots=True)
class Figures:
    """Reads single numbers of one entry; notes what it cannot know.

    Attributes:
        where: The entry, as notes name it.
        notes: Collects remarks.
    """

    where: str
    notes: Notes

    def amount(self, entry: Entry, key: str, scale: float = 1.0) -> float | None:
        """A measured quantity above 0 times `scale`; None where absent or unusable."""
        value = entry.get(key)
        if is_absent(value):
            return None
        try:
            number = read_number(value)[0]
        except BadNumberError as error:
            self._unknown(f"{key} {error}", value)
            return None
        if isinstance(value, bool) or number <= 0:
            self._unknown(f"{key} is not above 0", value)
            return None
        return number * scale

    def count(self, entry: Entry, key: str, *, zero: bool = False) -> int | None:
        """A whole number above 0, or 0 where `zero` allows it; None where absent or unusable."""
        value = entry.get(key)
        text = value.strip() if isinstance(value, str) else value
        if zero and text in (0, "0") and not isinstance(value, bool):
            return 0
        number = self.amount(entry, key)
        if number is None:
            return None
        if number != int(number) or number > _MOST_COUNTED:
            self._unknown(f"{key} is no whole number", value)
            return None
        return int(number)

    def _unknown(self, why: str, value: object) -> None:
        example = f"{self.where}: {str(value)[:60]}"
        self.notes.add(why, example, kind=Kind.UNKNOWN)


def part(entry: object, *keys: str) -> Entry:
    """The object under a path of keys, an empty one where the path leads nowhere."""
    for key in keys:
        entry = entry.get(key) if isinstance(entry, dict) else None
    return entry if isinstance(entry, dict) else {}


def word(entry: Entry, *keys: str) -> str | None:
    """The first of these keys that holds a text, None where none does."""
    for key in keys:
        value = entry.get(key)
        if isinstance(value, str) and value.strip():
            return value.strip()
    return None


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        got = f"byte 0x{error.object[error.start]:02x} at {error.start}"
        raise InputError("the file is not UTF-8 text", where=str(path), got=got) from error
    except (OSError, ValueError) as error:
        raise InputError("cannot read the file", where=str(path), got=str(error)) from error


def _lines(text: str, bare: list[int]) -> tuple[list[tuple[int, Any]], list[SetAside]]:
    numbered, broken = [], []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            numbered.append((number, _parsed(line, number, bare)))
        except (ValueError, RecursionError) as error:
            broken.append(set_aside(number, f"this is not JSON: {str(error)[:100]}", line))
    return numbered, broken


def _parsed(text: str, line: int, bare: list[int]) -> Any:
    def constant(name: str) -> float:
        bare.append(line)
        return float(name)

    return json.loads(text, parse_constant=constant)

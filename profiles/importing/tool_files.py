"""Files in a tool's own format, handed to that tool's reader."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from profiles.errors import InputError
from profiles.importing.formats import FORMATS
from profiles.importing.formats.found import Found
from profiles.importing.spelling import strategy_text
from profiles.importing.values import encodable
from profiles.notes import Kind, Notes
from profiles.observation import Evidence
from profiles.strategy import canonical

_ALSO_CALLED = {"tot": "sample_logs"}
_LARGEST = 1_000_000
_RECORDS = ("observations", "queries", "aggregates", "serving", "arrivals")


def tool_format(name: str) -> str | None:
    """The reader's name behind a word such as ``lm-eval``, None where no tool is meant."""
    word = name.replace("-", "_")
    word = _ALSO_CALLED.get(word, word)
    return word if word in FORMATS else None


def read_tool_file(
    path: Path,
    kind: str,
    *,
    workload: str,
    evidence: Evidence | None,
    options: Mapping[str, str],
    notes: Notes,
) -> Found:
    """What a tool's reader finds in its file.

    Args:
        path: The file.
        kind: One of `profiles.importing.formats.FORMATS`.
        workload: The traffic its records belong to.
        evidence: Where the numbers come from; None leaves it to the reader.
        options: What else the reader wants to know, as texts.
        notes: Takes the reader's remarks.

    Raises:
        InputError: The reader knows no such option, or cannot read the file.
    """
    read = import_module(FORMATS[kind]).read
    given = _fitting(read, kind, options)
    if evidence:
        given["evidence"] = evidence
    found: Found = read(path, workload=workload, notes=notes, **given)
    whole: dict[str, Any] = {name: _whole(getattr(found, name), notes) for name in _RECORDS}
    return replace(found, **whole)


def _whole(records: Sequence[Any], notes: Notes) -> tuple[Any, ...]:
    """The records with half characters, which JSON can carry and no store, as question marks."""
    return tuple(_mended(record, notes) for record in records)


def _mended(record: Any, notes: Notes) -> Any:
    texts = {name: getattr(record, name) for name in type(record).__slots__}
    broken = {
        name: encodable(text)
        for name, text in texts.items()
        if isinstance(text, str) and text != encodable(text)
    }
    for name in broken:
        notes.add(
            f"{name} with half a character: replaced by ?",
            ascii(texts[name])[:60],
            kind=Kind.REPAIRED,
        )
    return replace(record, **broken) if broken else record


def _fitting(read: Any, kind: str, options: Mapping[str, str]) -> dict[str, Any]:
    """Options as the reader takes them: whole numbers, numbers, strategies and texts."""
    taken = {
        name: str(parameter.annotation)
        for name, parameter in inspect.signature(read).parameters.items()
        if name not in {"path", "workload", "notes", "evidence"}
    }
    found: dict[str, Any] = {}
    for name, text in options.items():
        if name not in taken:
            raise InputError(
                f"{name!r} is not an option of the format {kind}",
                where="--option",
                expected=f"one of {', '.join(taken)}" if taken else "no option",
            )
        if "int" in taken[name]:
            found[name] = _number(name, text, int)
        elif "float" in taken[name]:
            found[name] = _number(name, text, float)
        else:
            found[name] = _text(name, text)
    return found


def _number(name: str, text: str, kind: Callable[[str], float]) -> float:
    try:
        number = kind(text)
    except ValueError as error:
        raise InputError(
            f"this is not a {'whole ' if kind is int else ''}number",
            where=f"--option {name}",
            got=repr(text),
        ) from error
    if not (math.isfinite(number) and 0 < number <= _LARGEST):
        raise InputError(
            "this is out of range",
            where=f"--option {name}",
            expected=f"a number above 0, at most {_LARGEST}",
            got=repr(text),
        )
    return number


def _text(name: str, text: str) -> str:
    """The text as given; a strategy and a model must be ones that a record can carry."""
    try:
        if name == "strategy":
            return canonical(text)
        if name == "model":
            strategy_text("", text, "single")
        return text
    except InputError as error:
        raise InputError(
            error.what,
            where=f"--option {name}",
            expected=error.expected,
            got=repr(text),
            next_step=error.next_step,
        ) from error

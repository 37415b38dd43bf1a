"""Files in a tool's own format, handed to that tool's reader."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from profiles.errors import InputError
from profiles.importing.formats import FORMATS
from profiles.importing.formats.found import Found
from profiles.notes import Notes
from profiles.observation import Evidence

_ALSO_CALLED = {"tot": "sample_logs"}


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
    return found


def _fitting(read: Any, kind: str, options: Mapping[str, str]) -> dict[str, Any]:
    """Options as the reader takes them: whole numbers, numbers and texts."""
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
        number = int if "int" in taken[name] else float if "float" in taken[name] else str
        try:
            found[name] = number(text)
        except ValueError as error:
            raise InputError(
                f"{name} is not a number", where=f"--option {name}", got=repr(text)
            ) from error
    return found

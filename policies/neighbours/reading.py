"""A neighbour's YAML as its own readers take it: files that people may have edited.

This is not the strict reading of our own files: a neighbour takes what PyYAML takes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import yaml

from profiles.errors import InputError


class Reader:
    """Values by their keys, with errors that name the place.

    Args:
        text: The file's text.
        name: The file's name in errors.

    Raises:
        InputError: It is no YAML, or no mapping.
    """

    def __init__(self, text: str, name: str) -> None:
        self.name = name
        try:
            content = yaml.load(text, Loader=yaml.CSafeLoader)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            what = "this is not YAML"
            raise InputError(what, where=name, got=str(error).replace("\n", " ")) from error
        self.root = self.mapping(content, "the file")

    def refuse(self, where: str, expected: str, got: object) -> InputError:
        """An error at a place of the file."""
        return InputError(
            "the file cannot be compared with a policy",
            where=f"{self.name}: {where}",
            expected=expected,
            got=repr(got),
            next_step="export the policy again",
        )

    def mapping(self, value: object, where: str) -> dict[str, Any]:
        """A mapping by texts; nothing is an empty one."""
        if value is None:
            return {}
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise self.refuse(where, "a mapping by names", value)
        return value

    def items(self, value: object, where: str) -> Iterator[tuple[dict[str, Any], str]]:
        """The mappings of a list, each with its place; nothing is an empty list."""
        if value is not None and not isinstance(value, list):
            raise self.refuse(where, "a list", value)
        for index, item in enumerate(value or []):
            place = f"{where}[{index}]"
            yield self.mapping(item, place), place

    def text(self, value: object, where: str) -> str:
        """A text."""
        if not isinstance(value, str):
            raise self.refuse(where, "a text", value)
        return value

    def number(self, value: object, where: str) -> float | None:
        """A finite number, also where it is written as a text; None where nothing stands."""
        if value is None:
            return None
        try:
            found = float(value) if isinstance(value, (int, float, str)) else math.nan
        except (ValueError, OverflowError):
            found = math.nan
        if isinstance(value, bool) or not math.isfinite(found):
            raise self.refuse(where, "a finite number", value)
        return found

    def whole(self, value: object, where: str) -> int | None:
        """A whole number; None where nothing stands."""
        found = self.number(value, where)
        if found is not None and found != int(found):
            raise self.refuse(where, "a whole number", value)
        return None if found is None else int(found)

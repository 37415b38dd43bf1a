"""Bytes and characters of a YAML file: UTF-8, and nothing that hides what it says."""

from __future__ import annotations

import re

from profiles.errors import InputError

MOST_BYTES = 4 * 2**20
_UNSAFE = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
    "\ufeff\ufffe\uffff]"
)


def decoded(content: bytes, name: str) -> str:
    """The text of a file.

    Raises:
        InputError: It is too large, or not UTF-8.
    """
    if len(content) > MOST_BYTES:
        raise InputError(
            "the file is too large",
            where=f"{name}:1:1: the file",
            expected=f"at most {MOST_BYTES:,} bytes",
            next_step="is this the file that you mean?",
        )
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        before = content[: error.start].decode()
        raise InputError(
            "this is not UTF-8",
            where=_at(before, name),
            expected="text in UTF-8",
            got=f"the byte 0x{content[error.start]:02x}",
            next_step="save the file as UTF-8",
        ) from error


def refuse_characters(text: str, name: str) -> None:
    """Refuse tabs, control characters, byte order marks, changes of direction, lone surrogates.

    Raises:
        InputError: Names the place of the first.
    """
    for found in _UNSAFE.finditer(text):
        char = found.group()
        if char == "\r" and text[found.end() : found.end() + 1] == "\n":
            continue
        what = "a character that cannot be seen or changes how the rest looks"
        next_step = f'remove it, or write it as "\\u{ord(char):04x}" in double quotes'
        if char == "\t":
            what, next_step = "a tab, of which YAML readers disagree", "use spaces"
        elif char == "\ufeff":
            what, next_step = "a byte order mark", "save the file as UTF-8 without it"
        raise InputError(
            what, where=_at(text[: found.start()], name), got=repr(char), next_step=next_step
        )


def _at(before: str, name: str) -> str:
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    return f"{name}:{line}:{column}: the file"

"""Texts that others wrote, safe to print: a terminal obeys what it cannot show."""

from __future__ import annotations


def escaped(text: str) -> str:
    r"""One line: what cannot be printed is written as Python writes it, e.g. ``\n`` or ``\x1b``.

    That is every control character, invisible mark and change of direction, and every space but
    the plain one. Escaping twice changes nothing more.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def escaped_lines(text: str) -> str:
    """The same, with line breaks kept."""
    return "\n".join(escaped(line) for line in text.split("\n"))

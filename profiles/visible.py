"""Texts that others wrote, safe to print: a terminal obeys what it cannot show.

So does the log of a CI job: GitHub's runner takes a line that begins with ``::``, blanks aside, and
``##[`` anywhere in a line, for a command.
"""

from __future__ import annotations

import re

LONGEST_QUOTE = 4000
"""Characters of one part of a message."""
LONGEST_NAME = 1000
"""Characters of a name within a message; a strategy of many stages is one."""
_NOTE = 40
"""Room for what says how many are missing."""
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
    "\U000e0100-\U000e01ef]"
)
"""Letters and marks that nobody sees, although they count as printable."""
_COMMAND = re.compile(r"^(\s*):(?=:)|#(?=#\[)")


def escaped(text: str) -> str:
    r"""One line: what cannot be printed is written as Python writes it, e.g. ``\n`` or ``\x1b``.

    That is every control character, invisible mark and change of direction, and every space but
    the plain one. Escaping twice changes nothing more.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_written(char) for char in text)


def escaped_lines(text: str) -> str:
    r"""The same, with line breaks kept; a line that CI would obey begins with ``\x3a``."""
    return "\n".join(_COMMAND.sub(_disarmed, escaped(line)) for line in text.split("\n"))


def shortened(text: str, most: int = LONGEST_QUOTE) -> str:
    """A text of at most so many characters, cut in its middle; it says how many are missing.

    Shortening twice changes nothing more.
    """
    if len(text) <= most:
        return text
    kept = most - _NOTE
    head = kept * 2 // 3
    return f"{text[:head]}[... {len(text) - kept:,} characters cut ...]{text[head - kept :]}"


def quoted(text: str) -> str:
    """A name within a message: on one line, and no longer than people read."""
    return escaped(shortened(text, LONGEST_NAME))


def _written(char: str) -> str:
    if char.isprintable() and not _UNSEEN.match(char):
        return char
    return char.encode("unicode_escape").decode()


def _disarmed(found: re.Match[str]) -> str:
    return r"\x23" if found[1] is None else rf"{found[1]}\x3a"

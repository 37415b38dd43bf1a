"""A report's sections as a terminal shows them, and as a comment on a pull request does.

Names in reports were written by others. A terminal gets them escaped; Markdown gets them as code,
in which nothing is a link, a mention, markup or the end of anything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from profiles.digest import digest_bytes
from profiles.visible import LONGEST_NAME, escaped, escaped_lines, quoted

MARKER = "<!-- inferbudget -->"
"""By this first line a comment is found again and updated in place."""
LONGEST = 60_000
"""Characters; GitHub takes comments of up to 65,536, and a review adds a policy's name and more."""
_TOO_LONG = "The details are too long for a comment: `inferbudget diff` prints them."
Rows = Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Form:
    """How a report is written.

    Attributes:
        name: What somebody else wrote, made safe.
        table: A table of rows under a header; cells are safe already.
    """

    name: Callable[[str], str]
    table: Callable[[Rows, Sequence[str]], str]


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a report.

    Attributes:
        title: What it is about; empty above the fold, where the first line says it.
        body: Lines, in the form that the report is written in.
        folded: Whether a comment hides it until somebody opens it.
    """

    title: str
    body: str
    folded: bool = False


def marker_of(path: str) -> str:
    """The marker of one of several policies: a path of any characters and length cannot end it."""
    name = quote(path, errors="replace")
    if len(name) > LONGEST_NAME:
        name = f"{name[:LONGEST_NAME]}... {digest_bytes(name.encode())}"
    return f"<!-- inferbudget {name} -->"


def as_text(headline: str, sections: Iterable[Section]) -> str:
    """The report for a terminal."""
    parts = [f"{s.title}:\n{s.body}" if s.title else s.body for s in sections]
    return "\n\n".join([headline, *parts])


def as_markdown(headline: str, sections: Iterable[Section]) -> str:
    """The report as a comment: the hidden marker first, then the answer, the rest folded.

    As `escaped_lines` prints it, for that is what has a length.
    """
    sections = list(sections)
    above = [
        f"**{section.title}**\n\n{section.body}" if section.title else section.body
        for section in sections
        if not section.folded
    ]
    below = [
        f"<details>\n<summary>{section.title}</summary>\n\n{section.body}\n\n</details>"
        for section in sections
        if section.folded
    ]
    short = [MARKER, f"**{headline}**", *above]
    for parts in ([*short, *below], [*short, _TOO_LONG]):
        whole = escaped_lines("\n\n".join(parts))
        if len(whole) <= LONGEST:
            return whole
    return "\n\n".join([*short[:2], _TOO_LONG])


def aligned(rows: Rows, header: Sequence[str]) -> str:
    """A table in columns."""
    lines = [header, *rows]
    widths = [max(len(row[i]) for row in lines) for i in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in lines
    )


def piped(rows: Rows, header: Sequence[str]) -> str:
    """A table between pipes."""
    cells = [header, ["---"] * len(header), *rows]
    return "\n".join(
        f"| {' | '.join(c.replace('|', chr(92) + '|') for c in row)} |" for row in cells
    )


def unpiped(text: str) -> list[list[str]]:
    """Header and rows of a table that `piped` wrote; nothing of any other text."""
    if not text.startswith("| "):
        return []
    rows = [line[2:-2].split(" | ") for line in text.splitlines()]
    return [[cell.replace(r"\|", "|") for cell in row] for row in (rows[0], *rows[2:])]


def code(text: str) -> str:
    """The text as a code span, whatever it holds; no longer than names are, escapes and all."""
    shown = quoted(escaped(text)) or '""'
    fence = "`" * (max(map(len, re.findall("`+", shown)), default=0) + 1)
    space = " " if shown[0] in "` " or shown[-1] in "` " else ""
    return f"{fence}{space}{shown}{space}{fence}"


TEXT = Form(name=lambda text: quoted(text) or '""', table=aligned)
MARKDOWN = Form(name=code, table=piped)

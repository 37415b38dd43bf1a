"""Tables as Markdown has them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from profiles.visible import escaped

Written = Callable[[Iterable[Iterable[object]], Iterable[str]], str]
"""How a report writes a table: aligned for a terminal, or `piped`."""


def piped(rows: Iterable[Iterable[object]], header: Iterable[str]) -> str:
    """A table between pipes. What cannot be printed is escaped."""
    head = list(header)
    cells = [head, ["---"] * len(head), *([str(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(map(_cell, row))} |" for row in cells)


def _cell(text: str) -> str:
    return escaped(text).replace("|", "\\|")

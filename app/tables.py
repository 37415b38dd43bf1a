"""Tables that a narrow screen can scroll, no longer than a browser draws at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamlit.delta_generator import DeltaGenerator

MOST_ROWS = 200


def draw_table(
    place: DeltaGenerator,
    rows: Sequence[Sequence[str]],
    header: Sequence[str],
    *,
    alt: str,
    command: str,
) -> None:
    """The first rows, and which command prints those that are left out.

    Args:
        place: Where on the page.
        rows: Cells are Markdown: names that others wrote stand in them as code.
        header: Of the columns, all different.
        alt: What the table shows, for those who hear it.
        command: The words of a command that prints every row.
    """
    shown = [dict(zip(header, row, strict=True)) for row in rows[:MOST_ROWS]]
    place.table(shown, hide_index=True, hide_header=False, alt=alt)
    if len(rows) > MOST_ROWS:
        place.caption(f"{len(rows) - MOST_ROWS:,} more rows: `{command}` prints them.")

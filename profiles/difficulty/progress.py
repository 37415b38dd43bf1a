"""How far a fit is, told while it runs."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Told a stage in words, how many of its steps are done, and of how many."""


def silent(_stage: str, _done: int, _total: int) -> None:
    """Tells nobody."""

"""Numbers as pages show them, each with what it rests on, and texts of others made safe to show."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from app.scratch import without_folders
from planner.spec import Objective, Window
from policies.report_layout import code
from profiles.visible import escaped_lines

if TYPE_CHECKING:
    from app.solving import Solving
    from planner.plan import Rung
    from planner.spec import Traffic
    from profiles.money import PriceCard
    from profiles.profile import Cell

OBJECTIVES = {
    Objective.MINIMIZE_COST: "the cheapest plan that keeps the limits",
    Objective.MAXIMIZE_ACCURACY: "the most accurate plan that keeps the limits",
    Objective.MAXIMIZE_VALUE: "the plan whose answers are worth most over what they cost",
    Objective.MINIMIZE_COST_PER_CORRECT: "the plan with the cheapest correct answers",
}

_MARKUP = re.compile(r"[\\`*_\[\]<>$~|#&]|(?<!\w):|:(?=\w)|(?<=:material)/|^[-+=]|^\d+[.)]")
_EMOJI = r":(?:100|1234):|:(?!\d+:)[\w+-]+:"  # other numbers are lines of a file
_BEYOND_ESCAPE = re.compile(rf"://|www\.|\w@\w|{_EMOJI}", re.IGNORECASE)
"""What becomes a link or an emoji, backslashes or not; but not in code."""


def number(value: float | None, scale: float = 1) -> str:
    """Four digits, all of them before the point, or that nobody measured it."""
    if value is None:
        return "not measured"
    shown = scale * value
    return f"{shown:.4g}" if abs(shown) < _WHOLE else f"{shown:,.0f}"


_WHOLE = 10_000


def prose(text: str) -> str:
    """A message as Markdown that shows it as it is: its marks are no markup, its lines stay.

    Names in a sentence of our own are better shown as code (`policies.report_layout.code`).
    """
    lines = without_folders(escaped_lines(text)).split("\n")
    return "  \n".join(_line(line.strip()) for line in lines)


def _line(line: str) -> str:
    words = _MARKUP.sub(lambda found: _apart(found[0]), line).split(" ")
    plain = line.split(" ")
    return " ".join(
        code(word) if _BEYOND_ESCAPE.search(word) else marked
        for word, marked in zip(plain, words, strict=True)
    )


def _apart(mark: str) -> str:
    """With a backslash before what Markdown would obey."""
    head, last = mark[:-1], mark[-1]
    return f"{head}\\{last}"


def window_words(traffic: Traffic) -> str:
    """What a sum over a window of traffic is for."""
    requests = f"{traffic.requests:,} requests"
    return f"for {requests}" if traffic.per is Window.TOTAL else f"a {traffic.per} at {requests}"


def basis(found: Solving) -> str:
    """What every figure of a view rests on: workload, sample size, evidence, prices, profile."""
    profile = found.question.profile
    cells = list(profile.cells.values())
    return (
        f"{prose(profile.workload)}: {profile.queries:,} queries ({evidence_words(cells)}), "
        f"{len(profile.strategies)} strategies, {len(profile.classes)} classes; "
        f"{price_words(cells, found.question.prices)}; profile {profile.digest[:19]}"
    )


def behind(found: Solving, rung: Rung) -> str:
    """What the figures of one plan rest on: the cells that it uses, and the thinnest of them."""
    cells = used_cells(found, rung)
    thinnest = min(cells, key=lambda cell: (cell.queries, cell.class_name, cell.strategy))
    newest = max((cell.observed_until for cell in cells if cell.observed_until), default=None)
    until = f"; newest answer of {newest:%Y-%m-%d}" if newest else "; undated"
    used = "1 cell" if len(cells) == 1 else f"{len(cells)} cells"
    fewest = f"{thinnest.queries:,} queries" if thinnest.sized else "an unknown number of queries"
    return (
        f"This plan rests on {used}; the thinnest has {fewest} "
        f"({code(thinnest.strategy)} in class {code(thinnest.class_name)}). "
        f"Evidence: {evidence_words(cells)}{until}. "
        f"Prices: {price_words(cells, found.question.prices)}."
    )


def used_cells(found: Solving, rung: Rung) -> list[Cell]:
    """The measured cells that a plan uses."""
    cells = found.question.profile.cells
    return [cells[name, text] for name, shares in rung.allocation.items() for text in shares]


def evidence_words(cells: Iterable[Cell]) -> str:
    """Kinds of evidence."""
    return ", ".join(sorted({kind for cell in cells for kind in cell.evidence})) or "none"


def price_words(cells: Iterable[Cell], card: PriceCard) -> str:
    """Where dollars come from: recorded with the answers, or reckoned from a price card."""
    known = [cell for cell in cells if cell.cost_usd is not None]
    rows, priced = sum(cell.observations for cell in known), sum(cell.cost_priced for cell in known)
    if not known:
        return "no dollars known"
    if not priced:
        return "dollars as recorded with the answers"
    day = f" as of {card.as_of}" if card.as_of else ""
    source = f", {code(card.source)}" if card.source else ""
    reckoned = f"reckoned from the price card{day}{source}"
    if priced >= rows:
        return f"dollars {reckoned}"
    return f"dollars of {priced:,} of {rows:,} answers {reckoned}, the others as recorded"


def p95_words(found: Solving, rung: Rung, p95_s: float | None, unit: str = "") -> str:
    """Seconds; where there are none, whether nobody measured or the tail is beyond all limits."""
    if p95_s is not None:
        return f"{number(p95_s)}{unit}"
    if any(cell.exceeded is None for cell in used_cells(found, rung)):
        return number(None)
    return f"over {found.question.profile.latency_grid_s[-1]:g}{unit}"

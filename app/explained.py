"""An explanation as scripts read it, the same from the command line and from the app."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from planner.explaining.report import Explanation


def as_json(found: Explanation) -> dict[str, Any]:
    """Every figure with its sentence; what is unknown is null."""
    from planner.explaining import swing_words, words

    limits = [asdict(facts) | {"words": words.limit_words(facts, found)} for facts in found.limits]
    without = [
        {
            "without": other.without,
            "expected": other.expected.model_dump(),
            "promised": other.promised.model_dump(),
            "words": words.alternative_words(other, found),
        }
        for other in found.without
    ]
    strategies = [asdict(one) | {"words": words.strategy_words(one)} for one in found.strategies]
    flips = [
        asdict(flip) | {"words": words.flip_words(flip, found.tolerance)} for flip in found.flips
    ]
    swings = [
        asdict(one)
        | {
            "size": one.size,
            "words": {
                "number": swing_words.subject_words(one.kind, one.name),
                "less": swing_words.side_words(one.less, found),
                "more": swing_words.side_words(one.more, found),
                "flips": swing_words.edge_words(one, found),
            },
        }
        for one in found.swings
    ]
    return {
        "workload": found.workload,
        "traffic": found.traffic.model_dump(mode="json") if found.traffic else None,
        "objective": found.objective.value,
        "confidence": found.confidence,
        "value": found.value,
        "expected": found.expected.model_dump(),
        "promised": found.promised.model_dump(),
        "allocation": found.allocation,
        "limits": limits,
        "without": without,
        "compared": found.compared,
        "strategies": strategies,
        "flips": flips,
        "untried": found.untried,
        "swings": swings,
        "unswung": found.unswung,
        "swing": found.swing,
        "most_change": found.most_change,
        "tolerance": found.tolerance,
        "seen": found.seen,
        "knee": asdict(found.knee) if found.knee else None,
        "place": found.place,
        "advice": asdict(found.advice) if found.advice else None,
        "notes": list(notes(found)),
    }


def notes(found: Explanation) -> Iterator[str]:
    """How its words are meant, and what is missing."""
    if any(one.dominated_by for one in found.strategies):
        compared = ", ".join(found.compared)
        yield f"dominated: no better in any of {compared}, and worse in one, by best estimates"
    yield (
        f"a flip is a cell that gets or loses {100 * found.seen:g} % of its class or more, at the "
        f"smallest change of its kind up to {100 * found.most_change:g} %, found to within "
        f"{100 * found.tolerance:g} points"
    )
    yield from found.notes

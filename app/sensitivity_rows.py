"""An explanation as rows of pictures and tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from app.charts.sensitivity import ANOTHER, NONE
from app.figures import number
from planner.explaining import swing_words, words
from planner.explaining.margins import CONFIDENCE
from planner.explaining.plain import title
from planner.explaining.report import Explanation, Flip, Swing
from planner.limit_names import SHARES, in_words, is_latency
from profiles.visible import escaped

if TYPE_CHECKING:
    from planner.plan import Figures

Row = dict[str, Any]


def objective(found: Explanation, worth: float = 0.0) -> float:
    """The plan's objective where it is better by so much, in the unit that people read."""
    return found.after(worth) * words.currency(found.objective).factor


def tornado_rows(found: Explanation, swings: Iterable[Swing]) -> Iterator[Row]:
    """One per number and side, as `tornado_chart` takes them."""
    for one in swings:
        for side in (one.less, one.more):
            if side is not None:
                yield {
                    "number": _named(one),
                    "less": side.by < 0,
                    "now": objective(found),
                    "value": None if side.worth is None else objective(found, side.worth),
                    "change": f"{100 * side.by:+.3g} %",
                    "effect": swing_words.side_words(side, found),
                    "edge": swing_words.edge_words(one, found),
                }


def reach_rows(found: Explanation, swings: Iterable[Swing]) -> list[Row]:
    """One per number that flips the plan, the nearest flip first, as `reach_chart` takes them.

    Latencies are left out: they move in steps of their own.
    """
    rows = []
    for one in swings:
        sides = [side for side in (one.less, one.more) if side is not None]
        flips = [side.flip for side in sides if side.flip is not None]
        if flips and not (one.kind == "limit" and is_latency(one.name)):
            ends = [100 * side.same_to for side in sides]
            flipped = [_flip(found, flip) for flip in flips]
            row = {"number": _named(one), "low": min(0.0, *ends), "high": max(0.0, *ends)}
            rows.append({**row, "flips": flipped})
    return sorted(rows, key=lambda row: min(abs(flip["at"]) for flip in row["flips"]))


def _flip(found: Explanation, flip: Flip) -> Row:
    return {
        "at": 100 * flip.change,
        "beyond": ANOTHER if flip.has_plan else NONE,
        "words": escaped(words.flip_words(flip, found.tolerance)),
    }


def swing_rows(found: Explanation, swings: Iterable[Swing]) -> list[Row]:
    """The same numbers as a table."""
    return [
        {
            "number": _named(one),
            "less": swing_words.side_words(one.less, found),
            "more": swing_words.side_words(one.more, found),
            "flips the plan at": swing_words.edge_words(one, found),
        }
        for one in swings
    ]


def limit_rows(found: Explanation) -> list[Row]:
    """Every limit with what is asked and promised of it."""
    return [
        {
            "limit": escaped(facts.name),
            "asked": in_words(facts.name, facts.asked),
            "promised": words.promised_words(facts),
            "binds": "yes" if facts.binds else "no",
        }
        for facts in found.limits
    ]


def promise_words(found: Explanation) -> Iterator[str]:
    """What each promise costs in full."""
    for one in found.without:
        name = one.without if one.without == CONFIDENCE else title(one.without)
        yield words.alternative_words(replace(one, without=name), found)


def promise_rows(found: Explanation) -> list[Row]:
    """The plan as asked, and without each promise."""
    rows = [("as asked", found.expected, found.promised)]
    rows += [(f"without {escaped(o.without)}", o.expected, o.promised) for o in found.without]
    return [
        {"plan": name, **_figures(expected, ""), **_figures(promised, " promised")}
        for name, expected, promised in rows
    ]


def _figures(figures: Figures, which: str) -> Row:
    return {
        f"accuracy, %{which}": number(figures.accuracy, 100),
        f"USD per 1,000{which}": number(figures.cost_usd_per_request, 1000),
        f"p95 s{which}": number(figures.latency_p95_s),
    }


def strategy_rows(found: Explanation) -> list[Row]:
    """Every strategy with its part of the requests, and why."""
    return [
        {
            "strategy": escaped(one.strategy),
            "of requests, %": round(100 * one.share, 2),
            "why": escaped(words.strategy_words(one)),
        }
        for one in found.strategies
    ]


def entering_rows(found: Explanation) -> list[Row]:
    """Strategies that a lower price would bring in, the nearest first."""
    rows = [
        {"number": one.strategy, "cheaper": 100 * one.enters_at}
        for one in found.strategies
        if one.enters_at is not None
    ]
    return sorted(rows, key=lambda row: row["cheaper"])


def advice_rows(found: Explanation) -> list[Row]:
    """What to measure next, the most valuable first."""
    rows = found.advice.rows if found.advice else ()
    return [
        {
            "more queries": row.queries,
            "of": escaped(row.strategy),
            "in class": escaped(row.class_name),
            "costs, USD": number(row.cost_usd),
            "worth, USD": number(row.value_usd),
            "measured so far": row.measured,
            "why": escaped(row.reason),
        }
        for row in rows
    ]


def _named(one: Swing) -> str:
    """Limits on one share may be two, so those keep their own names."""
    if one.kind == "limit":
        return f"limit: {escaped(one.name) if SHARES in one.name else title(one.name)}"
    return escaped(swing_words.subject_words(one.kind, one.name))

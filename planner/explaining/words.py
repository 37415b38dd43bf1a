"""An explanation in sentences: prices in money, reasons, and what would change the plan."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from planner.explaining.flips import KINDS
from planner.explaining.margins import CONFIDENCE
from planner.explaining.report import (
    Alternative,
    Explanation,
    Flip,
    LimitFacts,
    Move,
    StrategyFacts,
)
from planner.frontiers.knee import Knee
from planner.limit_names import in_words, is_latency, is_share
from planner.spec import Objective, Traffic, Window

_REQUESTS = 1000
_POINT = 0.01
_NOTHING = 5e-5
"""A relative difference that rounds to nothing."""


@dataclass(frozen=True, slots=True)
class Currency:
    """What an objective is counted in.

    Attributes:
        factor: From the objective per request to what people read.
        unit: Of that.
        better: Verb for more of it.
        worse: Verb for less.
        traffic: Where dollars per request are summed up: what they come to is said too.
    """

    factor: float
    unit: str
    better: str
    worse: str
    traffic: Traffic | None = None

    def amount(self, worth: float) -> str:
        """A size in words."""
        return f"{number(abs(worth) * self.factor)} {self.unit}{self.summed(worth)}"

    def summed(self, worth: float) -> str:
        """What it comes to in a window of traffic, where that is known."""
        if self.traffic is None or self.unit != _PER_REQUEST:
            return ""
        per = "in total" if self.traffic.per is Window.TOTAL else f"per {self.traffic.per}"
        return f" ({number(abs(worth) * self.traffic.requests)} USD {per})"

    def change(self, worth: float) -> str:
        """What a move does."""
        if not worth:
            return "changes nothing"
        return f"{self.better if worth > 0 else self.worse} {self.amount(worth)}"


_PER_REQUEST = f"USD per {_REQUESTS:,} requests"
CURRENCIES = {
    Objective.MINIMIZE_COST: Currency(_REQUESTS, _PER_REQUEST, "saves", "costs"),
    Objective.MAXIMIZE_ACCURACY: Currency(100, "points of accuracy", "gains", "loses"),
    Objective.MAXIMIZE_VALUE: Currency(_REQUESTS, _PER_REQUEST, "gains", "loses"),
    Objective.MINIMIZE_COST_PER_CORRECT: Currency(
        _REQUESTS, f"USD per {_REQUESTS:,} correct answers", "saves", "costs"
    ),
}


def currency(objective: Objective, traffic: Traffic | None = None) -> Currency:
    """What an objective is counted in, dollars also in a window of traffic."""
    return replace(CURRENCIES[objective], traffic=traffic)


def number(value: float) -> str:
    """Three digits, all of them where there are more before the point."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def limit_words(facts: LimitFacts, explained: Explanation) -> str:
    """What one limit costs at the margin."""
    if not facts.binds:
        if facts.slack and is_latency(facts.name):
            return (
                f"{facts.name} does not bind: {promised_words(facts)}, {_share(facts.allowed)} may "
                "be"
            )
        if facts.slack:
            room = in_words(facts.name, float(f"{facts.slack:.4g}"))
            return (
                f"{facts.name} does not bind: the plan promises {promised_words(facts)}, {room} "
                "better than asked"
            )
        return f"{facts.name} does not bind: loosening it changes nothing"
    unit = currency(explained.objective, explained.traffic)
    if is_share(facts.name):
        return _points(facts, unit)
    moves = (_moved(facts, move, unit) for move in (facts.looser, facts.tighter))
    return f"{facts.name} binds: {'; '.join(text for text in moves if text)}"


def promised_words(facts: LimitFacts) -> str:
    """What the plan promises of a limit."""
    if is_latency(facts.name):
        return f"at most {_share(facts.promised)} are slower"
    return in_words(facts.name, float(f"{facts.promised:.4g}"))


def _points(facts: LimitFacts, unit: Currency) -> str:
    """Prices per point, of the last one and of the next."""
    last, following = facts.per_unit(facts.looser), facts.per_unit(facts.tighter)
    text = f"the last point of {facts.name} costs {unit.amount((last or 0.0) * _POINT)}"
    if following is not None:
        next_one = number(following * _POINT * unit.factor)
        return f"{text}, the next one {next_one}{unit.summed(following * _POINT)}"
    if facts.tighter is None:
        return text
    return f"{text}; no plan keeps {in_words(facts.name, facts.tighter.to)}"


def _moved(facts: LimitFacts, move: Move | None, unit: Currency) -> str:
    if move is None:
        return ""
    to = in_words(facts.name, move.to)
    if move.worth is None:
        return f"no plan keeps {to}"
    text = f"{to} instead of {in_words(facts.name, facts.asked)} {unit.change(move.worth)}"
    price = facts.per_unit(move)
    if is_latency(facts.name) and price:
        text += f" ({unit.amount(price)} a second)"
    return text


def alternative_words(other: Alternative, explained: Explanation) -> str:
    """What one promise costs in full."""
    name = "certainty" if other.without == CONFIDENCE else other.without
    mine, its = (each.cost_usd_per_request for each in (explained.expected, other.expected))
    gained = other.expected.accuracy - explained.expected.accuracy
    points = f"{number(100 * abs(gained))} points"
    same = abs(gained) < _NOTHING
    if explained.objective is Objective.MAXIMIZE_ACCURACY or mine is None or its is None:
        if same:
            return f"{name} costs no accuracy"
        return f"{name} {'costs' if gained > 0 else 'brings'} {points} of accuracy"
    saved = mine - its
    if abs(saved) <= _NOTHING * mine:
        return f"{name} costs nothing"
    share = f" ({number(100 * abs(saved) / its)} %)" if its else ""
    price = f"{number(_REQUESTS * abs(saved))} {_PER_REQUEST}{share}"
    text = f"{name} {'costs' if saved > 0 else 'saves'} {price}"
    if same:
        return text
    return f"{text}; without it accuracy is {points} {'higher' if gained > 0 else 'lower'}"


def strategy_words(facts: StrategyFacts) -> str:
    """Why a strategy is used or not."""
    if facts.used_in:
        parts = sorted(facts.used_in.items(), key=lambda item: -item[1])
        return ", ".join(f"{_share(part)} of {name}" for name, part in parts)
    if facts.dominated_by:
        return f"dominated by {_dominators(facts.dominated_by)}"
    if facts.enters_at is not None:
        return f"would be used if it were {number(100 * facts.enters_at)} % cheaper"
    return facts.note or ""


def _dominators(by_class: dict[str, dict[str, float]]) -> str:
    by_mixture: dict[str, list[str]] = {}
    for name, mixture in by_class.items():
        if len(mixture) == 1:
            text = next(iter(mixture))
        else:
            text = " with ".join(
                f"{number(100 * part)} % {strategy}" for strategy, part in mixture.items()
            )
        by_mixture.setdefault(text, []).append(name)
    if len(by_mixture) == 1:
        return f"{next(iter(by_mixture))} in every class"
    return ", ".join(f"{text} in {' and '.join(names)}" for text, names in by_mixture.items())


def flip_words(flip: Flip, tolerance: float) -> str:
    """One change and what it does to the plan."""
    size = number(100 * abs(flip.change))
    if abs(flip.change) <= tolerance:
        size = f"less than {100 * tolerance:g}"
    words = {
        "price": ("dearer", "cheaper"),
        "accuracy": ("more accurate", "less accurate"),
        "class share": ("more frequent", "rarer"),
        "limit": ("higher", "lower"),
    }
    subject = f"class {flip.name}" if flip.kind == "class share" else flip.name
    text = f"{subject} {size} % {words[flip.kind][flip.change < 0]}: "
    if not flip.has_plan:
        return f"{text}no plan keeps the limits"
    enters = [f"{strategy} enters {name}" for name, strategy in flip.enters]
    leaves = [f"{strategy} leaves {name}" for name, strategy in flip.leaves]
    return text + ", ".join([*enters, *leaves])


def quiet_words(explained: Explanation) -> str:
    """Which kinds of change flip nothing, and which could not be tried."""
    found = {flip.kind for flip in explained.flips}
    other = {*found, *explained.untried, *explained.fixed}
    quiet = [kind for kind in KINDS if kind not in other]
    parts = []
    if quiet:
        most = f"{100 * explained.most_change:g} %"
        parts.append(f"no change of one {' or '.join(quiet)} by up to {most} does")
    if explained.untried:
        kinds = " and ".join(explained.untried)
        parts.append(f"not tried to the end: changes of one {kinds}")
    if explained.fixed:
        parts.append(f"nothing to change: {' and '.join(explained.fixed)}")
    return "; ".join(parts)


def bend_words(knee: Knee) -> str:
    """Where more money stops paying."""
    mean, below, beyond = (
        number(_REQUESTS * usd)
        for usd in (knee.usd_per_point, knee.usd_per_point_below, knee.usd_per_point_beyond)
    )
    return (
        f"the frontier bends at {number(_REQUESTS * knee.usd_per_request)} {_PER_REQUEST} and "
        f"{_share(knee.accuracy)}: a point costs {below} below it and {beyond} beyond, {mean} on "
        "average"
    )


def knee_words(explained: Explanation) -> Iterator[str]:
    """The same, and where the plan lies."""
    if explained.knee is None or explained.place is None:
        return
    yield bend_words(explained.knee)
    yield {
        "below": "the plan spends less: further points are still cheap",
        "at": "the plan lies there",
        "beyond": "the plan spends more: its last points are dear",
    }[explained.place]


def advice_words(explained: Explanation) -> Iterator[str]:
    """What to measure next."""
    advice = explained.advice
    if advice is None:
        return
    yield advice.summary
    for row in advice.rows:
        worth = "" if row.value_usd is None else f", worth {number(row.value_usd)} USD"
        cost = "an unknown cost" if row.cost_usd is None else f"{number(row.cost_usd)} USD"
        yield f"{row.queries:,} more queries of {row.strategy} in {row.class_name}: {cost}{worth}"


def _share(part: float) -> str:
    return f"{100 * part:.1f} %"

"""What a limit costs in everyday words, for people who have not written the spec.

`planner.explaining.words` says the same with the limits' own names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from planner.explaining.report import LimitFacts, Move
from planner.explaining.words import Currency, currency, number, promised_words
from planner.limit_names import (
    BY_CLASS,
    BY_GROUP,
    CARBON,
    ENERGY,
    GPU,
    MAX_GAP,
    OVERALL,
    SHARES,
    SPEND,
    class_of_latency,
    in_words,
    is_floor,
    is_latency,
    is_share,
    whose,
)
from planner.spec import Objective, Traffic
from profiles.visible import quoted

_POINT = 0.01
_REQUESTS = 1000

Named = Callable[[str], str]
"""How a name that somebody else wrote is shown."""


def title(limit: str, named: Named = quoted) -> str:
    """What a limit is about, e.g. ``accuracy in hard``."""
    tenant, inner = whose(limit)
    text = _title(inner, named)
    return text if tenant is None else f"{text} of tenant {named(tenant)}"


def _title(limit: str, named: Named) -> str:
    if is_latency(limit):
        one, percentile = class_of_latency(limit), limit.rpartition(".")[2].removesuffix("_s")
        return f"the {percentile} latency" + (f" in {named(one)}" if one else "")
    if limit.startswith(SHARES):
        return f"the share of {named(limit.removeprefix(SHARES).rpartition('.')[0])}"
    for start, text in _TITLES.items():
        if limit.startswith(start):
            rest = limit.removeprefix(start)
            return f"{text} {named(rest)}" if rest else text
    return named(limit)


_TITLES = {
    OVERALL: "accuracy",
    BY_CLASS: "accuracy in",
    BY_GROUP: "accuracy for",
    MAX_GAP: "the gap in accuracy between groups of",
    SPEND: "the budget",
    GPU: "GPU seconds of",
    ENERGY: "energy per request",
    CARBON: "carbon per request",
    "per_request.": "what a request may take of",
}


def limit_sentence(
    facts: LimitFacts,
    objective: Objective,
    traffic: Traffic | None = None,
    named: Named = quoted,
) -> str:
    """What the next step of a limit costs, and what the last one does.

    Args:
        facts: From `planner.explaining.margins.limit_facts`.
        objective: Of the plan.
        traffic: Over which dollars are summed up as well.
        named: How names that others wrote are shown.
    """
    name, unit = title(facts.name, named), currency(objective, traffic)
    if objective is Objective.MAXIMIZE_ACCURACY:
        unit = replace(unit, unit="points of overall accuracy")
    if facts.looser is None or (facts.looser.worth or 0.0) <= 0:
        return _with_room(facts, name)
    if is_share(facts.name):
        return _points(facts, name, unit)
    moves = [_moved(facts, move, unit) for move in (facts.tighter, facts.looser)]
    return f"{_start(name)}: {'; '.join(text for text in moves if text)}."


def _with_room(facts: LimitFacts, name: str) -> str:
    if not facts.slack:
        return f"{_start(name)} costs nothing: with less of it asked for the plan is as good."
    if is_latency(facts.name):
        may = f"{100 * facts.allowed:.3g} % may be"
        return f"{_start(name)} costs nothing: {promised_words(facts)}, {may}."
    asked = f"{'at least' if is_floor(facts.name) else 'at most'} {_value(facts, facts.asked)}"
    promised = _value(facts, float(f"{facts.promised:.4g}"))
    return f"{_start(name)} costs nothing: {promised} is promised, {asked} is asked for."


def _points(facts: LimitFacts, name: str, unit: Currency) -> str:
    """Floors on accuracy are asked for in points; so are gaps and shares."""
    following, last = (facts.per_unit(move) for move in (facts.tighter, facts.looser))
    step = f"One {'more point' if is_floor(facts.name) else 'point less'} of {name}"
    if following is not None:
        text = f"{step} costs {unit.amount(following * _POINT)}"
    elif facts.tighter is None:
        text = f"There is no further point of {name}"
    else:
        text = f"No plan keeps {_value(facts, facts.tighter.to)} of {name}"
    return f"{text}; the last one costs {unit.amount((last or 0.0) * _POINT)}."


def _moved(facts: LimitFacts, move: Move | None, unit: Currency) -> str:
    if move is None:
        return ""
    to = f"{_value(facts, move.to)} instead of {_value(facts, facts.asked)}"
    if whose(facts.name)[1] == SPEND:
        less = "less" if move.to < facts.asked else "more"
        to = f"{100 * abs(move.to / facts.asked - 1):.2g} % {less}"
    return f"{to} {'allows no plan' if move.worth is None else unit.change(move.worth)}"


def _value(facts: LimitFacts, value: float) -> str:
    """A limit's value as people say it."""
    if is_share(facts.name):
        return f"{100 * value:.4g} %"
    if whose(facts.name)[1] == SPEND:
        return f"{number(_REQUESTS * value)} USD per {_REQUESTS:,} requests"
    return in_words(facts.name, value)


def _start(text: str) -> str:
    return text[:1].upper() + text[1:]

"""A policy in sentences: what every class gets, what binds, what is promised, what runs out when.

Every number is the file's own or follows from its own; what it does not record is said to be
unknown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate, pairwise

from planner.figures import LimitFigures
from planner.limit_names import (
    SPEND,
    in_words,
    is_floor,
    is_latency,
    is_share,
    tail_of_limit,
    whose,
)
from planner.spec import Window
from policies.policy import Budget, Policy, PolicyRung, StrategyEntry

_REQUESTS = 1000
_POINT = 0.01


@dataclass(frozen=True, slots=True)
class _Currency:
    """What an objective is counted in: from it to what people read, and verbs for more and less."""

    factor: float
    unit: str
    more: str
    less: str


_CURRENCIES = {
    "minimize cost": _Currency(_REQUESTS, f"USD per {_REQUESTS:,} requests", "costs", "saves"),
    "maximize accuracy": _Currency(100, "points of accuracy", "gains", "loses"),
    "maximize value": _Currency(_REQUESTS, f"USD per {_REQUESTS:,} requests", "gains", "loses"),
    "minimize cost per correct": _Currency(
        _REQUESTS, f"USD per {_REQUESTS:,} correct answers", "costs", "saves"
    ),
}


@dataclass(frozen=True, slots=True)
class Drawn:
    """One strategy's part of the requests of a class.

    Attributes:
        entry: The strategy.
        share: Its share, 0..1.
        begins: It answers from this uniform number on,
        ends: and below this one.
    """

    entry: StrategyEntry
    share: float
    begins: float
    ends: float


def drawn(policy: Policy, rung: int, class_name: str) -> tuple[Drawn, ...]:
    """Who answers a class at a rung, for which uniform numbers, in the order of the draw.

    Edges are exact sums of decimal shares; the runtime takes them as float32.
    """
    return _drawn(_entries(policy), policy.rungs[rung].shares.get(class_name, {}))


def drawn_by_class(policy: Policy, rung: int) -> Iterator[tuple[str, tuple[Drawn, ...]]]:
    """The same for every class."""
    entries, shares = _entries(policy), policy.rungs[rung].shares
    for name in policy.classes.names:
        yield name, _drawn(entries, shares.get(name, {}))


def _entries(policy: Policy) -> dict[str, tuple[int, StrategyEntry]]:
    """Strategies with their places in the draw."""
    return {entry.text: (place, entry) for place, entry in enumerate(policy.strategies)}


def _drawn(
    entries: Mapping[str, tuple[int, StrategyEntry]], shares: Mapping[str, float]
) -> tuple[Drawn, ...]:
    known = [entries[text] for text, share in shares.items() if share and text in entries]
    used = [entry for _, entry in sorted(known, key=lambda found: found[0])]
    edges = pairwise(accumulate((shares[entry.text] for entry in used), initial=0.0))
    return tuple(
        Drawn(entry, shares[entry.text], round(begins, 9), round(ends, 9))
        for entry, (begins, ends) in zip(used, edges, strict=True)
    )


def limit_words(name: str, found: LimitFigures) -> str:
    """What is asked of a limit, what is promised, and whether that keeps it."""
    bound = "at least" if is_floor(name) else "at most"
    asked = f"{name}: {bound} {in_words(name, found.asked)} is asked"
    given_up = "" if found.kept else ": given up"
    if is_latency(name):
        return (
            f"{asked}, which {_percent(tail_of_limit(name))} of requests may exceed; that at most "
            f"{_percent(found.promised)} do is promised{given_up}"
        )
    promised = in_words(name, float(f"{found.promised:.4g}"))
    return f"{asked}; {bound} {promised} is promised{given_up}"


def binding_words(rung: PolicyRung) -> Iterator[str]:
    """What the limits that bind cost at the margin; says so where the file does not record it."""
    if rung.shadow_prices is None:
        yield "the file does not record which limits bind"
        return
    currency = _CURRENCIES.get(rung.objective or "")
    binding = {name: price for name, price in rung.shadow_prices.items() if price}
    if not binding:
        yield "no limit binds: loosening one a little changes nothing"
    for name, price in binding.items():
        step, words = _step(name)
        if currency is None:
            yield f"{name} binds: {price:.4g} of the objective per unit"
            continue
        verb = currency.more if price > 0 else currency.less
        amount = f"{_number(abs(price) * step * currency.factor)} {currency.unit}"
        yield f"{name} binds: {words} {verb} {amount}"


def giving_up_words(policy: Policy, index: int) -> str | None:
    """What a lower rung gives up against the first; None for the first."""
    if not index:
        return None
    first, rung = policy.rungs[0], policy.rungs[index]
    points = 100 * (first.expected.accuracy - rung.expected.accuracy)
    text = f"{_number(points)} points of accuracy less" if points >= 0.005 else "no accuracy less"
    before, after = first.expected.cost_usd_per_request, rung.expected.cost_usd_per_request
    if before and after is not None:
        text += f", {_percent(1 - after / before)} of the dollars saved"
    lost = [name for name, found in (rung.limits or {}).items() if not found.kept]
    if rung.limits is None:
        return f"{text}; the file does not record which limits are kept"
    return f"{text}; {f'no longer promised: {_joined(lost)}' if lost else 'every limit is kept'}"


def evidence_words(policy: Policy, rung: PolicyRung) -> str:
    """How sure the promises of a rung are, and on how many queries they rest."""
    cells = {entry.text: entry.by_class for entry in policy.strategies}
    counts = []
    for name, shares in rung.shares.items():
        for text, share in shares.items():
            if share and text in cells:
                cell = cells[text].get(name)
                counts.append(cell.queries if cell else None)
    known = [count for count in counts if count is not None]
    if not known or len(known) < len(counts):
        rests = "on a number of queries that the file does not record"
    elif min(known) == max(known):
        rests = f"on {known[0]:,} queries of each class and strategy"
    else:
        rests = f"on {min(known):,} to {max(known):,} queries of each class and strategy"
    if policy.confidence is None:
        return f"nothing is promised: planned on point estimates, {rests}"
    return f"promised with {100 * policy.confidence:g} % confidence, {rests}"


def budget_words(budget: Budget) -> str:
    """Money that is never exceeded, in words."""
    each = f"{_number(budget.usd_per_request)} USD per request"
    if budget.limit_usd is None or budget.requests is None:
        return f"{each} on average, over as many requests as come"
    window = "in total" if budget.window is Window.TOTAL else f"per {budget.window} (UTC)"
    return (
        f"{_money(budget.limit_usd)} USD {window} for {budget.requests:,} requests, {each}; "
        "what the ledger holds never exceeds it"
    )


def caps_words(policy: Policy) -> Iterator[str]:
    """What no single request may exceed, in words."""
    units = {
        "tokens": "completion tokens of one call",
        "calls": "calls to models",
        "wall_s": "seconds",
        "usd": "USD",
    }
    for name, most in policy.caps.given().items() if policy.caps else ():
        yield f"no request takes more than {most:,g} {units.get(name, name)}"


def end_words(policy: Policy) -> tuple[str, ...]:
    """What happens as money runs short, and when it is gone."""
    if not policy.budgets:
        return ("no budget: the first rung answers everything",)
    lower = len(policy.rungs) - 1
    short = (
        "there is no lower rung to step down to"
        if not lower
        else f"the runtime steps down {lower} rung{'s' if lower > 1 else ''}, each cheaper"
    )
    renews = [str(one.window) for one in policy.budgets if one.window is not Window.TOTAL]
    until = f" until the {renews[0]} is over" if renews else " from then on"
    return (
        f"as money runs short: {short}; a request whose strategy does not fit what is left gets a "
        "cheaper one of this file",
        f"when no strategy fits what is left: requests are refused{until}",
    )


def sorting_words(policy: Policy) -> str:
    """By what requests are sorted."""
    classes = policy.classes
    how = {
        "text": "the decision graph reads the prompt",
        "label": "the caller sends the class",
        "text+label": "the decision graph reads the prompt, and the caller sends a label",
    }[classes.source]
    read = " with the vector of an encoder" if classes.encoder else ""
    return f"{how}{read}; {len(classes.names)} class{'es' if len(classes.names) > 1 else ''}"


def _step(name: str) -> tuple[float, str]:
    """A change of a limit that people can imagine, and its words."""
    inner = whose(name)[1]
    if is_latency(name):  # priced per share of slower requests
        return _POINT, "one per cent more of slow requests"
    if is_share(name):
        return _POINT, "one point more"
    if inner == SPEND:
        return 1 / _REQUESTS, f"one USD more per {_REQUESTS:,} requests"
    return 1.0, f"{in_words(name, 1.0)} more"


def _number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < _REQUESTS else f"{value:,.0f}"


def _money(value: float) -> str:
    return f"{value:,.2f}".removesuffix(".00") if value >= 1 else f"{value:g}"


def _percent(part: float) -> str:
    return f"{100 * part:.1f} %"


def _joined(names: list[str]) -> str:
    return " and ".join(names)

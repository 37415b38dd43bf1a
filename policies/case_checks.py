"""What a case expects against what came."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import TypeAlias

from policies.case_file import SHARE_TOLERANCE, Expected
from policies.draws import Drawn
from policies.policy import Policy

REFUSED = {
    "money": "refused: no strategy fits the money that is left",
    "cap": "refused: every strategy may cost more than one request may (caps.usd)",
    "label": "refused: the label is missing or unknown",
}
_Part: TypeAlias = Callable[[Drawn], str | int | None]


@dataclass(frozen=True, slots=True)
class Miss:
    """Something that did not come as expected.

    Attributes:
        key: What was expected of, a key of `expect`; ``request`` where it cannot be asked.
        expected: In words.
        got: In words.
    """

    key: str
    expected: str
    got: str


def unknown_names(policy: Policy, expect: Expected) -> Iterator[Miss]:
    """Names that the policy does not have: in a list of several they would never be missed."""
    texts = policy.strategy_texts()
    rungs = tuple(range(len(policy.rungs)))
    wanted: tuple[tuple[str, Iterable[str | int], Sequence[str | int]], ...] = (
        ("class", expect.classes or (), policy.classes.names),
        ("rung", expect.rung or (), rungs),
        ("strategy", expect.strategy or (), texts),
        ("shares", expect.shares or (), texts),
    )
    for key, names, known in wanted:
        for name in names:
            if name not in known:
                near = difflib.get_close_matches(str(name), map(str, known), n=1)
                hint = f"; did you mean {near[0]}?" if near else ""
                what = "strategy" if key == "shares" else key
                yield Miss(key, f"a {what} of the policy", f"{name}{hint}")


def misses(expect: Expected, found: Sequence[Drawn]) -> Iterator[Miss]:
    """What did not come as expected of one request."""
    parts: tuple[tuple[str, Sequence[str | int] | None, _Part], ...] = (
        ("class", expect.classes, lambda drawn: drawn.class_name),
        ("rung", expect.rung, lambda drawn: drawn.rung),
        ("strategy", expect.strategy, lambda drawn: drawn.strategy),
    )
    for key, wanted, part in parts:
        if wanted is not None and any(part(drawn) not in wanted for drawn in found):
            yield Miss(key, " or ".join(map(str, wanted)), _told(found, part))
    if expect.shares is not None and _shares_differ(expect.shares, found):
        expected = [f"{text} ({_percent(share)})" for text, share in expect.shares.items()]
        yield Miss("shares", ", ".join(expected), _told(found, lambda drawn: drawn.strategy))
    if expect.bound_usd_at_most is not None:
        yield from _bound_misses(expect.bound_usd_at_most, found)
    if expect.refused == "never" and any(drawn.refused for drawn in found):
        answer = "an answer, whatever is drawn"
        yield Miss("refused", answer, _told(found, lambda drawn: drawn.strategy))
    elif expect.refused in REFUSED and any(d.refused != expect.refused for d in found):
        told = _told(found, lambda drawn: drawn.strategy)
        yield Miss("refused", REFUSED[expect.refused], told)


def _shares_differ(expected: Mapping[str, float], found: Sequence[Drawn]) -> bool:
    """Whether any share is another; requests that are refused have one too."""
    shares: dict[str | None, float] = {}
    for drawn in found:
        shares[drawn.strategy] = shares.get(drawn.strategy, 0.0) + drawn.share
    wanted: dict[str | None, float] = dict(expected.items())
    return any(
        abs(shares.get(text, 0.0) - wanted.get(text, 0.0)) > SHARE_TOLERANCE
        for text in {*shares, *wanted}
    )


def _bound_misses(at_most: float, found: Sequence[Drawn]) -> Iterator[Miss]:
    expected = f"at most {at_most:.9g} USD"
    if any(drawn.refused for drawn in found):
        yield Miss("bound_usd_at_most", expected, _told(found, lambda drawn: drawn.strategy))
        return
    largest = max(found, key=lambda drawn: inf if drawn.bound_usd is None else drawn.bound_usd)
    if largest.bound_usd is None:
        yield Miss("bound_usd_at_most", expected, f"no known bound of {largest.strategy}")
    elif largest.bound_usd > at_most:
        got = f"{largest.bound_usd:.9g} USD for {largest.strategy}"
        yield Miss("bound_usd_at_most", expected, got)


def _told(found: Sequence[Drawn], part: _Part) -> str:
    """Each value with its share of draws, in the order of draws."""
    shares: dict[str, float] = {}
    for drawn in found:
        value = part(drawn)
        name = REFUSED[drawn.refused] if value is None and drawn.refused else str(value)
        shares[name] = shares.get(name, 0.0) + drawn.share
    if len(shares) == 1:
        return next(iter(shares))
    return ", ".join(f"{name} ({_percent(share)})" for name, share in shares.items())


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %"

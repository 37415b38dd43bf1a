"""Single passes: what every neighbour can run, and what takes the place of what it cannot."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from policies.decimals import nearest
from policies.neighbours.expressed import DIGITS
from policies.neighbours.losses import Loss
from policies.neighbours.outcome import accuracy_text, class_outcome, usd_text
from policies.policy import Policy, StrategyEntry
from profiles.errors import InputError
from profiles.strategy import parse

SAMPLING = ("temperature", "top_p")
_CARRIED = frozenset({"max_tokens", *SAMPLING})
Shares = Mapping[str, float]


def planned(policy: Policy, name: str) -> Shares:
    """What the first rung plans for a class, cheapest first, without what gets nothing."""
    shares = policy.rungs[0].shares[name]
    return {text: shares[text] for text in policy.strategy_texts() if shares.get(text, 0) > 0}


def is_single(text: str) -> bool:
    """Whether a strategy is one call to one model, with parameters that a request can carry."""
    strategy = parse(text)
    params = {name for name, _ in strategy.params}
    return strategy.method == "single" and bool(strategy.model) and params <= _CARRIED


def runnable(
    policy: Policy,
    name: str,
    neighbour: str,
    *,
    splits: bool,
    approximate: bool,
    where: str,
) -> tuple[Shares, list[Loss]]:
    """A class's shares of single passes, and what of the first rung they are not.

    Args:
        policy: Whose first rung.
        name: Of the class.
        neighbour: Its name for people.
        splits: Whether it deals a class to several strategies by share.
        approximate: Whether a single pass may take the place of what cannot be run.
        where: The place of the class's shares, for errors.

    Raises:
        InputError: The class needs what the neighbour cannot run, and no approximation is asked
            for or no single pass is there.
    """
    shares = planned(policy, name)
    groups = list(_unrunnable(shares, splits=splits))
    if not groups:
        return shares, []
    instead = {text: share for text, share in shares.items() if not any(text in g for g in groups)}
    losses = []
    for group in groups:
        if not approximate:
            raise InputError(
                f"{neighbour} cannot run what the policy plans for class {name!r}",
                where=where,
                expected="single passes" if splits else "one single pass for the class",
                got=_mix(group),
                next_step="run 'inferbudget serve', or with --approximate let a single pass take "
                "its place and read what that costs",
            )
        total = math.fsum(group.values())
        was = class_outcome(policy, name, {text: share / total for text, share in group.items()})
        single = _nearest_single(policy, name, was.accuracy)
        if single is None:
            raise InputError(
                f"no single pass of this policy can take the place of what {neighbour} cannot run",
                where=where,
                got=_mix(group),
                next_step="run 'inferbudget serve', or plan with a single pass too",
            )
        instead[single] = instead.get(single, 0.0) + total
        now = class_outcome(policy, name, {single: 1.0})
        losses.append(
            Loss(
                "strategy",
                ("rungs", 0, "shares", name),
                f"{100 * total:.6g} % of class {name!r}, planned for {_mix(group)}",
                f"{neighbour} cannot run that",
                f"{single} answers: accuracy {accuracy_text(was.accuracy)} -> "
                f"{accuracy_text(now.accuracy)}, USD per request {usd_text(was.cost_usd)} -> "
                f"{usd_text(now.cost_usd)}",
            )
        )
    return {text: nearest(share, DIGITS) for text, share in instead.items()}, losses


def _unrunnable(shares: Shares, *, splits: bool) -> Iterator[Shares]:
    """Parts of a class that a single pass must take the place of, each as a whole."""
    if splits:
        yield from ({text: share} for text, share in shares.items() if not is_single(text))
    elif len(shares) > 1 or not all(map(is_single, shares)):
        yield shares


def _mix(shares: Shares) -> str:
    if len(shares) == 1:
        return next(iter(shares))
    return " and ".join(f"{text} for {100 * share:.6g} %" for text, share in shares.items())


def _nearest_single(policy: Policy, name: str, accuracy: float | None) -> str | None:
    """The single pass nearest in accuracy in a class: unknown ones last, then the cheapest."""

    def rank(entry: StrategyEntry) -> tuple[float, float, str]:
        found = class_outcome(policy, name, {entry.text: 1.0})
        far = math.inf
        if accuracy is not None and found.accuracy is not None:
            far = abs(found.accuracy - accuracy)
        return far, math.inf if found.cost_usd is None else found.cost_usd, entry.text

    singles = [entry for entry in policy.strategies if is_single(entry.text)]
    return min(singles, key=rank).text if singles else None

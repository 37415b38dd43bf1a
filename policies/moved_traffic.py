"""Traffic that a change of policy moves from strategy to strategy: the least that must move.

A policy says which share of a class every strategy answers, not which requests. So of a class's
requests a strategy keeps the smaller of its two shares, and what others lose goes to those that
gain, in proportion to what each gains. Which requests these are, nobody knows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import fsum

from policies.effects import ClassEffect, RungEffect

_NOTHING = 1e-9
"""Files write shares with six decimals; less than this is the noise of a subtraction."""


@dataclass(frozen=True, slots=True)
class Flow:
    """Requests of a class that one strategy answered and that another, or the same, now does.

    Attributes:
        class_name: A class that both policies have.
        before: The old policy's strategy.
        after: The new policy's.
        of_class: Share of the class's requests, 0..1.
        of_all: Share of all requests by the new policy's mix of classes; None where its file does
            not record it.
    """

    class_name: str
    before: str
    after: str
    of_class: float
    of_all: float | None

    @property
    def moves(self) -> bool:
        """Whether another strategy answers."""
        return self.before != self.after


def flows(rung: RungEffect) -> tuple[Flow, ...]:
    """The flows of every class that both policies have, in the order of the new one."""
    return tuple(flow for one in rung.classes for flow in _of_class(one))


def most_flows(rung: RungEffect) -> int:
    """How many flows there can be: known at once, however many strategies share a class."""
    return sum(len(one.shares_before or ()) * len(one.shares_after or ()) for one in rung.classes)


def _of_class(one: ClassEffect) -> Iterator[Flow]:
    old, new, weight = one.shares_before, one.shares_after, one.weight.after
    if old is None or new is None:
        return
    for (before, after), share in _least(old, new):
        yield Flow(one.name, before, after, share, None if weight is None else weight * share)


def _least(
    old: Mapping[str, float], new: Mapping[str, float]
) -> Iterator[tuple[tuple[str, str], float]]:
    strategies = tuple({**old, **new})
    change = {text: new.get(text, 0.0) - old.get(text, 0.0) for text in strategies}
    lost = {text: -part for text, part in change.items() if part < -_NOTHING}
    gained = {text: part for text, part in change.items() if part > _NOTHING}
    whole = max(fsum(lost.values()), fsum(gained.values()))
    for before in strategies:
        kept = min(old.get(before, 0.0), new.get(before, 0.0))
        if kept > _NOTHING:
            yield (before, before), kept
        for after, part in gained.items():
            if before in lost:
                yield (before, after), lost[before] * part / whole

"""What another gateway's file says, in the words of a policy, and where two of them differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from itertools import zip_longest

from policies.decimals import plain
from policies.findings import Finding, Severity

DIGITS = 15
"""Significant digits that every double keeps, so that dividing by a million loses none of them."""


@dataclass(frozen=True, slots=True)
class Part:
    """A single pass that answers a share of a class. What is not set is None.

    Attributes:
        model: Name of the model as the upstream knows it.
        share: Of the class's requests, 0..1.
        max_tokens: Completion tokens of the call.
        temperature: As the strategy sets it.
        top_p: As the strategy sets it.
        input_usd: Dollars per million prompt tokens.
        output_usd: Dollars per million completion tokens.
    """

    model: str
    share: float
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    input_usd: float | None = None
    output_usd: float | None = None

    def text(self) -> str:
        """Who answers how much, for people."""
        return f"{self.model} for {100 * self.share:.6g} %"


@dataclass(frozen=True, slots=True)
class SpendLimit:
    """Dollars per window; `provider` is None where all that the file calls counts together."""

    limit_usd: float
    window: str
    provider: str | None = None

    def text(self) -> str:
        """For people."""
        whose = "" if self.provider is None else f" of {self.provider} alone"
        return f"{plain(self.limit_usd)} USD per {self.window}{whose}"


@dataclass(frozen=True, slots=True)
class Expressed:
    """What a neighbour's file says.

    Attributes:
        classes: Per class that the caller may send, who answers it.
        spend: Money limits.
        wall_s: Seconds until a request is given up.
        changed: Settings that decide who answers and that no export writes, as people read them.
    """

    classes: Mapping[str, tuple[Part, ...]]
    spend: tuple[SpendLimit, ...] = ()
    wall_s: float | None = None
    changed: tuple[str, ...] = ()


def differences(expected: Expressed, found: Expressed, name: str) -> list[Finding]:
    """Where a neighbour's file, named `name`, says another thing than a policy's export."""
    step = "export the policy again, or plan the change and compile it"
    return [
        Finding(Severity.ERROR, "drift", f"{name}: {place}", f"expected {wanted}; got {got}", step)
        for place, wanted, got in _differing(expected, found)
    ]


def _differing(expected: Expressed, found: Expressed) -> Iterator[tuple[str, str, str]]:
    for name in dict.fromkeys((*expected.classes, *found.classes)):
        yield from _class(name, _ordered(expected, name), _ordered(found, name))
    if expected.spend != found.spend:
        yield "the budget", _limits(expected.spend), _limits(found.spend)
    if expected.wall_s != found.wall_s:
        yield "the timeout", _value(expected.wall_s), _value(found.wall_s)
    for setting in found.changed:
        yield "the routing", "nothing but what an export writes", setting


def _class(name: str, wanted: list[Part], got: list[Part]) -> Iterator[tuple[str, str, str]]:
    if [part.model for part in wanted] != [part.model for part in got]:
        said = [", ".join(part.text() for part in parts) for parts in (wanted, got)]
        yield f"class {name!r}", said[0] or "no such class", said[1] or "no such class"
        return
    for one, other in zip_longest(wanted, got):
        for field in fields(Part):
            was, now = getattr(one, field.name), getattr(other, field.name)
            if was != now:
                yield f"class {name!r}: {one.model}: {field.name}", _value(was), _value(now)


def _ordered(expressed: Expressed, name: str) -> list[Part]:
    parts = expressed.classes.get(name, ())
    return sorted(parts, key=lambda part: (part.model, -part.share, repr(part)))


def _limits(limits: tuple[SpendLimit, ...]) -> str:
    return ", ".join(limit.text() for limit in limits) or "none"


def _value(value: str | float | None) -> str:
    if isinstance(value, float):
        return plain(value)
    return "none" if value is None else str(value)

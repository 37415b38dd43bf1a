"""Families of strategies that differ in one parameter alone: the one that buys more compute."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace

from profiles.strategy import Strategy, parse

COUNTED = frozenset(
    {
        "attempts",
        "beams",
        "breadth",
        "budget",
        "depth",
        "iterations",
        "k",
        "max",
        "max_tokens",
        "n",
        "paths",
        "rounds",
        "samples",
        "steps",
    }
)
NAMED = frozenset({"batch", "effort", "reasoning_effort"})


@dataclass(frozen=True, slots=True)
class Family:
    """Strategies of one model and method that agree in every parameter but one.

    Attributes:
        name: What they share, in the form of a strategy text, the lever as ``n=*``.
        lever: The parameter that varies, None for a ladder that a person put together.
        members: Canonical texts with the lever's value; None where the value is no amount of
            compute (a word such as ``high``, a batch size).
    """

    name: str
    lever: str | None
    members: tuple[tuple[str, float | None], ...]


def families(strategies: Iterable[str]) -> tuple[Family, ...]:
    """Every family of at least two of these strategies, by name."""
    groups: dict[tuple[str, str], dict[str, float | None]] = defaultdict(dict)
    for text in sorted(set(strategies)):
        strategy = parse(text)
        for lever, value in strategy.params:
            if lever in COUNTED and isinstance(value, int | float) and value > 0:
                groups[_shared(strategy, lever), lever][text] = float(value)
            elif lever in NAMED:
                groups[_shared(strategy, lever), lever][text] = None
    return tuple(
        Family(name, lever, tuple(members.items()))
        for (name, lever), members in sorted(groups.items())
        if len(members) > 1
    )


def ladder(text: str) -> Family:
    """A family that a person put together; its compute is what was measured.

    Args:
        text: Strategies separated by commas.

    Raises:
        InputError: One of them is not a strategy.
    """
    stages = parse(f"ladder(stages=[{text}])").param("stages")
    assert isinstance(stages, tuple)  # noqa: S101 - what the grammar makes of a list
    texts = dict.fromkeys(str(parse(str(stage))) for stage in stages)
    return Family(" | ".join(texts), None, tuple((text, None) for text in texts))


def _shared(strategy: Strategy, lever: str) -> str:
    params = tuple((name, "*" if name == lever else value) for name, value in strategy.params)
    return str(replace(strategy, params=params))

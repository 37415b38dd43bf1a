"""An overall change as the sum of its parts.

- a class that both policies have: its new weight times the change of its figure;
- a new class and one that is gone: its weight, added or lost, times its figure over the old mean;
- the mix of the other classes: changes of weights times the old figures over the old mean;
- the volume, of dollars for all requests: more or fewer requests at the old mean;
- the rest, where a file's overall figures are not the mean of its classes' figures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["class", "new class", "class gone", "mix of classes", "volume", "rest"]


@dataclass(frozen=True, slots=True)
class Part:
    """What one thing adds to an overall change."""

    kind: Kind
    class_name: str | None
    value: float


@dataclass(frozen=True, slots=True)
class Mix:
    """Weights of classes and their figures, those without weight left out."""

    weights: Mapping[str, float]
    figures: Mapping[str, float]

    @property
    def mean(self) -> float:
        """Over all requests."""
        return sum(self.weights[name] * figure for name, figure in self.figures.items())


def parts_of(
    change: float, old: Mix, new: Mix, *, scales: tuple[float, float] = (1.0, 1.0)
) -> list[Part]:
    """The parts of a change of means, or of sums.

    Args:
        change: Of the mean, or of the mean times the number of requests.
        old: Before.
        new: After.
        scales: Requests before and after; ones for a mean.
    """
    before, after = scales
    parts = [
        Part(part.kind, part.class_name, after * part.value) for part in _class_parts(old, new)
    ]
    parts.append(Part("volume", None, (after - before) * old.mean))
    parts.append(Part("rest", None, change - sum(part.value for part in parts)))
    return parts


def _class_parts(old: Mix, new: Mix) -> Iterator[Part]:
    mean, mix = old.mean, []
    for name, weight in new.weights.items():
        if name not in old.weights:
            yield Part("new class", name, weight * (new.figures.get(name, mean) - mean))
            continue
        # A class without requests has figures that count for nothing.
        was = old.figures.get(name, new.figures.get(name, mean))
        now = new.figures.get(name, was)
        yield Part("class", name, weight * (now - was))
        mix.append((weight - old.weights[name]) * (was - mean))
    for name, weight in old.weights.items():
        if name not in new.weights:
            yield Part("class gone", name, weight * (mean - old.figures.get(name, mean)))
    yield Part("mix of classes", None, sum(mix))

"""Answers that are drawn, by the final answer that each gives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from runtime.checkers import Extractor
from runtime.strategies.attempt import Answer


@dataclass(slots=True)
class Votes:
    """Answers by their final answer, in order of first sight; an empty one agrees with nobody.

    Attributes:
        extractor: Finds the final answer in a text.
        answers: All of them, as they came.
        asked: How many were asked for. One that never came agrees with nobody.
        places: For each final answer, those that give it. An empty one is told by its own place.
    """

    extractor: Extractor
    answers: list[Answer] = field(default_factory=list)
    asked: int = 0
    places: dict[str | int, list[int]] = field(default_factory=dict)

    @property
    def counts(self) -> list[int]:
        """Votes of each final answer."""
        return [len(places) for places in self.places.values()]

    async def add(self, answers: Sequence[Answer], asked: int) -> list[int]:
        """Count these too, which came of so many that were asked for.

        Returns:
            Places of the answers that are the first to give their final answer.
        """
        before = len(self.places)
        self.asked += asked
        finals = await self.extractor.extract_all([answer.text for answer in answers])
        for final, answer in zip(finals, answers, strict=True):
            place = len(self.answers)
            self.places.setdefault(final or place, []).append(place)
            self.answers.append(answer)
        return [places[0] for places in list(self.places.values())[before:]]

    def winner(self, weights: Sequence[float] | None = None) -> Answer:
        """The answer with the most votes; of equals the one that was seen first.

        Args:
            weights: Of each answer. The heaviest final answer wins, of equals the one with more
                votes; it is given in the words of its heaviest answer.
        """
        weigh = [1.0] * len(self.answers) if weights is None else weights
        # max() keeps the first of equals, and dictionaries keep the order of first sight.
        best = max(
            self.places.values(),
            key=lambda places: (math.fsum(weigh[place] for place in places), len(places)),
        )
        said = self.answers[max(best, key=weigh.__getitem__)]
        return replace(said, agreement=len(best) / self.asked)

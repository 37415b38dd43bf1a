"""Which way of sorting requests into classes to keep, by what plans with it would achieve.

The rule is that of one standard error (Breiman, Friedman, Olshen and Stone, "Classification and
Regression Trees", 1984, section 3.4.3): of all ways whose held-out value is no more than chance
behind the best, the one with the fewest classes, since every class costs certainty. Three things
are sharper here:

* The error is that of the difference of two ways on the same queries, far smaller than either's.
* The best of many looks good by luck alone: one standard error is the measure for two ways, and
  Bonferroni's quantile at the same confidence for more.
* Margins differ between ways. A way that is cheaper only because its plans lie closer to their
  floor has not sorted better, so it must also lead at equal accuracy: a difference in accuracy
  counts at both plans' mean shadow price of the floor. Dollars count likewise where accuracy is
  what is ranked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from planner.programme.margin import z_of_chosen
from planner.sorting import class_choice_in_words as words
from planner.sorting.candidates import Candidate, Choice, Standing
from planner.sorting.cells_of_outcomes import Indices, Outcomes
from planner.sorting.plan_questions import Asked, asked
from planner.sorting.plan_value import HeldOut, Mean, judged
from planner.spec import Spec
from profiles.errors import InputError

PRICE_RULE = "price rule"
ONE_ERROR = NormalDist().cdf(1.0)
"""Confidence that one standard error stands for where two ways are compared."""


def compare(
    outcomes: Outcomes,
    candidates: Sequence[Candidate],
    fold_of: Indices,
    spec: Spec | None = None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Choice:
    """Judge every candidate by held-out plans and choose.

    Candidates that miss a limit on queries their plans have not seen, by more than a standard
    error, are passed over where others do not. A price rule is chosen where it beats the chosen
    classes by more than chance would. Candidates that sort every query alike are judged once.

    Args:
        outcomes: Scores and costs of n queries.
        candidates: Ways of sorting them, out of fold.
        fold_of: Fold per query, shape (n,).
        spec: What plans are asked; `plan_questions.asked` says what stands in for it.
        progress: Told how many candidates are done, and of how many, before every one.

    Raises:
        InputError: No candidate, fewer than two folds, or no candidate has the spec's classes.
        UnknownValueError: A cost that the spec needs is unknown, or it limits latency.
    """
    ask = asked(outcomes, fold_of, spec)
    mix = ask.spec.traffic.mix if ask.spec.traffic else None
    named = {*ask.spec.limits.accuracy.by_class, *(mix or {})}
    found: dict[int, HeldOut] = {}
    once: dict[tuple[bytes, tuple[str, ...]], HeldOut] = {}
    for index, candidate in enumerate(candidates):
        progress(index, len(candidates))
        if named <= set(candidate.names):
            sorting = candidate.classes.tobytes(), tuple(candidate.names)
            once[sorting] = once.get(sorting) or judged(outcomes, candidate, fold_of, ask)
            found[index] = once[sorting]
    if not found:
        raise InputError(
            "no way of sorting has all classes that the spec names",
            where="limits.accuracy.by_class and traffic.mix",
            expected="names of fitted classes",
            got=", ".join(sorted(named)) or "no way of sorting at all",
        )
    return _Comparison(ask, candidates, found).choice()


@dataclass(frozen=True)
class _Comparison:
    ask: Asked
    candidates: Sequence[Candidate]
    found: dict[int, HeldOut]

    def choice(self) -> Choice:
        rules = [i for i in self.found if self.candidates[i].kind.startswith(PRICE_RULE)]
        classes = [i for i in self.found if i not in rules]
        index = self._simplest(classes or rules)
        reason = self._why(index, classes or rules)
        if classes and rules:
            rule = self._simplest(rules)
            offered = self._offered(rule, index)
            reason += f" {self._compared(rule, index)}: {'' if offered else 'not '}chosen."
            index = rule if offered else index
        unable = len(self.candidates) - len(self.found)
        if unable:
            reason += f" Left out for lacking a class that the spec names: {unable}."
        return Choice(index, reason, self._table())

    def _offered(self, rule: int, index: int) -> bool:
        """Whether a price rule takes the place of classes."""
        if bool(self.found[rule].missed) is not bool(self.found[index].missed):
            return not self.found[rule].missed
        return not self._no_better(rule, index)

    def _sound(self, places: Sequence[int]) -> Sequence[int]:
        return [i for i in places if not self.found[i].missed] or places

    def _best(self, places: Sequence[int]) -> int:
        return min(self._sound(places), key=lambda i: (-self._gain(i), self._size(i), i))

    def _simplest(self, places: Sequence[int]) -> int:
        """The fewest classes that are no worse than the best but for chance."""
        best = self._best(places)
        near = [i for i in self._sound(places) if self._no_better(best, i)]
        return min(near, key=lambda i: (self._size(i), -self._gain(i), i))

    def _no_better(self, index: int, other: int) -> bool:
        """Whether one candidate's lead over another could be chance, or is only a bolder plan."""
        return self._by_chance(self._lead(index, other)) or self._by_chance(
            self._level_lead(index, other)
        )

    def _by_chance(self, lead: Mean) -> bool:
        return lead.value <= z_of_chosen(ONE_ERROR, max(len(self.found) - 1, 1)) * lead.error

    def _gain(self, index: int) -> float:
        return float(self.found[index].gain_of.mean())

    def _size(self, index: int) -> int:
        return len(self.candidates[index].names)

    def _lead(self, index: int, other: int) -> Mean:
        """By how much one candidate is better than another on the same queries."""
        gain_of = self.found[index].gain_of - self.found[other].gain_of
        return Mean.of(gain_of.mean(axis=0))

    def _level_lead(self, index: int, other: int) -> Mean:
        """The same, had both plans spent as much, or been as accurate, as each other.

        Prices rise on the way from one to the other: their mean is the trapezoid rule.
        """
        own, rival = self.found[index], self.found[other]
        rates = (own.rates + rival.rates)[:, None] / 2
        spared = np.where(rates > 0, rates * (own.spare_of - rival.spare_of), 0.0)
        return Mean.of((own.gain_of - rival.gain_of + spared).mean(axis=0))

    def _table(self) -> tuple[Standing, ...]:
        best = self._best(list(self.found))
        return tuple(
            Standing.of(index, candidate, self.found[index], self._lead(best, index))
            if index in self.found
            else Standing(index, candidate.kind, len(candidate.names))
            for index, candidate in enumerate(self.candidates)
        )

    def _why(self, index: int, places: Sequence[int]) -> str:
        own, best, sound = self.found[index], self._best(places), self._sound(places)
        value = words.figure(own.value, money=self.ask.cheapest)
        asking = words.asking(self.ask, self._telling())
        parts = [f"{self._called(index)}: {value} on unseen queries{asking}."]
        parts += [f"{self._compared(best, index)}."] if index != best else []
        fewer = [i for i in sound if self._size(i) < self._size(index)]
        if fewer:
            rival = self._best(fewer)
            lead = words.figure(self._lead(index, rival), money=self.ask.cheapest)
            parts.append(f"{self._called(rival)} would be worse by {lead}.")
        return " ".join(parts + words.limits_missed(own, len(places) - len(sound)))

    def _telling(self) -> int:
        """At how many questions plans differ at all; else each is the same strategy for all."""
        alone = np.array([own.alone for own in self.found.values()])
        return int(np.any((alone != alone[0]) | (alone < 0), axis=(0, 2)).sum())

    def _compared(self, index: int, other: int) -> str:
        lead = self._lead(index, other)
        text = words.compared(
            lead,
            doubted=self._no_better(index, other),
            chance=self._by_chance(lead),
            money=self.ask.cheapest,
        )
        return f"{self._called(index)} {text}"

    def _called(self, index: int) -> str:
        return words.called(self.candidates[index].kind, self._size(index))

"""Which upstream a model's next call goes to."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable
from itertools import groupby

from runtime.upstreams.member import Member


class Route:
    """The upstreams of one model, best priority first.

    Of a priority two are drawn by their weights, and the one with fewer calls in flight for its
    weight is taken (Mitzenmacher 2001, the power of two choices): among idle ones the shares are
    the weights', and a slow one soon gets less.

    Args:
        model: The policy's name.
        members: Its upstreams, each with its priority.
        draws: Where random numbers come from.
    """

    def __init__(
        self, model: str, members: Iterable[tuple[int, Member]], draws: random.Random
    ) -> None:
        ranked = sorted(members, key=lambda pair: pair[0])
        self._tiers = tuple(
            tuple(member for _, member in tier) for _, tier in groupby(ranked, lambda pair: pair[0])
        )
        self.model = model
        self.members = tuple(member for _, member in ranked)
        self._draws = draws

    def choose(self, answers: int, tried: Collection[Member] = ()) -> Member | None:
        """One that may be asked now; None where none may.

        Args:
            answers: That the call wants.
            tried: Upstreams that are passed over.
        """
        model = self.model
        for tier in self._tiers:
            fit = [
                member
                for member in tier
                if member.admits(model)
                and (answers == 1 or member.answers_several)
                and member not in tried
            ]
            if fit:
                return fit[0] if len(fit) == 1 else self._better_of_two(fit)
        return None

    def answers(self, answers: int) -> bool:
        """Whether any upstream gives so many answers to one call."""
        return answers == 1 or any(member.answers_several for member in self.members)

    def free_in_s(self) -> float:
        """Seconds until the first of them may be asked, as far as anybody knows."""
        return min(member.free_in_s(self.model) for member in self.members)

    def _better_of_two(self, fit: list[Member]) -> Member:
        first = self._drawn(fit)
        fit.remove(first)
        second = fit[0] if len(fit) == 1 else self._drawn(fit)
        # It is better if it has less to do now, and still no more with this call.
        busier = first.in_flight * second.weight > second.in_flight * first.weight
        lighter = (second.in_flight + 1) * first.weight <= (first.in_flight + 1) * second.weight
        return second if busier and lighter else first

    def _drawn(self, fit: list[Member]) -> Member:
        left = self._draws.random() * sum([member.weight for member in fit])
        for member in fit:
            left -= member.weight
            if left < 0:
                return member
        return fit[-1]

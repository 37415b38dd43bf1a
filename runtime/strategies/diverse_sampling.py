"""Answers at several temperatures, to several styles of prompt (Naik et al. 2023)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from profiles.methods.counting import split
from profiles.methods.diverse_sampling import DiverseSamplingParams, rounds_of
from profiles.methods.instructions import STYLES
from profiles.methods.method import Varied
from profiles.methods.voting import decided
from profiles.strategy import Strategy
from runtime.strategies.attempt import Attempt, derived_seed
from runtime.strategies.base import StrategyExecutor, Tools, executes
from runtime.strategies.sampling import Sampling, all_that_arrive, answers_of
from runtime.strategies.scoring import scorer_of
from runtime.strategies.votes import Votes
from runtime.upstream import ChatCall, Message


@executes("diverse_sampling")
class DiverseSampling(StrategyExecutor[DiverseSamplingParams]):
    """``model/diverse_sampling(k=8,styles=[plain,steps],temperatures=[0.5,1.0])``.

    Answers with the same final answer are one cluster. They vote; or, with a verifier, the first of
    each cluster is scored and the others are not (Li et al. 2022, AlphaCode). With ``batch`` no
    round follows one that decides the vote; with a verifier, none follows a score of 1 or a round
    that brought nothing new.
    """

    def __init__(self, strategy: Strategy, params: DiverseSamplingParams, tools: Tools) -> None:
        super().__init__(strategy, params, tools)
        verifier = params.verifier
        self._scorer = verifier and scorer_of(verifier, strategy, tools, "verifier")
        self._arms = params.arms
        self._how = Sampling(
            self.model,
            Varied(top_p=params.top_p),
            tools.answers_per_call,
            self._scorer is not None and self._scorer.needs_confidence,
        )

    async def solve(self, attempt: Attempt) -> None:
        """Round by round, every arm at once."""
        params, cap = self.params, self.cap(attempt)
        votes, sent, left = Votes(self.tools.extractor), 0, params.k
        scores = dict[int, float]()
        for counts in rounds_of(params.k, params.batch, len(self._arms)):
            calls = list(self._calls(attempt, cap, counts, sent))
            arrived = await all_that_arrive(attempt, calls)
            drawn = [answer for reply in arrived for answer in answers_of(reply)]
            attempt.complete = attempt.complete and len(drawn) >= sum(counts)
            sent, left = sent + len(calls), left - sum(counts)
            if attempt.best is None:
                attempt.keep(drawn[0])
            new = await votes.add(drawn, sum(counts))
            if self._scorer is None:
                attempt.keep(votes.winner())
                if decided(votes.counts, left):
                    break
                continue
            fresh = [votes.answers[place] for place in new]
            if fresh:
                found = await self._scorer.scores(attempt, fresh, cap)
                scores |= dict(zip(new, found, strict=True))
            attempt.keep(votes.winner([scores.get(i, 0.0) for i in range(len(votes.answers))]))
            if not fresh or max(scores.values()) >= 1:
                break
        attempt.note("clusters", f"{len(votes.counts)} of {len(votes.answers)} answers differ")

    def _calls(
        self, attempt: Attempt, cap: int, counts: Sequence[int], sent: int
    ) -> Iterator[ChatCall]:
        """One round's, each with a seed of its own."""
        plain = self._how.call(attempt.request, cap)
        for (style, temperature), count in zip(self._arms, counts, strict=True):
            said = (Message("system", STYLES[style]),) if STYLES[style] else ()
            for size in split(count, self._how.answers_per_call):
                seed = derived_seed(attempt.request.seed, sent)
                messages = (*said, *attempt.request.messages)
                yield replace(plain, messages=messages, temperature=temperature, n=size, seed=seed)
                sent += 1
